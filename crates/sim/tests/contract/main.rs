//! The sandbox answers as v2.9.5 was recorded to.
//!
//! Recorded requests are sent again in a rebuilt situation. Compared are the status, the headers that matter,
//! the keys and types of the body, and the code and text of errors (numbers apart). What is tolerated stands at
//! the replay, with its reason.

mod auth;
mod behaviour;
mod client;
mod endpoints;
mod executions;
mod health;
mod policies;
mod read_only;
mod robots;
mod shape;
mod stage;
mod verification;
