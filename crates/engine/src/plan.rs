//! What a run is going to do: a runbook resolved, immutable, stored with the run.
//!
//! After planning nobody reads YAML again. A resume uses the plan that the journal holds, so an edit of the
//! file in the middle of a disaster changes nothing of a run that has begun.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A runbook resolved: which steps, in which order, against which sites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The name of the runbook, such as `failover`.
    pub runbook: String,
    /// The topology it is for. At most one unfinished run per topology.
    pub topology: String,
    /// Planned: both sides answer. Unplanned: the active is gone or cannot be trusted.
    pub mode: Mode,
    /// The site that serves now, by its name in the configuration.
    pub from: String,
    /// The site that shall serve when the run is done. Equal to `from` for a runbook that moves nothing.
    pub to: String,
    /// What the step kinds need to know of sites, policies and records. The engine does not look into it.
    pub bindings: serde_json::Value,
    /// Steps in order.
    pub steps: Vec<PlannedStep>,
    /// How long a request may still be under way after its sender died. An attempt in doubt is judged only
    /// after this has passed.
    #[serde(with = "millis")]
    pub request_timeout: Duration,
    /// How often faster than the wall the waits of this run are. 1 but in a sandbox.
    pub time_scale: f64,
    /// The recovery time objective, if one is declared.
    #[serde(with = "millis_option")]
    pub rto_target: Option<Duration>,
    /// The recovery point objective, if one is declared.
    #[serde(with = "millis_option")]
    pub rpo_target: Option<Duration>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Unique in the plan.
    pub id: String,
    /// The kind, such as `harbor.silence`.
    pub kind: String,
    /// What stands under `do:` for that kind.
    pub action: serde_json::Value,
    /// The modes in which the step is taken. Empty: in all.
    pub modes: Vec<Mode>,
    /// The longest that one attempt may take.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// What happens after an attempt that failed and may be repeated.
    pub retry: Retry,
    /// What happens when no attempt is left.
    pub on_failure: OnFailure,
    /// What happens when the site of the step does not answer.
    pub if_unreachable: IfUnreachable,
    /// What must be true of the world for this step to be right.
    pub guards: Vec<Guard>,
    /// The step to go back to when this one finds that more has to be done, such as a comparison with a difference.
    pub back_to: Option<String>,
    /// True for the step that moves the clients. No way leads back across it, and no undo.
    pub cutover: bool,
    /// What to do with an attempt whose sender died.
    pub in_doubt: InDoubt,
}

/// What must be true for a step to be right: that an earlier step still holds, as its probe says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// The step whose probe must say done.
    pub step: String,
    /// How old its outcome may be. None: any age.
    #[serde(with = "millis_option")]
    pub max_age: Option<Duration>,
    /// What a broken guard leads to.
    pub broken: Broken,
}

/// What a broken guard leads to. It never goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Broken {
    /// Back to the step that establishes it.
    Back,
    /// A person decides.
    Ask,
}

/// Which of the two procedures a runbook follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Both sides answer; nothing is lost.
    Planned,
    /// The active is gone or cannot be trusted; what is lost is stated.
    Unplanned,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Planned => "planned",
            Mode::Unplanned => "unplanned",
        })
    }
}

/// How often an attempt is repeated, and how long is waited between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The wait before the second attempt; doubled for each further one, at most ten times this.
    #[serde(with = "millis")]
    pub backoff: Duration,
}

impl Retry {
    /// Returns the wait after the failed attempt number `attempt`, counted from 1.
    pub fn wait_after(&self, attempt: u32) -> Duration {
        let factor = 1u32
            .checked_shl(attempt.saturating_sub(1))
            .unwrap_or(10)
            .min(10);
        self.backoff * factor
    }
}

/// What happens when no attempt is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The run stops and stays resumable.
    Stop,
    /// A person is asked what to do.
    Ask,
    /// The failure is recorded and the next step taken.
    Continue,
}

/// What happens when the site of a step does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfUnreachable {
    /// As any other failure.
    Fail,
    /// Recorded as owed, to be done when the site returns.
    Owe,
}

/// What is done with an attempt that was interrupted, once its request can no longer arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InDoubt {
    /// The world is looked at.
    Probe,
    /// A person decides, because the world cannot tell.
    Ask,
    /// Done again under the same token.
    Repeat,
}

impl Plan {
    /// Returns the SHA-256 of the plan's canonical JSON, in hexadecimal.
    pub fn digest(&self) -> String {
        let text = serde_json::to_string(self).expect("a plan holds nothing that JSON cannot");
        hex(&Sha256::digest(text))
    }

    /// Returns the position of a step by its id.
    pub fn position(&self, id: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.id == id)
    }

    /// Returns the position of the cutover, if the plan has one in its mode.
    pub fn cutover(&self) -> Option<usize> {
        self.steps
            .iter()
            .position(|step| step.cutover && self.takes(step))
    }

    /// Tells whether a step is taken in this plan's mode.
    pub fn takes(&self, step: &PlannedStep) -> bool {
        step.modes.is_empty() || step.modes.contains(&self.mode)
    }
}

/// Writes bytes as lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// A span as a whole number of milliseconds.
pub(crate) mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// A span that may be missing, as a whole number of milliseconds.
pub(crate) mod millis_option {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => super::millis::serialize(span, to),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}
