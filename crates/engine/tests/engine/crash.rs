//! A driver is killed at every event and at both edges of every request, and the run ends as if it had not been.

use std::collections::BTreeMap;
use std::time::Duration;

use runbook_engine::event::{About, Outcome};
use runbook_engine::executor::Ended;
use runbook_engine::plan::{InDoubt, PlannedStep};
use serde_json::json;

use crate::rig::{Life, Rig, Words, look, no, step, yes};
use crate::world::{At, Effect, Fault, sets};

/// A bit of everything that a run can meet.
fn steps() -> Vec<PlannedStep> {
    vec![
        look("looks").kind("check"),
        look("consent").doing(json!({ "asks": About::Approval })),
        step("plain"),
        step("long")
            .doing(sets(&["l1", "l2", "l3"]))
            .guarded_by(&["plain"]),
        step("lost-answer"),
        step("lost-request").guarded_by(&["plain"]),
        step("flaky"),
        step("slow").doing(json!({ "sets": ["slow"], "waits-ms": 5000 })),
        step("gate").doing(json!({ "sets": ["gate"], "asks": About::Gate })),
        step("cut")
            .guarded_by(&["plain", "long"])
            .with(|step| step.cutover = true),
        look("after"),
        step("last"),
    ]
}

async fn rig() -> Rig {
    let rig = Rig::new(steps()).await;
    rig.toy.script("lost-answer", &[Fault::AnswerLost]);
    rig.toy.script("lost-request", &[Fault::RequestLost]);
    rig.toy
        .script("flaky", &[Fault::Transient, Fault::Transient]);
    rig.people(&[yes(), yes(), yes(), yes()]);
    rig
}

type World = (BTreeMap<String, String>, BTreeMap<Effect, usize>);

fn world(rig: &Rig) -> World {
    (rig.toy.cells(), rig.toy.counts())
}

async fn uninterrupted() -> (World, usize, usize) {
    let rig = rig().await;
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    assert!(rig.toy.counts().values().all(|count| *count == 1));
    (world(&rig), rig.events().await.len(), rig.toy.writes())
}

async fn ends_alike(rig: &Rig, wanted: &World, point: &str) {
    let ended = rig.survive().await;
    assert_eq!(ended, Ended::Finished(Outcome::Done), "{point}");
    assert_eq!(world(rig), *wanted, "{point}");
}

#[tokio::test]
async fn killed_after_any_event() {
    let (wanted, events, _) = uninterrupted().await;
    assert!(events >= 40, "only {events} points are left");
    // The last event is the end: there is nothing to resume.
    for at in 1..events {
        let rig = rig().await;
        assert!(
            matches!(rig.begin_and_die_after(at).await, Life::Died),
            "after event {at}"
        );
        ends_alike(&rig, &wanted, &format!("killed after event {at}")).await;
    }
}

#[tokio::test]
async fn killed_before_and_after_any_request() {
    let (wanted, _, writes) = uninterrupted().await;
    assert!(writes >= 12, "only {writes} points are left");
    for number in 1..=writes {
        for at in [At::Before(number), At::After(number)] {
            let rig = rig().await;
            rig.toy.die(at);
            let life = rig.begin().await;
            assert!(matches!(life, Life::Died), "{at:?}: {life:?}");
            ends_alike(&rig, &wanted, &format!("killed {at:?}")).await;
        }
    }
}

#[tokio::test]
async fn killed_again_while_recovering() {
    let (wanted, events, _) = uninterrupted().await;
    for first in (1..events).step_by(3) {
        for second in 1..=3 {
            let rig = rig().await;
            assert!(matches!(rig.begin_and_die_after(first).await, Life::Died));
            if let Life::Ended(ended) = rig.resume_and_die_after(second).await {
                assert_eq!(ended, Ended::Finished(Outcome::Done));
            }
            if rig.state().await.finished_at.is_none() {
                ends_alike(
                    &rig,
                    &wanted,
                    &format!("killed after event {first}, then after {second} more"),
                )
                .await;
            }
        }
    }
}

