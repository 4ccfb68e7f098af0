//! The kinds in use: one row for each way, with the world that it finds and what may be expected of it.

use runbook_engine::plan::Plan;
use runbook_sim::{Direction, Fault, Mutation};

use crate::pair::Pair;

/// One way to use a kind.
pub struct Case {
    pub name: &'static str,
    pub direction: Direction,
    /// Steps before the one under test.
    pub first: &'static str,
    /// What stands under `do:`.
    pub action: &'static str,
    /// Further keys of the step.
    pub keys: &'static str,
    /// Makes the world that the step finds.
    pub world: fn(&mut Pair),
    pub after: After,
    pub again: Again,
    /// Whether what it writes to Harbors is counted: a push of the same blobs twice is the kind's right.
    pub counted: bool,
}

/// What a probe says after the run.
#[derive(Clone, Copy, PartialEq)]
pub enum After {
    Done,
    /// The world cannot tell: it is looked at or done anew.
    NotDone,
}

/// What the same step does once more in the same run.
#[derive(Clone, Copy, PartialEq)]
pub enum Again {
    Nothing,
    /// It is its purpose to do it again.
    Anew,
}

const CASE: Case = Case {
    name: "",
    direction: Direction::Pull,
    first: "",
    action: "",
    keys: "",
    world: |_| {},
    after: After::Done,
    again: Again::Nothing,
    counted: true,
};

const FENCE: &str = "  - { id: fence, do: { harbor.read-only: { site: active, value: true, mark: final-sync } } }\n";

/// A forward policy that has something to copy and takes its time.
fn busy_push(pair: &mut Pair) {
    let policy = "dr-forward".to_owned();
    pair.primary().inject(Fault::SlowQueue {
        delay_ms: 3_600_000,
    });
    pair.primary()
        .change(&Mutation::ExecutionStarted { policy })
        .expect("a run");
}

/// A pull that began before the fence.
fn busy_pull(pair: &mut Pair) {
    let policy = "dr-forward".to_owned();
    let slow = Fault::SlowQueue {
        delay_ms: 3_600_000,
    };
    pair.dr().inject(slow);
    pair.dr()
        .change(&Mutation::ExecutionStarted { policy })
        .expect("a run");
}

fn something_new(pair: &mut Pair) {
    pair.primary()
        .push_tag("production/app", "new", "new")
        .expect("a push");
}

