//! When an execution is over.
//!
//! Harbor's own status is not enough: it lags up to 30 s behind its tasks, `Failed` becomes `Succeed` when a
//! retry works (three runs a task, spread over some three minutes), `Stopped` flashes up right before some
//! other end, and `Succeed` may have copied nothing. This file turns successive readings into one verdict.
//! It has no clock: the caller says when each reading was made.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::execution::{Execution, ExecutionStatus};

/// How long a failed execution must stay unchanged until it is believed: longer than the longest pause
/// between two runs of a task (118 s).
pub const SETTLE: Duration = Duration::from_secs(150);

/// How far an execution is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not over.
    Running,
    /// Tasks failed and Harbor may run them again. Final if nothing changes until then.
    Settling {
        /// When it is final, if it is not read otherwise before.
        until: Timestamp,
    },
    /// All tasks succeeded. Which tags they copied is another question: a tag that `override: false`
    /// protects counts as a success.
    Succeeded,
    /// Over without a task: nothing matched the policy. A typing error in a filter looks like this.
    SucceededNothing,
    /// Failed for good.
    Failed {
        /// Harbor's text, or how many tasks failed.
        reason: String,
    },
    /// Stopped, by somebody.
    Stopped,
}

/// One reading of an execution.
#[derive(Clone, Debug)]
pub struct Observation {
    /// When the answer came.
    pub at: Timestamp,
    /// What it said.
    pub execution: Execution,
}

/// Watches one execution, reading by reading.
#[derive(Clone, Debug)]
pub struct Settle {
    span: Duration,
    /// The last reading's counters and end, and since when they are so.
    unchanged: Option<(Counters, Timestamp)>,
    /// Whether the last reading said `Stopped`.
    stopped_before: bool,
}

/// What moves when Harbor runs a task again. The end is part of it: a retry that starts and fails between two
/// readings leaves the counts as they were but not the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counters {
    counts: [i64; 5],
    end: Option<Timestamp>,
}

impl Progress {
    /// Whether no further reading will change it.
    pub fn is_final(&self) -> bool {
        !matches!(self, Progress::Running | Progress::Settling { .. })
    }
}

impl Settle {
    /// Watches with this settle span; [`SETTLE`] where nothing else is known.
    pub fn new(span: Duration) -> Settle {
        Settle {
            span,
            unchanged: None,
            stopped_before: false,
        }
    }

    /// Takes a reading made at `at` and returns how far the execution is.
    pub fn observe(&mut self, at: Timestamp, execution: &Execution) -> Progress {
        let since = self.unchanged_since(at, execution);
        let stopped_before = std::mem::replace(&mut self.stopped_before, false);
        let Execution {
            total,
            in_progress,
            succeed,
            failed,
            stopped,
            ..
        } = *execution;
        if total > 0 && in_progress == 0 && succeed == total {
            return Progress::Succeeded;
        }
        if execution.status == ExecutionStatus::Stopped
            || total > 0 && stopped > 0 && failed == 0 && in_progress == 0
        {
            // It flashes up for some milliseconds before an error is recorded: read it again.
            self.stopped_before = true;
            return if stopped_before {
                Progress::Stopped
            } else {
                Progress::Running
            };
        }
        if total > 0 {
            // The counts do not lag; the status may not know yet that the last task failed.
            if in_progress > 0 || failed == 0 || succeed + failed + stopped < total {
                return Progress::Running;
            }
            let until = after(since, self.span);
            if at < until {
                return Progress::Settling { until };
            }
            return Progress::Failed {
                reason: format!("{failed} of {total} tasks failed"),
            };
        }
        match &execution.status {
            ExecutionStatus::Succeed => Progress::SucceededNothing,
            // Without tasks there is nothing to run again.
            ExecutionStatus::Failed => {
                let text = execution.status_text.trim();
                let reason = if text.is_empty() {
                    "no task was made and no reason given"
                } else {
                    text
                };
                Progress::Failed {
                    reason: reason.to_owned(),
                }
            }
            // The first moments have no tasks either.
            ExecutionStatus::InProgress | ExecutionStatus::Stopped | ExecutionStatus::Other(_) => {
                Progress::Running
            }
        }
    }

    fn unchanged_since(&mut self, at: Timestamp, execution: &Execution) -> Timestamp {
        let Execution {
            total,
            in_progress,
            succeed,
            failed,
            stopped,
            end_time,
            ..
        } = *execution;
        let now = Counters {
            counts: [total, in_progress, succeed, failed, stopped],
            end: end_time,
        };
        let since = match self.unchanged {
            // An end that appears comes from the lagging status, not from a task.
            Some((before, since))
                if before.counts == now.counts
                    && (before.end == now.end || before.end.is_none()) =>
            {
                since
            }
            _ => at,
        };
        self.unchanged = Some((now, since));
        since
    }
}

/// Judges a series of readings, oldest first. No reading is [`Progress::Running`].
pub fn progress(observations: &[Observation], span: Duration) -> Progress {
    let mut settle = Settle::new(span);
    let mut last = Progress::Running;
    for Observation { at, execution } in observations {
        last = settle.observe(*at, execution);
    }
    last
}

