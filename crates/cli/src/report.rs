//! What a run did, worked out from its plan and its events and nothing else.

use std::time::Duration;

use jiff::Timestamp;
use runbook_engine::event::{About, Outcome, Owed};
use runbook_engine::journal::Recorded;
use runbook_engine::plan::{Mode, Plan, PlannedStep};
use runbook_engine::run::{FoldError, Phase, RunState};
use runbook_engine::state::StepState;
use runbook_steps::bindings::Bindings;
use serde::Serialize;
use serde_json::Value;

use crate::tally::Tally;

/// A run, for people and for auditors.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of this shape. Fields are added, never changed.
    pub schema: u32,
    /// The run.
    pub run: String,
    /// Its runbook.
    pub runbook: String,
    /// Its topology.
    pub topology: String,
    /// Planned or unplanned.
    pub mode: Mode,
    /// The site that served at its start.
    pub from: String,
    /// The site that was to serve.
    pub to: String,
    /// `done`, `refused`, `aborted`, `undone`, `undo incomplete`; before its end `running`, `waiting`, `stopped`.
    pub outcome: String,
    /// True once the clients are at `to`.
    pub moved: bool,
    /// Who started it.
    pub started_by: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How much faster than the wall its waits were. 1 but in a sandbox.
    pub time_scale: f64,
    /// Its steps in order, those of other modes left out.
    pub steps: Vec<StepReport>,
    /// Time by phase.
    pub phases: Phases,
    /// How long nobody could push: from the fence of the active to the end of the probe through the service name.
    pub frozen_seconds: Option<f64>,
    /// The recovery time objective.
    pub rto_target_seconds: Option<f64>,
    /// From the start to the end of the probe through the service name, waits for people left out.
    pub rto_measured_seconds: Option<f64>,
    /// How long people were waited for.
    pub approval_wait_seconds: f64,
    /// The recovery point objective.
    pub rpo_target_seconds: Option<f64>,
    /// How old the oldest lost content is, or may be; 0 if nothing is lost.
    pub rpo_measured_seconds: Option<f64>,
    /// What was lost, as the loss statement of an unplanned run says.
    pub loss: Option<Value>,
    /// What the comparisons found.
    pub comparisons: Vec<Compared>,
    /// Everything that was changed, in order.
    pub changes: Vec<StepChange>,
    /// What was saved before it was first changed.
    pub originals: Vec<Original>,
    /// What has to be done when a site returns.
    pub owed: Vec<Owed>,
    /// Steps of a planned run that this unplanned one can never make up for: done later they would overwrite the
    /// new side.
    pub forfeited: Vec<String>,
    /// What people decided.
    pub decisions: Vec<Decision>,
    /// What differs between the sides after the move, as the steps found it.
    pub divergence: Vec<Value>,
    /// Ways back to an earlier step.
    pub returns: Vec<Return>,
    /// How often a driver took over from one that was gone.
    pub takeovers: u32,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Its id.
    pub step: String,
    /// Its kind.
    pub kind: String,
    /// Its phase.
    pub phase: PhaseName,
    /// Where it stands.
    pub state: String,
    /// Attempts in all, also before the run went back over it.
    pub attempts: u32,
    /// Time spent in it, waits for people included.
    pub seconds: f64,
    /// True if a person did it by hand.
    pub by_hand: bool,
    /// Its last error, if it is not done or owed.
    pub error: Option<String>,
}

/// What a step's time counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseName {
    /// Finding out how things stand.
    Detect,
    /// Waiting for people.
    Decide,
    /// Changing the world.
    Act,
    /// Waiting until everybody sees it.
    Propagate,
    /// Proving that a client can work.
    Verify,
}

/// Time by phase, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Phases {
    /// Finding out how things stand.
    pub detect_seconds: f64,
    /// Waiting for people.
    pub decide_seconds: f64,
    /// Changing the world.
    pub act_seconds: f64,
    /// Waiting until everybody sees it.
    pub propagate_seconds: f64,
    /// Proving that a client can work.
    pub verify_seconds: f64,
}

/// A change and the step that made it.
#[derive(Clone, Debug, Serialize)]
pub struct StepChange {
    /// The step.
    pub step: String,
    /// The object.
    pub object: String,
    /// The field.
    pub field: String,
    /// Its value before.
    pub before: String,
    /// Its value after.
    pub after: String,
}

/// An object that was saved before it was changed.
#[derive(Clone, Debug, Serialize)]
pub struct Original {
    /// The site, or `dns`.
    pub site: String,
    /// The object.
    pub object: String,
    /// False if it could not be read.
    pub known: bool,
}

/// What a comparison found.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// The step.
    pub step: String,
    /// How many references were compared.
    pub compared: Value,
    /// In scope at the source, absent at the target.
    pub missing: Value,
    /// At both, with different digests.
    pub different: Value,
    /// At the target only.
    pub extra: Value,
}

