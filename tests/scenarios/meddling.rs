//! Somebody else changes a policy, a flag or the record while a run is under way, and while its driver is dead.

use runbook_sim::{Fault, Harbor, Mutation, dns};
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::aborting::CUTOVER;
use crate::pair::Pair;
use crate::stage::{
    self, ELSEWHERE, FRESH, PLANNED, RESUME, Watched, at_update, happened, position, send, tags,
};

/// Up to the cutover.
const BEFORE: &[&str] = &[
    "originals",
    "lower-ttl",
    "bulk-sync",
    "silence-active",
    "fence",
    "final-sync",
    "compare",
    "silence-standby",
    "dns-upsert",
];
/// After it.
const AFTER: &[&str] = &[
    "dns-verify",
    "probe",
    "wait-old-ttl",
    "still-fenced",
    "raise-ttl",
];

/// The last look and what follows: it may be over when the driver is stopped, and nobody looks again.
const LAST: &[&str] = &["still-fenced", "raise-ttl"];

/// Stops the driver at a step, lets somebody change something, and lets it go on to its end.
async fn meddle(step: &'static str, change: impl FnOnce(&Pair)) -> (Pair, Option<i32>, String) {
    let pair = stage::pull().await;
    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", step).await;
    run.meanwhile(|| change(&pair));
    let ran = run.end().await;
    (pair, ran.code, ran.stderr)
}

fn change(site: &Harbor, mutation: &Mutation) {
    site.change(mutation).expect("what it names is there");
}

/// A run whose driver dies with the cutover sent; it never arrives.
async fn killed_at_the_cutover(pair: &Pair) {
    let run = Watched::start(pair, PLANNED);
    let pid = run.pid();
    at_update(&pair.sandbox, dns::Edge::Before, CUTOVER, move || {
        send(pid, Signal::KILL);
        dns::Verdict::Drop
    });
    assert_eq!(run.end().await.code, None, "it was killed");
    pair.sandbox.dns().clear_hook();
}

