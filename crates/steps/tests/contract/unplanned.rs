//! Unplanned failover: the verdict, the loss, what is owed, and paying it.

use std::sync::Arc;
use std::time::Duration;

use runbook_engine::event::{About, Owed};
use runbook_engine::plan::Mode;
use runbook_sim::{Direction, Fault, Mutation, Verdict};

use crate::pair::Pair;
use crate::scene::{Ran, Scene};

fn owes(what: &str) -> Owed {
    Owed {
        site: "primary".into(),
        what: what.into(),
    }
}

fn component(name: &str) -> Fault {
    Fault::ComponentDown {
        component: name.into(),
    }
}

/// What the person was asked before anything was changed.
fn approval(ran: &Ran) -> String {
    let asked = ran
        .questions()
        .into_iter()
        .find(|(step, ..)| step == "approval");
    asked.expect("an approval").2
}

struct Bad {
    verdict: &'static str,
    what: &'static [&'static str],
    direction: Direction,
    make: fn(&Pair),
    owed: &'static [&'static str],
    /// Whether the site was fenced in the end.
    fenced: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_verdict_leads_to_the_standby_and_owes_what_could_not_be_done() {
    let none: &[&str] = &[];
    let both: &[&str] = &["fence", "silence"];
    let cases = [
        Bad {
            verdict: "dead",
            what: none,
            direction: Direction::Pull,
            make: |pair| pair.primary().inject(Fault::Down),
            owed: both,
            fenced: false,
        },
        Bad {
            verdict: "dead",
            what: none,
            direction: Direction::Push,
            make: |pair| {
                pair.primary().inject(Fault::Hang {
                    method: None,
                    path: None,
                })
            },
            owed: both,
            fenced: false,
        },
        Bad {
            verdict: "read-only",
            what: none,
            direction: Direction::Pull,
            make: |pair| pair.primary().set_read_only(true),
            owed: none,
            fenced: true,
        },
        // Read-only refuses to disable the policy that is on: owed, as if it did not answer.
        Bad {
            verdict: "read-only",
            what: none,
            direction: Direction::Push,
            make: |pair| pair.primary().set_read_only(true),
            owed: both,
            fenced: true,
        },
        Bad {
            verdict: "degraded",
            what: &["database"],
            direction: Direction::Pull,
            make: |pair| pair.primary().inject(component("database")),
            owed: both,
            fenced: false,
        },
        Bad {
            verdict: "degraded",
            what: &["registry"],
            direction: Direction::Pull,
            make: |pair| pair.primary().inject(component("registry")),
            owed: none,
            fenced: true,
        },
        Bad {
            verdict: "degraded",
            what: &["jobservice"],
            direction: Direction::Push,
            make: |pair| pair.primary().inject(component("jobservice")),
            owed: none,
            fenced: true,
        },
        // The standby reaches it, this host does not.
        Bad {
            verdict: "half-open",
            what: none,
            direction: Direction::Pull,
            make: |pair| {
                pair.sandbox.on_request(Arc::new(|request| {
                    if request.site == "primary" {
                        Verdict::NotApplied
                    } else {
                        Verdict::Continue
                    }
                }));
            },
            owed: both,
            fenced: false,
        },
    ];
    futures_util::future::join_all(cases.iter().map(leads_to_the_standby)).await;
}

