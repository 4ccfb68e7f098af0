//! What goes wrong on request, and the hook at both edges of each request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lock;

/// A thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// REFUSED, unsigned, nothing done.
    Refuse,
    /// SERVFAIL, unsigned, nothing done.
    ServFail,
    /// Nothing done, no reply.
    Hang,
    /// The work is done, the reply is lost.
    LoseReply,
    /// The work is done this much later, even if the client has gone.
    Delay(#[serde(with = "milliseconds")] Duration),
    /// NOERROR, but the sets that were to be added are gone: the name vanishes. (A signing Knot 3.2 did this.)
    DropRecord,
    /// The server's clock is off by this many seconds.
    ClockSkew(i64),
}

/// Which requests a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// UPDATEs at the primary.
    Updates,
    /// Queries at the primary.
    PrimaryQueries,
    /// Queries at the secondary.
    SecondaryQueries,
    /// All of them.
    Everything,
}

/// A request at one of its edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsRequestSeen {
    /// Counted from 1, UPDATEs and queries apart.
    pub number: u64,
    /// An UPDATE, or else a query.
    pub update: bool,
    /// Which edge.
    pub edge: Edge,
}

/// The edges of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// It arrived; nothing is done.
    Before,
    /// The work is done; the reply is not sent.
    After,
}

/// What a hook decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Proceed,
    /// Stop here: before the work it is never done, after it the reply is never sent.
    Drop,
}

type Hook = Arc<dyn Fn(&DnsRequestSeen) -> Verdict + Send + Sync>;

/// The armed faults, the policy, the hook and the counters.
#[derive(Default)]
pub(super) struct Faults(Mutex<State>);

#[derive(Default)]
struct State {
    armed: Vec<Armed>,
    policy: Option<Vec<String>>,
    hook: Option<Hook>,
    updates: u64,
    queries: u64,
}

struct Armed {
    scope: Scope,
    fault: Fault,
    left: Option<u32>,
}

impl Faults {
    pub fn inject(&self, scope: Scope, fault: Fault, times: Option<u32>) {
        if times != Some(0) {
            lock(&self.0).armed.push(Armed {
                scope,
                fault,
                left: times,
            });
        }
    }

    pub fn clear(&self) {
        lock(&self.0).armed.clear();
    }

    pub fn set_policy(&self, names: Option<Vec<String>>) {
        lock(&self.0).policy = names;
    }

    pub fn set_hook(&self, hook: Option<Hook>) {
        lock(&self.0).hook = hook;
    }

    /// Whether the policy lets `name` (as displayed by the library, with or without the last dot) be updated.
    pub fn allows(&self, name: &str) -> bool {
        let plain = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
        let state = lock(&self.0);
        state
            .policy
            .as_ref()
            .is_none_or(|names| names.iter().any(|allowed| plain(allowed) == plain(name)))
    }

    /// Counts a request and returns its number.
    pub fn count(&self, update: bool) -> u64 {
        let mut state = lock(&self.0);
        let counter = if update {
            &mut state.updates
        } else {
            &mut state.queries
        };
        *counter += 1;
        *counter
    }

    /// Takes the faults that hit a request in `scope`, using one of each up.
    pub fn take(&self, scope: Scope) -> Vec<Fault> {
        let mut state = lock(&self.0);
        let mut taken = Vec::new();
        state.armed.retain_mut(|armed| {
            if armed.scope != scope && armed.scope != Scope::Everything {
                return true;
            }
            taken.push(armed.fault);
            match &mut armed.left {
                Some(left) => {
                    *left -= 1;
                    *left > 0
                }
                None => true,
            }
        });
        taken
    }

    /// Asks the hook. Called outside the lock, because a hook may take its time or ask the server something.
    pub fn verdict(&self, seen: &DnsRequestSeen) -> Verdict {
        let hook = lock(&self.0).hook.clone();
        hook.map_or(Verdict::Proceed, |hook| hook(seen))
    }
}

mod milliseconds {
    //! A span as a bare number of milliseconds.

    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
