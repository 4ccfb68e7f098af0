//! From a runbook to a plan.

use std::time::Duration;

use runbook_definition::{PlanError, Planning, kind_of, plan};
use runbook_engine::plan::{Broken, Guard, IfUnreachable, InDoubt, Mode, OnFailure, Retry};
use serde_json::{Value, json};

use crate::samples::{Kinds, RUNBOOK, runbook, with};

fn planning(mode: Mode, to: &str) -> Planning<'_> {
    Planning {
        mode,
        topology: "dr",
        from: "primary",
        to,
        bindings: json!({ "active": "primary" }),
        time_scale: 1.0,
        request_timeout: Duration::from_secs(10),
        rto_target: Some(Duration::from_secs(900)),
        rpo_target: None,
    }
}

#[test]
fn a_plan_keeps_what_the_runbook_says() {
    let read = runbook(RUNBOOK).expect("a runbook");
    let plan = plan(&read, planning(Mode::Planned, "dr")).expect("a plan");
    assert_eq!(
        (
            plan.runbook.as_str(),
            plan.topology.as_str(),
            plan.from.as_str(),
            plan.to.as_str()
        ),
        ("failover", "dr", "primary", "dr")
    );
    assert_eq!(plan.steps.len(), 6, "steps of other modes stay");
    assert_eq!(plan.cutover(), Some(4));

    let sync = &plan.steps[3];
    assert_eq!(
        (sync.id.as_str(), sync.kind.as_str()),
        ("final-sync", "harbor.sync")
    );
    assert_eq!(
        sync.action,
        json!({ "site": "standby", "policy": "forward", "above-mark": "fence" })
    );
    assert_eq!(sync.modes, [Mode::Planned]);
    assert_eq!(sync.timeout, Duration::from_secs(600));
    assert_eq!(
        sync.retry,
        Retry {
            attempts: 5,
            backoff: Duration::from_millis(500)
        }
    );
    assert_eq!(sync.on_failure, OnFailure::Ask);
    assert_eq!(sync.back_to.as_deref(), Some("silence-active"));
    let guard = |step: &str, broken| Guard {
        step: step.to_owned(),
        max_age: None,
        broken,
    };
    assert_eq!(
        sync.guards,
        [
            guard("silence-active", Broken::Back),
            guard("fence", Broken::Ask)
        ]
    );
    assert_eq!(
        plan.steps[1].guards[0].max_age,
        Some(Duration::from_secs(900))
    );
    assert_eq!(plan.steps[2].if_unreachable, IfUnreachable::Owe);

    let approval = &plan.steps[0];
    assert_eq!(approval.timeout, Duration::from_secs(300));
    assert_eq!(
        approval.retry,
        Retry {
            attempts: 3,
            backoff: Duration::from_secs(2)
        }
    );
    assert_eq!(
        (approval.on_failure, approval.if_unreachable),
        (OnFailure::Stop, IfUnreachable::Fail)
    );
    assert_eq!(
        approval.in_doubt,
        InDoubt::Ask,
        "the runbook goes before the kind"
    );
    assert_eq!(sync.in_doubt, InDoubt::Probe, "the kind says");
    assert_eq!(plan.steps[5].in_doubt, InDoubt::Repeat, "the kind says");
}

#[test]
fn a_plan_gives_the_kinds_back() {
    let read = runbook(RUNBOOK).expect("a runbook");
    let plan = plan(&read, planning(Mode::Unplanned, "dr")).expect("a plan");
    for (written, planned) in read.steps.iter().zip(&plan.steps) {
        assert_eq!(
            *written.action,
            kind_of::<Kinds>(planned).expect("the kind")
        );
    }
    assert_eq!(plan.steps[5].action, Value::Null);
    let mut other = plan.steps[3].clone();
    other.kind = "harbor.future".to_owned();
    assert!(matches!(
        kind_of::<Kinds>(&other),
        Err(PlanError::Unreadable { .. })
    ));
}

#[test]
fn what_cannot_be_planned() {
    let read = runbook(RUNBOOK).expect("a runbook");
    assert!(matches!(
        plan(&read, planning(Mode::Planned, "primary")),
        Err(PlanError::NothingToMove { .. })
    ));
    let mut fast = planning(Mode::Planned, "dr");
    fast.time_scale = f64::NAN;
    assert!(matches!(plan(&read, fast), Err(PlanError::TimeScale(_))));
    let one =
        "version: 1\nrunbook: x\nfor: dr-pair\nsteps:\n  - { id: a, do: note, modes: [planned] }\n";
    let read = runbook(one).expect("a runbook");
    assert!(matches!(
        plan(&read, planning(Mode::Unplanned, "dr")),
        Err(PlanError::NothingToDo { .. })
    ));
    assert!(
        plan(&read, planning(Mode::Planned, "primary")).is_ok(),
        "nothing is moved"
    );
}

#[test]
fn a_comment_changes_no_plan() {
    let commented = with(RUNBOOK, "steps:\n", "# in this order\nsteps:\n");
    let digest = |text| {
        plan(
            &runbook(text).expect("a runbook"),
            planning(Mode::Planned, "dr"),
        )
        .expect("a plan")
        .digest()
    };
    assert_eq!(digest(RUNBOOK), digest(commented.as_str()));
}
