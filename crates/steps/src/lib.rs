//! The step kinds, one file each: the only place where engine, Harbor, DNS and replication meet.
//!
//! A new kind is a new file and one line in `kind.rs`.

mod approval;
pub mod bindings;
mod check;
mod compare_sites;
mod dns_ttl;
mod dns_upsert;
mod dns_verify;
mod exec;
mod fault;
mod harbor_compare;
mod harbor_health;
mod harbor_policy;
mod harbor_read_only;
mod harbor_robot;
mod harbor_silence;
mod harbor_sync;
mod http;
mod kind;
mod look;
mod loss;
mod notify;
mod originals;
mod record;
mod registry_probe;
mod restore;
pub mod runbooks;
mod span;
mod verdict;
mod wait;
mod world;

pub use compare_sites::compare_sites;
pub use kind::{BuildError, Kind, build};
pub use runbooks::builtin;
pub use span::Span;
pub use verdict::{Judged, Verdict, verdict};
pub use world::{OpenError, Secrets, Sites, SitesReader, SitesWriter};
