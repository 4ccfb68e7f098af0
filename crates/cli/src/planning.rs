//! Configuration and history become bindings, and with a runbook a plan.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runbook_definition::{Planning, Topology, parse_config, parse_runbook};
use runbook_engine::journal::Journal;
use runbook_engine::plan::{Mode, Plan};
use runbook_steps::bindings::{Bindings, SiteBinding};
use runbook_steps::{SitesReader, runbooks};

use crate::codes::Code;
use crate::driving::{no_clients, private_folder};
use crate::failure::{Failure, Result};
use crate::history::{History, SETTLE};
use crate::kinds::{Dns, OurConfig, OurRunbook};
use crate::output::{Output, complain};
use crate::policies;
use crate::secrets::{self, Resolved};
use crate::settings::{Settings, read};

/// The runbook that moves the clients back.
const FAILBACK: &str = "failback";
/// How wide errors in files are drawn.
pub const WIDTH: usize = 100;

/// A configuration and where it stands.
pub struct Loaded {
    /// The configuration.
    pub config: OurConfig,
    /// The file.
    pub path: PathBuf,
}

/// A topology as it stands now.
pub struct Pair<'a> {
    /// Its name.
    pub name: &'a str,
    /// As configured.
    pub topology: &'a Topology<Dns>,
    /// The site that serves, as far as the journal knows.
    pub active: String,
    /// The other one.
    pub standby: String,
    /// What earlier runs left.
    pub history: History,
}

/// A topology with clients that can only look.
pub struct Looking {
    /// What its steps are bound to.
    pub bindings: Bindings,
    /// The secrets of it.
    pub secrets: Resolved,
    /// The clients.
    pub reader: SitesReader,
}

/// From where to where a run moves the clients. The same site twice: nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// The site that serves.
    pub from: String,
    /// The site that shall serve.
    pub to: String,
}

/// Reads and checks the configuration.
pub fn load(settings: &Settings, out: Output) -> Result<Loaded> {
    let path = settings.config()?;
    let text = read(&path)?;
    let config = parse_config(&path.display().to_string(), &text)
        .map_err(|diagnostics| Failure::in_file(&diagnostics, out.color(), WIDTH))?;
    Ok(Loaded { config, path })
}

impl Loaded {
    /// Returns the folder that relative paths start from.
    pub fn folder(&self) -> PathBuf {
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
    }

    /// Returns the topology that is meant, with what earlier runs left of it.
    pub async fn pair(&self, named: Option<&str>, journal: Option<&Journal>) -> Result<Pair<'_>> {
        let names = || {
            self.config
                .topologies
                .keys()
                .map(|name| format!("`{}`", **name))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (name, topology) = match named {
            Some(named) => self
                .config
                .topologies
                .iter()
                .find(|(name, _)| ***name == *named)
                .map(|(name, it)| (name.as_str(), it))
                .ok_or_else(|| {
                    Failure::usage(
                        Code::UnknownTopology,
                        format!("there is no topology `{named}`"),
                    )
                    .hint(format!("`{}` has {}", self.path.display(), names()))
                })?,
            None => self.config.only_topology().ok_or_else(|| {
                Failure::usage(Code::UnknownTopology, "there are several topologies")
                    .hint(format!("name one with `--topology`: {}", names()))
            })?,
        };
        let history = History::of(journal, name).await?;
        let pair = &topology.dr_pair;
        let declared = pair.active.as_str().to_owned();
        let active = history
            .moved
            .as_ref()
            .map_or(declared, |(_, site)| site.clone());
        let standby = pair.other(&active).ok_or_else(|| {
            let (run, _) = history.moved.clone().unwrap_or_default();
            Failure::usage(Code::UnknownSite, format!("run `{run}` moved the clients to `{active}`, which is no longer in topology `{name}`"))
                .hint("put the site back into the configuration, or name another state file with `--state FILE`")
        })?;
        Ok(Pair {
            name,
            topology,
            standby: standby.as_str().to_owned(),
            active,
            history,
        })
    }

    /// Returns a runbook by name: the topology's own file, or the built-in one.
    pub fn runbook(&self, pair: &Pair<'_>, name: &str, out: Output) -> Result<OurRunbook> {
        let own = pair
            .topology
            .runbooks
            .iter()
            .find(|(own, _)| ***own == *name)
            .map(|(_, path)| self.folder().join(path));
        let (file, text) = match own {
            Some(path) => (path.display().to_string(), read(&path)?),
            None => (
                format!("{name}.yaml (built in)"),
                builtin(name, pair)?.to_owned(),
            ),
        };
        let in_file = |diagnostics| Failure::in_file(&diagnostics, out.color(), WIDTH);
        let runbook: OurRunbook = parse_runbook(&file, &text).map_err(in_file)?;
        runbook
            .check_sites(self.config.sites.keys().map(|site| site.as_str()))
            .map_err(in_file)?;
        Ok(runbook)
    }

