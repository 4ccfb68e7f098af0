//! A world of named cells, and steps that set them. What goes wrong in it is scripted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use runbook_engine::clock::Clock;
use runbook_engine::event::{About, Change, Owed};
use runbook_engine::step::{
    Done, Finding, Probe, ReadContext, Step, StepError, World, WriteContext,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused, worth another attempt.
    Transient,
    /// Refused for good.
    Permanent,
    /// Done, and the answer was lost.
    AnswerLost,
    /// Not done, and nobody can tell.
    RequestLost,
    /// Under way for so long; its sender gets no answer.
    Late(Duration),
    /// As `Late`, and the sender dies meanwhile.
    LateAndDead(Duration),
    /// The site does not answer at all.
    Unreachable,
    /// No answer, ever.
    Hang,
    /// For a probe: the world cannot tell.
    Unknown,
}

/// The end of a driver, as a power cut would be. Carried by a panic that nobody prints.
pub struct Death;

pub fn die() -> ! {
    std::panic::resume_unwind(Box::new(Death))
}

/// Where a driver dies: before or after its so-manieth request that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Before(usize),
    After(usize),
}

/// A request that took effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Effect {
    pub token: String,
    pub key: String,
    pub value: String,
}

#[derive(Default)]
struct Inner {
    cells: BTreeMap<String, String>,
    effects: Vec<Effect>,
    under_way: Vec<(Timestamp, Effect)>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    unreachable: BTreeSet<String>,
    probed: Vec<String>,
    writes: usize,
    dies: Option<At>,
}

/// The world, shared by all drivers of a test.
#[derive(Clone)]
pub struct Toy {
    pub reader: Reader,
    pub writer: Writer,
}

/// Cannot write: it has no method for it.
#[derive(Clone)]
pub struct Reader {
    inner: Arc<Mutex<Inner>>,
    clock: Clock,
}

/// Can.
#[derive(Clone)]
pub struct Writer(Reader);

impl World for Toy {
    type Reader = Reader;
    type Writer = Writer;

    fn reader(&self) -> &Reader {
        &self.reader
    }

    fn writer(&self) -> &Writer {
        &self.writer
    }
}

impl Toy {
    pub fn new(clock: &Clock) -> Toy {
        let reader = Reader {
            inner: Arc::default(),
            clock: clock.clone(),
        };
        Toy {
            writer: Writer(reader.clone()),
            reader,
        }
    }

    /// Somebody else, or the test, sets a cell.
    pub fn put(&self, key: &str, value: &str) {
        self.reader.now().cells.insert(key.into(), value.into());
    }

    pub fn cell(&self, key: &str) -> Option<String> {
        self.reader.now().cells.get(key).cloned()
    }

    pub fn cells(&self) -> BTreeMap<String, String> {
        self.reader.now().cells.clone()
    }

    /// Requests that took effect, oldest first.
    pub fn effects(&self) -> Vec<Effect> {
        self.reader.now().effects.clone()
    }

    /// How often each request took effect.
    pub fn counts(&self) -> BTreeMap<Effect, usize> {
        self.effects()
            .into_iter()
            .fold(BTreeMap::new(), |mut counts, effect| {
                *counts.entry(effect).or_default() += 1;
                counts
            })
    }

    /// Requests that write, with or without effect.
    pub fn writes(&self) -> usize {
        self.reader.now().writes
    }

    /// Which steps were probed, in order.
    pub fn probed(&self) -> Vec<String> {
        std::mem::take(&mut self.reader.now().probed)
    }

    /// What happens to the next requests under a name: a step's id for its writes, `probe ID`, `undo ID`, `check ID`.
    pub fn script(&self, name: &str, faults: &[Fault]) {
        self.reader
            .now()
            .faults
            .entry(name.into())
            .or_default()
            .extend(faults);
    }

    pub fn unscript(&self) {
        self.reader.now().faults.clear();
    }

    pub fn cut_off(&self, step: &str) {
        self.reader.now().unreachable.insert(step.into());
    }

    pub fn bring_back(&self, step: &str) {
        self.reader.now().unreachable.remove(step);
    }

    pub fn die(&self, at: At) {
        self.reader.now().dies = Some(at);
    }
}

