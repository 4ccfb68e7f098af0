//! A run to test with: its plan and its events, at made-up times.

use std::time::Duration;

use jiff::Timestamp;
use runbook_engine::event::{About, Change, Event, Outcome, Sort};
use runbook_engine::journal::Recorded;
use runbook_engine::plan::{IfUnreachable, InDoubt, Mode, OnFailure, Plan, PlannedStep, Retry};
use serde_json::{Value, json};

fn step(id: &str, kind: &str, action: Value) -> PlannedStep {
    PlannedStep {
        id: id.into(),
        kind: kind.into(),
        action,
        modes: Vec::new(),
        timeout: Duration::from_secs(300),
        retry: Retry {
            attempts: 3,
            backoff: Duration::from_secs(2),
        },
        on_failure: OnFailure::Stop,
        if_unreachable: IfUnreachable::Fail,
        guards: Vec::new(),
        back_to: None,
        cutover: kind == "dns.upsert",
        in_doubt: InDoubt::Probe,
    }
}

/// A short planned failover. Its bindings are not ours, so its labels are the kinds of its steps.
pub fn plan() -> Plan {
    Plan {
        runbook: "failover".into(),
        topology: "dr".into(),
        mode: Mode::Planned,
        from: "primary".into(),
        to: "dr".into(),
        bindings: Value::Null,
        steps: vec![
            step("check", "check", Value::Null),
            step("approval", "approval", Value::Null),
            step(
                "fence-active",
                "harbor.read-only",
                json!({ "site": "active", "value": true }),
            ),
            step("dns-upsert", "dns.upsert", Value::Null),
            step("probe", "registry.probe", Value::Null),
        ],
        request_timeout: Duration::from_secs(10),
        time_scale: 1.0,
        rto_target: Some(Duration::from_secs(900)),
        rpo_target: Some(Duration::from_secs(900)),
    }
}

/// Its events: an approval, an attempt that failed, a driver that died and one that took over.
pub fn planned_failover() -> Vec<(Timestamp, Event)> {
    let started = |step: &str, attempt| Event::AttemptStarted {
        step: step.into(),
        attempt,
        token: "t".into(),
    };
    let done = |step: &str, output: Value, changes: Vec<Change>| Event::Succeeded {
        step: step.into(),
        output,
        changes,
        probed: false,
    };
    let change = |object: &str, field: &str, before: &str, after: &str| Change {
        object: object.into(),
        field: field.into(),
        before: before.into(),
        after: after.into(),
    };
    let findings = json!({ "findings": [
        { "level": "ok", "object": "dr", "text": "healthy, writable" },
        { "level": "warn", "object": "dr policy `dr-forward`", "text": "last run 12 minutes ago" },
    ] });
    let found = json!({
        "compared": 12, "missing": [], "different": [], "extra": [],
        "counts": { "missing": 0, "different": 0, "extra": 0 },
    });
    let events = vec![
        (
            0,
            Event::RunStarted {
                runbook: "failover".into(),
                mode: Mode::Planned,
                plan_digest: "d".into(),
                by: "ana@jump".into(),
            },
        ),
        (0, started("check", 1)),
        (2, done("check", findings, Vec::new())),
        (2, started("approval", 1)),
        (
            2,
            Event::Asked {
                step: "approval".into(),
                nonce: "00c0ffee".into(),
                about: About::Approval,
                question: "Move harbor.example.com from primary to dr?".into(),
                output: Value::Null,
            },
        ),
        (
            62,
            Event::Approved {
                step: "approval".into(),
                by: "ana@jump".into(),
                reason: Some("maintenance".into()),
            },
        ),
        (62, started("fence-active", 1)),
        (
            63,
            Event::OriginalSaved {
                step: "fence-active".into(),
                site: "primary".into(),
                object: "read_only".into(),
                document: json!(false),
            },
        ),
        (
            64,
            done(
                "fence-active",
                found,
                vec![change("primary", "read_only", "false", "true")],
            ),
        ),
        (64, started("dns-upsert", 1)),
        (
            65,
            Event::AttemptFailed {
                step: "dns-upsert".into(),
                sort: Sort::Transient,
                error: "SERVFAIL".into(),
                next_at: time(67),
            },
        ),
        (67, started("dns-upsert", 2)),
        (
            70,
            Event::TakenOver {
                by: "ben@jump".into(),
                from: "ana@jump (process 7, gone)".into(),
                requests_over_at: time(79),
            },
        ),
        (
            70,
            Event::AttemptLost {
                step: "dns-upsert".into(),
            },
        ),
        (
            80,
            Event::Succeeded {
                step: "dns-upsert".into(),
                output: Value::Null,
                changes: vec![change(
                    "harbor.example.com CNAME",
                    "value",
                    "harbor-primary",
                    "harbor-dr",
                )],
                probed: true,
            },
        ),
        (80, started("probe", 1)),
        (
            83,
            done("probe", json!({ "pulled": "library/base" }), Vec::new()),
        ),
        (
            83,
            Event::RunFinished {
                outcome: Outcome::Done,
            },
        ),
    ];
    events
        .into_iter()
        .map(|(at, event)| (time(at), event))
        .collect()
}

