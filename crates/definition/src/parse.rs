//! Text to values: the reading itself, and the reader's errors in our words.

use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_saphyr::{DefaultMessageFormatter, Error, Location, MessageFormatter};

use crate::check_config;
use crate::check_runbook;
use crate::codes::Code;
use crate::config::{Config, DnsConfig};
use crate::diagnostics::{Diagnostics, Finding, Source};
use crate::runbook::{Kind, Runbook, RunbookFile};
use crate::scalars::secret::SecretRefError;
use crate::suggest;

/// Reads and checks `runbook.yaml`. `file_name` is only shown.
///
/// # Errors
/// The first thing that keeps the file from being read, or else everything that is wrong with what it says.
pub fn parse_config<D: DnsConfig>(file_name: &str, text: &str) -> Result<Config<D>, Diagnostics> {
    let source = Source::new(file_name, text);
    let config = read::<Config<D>>(&source, text)?;
    check_config::check(&config, &source)?;
    Ok(config)
}

/// Reads and checks a runbook. `file_name` is only shown. Names of sites are checked by [`Runbook::check_sites`],
/// because a runbook alone does not know the sites.
///
/// # Errors
/// The first thing that keeps the file from being read, or else everything that is wrong with what it says.
pub fn parse_runbook<K: Kind>(file_name: &str, text: &str) -> Result<Runbook<K>, Diagnostics> {
    let source = Source::new(file_name, text);
    let file = read::<RunbookFile<K>>(&source, text)?;
    check_runbook::check(&file, &source)?;
    let RunbookFile {
        version: _,
        runbook,
        pattern,
        steps,
    } = file;
    Ok(Runbook {
        name: runbook.into_inner(),
        pattern,
        steps: steps.into_inner(),
        source,
    })
}

fn read<T: DeserializeOwned>(source: &Arc<Source>, text: &str) -> Result<T, Diagnostics> {
    // The snippets of the library are off: they would show the file as it is, and secrets in it.
    // Comments are not wanted, and more than 32 lines of them in a row would be refused.
    let options =
        serde_saphyr::options! { with_snippet: false, strict_booleans: true, emit_comments: false };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| finding(&error, None, source).into())
}

/// Puts an error of the reader into our words. `used` is the place of the alias through which the text was reached.
fn finding(error: &Error, used: Option<Location>, source: &Arc<Source>) -> Finding {
    let error = error.without_snippet();
    let location = used.or_else(|| error.location());
    let range = location.and_then(range_of);
    let make = |code, message: String| Finding::new(source, code, range.clone(), message);
    match error {
        Error::AliasError {
            error, locations, ..
        } => finding(error, Some(locations.reference_location), source),
        Error::SerdeUnknownField {
            field, expected, ..
        } => make(Code::UnknownKey, format!("unknown key `{field}`")).help(suggest::help(
            field,
            "keys here",
            expected,
        )),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => {
            let (one, all) = noun_at(source, range.as_ref());
            make(Code::UnknownWord, format!("unknown {one} `{variant}`"))
                .label(format!("unknown {one}"))
                .help(suggest::help(variant, all, expected))
        }
        Error::SerdeMissingField { field, .. } => {
            make(Code::MissingKey, format!("the key `{field}` is missing"))
                .label(format!("`{field}` is missing in this map"))
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => make(
            Code::DuplicateKey,
            format!("the key `{key}` stands twice in one map"),
        ),
        Error::DuplicateMappingKey { key: None, .. } => make(
            Code::DuplicateKey,
            "a key stands twice in one map".to_owned(),
        ),
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        }
        | Error::SerdeInvalidValue {
            unexpected,
            expected,
            ..
        } => make(
            Code::InvalidValue,
            format!(
                "expected {}, found {}",
                plain(expected),
                sort_of(unexpected)
            ),
        ),
        Error::SerdeInvalidLength { len, expected, .. } => make(
            Code::InvalidValue,
            format!("expected {}, found {len} entries", plain(expected)),
        ),
        Error::InvalidScalar { ty, .. } => {
            make(Code::InvalidValue, format!("expected {}", plain(ty)))
        }
        Error::InvalidBooleanStrict { .. } => {
            make(Code::InvalidValue, "expected `true` or `false`".to_owned())
        }
        Error::NullIntoString { .. } => make(
            Code::InvalidValue,
            "expected a text, found nothing".to_owned(),
        ),
        Error::Eof { .. } => make(
            Code::NotYaml,
            "the file ends where something was expected".to_owned(),
        )
        .help("is the file empty, or cut off?"),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => make(
            Code::TooComplex,
            "the file is larger or nested deeper than any configuration needs".to_owned(),
        ),
        Error::Message { msg, .. } => {
            // The reader passes messages of values on as bare texts; these two mean that a secret may stand there.
            let literal = [SecretRefError::Literal, SecretRefError::BadName]
                .iter()
                .any(|error| error.to_string() == *msg);
            make(
                if literal {
                    Code::LiteralSecret
                } else {
                    Code::InvalidValue
                },
                msg.clone(),
            )
        }
        Error::Unexpected { expected, .. } => {
            make(Code::InvalidValue, format!("expected {}", plain(expected)))
        }
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. }
        | Error::ExpectedStringKeyForExternallyTaggedEnum { .. } => {
            let (one, _) = noun_at(source, range.as_ref());
            make(
                Code::InvalidValue,
                format!("expected a {one}, alone or as the one key of a map"),
            )
        }
        Error::ExpectedMappingEndAfterEnumVariantValue { .. } => make(
            Code::InvalidValue,
            "a second key stands beside the one that says the kind".to_owned(),
        )
        .help("keep one of them: what belongs to a kind stands under its key"),
        Error::ExternalMessage { msg, .. } => make(Code::NotYaml, msg.clone()),
        other => make(
            Code::NotYaml,
            DefaultMessageFormatter.format_message(other).into_owned(),
        ),
    }
}

