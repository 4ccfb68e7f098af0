//! Carries a plan out durably: states, journal, lease, attempts, undo, report.
pub mod plan;
