//! Arguments, settings, output, exit codes: the `runbook` command.

mod args;
mod binding;
mod chance;
mod codes;
mod commands;
#[cfg(test)]
mod docs;
mod driving;
mod exit;
mod failure;
mod history;
mod kinds;
mod labels;
mod output;
mod person;
mod planning;
mod policies;
mod progress;
mod report;
mod report_text;
#[cfg(test)]
mod samples;
mod secrets;
mod settings;
mod signals;
mod tally;
mod typed;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Global};
use crate::exit::Exit;
use crate::output::{Output, complain};
use crate::settings::Settings;

/// One for the run, one so that a step that computes does not keep the lease from being renewed.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let global = &cli.global;
    let out = Output::new(global.output, global.color, global.quiet, global.no_input);
    log(global);
    // One provider, installed before any client is made. An Err says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = Settings::new(global);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("error: no threads: {error}"));
            return Exit::Unexpected.into();
        }
    };
    let exit = runtime
        .block_on(commands::dispatch(cli.command, &settings, out))
        .unwrap_or_else(|failure| {
            complain(&failure.render());
            failure.exit
        });
    // A thread that waits for a line at the terminal must not keep the process.
    runtime.shutdown_background();
    exit.into()
}

/// Logs to standard error, only if asked to: what a person must know is said in messages.
fn log(global: &Global) {
    let level = match global.verbose {
        0 => return,
        1 => {
            "info,runbook=debug,runbook_engine=debug,runbook_harbor=debug,runbook_dns=debug,runbook_steps=debug"
        }
        // Not the crates that carry requests: what they log at this level may hold what is sent.
        _ => "debug,h2=info,hyper=info,hyper_util=info,reqwest=info,rustls=info,aws=info",
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_ansi(!matches!(
            anstream::AutoStream::choice(&std::io::stderr()),
            anstream::ColorChoice::Never
        ))
        .init();
}
