//! Replication policies.
//!
//! A PUT replaces a policy whole and Harbor leaves out what is false or empty, so a policy keeps the document
//! it was read from: fields that a newer Harbor added survive a write, and equality is judged on the
//! [`PolicyFields`] alone.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::registry::Registry;

/// A replication policy, with the document that Harbor gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Policy {
    /// The id.
    pub id: i64,
    /// The name, unique per Harbor.
    pub name: String,
    /// Whether it may run. A disabled one answers a start with 412.
    pub enabled: bool,
    /// Where it copies from.
    pub source: Side,
    /// Where it copies to.
    pub destination: Side,
    /// The namespace at the destination; empty means the same as at the source.
    pub dest_namespace: String,
    /// How many parts of the source's name the namespace replaces; below 0 all but the last.
    pub dest_namespace_replace_count: i64,
    /// What it copies: all filters must agree.
    pub filters: Vec<Filter>,
    /// What starts it.
    pub trigger: Trigger,
    /// Whether events of deletion are carried over. No other kind of run ever deletes.
    pub deletion: bool,
    /// Whether a tag that exists with another digest is replaced.
    pub override_existing: bool,
    /// In kilobits per second for each task; 0 is no limit.
    pub speed_kbps: i64,
    /// When it was last changed: Harbor has no version or ETag, so this is what shows a change.
    pub update_time: Option<Timestamp>,
    /// What Harbor gave, whole. Secrets in it are masked by Harbor.
    pub document: Value,
}

/// One end of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// The Harbor that holds the policy.
    Local,
    /// A registry endpoint of that Harbor.
    Remote(RegistryRef),
}

/// Which registry endpoint a policy names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryRef {
    /// The id of the endpoint.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
}

/// What starts a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// Only a request.
    Manual,
    /// A clock, in UTC: six fields, the first `0`, the second not `*`.
    Scheduled {
        /// Such as `0 */10 * * * *`.
        cron: String,
    },
    /// Pushes (and deletions, with `deletion`). Accepted on a pull policy, where it never fires.
    EventBased,
    /// A word of another version.
    Other(String),
}

/// One filter of a policy, as stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Filter {
    /// A glob over the full repository name.
    Name(String),
    /// A glob over tags.
    Tag {
        /// The glob.
        pattern: String,
        /// Whether matching tags are left out instead.
        excludes: bool,
    },
    /// Names of labels, all of which an artifact must carry.
    Label {
        /// The names.
        labels: Vec<String>,
        /// Whether artifacts that carry all of them are left out instead.
        excludes: bool,
    },
    /// `image` or `artifact`. Changes nothing where the source is a Harbor.
    Resource(String),
    /// What this version does not know, as JSON text.
    Other(String),
}

/// All fields of a policy that a request can set, in one form whatever the spelling: two policies are the
/// same when these are equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyFields {
    /// The name.
    pub name: String,
    /// A free text.
    pub description: String,
    /// The id of the source endpoint; 0 is local.
    pub src_registry: i64,
    /// The id of the destination endpoint; 0 is local.
    pub dest_registry: i64,
    /// The namespace at the destination.
    pub dest_namespace: String,
    /// All values below 0 mean the same and are -1 here.
    pub dest_namespace_replace_count: i64,
    /// Sorted: they are ANDed, so their order means nothing.
    pub filters: Vec<Filter>,
    /// No trigger is manual.
    pub trigger: Trigger,
    /// Carry deletions over.
    pub deletion: bool,
    /// Replace tags that exist with another digest.
    #[serde(rename = "override")]
    pub override_existing: bool,
    /// May run.
    pub enabled: bool,
    /// In kilobits per second a task; 0 is no limit (-1 is stored as 0).
    pub speed: i64,
    /// Copy blobs in pieces of 10 MiB.
    pub copy_by_chunk: bool,
    /// Refuse to run twice at the same time. Known since v2.14, dropped silently before.
    pub single_active_replication: bool,
}

/// One field in which two policies differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldDifference {
    /// Harbor's name of the field.
    pub field: String,
    /// Its value before.
    pub before: Value,
    /// Its value after.
    pub after: Value,
}

