//! The HTTP side of a simulated Harbor.

mod api;
mod artifacts;
mod auth;
mod call;
mod configurations;
mod endpoints;
mod executions;
pub(crate) mod health;
mod jobservice;
mod listening;
mod listing;
pub(crate) mod policies;
mod projects;
mod registry;
mod reply;
mod robots;
mod serve;

pub(crate) use auth::may;
pub(crate) use endpoints::peer;
pub(crate) use listening::Listening;
pub(crate) use projects::{make as make_project, sees};
