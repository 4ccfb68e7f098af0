//! Consent: from a second process, refused, left out, and where nobody can be asked.

use crate::stage::{self, Watched, tags};

const NOBODY: &[&str] = &["run", "failover", "--mode", "planned", "--no-input"];
const WAITING: &[&str] = &[
    "run",
    "failover",
    "--mode",
    "planned",
    "--no-input",
    "--wait",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_approves_a_driver_that_waits() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    let mut run = Watched::start(&pair, WAITING);
    run.until("ask", "approval").await;
    assert_eq!(pair.writes(), 0, "nothing is written before the answer");
    let approved = pair
        .expect(0, &["approve", "--reason", "change 4711"])
        .await;
    approved.says(&["asks at step `approval`", "approved"]);
    run.expect(0).await;
    pair.is_moved(&before);
    let report = pair.report().await;
    assert_eq!(report["decisions"][0]["reason"], "change 4711");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_declines_and_nothing_was_changed() {
    let pair = stage::pull().await;
    let mut run = Watched::start(&pair, WAITING);
    run.until("ask", "approval").await;
    pair.expect(0, &["decline", "--reason", "not today"]).await;
    let ran = run.expect(3).await;
    ran.says(&["declined", "not today", "nothing was changed"]);
    assert_eq!(pair.writes(), 0);
    // It does not stand in the way of the next.
    pair.expect(0, stage::PLANNED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_can_be_asked_the_run_waits_in_the_file() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    let ran = pair.expect(5, NOBODY).await;
    let id = pair.newest().await;
    ran.says(&[
        "waits for a person at step `approval`",
        "nothing was changed",
        &format!("runbook approve {id}"),
        &format!("runbook resume {id}"),
    ]);
    assert_eq!(pair.writes(), 0);
    // Resumed without an answer it still waits.
    pair.expect(5, stage::RESUME).await;
    pair.expect(0, &["approve"])
        .await
        .says(&["no driver is running", "runbook resume"]);
    pair.expect(0, stage::RESUME).await;
    pair.is_moved(&before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_to_nothing_is_refused() {
    let pair = stage::pull().await;
    pair.expect(2, &["approve"]).await;
    pair.expect(0, stage::PLANNED).await;
    let ran = pair.run(&["approve"]).await;
    assert!(matches!(ran.code, Some(2 | 3)), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consent_to_another_site_is_wrong_usage() {
    let pair = stage::pull().await;
    let ran = pair
        .expect(
            2,
            &[
                "run",
                "failover",
                "--mode",
                "planned",
                "--confirm",
                "primary",
                "--no-input",
            ],
        )
        .await;
    ran.says(&["`dr`", "nothing was changed"]);
    assert!(pair.runs().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yes_alone_does_not_move_the_clients() {
    let pair = stage::pull().await;
    pair.expect(
        5,
        &[
            "run",
            "failover",
            "--mode",
            "planned",
            "--yes",
            "--no-input",
        ],
    )
    .await;
    assert_eq!(pair.serves(), "primary");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_that_is_left_out_is_suggested() {
    let pair = stage::pull().await;
    let ran = pair
        .expect(2, &["run", "failover", "--confirm", "dr", "--no-input"])
        .await;
    ran.says(&["runbook run failover --mode planned", "nothing was changed"]);
    pair.sandbox.primary().inject(runbook_sim::Fault::Down);
    let ran = pair
        .expect(2, &["run", "failover", "--confirm", "dr", "--no-input"])
        .await;
    ran.says(&["runbook run failover --mode unplanned"]);
}
