//! A run that this process drives: its state, its lease, and the only way to write to its journal.

use std::sync::{Arc, RwLock};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::event::{Event, Outcome};
use crate::journal::{Ending, Journal, JournalError, NewRow, chain, to_text};
use crate::lease::{self, AcquireError, Acquired, Holder, Lease};
use crate::plan::Plan;
use crate::run::{FoldError, Phase, RunState};
use crate::state::StepState;

/// Sees what happens in a run.
pub trait Observer: Send + Sync {
    /// An event is on disk.
    fn recorded(&self, at: Timestamp, event: &Event, run: &RunState);
    /// A step waits for something. Kept nowhere.
    fn waiting(&self, _step: &str, _text: &str) {}
}

/// Sees nothing.
pub struct Blind;

impl Observer for Blind {
    fn recorded(&self, _at: Timestamp, _event: &Event, _run: &RunState) {}
}

/// Why nothing more may be written to a run's journal. The driver stops at once and starts no further effect.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The lease ended before it could be renewed: this process was stopped or suspended.
    #[error("the lease of this driver has run out")]
    Expired,
    /// The state file.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The events do not add up.
    #[error(transparent)]
    Fold(#[from] FoldError),
}

/// A run that this process drives.
pub struct RunLog {
    id: String,
    plan: Plan,
    journal: Arc<Journal>,
    lease: Lease,
    clock: Clock,
    observer: Arc<dyn Observer>,
    state: RwLock<RunState>,
    head: Mutex<Head>,
}

struct Head {
    seq: i64,
    hash: String,
}

