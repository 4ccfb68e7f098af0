//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    abort, answer, compare, completions, graph, journal, report, resume, run, sandbox, schema,
    show, validate,
};
use crate::exit::Exit;
use crate::output::{Color, Format};

/// Carry Harbor container registries through failover and failback
///
/// Without a command: where everything stands, and the next command.
#[derive(Debug, Parser)]
#[command(name = "runbook", version, propagate_version = true, after_long_help = Exit::help(), max_term_width = 100)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Read this configuration (default: `runbook.yaml` here or in a folder above)
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "RUNBOOK_CONFIG"
    )]
    pub config: Option<PathBuf>,
    /// Keep runs in this file (default: `runbook/state.db` in the user's state folder)
    #[arg(long, global = true, value_name = "FILE", env = "RUNBOOK_STATE")]
    pub state: Option<PathBuf>,
    /// Write data in this form
    #[arg(short, long, global = true, value_enum, value_name = "FORM")]
    pub output: Option<Format>,
    /// Use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// Never ask; what needs an answer ends with code 5
    #[arg(long, global = true)]
    pub no_input: bool,
    /// Say nothing but results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Log what is sent, to standard error; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Run(run::Args),
    Resume(resume::Args),
    Approve(answer::ApproveArgs),
    Decline(answer::DeclineArgs),
    Abort(abort::Args),
    /// List the runs, newest first
    Runs,
    Show(show::Args),
    Journal(journal::Args),
    Report(report::Args),
    Compare(compare::Args),
    Validate(validate::Args),
    Schema(schema::Args),
    Graph(graph::Args),
    Sandbox(sandbox::Args),
    /// Show the main job on a sandbox: failover, a kill in the middle, resume, failback; under a minute
    Demo,
    Completions(completions::Args),
    /// Print the version
    Version,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        for command in Cli::command().get_subcommands() {
            assert!(
                command.get_about().is_some(),
                "{} has no help",
                command.get_name()
            );
        }
    }
}
