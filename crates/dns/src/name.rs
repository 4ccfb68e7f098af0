//! A domain name, compared as DNS compares it.

use std::fmt;
use std::str::FromStr;

use hickory_proto::rr::Name as WireName;
use serde::{Deserialize, Serialize};

/// The label under which a name's ownership marker stands. Fixed, because a label that can be configured is a
/// label that two operators configure differently; a child, because beside a CNAME nothing else may stand.
const MARKER_LABEL: &str = "_dr-owner";

/// A fully qualified domain name in lower case. International names are held in their A-label form.
///
/// Written and displayed without the trailing dot; read with or without it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(WireName);

/// Why a text is not a domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a domain name: {reason}")]
pub struct NameError {
    text: String,
    reason: String,
}

impl Name {
    /// Reads a name, with or without the trailing dot.
    pub fn parse(text: &str) -> Result<Name, NameError> {
        let refuse = |reason: &str| NameError {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        if text.trim_end_matches('.').is_empty() {
            return Err(refuse("it is empty"));
        }
        // The library takes nearly anything as a label. A slash or a colon is a URL or a port in the wrong field.
        let odd = |c: &char| c.is_ascii() && !(c.is_ascii_alphanumeric() || "-_.*\\".contains(*c));
        if let Some(c) = text.chars().find(odd) {
            return Err(refuse(&format!("`{c}` cannot stand in a name")));
        }
        let mut name = WireName::from_str_relaxed(text).map_err(|e| refuse(&e.to_string()))?;
        name.set_fqdn(true);
        Ok(Name(name.to_lowercase()))
    }

    /// Returns the name one label below this one.
    pub fn child(&self, label: &str) -> Result<Name, NameError> {
        let refuse = |e: &dyn fmt::Display| NameError {
            text: format!("{label}.{self}"),
            reason: e.to_string(),
        };
        let mut name = self.0.prepend_label(label).map_err(|e| refuse(&e))?;
        name.set_fqdn(true);
        Ok(Name(name.to_lowercase()))
    }

    /// Returns the name without its first label, or nothing at the root.
    pub fn parent(&self) -> Option<Name> {
        (!self.0.is_root()).then(|| Name(self.0.base_name()))
    }

    /// Whether the name is `zone` itself or stands below it.
    pub fn is_within(&self, zone: &Name) -> bool {
        zone.0.zone_of(&self.0)
    }

    /// Whether the name is the apex of `zone`, where no CNAME may stand.
    pub fn is_apex(&self, zone: &Name) -> bool {
        self == zone
    }

    /// Returns the name of the TXT record that says who owns this name: `_dr-owner.<name>`.
    pub fn marker(&self) -> Result<Name, NameError> {
        self.child(MARKER_LABEL)
    }

    pub(crate) fn wire(&self) -> &WireName {
        &self.0
    }

    /// Takes a name off the wire, where any octet may stand.
    pub(crate) fn from_wire(name: &WireName) -> Name {
        let mut name = name.to_lowercase();
        name.set_fqdn(true);
        Name(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_ascii();
        match text.strip_suffix('.') {
            Some("") | None => f.write_str(&text),
            Some(short) => f.write_str(short),
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::parse(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Name, NameError> {
        Name::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn dots_and_case_do_not_matter() {
        assert_eq!(name("Harbor.Example.test."), name("harbor.example.test"));
        assert_eq!(
            name("Harbor.Example.test.").to_string(),
            "harbor.example.test"
        );
    }

    #[test]
    fn international_names_become_a_labels() {
        assert_eq!(name("bücher.test").to_string(), "xn--bcher-kva.test");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "https://harbor.test",
            "harbor.test:53",
            "a b",
            &"x".repeat(64),
            &"abc.".repeat(70),
        ] {
            assert!(Name::parse(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn family() {
        let zone = name("example.test");
        let harbor = zone.child("harbor").unwrap();
        assert_eq!(harbor, name("harbor.example.test"));
        assert_eq!(harbor.parent(), Some(zone.clone()));
        assert!(harbor.is_within(&zone) && zone.is_within(&zone) && !zone.is_within(&harbor));
        assert!(!name("notexample.test").is_within(&zone));
        assert!(zone.is_apex(&zone) && !harbor.is_apex(&zone));
        assert_eq!(
            harbor.marker().unwrap().to_string(),
            "_dr-owner.harbor.example.test"
        );
        assert_eq!(name("test").parent().and_then(|root| root.parent()), None);
    }

    #[test]
    fn a_wildcard_survives_both_spellings() {
        assert_eq!(name("*.example.test"), name("\\052.example.test"));
    }
}
