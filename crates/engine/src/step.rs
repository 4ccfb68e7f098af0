//! What a step is to the engine: check, probe, run, undo.
//!
//! `check` and `probe` get a [`ReadContext`], which holds a reader of the world and nothing else. A rehearsal has
//! nothing but readers, so the compiler keeps the promise that it writes nothing.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use crate::clock::Clock;
use crate::event::{About, Change, Owed, Sort};
use crate::plan::Plan;
use crate::rehearsal::Assumed;
use crate::run::RunState;
use crate::runlog::{Lost, RunLog};
use crate::stop::Stop;

/// Whatever a source of an error is.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The world that steps look at and change, in two halves.
pub trait World: Send + Sync + 'static {
    /// Clients that cannot write.
    type Reader: Send + Sync;
    /// Clients that can.
    type Writer: Send + Sync;
    /// Returns the reading half.
    fn reader(&self) -> &Self::Reader;
    /// Returns the writing half.
    fn writer(&self) -> &Self::Writer;
}

/// One step of a plan, made from its action.
#[async_trait]
pub trait Step<W: World>: Send + Sync {
    /// Says in one line what it does.
    fn summary(&self) -> String;

    /// Says what would keep it from working now. Writes nothing.
    async fn check(&self, _cx: &ReadContext<'_, W>) -> Result<Vec<Finding>, StepError> {
        Ok(Vec::new())
    }

    /// Tells whether it is done. Writes nothing.
    async fn probe(&self, cx: &ReadContext<'_, W>) -> Result<Probe, StepError>;

    /// Does it. May be called twice.
    async fn run(&self, cx: &WriteContext<'_, W>) -> Result<Done, StepError>;

    /// Puts the originals back, also after a failed run. May be called twice.
    async fn undo(&self, _cx: &WriteContext<'_, W>) -> Result<Vec<Change>, StepError> {
        Ok(Vec::new())
    }

    /// For the cutover alone: makes a request in doubt impossible and proves that nothing was moved.
    async fn withdraw(&self, _cx: &WriteContext<'_, W>) -> Result<(), StepError> {
        Err(StepError::permanent(
            "this step cannot prove that it moved nothing",
        ))
    }

    /// Says what is owed if the site does not answer.
    fn owes(&self) -> Vec<Owed> {
        Vec::new()
    }
}

/// Something that a check found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at, such as ``dr policy `dr-forward` ``.
    pub object: String,
    /// What was found, and for a fault the next command.
    pub text: String,
}

/// How bad a finding is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// A person should know.
    Warn,
    /// The run must not begin.
    Fail,
}

impl Finding {
    /// As it should be.
    pub fn ok(object: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding {
            level: Level::Ok,
            object: object.into(),
            text: text.into(),
        }
    }

    /// A person should know.
    pub fn warn(object: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding {
            level: Level::Warn,
            object: object.into(),
            text: text.into(),
        }
    }

    /// The run must not begin.
    pub fn fail(object: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding {
            level: Level::Fail,
            object: object.into(),
            text: text.into(),
        }
    }
}

/// Whether a step is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// Yes. Holds what later steps need.
    Done(Value),
    /// No, and this is what it would change.
    NotDone(Vec<Change>),
    /// The world cannot tell. A person decides.
    Unknown(String),
}

/// How a run of a step ended, when it did not fail.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// Done.
    Done {
        /// For later steps.
        output: Value,
        /// What was changed.
        changes: Vec<Change>,
    },
    /// A person has to decide before it counts as done.
    Ask {
        /// What kind of question.
        about: About,
        /// The text.
        question: String,
        /// Its output, if the answer is yes.
        output: Value,
    },
    /// It cannot be done now; to be done when the site returns.
    Owe {
        /// What.
        items: Vec<Owed>,
        /// Why.
        reason: String,
    },
    /// An earlier step, the one that the plan names under `back-to`, must be taken again. After as many returns as the
    /// step has attempts, or without such a step, a person is asked whether to accept what was found.
    Back {
        /// Why.
        reason: String,
        /// Its output, if a person accepts it.
        output: Value,
    },
}

impl Done {
    /// Done, with nothing to tell.
    pub fn plain() -> Done {
        Done::Done {
            output: Value::Null,
            changes: Vec::new(),
        }
    }

    /// Done, with these changes.
    pub fn changed(changes: Vec<Change>) -> Done {
        Done::Done {
            output: Value::Null,
            changes,
        }
    }
}

/// Why a step failed, sorted by what to do next.
#[derive(Debug)]
pub struct StepError {
    /// What to do next.
    pub sort: Sort,
    /// True if the site did not answer at all, which lets a step be owed.
    pub unreachable: bool,
    /// True if the driver was asked to stop while nothing was under way. Not a failure.
    pub paused: bool,
    source: BoxError,
}

impl StepError {
    /// An error of a sort.
    pub fn new(sort: Sort, source: impl Into<BoxError>) -> StepError {
        StepError {
            sort,
            unreachable: false,
            paused: false,
            source: source.into(),
        }
    }

    /// Worth another attempt.
    pub fn transient(source: impl Into<BoxError>) -> StepError {
        StepError::new(Sort::Transient, source)
    }

    /// Another attempt would end the same.
    pub fn permanent(source: impl Into<BoxError>) -> StepError {
        StepError::new(Sort::Permanent, source)
    }

