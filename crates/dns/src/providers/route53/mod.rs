//! `route53`: Amazon Route 53.
//!
//! Compare-and-set is one batch: DELETE of exactly what was read and CREATE of what is wanted. A DELETE that does
//! not match refuses the whole batch, so the batch fails if anyone came between the read and the write.

mod batch;
mod failure;

use std::time::Duration;

use async_trait::async_trait;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig as ChainConfig;
use aws_sdk_route53::Client;
use aws_sdk_route53::config::retry::RetryConfig;
use aws_sdk_route53::config::timeout::TimeoutConfig;
use aws_sdk_route53::config::{
    BehaviorVersion, Builder, Credentials, Region, SharedCredentialsProvider, SharedHttpClient,
};
use aws_sdk_route53::types::{ChangeBatch, ChangeStatus as WireStatus, ResourceRecordSet};
use aws_smithy_http_client::tls;
use secrecy::ExposeSecret as _;
use tokio::sync::OnceCell;

use super::{conflict, look};
use crate::change::{Change, ChangeStatus, Expected, Finding, Found, Receipt};
use crate::config::{ResolveSecret, Route53Config, secret};
use crate::error::{Error, ErrorKind, Sort};
use crate::name::Name;
use crate::record::{RecordType, Zone};
use crate::traits::{Atomicity, Capabilities, Provider, Reader};

/// The provider's name in configuration and messages.
pub const PROVIDER: &str = "route53";

/// Where Route 53 signs for, and where it takes writes: a control plane that can be down while answers go on.
const CONTROL_PLANE: &str = "us-east-1";

/// Limits of one call, all attempts of a read included.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Attempts of a read. Standard mode, never adaptive: that one stalled single calls for 14 to 22 s when every
/// third answer was a throttle. Writes are attempted once.
const READ_ATTEMPTS: u32 = 3;

/// A page of a listing.
const PAGE: i32 = 100;

/// A zone at Route 53.
pub struct Route53 {
    zone: Wanted,
    builder: Builder,
    http: SharedHttpClient,
    region: Region,
    /// Credentials from the configuration; none: the default chain is asked at the first call.
    credentials: Option<Credentials>,
    local_endpoint: bool,
    clients: OnceCell<Clients>,
    resolved: OnceCell<Zone>,
}

enum Wanted {
    Id(String),
    Name(Name),
}

struct Clients {
    read: Client,
    write: Client,
}

/// The sets at a name and its marker, as stored: a DELETE must repeat them to the letter.
struct Stored {
    sets: Vec<ResourceRecordSet>,
    marker: Option<ResourceRecordSet>,
}

