//! `runbook.yaml`: sites, topologies, channels.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::located::Located;
use crate::notify::Notify;
use crate::scalars::host::HostPort;
use crate::scalars::secret::SecretRef;
use crate::scalars::site::SiteRef;
use crate::scalars::span::Span;
use crate::scalars::url::{Url, UrlOrSecret};
use crate::topology::Topology;

/// What the configuration of DNS providers must offer: an externally tagged enum, `- rfc2136: {...}`.
pub trait DnsConfig: DeserializeOwned + Serialize + JsonSchema + Clone {}

impl<T: DeserializeOwned + Serialize + JsonSchema + Clone> DnsConfig for T {}

/// The whole of `runbook.yaml`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config<D> {
    /// The version of the file's shape: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: Located<u32>,
    /// How often faster than the wall all waits are. For sandboxes: more than 1 is refused unless every site is on
    /// a loopback address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 100_000.0))]
    pub time_scale: Option<Located<f64>>,
    /// The Harbors, by name.
    pub sites: BTreeMap<SiteRef, Site>,
    /// How they belong together, by name.
    pub topologies: BTreeMap<Located<String>, Topology<D>>,
    /// Who is told, by name of the channel.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notify: BTreeMap<Located<String>, Notify>,
}

/// One Harbor.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Site {
    /// The address of its own, not the service name: `https://harbor-primary.example.com`. Any port, and plain
    /// `http` where the network is trusted.
    pub url: Located<Url>,
    /// Where it stands; only shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Who the tool is there. Setting read-only needs an administrator.
    pub auth: Auth,
    /// The limit of one request.
    #[serde(default = "default_timeout")]
    #[schemars(default = "default_timeout")]
    pub timeout: Located<Span>,
    /// Where to connect instead of asking DNS for the host of `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_to: Option<Located<HostPort>>,
    /// A file with the certificates of the authority that signed the site's, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}

/// A user and a reference to the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Auth {
    /// The user's name.
    pub user: String,
    /// Where the password is kept.
    pub password: SecretRef,
}

impl<D> Config<D> {
    /// Returns a site by its name.
    pub fn site(&self, name: &str) -> Option<&Site> {
        self.sites.get(name)
    }

    /// Returns a topology by its name.
    pub fn topology(&self, name: &str) -> Option<&Topology<D>> {
        self.topologies.get(name)
    }

    /// Returns the topology when there is exactly one, so that it need not be named.
    pub fn only_topology(&self) -> Option<(&str, &Topology<D>)> {
        let mut all = self.topologies.iter();
        match (all.next(), all.next()) {
            (Some((name, topology)), None) => Some((name.as_str(), topology)),
            _ => None,
        }
    }

    /// Returns how often faster than the wall waits are: 1 when nothing is written.
    pub fn time_scale(&self) -> f64 {
        self.time_scale.as_deref().copied().unwrap_or(1.0)
    }
}

impl<D: DnsConfig> Config<D> {
    /// Returns every reference to a secret together with the path where it is written, such as
    /// `sites.dr.auth.password`, in the order of the paths. What `robots.secret-to` names is written to and not
    /// read, and so is not among them.
    pub fn secret_references(&self) -> Vec<(String, SecretRef)> {
        let mut found = Vec::new();
        for (name, site) in &self.sites {
            found.push((
                format!("sites.{name}.auth.password"),
                site.auth.password.clone(),
            ));
        }
        for (name, topology) in &self.topologies {
            let endpoint = &topology.endpoint;
            for (i, provider) in endpoint.dns.iter().enumerate() {
                let path = format!("topologies.{name}.endpoint.dns[{i}]");
                if let Ok(value) = serde_json::to_value(&**provider) {
                    references_in(&value, &path, &mut found);
                }
            }
            if let Some(auth) = endpoint
                .probe
                .as_ref()
                .and_then(|probe| probe.auth.as_ref())
            {
                found.push((
                    format!("topologies.{name}.endpoint.probe.auth.password"),
                    auth.password.clone(),
                ));
            }
        }
        for (name, channel) in &self.notify {
            let Some(webhook) = &channel.webhook else {
                continue;
            };
            if let UrlOrSecret::Secret(reference) = &webhook.url {
                found.push((format!("notify.{name}.webhook.url"), reference.clone()));
            }
            if let Some(reference) = &webhook.authorization {
                found.push((
                    format!("notify.{name}.webhook.authorization"),
                    reference.clone(),
                ));
            }
        }
        found
    }
}

/// Collects the references in a provider's own settings. Which of its keys hold secrets only the provider knows;
/// that a text reads as a reference is what all of them have in common.
fn references_in(value: &Value, path: &str, found: &mut Vec<(String, SecretRef)>) {
    match value {
        Value::String(text) => {
            if let Ok(reference) = text.parse() {
                found.push((path.to_owned(), reference));
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                references_in(item, &format!("{path}[{i}]"), found);
            }
        }
        Value::Object(map) => match serde_json::from_value::<SecretRef>(value.clone()) {
            Ok(reference) => found.push((path.to_owned(), reference)),
            Err(_) => {
                for (key, item) in map {
                    references_in(item, &format!("{path}.{key}"), found);
                }
            }
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn default_timeout() -> Located<Span> {
    Located::nowhere(Span::seconds(10))
}
