//! What can be broken on request.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

/// One thing that goes wrong at one site, until it is cleared or has happened often enough.
///
/// A rule with a `method` or a `path` applies to requests with that method and with that text somewhere in
/// their path; without, to all. Without `times` it applies until it is cleared. Spans are milliseconds of
/// simulated time, except in `delay`, which is real time: it is about the client's own patience.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum Fault {
    /// Nothing listens: connections are refused and open ones closed.
    Down,
    /// Requests are taken and never answered, nor applied.
    Hang {
        /// Only this method.
        #[serde(default)]
        method: Option<String>,
        /// Only paths that contain this.
        #[serde(default)]
        path: Option<String>,
    },
    /// Requests are answered with this status and not applied.
    Status {
        /// Only this method.
        #[serde(default)]
        method: Option<String>,
        /// Only paths that contain this.
        #[serde(default)]
        path: Option<String>,
        /// The status, for instance 502.
        status: u16,
        /// How often, then no more.
        #[serde(default)]
        times: Option<u32>,
    },
    /// Requests are applied, then the connection is closed without an answer.
    LostReply {
        /// Only this method.
        #[serde(default)]
        method: Option<String>,
        /// Only paths that contain this.
        #[serde(default)]
        path: Option<String>,
        /// How often, then no more.
        #[serde(default)]
        times: Option<u32>,
    },
    /// Requests are received, and applied only after a while, also when the client has gone by then.
    Delay {
        /// Only this method.
        #[serde(default)]
        method: Option<String>,
        /// Only paths that contain this.
        #[serde(default)]
        path: Option<String>,
        /// How long, in milliseconds of real time.
        delay_ms: u64,
        /// How often, then no more.
        #[serde(default)]
        times: Option<u32>,
    },
    /// Somebody else changes something right before the `nth` matching request (counted from 1).
    Interfere {
        /// Only this method.
        #[serde(default)]
        method: Option<String>,
        /// Only paths that contain this.
        #[serde(default)]
        path: Option<String>,
        /// Before which of them.
        nth: u32,
        /// What is changed.
        mutation: Mutation,
    },
    /// New tasks stay `Pending` for this long.
    SlowQueue {
        /// In milliseconds of simulated time.
        delay_ms: u64,
    },
    /// Tasks stay `Pending` for ever.
    PausedQueue,
    /// A part of the site is down: `registry`, `registryctl`, `portal`, `jobservice`, `redis`, `database`.
    ComponentDown {
        /// Its name in `/health`.
        component: String,
    },
    /// The site's clock is off by this much.
    ClockSkew {
        /// Milliseconds; negative is behind.
        offset_ms: i64,
    },
    /// Pushes into a project (or all) are refused: storage quota.
    QuotaFull {
        /// Only this project.
        #[serde(default)]
        project: Option<String>,
    },
    /// The schedule of a policy is gone although the policy is enabled.
    LostSchedule {
        /// The policy's name.
        policy: String,
    },
    /// Executions end as `Succeed` with nothing copied.
    CopiesNothing {
        /// How often, then no more.
        #[serde(default)]
        times: Option<u32>,
    },
    /// Before an execution is `Failed` without tasks it reads `Stopped` for this long; 10 ms otherwise.
    StoppedFlash {
        /// In milliseconds of real time.
        delay_ms: u64,
    },
    /// A replication task fails on its own, then is retried as usual.
    FailedTasks {
        /// How many task runs fail, then no more.
        #[serde(default)]
        times: Option<u32>,
    },
}