/// Never more than a few at once: each is a process.
async fn each<F: Future<Output = ()> + Send + 'static>(
    steps: impl IntoIterator<Item = &'static str>,
    one: impl Fn(&'static str) -> F,
) {
    let mut set = JoinSet::new();
    for step in steps {
        if set.len() >= 3 {
            set.join_next()
                .await
                .expect("there is one")
                .expect("passed");
        }
        set.spawn(one(step));
    }
    while let Some(done) = set.join_next().await {
        done.expect("passed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forward_policy_disabled_at_any_step() {
    each(BEFORE.iter().copied(), |step| async move {
        let before_run = |pair: &Pair| {
            change(
                pair.sandbox.dr(),
                &Mutation::PolicyEnabled {
                    policy: "dr-forward".into(),
                    enabled: false,
                },
            );
        };
        let (pair, code, said) = meddle(step, before_run).await;
        assert_eq!(code, Some(0), "at `{step}`:\n{said}");
        let before = tags(pair.sandbox.primary());
        pair.is_moved(&before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forward_policy_enabled_again_before_the_cutover() {
    each(["dns-upsert", "silence-standby"], |step| async move {
        let (pair, code, said) = meddle(step, |pair| {
            change(
                pair.sandbox.dr(),
                &Mutation::PolicyEnabled {
                    policy: "dr-forward".into(),
                    enabled: true,
                },
            );
        })
        .await;
        assert_eq!(code, Some(0), "at `{step}`:\n{said}");
        assert_eq!(pair.serves(), "dr");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_of_the_active_enabled_at_any_step_does_not_stay_on() {
    each(
        [
            "silence-active",
            "fence",
            "final-sync",
            "compare",
            "silence-standby",
        ],
        |step| async move {
            let (pair, code, said) = meddle(step, |pair| {
                change(
                    pair.sandbox.primary(),
                    &Mutation::PolicyEnabled {
                        policy: "dr-reverse".into(),
                        enabled: true,
                    },
                );
            })
            .await;
            // Once the active is fenced its policies cannot be disabled: then a person is told how.
            if code == Some(0) {
                assert_eq!(pair.serves(), "dr");
                assert_eq!(
                    pair.sandbox.primary().is_policy_enabled("dr-reverse"),
                    Some(false),
                    "at `{step}`:\n{said}"
                );
            } else {
                assert!(matches!(code, Some(4 | 5)), "at `{step}`:\n{said}");
                assert!(
                    said.contains("runbook resume") && said.contains("abort"),
                    "at `{step}`:\n{said}"
                );
                assert_eq!(pair.serves(), "primary", "at `{step}`");
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_deleted_at_any_step() {
    each(BEFORE.iter().copied(), |step| async move {
        let (pair, code, said) = meddle(step, |pair| {
            // Gone already if the step was quicker; then there is nothing to see.
            let _ = pair.sandbox.dr().change(&Mutation::PolicyDeleted {
                policy: "dr-forward".into(),
            });
        })
        .await;
        if code == Some(0) {
            let before = tags(pair.sandbox.primary());
            pair.serves_everything_of(&before);
        } else {
            assert!(matches!(code, Some(4 | 5)), "at `{step}`:\n{said}");
            assert!(said.contains("dr-forward"), "at `{step}`:\n{said}");
            assert_eq!(pair.serves(), "primary", "at `{step}`");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_lifted_at_any_step_is_set_again_and_nothing_is_lost() {
    let steps = BEFORE.iter().skip(4).chain(AFTER).copied();
    each(steps, |step| async move {
        let (pair, code, said) = meddle(step, |pair| {
            let primary = pair.sandbox.primary();
            primary.set_read_only(false);
            // A client was quick.
            primary
                .push_tag("production/app", "between", "between")
                .expect("the fence is lifted");
        })
        .await;
        assert_eq!(code, Some(0), "at `{step}`:\n{said}");
        assert_eq!(pair.serves(), "dr", "at `{step}`");
        let mut before = tags(pair.sandbox.primary());
        if !tags(pair.sandbox.dr()).contains_key("production/app:between") {
            // Pushed when the name had moved or was about to: never copied any more, but listed if anybody looks.
            before.remove("production/app:between");
            let report = pair.report().await;
            let divergence = report["divergence"].to_string();
            let looked = !LAST.contains(&step);
            assert!(
                !looked || divergence.contains("between"),
                "at `{step}`: {divergence}\n{said}"
            );
            assert!(
                AFTER.contains(&step) || step == "dns-upsert",
                "at `{step}`:\n{said}"
            );
        }
        pair.serves_everything_of(&before);
        if !LAST.contains(&step) {
            assert!(
                pair.sandbox.primary().is_read_only(),
                "at `{step}`:\n{said}"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_changed_at_any_step_is_never_overwritten() {
    let steps = BEFORE.iter().chain(AFTER).copied();
    each(steps, |step| async move {
        let (pair, code, said) = meddle(step, Pair::point_elsewhere).await;
        // The last step may have been quicker.
        if code == Some(0) {
            assert!(
                [
                    "raise-ttl",
                    "still-fenced",
                    "wait-old-ttl",
                    "dns-verify",
                    "probe"
                ]
                .contains(&step),
                "at `{step}`:\n{said}"
            );
        } else {
            assert!(matches!(code, Some(4 | 5)), "at `{step}`: {code:?}\n{said}");
            // A client at the end of the name sees only that nobody is there.
            let seen = said.contains(ELSEWHERE) || said.contains("has no address");
            assert!(seen, "at `{step}`:\n{said}");
            assert!(said.contains("runbook resume"), "at `{step}`:\n{said}");
        }
        assert_eq!(pair.record().values, [ELSEWHERE], "at `{step}`:\n{said}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_broken_while_the_driver_is_dead_goes_back_and_never_forward() {
    each(
        ["final-sync", "compare", "silence-standby", "dns-upsert"],
        |step| async move {
            let pair = stage::pull().await;
            if step == "dns-upsert" {
                killed_at_the_cutover(&pair).await;
            } else {
                let mut run = Watched::start(&pair, PLANNED);
                run.until("now", step).await;
                run.kill().await;
            }
            assert_eq!(pair.serves(), "primary", "killed before the cutover");
            let primary = pair.sandbox.primary();
            primary.set_read_only(false);
            primary
                .push_tag("production/app", "between", "between")
                .expect("the fence is lifted");
            let before = tags(primary);
            let events = pair.events().await.len();
            pair.expect(0, RESUME).await;
            pair.is_moved(&before);
            let events = pair.events().await.split_off(events);
            assert!(happened(&events, "went-back"), "at `{step}`: {events:#?}");
            let fenced = position(&events, 0, "succeeded", "fence").expect("fenced again");
            let moved = position(&events, 0, "succeeded", "dns-upsert").expect("moved");
            assert!(fenced < moved, "at `{step}`");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_enabled_while_the_driver_is_dead_is_disabled_before_the_cutover() {
    let pair = stage::pull().await;
    killed_at_the_cutover(&pair).await;
    assert_eq!(pair.serves(), "primary");
    change(
        pair.sandbox.dr(),
        &Mutation::PolicyEnabled {
            policy: "dr-forward".into(),
            enabled: true,
        },
    );
    pair.expect(0, RESUME).await;
    assert_eq!(
        pair.sandbox.dr().is_policy_enabled("dr-forward"),
        Some(false)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_goes_away_in_the_middle_stops_the_run_and_it_goes_on_later() {
    each(["bulk-sync", "fence", "final-sync"], |step| async move {
        let pair = stage::pull().await;
        let before = tags(pair.sandbox.primary());
        let mut run = Watched::start(&pair, PLANNED);
        run.until("now", step).await;
        run.meanwhile(|| pair.sandbox.primary().inject(Fault::Down));
        let ran = run.end().await;
        assert!(matches!(ran.code, Some(4 | 5)), "at `{step}`: {ran:?}");
        ran.says(&[
            "primary",
            "runbook resume",
            "the service name was not moved from `primary`",
        ]);
        pair.sandbox
            .primary()
            .repair_all()
            .await
            .expect("it returns");
        pair.expect(0, RESUME).await;
        pair.is_moved(&before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_deleted_at_the_standby_before_the_cutover_is_there_after_it() {
    let (pair, code, said) = meddle("final-sync", |pair| {
        change(
            pair.sandbox.dr(),
            &Mutation::TagDeleted {
                repository: FRESH.0.into(),
                tag: "v1.0.0".into(),
            },
        );
    })
    .await;
    if code == Some(0) {
        pair.serves_everything_of(&tags(pair.sandbox.primary()));
    } else {
        assert_eq!(code, Some(5), "{said}");
        assert!(said.contains("v1.0.0"), "{said}");
    }
}