/// What a person decided.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    /// The step.
    pub step: String,
    /// What it was about; none for a step done by hand or tried again.
    pub about: Option<About>,
    /// `approved`, `declined`, `retried`, `done by hand`, `abort`, `abort and undo`.
    pub answer: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
    /// How long the answer was waited for.
    pub waited_seconds: f64,
}

/// A way back to an earlier step.
#[derive(Clone, Debug, Serialize)]
pub struct Return {
    /// The step that could not be taken.
    pub step: String,
    /// The step that was taken again.
    pub to: String,
    /// Why.
    pub reason: String,
}

impl Report {
    /// Makes the report of a run, be it over or not.
    ///
    /// # Errors
    /// When the events do not add up.
    pub fn of(run: &str, plan: &Plan, events: &[Recorded]) -> Result<Report, FoldError> {
        let state = RunState::of(
            plan,
            events.iter().map(|recorded| (recorded.at, &recorded.event)),
        )?;
        let mut tally = Tally::default();
        for recorded in events {
            tally.take(plan, recorded.at, &recorded.event);
        }
        let steps: Vec<StepReport> = plan
            .steps
            .iter()
            .zip(&state.steps)
            .filter(|(step, _)| plan.takes(step))
            .map(|(step, record)| StepReport {
                step: step.id.clone(),
                kind: step.kind.clone(),
                phase: phase(&step.kind),
                state: word(record.state).to_owned(),
                attempts: tally.attempts.get(&step.id).copied().unwrap_or(0),
                seconds: seconds(tally.spent.get(&step.id).copied().unwrap_or_default()),
                by_hand: record.by_hand,
                error: record
                    .error
                    .clone()
                    .filter(|_| record.state != StepState::Succeeded),
            })
            .collect();
        let bindings = Bindings::of(plan).ok();
        let site = |role: &str| {
            bindings
                .as_ref()
                .map_or(role, |bindings| bindings.site(role))
                .to_owned()
        };
        let moved = plan
            .cutover()
            .is_some_and(|cut| state.steps[cut].state == StepState::Succeeded);
        let outputs = || state.steps.iter().map(|record| &record.output);
        let measured = tally.probed_at.zip(state.started_at).map(|(end, start)| {
            crate::output::between(start, end).saturating_sub(tally.waited_before_probe)
        });
        Ok(Report {
            schema: 1,
            run: run.to_owned(),
            runbook: plan.runbook.clone(),
            topology: plan.topology.clone(),
            mode: plan.mode,
            from: plan.from.clone(),
            to: plan.to.clone(),
            outcome: outcome(&state).to_owned(),
            moved,
            started_by: tally.started_by,
            started_at: state.started_at,
            finished_at: state.finished_at,
            time_scale: plan.time_scale,
            phases: phases(&steps),
            steps,
            frozen_seconds: tally
                .fenced_at
                .zip(tally.probed_at)
                .map(|(from, to)| seconds(crate::output::between(from, to))),
            rto_target_seconds: plan.rto_target.map(seconds),
            rto_measured_seconds: measured.map(seconds).filter(|_| moved),
            approval_wait_seconds: seconds(tally.waited),
            rpo_target_seconds: plan.rpo_target.map(seconds),
            rpo_measured_seconds: rpo(plan, &state, moved),
            loss: outputs()
                .rev()
                .find(|output| output.get("rpo_measured_seconds").is_some())
                .cloned(),
            comparisons: comparisons(plan, &state),
            changes: tally.changes,
            originals: state
                .originals
                .iter()
                .map(|((site, object), document)| Original {
                    site: site.clone(),
                    object: object.clone(),
                    known: !document.is_null(),
                })
                .collect(),
            owed: state
                .owed()
                .into_iter()
                .map(|owed| Owed {
                    site: site(&owed.site),
                    what: owed.what,
                })
                .collect(),
            forfeited: forfeited(plan, moved),
            decisions: tally.decisions,
            divergence: outputs()
                .filter_map(|output| output["divergence"].as_array())
                .flatten()
                .cloned()
                .collect(),
            returns: tally.returns,
            takeovers: tally.takeovers,
        })
    }

    /// Names the targets that were missed.
    pub fn missed(&self) -> Vec<&'static str> {
        let over = |measured: Option<f64>, target: Option<f64>| {
            measured.zip(target).is_some_and(|(m, t)| m > t)
        };
        let mut missed = Vec::new();
        if over(self.rto_measured_seconds, self.rto_target_seconds) {
            missed.push("RTO");
        }
        if over(self.rpo_measured_seconds, self.rpo_target_seconds) {
            missed.push("RPO");
        }
        missed
    }
}

/// Says where a step stands.
pub fn word(state: StepState) -> &'static str {
    match state {
        StepState::Ready => "todo",
        StepState::Running => "now",
        StepState::InDoubt => "in doubt",
        StepState::Asking => "asking",
        StepState::Succeeded => "done",
        StepState::Owed => "owed",
        StepState::PassedOver => "passed over",
        StepState::Failed => "failed",
        StepState::Undoing => "undoing",
        StepState::Undone => "undone",
        StepState::Stuck => "stuck",
    }
}