async fn leads_to_the_standby(bad: &Bad) {
    let mut pair = Pair::start(bad.direction).await;
    pair.tweak = |bindings| {
        for site in bindings.sites.values_mut() {
            site.timeout_ms = 1500;
        }
    };
    (bad.make)(&pair);
    pair.primary().refresh_health();
    let ran = pair.run("failover", Mode::Unplanned).await.done();
    let judged = ran.output("judge-active");
    assert_eq!(judged["verdict"], bad.verdict, "{judged}");
    for part in bad.what {
        assert!(judged["what"].to_string().contains(part), "{judged}");
    }
    let shown = approval(&ran);
    assert!(
        shown.contains(&format!("verdict on `primary`: {}", bad.verdict)),
        "{shown}"
    );
    assert!(!shown.contains("wrong password"), "{shown}");
    let owed: Vec<Owed> = bad.owed.iter().map(|what| owes(what)).collect();
    assert_eq!(ran.owed(), owed, "{}\n{}", bad.verdict, ran.told());
    assert_eq!(
        pair.primary().is_read_only(),
        bad.fenced,
        "{}\n{}",
        bad.verdict,
        ran.told()
    );
    assert_eq!(pair.serves(), Some((vec!["dr.sandbox.test".into()], 60)));
    let cut = pair.dr().snapshot().robots["dr-replication"];
    assert!(cut, "the old side's credentials are cut");
    assert!(!pair.dr().is_read_only());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_active_needs_a_consent_of_its_own() {
    let mut pair = Pair::start(Direction::Pull).await;
    let before = pair.world();
    let plan = pair.plan("failover", Mode::Unplanned);
    let ran = pair.drive(plan, Scene::default().leaves_gates()).await;
    assert!(
        ran.asks("judge-active", About::Gate)
            .contains("`primary` is healthy")
    );
    assert_eq!(
        pair.world(),
        before,
        "nothing is changed before the consent"
    );
    let ran = pair.resume(&ran.id, None, Scene::default()).await.done();
    assert_eq!(ran.owed(), []);
    assert!(pair.primary().is_read_only());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_is_named_from_the_last_inventory() {
    let mut pair = Pair::start(Direction::Pull).await;
    pair.primary()
        .push_tag("production/app", "lost", "lost")
        .expect("a push");
    pair.rehearse(&pair.plan("failover", Mode::Planned)).await;
    pair.primary().inject(Fault::Down);
    let ran = pair.run("failover", Mode::Unplanned).await.done();
    assert_eq!(ran.references("loss", "items"), ["production/app:lost"]);
    assert!(
        approval(&ran).contains("production/app:lost"),
        "shown before the consent"
    );
    assert!(
        ran.questions().iter().all(|(step, ..)| step != "loss"),
        "within the objective"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_beyond_the_objective_waits_for_a_person() {
    let mut pair = Pair::start(Direction::Pull).await;
    pair.rpo = Some(Duration::from_millis(1));
    pair.primary()
        .push_tag("production/app", "lost", "lost")
        .expect("a push");
    pair.rehearse(&pair.plan("failover", Mode::Planned)).await;
    pair.primary().inject(Fault::Down);
    let plan = pair.plan("failover", Mode::Unplanned);
    let ran = pair.drive(plan, Scene::default().leaves_gates()).await;
    assert!(
        ran.asks("loss", About::Gate)
            .contains("production/app:lost")
    );
    assert_eq!(
        pair.serves(),
        Some((vec!["primary.sandbox.test".into()], 60)),
        "nobody was moved"
    );
    pair.resume(&ran.id, None, Scene::default()).await.done();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_inventory_the_last_sync_is_the_bound() {
    let mut pair = Pair::start(Direction::Pull).await;
    pair.primary().inject(Fault::Down);
    let plan = pair.plan("failover", Mode::Unplanned);
    let ran = pair.drive(plan, Scene::default().leaves_gates()).await;
    assert!(
        ran.asks("loss", About::Gate)
            .contains("nothing can be said of the loss")
    );

    let mut pair = Pair::start(Direction::Pull).await;
    let sync = pair.small("  - { id: sync, do: { harbor.sync: { policy: forward } } }\n");
    let sync = pair.drive(sync, Scene::default()).await.done();
    pair.primary().inject(Fault::Down);
    let ran = pair.run("failover", Mode::Unplanned).await.done();
    assert_eq!(
        ran.output("loss")["bound"],
        sync.output("sync")["started_at"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_active_leaves_nothing_unknown() {
    let mut pair = Pair::start(Direction::Pull).await;
    pair.rpo = Some(Duration::from_millis(1));
    let ran = pair.run("failover", Mode::Unplanned).await.done();
    let loss = ran.output("loss");
    assert_eq!(
        (&loss["fenced"], &loss["rpo_measured_seconds"]),
        (&true.into(), &0.0.into()),
        "{loss}"
    );
}

/// In doubt is owed too: the request left, no answer came, and nobody can look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_active_that_goes_away_in_the_middle_is_owed() {
    let mut pair = Pair::start(Direction::Push).await;
    let scene = Scene::default().after("silence-old", |sandbox| {
        sandbox.primary().inject(Fault::Down)
    });
    let plan = pair.plan("failover", Mode::Unplanned);
    let ran = pair.drive(plan, scene).await.done();
    assert!(ran.owed().contains(&owes("fence")), "{:?}", ran.owed());
    assert!(ran.is_owed("late-writes-unplanned"));
}

async fn settled(pair: &mut Pair) -> Ran {
    let ran = pair.run("settle", Mode::Planned).await.done();
    let primary = pair.primary();
    assert!(primary.is_read_only(), "fenced");
    for policy in ["dr-forward", "dr-reverse"] {
        assert_ne!(
            primary.is_policy_enabled(policy),
            Some(true),
            "{policy} is silent"
        );
    }
    let unsettled: usize = primary.snapshot().unsettled.values().sum();
    assert_eq!(unsettled, 0, "nothing runs");
    ran
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settle_lists_what_the_old_active_took() {
    let mut pair = Pair::start(Direction::Push).await;
    pair.primary().inject(Fault::Down);
    pair.run("failover", Mode::Unplanned).await.done();
    pair.primary().repair_all().await.expect("the site is back");
    // A client that did not follow; the event pushes it on, and the receiver refuses.
    pair.primary()
        .push_tag("production/app", "late", "late")
        .expect("a push");
    let ran = settled(&mut pair).await;
    assert_eq!(
        ran.references("divergence", "missing"),
        ["production/app:late"]
    );
    assert_eq!(pair.dr().digest("production/app", "late"), None);
}

/// It came back read-only with its policies on: lift, disable, stop, fence again, all with its credentials cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settle_silences_a_site_that_came_back_read_only() {
    let mut pair = Pair::start(Direction::Push).await;
    pair.primary().inject(Fault::Down);
    pair.run("failover", Mode::Unplanned).await.done();
    pair.primary().set_read_only(true);
    pair.primary().repair_all().await.expect("the site is back");
    settled(&mut pair).await;
}

/// A firing that read-only refused comes 1 to 6 s after the flag is lifted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settle_survives_a_late_firing() {
    let mut pair = Pair::start(Direction::Pull).await;
    let on = Mutation::PolicyEnabled {
        policy: "dr-reverse".into(),
        enabled: true,
    };
    pair.primary().change(&on).expect("a change");
    pair.primary().inject(Fault::Down);
    pair.run("failover", Mode::Unplanned).await.done();
    pair.primary().set_read_only(true);
    pair.primary().repair_all().await.expect("the site is back");
    // The schedule is every eight minutes of the sandbox, 2.4 s here.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    settled(&mut pair).await;
}
