//! The world of a pair: its Harbors, its DNS provider, its inventories. In two halves, and the reading half has no
//! method that writes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runbook_dns::verify::Vantage;
use runbook_engine::step::World;
use runbook_harbor::{BeforeWrite, Endpoint, Reader, Writer, oci};
use runbook_replication::InventoryStore;
use secrecy::SecretString;

use crate::bindings::{Bindings, SiteBinding};

/// Secrets by their reference, resolved before anything is changed.
pub type Secrets = dyn Fn(&str) -> Option<SecretString> + Send + Sync;

/// How long a DNS server may take to answer.
pub(crate) const DNS_TIMEOUT: Duration = Duration::from_secs(3);

/// Both halves.
pub struct Sites {
    reader: SitesReader,
    writer: SitesWriter,
}

/// What a check, a probe and a rehearsal may use.
pub struct SitesReader {
    pub(crate) bindings: Arc<Bindings>,
    harbors: BTreeMap<String, Reader>,
    pub(crate) dns: Arc<dyn runbook_dns::Reader>,
    /// Inventories are kept while looking too: they are ours, not the world's.
    pub(crate) inventories: InventoryStore,
    probe_password: Option<SecretString>,
}

/// What a run and an undo may use.
pub struct SitesWriter {
    pub(crate) bindings: Arc<Bindings>,
    harbors: BTreeMap<String, Writer>,
    pub(crate) dns: Arc<dyn runbook_dns::Provider>,
    pub(crate) before_write: BeforeWrite,
    /// Addresses of the webhooks, which may be secrets.
    pub(crate) webhooks: BTreeMap<String, SecretString>,
}

