//! Questions and answers, and commands from other processes.

use runbook_engine::event::{About, Command, Event, Outcome};
use runbook_engine::executor::{Answer, Ended};
use serde_json::json;

use crate::rig::{Life, Rig, Words, look, no, step, yes};

fn approval() -> runbook_engine::plan::PlannedStep {
    look("consent").doing(json!({ "asks": About::Approval }))
}

fn gate() -> runbook_engine::plan::PlannedStep {
    step("gate").doing(json!({ "sets": ["gate"], "asks": About::Gate }))
}

fn approve(nonce: &str) -> Command {
    Command::Approve {
        nonce: nonce.into(),
        reason: Some("seen".into()),
    }
}

async fn nonce(rig: &Rig) -> String {
    rig.state()
        .await
        .question()
        .expect("a question")
        .1
        .nonce
        .clone()
}

#[tokio::test]
async fn an_answer_here_and_an_answer_from_elsewhere() {
    let rig = Rig::new(vec![approval(), step("a")]).await;
    rig.people(&[yes()]);
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);

    let rig = Rig::new(vec![approval(), step("a")]).await;
    let question = rig.begin().await.question();
    rig.send(approve(&question.nonce)).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
    let approved = rig
        .events()
        .await
        .into_iter()
        .find_map(|event| match event {
            Event::Approved { by, reason, .. } => Some((by, reason)),
            _ => None,
        });
    assert_eq!(approved, Some(("ben".into(), Some("seen".into()))));
}

#[tokio::test]
async fn a_driver_that_waits_takes_the_answer_of_another_process() {
    let rig = std::sync::Arc::new(Rig::new(vec![approval(), step("a")]).await);
    rig.people(&[Answer::Wait]);
    let driven = tokio::spawn({
        let rig = rig.clone();
        async move { rig.begin().await }
    });
    let inbox = runbook_engine::journal::Journal::open_inbox(&rig.file)
        .await
        .expect("open");
    loop {
        let plan = inbox.plan(crate::rig::RUN).await;
        if plan.is_ok() && rig.state().await.question().is_some() {
            break;
        }
        tokio::task::yield_now().await;
    }
    inbox
        .send(crate::rig::RUN, "ben", &approve(&nonce(&rig).await))
        .await
        .expect("sent");
    assert_eq!(driven.await.expect("no panic").outcome(), Outcome::Done);
}

#[tokio::test]
async fn a_gate_that_is_accepted_is_done_with_what_it_found() {
    let rig = Rig::new(vec![gate(), step("a")]).await;
    let question = rig.begin().await.question();
    assert_eq!(question.output, json!({ "by": "gate" }));
    rig.send(approve(&question.nonce)).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
    assert_eq!(
        rig.state().await.step("gate").expect("a step").output,
        json!({ "by": "gate" })
    );
}

#[tokio::test]
async fn a_gate_may_be_tried_again_instead() {
    let rig = Rig::new(vec![gate()]).await;
    let first = rig.begin().await.question();
    rig.send(Command::Retry).await;
    let second = rig.resume().await.question();
    assert_ne!(first.nonce, second.nonce);
    assert_eq!(rig.count("attempt-started gate").await, 2);
}

#[tokio::test]
async fn a_consent_cannot_be_tried_again() {
    let rig = Rig::new(vec![approval()]).await;
    rig.begin().await.question();
    rig.send(Command::Retry).await;
    rig.resume().await.question();
    assert!(rig.refusal().await.is_some());
}

#[tokio::test]
async fn an_answer_to_an_earlier_question_is_refused() {
    let rig = Rig::new(vec![gate()]).await;
    let first = rig.begin().await.question();
    rig.send(Command::Retry).await;
    rig.send(approve(&first.nonce)).await;
    assert_eq!(rig.resume().await.question().about, About::Gate);
    rig.send(approve(&first.nonce)).await;
    rig.resume().await.question();
    assert!(
        rig.refusal()
            .await
            .expect("refused")
            .contains("earlier question")
    );
}

#[tokio::test]
async fn an_answer_before_the_question_counts_for_nothing() {
    let rig = Rig::new(vec![step("a"), approval(), step("b")]).await;
    // The nonce that the question will have, guessed right: the source of chance here counts from one.
    let guess = format!("{:08x}", 1);
    assert!(matches!(rig.begin_and_die_after(1).await, Life::Died));
    rig.send(approve(&guess)).await;
    assert_eq!(rig.resume().await.question().nonce, guess);
    assert_eq!(
        rig.refusal().await.as_deref(),
        Some("the run asks nothing now")
    );
    assert_eq!(rig.toy.cell("b"), None);
}

