//! Rule 2: the way back, up to the cutover and never across it.

use std::sync::Arc;
use std::time::Duration;

use runbook_engine::clock::Clock;
use runbook_engine::event::{About, Command, Event, Outcome};
use runbook_engine::executor::Ended;
use runbook_engine::plan::{IfUnreachable, PlannedStep};
use serde_json::json;

use crate::rig::{Life, Rig, Words, look, step};
use crate::world::{At, Fault, sets};

const UNDO: Command = Command::Abort { undo: true };

fn cut() -> PlannedStep {
    step("cut")
        .doing(json!({ "sets": ["cut"], "withdraws": true }))
        .with(|step| step.cutover = true)
}

/// Three steps done, then a gate.
async fn at_a_gate() -> Rig {
    let gate = step("gate").doing(json!({ "sets": ["gate"], "asks": About::Gate }));
    let rig = Rig::new(vec![
        step("a"),
        step("b").doing(sets(&["b1", "b2"])),
        gate,
        cut(),
        step("last"),
    ])
    .await;
    rig.toy.put("a", "old");
    rig.toy.put("b2", "older");
    assert_eq!(rig.begin().await.question().about, About::Gate);
    rig
}

async fn originals_are_back(rig: &Rig) {
    let cells = rig.toy.cells();
    let seen: Vec<_> = ["a", "b1", "b2", "gate"]
        .iter()
        .map(|key| cells.get(*key).cloned().unwrap_or_default())
        .collect();
    assert_eq!(seen, ["old", "-", "older", "-"]);
}

#[tokio::test]
async fn steps_are_undone_in_reverse_order() {
    let rig = at_a_gate().await;
    rig.send(UNDO).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Undone);
    originals_are_back(&rig).await;
    let undone: Vec<_> = rig
        .told()
        .await
        .into_iter()
        .filter(|line| line.starts_with("undo-finished"))
        .collect();
    assert_eq!(
        undone,
        ["undo-finished gate", "undo-finished b", "undo-finished a"]
    );
    assert_eq!(
        rig.count("undo-started last").await,
        0,
        "it was never begun"
    );
    assert!(rig.state().await.question().is_none());
}

#[tokio::test]
async fn an_abort_leaves_everything_as_it_is() {
    let rig = at_a_gate().await;
    rig.send(Command::Abort { undo: false }).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Aborted);
    assert_eq!(rig.toy.cell("a").as_deref(), Some("new"));
    assert!(
        rig.state().await.question().is_none(),
        "no answer counts any more"
    );
}

#[tokio::test]
async fn killed_anywhere_on_the_way_back() {
    let whole = at_a_gate().await;
    let before = whole.events().await.len();
    let writes = whole.toy.writes();
    whole.send(UNDO).await;
    whole.resume().await.outcome();
    let events = whole.events().await.len() - before;
    for at in 1..events {
        let rig = at_a_gate().await;
        rig.send(UNDO).await;
        assert!(
            matches!(rig.resume_and_die_after(at).await, Life::Died),
            "after {at}"
        );
        assert_eq!(
            rig.survive().await,
            Ended::Finished(Outcome::Undone),
            "after {at}"
        );
        originals_are_back(&rig).await;
        assert_eq!(rig.toy.counts(), whole.toy.counts(), "after {at}");
    }
    for number in writes + 1..=whole.toy.writes() {
        for edge in [At::Before(number), At::After(number)] {
            let rig = at_a_gate().await;
            rig.toy.die(edge);
            rig.send(UNDO).await;
            assert!(matches!(rig.resume().await, Life::Died), "{edge:?}");
            assert_eq!(
                rig.survive().await,
                Ended::Finished(Outcome::Undone),
                "{edge:?}"
            );
            originals_are_back(&rig).await;
        }
    }
}

#[tokio::test]
async fn after_the_cutover_the_undo_is_refused() {
    let gate = look("gate").doing(json!({ "asks": About::Gate }));
    let rig = Rig::new(vec![step("a"), cut(), gate]).await;
    rig.begin().await.question();
    rig.send(UNDO).await;
    assert_eq!(rig.resume().await.question().about, About::Gate);
    assert!(
        rig.refusal()
            .await
            .expect("refused")
            .contains("run failback instead")
    );
    assert_eq!(rig.toy.cell("a").as_deref(), Some("new"));
}

