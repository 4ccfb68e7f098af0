//! Configuration and history become bindings, and with a runbook a plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runbook_definition::{Planning, Topology, UrlOrSecret, Vantage, parse_config, parse_runbook};
use runbook_dns::ProviderConfig;
use runbook_engine::journal::Journal;
use runbook_engine::plan::{Mode, Plan};
use runbook_steps::bindings::{
    Bindings, Channel, Direction, EndpointBinding, ProbeBinding, SiteBinding,
};
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
/// The repository of the canary, unless the configuration names one.
const CANARY: &str = "runbook-canary";
/// The project of the canary, unless the configuration names one.
const CANARY_PROJECT: &str = "library";
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
                .map_err(|error| no_clients().because(&error))
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

    fn bindings(&self, pair: &Pair<'_>) -> Bindings {
        let folder = self.folder();
        let topology = pair.topology;
        let text = |reference| secrets::text(reference, &folder);
        let sites = [&pair.active, &pair.standby]
            .into_iter()
            .filter_map(|name| {
                let site = self.config.site(name)?;
                let binding = SiteBinding {
                    url: site.url.as_str().to_owned(),
                    region: site.region.clone(),
                    user: site.auth.user.clone(),
                    password: text(&site.auth.password),
                    timeout_ms: u64::try_from(site.timeout.duration().as_millis())
                        .unwrap_or(u64::MAX),
                    connect_to: site.connect_to.as_ref().map(|at| at.addr()),
                    ca_file: site
                        .ca_file
                        .as_ref()
                        .map(|path| folder.join(path).display().to_string()),
                };
                Some((name.clone(), binding))
            });
        let notify = self.config.notify.iter().filter_map(|(name, channel)| {
            let bound = match (&channel.webhook, &channel.command) {
                (Some(webhook), _) => Channel::Webhook {
                    url: match &webhook.url {
                        UrlOrSecret::Url(url) => url.as_str().to_owned(),
                        UrlOrSecret::Secret(reference) => text(reference),
                    },
                },
                (None, Some(command)) => Channel::Command {
                    argv: command.argv.to_vec(),
                },
                (None, None) => return None,
            };
            Some((name.to_string(), bound))
        });
        Bindings {
            active: pair.active.clone(),
            standby: pair.standby.clone(),
            sites: sites.collect(),
            direction: match *topology.dr_pair.direction {
                runbook_definition::Direction::Pull => Direction::Pull,
                runbook_definition::Direction::Push => Direction::Push,
            },
            policies: policies::named(&topology.dr_pair),
            robots: topology
                .robots
                .iter()
                .map(|robots| robots.name.clone())
                .collect(),
            endpoint: self.endpoint(topology),
            notify: notify.collect(),
            // The same in every state file of this configuration: that two of them do not both move the name is
            // decided by its value, which each change expects.
            owner: pair.name.to_owned(),
            inherited: pair.history.inherited.clone(),
        }
    }

    fn endpoint(&self, topology: &Topology<Dns>) -> EndpointBinding {
        let folder = self.folder();
        let endpoint = &topology.endpoint;
        let mut dns = endpoint.provider().0.clone();
        let normal = endpoint
            .ttl
            .normal
            .as_ref()
            .map(|span| whole_seconds(span.duration()));
        match &mut dns {
            ProviderConfig::Rfc2136(config) => {
                secrets::anchor(&mut config.key.secret, &folder);
                config.ttl = normal.unwrap_or(config.ttl);
            }
            ProviderConfig::Route53(config) => {
                let references = [
                    &mut config.access_key_id,
                    &mut config.secret_access_key,
                    &mut config.session_token,
                ];
                references
                    .into_iter()
                    .flatten()
                    .for_each(|reference| secrets::anchor(reference, &folder));
                config.ttl = normal.unwrap_or(config.ttl);
            }
        }
        let probe = endpoint.probe.as_ref();
        let auth = probe.and_then(|probe| probe.auth.as_ref());
        EndpointBinding {
            name: endpoint.name.as_str().to_owned(),
            url: endpoint.service_url().as_str().to_owned(),
            dns,
            targets: endpoint
                .targets
                .iter()
                .map(|(site, host)| (site.as_str().to_owned(), host.as_str().to_owned()))
                .collect(),
            lowered_ttl: whole_seconds(endpoint.ttl.lowered.duration()),
            verify: endpoint.verify.iter().map(Vantage::to_string).collect(),
            resolver: endpoint.resolver.map(|at| at.addr()),
            connect_to: endpoint
                .connect_to
                .iter()
                .map(|(site, at)| (site.as_str().to_owned(), at.addr()))
                .collect::<BTreeMap<_, _>>(),
            probe: ProbeBinding {
                project: probe
                    .map_or_else(|| CANARY_PROJECT.to_owned(), |probe| probe.project.clone()),
                repository: probe
                    .and_then(|probe| probe.repository.clone())
                    .unwrap_or_else(|| CANARY.to_owned()),
                user: auth.map(|auth| auth.user.clone()),
                password: auth.map(|auth| secrets::text(&auth.password, &folder)),
            },
        }
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

/// A TTL is a whole number of seconds, and 0 would forbid every cache.
fn whole_seconds(span: Duration) -> u32 {
    u32::try_from(span.as_millis().div_ceil(1000))
        .unwrap_or(u32::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn pair<'a>(config: &'a OurConfig, active: &str, standby: &str) -> Pair<'a> {
        let (name, topology) = config.only_topology().expect("one topology");
        Pair {
            name,
            topology,
            active: active.into(),
            standby: standby.into(),
            history: History::default(),
        }
    }

    fn config() -> OurConfig {
        parse_config("runbook.yaml", crate::samples::CONFIG).expect("the sample is right")
    }

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
    fn bindings_hold_references_that_lead_somewhere_from_any_folder() {
        let loaded = Loaded {
            config: config(),
            path: "/etc/dr/runbook.yaml".into(),
        };
        let bindings = loaded.bindings(&pair(&loaded.config, "primary", "dr"));
        let references: Vec<String> = bindings
            .secret_references()
            .into_iter()
            .map(|(_, reference)| reference)
            .collect();
        assert_eq!(
            references,
            [
                "file:/etc/dr/secrets/dr",
                "env:PRIMARY_PASSWORD",
                "file:/etc/dr/secrets/tsig"
            ]
        );
        assert_eq!(
            bindings.policies.forward.site, "dr",
            "a pull lives where the copy goes"
        );
        assert_eq!(
            bindings.policies.final_sync,
            Some(bindings.policies.forward.clone())
        );
        assert_eq!(bindings.endpoint.lowered_ttl, 5);
        assert_eq!(bindings.endpoint.probe.project, "library");
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
