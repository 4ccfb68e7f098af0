//! A runbook as it is written: steps in order.

use std::fmt;
use std::sync::Arc;

use runbook_engine::plan::{Broken, IfUnreachable, InDoubt, Mode, OnFailure};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::check_runbook;
use crate::diagnostics::{Diagnostics, Source};
use crate::located::Located;
use crate::scalars::span::Span;

/// What a set of step kinds offers: an externally tagged enum with one variant per kind, `dns.upsert: {...}`.
pub trait Kind: DeserializeOwned + Serialize + JsonSchema + Clone {
    /// Returns the name of the kind, such as `harbor.silence`: the variant's tag.
    fn name(&self) -> &'static str;

    /// Returns what is done with an interrupted attempt when the runbook does not say.
    fn in_doubt(&self) -> InDoubt;

    /// Returns the roles or sites that the step names.
    fn roles(&self) -> Vec<String>;
}

/// A runbook as written, and checked.
#[derive(Clone, Debug)]
pub struct Runbook<K> {
    /// Its name, such as `failover`.
    pub name: String,
    /// The pattern of topology it is for.
    pub pattern: Pattern,
    /// Its steps in order.
    pub steps: Vec<Step<K>>,
    /// The file it was read from, for checks that need more than the file.
    pub(crate) source: Arc<Source>,
}

/// The patterns of topologies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// One active site and one standby.
    DrPair,
}

/// The shape of the file.
#[derive(Deserialize, JsonSchema)]
#[serde(
    rename_all = "kebab-case",
    deny_unknown_fields,
    bound(deserialize = "K: Kind")
)]
#[schemars(rename = "Runbook")]
pub(crate) struct RunbookFile<K> {
    /// The version of the file's shape: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: Located<u32>,
    /// The name of the runbook.
    pub runbook: Located<String>,
    /// The pattern of topology it is for.
    #[serde(rename = "for")]
    pub pattern: Pattern,
    /// Its steps in order.
    #[schemars(length(min = 1))]
    pub steps: Located<Vec<Step<K>>>,
}

/// One step of a runbook.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(
    rename_all = "kebab-case",
    deny_unknown_fields,
    bound(deserialize = "K: Kind")
)]
pub struct Step<K> {
    /// Its name, unique in the runbook.
    pub id: Located<String>,
    /// What it does.
    #[serde(rename = "do")]
    pub action: Located<K>,
    /// The modes in which it is taken. Left out: in all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<ModeSchema>")]
    pub modes: Vec<Mode>,
    /// The longest that one attempt may take.
    #[serde(default = "default_timeout")]
    #[schemars(default = "default_timeout")]
    pub timeout: Located<Span>,
    /// What happens after an attempt that failed and may be repeated.
    #[serde(default)]
    pub retry: Retry,
    /// What happens when no attempt is left.
    #[serde(default = "default_on_failure")]
    #[schemars(with = "OnFailureSchema", default = "default_on_failure")]
    pub on_failure: OnFailure,
    /// What happens when the site of the step does not answer.
    #[serde(default = "default_if_unreachable")]
    #[schemars(with = "IfUnreachableSchema", default = "default_if_unreachable")]
    pub if_unreachable: IfUnreachable,
    /// What must be true for the step to be right. A guard counts in the modes in which its own step is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<Located<Guard>>,
    /// The earlier step to go back to when this one finds that more has to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<Located<String>>,
    /// True for the step that moves the clients.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cutover: bool,
    /// What is done with an interrupted attempt. Left out: what the kind says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<InDoubtSchema>")]
    pub in_doubt: Option<InDoubt>,
}

/// How often an attempt is repeated, and how long is waited between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, from 1 to 100.
    #[serde(default = "default_attempts")]
    #[schemars(range(min = 1, max = 100), default = "default_attempts")]
    pub attempts: Located<u32>,
    /// The wait before the second attempt; doubled for each further one, at most ten times this.
    #[serde(default = "default_backoff")]
    #[schemars(default = "default_backoff")]
    pub backoff: Located<Span>,
}

/// An earlier step that must still hold. Written as its name alone, or as a map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Guard {
    /// The step whose probe must say done.
    pub step: Located<String>,
    /// How old its outcome may be. None: any age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Located<Span>>,
    /// What a broken guard leads to.
    pub broken: Broken,
}

impl<K: Kind> Runbook<K> {
    /// Checks that every role which the steps name is `active`, `standby`, `endpoint` or one of these sites.
    ///
    /// # Errors
    /// All names that are none of them, each with its place.
    pub fn check_sites<'a>(
        &self,
        sites: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Diagnostics> {
        check_runbook::sites(self, &sites.into_iter().collect::<Vec<_>>())
    }
}

impl<K> Step<K> {
    /// Tells whether the step is taken in a mode.
    pub fn taken_in(&self, mode: Mode) -> bool {
        self.modes.is_empty() || self.modes.contains(&mode)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: default_attempts(),
            backoff: default_backoff(),
        }
    }
}

impl<'de> Deserialize<'de> for Guard {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // A visitor instead of an untagged enum, which would lose the line and the column.
        from.deserialize_any(GuardVisitor)
    }
}

struct GuardVisitor;

impl<'de> Visitor<'de> for GuardVisitor {
    type Value = Guard;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the name of an earlier step, or `{ step: NAME, max-age: 15m, broken: back | ask }`",
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Guard, E> {
        Ok(Guard {
            step: Located::nowhere(text.to_owned()),
            max_age: None,
            broken: Broken::Back,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Guard, A::Error> {
        let GuardMap {
            step,
            max_age,
            broken,
        } = GuardMap::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Guard {
            step,
            max_age,
            broken,
        })
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct GuardMap {
    /// The step whose probe must say done.
    step: Located<String>,
    /// How old its outcome may be.
    #[serde(default)]
    max_age: Option<Located<Span>>,
    /// What a broken guard leads to: back to its step, or a person decides.
    #[serde(default = "default_broken")]
    #[schemars(with = "BrokenSchema", default = "default_broken")]
    broken: Broken,
}

impl JsonSchema for Guard {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Guard".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<GuardMap>();
        json_schema!({
            "description": "An earlier step that must still hold: its name, or a map.",
            "anyOf": [{ "type": "string" }, map],
        })
    }
}

/// The engine's words for the schema only: the engine itself knows neither YAML nor its schema. That both agree is
/// tested.
macro_rules! words {
    ($name:ident = $title:literal: $($word:literal)|+) => {
        struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $title.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "enum": [$($word),+] })
            }
        }
    };
}

words!(ModeSchema = "Mode": "planned" | "unplanned");
words!(OnFailureSchema = "OnFailure": "stop" | "ask" | "continue");
words!(IfUnreachableSchema = "IfUnreachable": "fail" | "owe");
words!(InDoubtSchema = "InDoubt": "probe" | "ask" | "repeat");
words!(BrokenSchema = "Broken": "back" | "ask");

fn default_timeout() -> Located<Span> {
    Located::nowhere(Span::seconds(5 * 60))
}

fn default_attempts() -> Located<u32> {
    Located::nowhere(3)
}

fn default_backoff() -> Located<Span> {
    Located::nowhere(Span::seconds(2))
}

fn default_on_failure() -> OnFailure {
    OnFailure::Stop
}

fn default_if_unreachable() -> IfUnreachable {
    IfUnreachable::Fail
}

fn default_broken() -> Broken {
    Broken::Back
}

fn is_false(value: &bool) -> bool {
    !value
}
