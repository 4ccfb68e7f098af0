//! Read-only mode, as recorded in `read-only`, `read-only-replication` and `read-only-source`.

use std::time::Duration;

use runbook_sim::{CopySpeed, Direction, SandboxOptions};
use serde_json::json;

use crate::stage::{Stage, recording};

#[tokio::test]
async fn a_read_only_harbor_answers_as_recorded() {
    let mut stage = Stage::bare(100.0).await;
    stage.fill().await;
    for exchange in recording("read-only") {
        stage.replay(&exchange, &[]).await;
    }
}

#[tokio::test]
async fn replication_is_refused_as_recorded() {
    let mut stage = Stage::bare(100.0).await;
    stage.fill().await;
    stage.add_endpoint().await;
    for exchange in recording("read-only-replication")
        .into_iter()
        .filter(|one| one.instance() == "dr")
    {
        // What the slow pull shows is polled until it is over.
        if exchange.path().contains("/executions/")
            && exchange.method() == "GET"
            && !exchange.path().ends_with("/log")
        {
            continue;
        }
        if exchange.path().ends_with("/log") {
            continue;
        }
        stage.replay(&exchange, &[]).await;
    }
}

#[tokio::test]
async fn a_push_into_a_read_only_harbor_goes_on_once_it_is_lifted() {
    let options = SandboxOptions {
        direction: Direction::Push,
        time_scale: 200.0,
        ..SandboxOptions::default()
    };
    let stage = Stage::with(options).await;
    stage.harbor("dr").set_read_only(true);
    stage
        .harbor("primary")
        .push_tag("production/app", "new", "new")
        .expect("a push");
    let id = stage.sandbox.primary().executions("dr-forward")[0].0;
    let failed = stage
        .execution_when("primary", id, |one| one["failed"] == 1)
        .await;
    assert_eq!(failed["trigger"], "event_based");
    assert!(stage.harbor("dr").digest("production/app", "new").is_none());
    stage.harbor("dr").set_read_only(false);
    stage
        .execution_when("primary", id, |one| one["status"] == "Succeed")
        .await;
    assert!(stage.harbor("dr").digest("production/app", "new").is_some());
}

#[tokio::test]
async fn a_read_only_source_copies_but_cannot_say_so() {
    let options = SandboxOptions {
        direction: Direction::Push,
        time_scale: 100.0,
        ..SandboxOptions::default()
    };
    let stage = Stage::with(options).await;
    let primary = stage.harbor("primary");
    primary.set_copy_speed(CopySpeed {
        per_task: Duration::from_secs(20),
        bytes_per_second: 1_000_000,
    });
    primary
        .push_tag("production/app", "new", "new")
        .expect("a push");
    let id = primary.executions("dr-forward")[0].0;
    let running = |task: &serde_json::Value| task[0]["status"] == "InProgress";
    let path = format!("/api/v2.0/replication/executions/{id}/tasks");
    while !running(&stage.ask("primary", "GET", &path, None).await.body) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let fence = stage
        .ask(
            "primary",
            "PUT",
            "/api/v2.0/configurations",
            Some(json!({ "read_only": true })),
        )
        .await;
    assert_eq!(fence.status, 200);
    stage
        .until("the image arrives", |sandbox| {
            sandbox.dr().digest("production/app", "new").is_some()
        })
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(stage.execution("primary", id).await["status"], "InProgress");
    assert_eq!(stage.execution("primary", id).await["in_progress"], 1);
    primary.set_read_only(false);
    stage
        .execution_when("primary", id, |one| one["status"] == "Succeed")
        .await;
}