#[tokio::test]
async fn a_request_under_way_is_waited_out_before_it_is_judged() {
    let rig = Rig::new(vec![step("a"), step("b")]).await;
    rig.toy
        .script("a", &[Fault::LateAndDead(Duration::from_secs(9))]);
    assert!(matches!(rig.begin().await, Life::Died));
    assert_eq!(rig.toy.cell("a"), None, "it lands later");
    assert_eq!(rig.survive().await, Ended::Finished(Outcome::Done));
    // Judged at once, it would have been sent a second time.
    assert!(
        rig.toy.counts().values().all(|count| *count == 1),
        "{:?}",
        rig.toy.effects()
    );
    assert_eq!(rig.count("succeeded a").await, 1);
    assert_eq!(rig.count("attempt-started a").await, 1);
}

#[tokio::test]
async fn a_request_of_a_living_driver_is_waited_out_too() {
    let rig = Rig::new(vec![step("a")]).await;
    rig.toy.script("a", &[Fault::Late(Duration::from_secs(9))]);
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    assert_eq!(rig.toy.effects().len(), 1);
    assert_eq!(rig.count("attempt-started a").await, 1);
}

#[tokio::test]
async fn an_interrupted_step_is_probed_before_its_guards() {
    let rig = Rig::new(vec![step("a"), step("b").guarded_by(&["a"])]).await;
    rig.toy.die(At::After(2));
    assert!(matches!(rig.begin().await, Life::Died));
    rig.toy.put("a", "broken since");
    assert_eq!(rig.survive().await, Ended::Finished(Outcome::Done));
    assert_eq!(
        rig.count("went-back b").await,
        0,
        "found done, its guards no longer count"
    );
}

#[tokio::test]
async fn what_may_be_repeated_is_done_again_under_its_token() {
    let notify = step("tell").with(|step| step.in_doubt = InDoubt::Repeat);
    let rig = Rig::new(vec![notify]).await;
    rig.toy.die(At::Before(1));
    assert!(matches!(rig.begin().await, Life::Died));
    assert_eq!(rig.survive().await, Ended::Finished(Outcome::Done));
    assert_eq!(rig.toy.counts().len(), 1, "one token");
}

#[tokio::test]
async fn an_abort_is_not_forgotten_by_a_crash() {
    use runbook_engine::event::Command;
    for events in 1..=8 {
        let rig = Rig::new(vec![
            step("a"),
            step("b").doing(json!({ "asks": About::Gate })),
        ])
        .await;
        let asked = rig.begin().await;
        assert!(
            matches!(asked, Life::Ended(Ended::Asking { .. })),
            "{asked:?}"
        );
        rig.send(Command::Abort { undo: false }).await;
        let mut life = rig.resume_and_die_after(events).await;
        while matches!(life, Life::Died) && rig.state().await.finished_at.is_none() {
            life = rig.resume().await;
        }
        assert_eq!(
            rig.journal().find("7").await.expect("the run").outcome,
            Some(Outcome::Aborted),
            "after {events}"
        );
        assert_eq!(rig.count("command-taken").await, 1);
    }
}

#[tokio::test]
async fn a_refusal_is_not_forgotten_by_a_crash() {
    for events in 1..=5 {
        let rig = Rig::new(vec![
            look("consent").doing(json!({ "asks": About::Approval })),
            step("a"),
        ])
        .await;
        rig.people(&[no()]);
        let mut life = rig.begin_and_die_after(events).await;
        while rig.state().await.finished_at.is_none() {
            rig.people(&[no()]);
            life = rig.resume().await;
        }
        drop(life);
        assert_eq!(
            rig.journal().find("7").await.expect("the run").outcome,
            Some(Outcome::Refused),
            "after {events}"
        );
        assert_eq!(rig.toy.writes(), 0);
    }
}
