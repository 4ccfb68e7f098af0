//! Record sets: all values of one type at one name.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// The record types that a failover touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// An alias. Nothing else may stand at its name.
    Cname,
    /// Text, used for the ownership marker.
    Txt,
}

impl RecordType {
    /// Every type this crate knows.
    pub const ALL: [RecordType; 4] = [
        RecordType::A,
        RecordType::Aaaa,
        RecordType::Cname,
        RecordType::Txt,
    ];
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecordType::A => "A",
            RecordType::Aaaa => "AAAA",
            RecordType::Cname => "CNAME",
            RecordType::Txt => "TXT",
        })
    }
}

/// All values of one type at one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSet {
    /// Where the set stands.
    pub name: Name,
    /// The type of its values.
    pub kind: RecordType,
    /// Seconds that a cache may keep it.
    pub ttl: u32,
    /// The values in their one normal form, sorted, each once: addresses as the standard library prints them,
    /// names without the trailing dot, text without quotes.
    pub values: Vec<String>,
}

/// Why values do not make a record set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A set without values cannot stand in a zone.
    #[error("`{name}` {kind} has no value")]
    Empty {
        /// The set's name.
        name: Name,
        /// The set's type.
        kind: RecordType,
    },
    /// The text does not fit the type.
    #[error("`{value}` is no value for {kind}: {reason}")]
    Value {
        /// The type it was meant for.
        kind: RecordType,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An alias points at one name.
    #[error("`{name}` has {count} CNAME values, but an alias points at one name")]
    ManyAliases {
        /// The set's name.
        name: Name,
        /// How many were given.
        count: usize,
    },
    /// RFC 2181 leaves 31 bits for it.
    #[error("a TTL of {0} s is above the limit of 2147483647 s")]
    Ttl(u32),
}

impl RecordSet {
    /// Makes a set, bringing every value into its normal form.
    pub fn new<I, V>(
        name: Name,
        kind: RecordType,
        ttl: u32,
        values: I,
    ) -> Result<RecordSet, RecordError>
    where
        I: IntoIterator<Item = V>,
        V: AsRef<str>,
    {
        if ttl > i32::MAX.unsigned_abs() {
            return Err(RecordError::Ttl(ttl));
        }
        let mut values = values
            .into_iter()
            .map(|v| normal(kind, v.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        values.sort();
        values.dedup();
        match values.len() {
            0 => Err(RecordError::Empty { name, kind }),
            count if count > 1 && kind == RecordType::Cname => {
                Err(RecordError::ManyAliases { name, count })
            }
            _ => Ok(RecordSet {
                name,
                kind,
                ttl,
                values,
            }),
        }
    }

    /// Whether name, type and values agree. The TTL is left out: servers compare values, and a cache counts it down.
    pub fn same_values(&self, other: &RecordSet) -> bool {
        self.name == other.name && self.kind == other.kind && self.values == other.values
    }
}

impl fmt::Display for RecordSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {}",
            self.name,
            self.ttl,
            self.kind,
            self.values.join(", ")
        )
    }
}

/// A zone at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Its apex.
    pub name: Name,
    /// The provider's own id, where it has one.
    pub id: Option<String>,
}

/// Brings one value into its normal form.
pub(crate) fn normal(kind: RecordType, value: &str) -> Result<String, RecordError> {
    let refuse = |reason: String| RecordError::Value {
        kind,
        value: value.to_owned(),
        reason,
    };
    match kind {
        RecordType::A => Ok(Ipv4Addr::from_str(value)
            .map_err(|e| refuse(e.to_string()))?
            .to_string()),
        RecordType::Aaaa => Ok(Ipv6Addr::from_str(value)
            .map_err(|e| refuse(e.to_string()))?
            .to_string()),
        RecordType::Cname => {
            if Ipv4Addr::from_str(value).is_ok() {
                return Err(refuse(
                    "an alias points at a name, not at an address".to_owned(),
                ));
            }
            Ok(Name::parse(value)
                .map_err(|e| refuse(e.to_string()))?
                .to_string())
        }
        RecordType::Txt => Ok(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(kind: RecordType, values: &[&str]) -> Result<RecordSet, RecordError> {
        RecordSet::new(
            Name::parse("harbor.example.test").unwrap(),
            kind,
            60,
            values,
        )
    }

    #[test]
    fn values_have_one_form() {
        let long = set(
            RecordType::Aaaa,
            &["2001:DB8:0:0::2", "2001:db8::1", "2001:db8::0001"],
        )
        .unwrap();
        assert_eq!(long.values, ["2001:db8::1", "2001:db8::2"]);
        assert_eq!(
            set(RecordType::Cname, &["AMS.example.test."])
                .unwrap()
                .values,
            ["ams.example.test"]
        );
        assert_eq!(
            set(RecordType::Txt, &["v1 Owner=a"]).unwrap().values,
            ["v1 Owner=a"]
        );
    }

    #[test]
    fn the_ttl_is_no_value() {
        let one = set(RecordType::A, &["192.0.2.1"]).unwrap();
        let two = RecordSet {
            ttl: 5,
            ..one.clone()
        };
        assert!(one.same_values(&two) && one != two);
        assert!(!one.same_values(&set(RecordType::A, &["192.0.2.2"]).unwrap()));
    }

    #[test]
    fn what_cannot_stand_is_refused() {
        assert!(matches!(
            set(RecordType::A, &[]),
            Err(RecordError::Empty { .. })
        ));
        assert!(matches!(
            set(RecordType::A, &["2001:db8::1"]),
            Err(RecordError::Value { .. })
        ));
        assert!(matches!(
            set(RecordType::Cname, &["192.0.2.1"]),
            Err(RecordError::Value { .. })
        ));
        assert!(matches!(
            set(RecordType::Cname, &["a.test", "b.test"]),
            Err(RecordError::ManyAliases { count: 2, .. })
        ));
        let name = Name::parse("a.test").unwrap();
        assert_eq!(
            RecordSet::new(name, RecordType::A, u32::MAX, ["192.0.2.1"]),
            Err(RecordError::Ttl(u32::MAX))
        );
    }

    #[test]
    fn types_are_spelled_as_in_a_zone_file() {
        for kind in RecordType::ALL {
            // A formatter is a serializer that takes unit variants.
            struct Spelled(RecordType);
            impl fmt::Display for Spelled {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.serialize(f)
                }
            }
            assert_eq!(Spelled(kind).to_string(), kind.to_string());
        }
    }
}
