//! A pair of sandbox Harbors with a state file, and runs on it without the command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use runbook_definition::{Planning, parse_runbook, plan};
use runbook_engine::clock::Clock;
use runbook_engine::event::Command;
use runbook_engine::executor::Driver;
use runbook_engine::journal::Journal;
use runbook_engine::lease::Holder;
use runbook_engine::plan::{InDoubt, Mode, Plan};
use runbook_engine::rehearsal::{Rehearsed, rehearse};
use runbook_engine::runlog::RunLog;
use runbook_engine::stop::stop;
use runbook_sim::{Direction as SimDirection, Fault, Harbor, Sandbox, SandboxOptions};
use runbook_steps::bindings::{
    Bindings, Direction, EndpointBinding, Inherited, PairPolicies, PolicyBinding, ProbeBinding,
    SiteBinding,
};
use runbook_steps::{Sites, SitesReader};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::scene::{DONE, Ran, Scene, Script, Stage};

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

/// A pair of sandbox Harbors with a state file.
pub struct Pair {
    pub sandbox: Arc<Sandbox>,
    folder: tempfile::TempDir,
    secrets: BTreeMap<String, String>,
    /// The site that serves.
    pub active: &'static str,
    /// What earlier runs left.
    pub inherited: Inherited,
    /// Makes the bindings other than the sandbox's.
    pub tweak: fn(&mut Bindings),
    pub rpo: Option<Duration>,
    runs: u32,
}

impl Pair {
    /// Starts a pair whose schedules do not fire, so that nothing happens but what the test does.
    pub async fn start(direction: SimDirection) -> Pair {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = SandboxOptions {
            direction,
            time_scale: 200.0,
            ..SandboxOptions::default()
        };
        let sandbox = Sandbox::start(options).await.expect("a sandbox");
        for site in [sandbox.primary(), sandbox.dr()] {
            for policy in ["dr-forward", "dr-reverse"] {
                let policy = policy.to_owned();
                site.inject(Fault::LostSchedule { policy });
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        sandbox.runbook_yaml(folder.path()).expect("secrets");
        let mut secrets = BTreeMap::new();
        for name in ["primary-password", "dr-password", "tsig"] {
            let text = std::fs::read_to_string(folder.path().join(name)).expect("a secret");
            secrets.insert(name.to_owned(), text);
        }
        Pair {
            sandbox: Arc::new(sandbox),
            folder,
            secrets,
            active: "primary",
            inherited: Inherited::default(),
            tweak: |_| {},
            rpo: Some(Duration::from_secs(900)),
            runs: 0,
        }
    }

    /// Gives a secret another value.
    pub fn set_secret(&mut self, name: &str, text: &str) {
        self.secrets.insert(name.to_owned(), text.to_owned());
    }

    pub fn primary(&self) -> &Harbor {
        self.sandbox.primary()
    }

    pub fn dr(&self) -> &Harbor {
        self.sandbox.dr()
    }

    /// The value of the service name's record at the primary server.
    pub fn serves(&self) -> Option<(Vec<String>, u32)> {
        let name = self.sandbox.endpoint_name();
        let all = self.sandbox.dns().snapshot();
        let set = all
            .into_iter()
            .find(|set| set.name.trim_end_matches('.') == name)?;
        Some((set.values, set.ttl))
    }

    /// Policies, flags, robots and the record: everything that a round trip must leave as it was.
    pub fn settings(&self) -> String {
        let mut world = self.sandbox.snapshot().without_history();
        for site in world.sites.values_mut() {
            site.repositories.clear();
        }
        world.dns.retain(|set| !set.name.starts_with("_dr-owner"));
        format!("{world:#?}")
    }

    /// All of it, contents included.
    pub fn world(&self) -> String {
        format!("{:#?}", self.sandbox.snapshot().without_history())
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
        let mut bindings = Bindings {
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
        };
        (self.tweak)(&mut bindings);
        bindings
    }

    pub fn plan(&self, runbook: &str, mode: Mode) -> Plan {
        let text = runbook_steps::builtin(runbook).expect("a built-in runbook");
        self.plan_of(runbook, text, mode)
    }

    /// A plan of a few steps, given as YAML under `steps:`.
    pub fn small(&self, steps: &str) -> Plan {
        let text = format!("version: 1\nrunbook: small\nfor: dr-pair\nsteps:\n{steps}");
        self.plan_of("small", &text, Mode::Planned)
    }

    fn plan_of(&self, runbook: &str, text: &str, mode: Mode) -> Plan {
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
            rto_target: Some(Duration::from_secs(30)),
            rpo_target: self.rpo,
        };
        plan(&parsed, planning).expect("a plan")
    }

    pub fn secret(&self) -> impl Fn(&str) -> Option<SecretString> + Send + Sync + 'static {
        let secrets = self.secrets.clone();
        move |name: &str| {
            secrets
                .get(name)
                .map(|text| SecretString::from(text.clone()))
        }
    }