fn after(since: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span)
        .ok()
        .and_then(|span| since.checked_add(span).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ExecutionStatus::{Failed, InProgress, Stopped, Succeed};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
    }

    /// [in progress, succeed, failed, stopped] and when the last task ended.
    type Reading = (i64, ExecutionStatus, [i64; 4], Option<i64>);

    fn judge(readings: &[Reading]) -> Vec<Progress> {
        let mut settle = Settle::new(SETTLE);
        readings
            .iter()
            .map(
                |(seconds, status, [in_progress, succeed, failed, stopped], end)| {
                    settle.observe(
                        at(*seconds),
                        &Execution {
                            id: 1,
                            policy_id: 1,
                            status: status.clone(),
                            status_text: String::new(),
                            trigger: "manual".into(),
                            start_time: Some(at(0)),
                            end_time: end.map(at),
                            total: in_progress + succeed + failed + stopped,
                            in_progress: *in_progress,
                            succeed: *succeed,
                            failed: *failed,
                            stopped: *stopped,
                        },
                    )
                },
            )
            .collect()
    }

    fn settling(until: i64) -> Progress {
        Progress::Settling { until: at(until) }
    }

    fn failed(reason: &str) -> Progress {
        Progress::Failed {
            reason: reason.into(),
        }
    }

    #[test]
    fn counters_are_believed_before_the_status() {
        // The series of a small pull, as recorded.
        let seen = judge(&[
            (0, InProgress, [0, 0, 0, 0], None),
            (1, InProgress, [1, 0, 0, 0], None),
            (3, InProgress, [0, 1, 0, 0], None),
            (15, Succeed, [0, 1, 0, 0], Some(3)),
        ]);
        assert_eq!(
            seen,
            [
                Progress::Running,
                Progress::Running,
                Progress::Succeeded,
                Progress::Succeeded
            ]
        );
    }

    #[test]
    fn a_failure_with_tasks_is_final_only_after_the_settle_span() {
        let seen = judge(&[
            (10, InProgress, [0, 1, 1, 0], None),
            (40, Failed, [0, 1, 1, 0], Some(10)),
            (159, Failed, [0, 1, 1, 0], Some(10)),
            (160, Failed, [0, 1, 1, 0], Some(10)),
        ]);
        assert_eq!(
            seen,
            [
                settling(160),
                settling(160),
                settling(160),
                failed("1 of 2 tasks failed")
            ]
        );
    }

    #[test]
    fn a_retry_that_works_turns_a_failure_into_a_success() {
        let seen = judge(&[
            (14, Failed, [0, 0, 1, 0], Some(2)),
            (36, Failed, [1, 0, 0, 0], Some(2)),
            (37, Failed, [0, 1, 0, 0], Some(37)),
        ]);
        assert_eq!(
            seen,
            [settling(164), Progress::Running, Progress::Succeeded]
        );
    }

    #[test]
    fn a_retry_between_two_readings_starts_the_span_anew() {
        let seen = judge(&[
            (10, Failed, [0, 0, 1, 0], Some(2)),
            (140, Failed, [0, 0, 1, 0], Some(120)),
            (170, Failed, [0, 0, 1, 0], Some(120)),
            (290, Failed, [0, 0, 1, 0], Some(120)),
        ]);
        assert_eq!(
            seen,
            [
                settling(160),
                settling(290),
                settling(290),
                failed("1 of 1 tasks failed")
            ]
        );
    }

    #[test]
    fn without_tasks_an_end_is_final_at_once() {
        assert_eq!(
            judge(&[(1, Succeed, [0, 0, 0, 0], Some(1))]),
            [Progress::SucceededNothing]
        );
        assert_eq!(
            judge(&[(1, Failed, [0, 0, 0, 0], Some(1))]),
            [failed("no task was made and no reason given")]
        );
    }

    #[test]
    fn stopped_is_read_twice() {
        let seen = judge(&[
            (1, Stopped, [0, 0, 0, 0], None),
            (2, Failed, [0, 0, 0, 0], Some(1)),
        ]);
        assert_eq!(
            seen,
            [
                Progress::Running,
                failed("no task was made and no reason given")
            ]
        );
        let seen = judge(&[
            (1, Stopped, [0, 0, 0, 1], None),
            (2, Stopped, [0, 0, 0, 1], None),
        ]);
        assert_eq!(seen, [Progress::Running, Progress::Stopped]);
        // Not twice in a row.
        let seen = judge(&[
            (1, Stopped, [0, 0, 0, 0], None),
            (2, InProgress, [1, 0, 0, 0], None),
            (3, Stopped, [0, 0, 0, 1], None),
        ]);
        assert!(
            seen.iter().all(|progress| *progress == Progress::Running),
            "{seen:?}"
        );
    }

    #[test]
    fn a_stop_that_came_after_the_last_success_is_a_success() {
        assert_eq!(
            judge(&[(1, Stopped, [0, 2, 0, 0], Some(1))]),
            [Progress::Succeeded]
        );
    }

    #[test]
    fn one_stopped_and_one_failed_is_a_failure_that_settles() {
        let seen = judge(&[
            (1, Failed, [0, 0, 1, 1], Some(1)),
            (151, Failed, [0, 0, 1, 1], Some(1)),
        ]);
        assert_eq!(seen, [settling(151), failed("1 of 2 tasks failed")]);
    }

    #[test]
    fn an_unknown_status_is_waited_for() {
        let other = ExecutionStatus::Other("Paused".into());
        assert_eq!(
            judge(&[(1, other, [0, 0, 0, 0], None)]),
            [Progress::Running]
        );
        assert_eq!(progress(&[], SETTLE), Progress::Running);
    }
}
