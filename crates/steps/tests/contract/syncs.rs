//! What Harbor's replication does to a run: stopped, failed and retried, empty, too early, without a pull policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use runbook_engine::event::About;
use runbook_engine::plan::Mode;
use runbook_sim::{Direction, Fault, Harbor, Mutation, Sandbox, Verdict};

use crate::pair::Pair;
use crate::scene::{DONE, Ran, Scene};

fn slow() -> Fault {
    Fault::SlowQueue { delay_ms: 60_000 }
}

fn new_tag(site: &Harbor, tag: &str) {
    site.push_tag("production/app", tag, tag).expect("a push");
}

async fn failover(pair: &mut Pair, scene: Scene) -> Ran {
    let plan = pair.plan("failover", Mode::Planned);
    pair.drive(plan, scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_that_somebody_stops_is_started_again() {
    let mut pair = Pair::start(Direction::Pull).await;
    new_tag(pair.primary(), "new");
    pair.dr().inject(slow());
    let (site, stopped) = (pair.dr().clone(), AtomicBool::new(false));
    // At the first look at the execution, while it waits in the queue.
    pair.sandbox.on_request(Arc::new(move |request| {
        let looks = request.method == "GET" && request.path.contains("/replication/executions/");
        if looks && !stopped.swap(true, Ordering::SeqCst) {
            let policy = "dr-forward".into();
            site.change(&Mutation::ExecutionsStopped { policy })
                .expect("a policy");
        }
        Verdict::Continue
    }));
    let ran = failover(&mut pair, Scene::default()).await;
    assert_eq!(ran.ended, DONE, "{}", ran.told());
    let words: Vec<String> = pair
        .dr()
        .executions("dr-forward")
        .into_iter()
        .map(|(_, word, _)| word)
        .collect();
    assert_eq!(words[0], "Stopped", "{words:?}");
    assert!(words.len() >= 3, "{words:?}");
    assert!(pair.dr().digest("production/app", "new").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_fails_once_is_left_to_harbors_own_retry() {
    let mut pair = Pair::start(Direction::Pull).await;
    new_tag(pair.primary(), "new");
    pair.dr().inject(Fault::FailedTasks { times: Some(1) });
    let ran = failover(&mut pair, Scene::default()).await;
    assert_eq!(ran.ended, DONE, "{}", ran.told());
    assert_eq!(ran.step("bulk-sync").attempts, 1);
    assert_eq!(
        pair.dr().executions("dr-forward").len(),
        2,
        "the bulk sync and the final one"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_that_failed_for_good_is_started_again() {
    let mut pair = Pair::start(Direction::Pull).await;
    // As many as one execution has: four repositories in three runs each.
    pair.dr().inject(Fault::FailedTasks { times: Some(12) });
    let ran = failover(&mut pair, Scene::default()).await;
    assert_eq!(ran.ended, DONE, "{}", ran.told());
    assert_eq!(ran.step("bulk-sync").attempts, 2, "{}", ran.told());
    assert_eq!(pair.dr().executions("dr-forward").len(), 3);
}

/// `Succeed` is no proof: the comparison finds it and leads back to a new sync.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_copied_nothing_is_repeated() {
    let mut pair = Pair::start(Direction::Pull).await;
    new_tag(pair.primary(), "new");
    pair.dr().inject(Fault::CopiesNothing { times: Some(2) });
    let ran = failover(&mut pair, Scene::default().leaves_gates()).await;
    assert_eq!(ran.ended, DONE, "{}", ran.told());
    assert_eq!(ran.ways_back(), [("compare", "final-sync")]);
    assert!(pair.dr().digest("production/app", "new").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_never_copies_stops_at_the_gate() {
    let mut pair = Pair::start(Direction::Pull).await;
    new_tag(pair.primary(), "new");
    pair.dr().inject(Fault::CopiesNothing { times: None });
    let ran = failover(&mut pair, Scene::default().leaves_gates()).await;
    assert!(
        ran.asks("compare", About::Gate)
            .contains("missing   production/app:new")
    );
    assert_eq!(
        pair.serves().map(|(values, _)| values),
        Some(vec!["primary.sandbox.test".into()])
    );
    // Accepted with a reason, the loss is the person's.
    let ran = pair.resume(&ran.id, None, Scene::default()).await.done();
    assert_eq!(ran.references("compare", "missing"), ["production/app:new"]);
}

/// It listed its source before the fence, so it misses what was pushed until then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_began_before_the_fence_is_stopped_and_not_adopted() {
    for direction in [Direction::Pull, Direction::Push] {
        let mut pair = Pair::start(direction).await;
        let policy = if direction == Direction::Pull {
            "dr-forward"
        } else {
            "dr-final-sync"
        };
        let begin = move |sandbox: &Sandbox| {
            sandbox.dr().inject(slow());
            let policy = policy.into();
            sandbox
                .dr()
                .change(&Mutation::ExecutionStarted { policy })
                .expect("a run");
            new_tag(sandbox.primary(), "late");
        };
        let hurry = |sandbox: &Sandbox| {
            sandbox
                .dr()
                .repair(&slow())
                .now_or_never()
                .expect("at once")
                .expect("repaired");
        };
        let scene = Scene::default()
            .after("silence-active", begin)
            .after("fence", hurry);
        let ran = failover(&mut pair, scene).await;
        assert_eq!(ran.ended, DONE, "{}", ran.told());
        let mark = ran.output("fence")["mark"].as_i64().expect("a mark");
        let adopted = ran.output("final-sync")["execution"]
            .as_i64()
            .expect("an execution");
        assert!(adopted > mark, "{adopted} began after {mark}");
        let executions = pair.dr().executions(policy);
        let early = executions
            .iter()
            .find(|(id, ..)| *id == mark)
            .expect("the early one");
        assert_eq!(early.1, "Stopped");
        assert!(pair.dr().digest("production/app", "late").is_some());
    }
}

fn without_pull_policies(bindings: &mut runbook_steps::bindings::Bindings) {
    bindings.policies.final_sync = None;
    bindings.policies.final_reverse_sync = None;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_pair_without_a_pull_policy_relies_on_the_comparison() {
    let mut pair = Pair::start(Direction::Push).await;
    pair.tweak = without_pull_policies;
    let before = pair.settings();
    let ran = failover(&mut pair, Scene::default().leaves_gates()).await;
    assert_eq!(ran.ended, DONE, "{}", ran.told());
    let found = ran.output("check")["findings"].to_string();
    assert!(
        found.contains("a read-only Harbor cannot start a push"),
        "{found}"
    );
    pair.run("failback", Mode::Planned).await.done();
    assert_eq!(pair.settings(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_pair_without_a_pull_policy_stops_at_what_is_not_copied() {
    let mut pair = Pair::start(Direction::Push).await;
    pair.tweak = without_pull_policies;
    let scene = Scene::default()
        .leaves_gates()
        .after("bulk-sync", |sandbox| {
            sandbox.primary().inject(Fault::PausedQueue);
            new_tag(sandbox.primary(), "late");
        });
    let ran = failover(&mut pair, scene).await;
    assert!(
        ran.asks("compare", About::Gate)
            .contains("missing   production/app:late")
    );
    // Lift and repeat: an undo opens the active again.
    let undone = pair.undo(&ran.id).await;
    assert!(!pair.primary().is_read_only(), "{}", undone.told());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_quota_stops_before_writes_stop() {
    let mut pair = Pair::start(Direction::Pull).await;
    new_tag(pair.primary(), "new");
    pair.dr().inject(Fault::QuotaFull { project: None });
    let ran = failover(&mut pair, Scene::default()).await;
    let text = ran.asks("bulk-sync", About::Failure);
    assert!(text.contains("production/app"), "{text}");
    assert!(!pair.primary().is_read_only());
}
