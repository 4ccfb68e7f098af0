//! Signals: once to stop at the next safe point, twice to stop now. Both leave a run that goes on.

use rustix::process::Signal;

use crate::stage::{self, PLANNED, RESUME, Watched, happened, send, tags};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_once_stops_at_a_safe_point_and_resume_goes_on() {
    for step in ["bulk-sync", "fence", "final-sync", "wait-old-ttl"] {
        let pair = stage::pull().await;
        let before = tags(pair.sandbox.primary());
        let mut run = Watched::start(&pair, PLANNED);
        run.until("now", step).await;
        run.signal(Signal::INT);
        let ran = run.end().await;
        assert_eq!(ran.code, Some(130), "at `{step}`: {ran:?}");
        let id = pair.newest().await;
        ran.says(&[
            "stopping at the next safe point",
            &format!("runbook resume {id}"),
        ]);
        assert!(happened(&pair.events().await, "paused"), "at `{step}`");
        let resumed = pair.expect(0, RESUME).await;
        assert!(
            !resumed.stderr.contains("takes over"),
            "the lease was given back: {}",
            resumed.stderr
        );
        pair.is_moved(&before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_twice_stops_now_and_resume_goes_on() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    // A request that takes its time, so that the first signal finds no safe point.
    pair.sandbox.primary().inject(runbook_sim::Fault::Delay {
        method: Some("PUT".into()),
        path: Some("/configurations".into()),
        delay_ms: 1500,
        times: Some(1),
    });
    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", "fence").await;
    let pid = run.pid();
    send(pid, Signal::INT);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    send(pid, Signal::INT);
    let ran = run.expect(130).await;
    ran.says(&["stopped now", "runbook resume"]);
    pair.expect(0, RESUME).await;
    pair.is_moved(&before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_has_a_code_of_its_own() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", "final-sync").await;
    run.signal(Signal::TERM);
    run.expect(143).await.says(&["SIGTERM", "runbook resume"]);
    pair.expect(0, RESUME).await;
    pair.is_moved(&before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_driver_is_taken_over_at_once() {
    for step in ["bulk-sync", "silence-active", "final-sync", "dns-verify"] {
        let pair = stage::pull().await;
        let before = tags(pair.sandbox.primary());
        let mut run = Watched::start(&pair, PLANNED);
        run.until("now", step).await;
        run.kill().await;
        let ran = pair.expect(0, RESUME).await;
        ran.says(&["takes over from operator@", "gone"]);
        pair.is_moved(&before);
        assert_eq!(pair.report().await["takeovers"], 1, "at `{step}`");
    }
}
