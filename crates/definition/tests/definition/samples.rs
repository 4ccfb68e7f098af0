//! Step kinds and providers to read with, and files that are right.

use runbook_definition::{Config, Diagnostics, Kind, Runbook, parse_config, parse_runbook};
use runbook_engine::plan::InDoubt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Kinds {
    #[serde(rename = "harbor.sync")]
    Sync(Sync),
    #[serde(rename = "harbor.silence")]
    Silence(OneSite),
    #[serde(rename = "harbor.read-only")]
    ReadOnly(ReadOnly),
    #[serde(rename = "dns.upsert")]
    Upsert(Upsert),
    #[serde(rename = "approval")]
    Approval {},
    #[serde(rename = "note")]
    Note,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sync {
    pub site: String,
    pub policy: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above_mark: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OneSite {
    pub site: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReadOnly {
    pub site: String,
    pub value: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Upsert {
    pub name: String,
    pub to: String,
}

impl Kind for Kinds {
    fn name(&self) -> &'static str {
        match self {
            Self::Sync(_) => "harbor.sync",
            Self::Silence(_) => "harbor.silence",
            Self::ReadOnly(_) => "harbor.read-only",
            Self::Upsert(_) => "dns.upsert",
            Self::Approval {} => "approval",
            Self::Note => "note",
        }
    }

    fn in_doubt(&self) -> InDoubt {
        if *self == Self::Note {
            InDoubt::Repeat
        } else {
            InDoubt::Probe
        }
    }

    fn roles(&self) -> Vec<String> {
        match self {
            Self::Sync(Sync { site, .. })
            | Self::Silence(OneSite { site })
            | Self::ReadOnly(ReadOnly { site, .. }) => {
                vec![site.clone()]
            }
            Self::Upsert(Upsert { name, to }) => vec![name.clone(), to.clone()],
            Self::Approval {} | Self::Note => Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Dns {
    Rfc2136(Rfc2136),
    Route53(Route53),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rfc2136 {
    pub zone: String,
    pub server: String,
    pub key: Key,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Key {
    pub name: String,
    pub secret: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Route53 {
    pub zone: String,
}

/// A configuration that says everything.
pub const CONFIG: &str = r#"# yaml-language-server: $schema=./runbook.schema.json
version: 1

sites:
  primary:
    url: https://harbor-primary.example.com
    region: us-east-1
    auth: { user: admin, password: "env:HARBOR_PRIMARY_PASSWORD" }   # read-only needs an administrator
    timeout: 20s
    ca-file: certs/primary.pem
  dr:
    url: http://harbor-dr.example.com:8080
    auth: { user: admin, password: { exec: [pass, show, harbor dr] } }
    connect-to: "10.0.0.2:8080"

topologies:
  dr:
    dr-pair:
      active: primary
      standby: dr
      direction: pull
      policies: { forward: dr-full-sync, reverse: dr-reverse, final-sync: dr-final, final-reverse-sync: dr-back }
      every: 8m
      include: ["**"]
      tags: { match: ["v*"], exclude: ["dev-*", "pr-*"] }
      deletions: keep
      on-existing: override
    objectives: { rto: 15m, rpo: 15m }
    endpoint:
      name: harbor.example.com
      url: "https://harbor.example.com:8443"
      dns:
        - rfc2136: { zone: example.com, server: "127.0.0.1:5353", key: { name: ops, secret: "env:DNS_KEY" }, ttl: 60 }
      targets: { primary: harbor-primary.example.com, dr: harbor-dr.example.com }
      ttl: { normal: 60s, lowered: 5s }
      verify: [authoritative, "1.1.1.1", "8.8.8.8:53", system]
      resolver: "127.0.0.1:5353"
      connect-to: { dr: "127.0.0.1:19080" }
      probe: { project: library, repository: canary, auth: { user: probe, password: "cred:probe" } }
    robots: { name: dr-replication, secret-to: "file:secrets/dr-robot" }
    also-sync: [projects, members, robots, labels, quotas]
    runbooks: { failover: runbooks/failover.yaml }

notify:
  oncall: { webhook: { url: "env:ONCALL_URL", authorization: "file:secrets/oncall" }, on: [run.*] }
  desk: { command: { argv: [mail, -s, runbook, ops], timeout: 30s } }
"#;

/// The least that a configuration says.
pub const SMALL_CONFIG: &str = r#"version: 1
time-scale: 60
sites:
  primary: { url: "http://127.0.0.2:8080", auth: { user: admin, password: "env:A" } }
  dr: { url: "http://localhost:8080", auth: { user: admin, password: "env:B" } }
topologies:
  dr:
    dr-pair: { active: primary, standby: dr, direction: push, on: push, deletions: mirror }
    endpoint:
      name: harbor.example.test
      dns: [ { route53: { zone: Z123 } } ]
      targets: { primary: harbor-a.example.test, dr: harbor-b.example.test }
"#;

/// A runbook that says everything.
pub const RUNBOOK: &str = r#"version: 1
runbook: failover
for: dr-pair
steps:
  - id: approval
    do: { approval: {} }
    in-doubt: ask
  - id: silence-active
    do: { harbor.silence: { site: active } }
    modes: [planned]
    guards: [{ step: approval, max-age: 15m }]
  - id: fence
    do: { harbor.read-only: { site: active, value: true } }
    if-unreachable: owe
  - id: final-sync
    do: { harbor.sync: { site: standby, policy: forward, above-mark: fence } }
    modes: [planned]
    timeout: 10m
    retry: { attempts: 5, backoff: 500ms }
    on-failure: ask
    guards: [silence-active, { step: fence, broken: ask }]
    back-to: silence-active
  - id: dns-upsert
    do: { dns.upsert: { name: endpoint, to: standby } }
    guards: [fence, final-sync]
    cutover: true
  - id: tell
    do: note
    on-failure: continue
"#;

pub fn config(text: &str) -> Result<Config<Dns>, Diagnostics> {
    parse_config("runbook.yaml", text)
}

pub fn runbook(text: &str) -> Result<Runbook<Kinds>, Diagnostics> {
    parse_runbook("failover.yaml", text)
}

/// Replaces one part of a text, which must be there exactly once.
pub fn with(text: &str, old: &str, new: &str) -> String {
    assert_eq!(
        text.matches(old).count(),
        1,
        "`{old}` is not in the text exactly once"
    );
    text.replacen(old, new, 1)
}

/// Returns what people are told about a configuration.
pub fn config_told(old: &str, new: &str) -> String {
    config(&with(CONFIG, old, new))
        .expect_err("the configuration is wrong")
        .render(false, 100)
}

/// Returns what people are told about a runbook.
pub fn runbook_told(old: &str, new: &str) -> String {
    runbook(&with(RUNBOOK, old, new))
        .expect_err("the runbook is wrong")
        .render(false, 100)
}
