//! Where a secret is kept. Never the secret.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A reference to a secret. It is resolved once, before anything is changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretRef {
    /// `env:NAME`: a variable of the environment.
    Env(String),
    /// `file:PATH`: the content of a file, without its last line break.
    File(String),
    /// `cred:NAME`: a credential that systemd passed, a file in `$CREDENTIALS_DIRECTORY`.
    Cred(String),
    /// `exec: [PROGRAM, ARG, ...]`: what a program prints. No shell is involved.
    Exec(Vec<String>),
}

/// Why a text is no reference to a secret. It never repeats the text, which may be the secret itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretRefError {
    /// Something else than a reference: most likely the secret.
    #[error(
        "a secret is never written here: refer to it by `env:NAME`, `file:PATH`, `cred:NAME` or `exec: [PROGRAM, ARG]`"
    )]
    Literal,
    /// The scheme is right and nothing, or nothing usable, follows it.
    #[error(
        "the reference names nothing: write `env:NAME`, `file:PATH`, `cred:NAME` or `exec: [PROGRAM, ARG]`"
    )]
    Empty,
    /// The name of a variable or credential holds what no such name can hold.
    #[error(
        "the reference holds a character that such a name cannot have: use letters, digits, `_`, `-` and `.`"
    )]
    BadName,
}

/// Schemes of references in their written form.
pub(crate) const SCHEMES: [&str; 4] = ["env:", "file:", "cred:", "exec:"];

impl SecretRef {
    /// Tells whether a text is meant as a reference, be it a good one or not.
    pub(crate) fn is_meant(text: &str) -> bool {
        SCHEMES.iter().any(|scheme| text.starts_with(scheme))
    }

    fn exec(argv: Vec<String>) -> Result<Self, SecretRefError> {
        match argv.first() {
            Some(program) if !program.is_empty() => Ok(Self::Exec(argv)),
            _ => Err(SecretRefError::Empty),
        }
    }
}

impl FromStr for SecretRef {
    type Err = SecretRefError;

    fn from_str(text: &str) -> Result<Self, SecretRefError> {
        let (scheme, rest) = text.split_once(':').ok_or(SecretRefError::Literal)?;
        let rest = rest.trim();
        match scheme {
            "env" => name(rest).map(Self::Env),
            "cred" => name(rest).map(Self::Cred),
            "file" if rest.is_empty() => Err(SecretRefError::Empty),
            "file" => Ok(Self::File(rest.to_owned())),
            "exec" => Self::exec(rest.split_whitespace().map(str::to_owned).collect()),
            _ => Err(SecretRefError::Literal),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Cred(name) => write!(f, "cred:{name}"),
            // Arguments are not shown: somebody will put a password among them in spite of all advice.
            Self::Exec(argv) => write!(f, "exec:{}", argv.first().map_or("", String::as_str)),
        }
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exec(argv) => {
                let mut map = to.serialize_map(Some(1))?;
                map.serialize_entry("exec", argv)?;
                map.end()
            }
            other => to.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // A visitor instead of an untagged enum, which would lose the line and the column.
        from.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = SecretRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reference to a secret, such as `env:NAME`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretRef, E> {
        text.parse().map_err(E::custom)
    }

    // A password may well be a number, a float or `true`. None of these may be repeated in a message.
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<SecretRef, E> {
        Err(E::custom(SecretRefError::Literal))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<SecretRef, E> {
        Err(E::custom(SecretRefError::Literal))
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<SecretRef, E> {
        Err(E::custom(SecretRefError::Literal))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<SecretRef, E> {
        Err(E::custom(SecretRefError::Literal))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<SecretRef, E> {
        Err(E::custom(SecretRefError::Literal))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<SecretRef, E> {
        Err(E::custom(SecretRefError::Literal))
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<SecretRef, E> {
        Err(E::custom(SecretRefError::Literal))
    }

    fn visit_unit<E: de::Error>(self) -> Result<SecretRef, E> {
        Err(E::custom(SecretRefError::Empty))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, _: A) -> Result<SecretRef, A::Error> {
        Err(de::Error::custom(SecretRefError::Literal))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretRef, A::Error> {
        let Some(key) = map.next_key::<String>()? else {
            return Err(de::Error::custom(SecretRefError::Empty));
        };
        if key != "exec" {
            return Err(de::Error::custom(SecretRefError::Literal));
        }
        let argv = map.next_value::<Vec<String>>()?;
        if map.next_key::<String>()?.is_some() {
            return Err(de::Error::custom(SecretRefError::Literal));
        }
        SecretRef::exec(argv).map_err(de::Error::custom)
    }
}

impl JsonSchema for SecretRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SecretRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A reference to a secret, never the secret: `env:NAME`, `file:PATH`, `cred:NAME`, `exec: [PROGRAM, ARG]`.",
            "oneOf": [
                { "type": "string", "pattern": "^((env|cred):[A-Za-z0-9_.-]+|file:.*\\S.*|exec:.*\\S.*)$" },
                {
                    "type": "object",
                    "properties": { "exec": { "type": "array", "items": { "type": "string" }, "minItems": 1 } },
                    "required": ["exec"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

fn name(text: &str) -> Result<String, SecretRefError> {
    if text.is_empty() {
        Err(SecretRefError::Empty)
    } else if text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    {
        Ok(text.to_owned())
    } else {
        Err(SecretRefError::BadName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_scheme() {
        let cases = [
            ("env:PASSWORD", SecretRef::Env("PASSWORD".into())),
            (
                "file:/run/secrets/a b",
                SecretRef::File("/run/secrets/a b".into()),
            ),
            ("cred:harbor-dr", SecretRef::Cred("harbor-dr".into())),
            (
                "exec:pass show dr",
                SecretRef::Exec(vec!["pass".into(), "show".into(), "dr".into()]),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        let written: SecretRef =
            serde_json::from_str(r#"{"exec": ["pass", "show dr"]}"#).expect("a map");
        assert_eq!(
            written,
            SecretRef::Exec(vec!["pass".into(), "show dr".into()])
        );
        assert_eq!(
            serde_json::to_string(&written).expect("json"),
            r#"{"exec":["pass","show dr"]}"#
        );
    }

    #[test]
    fn never_repeats_a_literal() {
        for text in [
            "\"hunter-two\"",
            "424242",
            "42.4242",
            "[\"hunter-two\"]",
            "{\"hunter-two\": 1}",
            "\"env:hunter two\"",
        ] {
            let error = serde_json::from_str::<SecretRef>(text)
                .expect_err(text)
                .to_string();
            assert!(
                !error.contains("hunter") && !error.contains("4242"),
                "{error}"
            );
        }
        for text in [
            "\"env:\"",
            "\"file: \"",
            "\"exec:\"",
            "null",
            "{}",
            "{\"exec\": []}",
        ] {
            assert!(serde_json::from_str::<SecretRef>(text).is_err(), "{text}");
        }
    }
}
