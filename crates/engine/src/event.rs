//! The facts that a journal holds.
//!
//! Every change to the world has an intent recorded before (`AttemptStarted`, `UndoStarted`) and an outcome
//! recorded after. What is not here is not shown: progress, `show`, the report and the metrics read these events.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::Mode;

/// A fact about a run, in the past tense.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The run began with the plan of this digest.
    RunStarted {
        /// The runbook.
        runbook: String,
        /// Planned or unplanned.
        mode: Mode,
        /// The digest of the plan.
        plan_digest: String,
        /// Who started it.
        by: String,
    },
    /// A driver took the run over from one that is gone.
    TakenOver {
        /// The new driver.
        by: String,
        /// The driver before, and why it is taken for gone.
        from: String,
        /// When the last request of the driver before can no longer arrive.
        requests_over_at: Timestamp,
    },
    /// A driver left the run as it is; it can be resumed.
    Paused {
        /// Who asked for it.
        by: String,
    },
    /// An attempt is about to change the world.
    AttemptStarted {
        /// The step.
        step: String,
        /// Counted from 1.
        attempt: u32,
        /// Given to the target where it takes one; the same in every attempt until the run goes back.
        token: String,
    },
    /// Progress inside an attempt.
    Checkpoint {
        /// The step.
        step: String,
        /// What it is called.
        name: String,
        /// What it holds.
        value: Value,
    },
    /// An object as it was before this run first wrote to it.
    OriginalSaved {
        /// The step that saved it.
        step: String,
        /// The site, or `dns`.
        site: String,
        /// The object at that site.
        object: String,
        /// As it was. Null when it could not be read.
        document: Value,
    },
    /// The step is done.
    Succeeded {
        /// The step.
        step: String,
        /// What it found or made, for later steps.
        output: Value,
        /// What it changed.
        changes: Vec<Change>,
        /// True if a probe found it done, false if an attempt did it.
        probed: bool,
    },
    /// The step cannot be done now and will have to be when its site returns.
    Owed {
        /// The step.
        step: String,
        /// What is owed.
        items: Vec<Owed>,
        /// Why it could not be done.
        reason: String,
    },
    /// An attempt ended in an error.
    AttemptFailed {
        /// The step.
        step: String,
        /// What to do next.
        sort: Sort,
        /// What happened.
        error: String,
        /// When the next attempt may start, or, if the outcome is unknown, when the request can no longer arrive.
        next_at: Timestamp,
    },
    /// The driver died during an attempt, which may have taken effect.
    AttemptLost {
        /// The step.
        step: String,
    },
    /// The attempt was left at a point where nothing was under way.
    AttemptPaused {
        /// The step.
        step: String,
    },
    /// An attempt in doubt turned out not to have taken full effect.
    FoundNotDone {
        /// The step.
        step: String,
        /// What is still to be changed.
        remaining: Vec<Change>,
    },
    /// No attempt is left.
    GaveUp {
        /// The step.
        step: String,
        /// The last error.
        error: String,
    },
    /// The step failed, and the runbook says to go on.
    PassedOver {
        /// The step.
        step: String,
        /// The last error.
        error: String,
    },
    /// A person has to decide.
    Asked {
        /// The step.
        step: String,
        /// An answer must carry it, so that an answer given before the question was asked counts for nothing.
        nonce: String,
        /// What kind of question.
        about: About,
        /// The text that the person was shown.
        question: String,
        /// The output of the step, if the answer is yes.
        output: Value,
    },
    /// A person said yes.
    Approved {
        /// The step.
        step: String,
        /// Who.
        by: String,
        /// Why, if a reason was given.
        reason: Option<String>,
    },
    /// A person said no.
    Declined {
        /// The step.
        step: String,
        /// Who.
        by: String,
        /// Why, if a reason was given.
        reason: Option<String>,
    },
    /// A person wants the step tried again.
    Retried {
        /// The step.
        step: String,
        /// Who.
        by: String,
    },
    /// A person did the step by hand.
    MarkedDone {
        /// The step.
        step: String,
        /// Who.
        by: String,
    },
    /// What must be true for a step was not, so an earlier step is taken again. What the steps gone back over had
    /// found is void.
    WentBack {
        /// The step that could not be taken.
        step: String,
        /// The step to be taken next.
        to: String,
        /// Why.
        reason: String,
    },
    /// A command was taken from the inbox.
    CommandTaken {
        /// Its row.
        id: i64,
        /// Who sent it.
        by: String,
        /// What it was.
        command: Command,
        /// Why it was refused, if it was.
        refused: Option<String>,
    },
    /// A person ended the run before its time.
    AbortRequested {
        /// Who.
        by: String,
        /// Whether what was done is to be undone.
        undo: bool,
    },
    /// A step is about to be undone.
    UndoStarted {
        /// The step.
        step: String,
    },
    /// The originals of the step are back.
    UndoFinished {
        /// The step.
        step: String,
        /// What was changed back.
        changes: Vec<Change>,
    },
    /// The originals of the step are not all back.
    UndoFailed {
        /// The step.
        step: String,
        /// What happened.
        error: String,
    },
    /// The run ended.
    RunFinished {
        /// How.
        outcome: Outcome,
    },
}