/// Returns the bytes that a place of the reader covers.
fn range_of(location: Location) -> Option<Range<usize>> {
    if location == Location::UNKNOWN {
        return None;
    }
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let len = usize::try_from(span.byte_len().unwrap_or(1)).ok()?;
    Some(start..start.saturating_add(len))
}

/// Says what kind of word stands at a place, in one and in many: the reader only knows that it is none of a list.
fn noun_at(source: &Source, range: Option<&Range<usize>>) -> (&'static str, &'static str) {
    let before = range
        .and_then(|range| source.text().get(..range.start))
        .unwrap_or("");
    let before = before
        .trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '{' | '[' | '-' | '"' | '\''));
    let word = before.strip_suffix(':').map(|before| {
        &before[before
            .rfind(|c: char| c.is_whitespace() || matches!(c, '{' | ','))
            .map_or(0, |at| at + 1)..]
    });
    match word {
        Some("do") => ("step kind", "step kinds"),
        Some("dns") => ("DNS provider", "DNS providers"),
        Some("modes") => ("mode", "modes"),
        Some("for") => ("pattern", "patterns"),
        Some("preset") => ("preset", "presets"),
        _ => ("word", "words here"),
    }
}

/// Says what was expected without the names that only programmers know.
fn plain(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of at least 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a string" | "string" | "string scalar" => "a text".to_owned(),
        "a boolean" | "bool" | "boolean" => "`true` or `false`".to_owned(),
        "a map" | "mapping" | "mapping start" => "a map".to_owned(),
        "a sequence" | "sequence" | "sequence start" => "a list".to_owned(),
        _ if expected.starts_with("struct ") => "a map".to_owned(),
        _ => expected.to_owned(),
    }
}

/// Says what was found, and not what it says: it may be a secret in the wrong place.
fn sort_of(unexpected: &str) -> &'static str {
    let first = unexpected.split_whitespace().next().unwrap_or("");
    match first {
        "string" | "str" | "character" => "a text",
        "integer" | "floating" => "a number",
        "boolean" => "`true` or `false`",
        "map" => "a map",
        "sequence" => "a list",
        "null" | "unit" | "Option" => "nothing",
        _ => "something else",
    }
}
