//! Points at which a test ends the process as a power cut would.
//!
//! Compiled in only with the feature `failpoints`. `RUNBOOK_KILL_AT=append:17:before` sends SIGKILL to this process
//! before its 17th append.

/// Before or after the act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    Before,
    After,
}

/// Marks a point. Without the feature this is nothing.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn reach(_name: &str, _edge: Edge) {}

/// Marks a point, and ends the process if it is the one that the environment names.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(name: &str, edge: Edge) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static REACHED: AtomicU64 = AtomicU64::new(0);

    let number = match edge {
        Edge::Before => REACHED.fetch_add(1, Ordering::SeqCst) + 1,
        Edge::After => REACHED.load(Ordering::SeqCst),
    };
    let word = match edge {
        Edge::Before => "before",
        Edge::After => "after",
    };
    if std::env::var("RUNBOOK_KILL_AT").is_ok_and(|at| at == format!("{name}:{number}:{word}")) {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal may take a moment; nothing may happen in it.
        loop {
            std::thread::park();
        }
    }
}
