//! Names of sites.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use schemars::json_schema;

use super::text_scalar;

/// The name of a site, as it stands under `sites:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteRef(String);

/// Why a text cannot be the name of a site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteRefError {
    /// Characters that would not survive a path, a table or a shell.
    #[error(
        "`{0}` is no site name: use up to 40 lower-case letters, digits and `-`, starting with a letter"
    )]
    Malformed(String),
    /// A word that runbooks use for a role.
    #[error("`{0}` is a role, so no site may be called that")]
    Role(String),
}

/// The words that runbooks use instead of the names of sites.
pub(crate) const ROLES: [&str; 3] = ["active", "standby", "endpoint"];

/// Tells whether a text reads as a name: what steps, topologies, runbooks and channels are called too.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= 40
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl SiteRef {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SiteRef {
    type Err = SiteRefError;

    fn from_str(text: &str) -> Result<Self, SiteRefError> {
        if ROLES.contains(&text) {
            Err(SiteRefError::Role(text.to_owned()))
        } else if is_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SiteRefError::Malformed(text.to_owned()))
        }
    }
}

impl fmt::Display for SiteRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for SiteRef {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for SiteRef {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

text_scalar!(
    SiteRef,
    "SiteRef",
    json_schema!({
        "type": "string",
        "description": "The name of a site, as under `sites:`.",
        "pattern": "^[a-z][a-z0-9-]{0,39}$",
    })
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_plain_names_and_no_roles() {
        assert!("us-east-1".parse::<SiteRef>().is_ok());
        assert!(matches!(
            "active".parse::<SiteRef>(),
            Err(SiteRefError::Role(_))
        ));
        for text in ["", "Primary", "1st", "a b", "a/b", "ä", &"x".repeat(41)] {
            assert!(
                matches!(text.parse::<SiteRef>(), Err(SiteRefError::Malformed(_))),
                "{text}"
            );
        }
    }
}
