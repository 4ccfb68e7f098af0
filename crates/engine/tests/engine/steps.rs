//! Attempts: retries with their pauses, timeouts, and what follows when no attempt is left.

use std::time::Duration;

use runbook_engine::event::{About, Command, Event, Outcome, Sort};
use runbook_engine::executor::Ended;
use runbook_engine::plan::{IfUnreachable, InDoubt, OnFailure, Retry};
use serde_json::json;

use crate::rig::{Life, Rig, Words, look, start, step};
use crate::world::{At, Fault};

#[tokio::test]
async fn pauses_between_attempts_double() {
    let many = step("a").with(|step| {
        step.retry = Retry {
            attempts: 7,
            backoff: Duration::from_secs(2),
        }
    });
    let rig = Rig::new(vec![many]).await;
    rig.toy.script("a", &[Fault::Transient; 6]);
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    let starts: Vec<i64> = rig
        .recorded()
        .await
        .iter()
        .filter(|recorded| matches!(recorded.event, Event::AttemptStarted { .. }))
        .map(|recorded| recorded.at.as_second() - start().as_second())
        .collect();
    // 2, 4, 8, 16, then at most ten times the first.
    assert_eq!(starts, [0, 2, 6, 14, 30, 50, 70]);
}

#[tokio::test]
async fn a_permanent_failure_is_not_tried_again() {
    let rig = Rig::new(vec![step("a"), step("b"), step("c")]).await;
    rig.toy.script("b", &[Fault::Permanent]);
    let (at, error) = rig.begin().await.halted();
    assert_eq!((at.as_str(), error.as_str()), ("b", "403"));
    assert_eq!(rig.count("attempt-started b").await, 1);
    assert_eq!(rig.toy.cell("c"), None);
    rig.send(Command::Retry).await;
    assert_eq!(rig.resume().await.outcome(), Outcome::Done);
}

#[tokio::test]
async fn a_run_that_stands_still_stands_still_until_somebody_says_something() {
    let rig = Rig::new(vec![step("a"), step("b")]).await;
    rig.toy.script("b", &[Fault::Permanent]);
    rig.begin().await.halted();
    let told = rig.told().await.len();
    rig.resume().await.halted();
    assert_eq!(rig.told().await.len(), told, "nothing happened");
}

#[tokio::test]
async fn a_run_that_fails_before_it_wrote_is_refused() {
    let check = look("check").kind("check");
    let bad = step("b").doing(json!({ "sets": ["b"], "finding": "no right to do it" }));
    let rig = Rig::new(vec![
        check,
        look("l"),
        bad.clone(),
        bad.with(|step| step.id = "c".into()),
    ])
    .await;
    assert_eq!(rig.begin().await.outcome(), Outcome::Refused);
    assert_eq!(rig.toy.writes(), 0);
    let state = rig.state().await;
    let error = state
        .step("check")
        .expect("a step")
        .error
        .clone()
        .expect("why");
    assert_eq!(error, "b: no right to do it; c: no right to do it");
    assert!(
        state
            .step("check")
            .expect("a step")
            .checkpoints
            .contains_key("findings")
    );
    // The next run may begin.
    assert!(
        rig.journal()
            .runs()
            .await
            .expect("runs")
            .iter()
            .all(|run| run.finished_at.is_some())
    );
}

#[tokio::test]
async fn a_check_that_fails_forbids_the_run_unless_its_site_may_be_gone() {
    for (rule, outcome) in [
        (IfUnreachable::Fail, Outcome::Refused),
        (IfUnreachable::Owe, Outcome::Done),
    ] {
        let rig = Rig::new(vec![
            look("check").kind("check"),
            step("b").with(|step| step.if_unreachable = rule),
        ])
        .await;
        rig.toy.script("check b", &[Fault::Unreachable]);
        assert_eq!(rig.begin().await.outcome(), outcome);
    }
}

#[tokio::test]
async fn a_check_that_hangs_ends() {
    let check = look("check")
        .kind("check")
        .with(|step| step.timeout = Duration::from_millis(50));
    let rig = Rig::new(vec![check, step("b")]).await;
    rig.toy.script("check b", &[Fault::Hang]);
    assert_eq!(rig.begin().await.outcome(), Outcome::Refused);
}

#[tokio::test]
async fn on_failure_decides_what_follows_the_last_attempt() {
    for rule in [OnFailure::Stop, OnFailure::Ask, OnFailure::Continue] {
        let rig = Rig::new(vec![
            step("a"),
            step("b").with(|step| step.on_failure = rule),
            step("c"),
        ])
        .await;
        rig.toy.script("b", &[Fault::Transient; 3]);
        let life = rig.begin().await;
        assert_eq!(rig.count("attempt-started b").await, 3);
        match rule {
            OnFailure::Stop => assert_eq!(life.halted().1, "503"),
            OnFailure::Ask => {
                assert_eq!(life.question().about, About::Failure);
                rig.send(Command::Retry).await;
                assert_eq!(rig.resume().await.outcome(), Outcome::Done);
            }
            OnFailure::Continue => {
                assert_eq!(life.outcome(), Outcome::Done);
                assert_eq!(rig.toy.cell("c").as_deref(), Some("new"));
                assert_eq!(rig.count("passed-over b").await, 1);
            }
        }
    }
}

