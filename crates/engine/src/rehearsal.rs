//! A dry run: every step with what it found and what it would change.
//!
//! It is handed readers and nothing else. Later steps see the assumed effects of earlier ones.

use std::collections::BTreeMap;

use crate::clock::Clock;
use crate::event::Change;
use crate::plan::Plan;
use crate::run::RunState;
use crate::step::{Finding, Probe, ReadContext, Step, World};

/// What earlier steps of a rehearsal would have changed.
#[derive(Clone, Debug, Default)]
pub struct Assumed(BTreeMap<(String, String), String>);

impl Assumed {
    /// Returns a field as an earlier step would have left it.
    pub fn get(&self, object: &str, field: &str) -> Option<&str> {
        self.0
            .get(&(object.to_owned(), field.to_owned()))
            .map(String::as_str)
    }

    fn add(&mut self, changes: &[Change]) {
        for change in changes {
            self.0.insert(
                (change.object.clone(), change.field.clone()),
                change.after.clone(),
            );
        }
    }
}

/// One step of a rehearsal.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Rehearsed {
    /// The step.
    pub step: String,
    /// Its kind.
    pub kind: String,
    /// What it does.
    pub summary: String,
    /// What its check found.
    pub findings: Vec<Finding>,
    /// What it would change.
    pub changes: Vec<Change>,
    /// Why that cannot be said, if it cannot.
    pub unknown: Option<String>,
    /// True for the step that moves the clients.
    pub cutover: bool,
}

/// Rehearses a plan. Steps of other modes are left out.
pub async fn rehearse<W: World>(
    plan: &Plan,
    steps: &[Box<dyn Step<W>>],
    reader: &W::Reader,
    clock: &Clock,
) -> Vec<Rehearsed> {
    let mut assumed = Assumed::default();
    let mut seen = Vec::new();
    for (position, (planned, step)) in plan.steps.iter().zip(steps).enumerate() {
        if !plan.takes(planned) {
            continue;
        }
        let cx = ReadContext {
            world: reader,
            plan,
            clock,
            run: RunState::new(plan),
            position,
            assumed: Some(&assumed),
        };
        let findings = match step.check(&cx).await {
            Ok(findings) => findings,
            Err(error) => vec![Finding::warn(
                planned.id.clone(),
                format!("could not be checked: {error}"),
            )],
        };
        let (changes, unknown) = match step.probe(&cx).await {
            Ok(Probe::Done(_)) => (Vec::new(), None),
            Ok(Probe::NotDone(changes)) => (changes, None),
            Ok(Probe::Unknown(why)) => (Vec::new(), Some(why)),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        assumed.add(&changes);
        seen.push(Rehearsed {
            step: planned.id.clone(),
            kind: planned.kind.clone(),
            summary: step.summary(),
            findings,
            changes,
            unknown,
            cutover: planned.cutover,
        });
    }
    seen
}
