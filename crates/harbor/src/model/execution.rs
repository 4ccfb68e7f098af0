//! Executions of a replication policy and their tasks.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One run of a replication policy.
///
/// The counters are up to date at once; `status` is refreshed by a timer and lags up to 30 s. Judge it with
/// [`settle`](crate::settle).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Grows with every start. Gaps are normal.
    pub id: i64,
    /// The policy that it belongs to.
    #[serde(default)]
    pub policy_id: i64,
    /// What Harbor last worked out.
    pub status: ExecutionStatus,
    /// Why nothing was copied. Filled only when the run ended before it had tasks.
    #[serde(default)]
    pub status_text: String,
    /// `manual`, `scheduled` or `event_based`.
    #[serde(default)]
    pub trigger: String,
    /// When it was started: what is pushed later may be missing in it.
    #[serde(default, deserialize_with = "super::optional_time")]
    pub start_time: Option<Timestamp>,
    /// When its last task ended. `None` while it is not final.
    #[serde(default, deserialize_with = "super::optional_time")]
    pub end_time: Option<Timestamp>,
    /// How many tasks it has, one a repository. 0 in the first moments says nothing.
    #[serde(default)]
    pub total: i64,
    /// Tasks waiting or running.
    #[serde(default)]
    pub in_progress: i64,
    /// Tasks that ended well.
    #[serde(default)]
    pub succeed: i64,
    /// Tasks that failed; Harbor may run them again.
    #[serde(default)]
    pub failed: i64,
    /// Tasks that were stopped.
    #[serde(default)]
    pub stopped: i64,
}

/// One repository's part of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The id, for its log.
    pub id: i64,
    /// The execution that it belongs to.
    #[serde(default)]
    pub execution_id: i64,
    /// Where it stands. `Failed` can become `InProgress` again.
    pub status: TaskStatus,
    /// `copy`, `deletion` or `tag deletion`.
    #[serde(default)]
    pub operation: String,
    /// A text such as `production/app [2 item(s) in total]`.
    #[serde(default)]
    pub src_resource: String,
    /// The same at the destination.
    #[serde(default)]
    pub dst_resource: String,
    /// Whole seconds. Moves when the task is run again.
    #[serde(default, deserialize_with = "super::optional_time")]
    pub start_time: Option<Timestamp>,
    /// Whole seconds.
    #[serde(default, deserialize_with = "super::optional_time")]
    pub end_time: Option<Timestamp>,
}

/// The status of an execution. Words not known here are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ExecutionStatus {
    /// Not over.
    InProgress,
    /// Over, and all that matched was copied; or nothing matched.
    Succeed,
    /// At least one task failed, or none could be made.
    Failed,
    /// Somebody stopped it.
    Stopped,
    /// A word of another version.
    Other(String),
}

/// The status of a task. Words not known here are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum TaskStatus {
    /// Waiting for a worker.
    Pending,
    /// Running.
    InProgress,
    /// Done.
    Succeed,
    /// Failed; up to three runs in all.
    Failed,
    /// Stopped.
    Stopped,
    /// A word of another version.
    Other(String),
}

impl Execution {
    /// Whether something is being done or waits to be done, as far as this reading shows. A `Failed` one
    /// with tasks may still be tried again.
    pub fn is_in_progress(&self) -> bool {
        self.in_progress > 0
            || self.status == ExecutionStatus::InProgress
                && !(self.total > 0 && self.succeed == self.total)
    }
}

impl From<String> for ExecutionStatus {
    fn from(word: String) -> ExecutionStatus {
        match word.as_str() {
            "InProgress" => ExecutionStatus::InProgress,
            "Succeed" => ExecutionStatus::Succeed,
            "Failed" => ExecutionStatus::Failed,
            "Stopped" => ExecutionStatus::Stopped,
            _ => ExecutionStatus::Other(word),
        }
    }
}

impl From<ExecutionStatus> for String {
    fn from(status: ExecutionStatus) -> String {
        status.to_string()
    }
}

impl fmt::Display for ExecutionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExecutionStatus::InProgress => "InProgress",
            ExecutionStatus::Succeed => "Succeed",
            ExecutionStatus::Failed => "Failed",
            ExecutionStatus::Stopped => "Stopped",
            ExecutionStatus::Other(word) => word,
        })
    }
}

impl From<String> for TaskStatus {
    fn from(word: String) -> TaskStatus {
        match word.as_str() {
            "Pending" => TaskStatus::Pending,
            "InProgress" => TaskStatus::InProgress,
            "Succeed" => TaskStatus::Succeed,
            "Failed" => TaskStatus::Failed,
            "Stopped" => TaskStatus::Stopped,
            _ => TaskStatus::Other(word),
        }
    }
}

impl From<TaskStatus> for String {
    fn from(status: TaskStatus) -> String {
        status.to_string()
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TaskStatus::Pending => "Pending",
            TaskStatus::InProgress => "InProgress",
            TaskStatus::Succeed => "Succeed",
            TaskStatus::Failed => "Failed",
            TaskStatus::Stopped => "Stopped",
            TaskStatus::Other(word) => word,
        })
    }
}
