//! Rule 1: a broken guard never goes forward, and no way leads back across the cutover.

use std::time::Duration;

use runbook_engine::event::{About, Command, Event, Outcome};
use runbook_engine::executor::Ended;
use runbook_engine::plan::{Broken, Guard, IfUnreachable, InDoubt, OnFailure, Retry};
use serde_json::{Value, json};

use crate::rig::{Life, Rig, Words, guard, look, step, yes};
use crate::world::{Fault, sets};

/// Somebody breaks a cell once, when an event is recorded.
fn breaks(rig: &Rig, told: &'static str, key: &'static str) {
    let toy = rig.toy.clone();
    let done = std::sync::atomic::AtomicBool::new(false);
    rig.hook(move |event, _| {
        let line = format!("{} {}", event.name(), event.step().unwrap_or_default());
        if line == told && !done.swap(true, std::sync::atomic::Ordering::SeqCst) {
            toy.put(key, "broken");
        }
    });
}

#[tokio::test]
async fn a_broken_guard_goes_back_and_voids_what_was_found_since() {
    let rig = Rig::new(vec![
        step("a"),
        step("b").doing(sets(&["b1", "b2"])),
        step("c").guarded_by(&["a"]),
    ])
    .await;
    breaks(&rig, "succeeded b", "a");
    let voided = std::sync::Arc::new(std::sync::Mutex::new(None));
    let seen = voided.clone();
    let toy = rig.toy.clone();
    rig.hook(move |event, run| match event {
        Event::Succeeded { step, .. } if step == "b" && seen.lock().expect("ok").is_none() => {
            toy.put("a", "broken")
        }
        Event::WentBack { .. } => *seen.lock().expect("ok") = Some(run.clone()),
        _ => {}
    });
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    let back = voided.lock().expect("ok").clone().expect("it went back");
    let b = back.step("b").expect("a step");
    assert_eq!(
        (b.output.clone(), b.checkpoints.len(), b.generation),
        (Value::Null, 0, 1)
    );
    assert!(b.touched, "what it changed in the world is not void");
    assert_eq!(rig.toy.cell("a").as_deref(), Some("new"));
    assert_eq!(rig.count("went-back c").await, 1);
    assert_eq!(rig.count("succeeded a").await, 2);
    let tokens: std::collections::BTreeSet<_> = rig
        .toy
        .effects()
        .into_iter()
        .filter(|e| e.key == "a")
        .map(|e| e.token)
        .collect();
    assert_eq!(tokens.len(), 2, "another attempt group");
}

#[tokio::test]
async fn the_first_broken_guard_in_the_order_of_the_steps_decides() {
    let rig = Rig::new(vec![
        step("a"),
        step("b"),
        step("c").guarded_by(&["b", "a"]),
    ])
    .await;
    let toy = rig.toy.clone();
    rig.hook(move |event, run| {
        if matches!(event, Event::Succeeded { step, .. } if step == "b")
            && run.steps[0].generation == 0
        {
            toy.put("a", "broken");
            toy.put("b", "broken");
        }
    });
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    let to = rig
        .events()
        .await
        .into_iter()
        .find_map(|event| match event {
            Event::WentBack { to, .. } => Some(to),
            _ => None,
        });
    assert_eq!(to.as_deref(), Some("a"));
}

#[tokio::test]
async fn no_way_leads_back_across_the_cutover() {
    let cut = step("cut").with(|step| step.cutover = true);
    let rig = Rig::new(vec![step("a"), cut, step("c").guarded_by(&["a"])]).await;
    breaks(&rig, "succeeded cut", "a");
    let question = rig.begin().await.question();
    assert_eq!(question.about, About::Guard);
    assert_eq!(rig.count("went-back c").await, 0);
    assert_eq!(rig.toy.cell("c"), None);
    // Resumed, it is looked at again and still does not go forward.
    rig.send(Command::Retry).await;
    assert_eq!(rig.resume().await.question().about, About::Guard);
    rig.toy.put("a", "new");
    rig.send(Command::Retry).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
}

#[tokio::test]
async fn a_step_that_wants_back_across_the_cutover_asks() {
    let late = look("late")
        .doing(json!({ "back-unless-good": "b" }))
        .with(|step| step.back_to = Some("a".into()));
    let rig = Rig::new(vec![
        step("a"),
        step("cut").with(|step| step.cutover = true),
        late,
    ])
    .await;
    assert_eq!(rig.begin().await.question().about, About::Gate);
    assert_eq!(rig.count("went-back late").await, 0);
}

