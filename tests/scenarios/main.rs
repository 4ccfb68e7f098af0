//! The real binary against a sandbox in this process: what people type, what comes of it, and how the world is left.

#[path = "../support/pair.rs"]
mod pair;
#[path = "../support/servers.rs"]
mod servers;
mod stage;

pub mod aborting;
mod bad_days;
mod bad_input;
mod drivers;
mod dry_run;
mod failback;
mod meddling;
mod people;
mod planned;
mod real_servers;
pub mod rules;
pub mod safeguards;
mod secrets;
mod state_file;
mod stopping;
mod unplanned;
