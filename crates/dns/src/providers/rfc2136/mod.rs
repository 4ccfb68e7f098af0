//! `rfc2136`: signed dynamic update, as BIND, Knot and PowerDNS take it.
//!
//! Compare-and-set is done by the server: every change carries the expected value of record and marker as
//! prerequisites of the same message. A prerequisite compares values, not TTLs.

mod exchange;
mod message;

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::{join_all, try_join_all};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigAlgorithm as WireAlgorithm;
use hickory_proto::rr::{RecordType as WireType, TSigner};
use secrecy::ExposeSecret as _;

use super::{conflict, look};
use crate::change::{Change, ChangeStatus, Finding, Found, Receipt};
use crate::config::{ResolveSecret, Rfc2136Config, TsigAlgorithm, secret, server_address, span};
use crate::error::{Error, ErrorKind, Sort};
use crate::name::Name;
use crate::record::{RecordSet, RecordType, Zone};
use crate::traits::{Atomicity, Capabilities, Provider, Reader};
use crate::verify::{serial_reached, soa_serial};
use crate::wire;
use exchange::Reply;

/// The provider's name in configuration and messages.
pub const PROVIDER: &str = "rfc2136";

/// Limit of one exchange when the configuration names none.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Seconds that the clocks of the two sides may differ (RFC 8945 recommends it).
const FUDGE: u16 = 300;

/// A zone at a server that takes signed updates.
pub struct Rfc2136 {
    zone: Name,
    servers: Vec<SocketAddr>,
    key: TSigner,
    authoritative: Vec<SocketAddr>,
    timeout: Duration,
}

impl Rfc2136 {
    /// Opens the provider. Contacts nobody.
    ///
    /// # Errors
    /// `Invalid` for an address, a timeout or a key that cannot be right.
    pub fn open(config: &Rfc2136Config, secrets: ResolveSecret<'_>) -> Result<Rfc2136, Error> {
        let servers = addresses(config.server.split(','))?;
        let authoritative = addresses(config.authoritative.iter().flatten().map(String::as_str))?;
        let timeout = config
            .timeout
            .as_deref()
            .map_or(Ok(TIMEOUT), |text| span(PROVIDER, text))?;
        let reference = &config.key.secret;
        let secret = secret(PROVIDER, secrets, reference)?;
        let invalid = |text: String| Error::new(PROVIDER, ErrorKind::Invalid, text);
        // The decoder's own message would quote a part of the secret.
        let bytes = STANDARD
            .decode(secret.expose_secret().trim())
            .map_err(|_| {
                invalid(format!(
                    "the secret behind `{reference}` is not base64, as key files hold it"
                ))
            })?;
        if bytes.is_empty() {
            return Err(invalid(format!("the secret behind `{reference}` is empty")));
        }
        let algorithm = match config.key.algorithm {
            TsigAlgorithm::HmacSha256 => WireAlgorithm::HmacSha256,
            TsigAlgorithm::HmacSha384 => WireAlgorithm::HmacSha384,
            TsigAlgorithm::HmacSha512 => WireAlgorithm::HmacSha512,
        };
        let key =
            TSigner::new(bytes, algorithm, config.key.name.wire().clone(), FUDGE).map_err(|e| {
                invalid(format!("key `{}` cannot be used", config.key.name)).with_source(e)
            })?;
        Ok(Rfc2136 {
            zone: config.zone.clone(),
            servers,
            key,
            authoritative,
            timeout,
        })
    }

    fn zone_here(&self) -> Zone {
        Zone {
            name: self.zone.clone(),
            id: None,
        }
    }

    async fn send(&self, message: Message) -> Result<Reply, Error> {
        exchange::update(&self.servers, &self.key, message, self.timeout).await
    }