impl Route53 {
    /// Opens the provider. Contacts nobody.
    ///
    /// # Errors
    /// `Invalid` for a zone that is neither an id nor a name, or half a pair of credentials.
    pub fn open(config: &Route53Config, secrets: ResolveSecret<'_>) -> Result<Route53, Error> {
        let resolve = |reference: &Option<String>| {
            reference
                .as_deref()
                .map(|reference| secret(PROVIDER, secrets, reference))
                .transpose()
        };
        let id = resolve(&config.access_key_id)?;
        let key = resolve(&config.secret_access_key)?;
        let token = resolve(&config.session_token)?;
        let credentials = match (id, key) {
            (Some(id), Some(key)) => {
                let token = token.map(|token| token.expose_secret().to_owned());
                Some(Credentials::new(
                    id.expose_secret(),
                    key.expose_secret(),
                    token,
                    None,
                    "runbook",
                ))
            }
            (None, None) if token.is_none() => None,
            _ => {
                let text =
                    "`access-key-id` and `secret-access-key` are given together or not at all";
                return Err(Error::new(PROVIDER, ErrorKind::Invalid, text));
            }
        };
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::Ring,
            ))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build();
        let region = Region::new(
            config
                .region
                .clone()
                .unwrap_or_else(|| CONTROL_PLANE.to_owned()),
        );
        let mut builder = aws_sdk_route53::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http.clone())
            .timeout_config(timeouts)
            .region(region.clone());
        builder.set_endpoint_url(config.endpoint_url.clone());
        Ok(Route53 {
            zone: wanted(&config.zone)?,
            builder,
            http,
            region,
            credentials,
            local_endpoint: config.endpoint_url.is_some(),
            clients: OnceCell::new(),
            resolved: OnceCell::new(),
        })
    }

    async fn clients(&self) -> &Clients {
        self.clients
            .get_or_init(async || {
                let credentials = match &self.credentials {
                    Some(credentials) => SharedCredentialsProvider::new(credentials.clone()),
                    None => {
                        // The chain talks to metadata and token services itself: it needs the same TLS.
                        let config = ChainConfig::default().with_http_client(self.http.clone());
                        let chain = DefaultCredentialsChain::builder()
                            .configure(config)
                            .region(self.region.clone());
                        SharedCredentialsProvider::new(chain.build().await)
                    }
                };
                let builder = self.builder.clone().credentials_provider(credentials);
                let reads = RetryConfig::standard().with_max_attempts(READ_ATTEMPTS);
                let client = |retry| Client::from_conf(builder.clone().retry_config(retry).build());
                Clients {
                    read: client(reads),
                    write: client(RetryConfig::disabled()),
                }
            })
            .await
    }

    async fn resolve(&self) -> Result<&Zone, Error> {
        self.resolved
            .get_or_try_init(async || match &self.zone {
                Wanted::Id(id) => self.zone_by_id(id).await,
                Wanted::Name(name) => self.zone_by_name(name).await,
            })
            .await
    }

    async fn zone_by_id(&self, id: &str) -> Result<Zone, Error> {
        let answer = self
            .clients()
            .await
            .read
            .get_hosted_zone()
            .id(id)
            .send()
            .await;
        let answer =
            answer.map_err(|e| failure::of_read(e, format!("zone `{id}` could not be read")))?;
        let name = answer
            .hosted_zone()
            .and_then(|zone| Name::parse(zone.name()).ok());
        let unnamed = || {
            Error::new(
                PROVIDER,
                ErrorKind::Invalid,
                format!("zone `{id}` has no name that can be read"),
            )
        };
        Ok(Zone {
            name: name.ok_or_else(unnamed)?,
            id: Some(id.to_owned()),
        })
    }

    /// The listing starts at the name, and goes on with the next one when there is none: compare, and refuse several.
    async fn zone_by_name(&self, name: &Name) -> Result<Zone, Error> {
        let list = self
            .clients()
            .await
            .read
            .list_hosted_zones_by_name()
            .dns_name(fqdn(name))
            .max_items(PAGE);
        let answer = list.send().await;
        let answer = answer.map_err(|e| {
            failure::of_read(e, format!("zones named `{name}` could not be listed"))
        })?;
        let same = answer
            .hosted_zones()
            .iter()
            .filter(|zone| Name::parse(zone.name()).is_ok_and(|n| n == *name));
        let ids: Vec<&str> = same
            .map(|zone| zone.id().trim_start_matches("/hostedzone/"))
            .collect();
        match ids.as_slice() {
            [] => Err(Error::new(
                PROVIDER,
                ErrorKind::NotFound,
                format!("there is no zone `{name}`"),
            )),
            [id] => Ok(Zone {
                name: name.clone(),
                id: Some((*id).to_owned()),
            }),
            several => {
                let text = format!(
                    "several zones are named `{name}`: give the id ({})",
                    several.join(", ")
                );
                Err(Error::new(PROVIDER, ErrorKind::AmbiguousZone, text))
            }
        }
    }

    /// Reads all sets at one name. The listing starts at the name and runs past it.
    async fn stored_at(&self, zone: &Zone, name: &Name) -> Result<Vec<ResourceRecordSet>, Error> {
        let client = &self.clients().await.read;
        let mut sets = Vec::new();
        let mut start = (fqdn(name), None);
        loop {
            let list = client
                .list_resource_record_sets()
                .set_hosted_zone_id(zone.id.clone())
                .max_items(PAGE);
            let page = list
                .start_record_name(&start.0)
                .set_start_record_type(start.1)
                .send()
                .await;
            let page =
                page.map_err(|e| failure::of_read(e, format!("`{name}` could not be read")))?;
            for set in page.resource_record_sets() {
                if Name::parse(set.name()).is_ok_and(|there| there == *name) {
                    sets.push(set.clone());
                }
            }
            match page.next_record_name() {
                Some(next)
                    if page.is_truncated() && Name::parse(next).is_ok_and(|next| next == *name) =>
                {
                    start = (next.to_owned(), page.next_record_type().cloned());
                }
                _ => return Ok(sets),
            }
        }
    }

    async fn stored(&self, zone: &Zone, name: &Name) -> Result<Stored, Error> {
        if !name.is_within(&zone.name) {
            let text = format!("`{name}` is not inside zone `{}`", zone.name);
            return Err(Error::new(PROVIDER, ErrorKind::Invalid, text));
        }
        let invalid = |e: crate::NameError| Error::new(PROVIDER, ErrorKind::Invalid, e.to_string());
        let marker = name.marker().map_err(invalid)?;
        let (sets, markers) =
            futures_util::try_join!(self.stored_at(zone, name), self.stored_at(zone, &marker))?;
        let marker = markers
            .into_iter()
            .find(|set| batch::kind(set) == Some(RecordType::Txt));
        Ok(Stored { sets, marker })
    }

    /// A refused batch: reads again. Already as wanted is success, for then the answer to an earlier attempt was lost.
    async fn refused(
        &self,
        zone: &Zone,
        change: &Change,
        refusal: Error,
    ) -> Result<Receipt, Error> {
        let found = match self
            .stored(zone, &change.name)
            .await
            .and_then(|stored| stored.found())
        {
            Ok(found) => found,
            Err(e) if refusal.source.is_none() => return Err(refusal.with_source(e)),
            Err(_) => return Err(refusal),
        };
        if change.is_done(&found) {
            return Ok(Receipt::default());
        }
        if change.expectation_holds(&found) && marker_holds(change, &found) {
            // All as expected and refused all the same: the reason is another one, and Amazon's text names it.
            return Err(Error {
                kind: ErrorKind::Invalid,
                ..refusal
            });
        }
        let request_id = refusal.request_id;
        let code = refusal.code;
        Err(Error {
            request_id,
            code,
            ..conflict(PROVIDER, change, found)
        })
    }
}

