//! A span of time in a runbook, with its unit.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span such as `10s` or `5m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let ms = self.0.as_millis();
        to.serialize_str(&if ms.is_multiple_of(1000) {
            format!("{}s", ms / 1000)
        } else {
            format!("{ms}ms")
        })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(from)?;
        text.parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|span| Duration::try_from(span).ok())
            .filter(|_| text.chars().any(char::is_alphabetic))
            .map(Span)
            .ok_or_else(|| {
                D::Error::custom(format!(
                    "`{text}` is not a span of time: write it with its unit, such as `10s` or `5m`"
                ))
            })
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "a span of time with its unit, such as 10s or 5m" })
    }
}