    /// Asks the primary, or the next one when it cannot be reached.
    async fn query(&self, name: &Name, kind: WireType) -> Result<Message, Error> {
        let mut last = None;
        for server in &self.servers {
            match wire::ask(*server, name.wire(), kind, false, self.timeout).await {
                Ok(answer) => return Ok(answer.message),
                Err(e) => last = Some((server, e)),
            }
        }
        let unavailable = |text: String| Error::new(PROVIDER, ErrorKind::Unavailable, text);
        Err(match last {
            Some((server, e)) => {
                unavailable(format!("{server} did not say what stands at `{name}`")).with_source(e)
            }
            None => unavailable("no server is configured".to_owned()),
        })
    }

    async fn set_at(&self, name: &Name, kind: RecordType) -> Result<Option<RecordSet>, Error> {
        let message = self.query(name, wire::wire_type(kind)).await?;
        match message.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain if message.metadata.authoritative => {
                Ok(wire::sets(&message.answers)
                    .into_iter()
                    .find(|set| set.name == *name && set.kind == kind))
            }
            ResponseCode::NoError | ResponseCode::NXDomain => Err(self.not_served()),
            ResponseCode::NotAuth | ResponseCode::Refused => Err(self.not_served()),
            code => {
                let text = format!("the server could not say what stands at `{name}`");
                Err(Error::new(PROVIDER, ErrorKind::Unavailable, text).with_code(wire::rcode(code)))
            }
        }
    }

    fn not_served(&self) -> Error {
        let servers: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        let text = format!(
            "zone `{}` is not served at {}",
            self.zone,
            servers.join(", ")
        );
        Error::new(PROVIDER, ErrorKind::NotFound, text)
    }

    /// Says what a refusal of `change` means. Only called when nothing was changed.
    async fn refused(&self, change: &Change, code: ResponseCode) -> Result<Receipt, Error> {
        let spelled = wire::rcode(code);
        let (kind, text) = match code {
            ResponseCode::NXRRSet
            | ResponseCode::YXRRSet
            | ResponseCode::YXDomain
            | ResponseCode::NXDomain => {
                return self.moved(change, &spelled).await;
            }
            ResponseCode::Refused => {
                let key = Name::from_wire(self.key.signer_name());
                (
                    ErrorKind::Denied,
                    format!("key `{key}` may not change `{}`", change.name),
                )
            }
            ResponseCode::NotAuth => return Err(self.not_served().with_code(spelled)),
            ResponseCode::NotImp => (
                ErrorKind::Unsupported,
                "the server takes no dynamic updates".to_owned(),
            ),
            ResponseCode::ServFail => (
                ErrorKind::Unavailable,
                format!("the server could not change `{}`", change.name),
            ),
            _ => (
                ErrorKind::Invalid,
                format!("the server refused the change of `{}`", change.name),
            ),
        };
        Err(Error::new(PROVIDER, kind, text).with_code(spelled))
    }

    /// A prerequisite did not hold: reads what stands there now.
    async fn moved(&self, change: &Change, code: &str) -> Result<Receipt, Error> {
        let found = match self.read(&change.name).await {
            Ok(found) => found,
            Err(e) => {
                let text = format!(
                    "`{}` is not as expected, and reading it failed",
                    change.name
                );
                return Err(Error::new(PROVIDER, ErrorKind::Unavailable, text)
                    .with_code(code)
                    .with_source(e));
            }
        };
        if change.is_done(&found) {
            return Ok(Receipt {
                change_id: None,
                serial: self.serial().await,
            });
        }
        Err(conflict(PROVIDER, change, found).with_code(code))
    }

    async fn serial(&self) -> Option<u32> {
        for server in &self.servers {
            if let Ok(serial) = soa_serial(*server, &self.zone, self.timeout).await {
                return Some(serial);
            }
        }
        None
    }
}

