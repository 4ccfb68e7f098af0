//! A topology as it stands becomes what the step kinds know of it.

use std::collections::BTreeMap;
use std::time::Duration;

use runbook_definition::{Topology, UrlOrSecret, Vantage};
use runbook_dns::ProviderConfig;
use runbook_steps::bindings::{
    Bindings, Channel, Direction, EndpointBinding, ProbeBinding, SiteBinding,
};

use crate::kinds::Dns;
use crate::planning::{Loaded, Pair};
use crate::{policies, secrets};

/// The repository of the canary, unless the configuration names one.
const CANARY: &str = "runbook-canary";
/// The project of the canary, unless the configuration names one.
const CANARY_PROJECT: &str = "library";

impl Loaded {
    /// Binds a topology as it stands. Policies that the configuration does not name have no name yet.
    pub fn bindings(&self, pair: &Pair<'_>) -> Bindings {
        let folder = self.folder();
        let topology = pair.topology;
        let text = |reference| secrets::text(reference, &folder);
        let sites = [&pair.active, &pair.standby]
            .into_iter()
            .filter_map(|name| {
                let site = self.config.site(name)?;
                let binding = SiteBinding {
                    url: site.url.as_str().to_owned(),
                    region: site.region.clone(),
                    user: site.auth.user.clone(),
                    password: text(&site.auth.password),
                    timeout_ms: u64::try_from(site.timeout.duration().as_millis())
                        .unwrap_or(u64::MAX),
                    connect_to: site.connect_to.as_ref().map(|at| at.addr()),
                    ca_file: site
                        .ca_file
                        .as_ref()
                        .map(|path| folder.join(path).display().to_string()),
                };
                Some((name.clone(), binding))
            });
        let notify = self.config.notify.iter().filter_map(|(name, channel)| {
            let bound = match (&channel.webhook, &channel.command) {
                (Some(webhook), _) => Channel::Webhook {
                    url: match &webhook.url {
                        UrlOrSecret::Url(url) => url.as_str().to_owned(),
                        UrlOrSecret::Secret(reference) => text(reference),
                    },
                },
                (None, Some(command)) => Channel::Command {
                    argv: command.argv.to_vec(),
                },
                (None, None) => return None,
            };
            Some((name.to_string(), bound))
        });
        Bindings {
            active: pair.active.clone(),
            standby: pair.standby.clone(),
            sites: sites.collect(),
            direction: match *topology.dr_pair.direction {
                runbook_definition::Direction::Pull => Direction::Pull,
                runbook_definition::Direction::Push => Direction::Push,
            },
            policies: policies::named(&topology.dr_pair),
            robots: topology
                .robots
                .iter()
                .map(|robots| robots.name.clone())
                .collect(),
            endpoint: self.endpoint(topology),
            notify: notify.collect(),
            // The same in every state file of this configuration: that two of them do not both move the name is
            // decided by its value, which each change expects.
            owner: pair.name.to_owned(),
            inherited: pair.history.inherited.clone(),
        }
    }

    fn endpoint(&self, topology: &Topology<Dns>) -> EndpointBinding {
        let folder = self.folder();
        let endpoint = &topology.endpoint;
        let mut dns = endpoint.provider().0.clone();
        let normal = endpoint
            .ttl
            .normal
            .as_ref()
            .map(|span| whole_seconds(span.duration()));
        match &mut dns {
            ProviderConfig::Rfc2136(config) => {
                secrets::anchor(&mut config.key.secret, &folder);
                config.ttl = normal.unwrap_or(config.ttl);
            }
            ProviderConfig::Route53(config) => {
                let references = [
                    &mut config.access_key_id,
                    &mut config.secret_access_key,
                    &mut config.session_token,
                ];
                references
                    .into_iter()
                    .flatten()
                    .for_each(|reference| secrets::anchor(reference, &folder));
                config.ttl = normal.unwrap_or(config.ttl);
            }
        }
        let probe = endpoint.probe.as_ref();
        let auth = probe.and_then(|probe| probe.auth.as_ref());
        EndpointBinding {
            name: endpoint.name.as_str().to_owned(),
            url: endpoint.service_url().as_str().to_owned(),
            dns,
            targets: endpoint
                .targets
                .iter()
                .map(|(site, host)| (site.as_str().to_owned(), host.as_str().to_owned()))
                .collect(),
            lowered_ttl: whole_seconds(endpoint.ttl.lowered.duration()),
            verify: endpoint.verify.iter().map(Vantage::to_string).collect(),
            resolver: endpoint.resolver.map(|at| at.addr()),
            connect_to: endpoint
                .connect_to
                .iter()
                .map(|(site, at)| (site.as_str().to_owned(), at.addr()))
                .collect::<BTreeMap<_, _>>(),
            probe: ProbeBinding {
                project: probe
                    .map_or_else(|| CANARY_PROJECT.to_owned(), |probe| probe.project.clone()),
                repository: probe
                    .and_then(|probe| probe.repository.clone())
                    .unwrap_or_else(|| CANARY.to_owned()),
                user: auth.map(|auth| auth.user.clone()),
                password: auth.map(|auth| secrets::text(&auth.password, &folder)),
            },
        }
    }
}

/// A TTL is a whole number of seconds, and 0 would forbid every cache.
fn whole_seconds(span: Duration) -> u32 {
    u32::try_from(span.as_millis().div_ceil(1000))
        .unwrap_or(u32::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{config, pair};

    #[test]
    fn bindings_hold_references_that_lead_somewhere_from_any_folder() {
        let loaded = Loaded {
            config: config(),
            path: "/etc/dr/runbook.yaml".into(),
        };
        let bindings = loaded.bindings(&pair(&loaded.config, "primary", "dr"));
        let references: Vec<String> = bindings
            .secret_references()
            .into_iter()
            .map(|(_, reference)| reference)
            .collect();
        assert_eq!(
            references,
            [
                "file:/etc/dr/secrets/dr",
                "env:PRIMARY_PASSWORD",
                "file:/etc/dr/secrets/tsig"
            ]
        );
        assert_eq!(
            bindings.policies.forward.site, "dr",
            "a pull lives where the copy goes"
        );
        assert_eq!(
            bindings.policies.final_sync,
            Some(bindings.policies.forward.clone())
        );
        assert_eq!(bindings.endpoint.lowered_ttl, 5);
        assert_eq!(bindings.endpoint.probe.project, "library");
    }
}
