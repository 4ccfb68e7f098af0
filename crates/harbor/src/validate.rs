//! What Harbor accepts as a policy, checked before it is sent.

use serde_json::Value;
use thiserror::Error;

use crate::cron;

/// Why Harbor would refuse a policy with 400.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidPolicy {
    /// No name.
    #[error("the policy has no name")]
    NoName,
    /// Both registries are named, or neither.
    #[error("exactly one of `src_registry` and `dest_registry` must name a registry")]
    Sides,
    /// An unknown type of filter.
    #[error("unknown filter type `{0}`")]
    FilterType(String),
    /// A name, tag or resource filter whose value is not a text.
    #[error("the value of a {0} filter must be a text")]
    FilterValue(String),
    /// A label filter whose value is not a list of texts.
    #[error("the value of a label filter must be a list of label names")]
    LabelValue,
    /// A resource filter other than `image` and `artifact`.
    #[error("unknown resource `{0}`; `image` and `artifact` are known")]
    Resource(String),
    /// A decoration on something else than a tag or label filter.
    #[error("a {0} filter takes no decoration")]
    DecorationNotAllowed(String),
    /// A decoration other than `matches` and `excludes`.
    #[error("unknown decoration `{0}`")]
    Decoration(String),
    /// Not a lower-case repository path.
    #[error("`{0}` is not a valid destination namespace")]
    DestNamespace(String),
    /// A trigger other than `manual`, `scheduled` and `event_based`.
    #[error("unknown trigger `{0}`")]
    TriggerType(String),
    /// `scheduled` without a cron expression.
    #[error("a scheduled policy needs a cron expression")]
    CronMissing,
    /// Not six fields that Harbor's parser takes.
    #[error("`{0}` is not a cron expression of six fields, seconds first")]
    CronNotParsable(String),
    /// The first field is not the text `0`.
    #[error("the first field of the cron expression `{0}` (seconds) must be 0")]
    CronSeconds(String),
    /// The second field is the text `*`.
    #[error("the second field of the cron expression `{0}` (minutes) must not be *")]
    CronMinutes(String),
}

/// Checks the document of a policy as Harbor does when it is created or replaced, in Harbor's order.
///
/// Harbor does not check patterns ([`Filters::new`](crate::filter::Filters::new) does), nor
/// `dest_namespace_replace_count`. That the registry exists is checked by Harbor alone.
pub fn validate_policy(document: &Value) -> Result<(), InvalidPolicy> {
    if text(&document["name"]).is_empty() {
        return Err(InvalidPolicy::NoName);
    }
    let remote = |side: &str| document[side]["id"].as_i64().is_some_and(|id| id != 0);
    if remote("src_registry") == remote("dest_registry") {
        return Err(InvalidPolicy::Sides);
    }
    for filter in document["filters"].as_array().into_iter().flatten() {
        validate_filter(filter)?;
    }
    let namespace = text(&document["dest_namespace"]);
    if !namespace.is_empty() && !namespace.split('/').all(is_path_component) {
        return Err(InvalidPolicy::DestNamespace(namespace.to_owned()));
    }
    validate_trigger(&document["trigger"])
}

fn validate_filter(filter: &Value) -> Result<(), InvalidPolicy> {
    let kind = text(&filter["type"]);
    match (kind, &filter["value"]) {
        ("resource", Value::String(resource)) => {
            if !matches!(resource.as_str(), "image" | "artifact") {
                return Err(InvalidPolicy::Resource(resource.clone()));
            }
        }
        ("name" | "tag", Value::String(_)) => {}
        ("resource" | "name" | "tag", _) => {
            return Err(InvalidPolicy::FilterValue(kind.to_owned()));
        }
        ("label", Value::Array(labels)) if labels.iter().all(Value::is_string) => {}
        ("label", _) => return Err(InvalidPolicy::LabelValue),
        _ => return Err(InvalidPolicy::FilterType(kind.to_owned())),
    }
    match text(&filter["decoration"]) {
        "" => Ok(()),
        _ if !matches!(kind, "tag" | "label") => {
            Err(InvalidPolicy::DecorationNotAllowed(kind.to_owned()))
        }
        "matches" | "excludes" => Ok(()),
        other => Err(InvalidPolicy::Decoration(other.to_owned())),
    }
}

fn validate_trigger(trigger: &Value) -> Result<(), InvalidPolicy> {
    if trigger.is_null() {
        return Ok(());
    }
    match text(&trigger["type"]) {
        "manual" | "event_based" => Ok(()),
        "scheduled" => validate_cron(text(&trigger["trigger_settings"]["cron"])),
        other => Err(InvalidPolicy::TriggerType(other.to_owned())),
    }
}

fn validate_cron(cron: &str) -> Result<(), InvalidPolicy> {
    if cron.is_empty() {
        return Err(InvalidPolicy::CronMissing);
    }
    if !cron::is_parsable(cron) {
        return Err(InvalidPolicy::CronNotParsable(cron.to_owned()));
    }
    // The two fields are compared as text, cut at single blanks: `00` and two blanks mean something else.
    let mut fields = cron.split(' ');
    if fields.next() != Some("0") {
        return Err(InvalidPolicy::CronSeconds(cron.to_owned()));
    }
    if fields.next() == Some("*") {
        return Err(InvalidPolicy::CronMinutes(cron.to_owned()));
    }
    Ok(())
}

/// Lower-case letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_path_component(part: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let Some(last) = part.chars().next_back() else {
        return false;
    };
    if !part.starts_with(is_word) || !is_word(last) {
        return false;
    }
    part.split(is_word).all(|between| {
        matches!(between, "" | "." | "_" | "__") || between.chars().all(|c| c == '-')
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