#[async_trait]
impl Reader for Rfc2136 {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            provider: PROVIDER,
            compare_and_set: Atomicity::Atomic,
            batch: Atomicity::Atomic,
            change_id: false,
            min_ttl: 0,
            marker_in_prerequisite: true,
            control_plane: None,
        }
    }

    async fn zone(&self) -> Result<Zone, Error> {
        let message = self.query(&self.zone, WireType::SOA).await?;
        let own = message
            .answers
            .iter()
            .any(|r| Name::from_wire(&r.name) == self.zone && r.record_type() == WireType::SOA);
        if own && message.metadata.authoritative {
            Ok(self.zone_here())
        } else {
            Err(self.not_served())
        }
    }

    async fn read(&self, name: &Name) -> Result<Found, Error> {
        if !name.is_within(&self.zone) {
            let text = format!("`{name}` is not inside zone `{}`", self.zone);
            return Err(Error::new(PROVIDER, ErrorKind::Invalid, text));
        }
        let invalid = |e| {
            Error::new(
                PROVIDER,
                ErrorKind::Invalid,
                format!("`{name}` has no room for a marker"),
            )
            .with_source(e)
        };
        let marker = name.marker().map_err(invalid)?;
        let sets = try_join_all(RecordType::ALL.map(|kind| self.set_at(name, kind)));
        let (sets, marker) = futures_util::try_join!(sets, self.set_at(&marker, RecordType::Txt))?;
        Ok(Found {
            sets: sets.into_iter().flatten().collect(),
            marker,
        })
    }

    async fn check(&self, change: &Change) -> Result<Vec<Finding>, Error> {
        change.validate(&self.zone_here(), &self.capabilities())?;
        let mut findings = Vec::new();
        let probe = match message::probe(&self.zone, change) {
            Ok(probe) => probe,
            Err(e) => return Ok(vec![Finding::error(e.to_string())]),
        };
        let key = Name::from_wire(self.key.signer_name());
        match self.send(probe).await {
            // The apex of a zone is always in use: the server got as far as looking at the condition.
            Ok(reply) if reply.code == ResponseCode::YXDomain => {
                findings.push(Finding::info(format!(
                    "key `{key}` may make this change (asked with a condition that cannot hold)"
                )));
            }
            Ok(reply) => match self.refused(change, reply.code).await {
                Err(e) if e.sort() == Sort::Permanent => {
                    findings.push(Finding::error(e.to_string()))
                }
                Err(e) => return Err(e),
                Ok(_) => {
                    let code = wire::rcode(reply.code);
                    findings.push(Finding::warning(format!(
                        "the server answered {code}, which proves no right"
                    )));
                }
            },
            Err(e) if e.sort() == Sort::Permanent => findings.push(Finding::error(e.to_string())),
            // The request could have no effect, so a lost answer leaves nothing to read back.
            Err(e) => {
                return Err(Error {
                    kind: ErrorKind::Unavailable,
                    ..e
                });
            }
        }
        findings.extend(look(change, &self.read(&change.name).await?));
        Ok(findings)
    }

    async fn status(&self, receipt: &Receipt) -> Result<ChangeStatus, Error> {
        let Some(want) = receipt.serial else {
            return Ok(ChangeStatus::Unknown);
        };
        if self.authoritative.is_empty() {
            return Ok(ChangeStatus::Unknown);
        }
        let serials = join_all(
            self.authoritative
                .iter()
                .map(|s| soa_serial(*s, &self.zone, self.timeout)),
        )
        .await;
        let behind = serials
            .iter()
            .any(|serial| !matches!(serial, Ok(have) if serial_reached(*have, want)));
        Ok(if behind {
            ChangeStatus::Pending
        } else {
            ChangeStatus::InSync
        })
    }
}

#[async_trait]
impl Provider for Rfc2136 {
    async fn apply(&self, change: &Change, token: &str) -> Result<Receipt, Error> {
        change.validate(&self.zone_here(), &self.capabilities())?;
        let message = message::update(&self.zone, change)?;
        tracing::debug!(name = %change.name, token, "sending a dynamic update");
        let reply = self.send(message).await?;
        match reply.code {
            ResponseCode::NoError => {
                let serial = soa_serial(reply.server, &self.zone, self.timeout)
                    .await
                    .ok();
                Ok(Receipt {
                    change_id: None,
                    serial,
                })
            }
            code => self.refused(change, code).await,
        }
    }
}

fn addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<SocketAddr>, Error> {
    texts.map(|text| server_address(PROVIDER, text)).collect()
}