    /// Resolves the secrets of a topology and makes clients that can only look; finds the policies that have no name.
    pub async fn look(
        &self,
        pair: &Pair<'_>,
        settings: &Settings,
        lenient: bool,
    ) -> Result<Looking> {
        let mut bindings = self.bindings(pair);
        let secrets = secrets::resolve(&bindings.secret_references()).await?;
        let inventory = private_folder(settings)?;
        let known = secrets.clone();
        let known = move |reference: &str| known.get(reference);
        let open = async |bindings: &Bindings| {
            SitesReader::open(bindings, &known, &inventory)
                .await
                .map_err(|error| no_clients(&error))
        };
        let mut reader = open(&bindings).await?;
        if !policies::complete(&bindings.policies, bindings.direction) {
            let warnings = policies::find(
                &pair.topology.dr_pair,
                &mut bindings.policies,
                &reader,
                lenient,
            )
            .await?;
            for warning in warnings {
                complain(&format!("warning: {warning}"));
            }
            reader = open(&bindings).await?;
        }
        Ok(Looking {
            bindings,
            secrets,
            reader,
        })
    }

    /// Makes the plan of a run.
    pub fn plan(
        &self,
        pair: &Pair<'_>,
        runbook: &OurRunbook,
        roles: &Roles,
        mode: Mode,
        bindings: &Bindings,
    ) -> Result<Plan> {
        let no_plan = || {
            Failure::usage(
                Code::NoPlan,
                format!("runbook `{}` cannot become a plan", runbook.name),
            )
            .note("nothing was changed")
        };
        let longest = bindings.sites.values().map(SiteBinding::timeout).max();
        let planning = Planning {
            mode,
            topology: pair.name,
            from: &roles.from,
            to: &roles.to,
            bindings: serde_json::to_value(bindings).map_err(|error| no_plan().because(&error))?,
            time_scale: self.config.time_scale(),
            request_timeout: longest.unwrap_or(Duration::from_secs(10)),
            rto_target: pair.topology.rto_target(),
            rpo_target: pair.topology.rpo_target(),
        };
        runbook_definition::plan(runbook, planning).map_err(|error| no_plan().because(&error))
    }
}

impl Pair<'_> {
    /// Returns the site that serves in the normal state.
    pub fn declared(&self) -> &str {
        self.topology.dr_pair.active.as_str()
    }

    /// True if the clients are where the configuration wants them.
    pub fn is_normal(&self) -> bool {
        self.active == self.declared()
    }

    /// Decides from where to where a runbook moves the clients, or why it may not run now.
    pub fn roles(&self, runbook: &OurRunbook, mode: Option<Mode>) -> Result<Roles> {
        let owed: Vec<String> = self
            .history
            .in_the_way()
            .iter()
            .map(|owed| format!("{} {}", owed.what, owed.site))
            .collect();
        self.roles_of(
            &runbook.name,
            runbook.steps.iter().any(|step| step.cutover),
            mode,
            &owed,
        )
    }

    fn roles_of(
        &self,
        name: &str,
        moves: bool,
        mode: Option<Mode>,
        owed: &[String],
    ) -> Result<Roles> {
        let stay = || Roles {
            from: self.active.clone(),
            to: self.active.clone(),
        };
        match name {
            FAILBACK if self.is_normal() => Err(Failure::refused(
                Code::NothingToMove,
                format!("`{}` serves already, as the configuration wants it: there is nothing to fail back from", self.active),
            )
            .hint("the situation: `runbook`")),
            FAILBACK if !owed.is_empty() => {
                Err(Failure::refused(Code::StillOwed, format!("something is owed from the failover: {}", owed.join(", ")))
                    .hint("when the site is back: `runbook run settle`, then `runbook run failback`"))
            }
            FAILBACK => Ok(Roles { from: self.active.clone(), to: self.declared().to_owned() }),
            SETTLE => Ok(stay()),
            _ if !moves => Ok(stay()),
            _ if !self.is_normal() && mode != Some(Mode::Unplanned) => Err(Failure::refused(
                Code::NothingToMove,
                format!("`{}` serves, and the forward policy copies the other way: the planned way to `{}` is failback", self.active, self.standby),
            )
            .hint(format!("`runbook run failback`; if `{}` is lost: `runbook run {name} --mode unplanned`", self.active))),
            _ => Ok(Roles { from: self.active.clone(), to: self.standby.clone() }),
        }
    }
}