impl Reader {
    /// The world as it is at this time: what was under way and is due has landed.
    fn now(&self) -> MutexGuard<'_, Inner> {
        let now = self.clock.now();
        let mut inner = self
            .inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let landed = inner
            .under_way
            .extract_if(.., |(at, _)| *at <= now)
            .map(|(_, effect)| effect)
            .collect::<Vec<_>>();
        for effect in landed {
            inner.land(effect);
        }
        inner
    }

    async fn fault(&self, step: &str, verb: &str) -> Result<Option<Fault>, StepError> {
        let fault = {
            let mut inner = self.now();
            let name = if verb.is_empty() {
                step.to_owned()
            } else {
                format!("{verb} {step}")
            };
            let scripted = inner.faults.get_mut(&name).and_then(VecDeque::pop_front);
            scripted.or_else(|| {
                inner
                    .unreachable
                    .contains(step)
                    .then_some(Fault::Unreachable)
            })
        };
        match fault {
            Some(Fault::Transient) => Err(StepError::transient("503")),
            Some(Fault::Permanent) => Err(StepError::permanent("403")),
            Some(Fault::Unreachable) => {
                Err(StepError::transient("connection refused").unreachable())
            }
            Some(Fault::Hang) => std::future::pending().await,
            other => Ok(other),
        }
    }

    fn reach(&self, step: &str) -> Result<(), StepError> {
        let gone = self.now().unreachable.contains(step);
        if gone {
            Err(StepError::transient("connection refused").unreachable())
        } else {
            Ok(())
        }
    }

    async fn get(&self, step: &str, key: &str) -> Result<Option<String>, StepError> {
        match self.fault(step, "probe").await? {
            None => Ok(self.now().cells.get(key).cloned()),
            Some(_) => Err(StepError::unknown("no answer")),
        }
    }
}

impl Inner {
    fn land(&mut self, effect: Effect) {
        self.cells.insert(effect.key.clone(), effect.value.clone());
        self.effects.push(effect);
    }
}

impl Writer {
    async fn set(
        &self,
        step: &str,
        verb: &str,
        token: &str,
        key: &str,
        value: &str,
    ) -> Result<(), StepError> {
        let number = {
            let mut inner = self.0.now();
            inner.writes += 1;
            inner.writes
        };
        let dies = self.0.now().dies;
        if dies == Some(At::Before(number)) {
            die();
        }
        let effect = Effect {
            token: token.into(),
            key: key.into(),
            value: value.into(),
        };
        let fault = match self.0.fault(step, verb).await {
            Ok(fault) => fault,
            Err(_) if dies == Some(At::After(number)) => die(),
            Err(error) => return Err(error),
        };
        let land = |after: Duration| {
            let at = self.0.clock.after(after);
            self.0.now().under_way.push((at, effect.clone()));
        };
        let answer = match fault {
            None => {
                self.0.now().land(effect);
                Ok(())
            }
            Some(Fault::AnswerLost) => {
                self.0.now().land(effect);
                Err(StepError::unknown("no answer"))
            }
            Some(Fault::Late(after)) => {
                land(after);
                Err(StepError::unknown("no answer"))
            }
            Some(Fault::LateAndDead(after)) => {
                land(after);
                die()
            }
            Some(_) => Err(StepError::unknown("no answer")),
        };
        if dies == Some(At::After(number)) {
            die();
        }
        answer
    }
}

/// What stands under `do:`: which cells it sets, and how else it behaves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Action {
    /// Cells to set to `new`, one request and one checkpoint each.
    pub sets: Vec<String>,
    /// Once they are set, this is asked.
    pub asks: Option<About>,
    /// Goes back while this cell is not `good`, after making it so that many times.
    pub back_unless_good: Option<String>,
    /// Waits this many milliseconds of plan time before it begins.
    pub waits_ms: u64,
    /// What is owed if its site does not answer.
    pub owes: Option<String>,
    /// What its check says is wrong.
    pub finding: Option<String>,
    /// It can prove that it moved nothing.
    pub withdraws: bool,
}

/// A step of the toy world.
pub struct ToyStep {
    pub id: String,
    pub action: Action,
}

#[async_trait]
impl Step<Toy> for ToyStep {
    fn summary(&self) -> String {
        format!("set {}", self.action.sets.join(", "))
    }

    async fn check(&self, cx: &ReadContext<'_, Toy>) -> Result<Vec<Finding>, StepError> {
        cx.world.fault(&self.id, "check").await?;
        Ok(self
            .action
            .finding
            .iter()
            .map(|text| Finding::fail(&self.id, text))
            .collect())
    }

