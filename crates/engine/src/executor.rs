//! Acts: takes what `decide` says, does it, and writes down what came of it.
//!
//! Here stand the driver and its loop. What it does to one step stands in `attempt.rs`, `check.rs`, `doubt.rs` and
//! `undo.rs`; what people say to it in `commands.rs`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use crate::decide::{Action, decide};
use crate::event::{About, Event, Outcome};
use crate::lease::TERM;
use crate::plan::{Plan, hex};
use crate::run::{Question, RunState};
use crate::runlog::{Lost, RunLog};
use crate::step::{ReadContext, Step, StepError, World, WriteContext};
use crate::stop::Stop;

/// The step kind that runs the checks of all steps. The engine knows it because only the engine sees all steps.
pub const CHECK: &str = "check";

/// How often the inbox is looked at.
pub(crate) const INBOX: Duration = Duration::from_millis(200);

/// Who answers the questions of a run in this process.
#[async_trait]
pub trait Person: Send + Sync {
    /// Answers, or says that nobody here can.
    async fn answer(&self, step: &str, question: &Question) -> Answer;
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Approve {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// No.
    Decline {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// Nobody here can say; another process may.
    Wait,
    /// Nobody here can say and nobody shall wait: the driver leaves.
    Leave,
}

/// How driving ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// The run is over.
    Finished(Outcome),
    /// It waits for a person.
    Asking {
        /// The step.
        step: String,
        /// The question.
        question: Question,
    },
    /// A step failed; the run can be resumed.
    Halted {
        /// The step.
        step: String,
        /// Its last error.
        error: String,
    },
    /// Somebody asked the driver to stop.
    Paused {
        /// Who.
        by: String,
    },
}

/// Drives one run.
pub struct Driver<'a, W: World> {
    /// The run.
    pub log: Arc<RunLog>,
    /// Its steps, in the order of the plan.
    pub steps: &'a [Box<dyn Step<W>>],
    /// The world.
    pub world: &'a W,
    /// Who answers questions here.
    pub person: &'a dyn Person,
    /// Seen when somebody wants the driver to stop.
    pub stop: Stop,
    /// Source of nonces.
    pub chance: &'a (dyn Fn() -> u64 + Send + Sync),
}

impl<W: World> Driver<'_, W> {
    /// Drives the run until it is over or cannot go on, and gives the lease back.
    pub async fn drive(self) -> Result<Ended, Lost> {
        let keeper = Keeper::of(self.log.clone());
        let ended = self.turn().await;
        drop(keeper);
        if ended.is_ok() {
            // A lease that could not be given back is that of a dead process as soon as this one has ended.
            let _ = self.log.release().await;
        }
        ended
    }

    async fn turn(&self) -> Result<Ended, Lost> {
        loop {
            self.take_commands().await?;
            let action = self
                .log
                .look(|run| decide(self.log.plan(), run, self.log.clock().now()));
            let over = matches!(action, Action::Finish(_) | Action::Over(_));
            if let Some(by) = self.stop.by().filter(|_| !over) {
                self.log
                    .append(vec![Event::Paused { by: by.clone() }])
                    .await?;
                return Ok(Ended::Paused { by });
            }
            match action {
                Action::Over(outcome) => return Ok(Ended::Finished(outcome)),
                Action::Finish(outcome) => {
                    self.log.finish(Vec::new(), outcome).await?;
                    return Ok(Ended::Finished(outcome));
                }
                Action::Sleep(i, until) => {
                    let why = self.log.look(|run| run.steps[i].error.clone());
                    self.rest(
                        i,
                        &why.unwrap_or_else(|| "a request may be under way".into()),
                        until,
                    )
                    .await;
                }
                Action::Take(i) => self.take(i).await?,
                Action::Judge(i) => self.judge(i).await?,
                Action::Undo(i) => self.undo(i).await?,
                Action::AwaitPerson(i) => {
                    if let Some(ended) = self.await_person(i).await? {
                        return Ok(ended);
                    }
                }
                Action::Halt(i) => {
                    let error = self
                        .log
                        .look(|run| run.steps[i].error.clone())
                        .unwrap_or_default();
                    return Ok(Ended::Halted {
                        step: self.id(i),
                        error,
                    });
                }
            }
        }
    }

    /// Waits until a time, or until somebody wants something.
    pub(crate) async fn rest(&self, i: usize, why: &str, until: Timestamp) {
        let called = async {
            loop {
                tokio::time::sleep(INBOX).await;
                if self.has_mail().await.unwrap_or(false) {
                    break;
                }
            }
        };
        tokio::select! {
            biased;
            () = self.wait(i, why, until) => {}
            () = called => {}
        }
    }

    /// Waits until a time, or until somebody asks the driver to stop.
    pub(crate) async fn wait(&self, i: usize, why: &str, until: Timestamp) {
        self.log.observer().waiting(&self.id(i), why);
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.requested() => {}
            () = self.log.clock().sleep_until(until) => {}
        }
    }

    /// Returns the error, unless what the step failed of is that this driver no longer drives.
    pub(crate) fn unless_lost(&self, error: StepError) -> Result<StepError, Lost> {
        let error = match error.into_lost() {
            Ok(lost) => return Err(lost),
            Err(error) => error,
        };
        if self.log.lease().holds() {
            Ok(error)
        } else {
            Err(Lost::Expired)
        }
    }

    pub(crate) fn intent(&self, i: usize) -> Event {
        let (attempt, generation) = self
            .log
            .look(|run| (run.steps[i].attempts + 1, run.steps[i].generation));
        Event::AttemptStarted {
            step: self.id(i),
            attempt,
            token: self.token(i, generation),
        }
    }

    fn token(&self, i: usize, generation: u32) -> String {
        let text = format!("{}/{}/{generation}", self.log.id(), self.plan().steps[i].id);
        hex(&Sha256::digest(text)[..8])
    }

    pub(crate) fn asked(&self, i: usize, about: About, question: String, output: Value) -> Event {
        let nonce = format!("{:08x}", (self.chance)() as u32);
        Event::Asked {
            step: self.id(i),
            nonce,
            about,
            question,
            output,
        }
    }

    pub(crate) fn read_context(&self, i: usize, run: RunState) -> ReadContext<'_, W> {
        ReadContext {
            world: self.world.reader(),
            plan: self.log.plan(),
            clock: self.log.clock(),
            run,
            position: i,
            assumed: None,
        }
    }

    pub(crate) fn write_context(&self, i: usize, called: Stop) -> WriteContext<'_, W> {
        let generation = self.log.look(|run| run.steps[i].generation);
        WriteContext {
            world: self.world.writer(),
            reader: self.world.reader(),
            plan: self.log.plan(),
            clock: self.log.clock(),
            log: &self.log,
            position: i,
            stop: called,
            token: self.token(i, generation),
        }
    }

    pub(crate) fn plan(&self) -> &Plan {
        self.log.plan()
    }

    pub(crate) fn id(&self, i: usize) -> String {
        self.plan().steps[i].id.clone()
    }
}

/// Renews the lease for as long as it lives, also while a step is under way.
struct Keeper(JoinHandle<()>);

impl Keeper {
    fn of(log: Arc<RunLog>) -> Keeper {
        Keeper(tokio::spawn(async move {
            // A renewal may fail while another process writes; the next may not.
            while log.lease().holds() {
                tokio::time::sleep(TERM / 4).await;
                let _ = log.renew().await;
            }
        }))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
