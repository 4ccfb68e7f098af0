//! `runbook sandbox up`: two Harbors and a DNS zone on loopback, to play with.

use std::path::{Path, PathBuf};

use runbook_sim::{Direction, Sandbox, SandboxOptions};
use tokio::signal::unix::{SignalKind, signal};

use crate::codes::Code;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::settings::CONFIG;

/// Two Harbors and a DNS zone on loopback, to play with
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Start it, write a configuration for it, and leave it running until Ctrl-C
    Up(Up),
}

#[derive(Debug, clap::Args)]
struct Up {
    /// Who copies: the standby pulls, or the active pushes
    #[arg(long, value_enum, default_value_t = Copies::Pull)]
    direction: Copies,
    /// How many times faster than real Harbors all waits are
    #[arg(long, default_value_t = 60.0, value_parser = time_scale)]
    time_scale: f64,
    /// Write configuration, secrets and state into this folder; made if it is missing
    #[arg(long, default_value = "runbook-sandbox", value_name = "FOLDER")]
    dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Copies {
    /// The standby pulls from the active.
    Pull,
    /// The active pushes to the standby.
    Push,
}

fn time_scale(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale.is_finite() && (1.0..=100_000.0).contains(&scale) => Ok(scale),
        _ => Err("a number from 1 to 100000 is wanted".into()),
    }
}

/// Starts a sandbox and keeps it until a signal.
pub async fn sandbox(args: Args, out: Output) -> Result<Exit> {
    let What::Up(up) = args.what;
    let direction = match up.direction {
        Copies::Pull => Direction::Pull,
        Copies::Push => Direction::Push,
    };
    let options = SandboxOptions {
        direction,
        time_scale: up.time_scale,
        fresh_tag: true,
        ..SandboxOptions::default()
    };
    let sandbox = Sandbox::start(options)
        .await
        .map_err(|error| not_started().because(&error))?;
    let folder = std::path::absolute(&up.dir).unwrap_or_else(|_| up.dir.clone());
    let config = write_files(&sandbox, &folder)?;
    let (mut interrupt, mut terminate) = match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(error), _) | (_, Err(error)) => return Err(not_started().because(&error)),
    };
    out.data(&format!(
        "sandbox up: {primary} (primary), {dr} (dr), DNS {dns}, control {control}\n\n\
         In another terminal:\n\n  \
         export RUNBOOK_CONFIG={config} RUNBOOK_STATE={state}\n  \
         runbook                                     # the situation\n  \
         runbook run failover --mode planned --dry-run\n  \
         runbook run failover --mode planned         # asks for consent; Ctrl-C and `runbook resume` as you like\n  \
         runbook run failback\n\n\
         Break something: curl -d '{{\"site\":\"primary\",\"read-only\":true}}' -H 'Content-Type: application/json' {control}/read-only\n\
         Ctrl-C ends the sandbox; its folder stays: {folder}",
        primary = sandbox.primary().url(),
        dr = sandbox.dr().url(),
        dns = sandbox.dns().primary(),
        control = sandbox.control_url(),
        config = config.display(),
        state = folder.join("state.db").display(),
        folder = folder.display(),
    ));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    out.say("sandbox down");
    Ok(Exit::Done)
}

/// Writes the secrets and the configuration of a sandbox into a folder and returns the configuration's path.
pub fn write_files(sandbox: &Sandbox, folder: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let failed = |error: std::io::Error| {
        Failure::unexpected(
            Code::UnreadableFile,
            format!("cannot write into `{}`", folder.display()),
        )
        .because(&error)
    };
    let secrets = folder.join("secrets");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&secrets)
        .map_err(failed)?;
    let text = sandbox.runbook_yaml(&secrets).map_err(failed)?;
    let config = folder.join(CONFIG);
    std::fs::write(&config, text).map_err(failed)?;
    // Runs of an earlier sandbox in this folder were about another world.
    for name in [
        "state.db",
        "state.db-wal",
        "state.db-shm",
        "inventory.db",
        "inventory.db-wal",
        "inventory.db-shm",
    ] {
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
    }
    Ok(config)
}

fn not_started() -> Failure {
    Failure::unexpected(Code::SandboxFailed, "the sandbox did not start")
}
