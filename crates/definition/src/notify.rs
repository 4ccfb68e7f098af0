//! Who is told what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::located::Located;
use crate::scalars::secret::SecretRef;
use crate::scalars::span::Span;
use crate::scalars::url::UrlOrSecret;

/// A channel: one of `webhook` and `command`, and what it is for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Notify {
    /// A POST of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookChannel>,
    /// A program that gets the JSON on its standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandChannel>,
    /// Which events it gets: names such as `run.finished`, or `run.*`. Left out: all.
    #[serde(default = "default_on")]
    #[schemars(default = "default_on")]
    pub on: Vec<Located<String>>,
}

/// Where a webhook goes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WebhookChannel {
    /// The address, or a reference to it: many services put their key into the path.
    pub url: UrlOrSecret,
    /// A reference to the value of the `Authorization` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<SecretRef>,
    /// The limit of one attempt.
    #[serde(default = "default_timeout")]
    #[schemars(default = "default_timeout")]
    pub timeout: Located<Span>,
}

/// A program to start. No shell is involved.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CommandChannel {
    /// The program and its arguments.
    #[schemars(length(min = 1))]
    pub argv: Located<Vec<String>>,
    /// The limit of one attempt.
    #[serde(default = "default_timeout")]
    #[schemars(default = "default_timeout")]
    pub timeout: Located<Span>,
}

impl Notify {
    /// Tells whether the channel wants an event of this name.
    pub fn wants(&self, event: &str) -> bool {
        self.on
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => event.starts_with(start),
                None => pattern.as_str() == event,
            })
    }
}

fn default_on() -> Vec<Located<String>> {
    vec![Located::nowhere("*".to_owned())]
}

fn default_timeout() -> Located<Span> {
    Located::nowhere(Span::seconds(10))
}
