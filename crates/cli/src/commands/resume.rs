//! `runbook resume`: go on with a run that stopped, was stopped, or lost its driver.

use runbook_engine::event::{About, Command};
use runbook_engine::journal::Journal;
use runbook_engine::run::{Phase, RunState};
use runbook_engine::runlog::Lost;
use runbook_engine::state::StepState;

use crate::codes::Code;
use crate::driving::{Ready, Which, over, report};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::{Format, Output};
use crate::person::Consent;
use crate::report_text;
use crate::settings::{Settings, newest, unfinished};

/// Go on with a run that stopped or was killed
///
/// What was interrupted is probed first: done, not done, or unknown, which asks. A step that failed is tried again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run; the unfinished one if there is but one
    run: Option<String>,
    /// Count this step as done: you did it by hand
    #[arg(long, value_name = "STEP")]
    done: Option<String>,
    /// Consent beforehand: the name of the site that shall serve
    #[arg(long, value_name = "SITE")]
    confirm: Option<String>,
    /// Consent to what can be taken back
    #[arg(short, long)]
    yes: bool,
    /// Where nobody can be asked here, wait for `runbook approve` from elsewhere
    #[arg(long)]
    wait: bool,
    /// Go on with an unplanned run although the active is healthy
    #[arg(long)]
    accept_healthy: bool,
}

/// Goes on with a run.
pub async fn resume(args: Args, settings: &Settings, out: Output) -> Result<Exit> {
    let form = out.form(Format::Table, &[Format::Table, Format::Json, Format::Jsonl])?;
    let journal = settings.look_at_runs().await?;
    let run = match unfinished(&journal, args.run.as_deref()).await? {
        Some(run) => run,
        None => newest(&journal, None).await?,
    };
    let plan = journal.plan(&run.id).await?;
    if let Some(outcome) = run.outcome {
        out.say(&format!("run `{}` is over", run.id));
        let report = report(&journal, &run.id).await?;
        if form == Format::Json {
            out.json(&report);
        } else {
            out.data(&report_text::page(&report));
        }
        return over(&run.id, &plan, &report, outcome, out);
    }
    if let Some(named) = args.confirm.as_ref().filter(|named| **named != plan.to) {
        return Err(Failure::usage(
            Code::WrongArgument,
            format!(
                "`--confirm {named}` does not name the site that shall serve, which is `{}`",
                plan.to
            ),
        )
        .note("nothing was changed"));
    }
    drop(journal);
    let ready = Ready::of_run(plan, settings).await?;
    let journal = settings.drive().await?;
    let consent = Consent {
        confirm: args.confirm,
        yes: args.yes,
        wait: args.wait,
        healthy: args.accept_healthy,
    };
    let first = |state: &RunState| first_command(state, args.done.clone());
    ready
        .drive(
            journal,
            Which::Begun(&run.id, &first),
            settings,
            out,
            consent,
        )
        .await
}

/// Returns the state of a run.
pub async fn state_of(journal: &Journal, run: &str) -> Result<RunState> {
    let plan = journal.plan(run).await?;
    let events = journal.events(run).await?;
    RunState::of(&plan, events.iter().map(|event| (event.at, &event.event)))
        .map_err(|error| Lost::from(error).into())
}

/// What `resume` means for the run as it stands: a step that was done by hand, or another try of the one that failed.
fn first_command(state: &RunState, done: Option<String>) -> Option<Command> {
    if let Some(step) = done {
        return Some(Command::MarkDone { step });
    }
    let stands_still = match state.question() {
        Some((_, question)) => {
            matches!(question.about, About::Doubt | About::Guard | About::Failure)
        }
        None => {
            let wanted = if state.phase == Phase::Unwinding {
                StepState::Stuck
            } else {
                StepState::Failed
            };
            state.steps.iter().any(|record| record.state == wanted)
        }
    };
    stands_still.then_some(Command::Retry)
}

#[cfg(test)]
mod tests {
    use runbook_engine::decide::{Effect, effect};
    use runbook_engine::event::Event;
    use serde_json::Value;

    use super::*;
    use crate::samples;

    fn state(more: Vec<Event>) -> RunState {
        let plan = samples::plan();
        let mut state = RunState::new(&plan);
        for (at, event) in samples::planned_failover().into_iter().take(10) {
            state.apply(at, &event).expect("they add up");
        }
        for event in more {
            state
                .apply(samples::time(100), &event)
                .expect("they add up");
        }
        state
    }

    fn asked(about: About) -> Event {
        Event::Asked {
            step: "dns-upsert".into(),
            nonce: "n".into(),
            about,
            question: "?".into(),
            output: Value::Null,
        }
    }

    #[test]
    fn a_step_that_stands_still_is_tried_again_and_a_question_is_left_open() {
        let plan = samples::plan();
        for about in [About::Doubt, About::Guard, About::Failure] {
            let state = state(vec![asked(about)]);
            let command = first_command(&state, None).expect("a command");
            assert!(
                effect(&plan, &state, &command)
                    .is_ok_and(|effect| matches!(effect, Effect::Retry(_))),
                "{about:?}"
            );
        }
        for about in [About::Approval, About::Gate] {
            assert_eq!(first_command(&state(vec![asked(about)]), None), None);
        }
        assert_eq!(first_command(&state(Vec::new()), None), None);
    }

    #[test]
    fn what_was_done_by_hand_comes_first() {
        let state = state(vec![asked(About::Doubt)]);
        let command = first_command(&state, Some("dns-upsert".into()));
        assert_eq!(
            command,
            Some(Command::MarkDone {
                step: "dns-upsert".into()
            })
        );
    }
}
