//! What the events of a run add up to beside its state: times, decisions, changes.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use runbook_engine::event::{About, Event};
use runbook_engine::plan::{Plan, PlannedStep};

use crate::output::between;
use crate::report::{Decision, Return, StepChange, seconds};

/// What the events add up to beside the state.
#[derive(Default)]
pub struct Tally {
    pub spent: BTreeMap<String, Duration>,
    pub attempts: BTreeMap<String, u32>,
    since: BTreeMap<String, Timestamp>,
    asked: BTreeMap<String, (About, Timestamp)>,
    pub waited: Duration,
    /// Waits for people that were over before the probe through the service name was.
    pub waited_before_probe: Duration,
    pub fenced_at: Option<Timestamp>,
    pub probed_at: Option<Timestamp>,
    pub started_by: String,
    pub takeovers: u32,
    pub decisions: Vec<Decision>,
    pub returns: Vec<Return>,
    pub changes: Vec<StepChange>,
}

impl Tally {
    /// Takes one event in.
    pub fn take(&mut self, plan: &Plan, at: Timestamp, event: &Event) {
        match event {
            Event::RunStarted { by, .. } => self.started_by.clone_from(by),
            Event::TakenOver { .. } => self.takeovers += 1,
            Event::AttemptStarted { step, .. } => {
                *self.attempts.entry(step.clone()).or_default() += 1;
                self.begin(step, at);
                let planned = plan.position(step).map(|i| &plan.steps[i]);
                if self.fenced_at.is_none()
                    && self.probed_at.is_none()
                    && planned.is_some_and(fences_active)
                {
                    self.fenced_at = Some(at);
                }
            }
            Event::UndoStarted { step } => self.begin(step, at),
            Event::Asked { step, about, .. } => {
                self.end(step, at);
                self.begin(step, at);
                self.asked.insert(step.clone(), (*about, at));
            }
            Event::Approved { step, by, reason } => {
                self.decide(step, "approved", by, reason.clone(), at)
            }
            Event::Declined { step, by, reason } => {
                self.decide(step, "declined", by, reason.clone(), at)
            }
            Event::Retried { step, by } => self.decide(step, "retried", by, None, at),
            Event::MarkedDone { step, by } => self.decide(step, "done by hand", by, None, at),
            Event::AbortRequested { by, undo } => {
                self.decide(
                    "",
                    if *undo { "abort and undo" } else { "abort" },
                    by,
                    None,
                    at,
                );
            }
            Event::WentBack { step, to, reason } => {
                self.end(step, at);
                self.returns.push(Return {
                    step: step.clone(),
                    to: to.clone(),
                    reason: reason.clone(),
                });
            }
            Event::Succeeded { step, changes, .. } | Event::UndoFinished { step, changes } => {
                self.end(step, at);
                self.changes.extend(changes.iter().map(|change| StepChange {
                    step: step.clone(),
                    object: change.object.clone(),
                    field: change.field.clone(),
                    before: change.before.clone(),
                    after: change.after.clone(),
                }));
                let kind = plan.position(step).map(|i| plan.steps[i].kind.as_str());
                if matches!(event, Event::Succeeded { .. }) && kind == Some("registry.probe") {
                    self.probed_at = Some(at);
                    self.waited_before_probe = self.waited;
                }
            }
            Event::Owed { step, .. }
            | Event::AttemptFailed { step, .. }
            | Event::AttemptLost { step }
            | Event::AttemptPaused { step }
            | Event::GaveUp { step, .. }
            | Event::PassedOver { step, .. }
            | Event::UndoFailed { step, .. } => self.end(step, at),
            Event::Paused { .. }
            | Event::Checkpoint { .. }
            | Event::OriginalSaved { .. }
            | Event::FoundNotDone { .. }
            | Event::CommandTaken { .. }
            | Event::RunFinished { .. } => {}
        }
    }

    fn begin(&mut self, step: &str, at: Timestamp) {
        self.since.insert(step.to_owned(), at);
    }

    fn end(&mut self, step: &str, at: Timestamp) {
        if let Some(since) = self.since.remove(step) {
            *self.spent.entry(step.to_owned()).or_default() += between(since, at);
        }
    }

    fn decide(
        &mut self,
        step: &str,
        answer: &str,
        by: &str,
        reason: Option<String>,
        at: Timestamp,
    ) {
        self.end(step, at);
        let asked = self.asked.remove(step);
        let waited = asked.map_or(Duration::ZERO, |(_, since)| between(since, at));
        self.waited += waited;
        self.decisions.push(Decision {
            step: step.to_owned(),
            about: asked.map(|(about, _)| about),
            answer: answer.to_owned(),
            by: by.to_owned(),
            reason,
            at,
            waited_seconds: seconds(waited),
        });
    }
}

fn fences_active(step: &PlannedStep) -> bool {
    // An action is kept under its kind, or alone.
    let action = step.action.get(&step.kind).unwrap_or(&step.action);
    step.kind == "harbor.read-only"
        && action["site"] == "active"
        && action["value"] == true
        && action["verify"] != true
}