/// A whole policy to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyDocument {
    pub(crate) document: Value,
    pub(crate) expected: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Known {
    #[serde(default)]
    id: i64,
    #[serde(default)]
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    src_registry: Option<Registry>,
    #[serde(default)]
    dest_registry: Option<Registry>,
    #[serde(default)]
    dest_namespace: Option<String>,
    #[serde(default)]
    dest_namespace_replace_count: Option<i64>,
    #[serde(default, deserialize_with = "super::null_as_default")]
    filters: Vec<Value>,
    #[serde(default)]
    trigger: Option<KnownTrigger>,
    #[serde(default)]
    deletion: bool,
    #[serde(default, rename = "override")]
    override_existing: bool,
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    speed: Option<i64>,
    #[serde(default)]
    copy_by_chunk: Option<bool>,
    #[serde(default)]
    single_active_replication: Option<bool>,
    #[serde(default, deserialize_with = "super::optional_time")]
    update_time: Option<Timestamp>,
}

#[derive(Deserialize)]
struct KnownTrigger {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    trigger_settings: Option<TriggerSettings>,
}

#[derive(Deserialize)]
struct TriggerSettings {
    #[serde(default)]
    cron: String,
}

impl Policy {
    /// Whether it brings content to the Harbor that holds it.
    pub fn is_pull(&self) -> bool {
        self.destination == Side::Local
    }

    /// The endpoint at the other end.
    pub fn remote(&self) -> Option<&RegistryRef> {
        [&self.source, &self.destination]
            .into_iter()
            .find_map(|side| match side {
                Side::Remote(registry) => Some(registry),
                Side::Local => None,
            })
    }

    /// All that a request can set, in one form.
    pub fn input_fields(&self) -> PolicyFields {
        let text = |field: &str| self.document[field].as_str().unwrap_or_default().to_owned();
        let flag = |field: &str| self.document[field].as_bool().unwrap_or_default();
        let id = |side: &Side| match side {
            Side::Local => 0,
            Side::Remote(registry) => registry.id,
        };
        PolicyFields {
            name: self.name.clone(),
            description: text("description"),
            src_registry: id(&self.source),
            dest_registry: id(&self.destination),
            dest_namespace: self.dest_namespace.clone(),
            dest_namespace_replace_count: self.dest_namespace_replace_count,
            filters: self.filters.clone(),
            trigger: self.trigger.clone(),
            deletion: self.deletion,
            override_existing: self.override_existing,
            enabled: self.enabled,
            speed: self.speed_kbps,
            copy_by_chunk: flag("copy_by_chunk"),
            single_active_replication: flag("single_active_replication"),
        }
        .normalised()
    }

    /// In which fields `other` differs, with the value here as the one before.
    pub fn differences(&self, other: &Policy) -> Vec<FieldDifference> {
        self.input_fields().differences(&other.input_fields())
    }

    /// The document to write it back, as it is.
    pub fn to_document(&self) -> PolicyDocument {
        PolicyDocument {
            document: self.document.clone(),
            expected: None,
        }
    }
}

impl PolicyFields {
    /// Returns the form that is compared: see the fields.
    pub fn normalised(mut self) -> PolicyFields {
        self.dest_namespace_replace_count = self.dest_namespace_replace_count.max(-1);
        self.speed = self.speed.max(0);
        for filter in &mut self.filters {
            if let Filter::Label { labels, .. } = filter {
                labels.sort();
            }
        }
        self.filters.sort();
        self
    }

    /// In which fields `other` differs.
    pub fn differences(&self, other: &PolicyFields) -> Vec<FieldDifference> {
        let (before, after) = (
            self.clone().normalised().document(),
            other.clone().normalised().document(),
        );
        let (Value::Object(before), Value::Object(after)) = (before, after) else {
            return Vec::new();
        };
        before
            .into_iter()
            .filter_map(|(field, before)| {
                let after = after.get(&field).cloned().unwrap_or_default();
                (before != after).then_some(FieldDifference {
                    field,
                    before,
                    after,
                })
            })
            .collect()
    }

    /// The body of a request that makes such a policy.
    fn document(&self) -> Value {
        json!({
            "name": self.name,
            "description": self.description,
            "src_registry": registry(self.src_registry),
            "dest_registry": registry(self.dest_registry),
            "dest_namespace": self.dest_namespace,
            "dest_namespace_replace_count": self.dest_namespace_replace_count,
            "filters": self.filters.iter().map(Filter::document).collect::<Vec<_>>(),
            "trigger": self.trigger.document(),
            "deletion": self.deletion,
            "override": self.override_existing,
            "enabled": self.enabled,
            "speed": self.speed,
            "copy_by_chunk": self.copy_by_chunk,
            "single_active_replication": self.single_active_replication,
        })
    }
}

