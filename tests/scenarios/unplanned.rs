//! Unplanned failover by what can be said of the active, what it would lose, and settling it later.

use runbook_sim::{Fault, Harbor};
use serde_json::Value;

use crate::pair::Pair;
use crate::stage::{self, FAILBACK, PLANNED, SETTLE, UNPLANNED, UNPLANNED_HEALTHY, once_at, tags};

/// What a verdict was, as the run's report keeps it.
async fn verdict(pair: &Pair) -> String {
    let events = pair.events().await;
    let judged = events
        .iter()
        .find(|event| event["event"] == "succeeded" && event["step"] == "judge-active")
        .expect("a verdict");
    judged["output"]["verdict"]
        .as_str()
        .expect("a word")
        .to_owned()
}

async fn owed(pair: &Pair) -> Vec<String> {
    let report = pair.report().await;
    let mut owed: Vec<String> = report["owed"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|owed| owed["what"].as_str().expect("a word").to_owned())
        .collect();
    owed.sort();
    owed
}

/// Answers the gate on the loss if there is one, and goes on.
async fn accept_loss(pair: &Pair, arguments: &[&str]) {
    let ran = pair.run(arguments).await;
    if ran.code == Some(5) {
        ran.says(&["the recovery point objective of 900 s is missed"]);
        pair.expect(0, &["approve", "--reason", "the disk burned"])
            .await;
        pair.expect(0, stage::RESUME).await;
    } else {
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}

/// An inventory, so that a loss can be stated.
async fn look_once(pair: &Pair) {
    pair.run(&["compare", "primary", "dr"]).await;
}

fn fenced_and_silent(pair: &Pair, site: &Harbor) {
    assert!(site.is_read_only(), "`{}` is not fenced", site.name());
    let on = pair.enabled();
    assert!(
        !on.iter()
            .any(|(at, policy)| at == site.name() && !policy.contains("final")),
        "{on:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_the_active_is_left_and_what_it_needs_is_owed() {
    let pair = stage::pull().await;
    look_once(&pair).await;
    pair.sandbox.primary().inject(Fault::Down);
    accept_loss(&pair, UNPLANNED).await;
    assert_eq!(verdict(&pair).await, "dead");
    assert_eq!(pair.serves(), "dr");
    assert_eq!(owed(&pair).await, ["fence", "silence"]);
    let report = pair.report().await;
    assert_eq!(report["loss"]["items"][0]["reference"], "fresh", "{report}");
    assert!(
        report["forfeited"]
            .as_array()
            .is_some_and(|steps| steps.contains(&"final-sync".into())),
        "{}",
        report["forfeited"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_inventory_the_last_sync_is_the_bound() {
    let pair = stage::pull().await;
    pair.sandbox.primary().inject(Fault::Down);
    let ran = pair.expect(5, UNPLANNED).await;
    ran.says(&[
        "no inventory was ever taken",
        "the service name was not moved from `primary`",
        "runbook approve",
    ]);
    assert_eq!(pair.serves(), "primary", "the gate is before the cutover");
    // A site's name is no reason: consent to the move does not accept the loss.
    pair.expect(5, &["resume", "--confirm", "dr", "--no-input"])
        .await;
    pair.expect(0, &["approve", "--reason", "nothing was pushed this week"])
        .await;
    pair.expect(0, stage::RESUME).await;
    assert_eq!(pair.serves(), "dr");
    let report = pair.report().await;
    let decisions = report["decisions"].as_array().expect("a list");
    assert!(
        decisions
            .iter()
            .any(|decided| decided["reason"] == "nothing was pushed this week"),
        "{decisions:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declined_loss_ends_nothing_for_good() {
    let pair = stage::pull().await;
    let settings = pair.settings();
    pair.sandbox.primary().inject(Fault::Down);
    pair.expect(5, UNPLANNED).await;
    pair.expect(0, &["decline"]).await;
    let ran = pair.run(stage::RESUME).await;
    assert!(matches!(ran.code, Some(4 | 5)), "{ran:?}");
    assert_eq!(pair.serves(), "primary");
    pair.sandbox.primary().repair_all().await.expect("repaired");
    pair.expect(8, stage::UNDO).await;
    assert_eq!(pair.settings(), settings, "every original is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthy_needs_one_more_consent() {
    let pair = stage::pull().await;
    let ran = pair.expect(3, UNPLANNED).await;
    ran.says(&[
        "`primary` is healthy",
        "--accept-healthy",
        "--mode planned",
        "nothing was changed",
    ]);
    assert_eq!(pair.writes(), 0);
    assert!(pair.runs().await.is_empty());
    accept_loss(&pair, UNPLANNED_HEALTHY).await;
    assert_eq!(pair.serves(), "dr");
    assert!(owed(&pair).await.is_empty());
    fenced_and_silent(&pair, pair.sandbox.primary());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_active_is_moved_without_owing() {
    let pair = stage::pull().await;
    pair.sandbox.primary().set_read_only(true);
    accept_loss(&pair, UNPLANNED).await;
    assert_eq!(verdict(&pair).await, "read-only");
    assert_eq!(pair.serves(), "dr");
    assert!(pair.sandbox.primary().is_read_only());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_active_that_still_pushes_is_owed() {
    let pair = stage::push().await;
    pair.sandbox.primary().set_read_only(true);
    accept_loss(&pair, UNPLANNED).await;
    assert_eq!(pair.serves(), "dr");
    // Read-only refuses to disable its policies; lifting the flag is settle's, when its credentials are cut.
    assert!(owed(&pair).await.contains(&"silence".to_owned()));
    pair.expect(0, SETTLE).await;
    fenced_and_silent(&pair, pair.sandbox.primary());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn degraded_says_which_part() {
    let pair = stage::pull().await;
    pair.sandbox.primary().inject(Fault::ComponentDown {
        component: "jobservice".into(),
    });
    pair.sandbox.primary().refresh_health();
    accept_loss(&pair, UNPLANNED).await;
    let events = pair.events().await;
    let judged = events
        .iter()
        .find(|event| event["event"] == "succeeded" && event["step"] == "judge-active")
        .expect("a verdict");
    assert_eq!(judged["output"]["verdict"], "degraded", "{judged}");
    assert_eq!(judged["output"]["what"][0], "jobservice", "{judged}");
    assert_eq!(pair.serves(), "dr");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_is_told_from_dead_by_the_other_site() {
    let pair = stage::pull().await;
    // This host gets no answer; the standby's replication does.
    pair.sandbox.primary().inject(Fault::Status {
        method: None,
        path: Some("/api/v2.0/health".into()),
        status: 502,
        times: None,
    });
    accept_loss(&pair, UNPLANNED).await;
    assert_eq!(verdict(&pair).await, "half-open");
    assert_eq!(pair.serves(), "dr");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pushing_active_that_is_dead_loses_its_credentials() {
    let pair = stage::push().await;
    look_once(&pair).await;
    pair.sandbox.primary().inject(Fault::Down);
    accept_loss(&pair, UNPLANNED).await;
    let robots = pair.sandbox.dr().snapshot().robots;
    assert_eq!(robots.get("dr-replication"), Some(&true), "{robots:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settle_pays_what_is_owed_and_lists_the_divergence() {
    for (name, pair) in [("pull", stage::pull().await), ("push", stage::push().await)] {
        look_once(&pair).await;
        pair.sandbox.primary().inject(Fault::Down);
        accept_loss(&pair, UNPLANNED).await;
        let ran = pair.expect(3, FAILBACK).await;
        ran.says(&["owed", "runbook run settle"]);
        pair.sandbox
            .primary()
            .repair_all()
            .await
            .expect("it returns");
        pair.expect(0, SETTLE).await;
        fenced_and_silent(&pair, pair.sandbox.primary());
        assert!(owed(&pair).await.is_empty(), "{name}");
        let report = pair.report().await;
        // What is pushed to an active that pushes is at the other side at once.
        if name == "pull" {
            let missing = &report["comparisons"][0]["missing"];
            assert_eq!(missing[0]["reference"], "fresh", "{report}");
        }
        assert_eq!(pair.serves(), "dr", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settle_of_a_site_that_came_back_read_only_lifts_silences_and_fences_again() {
    let pair = stage::push().await;
    look_once(&pair).await;
    pair.sandbox.primary().inject(Fault::Down);
    accept_loss(&pair, UNPLANNED).await;
    pair.sandbox.primary().set_read_only(true);
    pair.sandbox
        .primary()
        .repair_all()
        .await
        .expect("it returns");
    pair.expect(0, SETTLE).await;
    fenced_and_silent(&pair, pair.sandbox.primary());
    let robots = pair.sandbox.dr().snapshot().robots;
    assert_eq!(robots.get("dr-replication"), Some(&true), "still cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_active_that_dies_while_it_is_silenced_is_owed() {
    let pair = stage::push().await;
    let primary = pair.sandbox.primary().clone();
    let died = once_at(
        &pair.sandbox,
        runbook_sim::Edge::Before,
        ("primary", "PUT", "/replication/policies/"),
        move || {
            primary.inject(Fault::Down);
            runbook_sim::Verdict::NotApplied
        },
    );
    accept_loss(&pair, UNPLANNED_HEALTHY).await;
    assert!(died.load(std::sync::atomic::Ordering::SeqCst));
    assert_eq!(pair.serves(), "dr");
    assert!(owed(&pair).await.contains(&"fence".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_run_does_not_begin_when_the_active_is_dead() {
    let pair = stage::pull().await;
    pair.sandbox.primary().inject(Fault::Down);
    let ran = pair.expect(3, PLANNED).await;
    ran.says(&["primary", "nothing was changed", "--dry-run"]);
    assert_eq!(pair.writes(), 0);
    // It does not stand in the way of the unplanned one.
    accept_loss(&pair, UNPLANNED).await;
    assert_eq!(pair.serves(), "dr");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_is_what_the_last_inventory_knew() {
    let pair = stage::pull().await;
    look_once(&pair).await;
    let before = tags(pair.sandbox.dr());
    pair.sandbox.primary().inject(Fault::Down);
    accept_loss(&pair, UNPLANNED).await;
    let loss: Value = pair.report().await["loss"].clone();
    assert_eq!(loss["count"], 1, "{loss}");
    assert_eq!(loss["items"][0]["repository"], "production/app", "{loss}");
    pair.serves_everything_of(&before);
}
