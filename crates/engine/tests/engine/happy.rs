//! Nothing goes wrong.

use runbook_engine::event::{Event, Outcome};
use runbook_engine::journal::JournalError;
use serde_json::json;

use crate::rig::{RUN, Rig, Words, look, step};
use crate::world::sets;

#[tokio::test]
async fn steps_without_guards_cost_one_commit_each_and_one_more() {
    let rig = Rig::new(vec![look("a"), look("b"), look("c"), look("d")]).await;
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    // The run's first event, one more than there are steps, the run's last event.
    assert_eq!(rig.journal().commits(), 1 + (4 + 1) + 1);
    assert_eq!(
        rig.told().await,
        [
            "run-started",
            "attempt-started a",
            "succeeded a",
            "attempt-started b",
            "succeeded b",
            "attempt-started c",
            "succeeded c",
            "attempt-started d",
            "succeeded d",
            "run-finished"
        ]
    );
}

#[tokio::test]
async fn what_steps_found_and_changed_is_the_sum_of_the_events() {
    let rig = Rig::new(vec![
        step("a"),
        step("b").doing(sets(&["x", "y"])).guarded_by(&["a"]),
    ])
    .await;
    rig.toy.put("x", "old");
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    let state = rig.state().await;
    let b = state.step("b").expect("a step");
    assert_eq!(b.output, json!({ "by": "b" }));
    let changes: Vec<_> = b
        .changes
        .iter()
        .map(|change| format!("{} {} {}", change.object, change.before, change.after))
        .collect();
    assert_eq!(changes, ["x old new", "y - new"]);
    assert_eq!(b.checkpoints["y"], json!(true));
    assert_eq!(
        state.originals[&("toy".to_owned(), "x".to_owned())],
        json!("old")
    );
    assert_eq!(
        state.originals[&("toy".to_owned(), "y".to_owned())],
        json!(null)
    );
    assert!(rig.toy.cells().values().all(|value| value == "new"));
    let row = rig.journal().find(RUN).await.expect("the run");
    assert_eq!((row.outcome, row.moved_to), (Some(Outcome::Done), None));
}

#[tokio::test]
async fn a_run_with_a_cutover_says_who_serves_since() {
    let rig = Rig::new(vec![
        step("a"),
        step("cut").with(|step| step.cutover = true),
    ])
    .await;
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    assert_eq!(
        rig.journal()
            .find("7")
            .await
            .expect("by its beginning")
            .moved_to
            .as_deref(),
        Some("dr")
    );
}

#[tokio::test]
async fn steps_of_another_mode_are_left_out() {
    let unplanned = step("b").with(|step| step.modes = vec![runbook_engine::plan::Mode::Unplanned]);
    let rig = Rig::new(vec![step("a"), unplanned]).await;
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    assert_eq!(rig.toy.cell("b"), None);
}

#[tokio::test]
async fn a_flipped_byte_in_an_event_is_found() {
    let rig = Rig::new(vec![step("a"), step("b")]).await;
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    let events = rig.recorded().await;
    assert!(
        events
            .windows(2)
            .all(|pair| pair[0].seq + 1 == pair[1].seq && pair[0].hash != pair[1].hash)
    );
    // The payload stands in the write-ahead log, and nowhere else as this text.
    let wal = rig.file.with_extension("db-wal");
    for file in [&rig.file, &wal] {
        let mut bytes = std::fs::read(file).expect("a file");
        let text: &[u8] = br#"{"by":"b"}"#;
        let places: Vec<usize> = (0..bytes.len() - text.len())
            .filter(|at| bytes[*at..].starts_with(text))
            .collect();
        for at in places {
            bytes[at + 7] = b'x';
        }
        std::fs::write(file, bytes).expect("written");
    }
    let found = match runbook_engine::journal::Journal::open_read(&rig.file).await {
        Ok(journal) => journal.events(RUN).await.map(|events| events.len()),
        Err(error) => Err(error),
    };
    // SQLite drops a frame of the log whose checksum is wrong, and all after it: then events are missing, not wrong.
    match found {
        Err(JournalError::Corrupt { detail, .. }) => {
            assert!(detail.contains("does not fit"), "{detail}")
        }
        Ok(count) => assert!(count < events.len()),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_event_that_somebody_rewrote_is_found() {
    let rig = Rig::new(vec![step("a"), step("b")]).await;
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    rig.run_sql("UPDATE journal SET payload = replace(payload, 'run-', 'ran-')")
        .await
        .expect_err("append-only");
    rig.run_sql("DELETE FROM journal WHERE seq = 3")
        .await
        .expect_err("append-only");
    rig.run_sql("DROP TRIGGER journal_is_never_changed")
        .await
        .expect("by force");
    rig.run_sql(r#"UPDATE journal SET payload = replace(payload, '"by":"a"', '"by":"x"') WHERE event = 'succeeded'"#)
        .await
        .expect("by force");
    let error = rig.journal().events(RUN).await.expect_err("found");
    assert!(
        matches!(&error, JournalError::Corrupt { detail, .. } if detail.contains("does not fit")),
        "{error}"
    );
}

#[tokio::test]
async fn a_plan_that_somebody_rewrote_is_found() {
    let rig = Rig::new(vec![step("a")]).await;
    rig.begin().await.outcome();
    rig.run_sql("UPDATE run SET plan = replace(plan, '\"to\":\"dr\"', '\"to\":\"xx\"')")
        .await
        .expect("by force");
    let error = rig.journal().plan(RUN).await.expect_err("found");
    assert!(matches!(error, JournalError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn the_token_is_the_same_in_every_attempt_and_another_in_every_step() {
    use crate::world::Fault;
    let rig = Rig::new(vec![step("a"), step("b")]).await;
    rig.toy.script("a", &[Fault::Transient, Fault::Transient]);
    rig.begin().await.outcome();
    let tokens: Vec<(String, u32, String)> = rig
        .events()
        .await
        .into_iter()
        .filter_map(|event| match event {
            Event::AttemptStarted {
                step,
                attempt,
                token,
            } => Some((step, attempt, token)),
            _ => None,
        })
        .collect();
    assert_eq!(
        tokens
            .iter()
            .map(|(step, attempt, _)| (step.as_str(), *attempt))
            .collect::<Vec<_>>(),
        [("a", 1), ("a", 2), ("a", 3), ("b", 1)]
    );
    assert!(tokens[0].2 == tokens[1].2 && tokens[1].2 == tokens[2].2 && tokens[2].2 != tokens[3].2);
}
