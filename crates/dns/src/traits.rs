//! What a provider is: a reader, which a rehearsal may hold, and a writer.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::change::{Change, ChangeStatus, Finding, Found, Receipt};
use crate::error::Error;
use crate::name::Name;
use crate::record::Zone;

/// Whether the provider itself keeps a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Atomicity {
    /// The provider keeps it.
    Atomic,
    /// We look before and after; someone can come between.
    Advisory,
    /// Nobody keeps it.
    None,
}

/// Static facts about a provider, for the plan and for its reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Capabilities {
    /// The provider's name.
    pub provider: &'static str,
    /// Change only if the expected value stands there.
    pub compare_and_set: Atomicity,
    /// Record and marker change together or not at all.
    pub batch: Atomicity,
    /// Changes have an id that can be asked after.
    pub change_id: bool,
    /// The lowest TTL it takes, in seconds.
    pub min_ttl: u32,
    /// A foreign marker makes the server itself refuse.
    pub marker_in_prerequisite: bool,
    /// Where writes are taken, when that is a place that can fail on its own.
    pub control_plane: Option<String>,
}

/// What a rehearsal may use: nothing here changes a record.
#[async_trait]
pub trait Reader: Send + Sync {
    /// Static facts about this provider.
    fn capabilities(&self) -> Capabilities;

    /// Resolves the configured zone at the provider.
    async fn zone(&self) -> Result<Zone, Error>;

    /// Reads what stands at `name` and its marker, in the provider's own view.
    async fn read(&self, name: &Name) -> Result<Found, Error>;

    /// Says whether `change` would work now.
    ///
    /// Without effect, but not without a write request: the right is proven by sending the real change together
    /// with a condition that cannot hold. The one named exception to "a rehearsal cannot write".
    async fn check(&self, change: &Change) -> Result<Vec<Finding>, Error>;

    /// Asks how far a change has come.
    async fn status(&self, receipt: &Receipt) -> Result<ChangeStatus, Error>;
}

/// A provider that may be written to.
#[async_trait]
pub trait Provider: Reader {
    /// Makes one attempt at `change` and never retries. `token` (fencing token, plan id) is recorded where the
    /// provider has a place for it.
    ///
    /// A change that already stands exactly as desired counts as made: the answer to an earlier attempt was lost.
    /// After an `Ok` the caller still reads back (see [`crate::verify`]). If the name has vanished it puts the
    /// previous value back with [`Expected::Absent`](crate::Expected::Absent).
    async fn apply(&self, change: &Change, token: &str) -> Result<Receipt, Error>;
}