impl Stored {
    fn found(&self) -> Result<Found, Error> {
        let mut found = Found::default();
        for set in &self.sets {
            found.sets.extend(batch::read(set)?);
        }
        found.marker = self.marker.as_ref().map(batch::read).transpose()?.flatten();
        Ok(found)
    }
}

#[async_trait]
impl Reader for Route53 {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            provider: PROVIDER,
            compare_and_set: Atomicity::Atomic,
            batch: Atomicity::Atomic,
            change_id: true,
            min_ttl: 0,
            marker_in_prerequisite: true,
            control_plane: (!self.local_endpoint).then(|| CONTROL_PLANE.to_owned()),
        }
    }

    async fn zone(&self) -> Result<Zone, Error> {
        self.resolve().await.cloned()
    }

    async fn read(&self, name: &Name) -> Result<Found, Error> {
        let zone = self.resolve().await?;
        self.stored(zone, name).await?.found()
    }

    /// Route 53 has no rehearsal of a write. The right is proven by a batch that cannot be carried out: the real
    /// change together with two DELETEs of one set, of which at most one could match. Rights are judged before
    /// the content, so a refusal of the content proves the right.
    async fn check(&self, change: &Change) -> Result<Vec<Finding>, Error> {
        let zone = match self.resolve().await {
            Ok(zone) => zone,
            Err(e) if e.sort() == Sort::Permanent => {
                return Ok(vec![Finding::error(e.to_string())]);
            }
            Err(e) => return Err(e),
        };
        change.validate(zone, &self.capabilities())?;
        let stored = self.stored(zone, &change.name).await?;
        let mut findings = match stored.found() {
            Ok(found) => look(change, &found),
            Err(e) => vec![Finding::error(e.to_string())],
        };
        let probe = batch::probe(change, &stored.sets, stored.marker.as_ref())?;
        let send = self
            .clients()
            .await
            .write
            .change_resource_record_sets()
            .set_hosted_zone_id(zone.id.clone());
        match send.change_batch(probe).send().await {
            Ok(_) => findings.push(Finding::error(
                "a batch that cannot be carried out was taken: this is no Route 53",
            )),
            Err(e) => match failure::of_write(
                e,
                format!("the right to change `{}` was not proven", change.name),
            ) {
                e if matches!(e.kind, ErrorKind::Invalid) => {
                    findings.push(Finding::info(format!(
                        "the credentials may change `{}` (asked with a batch that cannot be carried out)",
                        change.name
                    )));
                }
                e if e.sort() == Sort::Permanent => findings.push(Finding::error(e.to_string())),
                // Without effect, so a lost answer leaves nothing to read back.
                e if e.sort() == Sort::Unknown => {
                    return Err(Error {
                        kind: ErrorKind::Unavailable,
                        ..e
                    });
                }
                e => return Err(e),
            },
        }
        Ok(findings)
    }

    async fn status(&self, receipt: &Receipt) -> Result<ChangeStatus, Error> {
        let Some(id) = &receipt.change_id else {
            return Ok(ChangeStatus::Unknown);
        };
        match self.clients().await.read.get_change().id(id).send().await {
            Ok(answer) => Ok(match answer.change_info().map(|info| info.status()) {
                Some(WireStatus::Insync) => ChangeStatus::InSync,
                Some(WireStatus::Pending) => ChangeStatus::Pending,
                _ => ChangeStatus::Unknown,
            }),
            Err(e) => {
                match failure::of_read(e, format!("change `{id}` could not be asked after")) {
                    e if e.kind == ErrorKind::NotFound => Ok(ChangeStatus::Unknown),
                    e => Err(e),
                }
            }
        }
    }
}

