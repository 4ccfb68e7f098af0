//! What people write, and what they are told.

mod arbitrary;
mod config_errors;
mod plan;
mod runbook_errors;
mod samples;
mod schema;
mod secrets;
