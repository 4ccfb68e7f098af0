//! Executions, tasks, stops and retries, as recorded in `executions`, `executions-running-stop`,
//! `failed-then-retried` and `scheduled`.

use std::time::Duration;

use runbook_sim::{CopySpeed, Fault, Mutation, SandboxOptions};
use serde_json::{Value, json};

use crate::stage::{Exchange, Stage, Tolerate, recording};

/// A run that takes a while after its task was picked up.
const SLOW: CopySpeed = CopySpeed {
    per_task: Duration::from_secs(600),
    bytes_per_second: 1_000_000,
};

async fn prepared(scale: f64) -> Stage {
    let mut stage = Stage::bare(scale).await;
    stage.fill().await;
    stage.add_endpoint().await;
    stage
}

fn find(all: &[Exchange], note: &str) -> Exchange {
    all.iter()
        .find(|one| one.note() == note)
        .unwrap_or_else(|| panic!("`{note}` is recorded"))
        .clone()
}

#[tokio::test]
async fn executions_answer_as_recorded() {
    let mut stage = prepared(100.0).await;
    for exchange in recording("executions") {
        if exchange.note() == "(h) end" {
            stage
                .replay_when(&exchange, &[], |body| body["status"] == "Succeed")
                .await;
            continue;
        }
        if exchange.note() == "(i) slow execution 1" {
            stage.harbor("dr").set_copy_speed(SLOW);
        }
        if exchange.note() == "(i) running" {
            // The task is made a moment after the answer.
            let path = exchange.path().to_owned();
            let has_task = |body: &Value| {
                if path.ends_with("/tasks") {
                    body[0].is_object()
                } else {
                    body["total"] == 1
                }
            };
            stage.replay_when(&exchange, &[], has_task).await;
            continue;
        }
        if exchange.note() == "(i) second execution" {
            let path = exchange.path().to_owned();
            let has_task = |body: &Value| {
                if path.ends_with("/tasks") {
                    body[0].is_object()
                } else {
                    body["total"] == 1
                }
            };
            stage.replay_when(&exchange, &[], has_task).await;
            continue;
        }
        // Three starts were not recorded, so lists are shorter here; the text of a log follows from the images.
        let is_list = exchange.path().contains("/executions?");
        let tolerated: &[Tolerate] =
            if exchange.path().ends_with("/log") && exchange.0["status"] == 200 {
                &[Tolerate::Body]
            } else if is_list {
                &[Tolerate::Amount]
            } else {
                &[]
            };
        stage.replay(&exchange, tolerated).await;
    }
}

#[tokio::test]
async fn a_running_execution_stops_at_once_and_writes_no_tag() {
    let mut stage = prepared(60.0).await;
    stage.harbor("dr").set_copy_speed(CopySpeed {
        per_task: Duration::ZERO,
        bytes_per_second: 100,
    });
    let recorded = recording("executions-running-stop");
    stage
        .replay(&find(&recorded, "policy exec-slow"), &[])
        .await;
    stage
        .replay(&find(&recorded, "(i) slow execution 1"), &[])
        .await;
    let running: Vec<Exchange> = recorded
        .iter()
        .filter(|one| one.note() == "(i) running")
        .cloned()
        .collect();
    stage
        .replay_when(&running[0], &[], |body| body["total"] == 1)
        .await;
    stage
        .replay_when(&running[1], &[], |body| body[0]["status"] == "InProgress")
        .await;
    // Waits until the layer after the config is under way: 290 bytes or so take some three seconds here.
    stage
        .until("the config is copied", |sandbox| {
            let repositories = sandbox.dr().snapshot().repositories;
            repositories
                .get("exec-slow/slow")
                .is_some_and(|slow| slow.blobs.len() == 1)
        })
        .await;
    for note in [
        "(i) second execution of the same policy while one is running",
        "(i) disabling a policy while its executions run",
        "(i) deleting a policy with running executions",
        "(j) stop",
    ] {
        stage.replay(&find(&recorded, note), &[]).await;
    }
    let at_once: Vec<Exchange> = recorded
        .iter()
        .filter(|one| one.note() == "(j) at once after stop")
        .cloned()
        .collect();
    let stopped = stage.replay(&at_once[0], &[]).await;
    assert_eq!(
        (&stopped.body["status"], &stopped.body["stopped"]),
        (&json!("Stopped"), &json!(1))
    );
    let task = stage.replay(&at_once[1], &[]).await;
    assert_eq!(task.body[0]["status"], "Stopped");
    stage
        .replay(
            &find(&recorded, "(j) stop an already stopped execution"),
            &[],
        )
        .await;
    let second = stage.sandbox.dr().executions("exec-slow")[1].0;
    let path = format!("/api/v2.0/replication/executions/{second}");
    assert_eq!(stage.ask("dr", "PUT", &path, None).await.body, Value::Null);
    stage
        .until("the layer under way is copied to its end", |sandbox| {
            sandbox.dr().snapshot().repositories["exec-slow/slow"]
                .blobs
                .len()
                == 2
        })
        .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(
        stage.sandbox.dr().snapshot().repositories["exec-slow/slow"]
            .tags
            .is_empty()
    );
}

