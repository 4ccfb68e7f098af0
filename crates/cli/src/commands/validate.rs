//! `runbook validate`: files checked, without asking anybody.

use std::path::{Path, PathBuf};

use runbook_definition::{parse_config, parse_runbook};
use runbook_steps::runbooks;

use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::kinds::{Dns, StepKind};
use crate::output::{Output, complain, style};
use crate::planning::WIDTH;
use crate::settings::{Settings, read};

/// Check the configuration, its runbooks, or the named files
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files to check; left out: the configuration and the runbooks that it names
    files: Vec<PathBuf>,
}

/// Checks files.
pub fn validate(args: Args, settings: &Settings, out: Output) -> Result<Exit> {
    let mut wrong = false;
    let mut queue = args.files;
    let mut sites: Vec<String> = Vec::new();
    if queue.is_empty() {
        let path = settings.config()?;
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        if let Ok(config) = parse_config::<Dns>(&path.display().to_string(), &read(&path)?) {
            let own = config
                .topologies
                .values()
                .flat_map(|topology| topology.runbooks.values());
            queue.extend(own.map(|own| folder.join(own)));
            sites.extend(config.sites.keys().map(|site| site.as_str().to_owned()));
        }
        queue.insert(0, path);
    }
    let mut checks: Vec<(String, String)> = Vec::new();
    for path in queue {
        checks.push((path.display().to_string(), read(&path)?));
    }
    let own = checks.len();
    for (name, _) in runbooks::BUILTIN {
        if let Some(text) = runbooks::builtin(name) {
            checks.push((format!("{name}.yaml (built in)"), text.to_owned()));
        }
    }
    for (i, (name, text)) in checks.iter().enumerate() {
        match check(name, text, &sites, out) {
            // The built-in ones are mentioned only when something is wrong with them here.
            Ok(kind) if i < own => out.data(&format!("{}  {name}: {kind}", style::ok("OK"))),
            Ok(_) => {}
            Err(failure) => {
                wrong = true;
                complain(&failure.render());
            }
        }
    }
    Ok(if wrong { Exit::Usage } else { Exit::Done })
}

fn check(name: &str, text: &str, sites: &[String], out: Output) -> Result<&'static str> {
    let in_file = |diagnostics| Failure::in_file(&diagnostics, out.color(), WIDTH);
    if is_runbook(text) {
        let runbook = parse_runbook::<StepKind>(name, text).map_err(in_file)?;
        if !sites.is_empty() {
            runbook
                .check_sites(sites.iter().map(String::as_str))
                .map_err(in_file)?;
        }
        return Ok("a runbook");
    }
    parse_config::<Dns>(name, text).map_err(in_file)?;
    Ok("a configuration")
}

/// Only runbooks have `runbook:` or `steps:` at the top.
fn is_runbook(text: &str) -> bool {
    text.lines()
        .any(|line| line.starts_with("runbook:") || line.starts_with("steps:"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::CONFIG;

    #[test]
    fn both_kinds_of_file_are_told_apart() {
        let out = Output {
            format: None,
            quiet: true,
            asks: false,
        };
        assert_eq!(
            check("a", CONFIG, &[], out).expect("right"),
            "a configuration"
        );
        let failover = runbooks::builtin("failover").expect("built in");
        assert_eq!(check("b", failover, &[], out).expect("right"), "a runbook");
    }

    #[test]
    fn an_unknown_site_is_shown_at_its_place() {
        let out = Output {
            format: None,
            quiet: true,
            asks: false,
        };
        let failure = check(
            "runbook.yaml",
            &CONFIG.replace("standby: dr", "standby: drr"),
            &[],
            out,
        )
        .expect_err("wrong");
        assert_eq!(failure.exit, Exit::Usage);
        let text = anstream::adapter::strip_str(&failure.render()).to_string();
        assert!(text.contains("runbook.yaml:10:16"), "{text}");
    }
}