/// Says where a run stands.
pub fn outcome(state: &RunState) -> &'static str {
    match state.phase {
        Phase::Finished(Outcome::Done) => "done",
        Phase::Finished(outcome) => runbook_engine::decide::words(outcome),
        Phase::Unwinding => "unwinding",
        Phase::Forward if state.question().is_some() => "waiting",
        Phase::Forward
            if state
                .steps
                .iter()
                .any(|record| record.state == StepState::Failed) =>
        {
            "stopped"
        }
        Phase::Forward => "running",
    }
}

fn phase(kind: &str) -> PhaseName {
    match kind {
        "check" | "harbor.health" => PhaseName::Detect,
        "approval" => PhaseName::Decide,
        "dns.verify" | "wait" => PhaseName::Propagate,
        "registry.probe" => PhaseName::Verify,
        _ => PhaseName::Act,
    }
}

fn phases(steps: &[StepReport]) -> Phases {
    let mut phases = Phases::default();
    for step in steps {
        *match step.phase {
            PhaseName::Detect => &mut phases.detect_seconds,
            PhaseName::Decide => &mut phases.decide_seconds,
            PhaseName::Act => &mut phases.act_seconds,
            PhaseName::Propagate => &mut phases.propagate_seconds,
            PhaseName::Verify => &mut phases.verify_seconds,
        } += step.seconds;
    }
    for sum in [
        &mut phases.detect_seconds,
        &mut phases.decide_seconds,
        &mut phases.act_seconds,
        &mut phases.propagate_seconds,
        &mut phases.verify_seconds,
    ] {
        *sum = (*sum * 1000.0).round() / 1000.0;
    }
    phases
}

fn comparisons(plan: &Plan, state: &RunState) -> Vec<Compared> {
    let compared = |(step, output): (&PlannedStep, &Value)| {
        output.get("counts")?;
        Some(Compared {
            step: step.id.clone(),
            compared: output["compared"].clone(),
            missing: output["missing"].clone(),
            different: output["different"].clone(),
            extra: output["extra"].clone(),
        })
    };
    plan.steps
        .iter()
        .zip(state.steps.iter().map(|record| &record.output))
        .filter_map(compared)
        .collect()
}

/// An unplanned run states its loss; a planned one that compared before it moved lost nothing but what a person
/// accepted, which is as old as anybody knows.
fn rpo(plan: &Plan, state: &RunState, moved: bool) -> Option<f64> {
    let stated = state
        .steps
        .iter()
        .rev()
        .find_map(|record| record.output["rpo_measured_seconds"].as_f64());
    let cut = plan.cutover().filter(|_| moved)?;
    let nothing_lost = || {
        let last = state.steps[..cut]
            .iter()
            .rev()
            .find(|record| record.output.get("counts").is_some())?;
        let counts = &last.output["counts"];
        (counts["missing"] == 0 && counts["different"] == 0).then_some(0.0)
    };
    stated.or_else(nothing_lost)
}

fn forfeited(plan: &Plan, moved: bool) -> Vec<String> {
    if plan.mode != Mode::Unplanned || !moved {
        return Vec::new();
    }
    let lost = |step: &&PlannedStep| {
        !plan.takes(step) && matches!(step.kind.as_str(), "harbor.sync" | "harbor.compare")
    };
    // What a planned run does after the cutover only looks, and can still be done.
    let cut = plan.cutover().unwrap_or(plan.steps.len());
    plan.steps[..cut]
        .iter()
        .filter(lost)
        .map(|step| step.id.clone())
        .collect()
}

/// Writes a span as seconds: whole milliseconds are all that the journal knows.
pub fn seconds(span: Duration) -> f64 {
    span.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use runbook_engine::event::Event;

    use super::*;
    use crate::samples;

    fn report(plan: &Plan, events: Vec<(Timestamp, Event)>) -> Report {
        Report::of("7f3kq", plan, &samples::recorded(events)).expect("the events add up")
    }

    #[test]
    fn a_planned_failover_is_reported_whole() {
        let report = report(&samples::plan(), samples::planned_failover());
        insta::assert_json_snapshot!(report);
        assert!(report.missed().is_empty());
    }

    #[test]
    fn a_run_that_is_not_over_is_reported_as_it_stands() {
        let events = samples::planned_failover();
        let report = report(&samples::plan(), events.into_iter().take(8).collect());
        assert_eq!((report.outcome.as_str(), report.moved), ("running", false));
        assert_eq!(report.rto_measured_seconds, None);
    }

    #[test]
    fn what_people_are_waited_for_does_not_count_against_the_rto() {
        let mut plan = samples::plan();
        let whole = report(&plan, samples::planned_failover());
        assert!(whole.approval_wait_seconds > 0.0);
        plan.rto_target = Some(Duration::from_secs(1));
        let late = report(&plan, samples::planned_failover());
        assert_eq!(late.missed(), ["RTO"]);
    }
}
