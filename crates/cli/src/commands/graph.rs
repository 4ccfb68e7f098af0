//! `runbook graph`: a runbook, to be looked at or edited.

use runbook_steps::runbooks;

use crate::exit::Exit;
use crate::failure::Result;
use crate::output::{Format, Output};
use crate::planning::{load, unknown_runbook};
use crate::settings::{Settings, read};

/// Print a runbook, to edit it: `runbook graph failover -o yaml > runbooks/failover.yaml`
///
/// Then name the file under `runbooks:` of the topology. A file of your own under that name is printed instead of the
/// built-in one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The runbook
    name: String,
    /// The built-in one, also where the configuration names a file
    #[arg(long)]
    builtin: bool,
}

/// Prints a runbook.
pub fn graph(args: Args, settings: &Settings, out: Output) -> Result<Exit> {
    out.form(Format::Yaml, &[Format::Yaml])?;
    if !args.builtin && settings.config().is_ok() {
        let loaded = load(settings, out)?;
        let mut own = loaded
            .config
            .topologies
            .values()
            .flat_map(|topology| &topology.runbooks);
        if let Some((_, path)) = own.find(|(name, _)| ***name == *args.name) {
            out.data(&read(&loaded.folder().join(path))?);
            return Ok(Exit::Done);
        }
    }
    let known: Vec<String> = runbooks::BUILTIN
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    out.data(runbooks::builtin(&args.name).ok_or_else(|| unknown_runbook(&args.name, &known))?);
    Ok(Exit::Done)
}