#[tokio::test]
async fn a_cutover_that_may_have_moved_the_clients_does_not_go_back() {
    // Its attempt failed after the name had moved; meanwhile what it rests on broke.
    for (probe, expected) in [(None, "moved"), (Some(Fault::Unknown), "unknown")] {
        let cut = step("cut")
            .doing(sets(&["cut", "cut2"]))
            .guarded_by(&["a"])
            .with(|step| step.cutover = true);
        let rig = Rig::new(vec![step("a"), cut]).await;
        rig.toy.script("cut", &[Fault::Permanent]);
        let (step, _) = rig.begin().await.halted();
        assert_eq!(step, "cut");
        rig.toy.put("a", "broken");
        rig.toy.put("cut", "new");
        rig.toy.put("cut2", "new");
        rig.toy
            .script("probe cut", &probe.into_iter().collect::<Vec<_>>());
        rig.send(Command::Retry).await;
        let life = rig.resume().await;
        match expected {
            "moved" => assert_eq!(life.outcome(), Outcome::Done),
            _ => assert_eq!(life.question().about, About::Guard),
        }
        assert_eq!(rig.count("went-back cut").await, 0, "{expected}");
    }
}

#[tokio::test]
async fn a_cutover_that_has_not_moved_the_clients_may_go_back() {
    let cut = step("cut")
        .guarded_by(&["a"])
        .with(|step| step.cutover = true);
    let rig = Rig::new(vec![step("a"), cut]).await;
    rig.toy.script("cut", &[Fault::Permanent]);
    rig.begin().await.halted();
    rig.toy.put("a", "broken");
    rig.send(Command::Retry).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
    assert_eq!(rig.count("went-back cut").await, 1);
}

#[tokio::test]
async fn a_guard_that_says_ask_asks() {
    let guarded = step("b").with(|step| {
        step.guards = vec![Guard {
            broken: Broken::Ask,
            ..guard("a")
        }]
    });
    let rig = Rig::new(vec![step("a"), guarded]).await;
    breaks(&rig, "succeeded a", "a");
    assert_eq!(rig.begin().await.question().about, About::Guard);
    assert_eq!(rig.toy.cell("b"), None);
}

#[tokio::test]
async fn a_guard_that_nobody_can_tell_asks() {
    let rig = Rig::new(vec![step("a"), step("b").guarded_by(&["a"])]).await;
    rig.toy.script("probe a", &[Fault::Unknown]);
    assert_eq!(rig.begin().await.question().about, About::Guard);
}

#[tokio::test]
async fn a_guard_grows_old_while_a_person_thinks() {
    let consent = look("consent").doing(json!({ "asks": About::Approval }));
    let aged = Guard {
        max_age: Some(Duration::from_secs(900)),
        ..guard("check")
    };
    let rig = Rig::new(vec![
        look("check").kind("check"),
        consent,
        step("b").with(|step| step.guards = vec![aged]),
    ])
    .await;
    let clock = rig.clock.clone();
    let thought = std::sync::atomic::AtomicBool::new(false);
    rig.hook(move |event, _| {
        if matches!(event, Event::Asked { .. })
            && !thought.swap(true, std::sync::atomic::Ordering::SeqCst)
        {
            let then = clock.after(Duration::from_secs(1000));
            futures_util::FutureExt::now_or_never(clock.sleep_until(then));
        }
    });
    rig.people(&[yes(), yes()]);
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    assert_eq!(rig.count("succeeded check").await, 2);
    assert_eq!(
        rig.count("approved consent").await,
        2,
        "a person is asked again: the check was another one"
    );
}

#[tokio::test]
async fn a_guard_that_cannot_be_read_is_read_again_and_never_goes_forward() {
    let rig = Rig::new(vec![step("a"), step("b").guarded_by(&["a"])]).await;
    rig.toy
        .script("probe a", &[Fault::Transient, Fault::RequestLost]);
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    assert_eq!(rig.count("attempt-failed b").await, 2);
    assert_eq!(
        rig.count("attempt-started b").await,
        1,
        "nothing was attempted before"
    );

    let rig = Rig::new(vec![step("a"), step("b").guarded_by(&["a"])]).await;
    rig.toy.script("probe a", &[Fault::Transient; 9]);
    let (step, error) = rig.begin().await.halted();
    assert_eq!(step, "b");
    assert!(error.contains("guard `a` cannot be read"), "{error}");
    assert_eq!(
        rig.count("attempt-failed b").await,
        3,
        "as often as it has attempts"
    );
    assert!(!rig.state().await.step("b").expect("a step").touched);
    assert_eq!(rig.toy.cell("b"), None);
}

#[tokio::test]
async fn a_cutover_whose_guards_could_not_be_read_was_not_begun() {
    let cut = step("cut")
        .guarded_by(&["a"])
        .with(|step| step.cutover = true);
    let rig = Rig::new(vec![step("a"), cut]).await;
    rig.toy.script("probe a", &[Fault::Transient; 9]);
    rig.begin().await.halted();
    rig.toy.unscript();
    rig.send(Command::Abort { undo: true }).await;
    // It could not be withdrawn; it need not be.
    assert_eq!(rig.resume().await.outcome(), Outcome::Undone);
}

