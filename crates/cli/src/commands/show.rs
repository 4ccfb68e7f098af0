//! `runbook show`: one run, step by step; with `--watch` as it goes on.

use std::time::Duration;

use runbook_engine::journal::{Journal, RunRow};
use runbook_engine::lease;
use runbook_engine::plan::Plan;
use runbook_engine::run::RunState;
use runbook_engine::runlog::Lost;

use crate::driving::{report, ways, world};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::labels::Labels;
use crate::output::{Format, Output, between, clock, style, table};
use crate::progress::Progress;
use crate::report::{outcome, word};
use crate::settings::{Settings, newest};

/// How often a watched run is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Show a run: where it stands, what it waits for, what to type next
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run; the newest if left out
    run: Option<String>,
    /// Follow it until it is over or its driver leaves
    #[arg(short, long)]
    watch: bool,
}

/// Shows a run.
pub async fn show(args: Args, settings: &Settings, out: Output) -> Result<Exit> {
    let form = out.form(Format::Table, &[Format::Table, Format::Json, Format::Jsonl])?;
    let journal = settings.look_at_runs().await?;
    let run = newest(&journal, args.run.as_deref()).await?;
    if args.watch {
        watch(&journal, &run, out).await?;
    }
    if form == Format::Json {
        out.json(&report(&journal, &run.id).await?);
        return Ok(Exit::Done);
    }
    if !args.watch || form == Format::Table {
        let plan = journal.plan(&run.id).await?;
        let events = journal.events(&run.id).await?;
        let state = RunState::of(&plan, events.iter().map(|event| (event.at, &event.event)))
            .map_err(lost)?;
        let driver = lease::holder(&journal, &run.id).await?;
        let driver = driver
            .filter(|_| run.finished_at.is_none())
            .map(|holder| format!("{} (process {})", holder.owner, holder.pid));
        out.data(&page(&run.id, &plan, &state, driver.as_deref()));
    }
    Ok(Exit::Done)
}

/// Shows what happens as the driver's own terminal does, until the run is over or no driver is left.
async fn watch(journal: &Journal, run: &RunRow, out: Output) -> Result<()> {
    let plan = journal.plan(&run.id).await?;
    let progress = Progress::new(out, &run.id, Labels::of(&plan));
    let mut state = RunState::new(&plan);
    let mut seen = 0;
    loop {
        // Before the events: a driver that finishes in between has written them all.
        let driven = lease::holder(journal, &run.id).await?.is_some();
        for recorded in journal.events(&run.id).await?.iter().skip(seen) {
            state.apply(recorded.at, &recorded.event).map_err(lost)?;
            progress.show(recorded.at, &recorded.event, &state);
            seen += 1;
        }
        if !driven || state.finished_at.is_some() {
            progress.pause();
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn lost(error: runbook_engine::run::FoldError) -> Failure {
    Lost::from(error).into()
}

fn page(id: &str, plan: &Plan, state: &RunState, driver: Option<&str>) -> String {
    let labels = Labels::of(plan);
    let arrow = if plan.from == plan.to {
        format!("at {}", plan.from)
    } else {
        format!("{} -> {}", plan.from, plan.to)
    };
    let mut text = format!(
        "run {}  {} {}  {arrow}  topology {}  {}\n",
        style::bold(id),
        plan.mode,
        plan.runbook,
        plan.topology,
        style::bold(outcome(state))
    );
    if let Some(driver) = driver {
        text.push_str(&format!("driven by {driver}\n"));
    } else if state.finished_at.is_none() {
        text.push_str("no driver is running\n");
    }
    text.push('\n');
    let mut rows = Vec::new();
    for (label, record) in labels.iter().zip(&state.steps) {
        let Some(number) = label.number else { continue };
        let state_word = word(record.state);
        let took = record
            .started_at
            .zip(record.ended_at)
            .map_or_else(String::new, |(from, to)| clock(between(from, to)));
        let mut notes = Vec::new();
        if record.by_hand {
            notes.push("by hand".to_owned());
        }
        notes.extend(
            record
                .owed
                .iter()
                .map(|owed| format!("owed: {} {}", owed.what, owed.site)),
        );
        notes.extend(
            record
                .error
                .clone()
                .filter(|_| !record.state.is_over() || !record.owed.is_empty()),
        );
        notes.extend(
            record
                .question
                .as_ref()
                .map(|question| question.text.replace('\n', "; ")),
        );
        let painted = match state_word {
            "done" | "undone" => style::ok(state_word),
            "todo" => style::dim(state_word),
            "failed" | "stuck" => style::fail(state_word),
            other => style::warn(other),
        };
        rows.push(vec![
            painted,
            format!("{number:>2} {}", label.id),
            label.summary.clone(),
            took,
            notes.join("; "),
        ]);
    }
    text.push_str(&table(&rows));
    if state.finished_at.is_none() {
        text.push('\n');
        for note in world(plan, state) {
            text.push_str(&format!("world: {note}\n"));
        }
        if driver.is_none() {
            let question = state.question();
            if question.is_some_and(|(_, question)| {
                matches!(
                    question.about,
                    runbook_engine::event::About::Approval | runbook_engine::event::About::Gate
                )
            }) {
                text.push_str(&format!("next: `runbook approve {id}` or `runbook decline {id}`, then `runbook resume {id}`\n"));
            } else {
                for way in ways(id, plan, state, question.map(|(step, _)| step.id.as_str())) {
                    text.push_str(&format!("next: {way}\n"));
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_run_without_a_driver_says_how_it_stands_and_what_to_type() {
        let plan = samples::plan();
        let events = samples::planned_failover();
        let state = RunState::of(
            &plan,
            events.iter().take(11).map(|(at, event)| (*at, event)),
        )
        .expect("they add up");
        let page = anstream::adapter::strip_str(&page("7f3kq", &plan, &state, None)).to_string();
        insta::assert_snapshot!(page);
    }
}
