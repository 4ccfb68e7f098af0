//! Recorded series of readings, judged by the settle rule.

use jiff::Timestamp;
use runbook_harbor::settle::{Progress, SETTLE, Settle};
use runbook_harbor::{Execution, ExecutionStatus};
use serde_json::Value;

/// The recorded series whose note begins so: seconds, status, counters.
fn series(file: &str, note: &str) -> Vec<(f64, Execution)> {
    let line = file
        .lines()
        .find(|line| line.contains(note))
        .expect("a series");
    let document: Value = serde_json::from_str(line).expect("JSON");
    let rows = document["timeline"].as_array().expect("rows").clone();
    rows.iter()
        .map(|row| {
            let number = |at: usize| row[at].as_i64().expect("a number");
            let execution = Execution {
                id: 69,
                policy_id: 1,
                status: ExecutionStatus::from(row[1].as_str().expect("a status").to_owned()),
                status_text: row[2].as_str().expect("a text").to_owned(),
                trigger: "manual".into(),
                start_time: None,
                end_time: None,
                in_progress: number(3),
                succeed: number(4),
                failed: number(5),
                stopped: number(6),
                total: number(7),
            };
            (row[0].as_f64().expect("seconds"), execution)
        })
        .collect()
}

fn judge(series: &[(f64, Execution)]) -> Vec<Progress> {
    let mut settle = Settle::new(SETTLE);
    let start = Timestamp::UNIX_EPOCH.as_millisecond();
    series
        .iter()
        .map(|(seconds, execution)| {
            let at =
                Timestamp::from_millisecond(start + (seconds * 1000.0) as i64).expect("a time");
            settle.observe(at, execution)
        })
        .collect()
}

#[test]
fn a_failed_execution_that_is_tried_again_is_not_over() {
    let file = include_str!("../../testdata/transcripts/failed-then-retried.jsonl");
    let left_alone = judge(&series(file, "execution 69 (left alone), next 225 s"));
    assert_eq!(left_alone.len(), 4);
    assert!(
        left_alone.iter().all(|progress| !progress.is_final()),
        "{left_alone:?}"
    );
    assert_eq!(left_alone[2], Progress::Running);
}

#[test]
fn a_failed_execution_left_alone_ends_after_the_settle_span() {
    let file = include_str!("../../testdata/transcripts/failed-then-retried.jsonl");
    let mut readings = series(file, "execution 70 (stopped), next 225 s");
    let (_, last) = readings.last().expect("a reading").clone();
    readings.extend([(149.0, last.clone()), (150.0, last)]);
    let progress = judge(&readings);
    assert!(
        progress[..3].iter().all(|progress| !progress.is_final()),
        "{progress:?}"
    );
    assert_eq!(
        progress[3],
        Progress::Failed {
            reason: "1 of 1 tasks failed".into()
        }
    );
}

#[test]
fn a_stop_is_believed_when_read_twice() {
    let file = include_str!("../../testdata/transcripts/executions-running-stop.jsonl");
    let mut readings = series(file, "(j) timeline after stop");
    let (_, last) = readings.last().expect("a reading").clone();
    readings.push((0.2, last));
    assert_eq!(judge(&readings), [Progress::Running, Progress::Stopped]);
}
