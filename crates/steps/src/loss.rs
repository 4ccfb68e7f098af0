//! The loss statement: what of a site that is gone is not at the other one, as far as anybody knows.
//!
//! The last inventory that was ever taken answers. What was pushed after it is known only as a bound in time, unless
//! the site was fenced before the inventory was taken.

use jiff::Timestamp;
use runbook_engine::event::About;
use runbook_engine::state::StepState;
use runbook_engine::step::{Done, ReadContext, StepError};
use runbook_harbor::Execution;
use runbook_replication::{Inventory, Item, compare};
use serde::Serialize;

use crate::harbor_compare::{HarborCompare, SHOWN};
use crate::look::{self, binding};
use crate::world::Sites;

/// What is lost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Loss {
    /// What of the last inventory is not at the other site, oldest push first, cut to what is shown.
    items: Vec<Item>,
    /// How many there are.
    count: usize,
    /// When the last inventory was taken, if ever.
    inventory_taken_at: Option<Timestamp>,
    /// What was pushed after this may be lost too. None: nothing is known, or the site was fenced by then.
    bound: Option<Timestamp>,
    /// True if nothing can have been pushed after the inventory.
    fenced: bool,
    /// How far back the loss reaches. None: unknown.
    rpo_measured_seconds: Option<f64>,
}

/// States the loss of `step.source`.
pub(crate) async fn state(
    step: &HarborCompare,
    cx: &ReadContext<'_, Sites>,
    of_run: bool,
) -> Result<Loss, StepError> {
    let source = cx.world.bindings.site(&step.source);
    let now = cx.clock.now();
    let last = cx
        .world
        .inventories
        .last(source)
        .await
        .map_err(StepError::permanent)?;
    let Some(last) = last else {
        let bound = last_sync(step, cx).await;
        return Ok(Loss {
            items: Vec::new(),
            count: 0,
            inventory_taken_at: None,
            bound,
            fenced: false,
            rpo_measured_seconds: bound.map(|since| seconds(now, since)),
        });
    };
    let mut items = missing(step, cx, &last, of_run).await?;
    let fenced = is_fenced_before(step, cx, last.taken_at);
    let bound = (!fenced).then_some(last.taken_at);
    let oldest = items
        .iter()
        .filter_map(|item| item.pushed_at)
        .min()
        .or(bound);
    let count = items.len();
    items.truncate(SHOWN);
    Ok(Loss {
        count,
        inventory_taken_at: Some(last.taken_at),
        bound,
        fenced,
        rpo_measured_seconds: Some(oldest.map_or(0.0, |since| seconds(now, since))),
        items,
    })
}

/// States the loss, and stops for a person where it is more than the objective allows.
pub(crate) async fn run(
    step: &HarborCompare,
    cx: &ReadContext<'_, Sites>,
) -> Result<Done, StepError> {
    let loss = state(step, cx, true).await?;
    let target = cx.plan.rpo_target.map(|target| target.as_secs_f64());
    let missed = match (target, loss.rpo_measured_seconds) {
        (Some(target), Some(exposed)) => exposed > target,
        (Some(_), None) => true,
        (None, _) => loss.count > 0,
    };
    let output = serde_json::to_value(&loss).map_err(StepError::permanent)?;
    if !missed {
        return Ok(Done::Done {
            output,
            changes: Vec::new(),
        });
    }
    let question = match target {
        Some(target) => format!(
            "the recovery point objective of {target} s is missed: {}",
            loss.words()
        ),
        None => format!("what would be lost: {}", loss.words()),
    };
    Ok(Done::Ask {
        about: About::Gate,
        question,
        output,
    })
}

impl Loss {
    /// True if nothing of the last inventory is lost.
    pub(crate) fn is_none_known(&self) -> bool {
        self.count == 0 && self.inventory_taken_at.is_some()
    }

