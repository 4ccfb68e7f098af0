//! Registry endpoints: how one Harbor reaches another.

use std::fmt;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

/// A registry endpoint as Harbor stores it. The secret is never shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Registry {
    /// 0 is the local Harbor itself.
    #[serde(default)]
    pub id: i64,
    /// The name, unique per Harbor.
    #[serde(default)]
    pub name: String,
    /// A free text.
    #[serde(default)]
    pub description: String,
    /// The adapter: `harbor`, `docker-registry` ...
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Where it is.
    #[serde(default)]
    pub url: String,
    /// Whether its certificate goes unchecked.
    #[serde(default)]
    pub insecure: bool,
    /// Who logs in there.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub credential: Credential,
    /// What a timer found, minutes ago; it stays `healthy` when a Harbor goes away. Ping instead.
    #[serde(default)]
    pub status: String,
    /// When it was made.
    #[serde(default, deserialize_with = "super::optional_time")]
    pub creation_time: Option<Timestamp>,
    /// When it was last changed.
    #[serde(default, deserialize_with = "super::optional_time")]
    pub update_time: Option<Timestamp>,
}

/// Who logs in at a registry endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Credential {
    /// `basic`, or `secret` for the local one.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The user or the robot.
    #[serde(default, rename = "access_key")]
    pub user: String,
}

/// What the live check of a registry endpoint found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ping {
    /// It answers and takes the credentials.
    Ok,
    /// It answers and refuses the credentials, or what answers is not the registry (400).
    BadCredentials,
    /// Nothing answers there (500).
    Unreachable,
}

/// A registry endpoint to be made.
#[derive(Clone)]
pub struct NewRegistry {
    /// 1 to 64 characters, unique.
    pub name: String,
    /// A free text.
    pub description: String,
    /// The adapter, `harbor` between Harbors.
    pub kind: String,
    /// Where it is. Harbor contacts it before it stores anything.
    pub url: String,
    /// Leave its certificate unchecked.
    pub insecure: bool,
    /// The user, or the full name of a robot.
    pub user: String,
    /// The password, or the secret of the robot.
    pub password: SecretString,
}

impl NewRegistry {
    pub(crate) fn document(&self) -> Value {
        json!({
            "name": self.name,
            "description": self.description,
            "type": self.kind,
            "url": self.url,
            "insecure": self.insecure,
            "credential": {
                "type": "basic",
                "access_key": self.user,
                "access_secret": self.password.expose_secret(),
            },
        })
    }
}

impl fmt::Debug for NewRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewRegistry")
            .field("name", &self.name)
            .field("url", &self.url)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
