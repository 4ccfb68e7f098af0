//! What Harbor's documents mean.

pub(crate) mod content;
pub(crate) mod execution;
pub(crate) mod health;
pub(crate) mod policy;
pub(crate) mod registry;
pub(crate) mod robot;
pub(crate) mod system;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// Reads a time. Harbor writes the first second of year 1 where it means "none".
pub(crate) fn optional_time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let time = Option::<Timestamp>::deserialize(deserializer)?;
    Ok(time.filter(|time| time.as_second() > YEAR_TWO))
}

/// The first second of year 2, in Unix seconds. Anything before is Harbor's "none".
const YEAR_TWO: i64 = -62_104_060_800;

/// Reads `null` as the empty value.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
