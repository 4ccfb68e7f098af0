//! The way back, after a planned and after an unplanned failover, and there and back again.

use runbook_sim::{Direction, Fault};
use serde_json::Value;

use crate::pair::Pair;
use crate::stage::{self, FAILBACK, PLANNED, SETTLE, UNPLANNED, tags};

/// As at the start but for content; what clients had pushed is served.
fn is_back(pair: &Pair, settings: &Value) {
    assert_eq!(pair.serves(), "primary");
    assert_eq!(&pair.settings(), settings, "every original is back");
}

/// Answers every gate of a run with yes.
async fn accept_all(pair: &Pair, arguments: &[&str]) {
    let mut ran = pair.run(arguments).await;
    for _ in 0..4 {
        if ran.code != Some(5) {
            break;
        }
        pair.expect(0, &["approve", "--reason", "seen and accepted"])
            .await;
        ran = pair
            .run(&["resume", "--confirm", "primary", "--no-input"])
            .await;
    }
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_planned_failover_nothing_is_lost_and_all_is_as_before() {
    for pair in [stage::pull().await, stage::push().await] {
        let settings = pair.settings();
        pair.expect(0, PLANNED).await;
        pair.sandbox
            .dr()
            .push_tag("production/app", "since", "since")
            .expect("the new side takes pushes");
        let before = tags(pair.sandbox.dr());
        pair.expect(0, FAILBACK).await;
        is_back(&pair, &settings);
        pair.serves_everything_of(&before);
        let there = tags(pair.sandbox.dr());
        assert_eq!(there, before, "the standby has it too");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_twice() {
    let pair = stage::pull().await;
    let settings = pair.settings();
    for turn in ["first", "second"] {
        pair.expect(0, PLANNED).await;
        pair.sandbox
            .dr()
            .push_tag("production/app", turn, turn)
            .expect("a push");
        let before = tags(pair.sandbox.dr());
        pair.expect(0, FAILBACK).await;
        is_back(&pair, &settings);
        pair.serves_everything_of(&before);
    }
    assert_eq!(pair.runs().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_unplanned_failover_it_needs_settle_and_a_decision() {
    for pair in [stage::pull().await, stage::push().await] {
        let settings = pair.settings();
        pair.run(&["compare", "primary", "dr"]).await;
        pair.sandbox.primary().inject(Fault::Down);
        let ran = pair.run(UNPLANNED).await;
        if ran.code == Some(5) {
            pair.expect(0, &["approve", "--reason", "known"]).await;
            pair.expect(0, stage::RESUME).await;
        }
        pair.sandbox
            .dr()
            .push_tag("production/app", "since", "since")
            .expect("a push");
        pair.sandbox
            .primary()
            .repair_all()
            .await
            .expect("it returns");
        pair.expect(0, SETTLE).await;
        let before = tags(pair.sandbox.dr());
        if pair.sandbox.direction() == Direction::Pull {
            // `fresh` exists on the former active alone: a person decides.
            let ran = pair.expect(5, FAILBACK).await;
            ran.says(&["production/app:fresh", "runbook approve"]);
            assert_eq!(pair.serves(), "dr");
            accept_all(&pair, &["resume", "--no-input"]).await;
        } else {
            // What is pushed to an active that pushes was at the other side at once: nothing to decide.
            pair.expect(0, FAILBACK).await;
        }
        is_back(&pair, &settings);
        pair.serves_everything_of(&before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_nothing_to_fail_back_from_at_home() {
    let pair = stage::pull().await;
    let ran = pair.expect(3, FAILBACK).await;
    ran.says(&["`primary` serves already", "nothing was changed"]);
    assert_eq!(pair.writes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_failover_in_the_same_direction_names_failback() {
    let pair = stage::pull().await;
    pair.expect(0, PLANNED).await;
    let ran = pair
        .expect(3, &["run", "failover", "--mode", "planned", "--no-input"])
        .await;
    ran.says(&["runbook run failback"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_active_whose_fence_was_lifted_is_refused() {
    let pair = stage::pull().await;
    pair.expect(0, PLANNED).await;
    pair.sandbox.primary().set_read_only(false);
    pair.sandbox.clear_log();
    let ran = pair.expect(3, FAILBACK).await;
    ran.says(&["primary", "read_only is false"]);
    assert_eq!(pair.serves(), "dr");
    assert!(
        pair.sandbox
            .log()
            .iter()
            .all(|entry| entry.effect.is_empty())
    );
}