    /// Says it in a sentence.
    pub(crate) fn words(&self) -> String {
        let Some(taken) = self.inventory_taken_at else {
            return match self.bound {
                Some(bound) => format!(
                    "no inventory was ever taken: everything pushed after {bound}, the start of the last sync, may be lost"
                ),
                None => "no inventory was ever taken and no sync is known to have succeeded: nothing can be said of the loss".into(),
            };
        };
        if self.count == 0 {
            let since = if self.fenced {
                "nothing was pushed since"
            } else {
                "what was pushed since is"
            };
            return format!("nothing of the last inventory ({taken}) is lost; {since}");
        }
        let since = if self.fenced {
            "nothing was pushed since"
        } else {
            "and what was pushed since"
        };
        let names: Vec<String> = self
            .items
            .iter()
            .take(5)
            .map(|item| format!("{}:{}", item.repository, item.reference))
            .collect();
        let more = if self.count > 5 {
            format!(" and {} more", self.count - 5)
        } else {
            String::new()
        };
        format!(
            "{} of the last inventory ({taken}) would be lost: {}{more}; {since}",
            self.count,
            names.join(", ")
        )
    }
}

async fn missing(
    step: &HarborCompare,
    cx: &ReadContext<'_, Sites>,
    last: &Inventory,
    of_run: bool,
) -> Result<Vec<Item>, StepError> {
    let scope = step.scope(cx).await?;
    let target = step.target(cx, &scope, of_run).await?;
    let mut in_scope = last.clone();
    in_scope
        .entries
        .retain(|(repository, _), _| scope.has(repository));
    let found = compare(&in_scope, &target, &scope);
    let mut items = [found.missing, found.different].concat();
    items.sort_by_key(|item| item.pushed_at);
    Ok(items)
}

/// Tells whether the inventory was taken after the source had been fenced in this run.
fn is_fenced_before(
    step: &HarborCompare,
    cx: &ReadContext<'_, Sites>,
    taken_at: Timestamp,
) -> bool {
    let fence = step.fenced_by.as_ref().and_then(|fence| cx.run.step(fence));
    fence.is_some_and(|fence| {
        fence.state == StepState::Succeeded && fence.ended_at.is_some_and(|ended| ended <= taken_at)
    })
}

/// The start of the last run that succeeded: what it listed is over there.
async fn last_sync(step: &HarborCompare, cx: &ReadContext<'_, Sites>) -> Option<Timestamp> {
    let bound = binding(cx, &step.policy).ok()?;
    let reader = look::reader(cx, &bound.site).ok()?;
    let policy = reader.policy_named(&bound.name).await.ok()??;
    let newest = reader.executions(policy.id, 50).await.ok()?;
    let done = |execution: &&Execution| execution.total > 0 && execution.succeed == execution.total;
    newest.iter().find(done)?.start_time
}

fn seconds(now: Timestamp, then: Timestamp) -> f64 {
    now.duration_since(then).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(count: usize, taken: bool, fenced: bool) -> Loss {
        let item = |n: usize| Item {
            repository: "p/a".into(),
            reference: format!("v{n}"),
            source: None,
            target: None,
            pushed_at: None,
        };
        let taken = taken.then_some(Timestamp::UNIX_EPOCH);
        Loss {
            items: (0..count).map(item).collect(),
            count,
            inventory_taken_at: taken,
            bound: taken.filter(|_| !fenced),
            fenced,
            rpo_measured_seconds: None,
        }
    }

    #[test]
    fn it_says_what_is_known_and_what_is_not() {
        let at = "1970-01-01T00:00:00Z";
        let cases = [
            (loss(0, true, false), format!("nothing of the last inventory ({at}) is lost; what was pushed since is")),
            (loss(0, true, true), format!("nothing of the last inventory ({at}) is lost; nothing was pushed since")),
            (
                loss(6, true, false),
                format!("6 of the last inventory ({at}) would be lost: p/a:v0, p/a:v1, p/a:v2, p/a:v3, p/a:v4 and 1 more; and what was pushed since"),
            ),
            (
                loss(0, false, false),
                "no inventory was ever taken and no sync is known to have succeeded: nothing can be said of the loss".to_owned(),
            ),
        ];
        for (loss, words) in cases {
            assert_eq!(loss.words(), words);
        }
    }
}