#[tokio::test]
async fn what_rests_on_something_owed_is_owed_or_goes_on() {
    let owe =
        |step: &mut runbook_engine::plan::PlannedStep| step.if_unreachable = IfUnreachable::Owe;
    let a = step("a")
        .doing(json!({ "sets": ["a"], "owes": "silence" }))
        .with(owe);
    let b = step("b")
        .doing(json!({ "sets": ["b"], "owes": "fence" }))
        .guarded_by(&["a"])
        .with(owe);
    let c = step("c").guarded_by(&["a"]);
    let rig = Rig::new(vec![a, b, c]).await;
    rig.toy.cut_off("a");
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    let state = rig.state().await;
    let owed: Vec<_> = state.owed().into_iter().map(|owed| owed.what).collect();
    assert_eq!(owed, ["fence", "silence"]);
    assert_eq!(rig.count("attempt-started b").await, 0);
    assert_eq!(rig.toy.cell("c").as_deref(), Some("new"));
    assert_eq!(
        rig.journal().find("7").await.expect("the run").owed,
        state.owed()
    );
}

#[tokio::test]
async fn a_guard_whose_site_goes_away_is_owed_on_the_way_back() {
    let a = step("a")
        .doing(json!({ "sets": ["a"], "owes": "fence" }))
        .with(|step| step.if_unreachable = IfUnreachable::Owe);
    let rig = Rig::new(vec![a, step("b"), step("c").guarded_by(&["a"])]).await;
    let toy = rig.toy.clone();
    rig.hook(move |event, _| {
        if matches!(event, Event::Succeeded { step, .. } if step == "b") {
            toy.cut_off("a");
        }
    });
    let life = rig.begin().await;
    assert_eq!(life.outcome(), Outcome::Done);
    assert_eq!(rig.count("went-back c").await, 1);
    assert_eq!(rig.state().await.owed().len(), 1);
}

#[tokio::test]
async fn what_a_person_did_by_hand_is_not_probed() {
    let rig = Rig::new(vec![step("a"), step("b").guarded_by(&["a"])]).await;
    rig.toy.script("a", &[Fault::Permanent]);
    let life = rig.begin().await;
    assert!(matches!(life, Life::Ended(Ended::Halted { .. })));
    rig.send(Command::MarkDone { step: "a".into() }).await;
    rig.toy.probed();
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
    assert_eq!(rig.toy.probed(), Vec::<String>::new());
    assert_eq!(rig.toy.cell("a"), None, "what it guarded is theirs");
}

#[tokio::test]
async fn a_run_that_goes_back_too_often_asks() {
    // Setting `b` breaks `a` each time.
    let rig = Rig::new(vec![step("a"), look("b"), step("c").guarded_by(&["a"])]).await;
    let toy = rig.toy.clone();
    rig.hook(move |event, _| {
        if matches!(event, Event::Succeeded { step, .. } if step == "b") {
            toy.put("a", "broken");
        }
    });
    let question = rig.begin().await.question();
    assert_eq!(question.about, About::Guard);
    assert!(
        question.text.contains("gone back 12 times"),
        "{}",
        question.text
    );
}

#[tokio::test]
async fn a_step_that_wants_back_gets_it_as_often_as_it_has_attempts_then_asks() {
    let compare = look("compare")
        .doing(json!({ "back-unless-good": "x" }))
        .with(|step| step.back_to = Some("sync".into()));
    let rig = Rig::new(vec![step("sync"), compare.clone(), step("next")]).await;
    rig.people(&[yes()]);
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    assert_eq!(rig.count("went-back compare").await, 2);
    assert_eq!(rig.count("attempt-started compare").await, 3);
    assert_eq!(rig.count("asked compare").await, 1);
    assert_eq!(
        rig.state().await.step("compare").expect("a step").output,
        json!({ "by": "compare" })
    );

    // Once the sync has made it good there is no question.
    let rig = Rig::new(vec![step("sync"), compare]).await;
    let toy = rig.toy.clone();
    rig.hook(move |event, _| {
        if matches!(event, Event::WentBack { .. }) {
            toy.put("x", "good");
        }
    });
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    assert_eq!(rig.count("asked compare").await, 0);
}

#[tokio::test]
async fn an_unread_guard_of_a_step_to_be_passed_over_is_not_taken_either() {
    let passed = step("b").guarded_by(&["a"]).with(|step| {
        step.on_failure = OnFailure::Continue;
        step.retry = Retry {
            attempts: 1,
            backoff: Duration::ZERO,
        };
        step.in_doubt = InDoubt::Probe;
    });
    let rig = Rig::new(vec![step("a"), passed, step("c")]).await;
    rig.toy.script("probe a", &[Fault::Transient; 3]);
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    assert_eq!(rig.toy.cell("b"), None);
    assert_eq!(rig.count("passed-over b").await, 1);
}
