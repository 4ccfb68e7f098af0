//! What every test needs: a state file, a clock that only waits move, plans in a line each, drivers that die.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use runbook_engine::clock::Clock;
use runbook_engine::event::{Command, Event, Outcome};
use runbook_engine::executor::{Answer, Driver, Ended, Person};
use runbook_engine::journal::{Journal, Recorded};
use runbook_engine::lease::Holder;
use runbook_engine::plan::{
    Broken, Guard, IfUnreachable, InDoubt, Mode, OnFailure, Plan, PlannedStep, Retry,
};
use runbook_engine::run::{Question, RunState};
use runbook_engine::runlog::{Lost, Observer, ResumeError, RunLog};
use runbook_engine::stop::{StopSender, stop};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{Death, Toy, die, steps};

pub const RUN: &str = "7f3kq";
/// How long a request may be under way, in the plans here.
pub const REQUEST: Duration = Duration::from_secs(10);

/// A step that sets a cell of its own name, is tried three times and probed when in doubt.
pub fn step(id: &str) -> PlannedStep {
    PlannedStep {
        id: id.into(),
        kind: "toy".into(),
        action: json!({ "sets": [id] }),
        modes: Vec::new(),
        timeout: Duration::from_secs(60),
        retry: Retry {
            attempts: 3,
            backoff: Duration::from_secs(2),
        },
        on_failure: OnFailure::Stop,
        if_unreachable: IfUnreachable::Fail,
        guards: Vec::new(),
        back_to: None,
        cutover: false,
        in_doubt: InDoubt::Probe,
    }
}

/// The same in words.
pub trait Words: Sized {
    fn doing(self, action: Value) -> Self;
    fn guarded_by(self, steps: &[&str]) -> Self;
    fn kind(self, kind: &str) -> Self;
    fn with(self, change: impl FnOnce(&mut PlannedStep)) -> Self;
}

impl Words for PlannedStep {
    fn doing(self, action: Value) -> Self {
        self.with(|step| step.action = action)
    }

    fn guarded_by(self, steps: &[&str]) -> Self {
        self.with(|step| step.guards.extend(steps.iter().map(|id| guard(id))))
    }

    fn kind(self, kind: &str) -> Self {
        self.with(|step| step.kind = kind.into())
    }

    fn with(mut self, change: impl FnOnce(&mut PlannedStep)) -> Self {
        change(&mut self);
        self
    }
}

pub fn guard(step: &str) -> Guard {
    Guard {
        step: step.into(),
        max_age: None,
        broken: Broken::Back,
    }
}

/// A step that looks and changes nothing.
pub fn look(id: &str) -> PlannedStep {
    step(id)
        .doing(json!({}))
        .with(|step| step.in_doubt = InDoubt::Repeat)
}

pub fn plan(steps: Vec<PlannedStep>) -> Plan {
    Plan {
        runbook: "toy".into(),
        topology: "pair".into(),
        mode: Mode::Planned,
        from: "primary".into(),
        to: "dr".into(),
        bindings: Value::Null,
        steps,
        request_timeout: REQUEST,
        time_scale: 1.0,
        rto_target: None,
        rpo_target: None,
    }
}

pub fn start() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("in range")
}

/// How the life of one driver ended.
#[derive(Debug)]
pub enum Life {
    Ended(Ended),
    Died,
    // Looked at by those who print it.
    #[allow(dead_code)]
    Lost(Lost),
    #[allow(dead_code)]
    NotResumed(ResumeError),
}

impl Life {
    pub fn outcome(self) -> Outcome {
        match self {
            Life::Ended(Ended::Finished(outcome)) => outcome,
            other => panic!("not finished: {other:?}"),
        }
    }

    pub fn ended(self) -> Ended {
        match self {
            Life::Ended(ended) => ended,
            other => panic!("no end: {other:?}"),
        }
    }

    pub fn question(self) -> Question {
        match self {
            Life::Ended(Ended::Asking { question, .. }) => question,
            other => panic!("nothing was asked: {other:?}"),
        }
    }

    pub fn halted(self) -> (String, String) {
        match self {
            Life::Ended(Ended::Halted { step, error }) => (step, error),
            other => panic!("not halted: {other:?}"),
        }
    }
}