/// The forward policy and the robot as a failover leaves them, with their originals.
fn after_a_failover(pair: &mut Pair) {
    let original = pair.dr().policy("dr-forward").expect("a policy");
    let robot = serde_json::json!({ "id": 1, "name": "robot$dr-replication", "disable": false });
    pair.inherited.originals = vec![
        ("dr".into(), "policy dr-forward".into(), original),
        ("dr".into(), "robot dr-replication".into(), robot),
    ];
    let policy = || "dr-forward".to_owned();
    let changes = [
        Mutation::PolicyEnabled {
            policy: policy(),
            enabled: false,
        },
        Mutation::PolicyDescription {
            policy: policy(),
            description: "other".into(),
        },
        Mutation::RobotDisabled {
            robot: "dr-replication".into(),
            disabled: true,
        },
    ];
    for change in changes {
        pair.dr().change(&change).expect("a change");
    }
}

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "check",
            action: "check: {}",
            after: After::NotDone,
            ..CASE
        },
        Case {
            name: "harbor.health",
            action: "harbor.health: { site: standby, want: writable }",
            after: After::NotDone,
            ..CASE
        },
        Case {
            name: "approval",
            action: "approval: {}",
            ..CASE
        },
        Case {
            name: "originals",
            action: "originals: {}",
            ..CASE
        },
        Case {
            name: "harbor.silence",
            direction: Direction::Push,
            action: "harbor.silence: { site: active }",
            world: busy_push,
            ..CASE
        },
        Case {
            name: "harbor.silence",
            action: "harbor.silence: { site: standby, moves: into }",
            world: busy_pull,
            ..CASE
        },
        Case {
            name: "harbor.read-only",
            action: "harbor.read-only: { site: active, value: true }",
            ..CASE
        },
        Case {
            name: "harbor.read-only",
            action: "harbor.read-only: { site: active, value: true, mark: final-sync }",
            ..CASE
        },
        Case {
            name: "harbor.sync",
            action: "harbor.sync: { policy: final-sync }",
            world: something_new,
            again: Again::Anew,
            ..CASE
        },
        Case {
            name: "harbor.sync",
            direction: Direction::Push,
            first: FENCE,
            action: "harbor.sync: { policy: final-sync, above-mark: fence }",
            world: something_new,
            ..CASE
        },
        Case {
            name: "harbor.sync",
            action: "harbor.sync: { policy: reverse }",
            again: Again::Anew,
            ..CASE
        },
        Case {
            name: "harbor.compare",
            action: "harbor.compare: { source: active, target: standby, policy: forward, gate: [missing, different] }",
            ..CASE
        },
        Case {
            name: "harbor.policy",
            action: "harbor.policy: { disable: { policy: forward } }",
            ..CASE
        },
        Case {
            name: "harbor.policy",
            action: "harbor.policy: { enable: { policy: reverse } }",
            ..CASE
        },
        Case {
            name: "harbor.policy",
            action: "harbor.policy: { verify: { policy: reverse, enabled: false } }",
            ..CASE
        },
        Case {
            name: "harbor.policy",
            action: "harbor.policy: { restore: {} }",
            world: after_a_failover,
            ..CASE
        },
        Case {
            name: "harbor.robot",
            action: "harbor.robot: { site: standby, disabled: true }",
            ..CASE
        },
        Case {
            name: "dns.ttl",
            action: "dns.ttl: lower",
            ..CASE
        },
        Case {
            name: "dns.ttl",
            action: "dns.ttl: restore",
            ..CASE
        },
        Case {
            name: "dns.upsert",
            action: "dns.upsert: { name: endpoint, to: standby }",
            keys: "cutover: true",
            ..CASE
        },
        Case {
            name: "dns.verify",
            action: "dns.verify: { to: active }",
            ..CASE
        },
        Case {
            name: "registry.probe",
            action: "registry.probe: { site: active }",
            after: After::NotDone,
            again: Again::Anew,
            counted: false,
            ..CASE
        },
        Case {
            name: "wait",
            action: "wait: { for: 10s }",
            ..CASE
        },
        Case {
            name: "notify",
            action: "notify: { message: hello }",
            after: After::NotDone,
            ..CASE
        },
        Case {
            name: "http",
            action: "http: { method: GET, url: \"SITE/api/v2.0/health\" }",
            after: After::NotDone,
            ..CASE
        },
        Case {
            name: "exec",
            action: "exec: { argv: [\"true\"] }",
            after: After::NotDone,
            ..CASE
        },
    ]
}

impl Case {
    pub async fn pair(&self) -> Pair {
        let mut pair = Pair::start(self.direction).await;
        (self.world)(&mut pair);
        pair.sandbox.clear_log();
        pair
    }

    pub fn steps(&self, pair: &Pair, ids: &[&str]) -> String {
        let mut text = self.first.to_owned();
        for id in ids {
            let keys = if self.keys.is_empty() {
                String::new()
            } else {
                format!(", {}", self.keys)
            };
            let action = self.action.replace("SITE", pair.primary().url());
            text.push_str(&format!("  - {{ id: {id}, do: {{ {action} }}, retry: {{ attempts: 4, backoff: 1s }}{keys} }}\n"));
        }
        text
    }

    pub fn plan(&self, pair: &Pair) -> Plan {
        pair.small(&self.steps(pair, &["it"]))
    }

    pub fn writes_to_dns(&self) -> bool {
        self.name.starts_with("dns.")
    }
}