#[tokio::test]
async fn a_no_ends_a_run_that_wrote_nothing_and_halts_one_that_did() {
    let rig = Rig::new(vec![approval(), step("a")]).await;
    rig.people(&[no()]);
    assert_eq!(rig.begin().await.outcome(), Outcome::Refused);
    assert_eq!(rig.toy.writes(), 0);

    let rig = Rig::new(vec![step("a"), gate(), step("b")]).await;
    let question = rig.begin().await.question();
    rig.send(Command::Decline {
        nonce: question.nonce,
        reason: Some("too much is missing".into()),
    })
    .await;
    let (step, error) = rig.resume().await.halted();
    assert_eq!(
        (step.as_str(), error.as_str()),
        ("gate", "declined by ben: too much is missing")
    );
    assert_eq!(rig.toy.cell("b"), None);
}

#[tokio::test]
async fn a_command_is_taken_once_however_often_a_driver_dies() {
    let rig = Rig::new(vec![gate(), step("a")]).await;
    let question = rig.begin().await.question();
    rig.send(approve("wrong")).await;
    rig.send(approve(&question.nonce)).await;
    rig.send(approve(&question.nonce)).await;
    for _ in 0..8 {
        if !matches!(rig.resume_and_die_after(1).await, Life::Died) {
            break;
        }
    }
    if rig.state().await.finished_at.is_none() {
        assert_eq!(rig.survive().await, Ended::Finished(Outcome::Done));
    }
    let taken: Vec<(i64, bool)> = rig
        .events()
        .await
        .into_iter()
        .filter_map(|event| match event {
            Event::CommandTaken { id, refused, .. } => Some((id, refused.is_some())),
            _ => None,
        })
        .collect();
    assert_eq!(taken, [(1, true), (2, false), (3, true)]);
    assert_eq!(rig.count("approved gate").await, 1);
}

#[tokio::test]
async fn what_comes_after_an_abort_is_refused() {
    let rig = Rig::new(vec![gate(), step("a")]).await;
    let question = rig.begin().await.question();
    rig.send(Command::Abort { undo: false }).await;
    rig.send(approve(&question.nonce)).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Aborted);
    assert_eq!(
        rig.refusal().await.as_deref(),
        Some("the run is over (aborted)")
    );
}

#[tokio::test]
async fn an_abort_is_seen_between_steps_that_share_commits() {
    let rig = std::sync::Arc::new(Rig::new(vec![look("a"), look("b"), look("c"), look("d")]).await);
    let sender = std::sync::Arc::new(
        runbook_engine::journal::Journal::open_inbox(&rig.file)
            .await
            .expect("open"),
    );
    let (to, mut from) = tokio::sync::mpsc::unbounded_channel();
    rig.hook(move |event, _| {
        if matches!(event, Event::Succeeded { step, .. } if step == "a") {
            let _ = to.send(());
        }
    });
    // Written before the second step has its outcome: the third must not be begun.
    let rig2 = rig.clone();
    let abort = tokio::spawn(async move {
        from.recv().await;
        sender
            .send(crate::rig::RUN, "ben", &Command::Abort { undo: false })
            .await
            .expect("sent");
    });
    rig2.toy.script("b", &[crate::world::Fault::Transient]);
    let life = rig.begin().await;
    abort.await.expect("no panic");
    assert_eq!(life.outcome(), Outcome::Aborted);
}

#[tokio::test]
async fn a_step_done_by_hand_must_be_the_one_the_run_stands_at() {
    let rig = Rig::new(vec![step("a"), gate(), step("b")]).await;
    rig.begin().await.question();
    for (step, why) in [
        ("a", "done already"),
        ("b", "not the step"),
        ("zz", "no step `zz`"),
    ] {
        rig.send(Command::MarkDone { step: step.into() }).await;
        rig.resume().await.question();
        assert!(
            rig.refusal().await.expect("refused").contains(why),
            "{step}"
        );
    }
    rig.send(Command::MarkDone {
        step: "gate".into(),
    })
    .await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
}