#[tokio::test]
async fn a_pending_task_stops_at_once() {
    let mut stage = prepared(60.0).await;
    stage.harbor("dr").inject(Fault::PausedQueue);
    let recorded = recording("executions-running-stop");
    stage
        .replay(&find(&recorded, "policy exec-slow3"), &[])
        .await;
    stage
        .replay(
            &find(
                &recorded,
                "(j) start, stop 0.3 s later (task still pending)",
            ),
            &[],
        )
        .await;
    stage
        .until("a task waits", |sandbox| sandbox.dr().is_copying())
        .await;
    stage
        .replay(&find(&recorded, "(j) stop while pending"), &[])
        .await;
    let ends: Vec<Exchange> = recorded.iter().rev().take(2).cloned().collect();
    let execution = stage.replay(&ends[1], &[]).await;
    assert_eq!(execution.body["status"], "Stopped");
    let task = stage.replay(&ends[0], &[]).await;
    assert_eq!(task.body[0]["status"], "Stopped");
}

#[tokio::test]
async fn the_status_lags_behind_the_counters() {
    let stage = Stage::with(SandboxOptions {
        time_scale: 20.0,
        ..SandboxOptions::default()
    })
    .await;
    for _ in 0..20 {
        let id = stage.start("dr", 1).await;
        let done = stage
            .execution_when("dr", id, |one| {
                one["total"] == 4 && one["succeed"] == one["total"]
            })
            .await;
        stage
            .execution_when("dr", id, |one| one["status"] == "Succeed")
            .await;
        // Only a run that ended right before the timer does not show it.
        if done["status"] == "InProgress" {
            assert_eq!(done["end_time"], "0001-01-01T00:00:00.000Z");
            return;
        }
    }
    panic!("the status was never behind");
}

#[tokio::test]
async fn a_failed_execution_succeeds_later_by_itself() {
    let mut stage = prepared(200.0).await;
    let recorded = recording("failed-then-retried");
    for exchange in recorded.iter().take(3) {
        stage.replay(exchange, &[]).await;
    }
    stage.harbor("primary").inject(Fault::ComponentDown {
        component: "registry".to_owned(),
    });
    let policy = |name: &str| {
        stage.sandbox.dr().policy(name).expect("a policy")["id"]
            .as_i64()
            .expect("an id")
    };
    let (left_alone, stopped, disabled) = (
        stage.start("dr", policy("retry-forever")).await,
        stage.start("dr", policy("retry-stopped")).await,
        stage.start("dr", policy("retry-disabled")).await,
    );
    for id in [left_alone, stopped, disabled] {
        let failed = stage
            .execution_when("dr", id, |one| one["failed"] == 1)
            .await;
        assert_eq!(
            failed["status_text"], "",
            "the reason is in the log of the task"
        );
    }
    assert_eq!(
        stage
            .ask(
                "dr",
                "PUT",
                &format!("/api/v2.0/replication/executions/{stopped}"),
                None
            )
            .await
            .status,
        200
    );
    let change = Mutation::PolicyEnabled {
        policy: "retry-disabled".to_owned(),
        enabled: false,
    };
    stage
        .harbor("dr")
        .change(&change)
        .expect("the policy is there");
    stage
        .harbor("primary")
        .repair_all()
        .await
        .expect("repaired");
    for id in [left_alone, disabled] {
        stage
            .execution_when("dr", id, |one| one["status"] == "Succeed")
            .await;
    }
    // Three runs are over after some 200 s at the latest: half of this wait.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let execution = stage.execution("dr", stopped).await;
    assert_eq!(
        (&execution["status"], &execution["failed"]),
        (&json!("Failed"), &json!(1))
    );
}