#[async_trait]
impl Provider for Route53 {
    async fn apply(&self, change: &Change, token: &str) -> Result<Receipt, Error> {
        let zone = self.resolve().await?;
        change.validate(zone, &self.capabilities())?;
        let stored = self.stored(zone, &change.name).await?;
        let found = stored.found()?;
        if change.is_done(&found) {
            return Ok(Receipt::default());
        }
        if !change.expectation_holds(&found) || !marker_holds(change, &found) {
            return Err(conflict(PROVIDER, change, found));
        }
        let changes = batch::changes(change, &stored.sets, stored.marker.as_ref())?;
        let batch = ChangeBatch::builder()
            .comment(batch::comment(token))
            .set_changes(Some(changes))
            .build();
        let batch = batch.map_err(|e| failure::unbuildable(change, e))?;
        let send = self
            .clients()
            .await
            .write
            .change_resource_record_sets()
            .set_hosted_zone_id(zone.id.clone());
        match send.change_batch(batch).send().await {
            Ok(answer) => {
                let id = answer
                    .change_info()
                    .map(|info| info.id().trim_start_matches("/change/").to_owned());
                Ok(Receipt {
                    change_id: id,
                    serial: None,
                })
            }
            Err(e) => match failure::of_write(e, format!("`{}` could not be changed", change.name))
            {
                e if failure::is_refused_batch(&e) => self.refused(zone, change, e).await,
                e => Err(e),
            },
        }
    }
}

fn marker_holds(change: &Change, found: &Found) -> bool {
    let forced = change.expected == Expected::Any && change.marker.is_none();
    forced
        || change
            .marker
            .as_ref()
            .is_none_or(|marker| marker.expected == found.marker_text())
}

fn fqdn(name: &Name) -> String {
    format!("{name}.")
}

/// Tells an id from a name: an id has no dot. (A zone of one label is written with its last dot.)
fn wanted(text: &str) -> Result<Wanted, Error> {
    let id = text.trim_start_matches("/hostedzone/");
    if !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Ok(Wanted::Id(id.to_owned()));
    }
    let neither = |e| {
        Error::new(
            PROVIDER,
            ErrorKind::Invalid,
            format!("`{text}` is neither a zone's id nor its name"),
        )
        .with_source(e)
    };
    Name::parse(text).map(Wanted::Name).map_err(neither)
}
