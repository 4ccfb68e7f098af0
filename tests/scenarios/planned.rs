//! Planned failover, and what stands in its report.

use runbook_sim::{Fault, Mutation};
use serde_json::json;

use crate::stage::{self, FRESH, PLANNED, Watched, position, tags};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pulling_pair_moves_with_everything() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    assert_eq!(pair.sandbox.dr().digest(FRESH.0, FRESH.1), None);
    let ran = pair.expect(0, PLANNED).await;
    pair.is_moved(&before);
    ran.says(&[
        "planned failover  primary -> dr  topology dr",
        "way back: `runbook run failback`",
    ]);
    let report = pair.report().await;
    assert_eq!(report["schema"], 1);
    assert_eq!(report["outcome"], "done");
    assert_eq!(report["moved"], true);
    assert_eq!(report["rpo_measured_seconds"], 0.0);
    assert_eq!(report["owed"], json!([]));
    assert_eq!(report["forfeited"], json!([]));
    assert_eq!(report["takeovers"], 0);
    for field in ["frozen_seconds", "rto_measured_seconds"] {
        assert!(report[field].is_f64(), "{field}: {}", report[field]);
    }
    let decided = &report["decisions"][0];
    assert!(
        decided["by"]
            .as_str()
            .is_some_and(|by| by.starts_with("operator@") && by.ends_with("(--confirm dr)")),
        "{decided}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pushing_pair_moves_with_everything() {
    let pair = stage::push().await;
    let before = tags(pair.sandbox.primary());
    pair.expect(0, PLANNED).await;
    pair.is_moved(&before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_may_push_until_the_fence_and_lose_nothing() {
    let pair = stage::pull().await;
    let mut run = Watched::start(&pair, PLANNED);
    run.until("done", "bulk-sync").await;
    // Refused if the fence was quicker; then it was not acknowledged and nobody lost it.
    let late = pair
        .sandbox
        .primary()
        .push_tag("production/web", "late", "late");
    let before = tags(pair.sandbox.primary());
    run.expect(0).await;
    pair.is_moved(&before);
    if let Ok(digest) = late {
        assert_eq!(
            pair.sandbox.dr().digest("production/web", "late"),
            Some(digest)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_steps_are_taken_in_the_order_of_the_table() {
    let pair = stage::pull().await;
    pair.expect(0, PLANNED).await;
    let events = pair.events().await;
    let mut at = 0;
    for step in [
        "check",
        "approval",
        "originals",
        "lower-ttl",
        "bulk-sync",
        "silence-active",
        "fence",
        "final-sync",
        "compare",
        "silence-standby",
        "dns-upsert",
        "dns-verify",
        "probe",
        "tell",
        "wait-old-ttl",
        "still-fenced",
        "late-writes",
        "raise-ttl",
    ] {
        let name = if step == "approval" {
            "approved"
        } else {
            "succeeded"
        };
        at = position(&events, at, name, step)
            .unwrap_or_else(|| panic!("`{step}` is not done after the one before"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missed_target_is_said_by_the_exit_code() {
    let pair = stage::pull().await;
    pair.edit_config(|text| text.replace("rto: 15m", "rto: 1ms"));
    pair.expect(7, PLANNED).await.says(&["target missed: "]);
    assert_eq!(pair.serves(), "dr", "it is finished all the same");
    assert_eq!(pair.report().await["outcome"], "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_stopped_by_somebody_is_started_again() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    pair.sandbox.dr().set_copy_speed(stage::slow());
    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", "bulk-sync").await;
    let dr = pair.sandbox.dr().clone();
    stage::eventually("a copy is under way", || dr.is_copying()).await;
    dr.change(&Mutation::ExecutionsStopped {
        policy: "dr-forward".into(),
    })
    .expect("there is something to stop");
    dr.set_copy_speed(runbook_sim::CopySpeed::default());
    let ran = run.end().await;
    // Whether it starts another by itself or asks first, it says so and nothing is lost.
    if ran.code != Some(0) {
        assert!(matches!(ran.code, Some(4 | 5)), "{ran:?}");
        ran.says(&["Stopped", "runbook resume"]);
        pair.expect(0, &["resume", "--confirm", "dr", "--no-input"])
            .await;
    }
    pair.is_moved(&before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_says_succeed_and_copied_nothing_is_not_believed() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    // The bulk sync and the first final sync.
    pair.sandbox
        .dr()
        .inject(Fault::CopiesNothing { times: Some(2) });
    pair.expect(0, PLANNED).await;
    pair.is_moved(&before);
    let report = pair.report().await;
    assert_eq!(
        report["returns"][0]["to"], "final-sync",
        "{}",
        report["returns"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_arrives_is_a_question_and_not_a_loss() {
    let pair = stage::pull().await;
    let nothing = Fault::CopiesNothing { times: None };
    pair.sandbox.dr().inject(nothing.clone());
    let ran = pair.expect(5, PLANNED).await;
    ran.says(&[
        "production/app:fresh",
        "the service name was not moved from `primary`",
        "runbook approve",
        "runbook decline",
        "runbook resume",
    ]);
    assert_eq!(pair.serves(), "primary");
    // A person can also do it right.
    pair.expect(0, &["decline"]).await;
    pair.sandbox.dr().repair(&nothing).await.expect("repaired");
    let ran = pair.run(stage::RESUME).await;
    assert!(matches!(ran.code, Some(0 | 4 | 5)), "{ran:?}");
}