impl PolicyDocument {
    /// Refuses the write with [`ErrorKind::ChangedMeanwhile`](crate::ErrorKind) when the policy's
    /// `update_time` is another one just before it. A change within the milliseconds between goes unseen:
    /// Harbor has no conditional write.
    pub fn expecting(mut self, update_time: Option<Timestamp>) -> PolicyDocument {
        self.expected = update_time;
        self
    }

    /// Switches the policy on or off.
    pub fn with_enabled(mut self, enabled: bool) -> PolicyDocument {
        self.document["enabled"] = Value::Bool(enabled);
        self
    }

    /// Names the policy to be written, in place of the one that it was read from.
    pub fn with_id(mut self, id: i64) -> PolicyDocument {
        self.document["id"] = id.into();
        self
    }

    /// The id of the policy that it replaces; `None` for one that is to be made.
    pub fn id(&self) -> Option<i64> {
        self.document["id"].as_i64().filter(|id| *id > 0)
    }

    /// The JSON that is sent.
    pub fn as_json(&self) -> &Value {
        &self.document
    }
}

impl From<PolicyFields> for PolicyDocument {
    fn from(fields: PolicyFields) -> PolicyDocument {
        PolicyDocument {
            document: fields.document(),
            expected: None,
        }
    }
}

impl TryFrom<Value> for Policy {
    type Error = serde_json::Error;

    fn try_from(document: Value) -> Result<Policy, serde_json::Error> {
        let known = Known::deserialize(&document)?;
        // Kept in the document only; read here so that a wrong type is an error now.
        let _ = (
            known.description,
            known.copy_by_chunk,
            known.single_active_replication,
        );
        Ok(Policy {
            id: known.id,
            name: known.name,
            enabled: known.enabled,
            source: side(known.src_registry),
            destination: side(known.dest_registry),
            dest_namespace: known.dest_namespace.unwrap_or_default(),
            dest_namespace_replace_count: known.dest_namespace_replace_count.unwrap_or(-1),
            filters: known.filters.iter().map(Filter::read).collect(),
            trigger: known.trigger.map_or(Trigger::Manual, Trigger::from),
            deletion: known.deletion,
            override_existing: known.override_existing,
            speed_kbps: known.speed.unwrap_or(0),
            update_time: known.update_time,
            document,
        })
    }
}

impl From<Policy> for Value {
    fn from(policy: Policy) -> Value {
        policy.document
    }
}

impl From<KnownTrigger> for Trigger {
    fn from(known: KnownTrigger) -> Trigger {
        match known.kind.as_str() {
            "" | "manual" => Trigger::Manual,
            "scheduled" => Trigger::Scheduled {
                cron: known.trigger_settings.map(|s| s.cron).unwrap_or_default(),
            },
            "event_based" => Trigger::EventBased,
            _ => Trigger::Other(known.kind),
        }
    }
}

impl Trigger {
    fn document(&self) -> Value {
        match self {
            Trigger::Manual => json!({ "type": "manual" }),
            Trigger::Scheduled { cron } => {
                json!({ "type": "scheduled", "trigger_settings": { "cron": cron } })
            }
            Trigger::EventBased => json!({ "type": "event_based" }),
            Trigger::Other(kind) => json!({ "type": kind }),
        }
    }
}

impl Filter {
    /// Reads one filter of a policy's document.
    pub(crate) fn read(document: &Value) -> Filter {
        let excludes = match document["decoration"].as_str() {
            None | Some("" | "matches") => Some(false),
            Some("excludes") => Some(true),
            Some(_) => None,
        };
        let text = document["value"].as_str().map(str::to_owned);
        let list = document["value"].as_array().and_then(|items| {
            items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        });
        let read = match (document["type"].as_str(), excludes) {
            (Some("name"), Some(false)) => text.map(Filter::Name),
            (Some("tag"), Some(excludes)) => text.map(|pattern| Filter::Tag { pattern, excludes }),
            (Some("label"), Some(excludes)) => {
                list.map(|labels| Filter::Label { labels, excludes })
            }
            (Some("resource"), Some(false)) => text.map(Filter::Resource),
            _ => None,
        };
        read.unwrap_or_else(|| Filter::Other(document.to_string()))
    }

