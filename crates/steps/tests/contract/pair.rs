//! A pair of sandbox Harbors with a state file, and runs on it without the command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use runbook_definition::{Planning, parse_runbook, plan};
use runbook_engine::clock::Clock;
use runbook_engine::event::Event;
use runbook_engine::executor::{Answer, Driver, Ended, Person};
use runbook_engine::journal::{Journal, Recorded};
use runbook_engine::lease::Holder;
use runbook_engine::plan::{InDoubt, Mode, Plan};
use runbook_engine::rehearsal::{Rehearsed, rehearse};
use runbook_engine::run::Question;
use runbook_engine::runlog::{Blind, RunLog};
use runbook_engine::stop::stop;
use runbook_sim::{Direction as SimDirection, Sandbox, SandboxOptions};
use runbook_steps::bindings::{
    Bindings, Direction, EndpointBinding, Inherited, PairPolicies, PolicyBinding, ProbeBinding,
    SiteBinding,
};
use runbook_steps::{Sites, SitesReader};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Kind(runbook_steps::Kind);

impl runbook_definition::Kind for Kind {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn in_doubt(&self) -> InDoubt {
        self.0.in_doubt()
    }
    fn roles(&self) -> Vec<String> {
        self.0.roles()
    }
}

impl JsonSchema for Kind {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Kind".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        runbook_steps::Kind::json_schema(generator)
    }
}

/// Says yes to everything.
pub struct Yes;

#[async_trait]
impl Person for Yes {
    async fn answer(&self, _step: &str, _question: &Question) -> Answer {
        Answer::Approve {
            by: "test".into(),
            reason: None,
        }
    }
}

pub struct Pair {
    pub sandbox: Sandbox,
    folder: tempfile::TempDir,
    secrets: BTreeMap<String, String>,
    pub active: &'static str,
    pub inherited: Inherited,
    runs: u32,
}

impl Pair {
    pub async fn start(direction: SimDirection) -> Pair {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = SandboxOptions {
            direction,
            time_scale: 200.0,
            ..SandboxOptions::default()
        };
        let sandbox = Sandbox::start(options).await.expect("a sandbox");
        let folder = tempfile::tempdir().expect("a folder");
        sandbox.runbook_yaml(folder.path()).expect("secrets");
        let mut secrets = BTreeMap::new();
        for name in ["primary-password", "dr-password", "tsig"] {
            let text = std::fs::read_to_string(folder.path().join(name)).expect("a secret");
            secrets.insert(name.to_owned(), text);
        }
        Pair {
            sandbox,
            folder,
            secrets,
            active: "primary",
            inherited: Inherited::default(),
            runs: 0,
        }
    }

    pub fn bindings(&self) -> Bindings {
        let sandbox = &self.sandbox;
        let push = sandbox.direction() == SimDirection::Push;
        let site = |name: &str, url: &str| SiteBinding {
            url: url.to_owned(),
            region: None,
            user: "admin".into(),
            password: format!("{name}-password"),
            timeout_ms: 5000,
            connect_to: None,
            ca_file: None,
        };
        let policy = |site: &str, name: &str| PolicyBinding {
            site: site.to_owned(),
            name: name.to_owned(),
        };
        let (first, second) = (sandbox.dns().primary(), sandbox.dns().secondary());
        let dns = serde_json::json!({ "rfc2136": {
            "zone": "sandbox.test", "server": first.to_string(), "type": "CNAME", "ttl": 60,
            "key": { "name": "dr-key", "algorithm": "hmac-sha256", "secret": "tsig" },
            "authoritative": [first.to_string(), second.to_string()],
        }});
        Bindings {
            active: self.active.to_owned(),
            standby: if self.active == "primary" {
                "dr"
            } else {
                "primary"
            }
            .to_owned(),
            sites: [
                (
                    "primary".to_owned(),
                    site("primary", sandbox.primary().url()),
                ),
                ("dr".to_owned(), site("dr", sandbox.dr().url())),
            ]
            .into(),
            direction: if push {
                Direction::Push
            } else {
                Direction::Pull
            },
            policies: PairPolicies {
                forward: policy(if push { "primary" } else { "dr" }, "dr-forward"),
                reverse: policy(if push { "dr" } else { "primary" }, "dr-reverse"),
                final_sync: Some(policy(
                    "dr",
                    if push { "dr-final-sync" } else { "dr-forward" },
                )),
                final_reverse_sync: Some(policy(
                    "primary",
                    if push {
                        "dr-final-reverse-sync"
                    } else {
                        "dr-reverse"
                    },
                )),
            },
            robots: vec!["dr-replication".into()],
            endpoint: EndpointBinding {
                name: sandbox.endpoint_name().to_owned(),
                url: format!(
                    "http://{}:{}",
                    sandbox.endpoint_name(),
                    sandbox.primary().address().port()
                ),
                dns: serde_json::from_value(dns).expect("a provider"),
                targets: [
                    ("primary".to_owned(), "primary.sandbox.test".to_owned()),
                    ("dr".to_owned(), "dr.sandbox.test".to_owned()),
                ]
                .into(),
                lowered_ttl: 5,
                verify: vec!["authoritative".into()],
                resolver: Some(first),
                connect_to: BTreeMap::new(),
                probe: ProbeBinding {
                    project: "library".into(),
                    repository: "runbook-canary".into(),
                    user: None,
                    password: None,
                },
            },
            notify: BTreeMap::new(),
            owner: "runbook-dr".into(),
            inherited: self.inherited.clone(),
        }
    }