type Hook = Arc<dyn Fn(&Event, &RunState) + Send + Sync>;

/// Dies after so many events, and calls a hook at each.
struct Watcher {
    dies_after: Option<usize>,
    seen: AtomicUsize,
    hook: Option<Hook>,
}

impl Observer for Watcher {
    fn recorded(&self, _at: Timestamp, event: &Event, run: &RunState) {
        let seen = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(hook) = &self.hook {
            hook(event, run);
        }
        if self.dies_after == Some(seen) {
            die();
        }
    }
}

/// Gives the answers of a list, then leaves.
#[derive(Default)]
pub struct People(Mutex<VecDeque<Answer>>);

#[async_trait]
impl Person for People {
    async fn answer(&self, _step: &str, _question: &Question) -> Answer {
        self.0
            .lock()
            .expect("not poisoned")
            .pop_front()
            .unwrap_or(Answer::Leave)
    }
}

pub fn yes() -> Answer {
    Answer::Approve {
        by: "ana".into(),
        reason: None,
    }
}

pub fn no() -> Answer {
    Answer::Decline {
        by: "ana".into(),
        reason: Some("not today".into()),
    }
}

/// One state file, one world, one run; drivers come and go.
pub struct Rig {
    _folder: TempDir,
    pub file: PathBuf,
    pub journal: Mutex<Arc<Journal>>,
    pub clock: Clock,
    pub toy: Toy,
    pub plan: Plan,
    drivers: AtomicU32,
    nonces: Arc<AtomicU64>,
    stop: Mutex<Option<StopSender>>,
    hook: Mutex<Option<Hook>>,
    people: Arc<People>,
}

impl Rig {
    pub async fn new(steps: Vec<PlannedStep>) -> Rig {
        Rig::of(plan(steps)).await
    }

    pub async fn of(plan: Plan) -> Rig {
        Rig::with_clock(plan, Clock::set(start())).await
    }

    pub async fn with_clock(plan: Plan, clock: Clock) -> Rig {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("state.db");
        let journal = Journal::open(&file).await.expect("a new state file");
        Rig {
            _folder: folder,
            file,
            journal: Mutex::new(Arc::new(journal)),
            toy: Toy::new(&clock),
            clock,
            plan,
            drivers: AtomicU32::new(0),
            nonces: Arc::default(),
            stop: Mutex::default(),
            hook: Mutex::default(),
            people: Arc::default(),
        }
    }

    pub fn journal(&self) -> Arc<Journal> {
        self.journal.lock().expect("not poisoned").clone()
    }

    /// What the people here will say, one after the other.
    pub fn people(&self, answers: &[Answer]) {
        self.people
            .0
            .lock()
            .expect("not poisoned")
            .extend(answers.iter().cloned());
    }

    /// Called at each event of every driver from now on.
    pub fn hook(&self, hook: impl Fn(&Event, &RunState) + Send + Sync + 'static) {
        *self.hook.lock().expect("not poisoned") = Some(Arc::new(hook));
    }

    /// Asks the present driver to stop.
    pub fn stop(&self) {
        if let Some(stop) = &*self.stop.lock().expect("not poisoned") {
            stop.request("ctrl-c");
        }
    }

    /// A driver that is dead as soon as nobody polls it: its process never existed.
    pub fn holder(&self) -> Holder {
        let number = self.drivers.fetch_add(1, Ordering::SeqCst);
        Holder {
            pid: i64::from(u32::MAX),
            started: "never".into(),
            ..Holder::of_process(&format!("driver-{number}"), 1)
        }
    }

    pub async fn begin(&self) -> Life {
        self.live(true, None).await
    }

    pub async fn begin_and_die_after(&self, events: usize) -> Life {
        self.live(true, Some(events)).await
    }

    pub async fn resume(&self) -> Life {
        self.live(false, None).await
    }

    pub async fn resume_and_die_after(&self, events: usize) -> Life {
        self.live(false, Some(events)).await
    }

    /// Resumes until a driver comes to an end of its own.
    pub async fn survive(&self) -> Ended {
        for _ in 0..50 {
            match self.resume().await {
                Life::Died => {}
                other => return other.ended(),
            }
        }
        panic!("fifty drivers died");
    }