#[tokio::test]
async fn nothing_to_copy_is_a_success_and_a_dead_source_a_failure() {
    let stage = Stage::with(SandboxOptions {
        time_scale: 100.0,
        ..SandboxOptions::default()
    })
    .await;
    let dr = stage.harbor("dr");
    let path = "/api/v2.0/replication/policies/1";
    let mut policy = stage.ask("dr", "GET", path, None).await.body;
    policy["filters"] = json!([{ "type": "name", "value": "production" }]);
    assert_eq!(stage.ask("dr", "PUT", path, Some(policy)).await.status, 200);
    let id = stage.start("dr", 1).await;
    let nothing = stage
        .execution_when("dr", id, |one| one["status"] != "InProgress")
        .await;
    assert_eq!(
        (&nothing["status"], &nothing["total"]),
        (&json!("Succeed"), &json!(0))
    );
    assert_eq!(nothing["status_text"], "no resources need to be replicated");

    stage.harbor("primary").inject(Fault::Down);
    let id = stage.start("dr", 1).await;
    let failed = stage
        .execution_when("dr", id, |one| one["status"] == "Failed")
        .await;
    let url = stage.harbor("primary").url().to_owned();
    let authority = url.trim_start_matches("http://");
    assert_eq!(
        failed["status_text"],
        format!(
            "failed to create adapter for source registry {url}: Get \"{url}/api/version\": dial tcp {authority}: connect: connection refused"
        )
    );
    assert_eq!(
        (&failed["status"], &failed["total"]),
        (&json!("Failed"), &json!(0))
    );
    let endpoint = stage.ask("dr", "GET", "/api/v2.0/registries/1", None).await;
    assert_eq!(endpoint.body["status"], "healthy", "it does not notice");
    let ping = stage
        .ask(
            "dr",
            "POST",
            "/api/v2.0/registries/ping",
            Some(json!({ "id": 1 })),
        )
        .await;
    assert_eq!(ping.status, 500);
    assert!(dr.digest("production/app", "v1.0.0").is_some());
}

#[tokio::test]
async fn schedules_fire_and_are_late_after_read_only() {
    let mut stage = prepared(300.0).await;
    for exchange in recording("scheduled").iter().take(1) {
        stage.replay(exchange, &[]).await;
    }
    let fired = |stage: &Stage| stage.sandbox.dr().executions("sched").len();
    stage
        .until("the first firing", |sandbox| {
            !sandbox.dr().executions("sched").is_empty()
        })
        .await;
    assert!(
        stage
            .sandbox
            .dr()
            .executions("sched")
            .iter()
            .all(|(_, _, trigger)| trigger == "scheduled")
    );
    let dr = stage.harbor("dr");
    dr.set_read_only(true);
    let before = fired(&stage);
    // Five minutes of its time: some firings are refused.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fired(&stage), before, "a read-only Harbor does not fire");
    dr.set_read_only(false);
    stage
        .until("a late firing", |sandbox| {
            sandbox.dr().executions("sched").len() > before
        })
        .await;
    let off = Mutation::PolicyEnabled {
        policy: "sched".to_owned(),
        enabled: false,
    };
    dr.change(&off).expect("the policy is there");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = fired(&stage);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fired(&stage), before, "a disabled policy does not fire");
}

#[tokio::test]
async fn the_newest_fifty_executions_are_kept() {
    let stage = Stage::with(SandboxOptions {
        time_scale: 1000.0,
        ..SandboxOptions::default()
    })
    .await;
    let change = Mutation::PolicyEnabled {
        policy: "dr-forward".to_owned(),
        enabled: true,
    };
    stage
        .harbor("dr")
        .change(&change)
        .expect("the policy is there");
    for _ in 0..60 {
        stage.start("dr", 1).await;
    }
    stage
        .until("all are over", |sandbox| {
            sandbox.dr().refresh_status();
            sandbox
                .dr()
                .executions("dr-forward")
                .iter()
                .all(|(_, status, _)| status != "InProgress")
        })
        .await;
    stage.harbor("dr").sweep_executions();
    assert!(stage.sandbox.dr().executions("dr-forward").len() <= 51);
    assert_eq!(
        stage
            .ask("dr", "GET", "/api/v2.0/replication/executions/1", None)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_failing_execution_reads_stopped_for_a_moment() {
    let stage = Stage::with(SandboxOptions::default()).await;
    stage.harbor("primary").inject(Fault::Down);
    stage
        .harbor("dr")
        .inject(Fault::StoppedFlash { delay_ms: 300 });
    let id = stage.start("dr", 1).await;
    let flash = stage
        .execution_when("dr", id, |one| one["status"] != "InProgress")
        .await;
    assert_eq!(
        (&flash["status"], &flash["status_text"], &flash["total"]),
        (&json!("Stopped"), &json!(""), &json!(0))
    );
    stage
        .execution_when("dr", id, |one| one["status"] == "Failed")
        .await;
}
