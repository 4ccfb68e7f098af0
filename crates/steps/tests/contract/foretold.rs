//! A rehearsal says what the run will change, step by step, and writes nothing itself.

use runbook_engine::event::Change;
use runbook_engine::plan::Mode;
use runbook_sim::{Direction, Fault};

use crate::pair::Pair;
use crate::scene::Scene;

/// What a rehearsal cannot know: which executions will be found running and stopped.
fn foreseeable(mut changes: Vec<Change>) -> Vec<Change> {
    changes.retain(|change| change.after != "Stopped");
    changes.sort();
    changes
}

/// Rehearses a runbook, runs it, and compares the two step by step.
async fn rehearse_and_run(pair: &mut Pair, runbook: &str, mode: Mode) {
    let plan = pair.plan(runbook, mode);
    let requests = pair.sandbox.log().len();
    let serial = pair.sandbox.dns().serial();
    let rehearsed = pair.rehearse(&plan).await;
    assert_eq!(
        pair.sandbox.log().len(),
        requests,
        "{:?}",
        pair.sandbox.log().last()
    );
    // The right to update is proven by an update that cannot take effect: the one named exception.
    assert_eq!(pair.sandbox.dns().serial(), serial);

    let ran = pair.drive(plan, Scene::default()).await.done();
    let taken: Vec<_> = ran
        .plan
        .steps
        .iter()
        .filter(|step| ran.plan.takes(step))
        .collect();
    assert_eq!(rehearsed.len(), taken.len());
    let mut foretold = 0;
    for step in rehearsed {
        let changes = foreseeable(step.changes);
        foretold += changes.len();
        let done = foreseeable(ran.changes(&step.step));
        assert_eq!(
            changes,
            done,
            "step `{}` of {runbook}\n{}",
            step.step,
            ran.told()
        );
    }
    assert!(foretold > 0);
}

async fn round_trip(direction: Direction) {
    let mut pair = Pair::start(direction).await;
    rehearse_and_run(&mut pair, "failover", Mode::Planned).await;
    rehearse_and_run(&mut pair, "failback", Mode::Planned).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planned_runs_of_a_pull_pair_are_foretold() {
    round_trip(Direction::Pull).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planned_runs_of_a_push_pair_are_foretold() {
    round_trip(Direction::Push).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unplanned_run_its_settle_and_the_way_back_are_foretold() {
    for direction in [Direction::Pull, Direction::Push] {
        let mut pair = Pair::start(direction).await;
        pair.primary().inject(Fault::Down);
        rehearse_and_run(&mut pair, "failover", Mode::Unplanned).await;
        pair.primary().repair_all().await.expect("the site is back");
        rehearse_and_run(&mut pair, "settle", Mode::Planned).await;
        rehearse_and_run(&mut pair, "failback", Mode::Planned).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unplanned_run_away_from_a_site_that_answers_is_foretold() {
    for direction in [Direction::Pull, Direction::Push] {
        let mut pair = Pair::start(direction).await;
        rehearse_and_run(&mut pair, "failover", Mode::Unplanned).await;
    }
}
