//! The commands, one file each.

pub mod abort;
pub mod answer;
pub mod compare;
pub mod completions;
pub mod demo;
pub mod graph;
pub mod journal;
pub mod report;
pub mod resume;
pub mod run;
pub mod runs;
pub mod sandbox;
pub mod schema;
pub mod show;
pub mod situation;
pub mod validate;

use crate::args::Command;
use crate::exit::Exit;
use crate::failure::Result;
use crate::output::Output;
use crate::settings::Settings;

/// Carries a command out. Without one: the situation.
pub async fn dispatch(command: Option<Command>, settings: &Settings, out: Output) -> Result<Exit> {
    match command {
        None => situation::situation(settings, out).await,
        Some(Command::Run(args)) => run::run(args, settings, out).await,
        Some(Command::Resume(args)) => resume::resume(args, settings, out).await,
        Some(Command::Approve(args)) => answer::approve(args, settings, out).await,
        Some(Command::Decline(args)) => answer::decline(args, settings, out).await,
        Some(Command::Abort(args)) => abort::abort(args, settings, out).await,
        Some(Command::Runs) => runs::runs(settings, out).await,
        Some(Command::Show(args)) => show::show(args, settings, out).await,
        Some(Command::Journal(args)) => journal::journal(args, settings, out).await,
        Some(Command::Report(args)) => report::report(args, settings, out).await,
        Some(Command::Compare(args)) => compare::compare(args, settings, out).await,
        Some(Command::Validate(args)) => validate::validate(args, settings, out),
        Some(Command::Schema(args)) => schema::schema(args, out),
        Some(Command::Graph(args)) => graph::graph(args, settings, out),
        Some(Command::Sandbox(args)) => sandbox::sandbox(args, out).await,
        Some(Command::Demo) => demo::demo(out).await,
        Some(Command::Completions(args)) => completions::completions(args),
        Some(Command::Version) => {
            out.data(concat!("runbook ", env!("CARGO_PKG_VERSION")));
            Ok(Exit::Done)
        }
    }
}
