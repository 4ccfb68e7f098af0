//! Undo: until the cutover it restores every original, wherever the run stood; after it there is none.

use futures_util::future::join_all;
use runbook_engine::event::{Command, Event, Outcome};
use runbook_engine::executor::Ended;
use runbook_engine::plan::{InDoubt, Mode, PlannedStep};
use runbook_sim::{Direction, dns};

use crate::pair::Pair;
use crate::scene::{DONE, Scene};

/// The steps of a runbook before the cutover that write.
fn before_the_cutover(pair: &Pair, runbook: &str, mode: Mode) -> Vec<String> {
    let plan = pair.plan(runbook, mode);
    let cut = plan.cutover().expect("a cutover");
    let writes = |step: &&PlannedStep| plan.takes(step) && step.in_doubt == InDoubt::Probe;
    plan.steps[..cut]
        .iter()
        .filter(writes)
        .map(|step| step.id.clone())
        .collect()
}

async fn stopped_and_undone(direction: Direction, runbook: &str, mode: Mode, step: &str) {
    let mut pair = Pair::start(direction).await;
    if runbook == "failback" {
        pair.run("failover", Mode::Planned).await.done();
    }
    let before = pair.settings();
    let plan = pair.plan(runbook, mode);
    let ran = pair.drive(plan, Scene::default().stops_after(step)).await;
    assert_eq!(
        ran.ended,
        Ended::Paused { by: "test".into() },
        "{step}\n{}",
        ran.told()
    );
    let undone = pair.undo(&ran.id).await;
    assert_eq!(
        undone.ended,
        Ended::Finished(Outcome::Undone),
        "{step}\n{}",
        undone.told()
    );
    assert_eq!(pair.settings(), before, "{step}\n{}", undone.told());
}

async fn undone_after_each_step(direction: Direction, runbook: &str, mode: Mode) {
    let steps = before_the_cutover(&Pair::start(direction).await, runbook, mode);
    assert!(steps.len() >= 5, "{steps:?}");
    join_all(
        steps
            .iter()
            .map(|step| stopped_and_undone(direction, runbook, mode, step)),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_failover_is_undone_from_each_step_before_the_cutover() {
    undone_after_each_step(Direction::Pull, "failover", Mode::Planned).await;
    undone_after_each_step(Direction::Push, "failover", Mode::Planned).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unplanned_failover_is_undone_from_each_step_before_the_cutover() {
    undone_after_each_step(Direction::Push, "failover", Mode::Unplanned).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failback_is_undone_from_each_step_before_the_cutover() {
    undone_after_each_step(Direction::Push, "failback", Mode::Planned).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_cutover_an_undo_is_refused_and_the_run_goes_on() {
    let mut pair = Pair::start(Direction::Pull).await;
    let plan = pair.plan("failover", Mode::Planned);
    let ran = pair
        .drive(plan, Scene::default().stops_after("dns-upsert"))
        .await;
    assert_eq!(ran.ended, Ended::Paused { by: "test".into() });
    let ran = pair.undo(&ran.id).await;
    assert_eq!(ran.ended, DONE, "{}", ran.told());
    let refused = ran
        .events
        .iter()
        .find_map(|recorded| match &recorded.event {
            Event::CommandTaken {
                command: Command::Abort { .. },
                refused,
                ..
            } => refused.as_deref(),
            _ => None,
        });
    assert!(
        refused.is_some_and(|why| why.contains("run failback instead")),
        "{refused:?}"
    );
}

/// The update never arrived: the marker is changed, so that it never can, and then everything goes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cutover_that_never_arrived_is_withdrawn_and_undone() {
    let mut pair = Pair::start(Direction::Pull).await;
    let before = pair.settings();
    let scene = Scene::default().after("silence-standby", |sandbox| {
        sandbox
            .dns()
            .inject(dns::Scope::Updates, dns::Fault::Refuse, Some(1));
    });
    let plan = pair.plan("failover", Mode::Planned);
    let ran = pair.drive(plan, scene).await;
    ran.asks("dns-upsert", runbook_engine::event::About::Failure);
    let undone = pair.undo(&ran.id).await;
    assert_eq!(
        undone.ended,
        Ended::Finished(Outcome::Undone),
        "{}",
        undone.told()
    );
    assert_eq!(pair.settings(), before);
}
