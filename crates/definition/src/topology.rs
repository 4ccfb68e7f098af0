//! How sites belong together: the pair, its objectives and the name that clients use.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Auth;
use crate::located::Located;
use crate::scalars::host::{Host, HostPort, Vantage};
use crate::scalars::secret::SecretRef;
use crate::scalars::site::SiteRef;
use crate::scalars::span::Span;
use crate::scalars::url::Url;

/// Sites that stand for each other behind one name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Topology<D> {
    /// The pattern: one active site and one standby.
    pub dr_pair: DrPair,
    /// What a failover may cost in time and in content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objectives: Option<Objectives>,
    /// The name that clients use.
    pub endpoint: Endpoint<D>,
    /// The robot that replication uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub robots: Option<Robots>,
    /// What is carried over besides artifacts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_sync: Vec<AlsoSync>,
    /// Files to take instead of the built-in runbooks, by the name of the runbook.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runbooks: BTreeMap<Located<String>, String>,
}

/// One active site, one standby.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DrPair {
    /// The site that serves in the normal state. Which one serves now stands in the state file.
    pub active: Located<SiteRef>,
    /// The other one.
    pub standby: Located<SiteRef>,
    /// Who copies: `pull` by the standby, so that the policy survives the active, or `push` by the active.
    pub direction: Located<Direction>,
    /// The names of the replication policies. What is left out is found by looking at the Harbors.
    #[serde(default)]
    pub policies: Policies,
    /// How often replication runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Located<Span>>,
    /// When replication runs, as five or six fields of cron in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<Located<String>>,
    /// What starts replication besides the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Located<Trigger>>,
    /// Which repositories are copied, as Harbor's patterns. Left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<String>>,
    /// Which tags are copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
    /// What becomes of an artifact on the standby when it is deleted on the active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletions: Option<Located<Deletions>>,
    /// What becomes of a tag that exists on the standby with another digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_existing: Option<OnExisting>,
}

/// Who copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The standby pulls from the active.
    Pull,
    /// The active pushes to the standby.
    Push,
}

/// Names of replication policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Policies {
    /// From active to standby.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<String>,
    /// From standby to active; prepared and disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse: Option<String>,
    /// The manual pull on the standby for the final sync of a push pair, whose forward policy cannot be started on a
    /// read-only active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_sync: Option<String>,
    /// The same for the way back: a manual pull on the former active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_reverse_sync: Option<String>,
}

/// What starts replication besides the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// A push to the active.
    Push,
}

/// Which tags are copied, as Harbor's patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tags {
    /// Only these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub r#match: Vec<String>,
    /// All but these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// What becomes of an artifact on the standby when it is deleted on the active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Deletions {
    /// It stays.
    Keep,
    /// It is deleted there too. Harbor does so by push events only.
    Mirror,
}

/// What becomes of a tag that exists on the standby with another digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnExisting {
    /// It is overwritten.
    Override,
    /// It stays as it is.
    Keep,
}

/// What a failover may cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Objectives {
    /// The longest time until clients are served again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto: Option<Located<Span>>,
    /// The age of the oldest content that may be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<Located<Span>>,
    /// Both by the name of a use. What is written beside it goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
}

/// Objectives by the name of a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// 15 minutes and 15 minutes.
    DrFailover,
    /// 4 hours and 24 hours.
    ComplianceArchive,
    /// 1 hour and 1 hour.
    DevelopmentSync,
    /// 1 hour and 15 minutes, the content of a cache being elsewhere too.
    RegionalCache,
}

