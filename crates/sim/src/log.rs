//! What was asked of the sandbox and what it did.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

/// Before or after the effect of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edge {
    /// The request is received; nothing is changed yet.
    Before,
    /// The effect has happened; the answer is not sent yet.
    After,
}

/// A request as a hook sees it.
#[derive(Clone, Debug, Serialize)]
pub struct RequestSeen {
    /// The site's name, `primary` or `dr`.
    pub site: String,
    /// Counted from 1 over both sites, in the order of arrival.
    pub number: u64,
    /// The HTTP method.
    pub method: String,
    /// The path without the query, as it was sent.
    pub path: String,
    /// The query without the question mark, as it was sent.
    pub query: String,
    /// Whether the request could change anything.
    pub mutating: bool,
    /// Where in the life of the request the hook is called.
    pub edge: Edge,
    /// The status of the answer, known after the effect.
    pub status: Option<u16>,
}

/// What a hook wants done with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// As if no hook were there.
    #[default]
    Continue,
    /// Applied, but the connection is closed without an answer.
    NoReply,
    /// Before the effect: not applied, and the connection closed without an answer. After it: as `NoReply`.
    NotApplied,
    /// Before the effect: not applied, and answered with this status. After it: applied, answered with it.
    Answer(u16),
}

/// A hook, called at both edges of every request. It may block; only the one request waits for it.
pub type Hook = Arc<dyn Fn(&RequestSeen) -> Verdict + Send + Sync>;

/// One mutating request with its effect.
#[derive(Clone, Debug, Serialize)]
pub struct LogEntry {
    /// The request's number.
    pub number: u64,
    /// The site's name.
    pub site: String,
    /// The HTTP method.
    pub method: String,
    /// The path as it was sent.
    pub path: String,
    /// What it was about, in words: `policy dr-forward`.
    pub object: String,
    /// What changed, `before -> after`; empty when nothing did.
    pub effect: String,
    /// The status that was answered, or would have been.
    pub status: u16,
    /// Whether the answer was sent.
    pub replied: bool,
}

/// Counts the requests that were carried out, by (method, `site/object`).
pub(crate) fn count(entries: &[LogEntry]) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.status < 400) {
        *counts
            .entry((
                entry.method.clone(),
                format!("{}/{}", entry.site, entry.object),
            ))
            .or_insert(0) += 1;
    }
    counts
}