#[tokio::test]
async fn an_attempt_ends_when_its_time_is_up_and_is_then_in_doubt() {
    let rig = Rig::new(vec![
        step("a").with(|step| step.timeout = Duration::from_millis(50)),
    ])
    .await;
    rig.toy.script("a", &[Fault::Hang]);
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    let failed = rig
        .events()
        .await
        .into_iter()
        .find_map(|event| match event {
            Event::AttemptFailed {
                sort,
                error,
                next_at,
                ..
            } => Some((sort, error, next_at)),
            _ => None,
        });
    let (sort, error, next_at) = failed.expect("it failed");
    assert_eq!(
        (sort, error.as_str()),
        (Sort::Unknown, "no end after 50 ms")
    );
    assert_eq!(
        next_at.as_second() - start().as_second(),
        10,
        "its request may be under way so long"
    );
    assert_eq!(rig.count("found-not-done a").await, 1);
}

#[tokio::test]
async fn a_probe_that_hangs_ends() {
    let a = step("a").with(|step| step.timeout = Duration::from_millis(50));
    let rig = Rig::new(vec![a, step("b").guarded_by(&["a"])]).await;
    rig.toy.script("probe a", &[Fault::Hang]);
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    assert_eq!(rig.count("attempt-failed b").await, 1);
}

#[tokio::test]
async fn what_cannot_be_done_at_a_site_that_is_gone_is_owed() {
    for fault in [
        Fault::Unreachable,
        Fault::Transient,
        Fault::Permanent,
        Fault::RequestLost,
    ] {
        let owing = step("a")
            .doing(json!({ "sets": ["a"], "owes": "fence" }))
            .with(|step| step.if_unreachable = IfUnreachable::Owe);
        let rig = Rig::new(vec![owing, step("b")]).await;
        rig.toy.script("a", &[fault; 9]);
        assert_eq!(rig.begin().await.outcome(), Outcome::Done, "{fault:?}");
        assert_eq!(rig.state().await.owed().len(), 1, "{fault:?}");
        assert_eq!(rig.toy.cell("b").as_deref(), Some("new"));
    }
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_is_owed_where_the_runbook_says_so() {
    let owing = step("a")
        .doing(json!({ "sets": ["a"], "owes": "fence" }))
        .with(|step| step.if_unreachable = IfUnreachable::Owe);
    let rig = Rig::new(vec![owing, step("b")]).await;
    rig.toy.script("a", &[Fault::RequestLost]);
    rig.toy.script("probe a", &[Fault::Unreachable; 9]);
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    assert_eq!(rig.count("owed a").await, 1);
    assert_eq!(rig.count("asked a").await, 0);
}

#[tokio::test]
async fn what_may_be_repeated_is_repeated_with_pauses_and_not_for_ever() {
    let tell = step("tell").with(|step| step.in_doubt = InDoubt::Repeat);
    let rig = Rig::new(vec![step("a"), tell]).await;
    rig.toy.script("tell", &[Fault::RequestLost; 99]);
    let (at, _) = rig.begin().await.halted();
    assert_eq!(at, "tell");
    assert_eq!(rig.count("attempt-started tell").await, 3);
    let span = rig.clock.now().as_second() - start().as_second();
    assert!(span >= 2 + 4, "{span} s of pauses");
}

#[tokio::test]
async fn ctrl_c_ends_a_wait_at_a_safe_point_and_counts_no_attempt() {
    let rig = Rig::new(vec![step("a"), step("b")]).await;
    let rig = std::sync::Arc::new(rig);
    let stopper = std::sync::Arc::downgrade(&rig);
    rig.hook(move |event, run| {
        if matches!(event, Event::AttemptFailed { .. }) && run.steps[1].attempts == 1 {
            stopper.upgrade().expect("alive").stop();
        }
    });
    rig.toy.script("b", &[Fault::Transient]);
    let life = rig.begin().await;
    assert!(
        matches!(life, Life::Ended(Ended::Paused { ref by }) if by == "ctrl-c"),
        "{life:?}"
    );
    assert_eq!(rig.told().await.last().map(String::as_str), Some("paused"));
    assert_eq!(rig.survive().await, Ended::Finished(Outcome::Done));
    assert_eq!(rig.count("taken-over").await, 0, "the lease was given back");
}

#[tokio::test]
async fn a_long_step_goes_on_from_its_checkpoints() {
    let rig = Rig::new(vec![
        step("a").doing(crate::world::sets(&["a1", "a2", "a3"])),
    ])
    .await;
    rig.toy.die(At::After(2));
    assert!(matches!(rig.begin().await, Life::Died));
    assert_eq!(rig.survive().await, Ended::Finished(Outcome::Done));
    assert_eq!(rig.toy.effects().len(), 3);
    assert_eq!(
        rig.count("checkpoint a").await,
        2,
        "the one that the crash took is not made up"
    );
}

#[tokio::test]
async fn an_original_is_saved_once_and_never_overwritten() {
    let rig = Rig::new(vec![
        step("a"),
        step("again").doing(crate::world::sets(&["a", "x"])),
    ])
    .await;
    rig.toy.put("a", "first");
    rig.toy.script("a", &[Fault::Transient]);
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    let originals: Vec<_> = rig
        .told()
        .await
        .into_iter()
        .filter(|line| line.starts_with("original-saved"))
        .collect();
    assert_eq!(originals, ["original-saved a", "original-saved again"]);
    assert_eq!(
        rig.state().await.originals[&("toy".to_owned(), "a".to_owned())],
        json!("first")
    );
}