/// The name that clients use, and how it is moved.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Endpoint<D> {
    /// The service name.
    pub name: Located<Host>,
    /// The address of the service; `https://NAME` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Located<Url>>,
    /// The provider that holds the record. Exactly one.
    #[schemars(length(min = 1, max = 1))]
    pub dns: Located<Vec<Located<D>>>,
    /// What the record shall say for each site of the pair.
    pub targets: Located<BTreeMap<Located<SiteRef>, Located<Host>>>,
    /// How long answers may be kept.
    #[serde(default)]
    pub ttl: Ttl,
    /// From where the name is looked at after a change.
    #[serde(default = "default_verify")]
    #[schemars(default = "default_verify")]
    #[schemars(length(min = 1))]
    pub verify: Located<Vec<Vantage>>,
    /// A resolver to follow the service name with, instead of this machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<HostPort>,
    /// Where the probe connects for the site that the name resolves to. For sites that differ only by port, which no
    /// record can say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub connect_to: BTreeMap<Located<SiteRef>, Located<HostPort>>,
    /// What is pulled and pushed through the name to see whether a client can work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// How long answers may be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ttl {
    /// In quiet times. Left out: what the provider's settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normal: Option<Located<Span>>,
    /// From some time before a planned move until after it.
    #[serde(default = "default_lowered")]
    #[schemars(default = "default_lowered")]
    pub lowered: Located<Span>,
}

/// What is pulled and pushed through the service name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Probe {
    /// The project that takes the canary.
    pub project: String,
    /// The repository of the canary in it. Left out: the tool's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Who pulls and pushes. Left out: the user of the site that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

/// The robot that replication uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Robots {
    /// Its name without Harbor's prefix.
    pub name: String,
    /// Where its secret is put when it is made: `file:PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_to: Option<Located<SecretRef>>,
}

/// What can be carried over besides artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlsoSync {
    /// Projects and their settings.
    Projects,
    /// Members of projects.
    Members,
    /// Robots.
    Robots,
    /// Labels.
    Labels,
    /// Quotas.
    Quotas,
}

impl<D> Topology<D> {
    /// Returns the longest time until clients are served again, if one is declared.
    pub fn rto_target(&self) -> Option<Duration> {
        let objectives = self.objectives.as_ref()?;
        objectives
            .rto
            .as_ref()
            .map(|span| span.duration())
            .or(objectives.preset.map(|preset| preset.times().0))
    }

    /// Returns the age of the oldest content that may be lost, if one is declared.
    pub fn rpo_target(&self) -> Option<Duration> {
        let objectives = self.objectives.as_ref()?;
        objectives
            .rpo
            .as_ref()
            .map(|span| span.duration())
            .or(objectives.preset.map(|preset| preset.times().1))
    }
}

impl DrPair {
    /// Returns the other site of the pair, or None when `site` is not of it.
    pub fn other(&self, site: &str) -> Option<&SiteRef> {
        match site {
            _ if site == self.active.as_str() => Some(&self.standby),
            _ if site == self.standby.as_str() => Some(&self.active),
            _ => None,
        }
    }
}

impl<D> Endpoint<D> {
    /// Returns the provider that holds the record.
    pub fn provider(&self) -> &D {
        self.dns
            .first()
            .expect("a checked configuration has exactly one provider")
    }

    /// Returns the address of the service.
    pub fn service_url(&self) -> Url {
        self.url
            .as_deref()
            .cloned()
            .unwrap_or_else(|| Url::https(&self.name))
    }

    /// Returns what the record says when `site` serves.
    pub fn target(&self, site: &str) -> Option<&Host> {
        self.targets.get(site).map(|target| &**target)
    }

    /// Returns the site whose target is `value`, compared without case and closing dot.
    pub fn site_of_target(&self, value: &str) -> Option<&SiteRef> {
        let value: Host = value.parse().ok()?;
        self.targets
            .iter()
            .find(|(_, target)| ***target == value)
            .map(|(site, _)| &**site)
    }
}

impl Preset {
    /// Returns the recovery time objective and the recovery point objective.
    pub fn times(self) -> (Duration, Duration) {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        match self {
            Self::DrFailover => (minutes(15), minutes(15)),
            Self::ComplianceArchive => (minutes(4 * 60), minutes(24 * 60)),
            Self::DevelopmentSync => (minutes(60), minutes(60)),
            Self::RegionalCache => (minutes(60), minutes(15)),
        }
    }
}

impl Default for Ttl {
    fn default() -> Self {
        Self {
            normal: None,
            lowered: default_lowered(),
        }
    }
}

fn default_lowered() -> Located<Span> {
    Located::nowhere(Span::seconds(5))
}

fn default_verify() -> Located<Vec<Vantage>> {
    Located::nowhere(vec![Vantage::Authoritative])
}
