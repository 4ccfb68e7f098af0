//! Somebody else's hand between the steps: the run goes back to what establishes the truth, or asks. Never forward.

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use runbook_engine::event::About;
use runbook_engine::plan::Mode;
use runbook_sim::dns::RecordKind;
use runbook_sim::{Direction, Mutation, Sandbox};

use crate::pair::Pair;
use crate::scene::{DONE, Ran, Scene};

fn enable(policy: &str) -> Mutation {
    Mutation::PolicyEnabled {
        policy: policy.into(),
        enabled: true,
    }
}

/// Runs a planned failover with one act right after a step, and tells whether all was silent and fenced when the
/// clients were moved.
async fn meddled(
    direction: Direction,
    step: &str,
    act: impl Fn(&Sandbox) + Send + Sync + 'static,
) -> (Pair, Ran, Option<(bool, bool)>) {
    let mut pair = Pair::start(direction).await;
    let seen = Arc::new(Mutex::new(None));
    let scene = Scene::default().after(step, act).after("dns-upsert", {
        let seen = seen.clone();
        move |sandbox| {
            let sites = [sandbox.primary(), sandbox.dr()];
            let silent = sites
                .iter()
                .all(|site| site.is_policy_enabled("dr-forward") != Some(true));
            *seen.lock().expect("a lock") = Some((silent, sandbox.primary().is_read_only()));
        }
    });
    let plan = pair.plan("failover", Mode::Planned);
    let ran = pair.drive(plan, scene).await;
    let seen = *seen.lock().expect("a lock");
    (pair, ran, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_lifted_by_hand_leads_back_to_the_fence() {
    let steps = ["fence", "final-sync", "compare", "silence-standby"];
    join_all(steps.map(async |step| {
        let lift = |sandbox: &Sandbox| {
            sandbox.primary().set_read_only(false);
            sandbox
                .primary()
                .push_tag("production/app", "late", "late")
                .expect("a push");
        };
        let (pair, ran, seen) = meddled(Direction::Pull, step, lift).await;
        assert_eq!(ran.ended, DONE, "{step}\n{}", ran.told());
        assert!(
            ran.ways_back().iter().any(|(_, to)| *to == "fence"),
            "{step}: {:?}",
            ran.ways_back()
        );
        assert_eq!(seen, Some((true, true)), "{step}");
        // The results of the steps gone back over were void: the late push has come along.
        assert!(
            pair.dr().digest("production/app", "late").is_some(),
            "{step}"
        );
        assert_eq!(ran.references("compare", "missing"), [""; 0], "{step}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_policy_turned_on_by_hand_is_silenced_before_the_cutover() {
    let steps = [
        "silence-active",
        "fence",
        "final-sync",
        "compare",
        "silence-standby",
    ];
    join_all(steps.map(async |step| {
        let on = |sandbox: &Sandbox| {
            sandbox
                .dr()
                .change(&enable("dr-forward"))
                .expect("a policy")
        };
        let (_, ran, seen) = meddled(Direction::Pull, step, on).await;
        assert_eq!(ran.ended, DONE, "{step}\n{}", ran.told());
        assert_eq!(seen, Some((true, true)), "{step}");
        let back: &[(&str, &str)] = if step == "silence-standby" {
            &[("dns-upsert", "silence-standby")]
        } else {
            &[]
        };
        assert_eq!(ran.ways_back(), back, "{step}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_policy_turned_on_by_hand_stops_the_run_where_read_only_refuses() {
    let on = |sandbox: &Sandbox| {
        sandbox
            .primary()
            .change(&enable("dr-forward"))
            .expect("a policy")
    };
    let (_, ran, seen) = meddled(Direction::Push, "silence-active", on).await;
    assert_eq!(
        (ran.ended.clone(), seen),
        (DONE, Some((true, true))),
        "{}",
        ran.told()
    );
    assert_eq!(ran.ways_back(), [("fence", "silence-active")]);

    let steps = ["fence", "final-sync", "compare", "silence-standby"];
    join_all(steps.map(async |step| {
        let (pair, ran, seen) = meddled(Direction::Push, step, on).await;
        let text = ran.asks("silence-active", About::Failure);
        assert!(
            text.contains("is read-only and its policy `dr-forward` is enabled"),
            "{step}: {text}"
        );
        assert_eq!(seen, None, "{step}: nobody was moved");
        assert_eq!(
            pair.serves().map(|(values, _)| values),
            Some(vec!["primary.sandbox.test".into()])
        );
    }))
    .await;
}

/// The edit of another hand survives: a toggle writes only the switch, and the way back restores what was saved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_edited_by_hand_is_put_back_to_its_original() {
    let edit = |sandbox: &Sandbox| {
        let (policy, description) = ("dr-forward".into(), "edited".into());
        sandbox
            .dr()
            .change(&Mutation::PolicyDescription {
                policy,
                description,
            })
            .expect("a policy");
    };
    let (mut pair, ran, _) = meddled(Direction::Pull, "compare", edit).await;
    assert_eq!(ran.ended, DONE, "{}", ran.told());
    let policy = pair.dr().policy("dr-forward").expect("a policy");
    assert_eq!(policy["description"], "edited");
    let ran = pair.run("failback", Mode::Planned).await.done();
    let restored = ran.changes("restore-policies");
    assert!(
        restored.iter().any(|change| change.field == "description"),
        "{restored:?}"
    );
}

fn point_elsewhere(sandbox: &Sandbox) {
    let name = sandbox.endpoint_name();
    let values = ["elsewhere.sandbox.test"];
    sandbox
        .dns()
        .set_record(&name, RecordKind::Cname, &values, 5)
        .expect("a record");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_changed_by_hand_is_never_overwritten() {
    let steps = [("silence-standby", "dns-upsert"), ("compare", "dns-upsert")];
    join_all(steps.map(async |(step, at)| {
        let (pair, ran, _) = meddled(Direction::Pull, step, point_elsewhere).await;
        let text = ran.asks(at, About::Failure);
        assert!(
            text.contains("somebody changed it meanwhile; nothing was changed"),
            "{text}"
        );
        assert_eq!(
            pair.serves(),
            Some((vec!["elsewhere.sandbox.test".into()], 5))
        );
    }))
    .await;
    let (pair, ran, _) = meddled(Direction::Pull, "originals", point_elsewhere).await;
    assert!(
        ran.halts("lower-ttl")
            .contains("not to `primary.sandbox.test`"),
        "{}",
        ran.told()
    );
    assert_eq!(
        pair.serves(),
        Some((vec!["elsewhere.sandbox.test".into()], 5))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_of_another_owner_that_appears_stops_the_cutover() {
    let own = |sandbox: &Sandbox| {
        let name = format!("_dr-owner.{}", sandbox.endpoint_name());
        let values = ["v1 owner=somebody serves=primary"];
        sandbox
            .dns()
            .set_record(&name, RecordKind::Txt, &values, 60)
            .expect("a record");
    };
    let (pair, ran, _) = meddled(Direction::Pull, "silence-standby", own).await;
    assert!(
        ran.asks("dns-upsert", About::Failure)
            .contains("belongs to another owner")
    );
    assert_eq!(
        pair.serves().map(|(values, _)| values),
        Some(vec!["primary.sandbox.test".into()])
    );
}