impl RunLog {
    /// Begins a run: its rows, its lease and its first event in one commit.
    pub async fn begin(
        journal: Arc<Journal>,
        id: &str,
        plan: Plan,
        holder: &Holder,
        clock: Clock,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<RunLog>, Lost> {
        let at = clock.now();
        let event = Event::RunStarted {
            runbook: plan.runbook.clone(),
            mode: plan.mode,
            plan_digest: plan.digest(),
            by: holder.owner.clone(),
        };
        let first = row("", 1, at, event);
        let lease = Lease::new(1);
        let until = crate::clock::later(at, lease::TERM);
        journal.insert_run(id, &plan, &first, holder, until).await?;
        let mut state = RunState::new(&plan);
        state.apply(at, &first.event)?;
        observer.recorded(at, &first.event, &state);
        Ok(Arc::new(RunLog {
            id: id.to_owned(),
            plan,
            journal,
            lease,
            clock,
            observer,
            state: RwLock::new(state),
            head: Mutex::new(Head {
                seq: 1,
                hash: first.hash,
            }),
        }))
    }

    /// Takes a run over from a driver that is gone. An attempt that it left is in doubt from now on.
    pub async fn resume(
        journal: Arc<Journal>,
        id: &str,
        holder: &Holder,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<RunLog>, ResumeError> {
        let clock = Clock::wall(journal.plan(id).await?.time_scale);
        RunLog::resume_with(journal, id, holder, clock, observer).await
    }

    /// Takes a run over, as [`RunLog::resume`], on a clock that is not the plan's.
    pub async fn resume_with(
        journal: Arc<Journal>,
        id: &str,
        holder: &Holder,
        clock: Clock,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<RunLog>, ResumeError> {
        let plan = journal.plan(id).await?;
        let acquired = lease::acquire(
            &journal,
            id,
            holder,
            clock.now(),
            clock.real(plan.request_timeout),
        )
        .await?;
        let events = journal.events(id).await?;
        let state = RunState::of(&plan, events.iter().map(|event| (event.at, &event.event)))
            .map_err(Lost::from)?;
        let head = Head {
            seq: events.last().map_or(0, |event| event.seq),
            hash: events
                .last()
                .map_or_else(String::new, |event| event.hash.clone()),
        };
        let (lease, mut news) = match acquired {
            Acquired::Free(lease) => (lease, Vec::new()),
            Acquired::TakenOver {
                lease,
                from,
                requests_over_at,
            } => (
                lease,
                vec![Event::TakenOver {
                    by: holder.owner.clone(),
                    from,
                    requests_over_at,
                }],
            ),
        };
        let running = state
            .steps
            .iter()
            .filter(|record| record.state == StepState::Running);
        news.extend(running.map(|record| Event::AttemptLost {
            step: record.id.clone(),
        }));
        if matches!(state.phase, Phase::Finished(_)) {
            news.clear();
        }
        let log = Arc::new(RunLog {
            id: id.to_owned(),
            plan,
            journal,
            lease,
            clock,
            observer,
            state: RwLock::new(state),
            head: Mutex::new(head),
        });
        if !news.is_empty() {
            log.append(news).await?;
        }
        Ok(log)
    }

    /// Returns the id of the run.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the clock of the run.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the lease. What writes to the world asks it before each request.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Returns the journal.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Returns the state as it is now.
    pub fn state(&self) -> RunState {
        self.look(RunState::clone)
    }

    /// Looks at the state.
    pub fn look<T>(&self, at: impl FnOnce(&RunState) -> T) -> T {
        at(&self
            .state
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(crate) fn observer(&self) -> &dyn Observer {
        &*self.observer
    }

    /// Writes events in one commit. They are on disk when this returns.
    pub async fn append(self: &Arc<Self>, events: Vec<Event>) -> Result<(), Lost> {
        self.write(events, None).await
    }

    /// Writes these events and the last one in one commit.
    pub async fn finish(
        self: &Arc<Self>,
        mut events: Vec<Event>,
        outcome: Outcome,
    ) -> Result<(), Lost> {
        events.push(Event::RunFinished { outcome });
        self.write(events, Some(outcome)).await
    }

    /// In a task of its own: a caller that gives up in the middle, such as a step whose time is up, must not leave a
    /// commit of which this process knows nothing.
    async fn write(
        self: &Arc<Self>,
        events: Vec<Event>,
        outcome: Option<Outcome>,
    ) -> Result<(), Lost> {
        let log = self.clone();
        let write = tokio::spawn(async move {
            let mut head = log.head.lock().await;
            let (rows, state) = log.rows(&head, events)?;
            let before = head.seq;
            match outcome {
                None => {
                    log.journal
                        .append(&log.id, log.lease.epoch, before, &rows)
                        .await?
                }
                Some(outcome) => {
                    let ending = log.ending(&state, outcome);
                    log.journal
                        .finish(&log.id, log.lease.epoch, before, &rows, &ending)
                        .await?;
                }
            }
            log.take_in(&mut head, rows)
        });
        match write.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(written) => written,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The process is going down.
            Err(Err(_)) => Err(Lost::Expired),
        }
    }

    fn ending(&self, state: &RunState, outcome: Outcome) -> Ending {
        let cutover = self.plan.cutover().map(|i| &state.steps[i]);
        Ending {
            outcome,
            moved_to: cutover
                .filter(|record| record.state == StepState::Succeeded)
                .map(|_| self.plan.to.clone()),
            // What is owed is owed because the clients were moved away. Ended before that, nothing is.
            owed: match cutover {
                Some(record) if !record.touched && !record.state.is_over() => Vec::new(),
                _ => state.owed(),
            },
        }
    }

    pub(crate) async fn save_checkpoint(
        self: &Arc<Self>,
        step: &str,
        name: &str,
        value: Value,
    ) -> Result<(), Lost> {
        self.append(vec![Event::Checkpoint {
            step: step.to_owned(),
            name: name.to_owned(),
            value,
        }])
        .await
    }

    pub(crate) async fn save_original(
        self: &Arc<Self>,
        step: &str,
        site: &str,
        object: &str,
        document: Value,
    ) -> Result<(), Lost> {
        if self.look(|state| {
            state
                .originals
                .contains_key(&(site.to_owned(), object.to_owned()))
        }) {
            return Ok(());
        }
        let (step, site, object) = (step.to_owned(), site.to_owned(), object.to_owned());
        self.append(vec![Event::OriginalSaved {
            step,
            site,
            object,
            document,
        }])
        .await
    }

    pub(crate) async fn renew(&self) -> Result<(), Lost> {
        if !self.lease.holds() {
            return Err(Lost::Expired);
        }
        Ok(lease::renew(&self.journal, &self.id, &self.lease, self.clock.now()).await?)
    }

    /// Gives the lease back.
    pub async fn release(&self) -> Result<(), Lost> {
        Ok(lease::release(&self.journal, &self.id, &self.lease).await?)
    }

    /// Checks the events against the state before anything is written. Returns the state after them too.
    fn rows(&self, head: &Head, events: Vec<Event>) -> Result<(Vec<NewRow>, RunState), Lost> {
        if !self.lease.holds() {
            return Err(Lost::Expired);
        }
        let at = self.clock.now();
        let mut state = self.state();
        let mut rows: Vec<NewRow> = Vec::with_capacity(events.len());
        for event in events {
            state.apply(at, &event)?;
            let before = rows
                .last()
                .map_or(head.hash.as_str(), |row| row.hash.as_str());
            rows.push(row(before, head.seq + 1 + rows.len() as i64, at, event));
        }
        Ok((rows, state))
    }

    fn take_in(&self, head: &mut Head, rows: Vec<NewRow>) -> Result<(), Lost> {
        for row in rows {
            let mut state = self
                .state
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            state.apply(row.at, &row.event)?;
            let seen = state.clone();
            drop(state);
            self.observer.recorded(row.at, &row.event, &seen);
            *head = Head {
                seq: row.seq,
                hash: row.hash,
            };
        }
        Ok(())
    }
}

/// Why a run could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// A live driver holds it.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The state file.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It was lost again at once.
    #[error(transparent)]
    Lost(#[from] Lost),
}

fn row(before: &str, seq: i64, at: Timestamp, event: Event) -> NewRow {
    let payload = to_text(&event);
    let hash = chain(before, seq, at, &payload);
    NewRow {
        seq,
        at,
        event,
        payload,
        hash,
    }
}
