//! `runbook completions`: for shells.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::Exit;
use crate::failure::Result;

/// Print the completions for a shell: `runbook completions bash > /etc/bash_completion.d/runbook`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Prints completions.
pub fn completions(args: Args) -> Result<Exit> {
    clap_complete::generate(
        args.shell,
        &mut Cli::command(),
        "runbook",
        &mut std::io::stdout(),
    );
    Ok(Exit::Done)
}