    async fn live(&self, begin: bool, dies_after: Option<usize>) -> Life {
        if !begin {
            self.renew().await;
        }
        let (caller, called) = stop();
        *self.stop.lock().expect("not poisoned") = Some(caller);
        let hook = self.hook.lock().expect("not poisoned").clone();
        let watcher: Arc<dyn Observer> = Arc::new(Watcher {
            dies_after,
            seen: AtomicUsize::new(0),
            hook,
        });
        let (journal, holder, clock) = (self.journal(), self.holder(), self.clock.clone());
        let (plan, toy, people, nonces) = (
            self.plan.clone(),
            self.toy.clone(),
            self.people.clone(),
            self.nonces.clone(),
        );
        let life = tokio::spawn(async move {
            let log = if begin {
                match RunLog::begin(journal, RUN, plan.clone(), &holder, clock, watcher).await {
                    Ok(log) => log,
                    Err(lost) => return Life::Lost(lost),
                }
            } else {
                match RunLog::resume_with(journal, RUN, &holder, clock, watcher).await {
                    Ok(log) => log,
                    Err(error) => return Life::NotResumed(error),
                }
            };
            let steps = steps(&plan);
            let chance = move || nonces.fetch_add(1, Ordering::SeqCst) + 1;
            let driver = Driver {
                log,
                steps: &steps,
                world: &toy,
                person: &*people,
                stop: called,
                chance: &chance,
            };
            match driver.drive().await {
                Ok(ended) => Life::Ended(ended),
                Err(lost) => Life::Lost(lost),
            }
        });
        match life.await {
            Ok(life) => life,
            Err(error) => match error.into_panic().downcast::<Death>() {
                Ok(_) => Life::Died,
                Err(panic) => std::panic::resume_unwind(panic),
            },
        }
    }

    /// A lease is renewed in real time, and the clock here runs ahead of it. What the driver before would have done by
    /// now is done for it, unless it gave its lease back.
    async fn renew(&self) {
        use sqlx::{ConnectOptions as _, Connection as _};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&self.file);
        let mut db = options.connect().await.expect("a state file");
        sqlx::query("UPDATE lease SET until = max(until, ?1) WHERE until <> 0")
            .bind((self.clock.now() + runbook_engine::lease::TERM).as_millisecond())
            .execute(&mut db)
            .await
            .expect("renewed");
        db.close().await.expect("closed");
    }

    pub async fn send(&self, command: Command) {
        self.journal()
            .send(RUN, "ben", &command)
            .await
            .expect("sent");
    }

    pub async fn recorded(&self) -> Vec<Recorded> {
        self.journal().events(RUN).await.expect("a whole journal")
    }

    pub async fn events(&self) -> Vec<Event> {
        self.recorded()
            .await
            .into_iter()
            .map(|recorded| recorded.event)
            .collect()
    }

    /// The names of the events with their steps, such as `succeeded a`.
    pub async fn told(&self) -> Vec<String> {
        self.events()
            .await
            .iter()
            .map(|event| match event.step() {
                Some(step) => format!("{} {step}", event.name()),
                None => event.name().to_owned(),
            })
            .collect()
    }

    /// How often an event stands in the journal.
    pub async fn count(&self, told: &str) -> usize {
        self.told()
            .await
            .iter()
            .filter(|line| *line == told)
            .count()
    }

    pub async fn state(&self) -> RunState {
        let events = self.recorded().await;
        RunState::of(
            &self.plan,
            events.iter().map(|event| (event.at, &event.event)),
        )
        .expect("they add up")
    }

    /// Does to the state file what no part of the program does.
    pub async fn run_sql(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        use sqlx::{ConnectOptions as _, Connection as _};
        let mut db = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(&self.file)
            .connect()
            .await?;
        sqlx::query(sql).execute(&mut db).await?;
        db.close().await
    }

    /// Why the last command was refused.
    pub async fn refusal(&self) -> Option<String> {
        self.events()
            .await
            .into_iter()
            .rev()
            .find_map(|event| match event {
                Event::CommandTaken { refused, .. } => refused,
                _ => None,
            })
    }
}