    /// The request left and no answer came.
    pub fn unknown(source: impl Into<BoxError>) -> StepError {
        StepError::new(Sort::Unknown, source)
    }

    /// The same error, of a site that did not answer at all.
    pub fn unreachable(mut self) -> StepError {
        self.unreachable = true;
        self
    }

    fn paused() -> StepError {
        StepError {
            paused: true,
            ..StepError::transient("asked to stop")
        }
    }

    /// Returns why the journal can no longer be written, if that is what the step failed of.
    pub(crate) fn into_lost(self) -> Result<Lost, StepError> {
        let StepError {
            sort,
            unreachable,
            paused,
            source,
        } = self;
        source
            .downcast::<Lost>()
            .map(|lost| *lost)
            .map_err(|source| StepError {
                sort,
                unreachable,
                paused,
                source,
            })
    }

    /// Returns the error with its causes, outermost first, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.source.to_string();
        let mut cause = self.source.source();
        while let Some(error) = cause {
            let line = error.to_string();
            if !text.contains(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain())
    }
}

impl StdError for StepError {}

impl From<Lost> for StepError {
    fn from(lost: Lost) -> StepError {
        StepError::permanent(lost)
    }
}

/// What a check and a probe may use.
pub struct ReadContext<'a, W: World> {
    /// Clients that cannot write.
    pub world: &'a W::Reader,
    /// The plan.
    pub plan: &'a Plan,
    /// The clock.
    pub clock: &'a Clock,
    /// The run as it stands.
    pub run: RunState,
    /// The step's place in the plan.
    pub position: usize,
    /// In a rehearsal: what earlier steps would have changed.
    pub assumed: Option<&'a Assumed>,
}

impl<W: World> ReadContext<'_, W> {
    /// Returns the output of an earlier step of this run; null if it has none.
    pub fn output(&self, step: &str) -> &Value {
        self.run
            .step(step)
            .map_or(&Value::Null, |record| &record.output)
    }

    /// Returns progress that an earlier attempt of this step saved.
    pub fn checkpoint(&self, name: &str) -> Option<&Value> {
        self.run.steps[self.position].checkpoints.get(name)
    }

    /// Returns an object as it was before this run first wrote to it, if it was saved.
    pub fn original(&self, site: &str, object: &str) -> Option<&Value> {
        self.run
            .originals
            .get(&(site.to_owned(), object.to_owned()))
    }

    /// Returns a field as the world says, or in a rehearsal as an earlier step would have left it.
    pub fn seen(&self, object: &str, field: &str, real: impl Into<String>) -> String {
        self.assumed
            .and_then(|assumed| assumed.get(object, field))
            .map_or_else(|| real.into(), str::to_owned)
    }

    /// True in a rehearsal.
    pub fn rehearses(&self) -> bool {
        self.assumed.is_some()
    }
}

/// What a run and an undo may use.
pub struct WriteContext<'a, W: World> {
    /// Clients that can write.
    pub world: &'a W::Writer,
    pub(crate) reader: &'a W::Reader,
    pub(crate) plan: &'a Plan,
    pub(crate) clock: &'a Clock,
    pub(crate) log: &'a Arc<RunLog>,
    pub(crate) position: usize,
    pub(crate) stop: Stop,
    pub(crate) token: String,
}

impl<W: World> WriteContext<'_, W> {
    /// Returns a context for reading, with the run as it stands now.
    pub fn read(&self) -> ReadContext<'_, W> {
        ReadContext {
            world: self.reader,
            plan: self.plan,
            clock: self.clock,
            run: self.log.state(),
            position: self.position,
            assumed: None,
        }
    }

    /// Returns the token of this attempt, the same in every repetition of it.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the clock.
    pub fn clock(&self) -> &Clock {
        self.clock
    }

    /// Returns the plan.
    pub fn plan(&self) -> &Plan {
        self.plan
    }

    /// Saves progress inside this attempt. It is on disk when this returns.
    pub async fn save_checkpoint(&self, name: &str, value: Value) -> Result<(), StepError> {
        Ok(self
            .log
            .save_checkpoint(self.step_id(), name, value)
            .await?)
    }

    /// Saves an object as it was before this run first wrote to it. Does nothing if it was saved before: a later
    /// attempt would see what the run itself wrote.
    pub async fn save_original(
        &self,
        site: &str,
        object: &str,
        document: Value,
    ) -> Result<(), StepError> {
        Ok(self
            .log
            .save_original(self.step_id(), site, object, document)
            .await?)
    }

    /// Says what is being waited for. Shown while the run is watched, kept nowhere.
    pub fn tell(&self, text: &str) {
        self.log.observer().waiting(self.step_id(), text);
    }

    /// Waits for a span of plan time. Fails as paused if the driver is asked to stop meanwhile: nothing may be under
    /// way when a step waits.
    pub async fn sleep(&self, span: Duration) -> Result<(), StepError> {
        self.sleep_until(self.clock.after(span)).await
    }

    /// Waits until a time, as [`WriteContext::sleep`].
    pub async fn sleep_until(&self, then: Timestamp) -> Result<(), StepError> {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.requested() => Err(StepError::paused()),
            () = self.clock.sleep_until(then) => Ok(()),
        }
    }

    fn step_id(&self) -> &str {
        &self.plan.steps[self.position].id
    }
}
