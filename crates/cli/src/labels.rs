//! What a step is called on a screen: its number among the steps that are taken, its id, what it does.

use runbook_engine::plan::Plan;
use runbook_steps::bindings::Bindings;

/// The labels of a plan's steps.
#[derive(Clone, Debug)]
pub struct Labels {
    steps: Vec<Label>,
    /// What roles mean in this plan.
    bindings: Option<Bindings>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Label {
    /// Its id in the plan.
    pub id: String,
    /// Its place among the steps that are taken in the plan's mode, from 1. None: it is not taken.
    pub number: Option<usize>,
    /// What it does, in one line.
    pub summary: String,
}

impl Labels {
    /// Labels a plan. A plan that this version cannot read is shown by the ids of its steps.
    pub fn of(plan: &Plan) -> Labels {
        let summaries: Vec<String> = match runbook_steps::build(plan) {
            Ok(steps) => steps.iter().map(|step| step.summary()).collect(),
            Err(_) => plan.steps.iter().map(|step| step.kind.clone()).collect(),
        };
        let mut count = 0;
        let label = plan.steps.iter().zip(summaries).map(|(step, summary)| {
            let number = plan.takes(step).then(|| {
                count += 1;
                count
            });
            Label {
                id: step.id.clone(),
                number,
                summary,
            }
        });
        Labels {
            steps: label.collect(),
            bindings: Bindings::of(plan).ok(),
        }
    }

    /// Returns the steps in order.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.steps.iter()
    }

    /// Returns `7 dns-upsert` for a step.
    pub fn name(&self, step: &str) -> String {
        let number = self
            .steps
            .iter()
            .find(|label| label.id == step)
            .and_then(|label| label.number);
        number.map_or_else(|| step.to_owned(), |number| format!("{number:>2} {step}"))
    }

    /// Returns the site that a role means.
    pub fn site<'a>(&'a self, role: &'a str) -> &'a str {
        self.bindings
            .as_ref()
            .map_or(role, |bindings| bindings.site(role))
    }

    /// Returns what a step does.
    pub fn summary(&self, step: &str) -> &str {
        self.steps
            .iter()
            .find(|label| label.id == step)
            .map_or("", |label| &label.summary)
    }
}