/// The same as rows of a journal, without hashes.
pub fn recorded(events: Vec<(Timestamp, Event)>) -> Vec<Recorded> {
    let rows = events.into_iter().enumerate();
    rows.map(|(i, (at, event))| Recorded {
        seq: i as i64 + 1,
        at,
        epoch: 1,
        event,
        hash: String::new(),
    })
    .collect()
}

/// A made-up time.
pub fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
}

/// A small configuration.
pub const CONFIG: &str = r#"
version: 1
sites:
  primary: { url: "http://127.0.0.1:8081", auth: { user: admin, password: "env:PRIMARY_PASSWORD" } }
  dr: { url: "http://127.0.0.2:8081", auth: { user: admin, password: "file:secrets/dr" } }
topologies:
  dr:
    dr-pair:
      active: primary
      standby: dr
      direction: pull
      policies: { forward: dr-forward, reverse: dr-reverse }
    objectives: { rto: 15m, rpo: 15m }
    endpoint:
      name: harbor.example.test
      dns:
        - rfc2136:
            zone: example.test
            server: "127.0.0.1:53"
            key: { name: k, secret: "file:secrets/tsig" }
      targets: { primary: primary.example.test, dr: dr.example.test }
"#;

/// The bindings of [`CONFIG`].
pub fn bindings() -> runbook_steps::bindings::Bindings {
    use runbook_steps::bindings::{
        Bindings, Direction, EndpointBinding, Inherited, PairPolicies, PolicyBinding, ProbeBinding,
        SiteBinding,
    };
    let site = |url: &str| SiteBinding {
        url: url.into(),
        region: None,
        user: "admin".into(),
        password: "env:X".into(),
        timeout_ms: 1000,
        connect_to: None,
        ca_file: None,
    };
    let policy = |site: &str, name: &str| PolicyBinding {
        site: site.into(),
        name: name.into(),
    };
    let dns = json!({ "rfc2136": {
        "zone": "example.test",
        "server": "127.0.0.1:53",
        "key": { "name": "k", "secret": "env:X" },
    } });
    Bindings {
        active: "primary".into(),
        standby: "dr".into(),
        sites: [
            ("primary", "http://127.0.0.1:8081"),
            ("dr", "http://127.0.0.2:8081"),
        ]
        .map(|(name, url)| (name.to_owned(), site(url)))
        .into(),
        direction: Direction::Pull,
        policies: PairPolicies {
            forward: policy("dr", "dr-forward"),
            reverse: policy("primary", "dr-reverse"),
            final_sync: Some(policy("dr", "dr-forward")),
            final_reverse_sync: Some(policy("primary", "dr-reverse")),
        },
        robots: Vec::new(),
        endpoint: EndpointBinding {
            name: "harbor.example.test".into(),
            url: "https://harbor.example.test".into(),
            dns: serde_json::from_value(dns).expect("a provider"),
            targets: [
                ("primary", "primary.example.test"),
                ("dr", "dr.example.test"),
            ]
            .map(|(site, host)| (site.to_owned(), host.to_owned()))
            .into(),
            lowered_ttl: 5,
            verify: vec!["authoritative".into()],
            resolver: None,
            connect_to: [].into(),
            probe: ProbeBinding {
                project: "library".into(),
                repository: "canary".into(),
                user: None,
                password: None,
            },
        },
        notify: [].into(),
        owner: "dr".into(),
        inherited: Inherited::default(),
    }
}

/// [`CONFIG`], read.
pub fn config() -> crate::kinds::OurConfig {
    runbook_definition::parse_config("runbook.yaml", CONFIG).expect("the sample is right")
}

/// Its pair without a history.
pub fn pair<'a>(
    config: &'a crate::kinds::OurConfig,
    active: &str,
    standby: &str,
) -> crate::planning::Pair<'a> {
    let (name, topology) = config.only_topology().expect("one topology");
    crate::planning::Pair {
        name,
        topology,
        active: active.into(),
        standby: standby.into(),
        history: crate::history::History::default(),
    }
}
