//! What a driver does next.
//!
//! Pure: a plan, a state and the time in, one action out. The executor only acts.

use jiff::Timestamp;

use crate::event::{About, Command, Event, Outcome};
use crate::plan::{InDoubt, Plan};
use crate::run::{Phase, RunState};
use crate::state::StepState;

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Check the guards of a step, then attempt it.
    Take(usize),
    /// Find out whether an attempt in doubt took effect.
    Judge(usize),
    /// Nothing before this time: a retry is due then, or a request under way is over then.
    Sleep(usize, Timestamp),
    /// A person has to answer.
    AwaitPerson(usize),
    /// A step failed. The run can be resumed once its cause is gone.
    Halt(usize),
    /// Undo a step.
    Undo(usize),
    /// The run is over.
    Finish(Outcome),
    /// The run was over already.
    Over(Outcome),
}

/// Decides what is next.
pub fn decide(plan: &Plan, run: &RunState, now: Timestamp) -> Action {
    match run.phase {
        Phase::Finished(outcome) => Action::Over(outcome),
        Phase::Forward => forward(plan, run, now),
        Phase::Unwinding => unwind(plan, run, now),
    }
}

fn forward(plan: &Plan, run: &RunState, now: Timestamp) -> Action {
    for (i, (step, record)) in plan.steps.iter().zip(&run.steps).enumerate() {
        if !plan.takes(step) || record.state.is_over() {
            continue;
        }
        let due = record.next_at.filter(|at| *at > now);
        return match record.state {
            StepState::Ready if record.doubtful && step.in_doubt == InDoubt::Probe => {
                judge(plan, run, i, now)
            }
            StepState::Ready => due.map_or(Action::Take(i), |at| Action::Sleep(i, at)),
            StepState::Running | StepState::InDoubt => judge(plan, run, i, now),
            StepState::Asking => Action::AwaitPerson(i),
            // A run that failed before it wrote anything is over: it must not stand in the way of the next one.
            _ if !run.may_have_written(plan) => Action::Finish(Outcome::Refused),
            _ => Action::Halt(i),
        };
    }
    Action::Finish(Outcome::Done)
}

/// A request whose sender died may still be under way. Judged too early it counts as not done and lands later.
fn judge(plan: &Plan, run: &RunState, i: usize, now: Timestamp) -> Action {
    let over = match plan.steps[i].in_doubt {
        // What is simply done again need not wait for it, only for its own pause.
        InDoubt::Repeat => run.steps[i].next_at,
        InDoubt::Probe | InDoubt::Ask => run.steps[i].next_at.max(run.requests_over_at),
    };
    over.filter(|at| *at > now)
        .map_or(Action::Judge(i), |at| Action::Sleep(i, at))
}

fn unwind(plan: &Plan, run: &RunState, now: Timestamp) -> Action {
    for (i, record) in run.steps.iter().enumerate().rev() {
        match record.state {
            StepState::Running | StepState::InDoubt => return judge(plan, run, i, now),
            StepState::Undone | StepState::Stuck => {}
            // An undo that a dead driver began may have a request under way too.
            StepState::Undoing => {
                return match run.requests_over_at.filter(|at| *at > now) {
                    Some(at) => Action::Sleep(i, at),
                    None => Action::Undo(i),
                };
            }
            _ if record.touched => return Action::Undo(i),
            _ => {}
        }
    }
    let stuck = run
        .steps
        .iter()
        .any(|record| record.state == StepState::Stuck);
    Action::Finish(if stuck {
        Outcome::UndoIncomplete
    } else {
        Outcome::Undone
    })
}

/// What a command does to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Yes to the open question of this step.
    Approve(usize),
    /// No to it.
    Decline(usize),
    /// This step is tried again.
    Retry(usize),
    /// This step counts as done.
    MarkDone(usize),
    /// The run ends as it is.
    Abort,
    /// The run is unwound.
    Unwind,
    /// The run is unwound, but only if the cutover, which was begun, can be withdrawn and proven never to have moved
    /// the name.
    UnwindIfWithdrawn(usize),
}

