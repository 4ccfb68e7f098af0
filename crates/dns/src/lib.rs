//! Records, change sets, providers, verification.
//!
//! A [`Change`] touches one name and its ownership marker and nothing else. A [`Provider`] makes one attempt at
//! it, guarded by what the caller expects to find, and never retries. A success reply proves nothing: servers
//! were seen that answer NOERROR and change nothing, or lose the name. So [`verify`] asks the servers themselves.

mod change;
mod config;
mod error;
mod name;
pub mod providers;
mod record;
mod traits;
pub mod verify;
mod wire;

pub use change::{
    Change, ChangeStatus, Expected, Finding, FindingLevel, Found, MarkerChange, Receipt,
};
pub use config::{
    ProviderConfig, ResolveSecret, Rfc2136Config, Route53Config, TsigAlgorithm, TsigKeyConfig, open,
};
pub use error::{AuthFault, BoxError, Error, ErrorKind, Sort};
pub use name::{Name, NameError};
pub use record::{RecordError, RecordSet, RecordType, Zone};
pub use traits::{Atomicity, Capabilities, Provider, Reader};