/// Why the clients of a world cannot be made. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A reference that was not resolved.
    #[error("secret `{0}` was not resolved")]
    Secret(String),
    /// A URL that is none.
    #[error("site `{site}`: `{url}` is not a URL")]
    Url {
        /// The site.
        site: String,
        /// As configured.
        url: String,
    },
    /// A file with a certificate that cannot be read.
    #[error("site `{site}`: certificate file `{path}`")]
    Certificate {
        /// The site.
        site: String,
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The client of a Harbor.
    #[error(transparent)]
    Harbor(#[from] runbook_harbor::Error),
    /// The DNS provider.
    #[error(transparent)]
    Dns(#[from] runbook_dns::Error),
    /// The file of inventories.
    #[error(transparent)]
    Inventories(#[from] runbook_replication::StoreError),
}

impl World for Sites {
    type Reader = SitesReader;
    type Writer = SitesWriter;

    fn reader(&self) -> &SitesReader {
        &self.reader
    }

    fn writer(&self) -> &SitesWriter {
        &self.writer
    }
}

impl Sites {
    /// Makes the clients. `before_write` is asked before each request that writes. Sends nothing yet.
    pub async fn open(
        bindings: &Bindings,
        secrets: &Secrets,
        before_write: BeforeWrite,
        inventories: &Path,
    ) -> Result<Sites, OpenError> {
        let bindings = Arc::new(bindings.clone());
        let dns = runbook_dns::open(&bindings.endpoint.dns, secrets)?;
        let mut harbors = BTreeMap::new();
        for (name, site) in &bindings.sites {
            harbors.insert(
                name.clone(),
                Writer::new(endpoint(name, site, secrets)?, before_write.clone())?,
            );
        }
        let webhooks = bindings
            .notify
            .iter()
            .filter_map(|(name, channel)| match channel {
                crate::bindings::Channel::Webhook { url } if url.starts_with("http") => {
                    Some((name.clone(), SecretString::from(url.clone())))
                }
                crate::bindings::Channel::Webhook { url } => Some((name.clone(), secrets(url)?)),
                crate::bindings::Channel::Command { .. } => None,
            });
        let webhooks = webhooks.collect();
        let reader = SitesReader {
            bindings: bindings.clone(),
            harbors: harbors
                .iter()
                .map(|(name, writer)| (name.clone(), writer.reader().clone()))
                .collect(),
            dns: dns.clone(),
            inventories: InventoryStore::open(inventories).await?,
            probe_password: probe_password(&bindings, secrets)?,
        };
        Ok(Sites {
            reader,
            writer: SitesWriter {
                bindings,
                harbors,
                dns,
                before_write,
                webhooks,
            },
        })
    }
}

impl SitesReader {
    /// Makes the reading clients alone.
    pub async fn open(
        bindings: &Bindings,
        secrets: &Secrets,
        inventories: &Path,
    ) -> Result<SitesReader, OpenError> {
        let bindings = Arc::new(bindings.clone());
        let mut harbors = BTreeMap::new();
        for (name, site) in &bindings.sites {
            harbors.insert(name.clone(), Reader::new(endpoint(name, site, secrets)?)?);
        }
        Ok(SitesReader {
            harbors,
            dns: runbook_dns::open(&bindings.endpoint.dns, secrets)?,
            inventories: InventoryStore::open(inventories).await?,
            probe_password: probe_password(&bindings, secrets)?,
            bindings,
        })
    }

    /// Returns the client of a site, by role or name.
    pub fn harbor(&self, site: &str) -> Option<&Reader> {
        self.harbors.get(self.bindings.site(site))
    }

    /// Returns what the run is bound to.
    pub fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    /// Returns what container clients would use to reach the service name at an address.
    pub(crate) fn service(&self, site: &str, at: Option<SocketAddr>) -> Option<Endpoint> {
        let endpoint = &self.bindings.endpoint;
        let of_site = self.harbor(site)?.endpoint();
        let (user, password) = match (&endpoint.probe.user, &self.probe_password) {
            (Some(user), Some(password)) => (user.clone(), password.clone()),
            _ => (of_site.user.clone(), of_site.password.clone()),
        };
        Some(Endpoint {
            site: endpoint.name.clone(),
            url: endpoint.url.parse().ok()?,
            user,
            password,
            timeout: of_site.timeout,
            connect_to: at,
            ca_pem: of_site.ca_pem.clone(),
        })
    }

    /// Returns from where the service name is followed.
    pub(crate) fn resolver(&self) -> Vantage {
        self.bindings
            .endpoint
            .resolver
            .map_or(Vantage::System, Vantage::Resolver)
    }
}

impl SitesWriter {
    /// Returns the client of a site, by role or name.
    pub(crate) fn harbor(&self, site: &str) -> Option<&Writer> {
        self.harbors.get(self.bindings.site(site))
    }

    /// Returns a container client on an endpoint that asks before each write.
    pub(crate) fn registry(
        &self,
        endpoint: Endpoint,
    ) -> Result<oci::Writer, runbook_harbor::Error> {
        oci::Writer::new(endpoint, oci::Login::Token, self.before_write.clone())
    }
}

fn endpoint(name: &str, site: &SiteBinding, secrets: &Secrets) -> Result<Endpoint, OpenError> {
    let ca_pem = site
        .ca_file
        .as_ref()
        .map(std::fs::read)
        .transpose()
        .map_err(|source| OpenError::Certificate {
            site: name.to_owned(),
            path: site.ca_file.clone().unwrap_or_default(),
            source,
        })?;
    Ok(Endpoint {
        site: name.to_owned(),
        url: site.url.parse().map_err(|_| OpenError::Url {
            site: name.to_owned(),
            url: site.url.clone(),
        })?,
        user: site.user.clone(),
        password: secrets(&site.password)
            .ok_or_else(|| OpenError::Secret(site.password.clone()))?,
        timeout: site.timeout(),
        connect_to: site.connect_to,
        ca_pem,
    })
}

fn probe_password(
    bindings: &Bindings,
    secrets: &Secrets,
) -> Result<Option<SecretString>, OpenError> {
    let reference = bindings.endpoint.probe.password.as_ref();
    reference
        .map(|it| secrets(it).ok_or_else(|| OpenError::Secret(it.clone())))
        .transpose()
}