#[tokio::test]
async fn a_cutover_in_doubt_is_undone_only_if_it_never_moved() {
    for (at, undone) in [(At::Before(2), true), (At::After(2), false)] {
        let rig = Rig::new(vec![step("a"), cut()]).await;
        rig.toy.die(at);
        assert!(matches!(rig.begin().await, Life::Died));
        rig.send(UNDO).await;
        let life = rig.resume().await;
        if undone {
            assert_eq!(life.outcome(), Outcome::Undone);
            assert_eq!(rig.toy.cell("cut"), None);
        } else {
            // Refused, the run goes on forward: the probe finds it done.
            assert_eq!(life.outcome(), Outcome::Done);
            assert!(
                rig.refusal()
                    .await
                    .expect("refused")
                    .contains("may have moved the clients")
            );
        }
    }
}

#[tokio::test]
async fn a_withdrawal_waits_until_the_request_can_no_longer_arrive() {
    let rig = Rig::new(vec![step("a"), cut()]).await;
    rig.toy
        .script("cut", &[Fault::LateAndDead(Duration::from_secs(9))]);
    assert!(matches!(rig.begin().await, Life::Died));
    rig.send(UNDO).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
    assert!(
        rig.refusal()
            .await
            .expect("refused")
            .contains("may have moved")
    );
}

#[tokio::test]
async fn a_withdrawal_that_cannot_be_told_may_be_asked_for_again() {
    let rig = Rig::new(vec![step("a"), cut()]).await;
    rig.toy.script("cut", &[Fault::Permanent]);
    rig.begin().await.halted();
    rig.toy.script("withdraw cut", &[Fault::Transient]);
    rig.send(UNDO).await;
    rig.resume().await.halted();
    assert!(rig.refusal().await.expect("refused").contains("try again"));
    rig.send(UNDO).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Undone);
}

#[tokio::test]
async fn what_cannot_be_undone_is_stuck_and_the_rest_is_undone() {
    for fault in [Fault::Permanent, Fault::Transient, Fault::RequestLost] {
        let rig = at_a_gate().await;
        rig.toy.script("undo b", &[fault; 9]);
        rig.send(UNDO).await;
        assert_eq!(
            rig.resume().await.outcome(),
            Outcome::UndoIncomplete,
            "{fault:?}"
        );
        assert_eq!(
            rig.toy.cell("a").as_deref(),
            Some("old"),
            "the others are back"
        );
        assert_eq!(rig.count("undo-failed b").await, 1);
        assert!(rig.state().await.step("b").expect("a step").error.is_some());
    }
}

#[tokio::test]
async fn an_undo_is_tried_again() {
    let rig = at_a_gate().await;
    rig.toy
        .script("undo b", &[Fault::Transient, Fault::AnswerLost]);
    rig.send(UNDO).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Undone);
    originals_are_back(&rig).await;
}

#[tokio::test]
async fn a_stuck_step_can_still_be_tried_again_or_done_by_hand_after_a_crash() {
    for command in [
        Command::Retry,
        Command::MarkDone {
            step: "gate".into(),
        },
    ] {
        let rig = at_a_gate().await;
        rig.toy.script("undo gate", &[Fault::Permanent]);
        rig.send(UNDO).await;
        // Command taken, abort requested, undo started, undo failed.
        let life = rig.resume_and_die_after(4).await;
        assert_eq!(rig.count("undo-failed gate").await, 1);
        assert!(matches!(life, Life::Died), "{life:?}");
        rig.send(command.clone()).await;
        assert_eq!(rig.resume().await.outcome(), Outcome::Undone, "{command:?}");
    }
}

#[tokio::test]
async fn what_is_in_doubt_is_probed_before_it_is_undone_once_it_can_no_longer_arrive() {
    let rig = Rig::new(vec![step("a"), step("b"), cut()]).await;
    rig.toy
        .script("b", &[Fault::LateAndDead(Duration::from_secs(9))]);
    assert!(matches!(rig.begin().await, Life::Died));
    rig.send(UNDO).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Undone);
    // Undone too early, the request would have landed after the undo.
    assert_eq!(rig.toy.cell("b").as_deref(), Some("-"));
    assert_eq!(rig.count("succeeded b").await, 1);
    let told = rig.told().await;
    let at = |line: &str| told.iter().position(|seen| seen == line).expect("recorded");
    assert!(at("succeeded b") < at("undo-started b"));
}