/// Decides what a command does in a state, or why it is refused.
pub fn effect(plan: &Plan, run: &RunState, command: &Command) -> Result<Effect, String> {
    if let Phase::Finished(outcome) = run.phase {
        return Err(format!("the run is over ({})", words(outcome)));
    }
    let asking = run
        .steps
        .iter()
        .position(|record| record.question.is_some());
    match command {
        Command::Approve { nonce, .. } | Command::Decline { nonce, .. } => {
            let Some(i) = asking else {
                return Err("the run asks nothing now".into());
            };
            let question = run.steps[i]
                .question
                .as_ref()
                .ok_or("the run asks nothing now")?;
            if question.nonce != *nonce {
                return Err(
                    "the answer belongs to an earlier question; look at the present one first"
                        .into(),
                );
            }
            match (command, question.about) {
                (Command::Decline { .. }, _) => Ok(Effect::Decline(i)),
                (_, About::Approval | About::Gate) => Ok(Effect::Approve(i)),
                (_, About::Doubt | About::Guard | About::Failure) => Err(format!(
                    "step `{}` cannot be approved: resume the run to try it again, or mark it done by hand",
                    run.steps[i].id
                )),
            }
        }
        Command::Retry => run
            .steps
            .iter()
            .position(|record| match (&record.question, record.state) {
                (Some(question), _) => question.about != About::Approval,
                (None, StepState::Failed) => run.phase == Phase::Forward,
                (None, StepState::Stuck) => run.phase == Phase::Unwinding,
                _ => false,
            })
            .map(Effect::Retry)
            .ok_or_else(|| "no step waits to be tried again".into()),
        Command::MarkDone { step } => {
            let i = plan
                .position(step)
                .ok_or_else(|| format!("the plan has no step `{step}`"))?;
            match run.steps[i].state {
                StepState::Ready | StepState::InDoubt | StepState::Asking | StepState::Failed
                    if run.phase == Phase::Forward && is_current(plan, run, i) =>
                {
                    Ok(Effect::MarkDone(i))
                }
                StepState::Stuck if run.phase == Phase::Unwinding => Ok(Effect::MarkDone(i)),
                state if state.is_over() => Err(format!("step `{step}` is done already")),
                StepState::Running => Err(format!(
                    "step `{step}` is being attempted; wait for its outcome"
                )),
                _ => Err(format!(
                    "step `{step}` is not the step that the run stands at"
                )),
            }
        }
        Command::Abort { undo: false } if run.phase == Phase::Unwinding => {
            Err("the run is being unwound".into())
        }
        Command::Abort { undo: false } => Ok(Effect::Abort),
        Command::Abort { undo: true } => {
            if run.phase == Phase::Unwinding {
                return Err("the run is being unwound already".into());
            }
            match plan.cutover() {
                Some(i) if run.steps[i].state.is_over() => Err(format!(
                    "step `{}` has moved the clients to `{}`: no undo leads back across it; run failback instead",
                    plan.steps[i].id, plan.to
                )),
                Some(i) if run.steps[i].touched => Ok(Effect::UnwindIfWithdrawn(i)),
                _ => Ok(Effect::Unwind),
            }
        }
    }
}

/// Returns the event that an effect is.
pub(crate) fn event_of(plan: &Plan, effect: Effect, by: &str, command: &Command) -> Event {
    let (by, id) = (by.to_owned(), |i: usize| plan.steps[i].id.clone());
    let reason = match command {
        Command::Approve { reason, .. } | Command::Decline { reason, .. } => reason.clone(),
        Command::Retry | Command::MarkDone { .. } | Command::Abort { .. } => None,
    };
    match effect {
        Effect::Approve(i) => Event::Approved {
            step: id(i),
            by,
            reason,
        },
        Effect::Decline(i) => Event::Declined {
            step: id(i),
            by,
            reason,
        },
        Effect::Retry(i) => Event::Retried { step: id(i), by },
        Effect::MarkDone(i) => Event::MarkedDone { step: id(i), by },
        Effect::Abort => Event::AbortRequested { by, undo: false },
        Effect::Unwind | Effect::UnwindIfWithdrawn(_) => Event::AbortRequested { by, undo: true },
    }
}

fn is_current(plan: &Plan, run: &RunState, i: usize) -> bool {
    plan.steps[..i]
        .iter()
        .zip(&run.steps)
        .all(|(step, record)| !plan.takes(step) || record.state.is_over())
}

/// Says an outcome in words.
pub fn words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Refused => "refused",
        Outcome::Aborted => "aborted",
        Outcome::Undone => "undone",
        Outcome::UndoIncomplete => "undo incomplete",
    }
}

#[cfg(test)]
mod tests;
