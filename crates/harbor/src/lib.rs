//! A typed client of Harbor's API and the pure rules of its policies.
//!
//! [`Reader`] can only look; [`Writer`] changes things and asks a [`BeforeWrite`] before each mutating
//! request leaves. Every method sends one request (lists: one a page) and never retries: [`Error::sort`]
//! says what a caller may do next. The `/v2/` side of a registry lives in [`oci`].
//!
//! What Harbor decides by itself is here as pure code: when an execution is over ([`settle`]), what a
//! policy copies ([`filter`]), where a copy lands ([`destination_repository`]) and what a policy may look
//! like ([`validate_policy`]). Facts of Harbor were seen on v2.9.5 unless a comment says otherwise.

mod blame;
mod connect;
mod cron;
mod endpoint;
mod error;
pub mod filter;
mod model;
mod namespace;
pub mod oci;
mod reader;
pub mod settle;
mod validate;
mod wire;
mod writer;

pub use endpoint::{BeforeWrite, Endpoint, RequestIds};
pub use error::{Error, ErrorKind, Result, Sort};
pub use model::content::{Artifact, Label, Project, Quota, Repository, Tag, Volume};
pub use model::execution::{Execution, ExecutionStatus, Task, TaskStatus};
pub use model::health::{Component, Health};
pub use model::policy::{
    FieldDifference, Filter, Policy, PolicyDocument, PolicyFields, RegistryRef, Side, Trigger,
};
pub use model::registry::{Credential, NewRegistry, Ping, Registry};
pub use model::robot::{Access, CreatedRobot, NewRobot, Permission, Robot};
pub use model::system::{Identity, SystemInfo};
pub use namespace::{NamespaceError, destination_repository};
pub use reader::{ArtifactQuery, Reader};
pub use validate::{InvalidPolicy, validate_policy};
pub use writer::Writer;
