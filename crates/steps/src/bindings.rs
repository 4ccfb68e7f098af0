//! What the step kinds need to know of sites, policies, robots and records: the part of a plan that the engine does
//! not look into.
//!
//! Secrets are here as references alone (`env:NAME`, `file:path`): a plan is stored.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use runbook_dns::ProviderConfig;
use runbook_engine::event::Owed;
use runbook_engine::plan::Plan;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything that a run on a pair is bound to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bindings {
    /// The site that serves when the run begins. Steps call it `active` to the end of the run.
    pub active: String,
    /// The other site.
    pub standby: String,
    /// How to reach each site, by name.
    pub sites: BTreeMap<String, SiteBinding>,
    /// Which site starts the forward policy.
    pub direction: Direction,
    /// The policies between the two.
    pub policies: PairPolicies,
    /// Short names of the robots with which one site writes to the other.
    pub robots: Vec<String>,
    /// The service name.
    pub endpoint: EndpointBinding,
    /// Where notices go, by the name of the channel.
    pub notify: BTreeMap<String, Channel>,
    /// Written into the ownership marker beside the service name.
    pub owner: String,
    /// What earlier runs left.
    pub inherited: Inherited,
}

/// How to reach one site.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SiteBinding {
    /// Of its Harbor.
    pub url: String,
    /// Where it is, for people.
    pub region: Option<String>,
    /// An administrator: the read-only flag is closed to robots.
    pub user: String,
    /// A reference.
    pub password: String,
    /// The longest that one request may take.
    pub timeout_ms: u64,
    /// Connect here instead of to the address of the URL.
    pub connect_to: Option<SocketAddr>,
    /// A PEM file with the authority that signed its certificate.
    pub ca_file: Option<String>,
}

/// Which side starts the forward policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The standby pulls.
    Pull,
    /// The active pushes.
    Push,
}

/// The policies of a pair.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PairPolicies {
    /// From the declared active to the declared standby.
    pub forward: PolicyBinding,
    /// The other way, prepared and disabled.
    pub reverse: PolicyBinding,
    /// The pull that copies in the forward direction from a read-only source. In a pull pair the forward policy
    /// itself; in a push pair a manual one, since a read-only Harbor cannot start a push.
    pub final_sync: Option<PolicyBinding>,
    /// The same in the reverse direction.
    pub final_reverse_sync: Option<PolicyBinding>,
}

/// One policy at one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyBinding {
    /// The site on which it lives.
    pub site: String,
    /// Its name there.
    pub name: String,
}

/// The name that clients use, and its records.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EndpointBinding {
    /// The service name.
    pub name: String,
    /// What a client types.
    pub url: String,
    /// The provider of its record.
    pub dns: ProviderConfig,
    /// The record's value for each site.
    pub targets: BTreeMap<String, String>,
    /// The TTL that a planned run lowers to, in seconds.
    pub lowered_ttl: u32,
    /// `authoritative`, `system`, or resolvers as `address:port`. All must agree.
    pub verify: Vec<String>,
    /// Used instead of the system's resolver to follow the service name.
    pub resolver: Option<SocketAddr>,
    /// Where a probe connects for a site that the name resolves to: a record cannot carry a port.
    pub connect_to: BTreeMap<String, SocketAddr>,
    /// What the client probe uses.
    pub probe: ProbeBinding,
}

/// What the client probe uses.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProbeBinding {
    /// The project that takes the canary.
    pub project: String,
    /// The repository of the canary in it.
    pub repository: String,
    /// The user of the probe, if not the site's.
    pub user: Option<String>,
    /// Its password, a reference.
    pub password: Option<String>,
}

/// Where notices go.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// A POST of JSON.
    Webhook {
        /// A URL or a reference to one.
        url: String,
    },
    /// A process that gets JSON on its standard input.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
    },
}

/// What earlier runs of the topology left.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inherited {
    /// The run that moved the clients last.
    pub run: Option<String>,
    /// The originals of that run: site, object, document.
    pub originals: Vec<(String, String, Value)>,
    /// What is owed.
    pub owed: Vec<Owed>,
    /// When the last forward sync that is known to have succeeded began, in words. The bound of a loss that no
    /// inventory can state.
    pub last_sync: Option<String>,
}

/// A plan whose bindings are not ours.
#[derive(Debug, thiserror::Error)]
#[error("the bindings of the plan cannot be read")]
pub struct BadBindings(#[from] serde_json::Error);

impl Bindings {
    /// Returns the bindings of a plan.
    pub fn of(plan: &Plan) -> Result<Bindings, BadBindings> {
        Ok(serde_json::from_value(plan.bindings.clone())?)
    }

    /// Returns the site that a role or a name means.
    pub fn site<'a>(&'a self, role: &'a str) -> &'a str {
        match role {
            "active" => &self.active,
            "standby" => &self.standby,
            name => name,
        }
    }

    /// Returns the policy that `forward`, `reverse`, `final-sync` or `final-reverse-sync` means.
    pub fn policy(&self, word: &str) -> Option<&PolicyBinding> {
        match word {
            "forward" => Some(&self.policies.forward),
            "reverse" => Some(&self.policies.reverse),
            "final-sync" => self.policies.final_sync.as_ref(),
            "final-reverse-sync" => self.policies.final_reverse_sync.as_ref(),
            _ => None,
        }
    }

    /// Returns the site at the other end.
    pub fn other<'a>(&'a self, site: &str) -> &'a str {
        if site == self.active {
            &self.standby
        } else {
            &self.active
        }
    }

    /// Returns all references to secrets that a run needs, each with what it is for.
    pub fn secret_references(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = self
            .sites
            .iter()
            .map(|(name, site)| (format!("password of site `{name}`"), site.password.clone()))
            .collect();
        all.extend(
            self.endpoint
                .dns
                .secret_references()
                .into_iter()
                .map(|it| ("the DNS provider".into(), it.to_owned())),
        );
        all.extend(
            self.endpoint
                .probe
                .password
                .iter()
                .map(|it| ("the client probe".into(), it.clone())),
        );
        for (name, channel) in &self.notify {
            if let Channel::Webhook { url } = channel
                && !url.starts_with("http")
            {
                all.push((format!("channel `{name}`"), url.clone()));
            }
        }
        all
    }
}

impl Inherited {
    /// Adds the originals of another run where none is known: those that a settle saved of a site which the failover
    /// could not read. What is known stays: a later run saw what the earlier one had written.
    pub fn add_originals(&mut self, others: impl IntoIterator<Item = (String, String, Value)>) {
        for (site, object, document) in others {
            let known = self
                .originals
                .iter_mut()
                .find(|known| known.0 == site && known.1 == object);
            match known {
                Some((.., known)) if known.is_null() => *known = document,
                Some(_) => {}
                None => self.originals.push((site, object, document)),
            }
        }
    }
}

impl SiteBinding {
    /// Returns the longest that one request may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}