/// One field of one object, before and after.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// The object, such as ``dr policy `dr-forward` ``.
    pub object: String,
    /// The field.
    pub field: String,
    /// Its value before.
    pub before: String,
    /// Its value after.
    pub after: String,
}

/// Something to be done when a site returns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owed {
    /// The site at which it is owed.
    pub site: String,
    /// What: `silence` or `fence`.
    pub what: String,
}

/// What to do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sort {
    /// Worth another attempt: a 503, a refused connection.
    Transient,
    /// Another attempt would end the same: a 403, a missing project.
    Permanent,
    /// The request left and no answer came. Probe before trying again.
    Unknown,
}

/// What a question is about, which decides what an answer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// Consent before writes stop. Yes: the step is done.
    Approval,
    /// A gate found something. Yes: it is accepted and the step is done.
    Gate,
    /// An attempt in doubt that no probe can judge.
    Doubt,
    /// A guard that is broken and that no earlier step of the run establishes.
    Guard,
    /// A failed step of which the runbook says to ask.
    Failure,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All steps are done, passed over or owed.
    Done,
    /// The check found what forbids the run; nothing was changed.
    Refused,
    /// Ended by a person; what was done stays.
    Aborted,
    /// Ended by a person; every original is back.
    Undone,
    /// Ended by a person; not every original is back.
    UndoIncomplete,
}

/// What a person can tell a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Yes to the question with this nonce.
    Approve {
        /// Of the question.
        nonce: String,
        /// Why.
        reason: Option<String>,
    },
    /// No to the question with this nonce.
    Decline {
        /// Of the question.
        nonce: String,
        /// Why.
        reason: Option<String>,
    },
    /// Try the step that stopped the run again.
    Retry,
    /// The step was done by hand.
    MarkDone {
        /// The step.
        step: String,
    },
    /// End the run here.
    Abort {
        /// And undo what was done.
        undo: bool,
    },
}

impl Event {
    /// Returns the name of the event as it stands in the journal.
    pub fn name(&self) -> &'static str {
        match self {
            Event::RunStarted { .. } => "run-started",
            Event::TakenOver { .. } => "taken-over",
            Event::Paused { .. } => "paused",
            Event::AttemptStarted { .. } => "attempt-started",
            Event::Checkpoint { .. } => "checkpoint",
            Event::OriginalSaved { .. } => "original-saved",
            Event::Succeeded { .. } => "succeeded",
            Event::Owed { .. } => "owed",
            Event::AttemptFailed { .. } => "attempt-failed",
            Event::AttemptLost { .. } => "attempt-lost",
            Event::AttemptPaused { .. } => "attempt-paused",
            Event::FoundNotDone { .. } => "found-not-done",
            Event::GaveUp { .. } => "gave-up",
            Event::PassedOver { .. } => "passed-over",
            Event::Asked { .. } => "asked",
            Event::Approved { .. } => "approved",
            Event::Declined { .. } => "declined",
            Event::Retried { .. } => "retried",
            Event::MarkedDone { .. } => "marked-done",
            Event::WentBack { .. } => "went-back",
            Event::CommandTaken { .. } => "command-taken",
            Event::AbortRequested { .. } => "abort-requested",
            Event::UndoStarted { .. } => "undo-started",
            Event::UndoFinished { .. } => "undo-finished",
            Event::UndoFailed { .. } => "undo-failed",
            Event::RunFinished { .. } => "run-finished",
        }
    }

    /// Returns the step that the event is about, if it is about one.
    pub fn step(&self) -> Option<&str> {
        match self {
            Event::AttemptStarted { step, .. }
            | Event::Checkpoint { step, .. }
            | Event::OriginalSaved { step, .. }
            | Event::Succeeded { step, .. }
            | Event::Owed { step, .. }
            | Event::AttemptFailed { step, .. }
            | Event::AttemptLost { step }
            | Event::AttemptPaused { step }
            | Event::FoundNotDone { step, .. }
            | Event::GaveUp { step, .. }
            | Event::PassedOver { step, .. }
            | Event::Asked { step, .. }
            | Event::Approved { step, .. }
            | Event::Declined { step, .. }
            | Event::Retried { step, .. }
            | Event::MarkedDone { step, .. }
            | Event::WentBack { step, .. }
            | Event::UndoStarted { step }
            | Event::UndoFinished { step, .. }
            | Event::UndoFailed { step, .. } => Some(step),
            Event::RunStarted { .. }
            | Event::TakenOver { .. }
            | Event::Paused { .. }
            | Event::CommandTaken { .. }
            | Event::AbortRequested { .. }
            | Event::RunFinished { .. } => None,
        }
    }
}