/// What somebody else does to a site behind the tool's back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "change",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum Mutation {
    /// Enables or disables a policy.
    PolicyEnabled {
        /// The policy's name.
        policy: String,
        /// The new value.
        enabled: bool,
    },
    /// Rewrites a policy's description, as any other edit would.
    PolicyDescription {
        /// The policy's name.
        policy: String,
        /// The new value.
        description: String,
    },
    /// Deletes a policy, whatever it is doing.
    PolicyDeleted {
        /// The policy's name.
        policy: String,
    },
    /// Flips the read-only flag.
    ReadOnly {
        /// The new value.
        read_only: bool,
    },
    /// Starts a run of a policy.
    ExecutionStarted {
        /// The policy's name.
        policy: String,
    },
    /// Stops every execution of a policy that is not over.
    ExecutionsStopped {
        /// The policy's name.
        policy: String,
    },
    /// Disables or enables a robot.
    RobotDisabled {
        /// Its name without the prefix.
        robot: String,
        /// The new value.
        disabled: bool,
    },
    /// Pushes an image.
    TagPushed {
        /// `project/repository`.
        repository: String,
        /// The tag.
        tag: String,
        /// Equal seeds give equal content.
        seed: String,
    },
    /// Deletes a tag.
    TagDeleted {
        /// `project/repository`.
        repository: String,
        /// The tag.
        tag: String,
    },
}

impl Fault {
    fn rule(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Fault::Hang { method, path }
            | Fault::Status { method, path, .. }
            | Fault::LostReply { method, path, .. }
            | Fault::Delay { method, path, .. }
            | Fault::Interfere { method, path, .. } => (method.as_deref(), path.as_deref()),
            _ => (None, None),
        }
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        let (want_method, want_path) = self.rule();
        want_method.is_none_or(|want| want.eq_ignore_ascii_case(method))
            && want_path.is_none_or(|want| path.contains(want))
    }

    fn times(&self) -> Option<u32> {
        match self {
            Fault::Status { times, .. }
            | Fault::LostReply { times, .. }
            | Fault::Delay { times, .. }
            | Fault::CopiesNothing { times }
            | Fault::FailedTasks { times } => *times,
            _ => None,
        }
    }
}

/// The faults in force at one site.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Armed>>);

#[derive(Debug)]
struct Armed {
    fault: Fault,
    hits: u32,
}

impl Faults {
    pub(crate) fn arm(&self, fault: Fault) {
        self.armed().push(Armed { fault, hits: 0 });
    }

    pub(crate) fn clear(&self) {
        self.armed().clear();
    }

    /// Takes away the faults that are equal to this one.
    pub(crate) fn disarm(&self, fault: &Fault) {
        self.armed().retain(|armed| armed.fault != *fault);
    }

    pub(crate) fn list(&self) -> Vec<Fault> {
        self.armed()
            .iter()
            .map(|armed| armed.fault.clone())
            .collect()
    }

    /// Finds a standing fault without using it up.
    pub(crate) fn find<T>(&self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.armed().iter().find_map(|armed| pick(&armed.fault))
    }

    /// Uses up one occurrence of a fault that is not about requests.
    pub(crate) fn spend(&self, is: impl Fn(&Fault) -> bool) -> bool {
        self.armed()
            .iter_mut()
            .any(|armed| is(&armed.fault) && armed.hit())
    }

    /// Uses up one occurrence of a fault that is about requests.
    pub(crate) fn take<T>(
        &self,
        method: &str,
        path: &str,
        pick: impl Fn(&Fault) -> Option<T>,
    ) -> Option<T> {
        self.armed().iter_mut().find_map(|armed| {
            let picked = pick(&armed.fault)?;
            (armed.fault.matches(method, path) && armed.hit()).then_some(picked)
        })
    }

    /// Counts a request against every interference and gives those whose turn it is.
    pub(crate) fn interferences(&self, method: &str, path: &str) -> Vec<Mutation> {
        let mut due = Vec::new();
        for armed in self
            .armed()
            .iter_mut()
            .filter(|armed| armed.fault.matches(method, path))
        {
            if let Fault::Interfere { nth, mutation, .. } = &armed.fault {
                armed.hits += 1;
                if armed.hits == *nth {
                    due.push(mutation.clone());
                }
            }
        }
        due
    }

    fn armed(&self) -> std::sync::MutexGuard<'_, Vec<Armed>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Armed {
    fn hit(&mut self) -> bool {
        if self.fault.times().is_some_and(|times| self.hits >= times) {
            return false;
        }
        self.hits += 1;
        true
    }
}