    async fn probe(&self, cx: &ReadContext<'_, Toy>) -> Result<Probe, StepError> {
        cx.world.now().probed.push(self.id.clone());
        if cx
            .world
            .now()
            .faults
            .get(&format!("probe {}", self.id))
            .is_some_and(|it| it.front() == Some(&Fault::Unknown))
        {
            let _ = cx.world.fault(&self.id, "probe").await?;
            return Ok(Probe::Unknown("the world cannot tell".into()));
        }
        let mut missing = Vec::new();
        for key in &self.action.sets {
            let real = cx
                .world
                .get(&self.id, key)
                .await?
                .unwrap_or_else(|| "-".into());
            let seen = cx.seen(key, "value", real);
            if seen != "new" {
                missing.push(Change {
                    object: key.clone(),
                    field: "value".into(),
                    before: seen,
                    after: "new".into(),
                });
            }
        }
        Ok(if missing.is_empty() {
            Probe::Done(json!({ "probed": self.id }))
        } else {
            Probe::NotDone(missing)
        })
    }

    async fn run(&self, cx: &WriteContext<'_, Toy>) -> Result<Done, StepError> {
        if self.action.waits_ms > 0 {
            cx.tell("waiting");
            cx.sleep(Duration::from_millis(self.action.waits_ms))
                .await?;
        }
        let mut changes = Vec::new();
        cx.world.0.reach(&self.id)?;
        for key in &self.action.sets {
            let before = cx.world.0.now().cells.get(key).cloned();
            cx.save_original("toy", key, json!(before)).await?;
            if before.as_deref() != Some("new") {
                cx.world.set(&self.id, "", cx.token(), key, "new").await?;
                cx.save_checkpoint(key, json!(true)).await?;
                let before = before.unwrap_or_else(|| "-".into());
                changes.push(Change {
                    object: key.clone(),
                    field: "value".into(),
                    before,
                    after: "new".into(),
                });
            }
        }
        if self.action.sets.is_empty() {
            cx.world.0.fault(&self.id, "").await?;
        }
        let output = json!({ "by": self.id });
        if let Some(key) = &self.action.back_unless_good
            && cx.world.0.now().cells.get(key).map(String::as_str) != Some("good")
        {
            return Ok(Done::Back {
                reason: format!("`{key}` is not good"),
                output,
            });
        }
        Ok(match self.action.asks {
            Some(about) => Done::Ask {
                about,
                question: "shall it?".into(),
                output,
            },
            None => Done::Done { output, changes },
        })
    }

    async fn undo(&self, cx: &WriteContext<'_, Toy>) -> Result<Vec<Change>, StepError> {
        let mut changes = Vec::new();
        for key in self.action.sets.iter().rev() {
            let Some(original) = cx.read().original("toy", key).cloned() else {
                continue;
            };
            let original = original.as_str().unwrap_or("-").to_owned();
            let before = cx
                .world
                .0
                .now()
                .cells
                .get(key)
                .cloned()
                .unwrap_or_else(|| "-".into());
            if before != original {
                cx.world
                    .set(&self.id, "undo", cx.token(), key, &original)
                    .await?;
                changes.push(Change {
                    object: key.clone(),
                    field: "value".into(),
                    before,
                    after: original,
                });
            }
        }
        Ok(changes)
    }

    async fn withdraw(&self, cx: &WriteContext<'_, Toy>) -> Result<(), StepError> {
        cx.world.0.fault(&self.id, "withdraw").await?;
        let moved = self.action.sets.iter().any(|key| {
            cx.world
                .0
                .now()
                .cells
                .get(key)
                .is_some_and(|value| value == "new")
        });
        if self.action.withdraws && !moved {
            Ok(())
        } else {
            Err(StepError::permanent("the name has moved"))
        }
    }

    fn owes(&self) -> Vec<Owed> {
        self.action
            .owes
            .iter()
            .map(|what| Owed {
                site: "toy".into(),
                what: what.clone(),
            })
            .collect()
    }
}

/// Makes the steps of a plan.
pub fn steps(plan: &runbook_engine::plan::Plan) -> Vec<Box<dyn Step<Toy>>> {
    plan.steps
        .iter()
        .map(|planned| {
            let action: Action =
                serde_json::from_value(planned.action.clone()).expect("a toy action");
            Box::new(ToyStep {
                id: planned.id.clone(),
                action,
            }) as Box<dyn Step<Toy>>
        })
        .collect()
}

/// An action that sets one cell of the step's own name.
pub fn sets(keys: &[&str]) -> Value {
    json!({ "sets": keys })
}
