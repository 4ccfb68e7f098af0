//! Failover and failback from beginning to end, planned and unplanned.

use runbook_engine::plan::Mode;
use runbook_sim::{Direction, Fault};

use crate::pair::Pair;

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
    let before = pair.settings();
    pair.run("failover", Mode::Planned).await.done();
    let digest = pair
        .dr()
        .push_tag("production/app", "from-dr", "77")
        .expect("a push");
    pair.run("failback", Mode::Planned).await.done();
    assert_eq!(pair.settings(), before);
    assert_eq!(
        pair.primary().digest("production/app", "from-dr"),
        Some(digest)
    );
    for site in [pair.primary(), pair.dr()] {
        let canary = site
            .snapshot()
            .repositories
            .contains_key("library/runbook-canary");
        assert!(!canary, "the probe takes its repository away again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unplanned_failover_settle_and_failback_of_a_pull_pair() {
    unplanned(Direction::Pull).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unplanned_failover_settle_and_failback_of_a_push_pair() {
    unplanned(Direction::Push).await;
}

async fn unplanned(direction: Direction) {
    let mut pair = Pair::start(direction).await;
    let before = pair.settings();
    pair.primary().inject(Fault::Down);
    pair.run("failover", Mode::Unplanned).await.done();
    pair.primary().repair_all().await.expect("the site is back");
    pair.run("settle", Mode::Planned).await.done();
    pair.run("failback", Mode::Planned).await.done();
    assert_eq!(pair.settings(), before);
}
