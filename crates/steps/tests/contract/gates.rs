//! What only a person decides: divergence before a reverse sync, and late writes after the cutover.

use runbook_engine::event::{About, Owed};
use runbook_engine::plan::Mode;
use runbook_sim::{Direction, Fault, Mutation};

use crate::pair::Pair;
use crate::scene::Scene;

/// A pair whose clients are at `dr` after an unplanned failover from a site that had taken something alone.
async fn diverged(tag: &str) -> Pair {
    let mut pair = Pair::start(Direction::Pull).await;
    pair.primary()
        .push_tag("production/app", tag, "alone")
        .expect("a push");
    pair.primary().inject(Fault::Down);
    pair.run("failover", Mode::Unplanned).await.done();
    pair.primary().repair_all().await.expect("the site is back");
    pair.run("settle", Mode::Planned).await.done();
    pair
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_former_active_has_is_decided_before_the_way_back() {
    let mut pair = diverged("alone").await;
    let plan = pair.plan("failback", Mode::Planned);
    let ran = pair.drive(plan, Scene::default().leaves_gates()).await;
    assert!(
        ran.asks("divergence", About::Gate)
            .contains("extra     production/app:alone")
    );
    let ran = pair.resume(&ran.id, None, Scene::default()).await.done();
    let gates: Vec<String> = ran.questions().into_iter().map(|(step, ..)| step).collect();
    assert_eq!(
        gates,
        ["divergence", "approval"],
        "decided once, asked once"
    );
    assert!(
        pair.primary().digest("production/app", "alone").is_some(),
        "a pull deletes nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_at_the_former_active_is_decided_before_it_is_overwritten() {
    let mut pair = diverged("v1.0.0").await;
    let kept = pair.dr().digest("production/app", "v1.0.0");
    let plan = pair.plan("failback", Mode::Planned);
    let ran = pair.drive(plan, Scene::default().leaves_gates()).await;
    assert!(
        ran.asks("divergence", About::Gate)
            .contains("different production/app:v1.0.0")
    );
    pair.resume(&ran.id, None, Scene::default()).await.done();
    assert_eq!(pair.primary().digest("production/app", "v1.0.0"), kept);
}

/// The new side has replaced a tag that both had: nothing is lost by overwriting the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_replicated_and_replaced_since_is_no_divergence() {
    let mut pair = Pair::start(Direction::Pull).await;
    pair.run("failover", Mode::Planned).await.done();
    let digest = pair
        .dr()
        .push_tag("production/app", "latest", "newer")
        .expect("a push");
    let plan = pair.plan("failback", Mode::Planned);
    pair.drive(plan, Scene::default().leaves_gates())
        .await
        .done();
    assert_eq!(
        pair.primary().digest("production/app", "latest"),
        Some(digest)
    );
}

/// Accepted as about to be overwritten is not accepted as not copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reverse_sync_that_copied_nothing_stops_at_the_comparison() {
    let mut pair = diverged("v1.0.0").await;
    pair.dr()
        .push_tag("production/app", "new", "new")
        .expect("a push");
    pair.primary().inject(Fault::CopiesNothing { times: None });
    let plan = pair.plan("failback", Mode::Planned);
    let ran = pair.drive(plan, Scene::default().leaves_gates()).await;
    ran.asks("divergence", About::Gate);
    let command = runbook_engine::event::Command::Approve {
        nonce: "00000007".into(),
        reason: Some("tested".into()),
    };
    let ran = pair
        .resume(&ran.id, Some(command), Scene::default().leaves_gates())
        .await;
    let question = ran.asks("compare", About::Gate);
    assert!(
        question.contains("missing   production/app:new"),
        "{question}"
    );
    assert!(
        question.contains("different production/app:v1.0.0"),
        "{question}"
    );
}

