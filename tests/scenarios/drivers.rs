//! Two drivers, two runs, two state files: one of them writes.

use std::time::Duration;

use rustix::process::Signal;

use crate::stage::{self, PLANNED, RESUME, Watched, happened, tags};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_driver_is_told_of_the_first() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    pair.sandbox.dr().set_copy_speed(stage::slow());
    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", "bulk-sync").await;
    let pid = run.pid();
    let ran = pair.expect(6, RESUME).await;
    ran.says(&[
        "is being driven by operator@",
        &format!("process {pid}"),
        "nothing was changed",
    ]);
    pair.sandbox
        .dr()
        .set_copy_speed(runbook_sim::CopySpeed::default());
    stage::send(pid, Signal::INT);
    run.expect(130).await;
    pair.sandbox
        .dr()
        .change(&runbook_sim::Mutation::ExecutionsStopped {
            policy: "dr-forward".into(),
        })
        .expect("stopped");
    pair.expect(0, RESUME).await;
    pair.is_moved(&before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_run_on_the_topology_is_refused() {
    let pair = stage::pull().await;
    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", "final-sync").await;
    run.kill().await;
    let id = pair.newest().await;
    let ran = pair.expect(6, PLANNED).await;
    ran.says(&[
        &id,
        "nothing was changed",
        &format!("runbook resume {id}"),
        &format!("runbook abort {id}"),
    ]);
    assert_eq!(pair.runs().await.len(), 1);
    // Looking is allowed.
    pair.expect(0, &["show"]).await;
    pair.expect(0, RESUME).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_runs_begun_at_once_one_goes_on() {
    let pair = stage::pull().await;
    let (one, other) = (pair.spawn(PLANNED), pair.spawn(PLANNED));
    let (one, other) = tokio::join!(
        crate::pair::finish(one, PLANNED),
        crate::pair::finish(other, PLANNED)
    );
    let mut codes = [one.code, other.code];
    codes.sort();
    // The second found the first under way; or, if it came late, found the clients moved already.
    assert!(
        codes == [Some(0), Some(6)] || codes == [Some(0), Some(3)],
        "{one:?}\n{other:?}"
    );
    assert_eq!(pair.serves(), "dr");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_was_stopped_and_taken_over_wakes_up_and_writes_nothing() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", "fence").await;
    run.signal(Signal::STOP);
    // Alive and silent: not taken over before its lease and its longest request are over.
    pair.expect(6, RESUME).await;
    let mut taken = pair.run(RESUME).await;
    for _ in 0..40 {
        if taken.code != Some(6) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        taken = pair.run(RESUME).await;
    }
    assert_eq!(taken.code, Some(0), "{taken:?}");
    taken.says(&["takes over from operator@", "silent"]);
    pair.is_moved(&before);
    let (log, serial, events) = (
        pair.sandbox.log().len(),
        pair.sandbox.dns().serial(),
        pair.events().await.len(),
    );
    run.signal(Signal::CONT);
    let ran = run.expect(6).await;
    ran.says(&["runbook"]);
    assert_eq!(pair.sandbox.log().len(), log, "it sent something");
    assert_eq!(pair.sandbox.dns().serial(), serial, "it sent an update");
    assert_eq!(pair.events().await.len(), events, "it journaled something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_driver_that_nobody_replaced_notices_by_itself() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", "bulk-sync").await;
    run.signal(Signal::STOP);
    // Longer than the lease.
    tokio::time::sleep(Duration::from_millis(5600)).await;
    run.signal(Signal::CONT);
    let ran = run.end().await;
    // Either it noticed and left, or it renewed its lease, which nobody else had, before it wrote anything.
    assert!(matches!(ran.code, Some(0 | 6)), "{ran:?}");
    if ran.code == Some(6) {
        pair.expect(0, RESUME).await;
    }
    pair.is_moved(&before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_with_two_state_files_do_not_both_move_the_name() {
    let pair = stage::pull().await;
    let mut run = Watched::start(&pair, PLANNED);
    run.until("done", "silence-standby").await;
    run.signal(Signal::STOP);
    // The other one, from another host's file, is quicker. The first has the active fenced and silent by then.
    let other = pair.folder().join("other.db");
    let other = other.to_str().expect("a path");
    let mut command = pair.command(&[
        "run",
        "failover",
        "--mode",
        "unplanned",
        "--confirm",
        "dr",
        "--accept-healthy",
        "--no-input",
    ]);
    command.env("RUNBOOK_STATE", other);
    let second = crate::pair::finish(command.spawn().expect("it starts"), &["unplanned"]).await;
    run.signal(Signal::CONT);
    let first = run.end().await;
    assert!(
        matches!(second.code, Some(0 | 3 | 4 | 5)),
        "{second:?}\n{first:?}"
    );
    assert!(matches!(first.code, Some(0 | 4 | 5 | 6)), "{first:?}");
    // The name was moved by one update.
    let moves = pair.sandbox.dns().log();
    let moves = moves
        .iter()
        .flat_map(|update| &update.effects)
        .filter(|effect| {
            let value = |set: &Option<runbook_sim::dns::RecordSet>| {
                set.as_ref().map(|set| set.values.clone())
            };
            effect.kind == runbook_sim::dns::RecordKind::Cname
                && value(&effect.before) != value(&effect.after)
        })
        .count();
    assert!(moves <= 1, "{moves} moves");
    assert!(happened(&pair.events().await, "run-started"));
}