#[tokio::test]
async fn unwinding_asks_nobody() {
    for fault in [Fault::Unknown, Fault::Permanent] {
        let rig = Rig::new(vec![step("a"), step("b")]).await;
        rig.toy.die(At::After(2));
        assert!(matches!(rig.begin().await, Life::Died));
        rig.toy.script("probe b", &[fault]);
        rig.send(UNDO).await;
        assert_eq!(rig.resume().await.outcome(), Outcome::Undone);
        assert_eq!(rig.count("asked b").await, 0);
        assert_eq!(rig.toy.cell("b").as_deref(), Some("-"));
    }
}

#[tokio::test]
async fn what_was_owed_for_a_move_that_was_undone_is_not_owed() {
    for command in [UNDO, Command::Abort { undo: false }] {
        let owing = step("a")
            .doing(json!({ "sets": ["a"], "owes": "fence" }))
            .with(|step| step.if_unreachable = IfUnreachable::Owe);
        let gate = look("gate").doing(json!({ "asks": About::Gate }));
        let rig = Rig::new(vec![owing, gate, cut()]).await;
        rig.toy.cut_off("a");
        rig.begin().await.question();
        assert_eq!(rig.state().await.owed().len(), 1);
        rig.toy.bring_back("a");
        rig.send(command).await;
        rig.resume().await.outcome();
        assert_eq!(
            rig.journal().find("7").await.expect("the run").owed,
            [],
            "its site still serves: it must not be fenced"
        );
    }
}

#[tokio::test]
async fn what_was_owed_is_not_owed_either_once_a_begun_cutover_was_withdrawn() {
    let owing = step("a")
        .doing(json!({ "sets": ["a"], "owes": "fence" }))
        .with(|step| step.if_unreachable = IfUnreachable::Owe);
    let rig = Rig::new(vec![owing, cut()]).await;
    rig.toy.script("a", &[Fault::Permanent]);
    rig.toy.script("cut", &[Fault::Permanent]);
    rig.begin().await.halted();
    rig.send(UNDO).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Undone);
    assert_eq!(rig.journal().find("7").await.expect("the run").owed, []);
}

#[tokio::test]
async fn while_unwinding_other_commands_are_refused() {
    let rig = at_a_gate().await;
    let nonce = rig.state().await.question().expect("asked").1.nonce.clone();
    rig.send(UNDO).await;
    for command in [
        UNDO,
        Command::Abort { undo: false },
        Command::Approve {
            nonce: nonce.clone(),
            reason: None,
        },
        Command::Decline {
            nonce,
            reason: None,
        },
        Command::Retry,
        Command::MarkDone { step: "cut".into() },
    ] {
        rig.send(command).await;
    }
    assert_eq!(rig.resume().await.outcome(), Outcome::Undone);
    let refused = rig
        .events()
        .await
        .into_iter()
        .filter(|event| {
            matches!(
                event,
                Event::CommandTaken {
                    refused: Some(_),
                    ..
                }
            )
        })
        .count();
    assert_eq!(refused, 6);
}

#[tokio::test]
async fn an_abort_ends_a_step_that_waits() {
    let waits = step("w").doing(json!({ "sets": ["w"], "waits-ms": 40_000 }));
    // On the wall's clock: the other one would not wait.
    let rig =
        Arc::new(Rig::with_clock(crate::rig::plan(vec![step("a"), waits]), Clock::wall(1.0)).await);
    let (to, mut from) = tokio::sync::mpsc::unbounded_channel();
    rig.hook(move |event, _| {
        if matches!(event, Event::AttemptStarted { step, .. } if step == "w") {
            let _ = to.send(());
        }
    });
    let sender = rig.clone();
    let abort = tokio::spawn(async move {
        from.recv().await;
        sender.send(UNDO).await;
    });
    assert_eq!(rig.begin().await.outcome(), Outcome::Undone);
    abort.await.expect("no panic");
    assert_eq!(rig.count("attempt-paused w").await, 1);
    assert_eq!(rig.toy.cell("w"), None);
    assert_eq!(rig.toy.cell("a").as_deref(), Some("-"));
}
