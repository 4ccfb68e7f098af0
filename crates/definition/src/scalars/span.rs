//! Spans of time as people write them: `10m`, `1h30m`, `500ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::json_schema;

use super::text_scalar;

/// A span of time. Always written with its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

/// Why a text is no span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// A bare number. Whether seconds or minutes were meant cannot be known.
    #[error("`{0}` has no unit: write `{0}s`, `{0}m` or `{0}h`")]
    NoUnit(String),
    /// Not numbers, each with its unit.
    #[error(
        "`{0}` is no span of time: write a number with `ms`, `s`, `m`, `h` or `d`, such as `90s` or `1h30m`"
    )]
    Malformed(String),
    /// Longer than any wait of this tool may be.
    #[error("`{0}` is too long: the limit is 366d")]
    TooLong(String),
}

/// Nothing here waits longer than a leap year; a larger number is a slip of the keyboard.
const LIMIT: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Units from the longest to the shortest, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl Span {
    /// Makes a span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Returns the span as the standard library's type.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Tells whether the span has no length.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let malformed = || SpanError::Malformed(text.to_owned());
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SpanError::NoUnit(text.to_owned()));
        }
        let mut rest = text;
        let mut total_ms = 0u64;
        // Each unit at most once and from long to short: `1m1h` is more likely a slip than a wish.
        let mut units = UNITS.as_slice();
        while !rest.is_empty() {
            let (digits, after) =
                rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
            let (unit, tail) =
                after.split_at(after.bytes().take_while(u8::is_ascii_alphabetic).count());
            let at = units
                .iter()
                .position(|(name, _)| *name == unit)
                .ok_or_else(malformed)?;
            let count: u64 = match digits.parse() {
                Ok(count) => count,
                Err(_) if digits.is_empty() => return Err(malformed()),
                Err(_) => return Err(SpanError::TooLong(text.to_owned())),
            };
            total_ms = count
                .checked_mul(units[at].1)
                .and_then(|part| total_ms.checked_add(part))
                .ok_or_else(|| SpanError::TooLong(text.to_owned()))?;
            units = &units[at + 1..];
            rest = tail;
        }
        if text.is_empty() {
            return Err(malformed());
        }
        let span = Duration::from_millis(total_ms);
        if span > LIMIT {
            Err(SpanError::TooLong(text.to_owned()))
        } else {
            Ok(Self(span))
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, ms) in UNITS {
            if rest >= ms {
                write!(f, "{}{unit}", rest / ms)?;
                rest %= ms;
            }
        }
        Ok(())
    }
}

text_scalar!(
    Span,
    "Span",
    json_schema!({
        "type": "string",
        "description": "A span of time with its unit: `90s`, `10m`, `1h30m`, `500ms`.",
        "pattern": "^(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
    })
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_spans() {
        for (text, ms) in [
            ("500ms", 500),
            ("90s", 90_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("0s", 0),
        ] {
            let span: Span = text.parse().expect(text);
            assert_eq!(span.duration(), Duration::from_millis(ms), "{text}");
        }
        for (text, back) in [
            ("90s", "1m30s"),
            ("1d", "1d"),
            ("1500ms", "1s500ms"),
            ("0ms", "0s"),
        ] {
            assert_eq!(text.parse::<Span>().expect(text).to_string(), back);
        }
    }

    #[test]
    fn refuses_what_is_no_span() {
        assert_eq!("10".parse::<Span>(), Err(SpanError::NoUnit("10".into())));
        for text in [
            "", "m", "10 m", "-1s", "1.5h", "10x", "1m1h", "1s1s", "soon", "1µs",
        ] {
            assert_eq!(
                text.parse::<Span>(),
                Err(SpanError::Malformed(text.into())),
                "{text}"
            );
        }
        for text in ["367d", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(
                text.parse::<Span>(),
                Err(SpanError::TooLong(text.into())),
                "{text}"
            );
        }
    }
}
