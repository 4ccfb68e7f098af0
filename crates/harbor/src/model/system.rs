//! What a Harbor says about itself and about the caller.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// `/systeminfo`. Wrong credentials get the anonymous view with status 200, not a 401.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SystemInfo {
    /// Such as `v2.9.5-672ec4ad`. Hidden from anonymous callers since v2.13.
    #[serde(default)]
    pub harbor_version: String,
    /// The address that Harbor thinks it has: the realm of its tokens is built from it.
    #[serde(default)]
    pub external_url: Option<String>,
    /// Whether writes are refused. `None` means that Harbor answered as to an anonymous caller.
    #[serde(default)]
    pub read_only: Option<bool>,
    /// Harbor's clock at the answer. `None` for anonymous callers.
    #[serde(default, deserialize_with = "super::optional_time")]
    pub current_time: Option<Timestamp>,
    /// The Date header of the answer, in whole seconds: a clock for anonymous callers too.
    #[serde(skip)]
    pub date: Option<Timestamp>,
}

impl SystemInfo {
    /// Whether Harbor took the credentials.
    pub fn is_authenticated(&self) -> bool {
        self.read_only.is_some()
    }

    /// How far Harbor's clock is ahead of ours, given our times just before the request and just after
    /// the answer. Precise to half of the time between them, and to a second where only the Date header
    /// tells the time.
    pub fn clock_skew(&self, asked: Timestamp, answered: Timestamp) -> Option<SignedDuration> {
        let theirs = self.current_time.or(self.date)?;
        let between = answered.duration_since(asked) / 2;
        Some(theirs.duration_since(asked) - between)
    }
}

/// Whose credentials these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A user.
    User {
        /// The login name.
        name: String,
        /// Whether it is a system administrator: the only one who may switch read-only mode.
        administrator: bool,
    },
    /// A robot account. Its rights are not told.
    Robot,
}

/// The answer of `/users/current`, as far as it matters.
#[derive(Deserialize)]
pub(crate) struct CurrentUser {
    pub(crate) username: String,
    #[serde(default)]
    pub(crate) sysadmin_flag: bool,
    /// Set when the identity provider, not Harbor, made the user an administrator.
    #[serde(default)]
    pub(crate) admin_role_in_auth: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_is_measured_from_the_middle_of_the_request() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let info = SystemInfo {
            harbor_version: String::new(),
            external_url: None,
            read_only: Some(false),
            current_time: Some(at("2026-11-23T17:00:10.050Z")),
            date: None,
        };
        let skew = info.clock_skew(at("2026-11-23T17:00:00Z"), at("2026-11-23T17:00:00.100Z"));
        assert_eq!(skew, Some(SignedDuration::from_secs(10)));
    }
}