/// A14: somebody lifts the fence while caches still point to the old active, and a client writes there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_writes_at_the_old_active_are_listed_and_the_fence_is_set_again() {
    let mut pair = Pair::start(Direction::Pull).await;
    let scene = Scene::default().after("tell", |sandbox| {
        sandbox.primary().set_read_only(false);
        sandbox
            .primary()
            .push_tag("production/app", "late", "late")
            .expect("a push");
        sandbox
            .primary()
            .delete_tag("production/app", "dev-1")
            .expect("a tag");
    });
    let plan = pair.plan("failover", Mode::Planned);
    let ran = pair.drive(plan, scene).await.done();
    let listed = ran.references("late-writes", "divergence");
    assert_eq!(listed, ["production/app:late", "production/app:dev-1"]);
    assert!(pair.primary().is_read_only());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_active_that_is_gone_after_the_cutover_owes_its_fence() {
    let mut pair = Pair::start(Direction::Pull).await;
    let scene = Scene::default().after("tell", |sandbox| sandbox.primary().inject(Fault::Down));
    let plan = pair.plan("failover", Mode::Planned);
    let ran = pair.drive(plan, scene).await.done();
    assert_eq!(
        ran.owed(),
        [Owed {
            site: "primary".into(),
            what: "fence".into()
        }]
    );
    assert_eq!(
        pair.serves(),
        Some((vec!["dr.sandbox.test".into()], 60)),
        "the TTL is as it was"
    );
}

/// C12: what follows overwrites it, so it is decided now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_writes_on_the_way_back_stop_before_the_forward_sync() {
    let mut pair = Pair::start(Direction::Pull).await;
    pair.run("failover", Mode::Planned).await.done();
    let scene = Scene::default().leaves_gates().after("tell", |sandbox| {
        sandbox.dr().set_read_only(false);
        sandbox
            .dr()
            .push_tag("production/app", "late", "late")
            .expect("a push");
    });
    let plan = pair.plan("failback", Mode::Planned);
    let ran = pair.drive(plan, scene).await;
    assert!(
        ran.asks("late-writes", About::Gate)
            .contains("production/app:late")
    );
    assert!(pair.dr().is_read_only(), "the fence is set again");
    assert_eq!(
        pair.dr().is_policy_enabled("dr-forward"),
        Some(false),
        "nothing overwrites it yet"
    );
    pair.resume(&ran.id, None, Scene::default()).await.done();
}

/// C12: no answer is waited for, never owed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_way_back_a_silent_site_is_waited_for() {
    let mut pair = Pair::start(Direction::Pull).await;
    pair.run("failover", Mode::Planned).await.done();
    let scene = Scene::default().after("tell", |sandbox| sandbox.dr().inject(Fault::Down));
    let plan = pair.plan("failback", Mode::Planned);
    let ran = pair.drive(plan, scene).await;
    ran.asks("still-fenced", About::Failure);
    assert_eq!(ran.owed(), []);
    pair.dr().repair_all().await.expect("the site is back");
    let retry = runbook_engine::event::Command::Retry;
    pair.resume(&ran.id, Some(retry), Scene::default())
        .await
        .done();
}

/// C4: a policy that is on under the fence would copy as soon as it is lifted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_active_that_is_not_silent_is_not_opened() {
    let mut pair = Pair::start(Direction::Pull).await;
    pair.run("failover", Mode::Planned).await.done();
    let scene = Scene::default().after("lower-ttl", |sandbox| {
        let on = Mutation::PolicyEnabled {
            policy: "dr-reverse".into(),
            enabled: true,
        };
        sandbox.primary().change(&on).expect("a change");
    });
    let plan = pair.plan("failback", Mode::Planned);
    let ran = pair.drive(plan, scene).await;
    ran.asks("open-former", About::Guard);
    assert!(pair.primary().is_read_only());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_active_that_is_neither_silent_nor_fenced_refuses_the_way_back() {
    let mut pair = Pair::start(Direction::Push).await;
    pair.primary().inject(Fault::Down);
    pair.run("failover", Mode::Unplanned).await.done();
    pair.primary().repair_all().await.expect("the site is back");
    let ran = pair.run("failback", Mode::Planned).await;
    let text = ran.refused();
    assert!(
        text.contains("primary policy `dr-forward`: enabled is enabled"),
        "{text}"
    );
    assert!(
        text.contains("read_only is false; it must be true"),
        "{text}"
    );
}
