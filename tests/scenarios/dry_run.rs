//! A rehearsal writes nothing, and says what the real thing then does.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::pair::Pair;
use crate::stage::{self, FAILBACK, PLANNED, UNPLANNED_HEALTHY};

fn changes(list: &Value) -> BTreeSet<(String, String, String, String)> {
    let text = |change: &Value, field: &str| change[field].as_str().unwrap_or_default().to_owned();
    list.as_array()
        .expect("a list")
        .iter()
        .map(|change| {
            (
                text(change, "object"),
                text(change, "field"),
                text(change, "before"),
                text(change, "after"),
            )
        })
        .collect()
}

fn predicted(rehearsal: &Value) -> BTreeSet<(String, String, String, String)> {
    let steps = rehearsal["steps"].as_array().expect("steps");
    steps
        .iter()
        .flat_map(|step| changes(&step["changes"]))
        .collect()
}

/// Rehearses, sees that nothing was written, then runs, and compares.
async fn rehearse_then_run(pair: &Pair, real: &[&str]) {
    pair.sandbox.clear_log();
    let (world, updates) = (pair.settings(), pair.sandbox.dns().serial());
    let runs = pair.runs().await.len();
    let mut dry: Vec<&str> = real.to_vec();
    dry.extend(["--dry-run", "-o", "json"]);
    let rehearsal = pair.expect(0, &dry).await.json();
    assert_eq!(rehearsal["schema"], 1);
    assert_eq!(rehearsal["verdict"], "ready");
    let wrote: Vec<_> = pair
        .sandbox
        .log()
        .into_iter()
        .filter(|entry| !entry.effect.is_empty())
        .collect();
    assert!(wrote.is_empty(), "{wrote:#?}");
    assert_eq!(pair.sandbox.dns().serial(), updates, "the zone changed");
    assert_eq!(pair.settings(), world);
    assert_eq!(pair.runs().await.len(), runs, "a rehearsal is no run");
    pair.expect(0, real).await;
    let report = pair.report().await;
    assert_eq!(
        predicted(&rehearsal),
        changes(&report["changes"]),
        "predicted (left) and done (right)"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planned_failover_and_failback_do_what_was_predicted() {
    for pair in [stage::pull().await, stage::push().await] {
        rehearse_then_run(&pair, PLANNED).await;
        rehearse_then_run(&pair, FAILBACK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unplanned_failover_does_what_was_predicted() {
    let pair = stage::pull().await;
    // An inventory, so that the loss is known and within the target.
    pair.run(&["compare", "primary", "dr"]).await;
    rehearse_then_run(&pair, UNPLANNED_HEALTHY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_people_it_is_a_table_and_makes_no_state_file() {
    let pair = stage::pull().await;
    let ran = pair
        .expect(
            0,
            &[
                "run",
                "failover",
                "--mode",
                "planned",
                "--dry-run",
                "--no-input",
            ],
        )
        .await;
    for words in [
        "Rehearsal of the planned failover, primary -> dr, topology dr: nothing is written",
        "the cutover: no undo from here on",
        "primary  read_only: false -> true",
        "DNS harbor.sandbox.test CNAME  value: primary.sandbox.test -> dr.sandbox.test",
        "dr policy `dr-forward`  enabled: enabled -> disabled",
        "READY",
    ] {
        assert!(ran.stdout.contains(words), "`{words}`:\n{}", ran.stdout);
    }
    ran.says(&["nothing was written; the real thing: `runbook run failover --mode planned`"]);
    assert!(!pair.state().exists(), "a rehearsal keeps no state");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_ready_is_said_by_the_exit_code() {
    let pair = stage::pull().await;
    pair.sandbox.dr().set_read_only(true);
    let ran = pair
        .expect(
            3,
            &[
                "run",
                "failover",
                "--mode",
                "planned",
                "--dry-run",
                "--no-input",
                "-o",
                "json",
            ],
        )
        .await;
    assert_eq!(ran.json()["verdict"], "not-ready");
}
