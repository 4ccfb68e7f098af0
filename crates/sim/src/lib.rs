//! Harbors and a DNS server that run in memory and break on request.
//!
//! A [`Sandbox`] is a DR pair: two sites that answer as Harbor v2.9.5 does, with real manifests and blobs, each
//! on a loopback address of its own, and a DNS zone with a primary and a secondary server. What a test must see
//! or break beyond the network is on [`Sandbox`] and on its [`Harbor`] handles; a sandbox in another process is
//! steered over HTTP (see [`Sandbox::control_url`]).

mod clock;
mod content;
mod control;
mod cron;
pub mod dns;
mod faults;
mod filters;
mod harbor;
mod http;
mod log;
mod model;
mod mutate;
mod namespace;
mod replication;
mod runbook;
mod sandbox;
mod seed;
mod site;
mod snapshot;
mod store;

pub use faults::{Fault, Mutation};
pub use harbor::{Absent, Harbor, PushError};
pub use log::{Edge, Hook, LogEntry, RequestSeen, Verdict};
pub use sandbox::{Contents, Direction, Sandbox, SandboxError, SandboxOptions};
pub use site::{CopySpeed, Realm};
pub use snapshot::{ProjectSnapshot, RepositorySnapshot, SiteSnapshot, WorldSnapshot};