    pub fn plan(&self, runbook: &str, mode: Mode) -> Plan {
        let text = runbook_steps::builtin(runbook).expect("a built-in runbook");
        let parsed = parse_runbook::<Kind>(&format!("{runbook}.yaml"), text)
            .unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(false, 100)));
        let bindings = self.bindings();
        let to = if runbook == "settle" {
            bindings.active.clone()
        } else {
            bindings.standby.clone()
        };
        let planning = Planning {
            mode,
            topology: "dr",
            from: &bindings.active,
            to: &to,
            bindings: serde_json::to_value(&bindings).expect("JSON"),
            time_scale: self.sandbox.time_scale(),
            request_timeout: Duration::from_secs(10),
            rto_target: None,
            rpo_target: Some(Duration::from_secs(900)),
        };
        plan(&parsed, planning).expect("a plan")
    }

    fn secret(&self) -> impl Fn(&str) -> Option<SecretString> + Send + Sync + 'static {
        let secrets = self.secrets.clone();
        move |name: &str| {
            secrets
                .get(name)
                .map(|text| SecretString::from(text.clone()))
        }
    }

    fn inventories(&self) -> PathBuf {
        self.folder.path().join("inventory.db")
    }

    pub async fn journal(&self) -> Arc<Journal> {
        Arc::new(
            Journal::open(&self.folder.path().join("state.db"))
                .await
                .expect("a journal"),
        )
    }

    /// Runs a runbook to where it stops.
    pub async fn run(&mut self, runbook: &str, mode: Mode) -> (Ended, Vec<Recorded>) {
        let plan = self.plan(runbook, mode);
        let journal = self.journal().await;
        self.runs += 1;
        let id = format!("r{}", self.runs);
        let holder = Holder::this_process("test");
        let clock = Clock::wall(plan.time_scale);
        let sites = Sites::open(
            &self.bindings(),
            &self.secret(),
            Arc::new(|| Ok(())),
            &self.inventories(),
        )
        .await
        .expect("clients");
        let steps = runbook_steps::build(&plan).expect("steps");
        let log = RunLog::begin(
            journal.clone(),
            &id,
            plan.clone(),
            &holder,
            clock,
            Arc::new(Blind),
        )
        .await
        .expect("a run");
        let (_sender, stop) = stop();
        let driver = Driver {
            log,
            steps: &steps,
            world: &sites,
            person: &Yes,
            stop,
            chance: &|| 7,
        };
        let ended = driver.drive().await.expect("the journal");
        let events = journal.events(&id).await.expect("events");
        if ended == Ended::Finished(runbook_engine::event::Outcome::Done)
            && plan.cutover().is_some()
        {
            self.active = if plan.to == "dr" { "dr" } else { "primary" };
            self.inherited.originals = events
                .iter()
                .filter_map(|recorded| match &recorded.event {
                    Event::OriginalSaved {
                        site,
                        object,
                        document,
                        ..
                    } => Some((site.clone(), object.clone(), document.clone())),
                    _ => None,
                })
                .collect();
        }
        (ended, events)
    }

    pub async fn rehearse(&self, runbook: &str, mode: Mode) -> Vec<Rehearsed> {
        let plan = self.plan(runbook, mode);
        let reader = SitesReader::open(&self.bindings(), &self.secret(), &self.inventories())
            .await
            .expect("clients");
        let steps = runbook_steps::build(&plan).expect("steps");
        rehearse(&plan, &steps, &reader, &Clock::wall(plan.time_scale)).await
    }
}

/// The journal in words, for a failed assertion.
pub fn told(events: &[Recorded]) -> String {
    events
        .iter()
        .map(|recorded| format!("{:3} {:?}\n", recorded.seq, recorded.event))
        .collect()
}
