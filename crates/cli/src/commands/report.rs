//! `runbook report`: what a run did, for people and auditors.

use crate::driving;
use crate::exit::Exit;
use crate::failure::Result;
use crate::output::{Format, Output};
use crate::report_text;
use crate::settings::{Settings, newest};

/// Report what a run did: times, targets, changes, what is owed, who decided
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run; the newest if left out
    run: Option<String>,
}

/// Reports on a run.
pub async fn report(args: Args, settings: &Settings, out: Output) -> Result<Exit> {
    let form = out.form(Format::Table, &[Format::Table, Format::Json])?;
    let journal = settings.look_at_runs().await?;
    let run = newest(&journal, args.run.as_deref()).await?;
    let report = driving::report(&journal, &run.id).await?;
    if form == Format::Json {
        out.json(&report);
    } else {
        out.data(&report_text::page(&report));
    }
    Ok(Exit::Done)
}
