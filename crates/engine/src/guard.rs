//! What must be true of the world before a step is taken.
//!
//! A guard names an earlier step; the guard holds while that step's probe says done. Guards are probed before every
//! attempt, so also after a resume, a wait, an approval and right before the cutover.

use std::time::Duration;

use futures_util::future::join_all;

use crate::attempt::{within, words};
use crate::event::Sort;
use crate::executor::CHECK;
use crate::plan::{Broken, Guard, IfUnreachable};
use crate::runlog::RunLog;
use crate::state::StepState;
use crate::step::{Probe, ReadContext, Step, StepError, World};

/// Whether a step may be taken.
pub(crate) enum Standing {
    /// All guards hold.
    Holds,
    /// What it rests on is owed, so it is owed too.
    Owed { reason: String },
    /// An earlier step, at this position, has to be taken again.
    Back { to: usize, reason: String },
    /// A person decides.
    Ask { reason: String },
    /// The world could not be read. Never a reason to go on.
    Unread { error: StepError },
}

/// Probes the guards of the step at position `i`. The first that does not hold, in the order of the steps, decides.
pub(crate) async fn standing<W: World>(
    log: &RunLog,
    steps: &[Box<dyn Step<W>>],
    reader: &W::Reader,
    i: usize,
) -> Standing {
    let plan = log.plan();
    let mut guards: Vec<(usize, &Guard)> = plan.steps[i]
        .guards
        .iter()
        .filter_map(|guard| Some((plan.position(&guard.step).filter(|at| *at < i)?, guard)))
        .collect();
    guards.sort_by_key(|(at, _)| *at);
    let probes = guards
        .iter()
        .filter(|(at, _)| plan.takes(&plan.steps[*at]))
        .map(|(at, guard)| {
            let (at, guard) = (*at, *guard);
            async move { one(log, steps, reader, i, at, guard).await }
        });
    join_all(probes)
        .await
        .into_iter()
        .find(|standing| !matches!(standing, Standing::Holds))
        .unwrap_or(Standing::Holds)
}

async fn one<W: World>(
    log: &RunLog,
    steps: &[Box<dyn Step<W>>],
    reader: &W::Reader,
    i: usize,
    at: usize,
    guard: &Guard,
) -> Standing {
    let (plan, run) = (log.plan(), log.state());
    let (planned, record) = (&plan.steps[at], &run.steps[at]);
    match record.state {
        StepState::Owed if plan.steps[i].if_unreachable == IfUnreachable::Owe => {
            return Standing::Owed {
                reason: format!("`{}` is owed", planned.id),
            };
        }
        // Owed is what the guard asks for, and what a person did or passed over is theirs.
        StepState::Owed | StepState::PassedOver => return Standing::Holds,
        StepState::Succeeded if record.by_hand => return Standing::Holds,
        StepState::Succeeded => {}
        _ => return broken(log, at, guard, format!("`{}` is not done", planned.id)),
    }
    if let (Some(most), Some(ended)) = (guard.max_age, record.ended_at) {
        // Real time, also in a sandbox: it is about how old a person's knowledge is.
        let age = Duration::try_from(log.clock().now().duration_since(ended)).unwrap_or_default();
        if age > most {
            return broken(
                log,
                at,
                guard,
                format!(
                    "`{}` is {} old, more than {}",
                    planned.id,
                    words(age),
                    words(most)
                ),
            );
        }
    }
    if planned.kind == CHECK {
        return Standing::Holds;
    }
    let cx = ReadContext {
        world: reader,
        plan,
        clock: log.clock(),
        run,
        position: at,
        assumed: None,
    };
    match within(log.clock(), planned, steps[at].probe(&cx)).await {
        Ok(Probe::Done(_)) => Standing::Holds,
        Ok(Probe::NotDone(changes)) => {
            let seen = changes.first().map_or_else(String::new, |c| {
                format!(": {} {} is {}", c.object, c.field, c.before)
            });
            broken(
                log,
                at,
                guard,
                format!("`{}` no longer holds{seen}", planned.id),
            )
        }
        Ok(Probe::Unknown(why)) => Standing::Ask {
            reason: format!("whether `{}` still holds is unknown: {why}", planned.id),
        },
        // Its site went away since: going back, it is owed.
        Err(error) if planned.if_unreachable == IfUnreachable::Owe && error.unreachable => broken(
            log,
            at,
            guard,
            format!("`{}` cannot be read any more: {error}", planned.id),
        ),
        Err(error) => {
            // A look leaves nothing in doubt.
            let sort = if error.sort == Sort::Permanent {
                Sort::Permanent
            } else {
                Sort::Transient
            };
            Standing::Unread {
                error: StepError::new(
                    sort,
                    format!("guard `{}` cannot be read: {error}", planned.id),
                ),
            }
        }
    }
}

fn broken(log: &RunLog, at: usize, guard: &Guard, reason: String) -> Standing {
    // No way leads back across the cutover: a sync in the failover's direction would overwrite what the new side has
    // taken since.
    let crossed = log
        .plan()
        .cutover()
        .is_some_and(|cut| at <= cut && log.look(|run| run.steps[cut].state.is_over()));
    match guard.broken {
        Broken::Back if !crossed => Standing::Back { to: at, reason },
        Broken::Back | Broken::Ask => Standing::Ask { reason },
    }
}
