//! Carries a plan out durably: states, journal, lease, attempts, undo.
//!
//! The engine knows neither Harbor nor DNS nor YAML. It is handed a [`plan::Plan`], one [`step::Step`] for each of its
//! steps and a [`step::World`]; it writes an intent before each effect and an outcome after it, and on restart it
//! probes what was interrupted instead of guessing.

mod attempt;
mod check;
pub mod clock;
mod commands;
pub mod decide;
mod doubt;
pub mod event;
pub mod executor;
mod failpoint;
mod guard;
pub mod journal;
pub mod lease;
pub mod plan;
pub mod rehearsal;
pub mod run;
pub mod runlog;
pub mod state;
mod state_file;
pub mod step;
pub mod stop;
mod undo;