    fn document(&self) -> Value {
        let decorated = |kind: &str, value: Value, excludes: bool| {
            let mut document = json!({ "type": kind, "value": value });
            if excludes {
                document["decoration"] = "excludes".into();
            }
            document
        };
        match self {
            Filter::Name(pattern) => json!({ "type": "name", "value": pattern }),
            Filter::Tag { pattern, excludes } => decorated("tag", json!(pattern), *excludes),
            Filter::Label { labels, excludes } => decorated("label", json!(labels), *excludes),
            Filter::Resource(kind) => json!({ "type": "resource", "value": kind }),
            Filter::Other(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        }
    }
}

/// The local side is `null` in requests; answers show it as a made-up registry with id 0.
fn side(registry: Option<Registry>) -> Side {
    match registry {
        Some(registry) if registry.id != 0 => Side::Remote(RegistryRef {
            id: registry.id,
            name: registry.name,
            url: registry.url,
        }),
        _ => Side::Local,
    }
}

fn registry(id: i64) -> Value {
    if id == 0 {
        Value::Null
    } else {
        json!({ "id": id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(document: Value) -> Policy {
        Policy::try_from(document).expect("a policy")
    }

    #[test]
    fn what_harbor_leaves_out_is_false_or_empty() {
        let read = policy(json!({
            "id": 81, "name": "p", "copy_by_chunk": false, "dest_namespace_replace_count": -1, "speed": 0,
            "filters": null,
            "src_registry": { "id": 8, "name": "primary", "url": "http://p" },
            "dest_registry": { "id": 0, "name": "Local", "creation_time": "0001-01-01T00:00:00.000Z" },
            "update_time": "2026-11-23T17:25:11.160Z",
        }));
        assert!(!read.enabled && !read.deletion && !read.override_existing);
        assert_eq!(read.trigger, Trigger::Manual);
        assert_eq!(read.filters, []);
        assert!(read.is_pull());
        assert_eq!(read.remote().map(|registry| registry.id), Some(8));
    }

    #[test]
    fn spellings_of_the_same_policy_do_not_differ() {
        let base = json!({ "name": "p", "src_registry": { "id": 8 } });
        let spelled = json!({
            "name": "p", "src_registry": { "id": 8, "name": "primary", "status": "unhealthy" },
            "dest_registry": { "id": 0 }, "trigger": { "type": "manual" }, "filters": [], "speed": -1,
            "dest_namespace_replace_count": -2, "dest_namespace": "", "enabled": false,
            "creation_time": "2026-11-23T17:25:11.160Z", "replicate_deletion": false,
        });
        assert_eq!(policy(base).differences(&policy(spelled)), []);
    }

    #[test]
    fn differences_name_harbors_fields() {
        let before = policy(
            json!({ "name": "p", "src_registry": { "id": 8 }, "enabled": true,
            "filters": [{ "type": "tag", "value": "v*" }, { "type": "name", "value": "a/**" }] }),
        );
        let after = policy(
            json!({ "name": "p", "src_registry": { "id": 8 }, "speed": 1024,
            "filters": [{ "type": "name", "value": "a/**" },
                        { "type": "tag", "value": "v*", "decoration": "excludes" }] }),
        );
        let differences = before.differences(&after);
        let fields: Vec<_> = differences.iter().map(|d| d.field.as_str()).collect();
        assert_eq!(fields, ["enabled", "filters", "speed"]);
        assert_eq!(
            (&differences[2].before, &differences[2].after),
            (&json!(0), &json!(1024))
        );
    }

    #[test]
    fn a_write_keeps_fields_that_this_version_does_not_know() {
        let read =
            policy(json!({ "id": 3, "name": "p", "src_registry": { "id": 8 }, "new_thing": [1] }));
        let written = read.to_document().with_enabled(true);
        assert_eq!(written.as_json()["new_thing"], json!([1]));
        assert_eq!(written.as_json()["enabled"], json!(true));
        assert_eq!(written.id(), Some(3));
    }

    #[test]
    fn a_policy_in_a_journal_is_its_document() {
        let read =
            policy(json!({ "id": 3, "name": "p", "src_registry": { "id": 8 }, "new_thing": [1] }));
        let text = serde_json::to_string(&read).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Policy>(&text).expect("a policy"),
            read
        );
    }

    #[test]
    fn fields_make_a_document_that_reads_as_the_same_fields() {
        let read = policy(
            json!({ "name": "p", "src_registry": { "id": 8 }, "enabled": true,
            "trigger": { "type": "scheduled", "trigger_settings": { "cron": "0 0 2 * * *" } },
            "filters": [{ "type": "label", "value": ["a", "b"], "decoration": "excludes" },
                        { "type": "regex", "value": "x" }] }),
        );
        let written = PolicyDocument::from(read.input_fields());
        assert_eq!(
            policy(written.as_json().clone()).input_fields(),
            read.input_fields()
        );
    }
}
