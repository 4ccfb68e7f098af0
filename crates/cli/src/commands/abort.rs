//! `runbook abort`: end a run before its time, as it is or undone.

use std::time::Duration;

use runbook_engine::event::Command;
use runbook_engine::lease;
use runbook_engine::run::RunState;

use crate::codes::Code;
use crate::commands::answer::{submit, taken};
use crate::driving::{Ready, Which, over, report};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::{Format, Output};
use crate::person::Consent;
use crate::report_text;
use crate::settings::{Settings, nothing_unfinished, unfinished};

/// How long the live driver may take to undo what was done.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// How often the list of runs is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// End a run before its time
///
/// What was done stays, or is undone with `--undo`, which ends at the cutover: from then on `runbook run failback` is
/// the way back. If no driver is running, this process ends the run itself.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run; the unfinished one if there is but one
    run: Option<String>,
    /// Put everything back as it was
    #[arg(long)]
    undo: bool,
}

/// Ends a run.
pub async fn abort(args: Args, settings: &Settings, out: Output) -> Result<Exit> {
    let inbox = settings.inbox().await?;
    let run = unfinished(&inbox, args.run.as_deref())
        .await?
        .ok_or_else(nothing_unfinished)?;
    let command = Command::Abort { undo: args.undo };
    if lease::holder(&inbox, &run.id).await?.is_none() {
        let plan = inbox.plan(&run.id).await?;
        drop(inbox);
        let ready = Ready::of_run(plan, settings).await?;
        let journal = settings.drive().await?;
        let first = |_: &RunState| Some(command.clone());
        return ready
            .drive(
                journal,
                Which::Begun(&run.id, &first),
                settings,
                out,
                Consent::default(),
            )
            .await;
    }
    submit(&inbox, &run.id, &command, settings).await?;
    taken(&inbox, &run.id, &command, &settings.who).await?;
    let deadline = tokio::time::Instant::now() + LIMIT;
    while tokio::time::Instant::now() < deadline {
        let now = inbox.find(&run.id).await?;
        if let Some(outcome) = now.outcome {
            let plan = inbox.plan(&run.id).await?;
            let report = report(&inbox, &run.id).await?;
            if out.format == Some(Format::Json) {
                out.json(&report);
            } else {
                out.data(&report_text::page(&report));
            }
            return over(&run.id, &plan, &report, outcome, out);
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(Failure::unexpected(
        Code::Held,
        format!(
            "run `{}` is still being ended after {} minutes",
            run.id,
            LIMIT.as_secs() / 60
        ),
    )
    .hint(format!("watch: `runbook show {} --watch`", run.id)))
}
