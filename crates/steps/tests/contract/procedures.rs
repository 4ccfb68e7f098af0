//! The built-in runbooks from beginning to end.

use runbook_engine::event::Outcome;
use runbook_engine::executor::Ended;
use runbook_engine::plan::Mode;
use runbook_sim::Direction;

use crate::pair::{Pair, told};

const DONE: Ended = Ended::Finished(Outcome::Done);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planned_failover_and_failback_of_a_pull_pair() {
    round_trip(Direction::Pull).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planned_failover_and_failback_of_a_push_pair() {
    round_trip(Direction::Push).await;
}

async fn round_trip(direction: Direction) {
    let mut pair = Pair::start(direction).await;
    let before = settings(&pair);
    let (ended, events) = pair.run("failover", Mode::Planned).await;
    assert_eq!(ended, DONE, "\n{}", told(&events));
    let digest = pair
        .sandbox
        .dr()
        .push_tag("production/app", "from-dr", "77")
        .expect("a push");
    let (ended, events) = pair.run("failback", Mode::Planned).await;
    assert_eq!(ended, DONE, "\n{}", told(&events));
    assert_eq!(settings(&pair), before);
    assert_eq!(
        pair.sandbox.primary().digest("production/app", "from-dr"),
        Some(digest)
    );
}

/// Policies, flags, robots and the record: everything that a round trip must leave as it was.
fn settings(pair: &Pair) -> String {
    let mut world = pair.sandbox.snapshot().without_history();
    for site in world.sites.values_mut() {
        site.repositories.clear();
    }
    world.dns.retain(|set| !set.name.starts_with("_dr-owner"));
    format!("{world:#?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unplanned_failover_settle_and_failback() {
    let mut pair = Pair::start(Direction::Pull).await;
    pair.sandbox.primary().inject(runbook_sim::Fault::Down);
    let (ended, events) = pair.run("failover", Mode::Unplanned).await;
    assert_eq!(ended, DONE, "\n{}", told(&events));
    pair.sandbox
        .primary()
        .repair_all()
        .await
        .expect("the site is back");
    let (ended, events) = pair.run("settle", Mode::Planned).await;
    assert_eq!(ended, DONE, "\n{}", told(&events));
    let (ended, events) = pair.run("failback", Mode::Planned).await;
    assert_eq!(ended, DONE, "\n{}", told(&events));
}
