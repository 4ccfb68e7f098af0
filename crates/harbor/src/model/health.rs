//! What `/health` says.

use serde::{Deserialize, Serialize};

/// The health of a Harbor. Anonymous callers see the same; it is up to 10 s old, and answered with 200
/// whatever it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `healthy` or `unhealthy`.
    pub status: String,
    /// The parts, sorted by name: core, database, jobservice, portal, redis, registry, registryctl, and
    /// trivy where it is installed.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub components: Vec<Component>,
}

/// One part of a Harbor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Such as `database`.
    pub name: String,
    /// Whether it answered its last probe.
    #[serde(
        rename = "status",
        deserialize_with = "healthy",
        serialize_with = "status_word"
    )]
    pub healthy: bool,
    /// Why not: a raw text that may hold inner addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Health {
    /// Whether all parts are well.
    pub fn is_healthy(&self) -> bool {
        self.status == "healthy" && self.components.iter().all(|component| component.healthy)
    }

    /// The names of the parts that are not well.
    pub fn unhealthy(&self) -> Vec<&str> {
        self.components
            .iter()
            .filter(|c| !c.healthy)
            .map(|c| c.name.as_str())
            .collect()
    }

    /// Whether credentials cannot be checked: right ones are then answered with 401.
    pub fn database_is_down(&self) -> bool {
        self.unhealthy().contains(&"database")
    }
}

fn healthy<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(String::deserialize(deserializer)? == "healthy")
}

fn status_word<S: serde::Serializer>(healthy: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *healthy { "healthy" } else { "unhealthy" })
}
