//! What can be said of a site, from at least two vantages.
//!
//! `/health` answers 200 also when unhealthy, is up to 10 s old and says nothing of read-only; a database that is down
//! makes right credentials look wrong (seen on v2.9.5). So no single answer decides.

use runbook_harbor::{ErrorKind, Identity, Ping};
use runbook_replication::same_address;
use serde::{Deserialize, Serialize};

use crate::bindings::Bindings;
use crate::world::SitesReader;

/// What can be said of a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "what")]
pub enum Verdict {
    /// All of it works.
    Healthy,
    /// It works and refuses writes.
    ReadOnly,
    /// Part of it does not work.
    Degraded(Vec<String>),
    /// Some can reach it and some cannot.
    HalfOpen,
    /// Nobody can reach it.
    Dead,
}

/// A verdict with what each vantage said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The site.
    pub site: String,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What each vantage said, in words.
    pub evidence: Vec<String>,
}

impl Verdict {
    /// Says it in one word.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Healthy => "healthy",
            Verdict::ReadOnly => "read-only",
            Verdict::Degraded(_) => "degraded",
            Verdict::HalfOpen => "half-open",
            Verdict::Dead => "dead",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Verdict::Degraded(what) => write!(f, "degraded ({})", what.join(", ")),
            other => f.write_str(other.word()),
        }
    }
}

/// Judges a site: from this host by health, by an authenticated call and by a pull; and by the other site's live check
/// of its endpoint.
pub async fn verdict(reader: &SitesReader, site: &str) -> Judged {
    let site = reader.bindings.site(site).to_owned();
    let Some(harbor) = reader.harbor(&site) else {
        return Judged {
            evidence: vec!["no such site".into()],
            site,
            verdict: Verdict::Dead,
        };
    };
    let oci = harbor.oci();
    let (health, identity, pull, peer) = futures_util::join!(
        harbor.health(),
        harbor.identity(),
        oci.ping(),
        peer_ping(reader, &site)
    );
    let mut evidence = Vec::new();
    let mut faults: Vec<String> = Vec::new();
    let mut reached = 0;
    match &health {
        Ok(health) => {
            reached += 1;
            faults.extend(health.unhealthy().iter().map(|name| (*name).to_owned()));
            evidence.push(format!(
                "health from here: {}",
                if health.is_healthy() {
                    "healthy"
                } else {
                    "unhealthy"
                }
            ));
        }
        Err(error) => evidence.push(format!("health from here: {error}")),
    }
    match &identity {
        Ok(Identity::User { .. } | Identity::Robot) => {
            reached += 1;
            evidence.push("authenticated call from here: accepted".into());
        }
        Err(error) => {
            reached += usize::from(!error.is_unreachable());
            match error.kind() {
                ErrorKind::DatabaseDown => faults.push("database".into()),
                _ if !error.is_unreachable() => faults.push("login".into()),
                _ => {}
            }
            evidence.push(format!("authenticated call from here: {error}"));
        }
    }
    match &pull {
        Ok(_) => {
            reached += 1;
            evidence.push("registry from here: answers".into());
        }
        Err(error) => {
            if !error.is_unreachable() {
                reached += 1;
                faults.push("registry".into());
            }
            evidence.push(format!("registry from here: {error}"));
        }
    }
    let peer_reached = match peer {
        Some((words, reached)) => {
            evidence.push(words);
            reached
        }
        None => None,
    };
    faults.sort();
    faults.dedup();
    let read_only = if faults.is_empty() && reached == 3 {
        harbor.read_only().await.unwrap_or(false)
    } else {
        false
    };
    let verdict = match (reached, peer_reached) {
        (0, Some(true)) => Verdict::HalfOpen,
        (0, _) => Verdict::Dead,
        (1 | 2, _) => Verdict::HalfOpen,
        _ if !faults.is_empty() => Verdict::Degraded(faults),
        (_, Some(false)) => Verdict::HalfOpen,
        _ if read_only => Verdict::ReadOnly,
        _ => Verdict::Healthy,
    };
    Judged {
        site,
        verdict,
        evidence,
    }
}

/// Asks the other site to ping its endpoint for this one. Its `status` field would be minutes old.
async fn peer_ping(reader: &SitesReader, site: &str) -> Option<(String, Option<bool>)> {
    let bindings: &Bindings = &reader.bindings;
    let other = reader.harbor(bindings.other(site))?;
    let address = reader.harbor(site)?.url().as_str();
    let name = other.site();
    let registries = match other.registries().await {
        Ok(registries) => registries,
        Err(error) => return Some((format!("`{name}` cannot be asked: {error}"), None)),
    };
    let endpoint = registries
        .iter()
        .find(|registry| same_address(&registry.url, address))?;
    Some(match other.ping_registry(endpoint.id).await {
        Ok(Ping::Ok) => (
            format!("`{name}`'s ping of its endpoint: answers"),
            Some(true),
        ),
        Ok(Ping::BadCredentials) => (
            format!("`{name}`'s ping of its endpoint: refuses the credentials"),
            Some(true),
        ),
        Ok(Ping::Unreachable) => (
            format!("`{name}`'s ping of its endpoint: no answer"),
            Some(false),
        ),
        // A read-only Harbor refuses the ping itself.
        Err(error) => (format!("`{name}` cannot ping: {error}"), None),
    })
}
