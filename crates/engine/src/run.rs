//! The state of a run: what its events add up to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::event::{About, Change, Event, Outcome, Owed};
use crate::plan::{InDoubt, Plan};
use crate::state::{IllegalTransition, StepEvent, StepState};

/// A run, worked out from its journal.
#[derive(Clone, Debug)]
pub struct RunState {
    /// The steps, in the order of the plan.
    pub steps: Vec<StepRecord>,
    /// What is going on.
    pub phase: Phase,
    /// Objects as they were before the run first wrote to them, by site and object. Null: could not be read.
    pub originals: BTreeMap<(String, String), Value>,
    /// When the run began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The last inbox row that was taken.
    pub last_command: i64,
    /// When the last request of a dead driver can no longer arrive.
    pub requests_over_at: Option<Timestamp>,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Steps are taken.
    Forward,
    /// Steps are undone.
    Unwinding,
    /// Nothing more will happen.
    Finished(Outcome),
}

/// One step of a run.
#[derive(Clone, Debug)]
pub struct StepRecord {
    /// The step's id in the plan.
    pub id: String,
    /// Where it stands.
    pub state: StepState,
    /// Attempts since the run last went back over the step.
    pub attempts: u32,
    /// How often the run went back over the step.
    pub generation: u32,
    /// True once an attempt has started, ever: it may have changed something.
    pub touched: bool,
    /// True from an attempt of unknown outcome until the world was seen: a step that a person wants tried again is
    /// probed first, since going back over an attempt that took effect after all could undo a cutover.
    pub doubtful: bool,
    /// True if a person did it by hand: what it guarded is then theirs.
    pub by_hand: bool,
    /// What it found or made. Null until it succeeded, and again after the run went back over it.
    pub output: Value,
    /// What it changed, all attempts together.
    pub changes: Vec<Change>,
    /// Progress inside the attempt.
    pub checkpoints: BTreeMap<String, Value>,
    /// The last error.
    pub error: Option<String>,
    /// Before this nothing is done: the next attempt is due then, or a request under way is over then.
    pub next_at: Option<Timestamp>,
    /// The open question.
    pub question: Option<Question>,
    /// What it left owed.
    pub owed: Vec<Owed>,
    /// When its first attempt started.
    pub started_at: Option<Timestamp>,
    /// When it was last over.
    pub ended_at: Option<Timestamp>,
}

/// A question to a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// An answer must carry it.
    pub nonce: String,
    /// What kind.
    pub about: About,
    /// The text.
    pub text: String,
    /// The step's output, if the answer is yes.
    pub output: Value,
    /// When it was asked.
    pub asked_at: Timestamp,
}

/// Why events do not add up.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// An event names a step that the plan lacks.
    #[error("the journal names step `{0}`, which the plan lacks")]
    UnknownStep(String),
    /// An event may not follow the state that the events before it lead to.
    #[error("step `{step}`: {source}")]
    Illegal {
        /// The step.
        step: String,
        /// The move.
        source: IllegalTransition,
    },
    /// A way back that leads forward.
    #[error("the journal goes back from step `{from}` to `{to}`, which is after it")]
    NotBack {
        /// The step that could not be taken.
        from: String,
        /// The step named as the earlier one.
        to: String,
    },
    /// An event after the end.
    #[error("the journal goes on after the run was finished")]
    AfterEnd,
}

impl RunState {
    /// Returns the state before any event.
    pub fn new(plan: &Plan) -> RunState {
        RunState {
            steps: plan
                .steps
                .iter()
                .map(|step| StepRecord::new(&step.id))
                .collect(),
            phase: Phase::Forward,
            originals: BTreeMap::new(),
            started_at: None,
            finished_at: None,
            last_command: 0,
            requests_over_at: None,
        }
    }

    /// Returns the state that events add up to.
    pub fn of<'a>(
        plan: &Plan,
        events: impl IntoIterator<Item = (Timestamp, &'a Event)>,
    ) -> Result<RunState, FoldError> {
        let mut state = RunState::new(plan);
        for (at, event) in events {
            state.apply(at, event)?;
        }
        Ok(state)
    }

    /// Returns a step by its id.
    pub fn step(&self, id: &str) -> Option<&StepRecord> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// Returns the step that waits for a person, with its question.
    pub fn question(&self) -> Option<(&StepRecord, &Question)> {
        self.steps
            .iter()
            .find_map(|step| Some((step, step.question.as_ref()?)))
    }

    /// Returns everything that is owed.
    pub fn owed(&self) -> Vec<Owed> {
        let mut owed: Vec<Owed> = self
            .steps
            .iter()
            .flat_map(|step| step.owed.iter().cloned())
            .collect();
        owed.sort();
        owed.dedup();
        owed
    }

