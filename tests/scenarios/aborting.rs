//! The end before the end: as it is, or undone, up to the cutover and not across it.

use std::time::Duration;

use runbook_sim::{Edge, Fault, Verdict, dns};
use rustix::process::Signal;

use crate::stage::{self, PLANNED, RESUME, UNDO, Watched, at_update, once_at, send};

/// The number of the update that moves the name in a planned failover: after the proof of the right and the TTL.
pub const CUTOVER: u64 = 3;

/// Steps before the cutover at which a run is stopped and then ended.
const BEFORE: &[&str] = &[
    "lower-ttl",
    "bulk-sync",
    "silence-active",
    "fence",
    "final-sync",
    "compare",
    "silence-standby",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undo_before_the_cutover_puts_every_original_back() {
    for step in BEFORE {
        for pair in [stage::pull().await, stage::push().await] {
            let settings = pair.settings();
            let mut run = Watched::start(&pair, PLANNED);
            run.until("now", step).await;
            run.kill().await;
            pair.expect(8, UNDO).await.says(&["every original is back"]);
            assert_eq!(pair.settings(), settings, "after `{step}`");
            assert_eq!(pair.report().await["outcome"], "undone");
            // The way is free for another.
            pair.expect(0, &["run", "failover", "--mode", "planned", "--dry-run"])
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abort_without_undo_leaves_all_as_it_is_and_frees_the_topology() {
    let pair = stage::pull().await;
    let mut run = Watched::start(&pair, PLANNED);
    run.until("done", "fence").await;
    run.signal(Signal::INT);
    run.expect(130).await;
    pair.expect(8, &["abort", "--no-input"])
        .await
        .says(&["what it changed stays"]);
    assert!(pair.sandbox.primary().is_read_only(), "it stays fenced");
    assert_eq!(pair.report().await["outcome"], "aborted");
    pair.sandbox.primary().set_read_only(false);
    pair.expect(0, PLANNED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_driver_takes_the_abort_from_another_process() {
    let pair = stage::pull().await;
    let settings = pair.settings();
    pair.sandbox.dr().set_copy_speed(stage::slow());
    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", "bulk-sync").await;
    pair.expect(8, UNDO).await.says(&["every original is back"]);
    run.expect(8).await;
    assert_eq!(pair.settings(), settings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undo_after_the_cutover_is_refused_and_names_failback() {
    for step in ["dns-verify", "probe", "wait-old-ttl", "raise-ttl"] {
        let pair = stage::pull().await;
        let mut run = Watched::start(&pair, PLANNED);
        run.until("now", step).await;
        run.kill().await;
        let ran = pair.expect(3, UNDO).await;
        ran.says(&["run failback"]);
        assert_eq!(pair.serves(), "dr", "at `{step}`");
        assert!(pair.sandbox.primary().is_read_only(), "at `{step}`");
        pair.expect(0, RESUME).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undo_in_doubt_is_refused_when_the_name_has_moved() {
    let pair = stage::pull().await;
    let run = Watched::start(&pair, PLANNED);
    let pid = run.pid();
    // Done, and the answer finds nobody.
    at_update(&pair.sandbox, dns::Edge::After, CUTOVER, move || {
        send(pid, Signal::KILL);
        dns::Verdict::Drop
    });
    assert_eq!(run.end().await.code, None, "it was killed");
    pair.sandbox.dns().clear_hook();
    assert_eq!(pair.serves(), "dr", "the update arrived");
    let ran = pair.run(UNDO).await;
    assert_eq!(ran.code, Some(3), "{ran:?}");
    ran.says(&["failback"]);
    assert_eq!(pair.serves(), "dr");
    assert!(pair.sandbox.primary().is_read_only());
    pair.expect(0, RESUME).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undo_in_doubt_is_done_when_the_name_cannot_have_moved() {
    let pair = stage::pull().await;
    let settings = pair.settings();
    let run = Watched::start(&pair, PLANNED);
    let pid = run.pid();
    // Never arrives.
    at_update(&pair.sandbox, dns::Edge::Before, CUTOVER, move || {
        send(pid, Signal::KILL);
        dns::Verdict::Drop
    });
    assert_eq!(run.end().await.code, None, "it was killed");
    pair.sandbox.dns().clear_hook();
    assert_eq!(pair.serves(), "primary");
    pair.expect(8, UNDO).await.says(&["every original is back"]);
    assert_eq!(pair.settings(), settings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flag_in_doubt_is_looked_at_before_it_is_undone() {
    let pair = stage::pull().await;
    let settings = pair.settings();
    let run = Watched::start(&pair, PLANNED);
    let pid = run.pid();
    once_at(
        &pair.sandbox,
        Edge::After,
        ("primary", "PUT", "/configurations"),
        move || {
            send(pid, Signal::KILL);
            Verdict::NoReply
        },
    );
    assert_eq!(run.end().await.code, None, "it was killed");
    pair.sandbox.clear_hook();
    assert!(pair.sandbox.primary().is_read_only(), "it arrived");
    pair.expect(8, UNDO).await;
    assert_eq!(pair.settings(), settings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_that_cannot_be_finished_says_what_is_left() {
    let pair = stage::pull().await;
    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", "final-sync").await;
    run.kill().await;
    let refused = Fault::Status {
        method: Some("PUT".into()),
        path: Some("/configurations".into()),
        status: 403,
        times: None,
    };
    pair.sandbox.primary().inject(refused.clone());
    let ran = pair.expect(9, UNDO).await;
    ran.says(&["the undo of run", "is incomplete", "fence"]);
    assert!(pair.sandbox.primary().is_read_only());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_that_is_killed_is_gone_on_with() {
    let pair = stage::pull().await;
    let settings = pair.settings();
    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", "compare").await;
    run.kill().await;
    let undo = Watched::start(&pair, UNDO);
    let pid = undo.pid();
    once_at(
        &pair.sandbox,
        Edge::After,
        ("primary", "PUT", "/configurations"),
        move || {
            send(pid, Signal::KILL);
            Verdict::NoReply
        },
    );
    assert_eq!(undo.end().await.code, None, "it was killed");
    pair.sandbox.clear_hook();
    tokio::time::sleep(Duration::from_millis(20)).await;
    pair.expect(8, RESUME).await;
    assert_eq!(pair.settings(), settings);
}