fn builtin(name: &str, pair: &Pair<'_>) -> Result<&'static str> {
    runbooks::builtin(name).ok_or_else(|| {
        let mut known: Vec<String> = runbooks::BUILTIN
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        known.extend(pair.topology.runbooks.keys().map(|own| own.to_string()));
        unknown_runbook(name, &known)
    })
}

/// There is no runbook of a name.
pub fn unknown_runbook(name: &str, known: &[String]) -> Failure {
    let near = known
        .iter()
        .filter(|other| strsim::jaro_winkler(other, name) > 0.8)
        .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    let failure = Failure::usage(
        Code::UnknownRunbook,
        format!("there is no runbook `{name}`"),
    );
    let failure = match near {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure,
    };
    failure.hint(format!("there are: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::samples::{config, pair};

    #[test]
    fn roles_follow_from_who_serves() {
        let config = config();
        let (normal, moved) = (
            pair(&config, "primary", "dr"),
            pair(&config, "dr", "primary"),
        );
        let roles = |pair: &Pair<'_>, name, moves, mode, owed: &[String]| match pair
            .roles_of(name, moves, mode, owed)
        {
            Ok(roles) => format!("{} -> {}", roles.from, roles.to),
            Err(failure) => format!(
                "{:?} {:?}",
                failure.exit,
                failure.code().map(Code::as_str).unwrap_or_default()
            ),
        };
        let owed = ["fence primary".to_owned()];
        let (planned, unplanned) = (Some(Mode::Planned), Some(Mode::Unplanned));
        assert_eq!(
            roles(&normal, "failover", true, planned, &[]),
            "primary -> dr"
        );
        assert_eq!(
            roles(&normal, "failover", true, None, &owed),
            "primary -> dr"
        );
        assert_eq!(
            roles(&moved, "failover", true, planned, &[]),
            "Refused \"HDR5102\""
        );
        assert_eq!(
            roles(&moved, "failover", true, unplanned, &[]),
            "dr -> primary"
        );
        assert_eq!(
            roles(&normal, "failback", true, None, &[]),
            "Refused \"HDR5102\""
        );
        assert_eq!(
            roles(&moved, "failback", true, None, &owed),
            "Refused \"HDR5101\""
        );
        assert_eq!(roles(&moved, "failback", true, None, &[]), "dr -> primary");
        assert_eq!(roles(&moved, "settle", false, None, &owed), "dr -> dr");
        assert_eq!(
            roles(&normal, "own", false, None, &[]),
            "primary -> primary"
        );
    }

    #[test]
    fn a_runbook_that_does_not_exist_is_guessed_at() {
        let known: Vec<String> = runbooks::BUILTIN
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let failure = unknown_runbook("failovr", &known);
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.render().contains("did you mean `failover`?"));
    }

    #[test]
    fn every_built_in_runbook_becomes_a_plan_that_can_be_built() {
        let loaded = Loaded {
            config: config(),
            path: "/etc/dr/runbook.yaml".into(),
        };
        let out = Output {
            format: None,
            quiet: true,
            asks: false,
        };
        for (name, _) in runbooks::BUILTIN {
            let pair = if *name == "failover" {
                pair(&loaded.config, "primary", "dr")
            } else {
                pair(&loaded.config, "dr", "primary")
            };
            let runbook = loaded
                .runbook(&pair, name, out)
                .unwrap_or_else(|failure| panic!("{}", failure.render()));
            let modes: &[Mode] = if *name == "failover" {
                &[Mode::Planned, Mode::Unplanned]
            } else {
                &[Mode::Planned]
            };
            for mode in modes {
                let roles = pair
                    .roles(&runbook, Some(*mode))
                    .unwrap_or_else(|failure| panic!("{}", failure.render()));
                let plan = loaded
                    .plan(&pair, &runbook, &roles, *mode, &loaded.bindings(&pair))
                    .unwrap_or_else(|failure| panic!("{}", failure.render()));
                crate::driving::build(&plan)
                    .unwrap_or_else(|failure| panic!("{}", failure.render()));
            }
        }
    }
}