    /// Tells whether the run may have changed the world: an attempt of a step that writes has started.
    pub fn may_have_written(&self, plan: &Plan) -> bool {
        self.steps
            .iter()
            .zip(&plan.steps)
            .any(|(record, step)| record.touched && step.in_doubt != InDoubt::Repeat)
    }

    /// Takes one event in.
    pub fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), FoldError> {
        if matches!(self.phase, Phase::Finished(_)) && !matches!(event, Event::CommandTaken { .. })
        {
            return Err(FoldError::AfterEnd);
        }
        match event {
            Event::RunStarted { .. } => self.started_at = Some(at),
            Event::TakenOver {
                requests_over_at, ..
            } => {
                self.requests_over_at = self.requests_over_at.max(Some(*requests_over_at));
            }
            Event::CommandTaken { id, .. } => self.last_command = self.last_command.max(*id),
            Event::AbortRequested { undo, .. } => {
                // No answer counts any more.
                self.steps
                    .iter_mut()
                    .for_each(|record| record.question = None);
                if *undo {
                    self.phase = Phase::Unwinding;
                    // It was owed because the clients were to be moved away. They stay.
                    self.steps.iter_mut().for_each(|record| record.owed.clear());
                }
            }
            Event::Paused { .. } => {}
            Event::RunFinished { outcome } => {
                self.phase = Phase::Finished(*outcome);
                self.finished_at = Some(at);
            }
            Event::WentBack { step, to, .. } => {
                let (first, last) = (self.position(to)?, self.position(step)?);
                if first > last {
                    return Err(FoldError::NotBack {
                        from: step.clone(),
                        to: to.clone(),
                    });
                }
                for record in &mut self.steps[first..=last] {
                    record.go_back()?;
                }
            }
            _ => {
                let Some(step) = event.step() else {
                    return Ok(());
                };
                let position = self.position(step)?;
                if let Event::OriginalSaved {
                    site,
                    object,
                    document,
                    ..
                } = event
                {
                    self.originals
                        .entry((site.clone(), object.clone()))
                        .or_insert_with(|| document.clone());
                }
                self.steps[position].apply(at, event)?;
            }
        }
        Ok(())
    }

    fn position(&self, id: &str) -> Result<usize, FoldError> {
        self.steps
            .iter()
            .position(|step| step.id == id)
            .ok_or_else(|| FoldError::UnknownStep(id.to_owned()))
    }
}

impl StepRecord {
    fn new(id: &str) -> StepRecord {
        StepRecord {
            id: id.to_owned(),
            state: StepState::Ready,
            attempts: 0,
            generation: 0,
            touched: false,
            doubtful: false,
            by_hand: false,
            output: Value::Null,
            changes: Vec::new(),
            checkpoints: BTreeMap::new(),
            error: None,
            next_at: None,
            question: None,
            owed: Vec::new(),
            started_at: None,
            ended_at: None,
        }
    }

    fn go_back(&mut self) -> Result<(), FoldError> {
        let state = self.after(StepEvent::WentBack)?;
        // What it had found is void; what it had changed in the world is not, so `touched` and `changes` stay.
        *self = StepRecord {
            state,
            generation: self.generation + 1,
            touched: self.touched,
            changes: std::mem::take(&mut self.changes),
            started_at: self.started_at,
            ..StepRecord::new(&self.id)
        };
        Ok(())
    }

    fn after(&self, event: StepEvent) -> Result<StepState, FoldError> {
        self.state
            .after(event)
            .map_err(|source| FoldError::Illegal {
                step: self.id.clone(),
                source,
            })
    }

    fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), FoldError> {
        let Some(what) = StepEvent::of(event) else {
            return Ok(());
        };
        let before = self.state;
        self.state = self.after(what)?;
        self.doubtful = match what {
            StepEvent::OutcomeUnknown | StepEvent::AttemptLost => true,
            StepEvent::Asked | StepEvent::Retried | StepEvent::Noted => self.doubtful,
            _ => false,
        };
        if self.state.is_over()
            || matches!(
                self.state,
                StepState::Failed | StepState::Undone | StepState::Stuck
            )
        {
            self.ended_at = Some(at);
        }
        if self.state != StepState::Asking {
            if let (Some(question), Event::Approved { .. }) = (&mut self.question, event) {
                self.output = question.output.take();
            }
            self.question = None;
        }
        match event {
            Event::AttemptStarted { attempt, .. } => {
                self.attempts = *attempt;
                self.touched = true;
                self.next_at = None;
                self.started_at.get_or_insert(at);
            }
            Event::Checkpoint { name, value, .. } => {
                self.checkpoints.insert(name.clone(), value.clone());
            }
            Event::Succeeded {
                output, changes, ..
            } => {
                self.output = output.clone();
                self.changes.extend(changes.iter().cloned());
                self.error = None;
                self.owed.clear();
                self.started_at.get_or_insert(at);
            }
            Event::Owed { items, reason, .. } => {
                self.owed = items.clone();
                self.error = Some(reason.clone());
            }
            Event::AttemptFailed { error, next_at, .. } => {
                // An attempt that found its guards unreadable was never started and counts all the same.
                self.attempts += u32::from(before == StepState::Ready);
                self.error = Some(error.clone());
                self.next_at = Some(*next_at);
            }
            Event::Declined { by, reason, .. } => {
                let reason = reason
                    .as_ref()
                    .map_or_else(String::new, |reason| format!(": {reason}"));
                self.error = Some(format!("declined by {by}{reason}"));
            }
            Event::GaveUp { error, .. }
            | Event::PassedOver { error, .. }
            | Event::UndoFailed { error, .. } => {
                self.error = Some(error.clone());
            }
            // Neither counts against the step: it did not fail.
            Event::AttemptPaused { .. } | Event::AttemptLost { .. } => {
                self.attempts = self.attempts.saturating_sub(1);
                self.next_at = None;
            }
            Event::FoundNotDone { .. } => self.next_at = None,
            Event::MarkedDone { .. } => self.by_hand = true,
            Event::Asked {
                nonce,
                about,
                question,
                output,
                ..
            } => {
                self.started_at.get_or_insert(at);
                self.question = Some(Question {
                    nonce: nonce.clone(),
                    about: *about,
                    text: question.clone(),
                    output: output.clone(),
                    asked_at: at,
                });
            }
            Event::Retried { .. } => {
                self.attempts = 0;
                self.next_at = None;
            }
            Event::UndoFinished { changes, .. } => self.changes.extend(changes.iter().cloned()),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::Sort;

    fn record(events: &[Event]) -> StepRecord {
        let mut record = StepRecord::new("a");
        for event in events {
            record
                .apply(Timestamp::UNIX_EPOCH, event)
                .expect("they add up");
        }
        record
    }

    fn started(attempt: u32) -> Event {
        Event::AttemptStarted {
            step: "a".into(),
            attempt,
            token: "t".into(),
        }
    }

    fn failed(sort: Sort) -> Event {
        Event::AttemptFailed {
            step: "a".into(),
            sort,
            error: "e".into(),
            next_at: Timestamp::MAX,
        }
    }

    #[test]
    fn attempts_count_unless_they_were_lost_or_left() {
        let lost = Event::AttemptLost { step: "a".into() };
        let left = Event::AttemptPaused { step: "a".into() };
        let not_done = Event::FoundNotDone {
            step: "a".into(),
            remaining: Vec::new(),
        };
        let attempts = |events: &[Event]| record(events).attempts;
        assert_eq!(attempts(&[started(1), failed(Sort::Transient)]), 1);
        assert_eq!(
            attempts(&[started(1), failed(Sort::Unknown), not_done.clone()]),
            1
        );
        assert_eq!(attempts(&[started(1), lost, not_done]), 0);
        assert_eq!(attempts(&[started(1), left]), 0);
        assert_eq!(
            attempts(&[failed(Sort::Transient), failed(Sort::Transient)]),
            2,
            "guards that could not be read"
        );
        assert_eq!(
            attempts(&[started(1), failed(Sort::Transient), started(2)]),
            2
        );
    }

    #[test]
    fn only_a_look_or_a_new_intent_ends_a_doubt() {
        let asked = Event::Asked {
            step: "a".into(),
            nonce: "n".into(),
            about: About::Doubt,
            question: "?".into(),
            output: Value::Null,
        };
        let again = Event::Retried {
            step: "a".into(),
            by: "ana".into(),
        };
        let doubt = [started(1), failed(Sort::Unknown), asked, again];
        assert!(record(&doubt).doubtful);
        let seen = Event::FoundNotDone {
            step: "a".into(),
            remaining: Vec::new(),
        };
        assert!(!record(&[doubt.as_slice(), &[seen]].concat()).doubtful);
        assert!(!record(&[doubt.as_slice(), &[started(1)]].concat()).doubtful);
    }

    #[test]
    fn an_answer_hands_the_output_over_and_closes_the_question() {
        let asked = Event::Asked {
            step: "a".into(),
            nonce: "n".into(),
            about: About::Gate,
            question: "?".into(),
            output: json!({ "missing": 2 }),
        };
        let yes = Event::Approved {
            step: "a".into(),
            by: "ana".into(),
            reason: None,
        };
        let approved = record(&[asked.clone(), yes]);
        assert_eq!(
            (approved.output, approved.question),
            (json!({ "missing": 2 }), None)
        );
        let no = Event::Declined {
            step: "a".into(),
            by: "ana".into(),
            reason: Some("too many".into()),
        };
        let declined = record(&[asked, no]);
        assert_eq!((declined.output, declined.question), (Value::Null, None));
        assert_eq!(declined.error.as_deref(), Some("declined by ana: too many"));
    }
}
