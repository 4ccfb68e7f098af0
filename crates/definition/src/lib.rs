//! Configuration and runbook YAML, checked and resolved into an immutable plan.
//!
//! Text comes in; values or [`Diagnostics`] go out. Nothing here opens a file, a socket or the environment, and no
//! value of a secret is ever known here: a secret is a reference, resolved elsewhere.
//!
//! The crate is generic over the step kinds (`K`, see [`Kind`]) and over the configuration of DNS providers (`D`),
//! which are handed in as externally tagged enums: that is the one shape of which every inner key keeps its line
//! and column.

mod check_config;
mod check_runbook;
mod codes;
mod config;
mod diagnostics;
mod located;
mod mask;
mod notify;
mod parse;
mod plan;
mod runbook;
mod scalars;
mod schema;
mod suggest;
mod topology;

pub use codes::Code;
pub use config::{Auth, Config, DnsConfig, Site};
pub use diagnostics::{Diagnostics, Finding};
pub use located::Located;
pub use notify::{CommandChannel, Notify, WebhookChannel};
pub use parse::{parse_config, parse_runbook};
pub use plan::{PlanError, Planning, kind_of, plan};
pub use runbook::{Guard, Kind, Pattern, Retry, Runbook, Step};
pub use scalars::host::{Host, HostError, HostPort, HostPortError, Vantage, VantageError};
pub use scalars::secret::{SecretRef, SecretRefError};
pub use scalars::site::{SiteRef, SiteRefError};
pub use scalars::span::{Span, SpanError};
pub use scalars::url::{Url, UrlError, UrlOrSecret};
pub use schema::{config_schema, runbook_schema};
pub use topology::{
    AlsoSync, Deletions, Direction, DrPair, Endpoint, Objectives, OnExisting, Policies, Preset,
    Probe, Robots, Tags, Topology, Trigger, Ttl,
};