    pub fn inventories(&self) -> PathBuf {
        self.folder.path().join("inventory.db")
    }

    /// The reading half of the world of a plan.
    pub async fn reader_for(&self, plan: &Plan) -> SitesReader {
        let bindings = Bindings::of(plan).expect("bindings");
        SitesReader::open(&bindings, &self.secret(), &self.inventories())
            .await
            .expect("clients")
    }

    pub async fn journal(&self) -> Arc<Journal> {
        let path = self.folder.path().join("state.db");
        Arc::new(Journal::open(&path).await.expect("a journal"))
    }

    /// Runs a built-in runbook to where it stops, with a person who says yes to everything.
    pub async fn run(&mut self, runbook: &str, mode: Mode) -> Ran {
        self.drive(self.plan(runbook, mode), Scene::default()).await
    }

    /// Runs a plan to where it stops.
    pub async fn drive(&mut self, plan: Plan, scene: Scene) -> Ran {
        self.runs += 1;
        let id = format!("r{}", self.runs);
        let clock = Clock::wall(plan.time_scale);
        let (holder, stage) = (Holder::this_process("test"), Arc::new(scene.stage));
        let journal = self.journal().await;
        let begun = RunLog::begin(journal, &id, plan, &holder, clock, stage.clone()).await;
        self.go_on(begun.expect("a run"), stage, scene.person).await
    }

    /// Resumes a run, with a command first if there is one.
    pub async fn resume(&mut self, id: &str, command: Option<Command>, scene: Scene) -> Ran {
        let journal = self.journal().await;
        if let Some(command) = command {
            journal.send(id, "test", &command).await.expect("a command");
        }
        let (holder, stage) = (Holder::this_process("test"), Arc::new(scene.stage));
        let resumed = RunLog::resume(journal, id, &holder, stage.clone()).await;
        self.go_on(resumed.expect("a run"), stage, scene.person)
            .await
    }

    /// Ends a run and undoes what it did.
    pub async fn undo(&mut self, id: &str) -> Ran {
        self.resume(id, Some(Command::Abort { undo: true }), Scene::default())
            .await
    }

    async fn go_on(&mut self, log: Arc<RunLog>, stage: Arc<Stage>, person: Script) -> Ran {
        let (id, plan) = (log.id().to_owned(), log.plan().clone());
        let sites = Sites::open(
            &Bindings::of(&plan).expect("bindings"),
            &self.secret(),
            Arc::new(|| Ok(())),
            &self.inventories(),
        )
        .await
        .expect("clients");
        let steps = runbook_steps::build(&plan).expect("steps");
        let (sender, stop) = stop();
        stage.begin(&self.sandbox, sender);
        let driver = Driver {
            log: log.clone(),
            steps: &steps,
            world: &sites,
            person: &person,
            stop,
            chance: &|| 7,
        };
        let ended = driver.drive().await.expect("the journal");
        let events = log.journal().events(&id).await.expect("events");
        let ran = Ran {
            id,
            plan,
            ended,
            state: log.state(),
            events,
            begun: stage.begun(),
        };
        self.take_over(&ran);
        ran
    }

    /// What the command keeps between runs: which site serves, and the originals.
    fn take_over(&mut self, ran: &Ran) {
        let saved = ran.state.originals.clone().into_iter();
        let saved = saved.map(|((site, object), document)| (site, object, document));
        if ran.ended != DONE {
        } else if ran.plan.cutover().is_some() {
            self.active = if ran.plan.to == "dr" { "dr" } else { "primary" };
            self.inherited.originals = saved.collect();
        } else if ran.plan.runbook == "settle" {
            self.inherited.add_originals(saved);
        }
    }

    pub async fn rehearse(&self, plan: &Plan) -> Vec<Rehearsed> {
        let steps = runbook_steps::build(plan).expect("steps");
        rehearse(
            plan,
            &steps,
            &self.reader_for(plan).await,
            &Clock::wall(plan.time_scale),
        )
        .await
    }
}
