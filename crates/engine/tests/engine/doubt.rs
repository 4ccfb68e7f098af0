//! Rule 3: what is in doubt is probed once it can no longer arrive, and nothing is guessed.

use runbook_engine::event::{About, Command, Outcome};
use runbook_engine::plan::InDoubt;

use crate::rig::{Life, Rig, Words, step};
use crate::world::{At, Fault};

#[tokio::test]
async fn the_probe_decides() {
    for (at, sent) in [(At::Before(2), 1), (At::After(2), 0)] {
        let rig = Rig::new(vec![step("a"), step("b")]).await;
        rig.toy.die(at);
        assert!(matches!(rig.begin().await, Life::Died));
        assert_eq!(rig.resume().await.outcome(), Outcome::Done);
        assert_eq!(rig.count("found-not-done b").await, sent);
        assert_eq!(rig.count("attempt-started b").await, 1 + sent);
        assert_eq!(rig.toy.effects().len(), 2);
    }
}

#[tokio::test]
async fn what_cannot_be_probed_is_asked() {
    let exec = step("b").with(|step| step.in_doubt = InDoubt::Ask);
    let rig = Rig::new(vec![step("a"), exec]).await;
    rig.toy.die(At::Before(2));
    assert!(matches!(rig.begin().await, Life::Died));
    rig.toy.probed();
    assert_eq!(rig.resume().await.question().about, About::Doubt);
    assert_eq!(rig.toy.probed(), Vec::<String>::new());
    // Yes is no answer to it; another try is, and so is the word of a person who did it.
    let nonce = rig.state().await.question().expect("asked").1.nonce.clone();
    rig.send(Command::Approve {
        nonce,
        reason: None,
    })
    .await;
    assert_eq!(rig.resume().await.question().about, About::Doubt);
    assert!(
        rig.refusal()
            .await
            .expect("refused")
            .contains("cannot be approved")
    );
    rig.send(Command::Retry).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
    assert_eq!(rig.toy.cell("b").as_deref(), Some("new"));
}

#[tokio::test]
async fn unknown_stops_and_asks() {
    for fault in [Fault::Unknown, Fault::Permanent] {
        let rig = Rig::new(vec![step("a")]).await;
        rig.toy.die(At::After(1));
        assert!(matches!(rig.begin().await, Life::Died));
        rig.toy.script("probe a", &[fault]);
        assert_eq!(rig.resume().await.question().about, About::Doubt);
        rig.send(Command::MarkDone { step: "a".into() }).await;
        assert_eq!(rig.resume().await.outcome(), Outcome::Done);
        assert!(rig.state().await.step("a").expect("a step").by_hand);
    }
}

#[tokio::test]
async fn tried_again_it_is_probed_again_before_its_guards_and_before_anything_is_sent() {
    let rig = Rig::new(vec![step("a"), step("b").guarded_by(&["a"])]).await;
    rig.toy.die(At::After(2));
    assert!(matches!(rig.begin().await, Life::Died));
    rig.toy.script("probe b", &[Fault::Unknown]);
    assert_eq!(rig.resume().await.question().about, About::Doubt);
    rig.toy.put("a", "broken");
    rig.send(Command::Retry).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
    assert_eq!(rig.count("attempt-started b").await, 1);
    assert_eq!(rig.count("went-back b").await, 0);

    // And found not done it is attempted.
    let rig = Rig::new(vec![step("a"), step("b")]).await;
    rig.toy.die(At::Before(2));
    assert!(matches!(rig.begin().await, Life::Died));
    rig.toy.script("probe b", &[Fault::Unknown]);
    assert_eq!(rig.resume().await.question().about, About::Doubt);
    rig.send(Command::Retry).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
    assert_eq!(rig.count("found-not-done b").await, 1);
}

#[tokio::test]
async fn a_probe_that_fails_is_tried_as_often_as_the_step() {
    let rig = Rig::new(vec![step("a")]).await;
    rig.toy.die(At::After(1));
    assert!(matches!(rig.begin().await, Life::Died));
    rig.toy
        .script("probe a", &[Fault::Transient, Fault::RequestLost]);
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);

    let rig = Rig::new(vec![step("a")]).await;
    rig.toy.die(At::After(1));
    assert!(matches!(rig.begin().await, Life::Died));
    rig.toy.script("probe a", &[Fault::Transient; 3]);
    assert_eq!(rig.resume().await.question().text, "503");
}

#[tokio::test]
async fn an_outcome_unknown_at_the_last_attempt_is_probed_and_then_given_up() {
    let rig = Rig::new(vec![step("a"), step("b")]).await;
    rig.toy.script("b", &[Fault::RequestLost; 9]);
    let (at, error) = rig.begin().await.halted();
    assert_eq!((at.as_str(), error.as_str()), ("b", "no answer"));
    assert_eq!(rig.count("attempt-started b").await, 3);
    assert_eq!(
        rig.count("found-not-done b").await,
        3,
        "the last attempt too"
    );

    let rig = Rig::new(vec![step("a"), step("b")]).await;
    rig.toy.script(
        "b",
        &[Fault::RequestLost, Fault::RequestLost, Fault::AnswerLost],
    );
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
}

#[tokio::test]
async fn an_attempt_that_was_lost_does_not_count() {
    let rig = Rig::new(vec![step("a")]).await;
    for number in 1..=5 {
        rig.toy.die(At::Before(number));
        let life = if number == 1 {
            rig.begin().await
        } else {
            rig.resume().await
        };
        assert!(matches!(life, Life::Died));
    }
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
}
