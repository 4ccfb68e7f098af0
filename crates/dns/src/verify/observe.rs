//! One question to one server at a time, many servers at once.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType as WireType};
use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::record::{RecordSet, RecordType};
use crate::wire::{self, AskError};

/// The port of name servers found by NS records.
const DNS_PORT: u16 = 53;

/// No chain of aliases in use is longer.
const CHAIN_LIMIT: usize = 8;

/// From where a name is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vantage {
    /// A server of the zone itself. Its answer must carry the authoritative bit.
    Authoritative(SocketAddr),
    /// A cache.
    Resolver(SocketAddr),
    /// Whatever this host is set up to use.
    System,
}

/// What one server answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// Who was asked.
    pub vantage: Vantage,
    /// The response code as DNS tools spell it.
    pub rcode: String,
    /// Whether the server claims authority.
    pub authoritative: bool,
    /// Whether the first answer was cut short, so that TCP was used.
    pub truncated: bool,
    /// The sets in the answer in their order: the chain of aliases and its end. TTLs as said by the server.
    pub answers: Vec<RecordSet>,
    /// For a negative answer: how many seconds a cache may keep it, min(SOA TTL, SOA minimum), RFC 2308.
    pub negative_ttl: Option<u32>,
    /// How long it took.
    pub rtt: Duration,
}

/// Why a vantage gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("`{vantage}` gave no answer: {why}")]
pub struct Unreachable {
    /// Who was asked.
    pub vantage: Vantage,
    /// What happened.
    pub why: String,
}

/// Why a look at the servers came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The server did not answer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// It answered something else than asked for.
    #[error("`{vantage}` has no {wanted} for `{name}` ({rcode})")]
    Missing {
        /// Who was asked.
        vantage: Vantage,
        /// What was asked for.
        wanted: &'static str,
        /// The name.
        name: Name,
        /// The response code.
        rcode: String,
    },
    /// The host's own lookup failed.
    #[error("this host cannot look up `{name}`")]
    System {
        /// The name.
        name: Name,
        /// The host's reason.
        #[source]
        source: std::io::Error,
    },
}

impl fmt::Display for Vantage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Vantage::Authoritative(address) => write!(f, "{address} (authoritative)"),
            Vantage::Resolver(address) => write!(f, "{address}"),
            Vantage::System => f.write_str("system resolver"),
        }
    }
}

/// Asks `vantage` for `name` once, within `timeout`.
///
/// # Errors
/// [`Unreachable`] when no answer came. A refusal is an answer: see its `rcode`.
pub async fn observe(
    vantage: &Vantage,
    name: &Name,
    kind: RecordType,
    timeout: Duration,
) -> Result<Observation, Unreachable> {
    let answer = ask(vantage, name, wire::wire_type(kind), timeout).await?;
    let message = answer.message;
    let answers = wire::sets(&message.answers);
    let negative_ttl = message
        .authorities
        .iter()
        .filter(|_| answers.is_empty())
        .find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
    Ok(Observation {
        vantage: vantage.clone(),
        rcode: wire::rcode(message.metadata.response_code),
        authoritative: message.metadata.authoritative,
        truncated: answer.truncated,
        answers,
        negative_ttl,
        rtt: answer.rtt,
    })
}

/// Asks all vantages at once, each within `timeout`: a dead one delays no other. Results in the order given.
pub async fn observe_all(
    vantages: &[Vantage],
    name: &Name,
    kind: RecordType,
    timeout: Duration,
) -> Vec<(Vantage, Result<Observation, Unreachable>)> {
    let each = |vantage: &Vantage| {
        let vantage = vantage.clone();
        async move {
            let observed = observe(&vantage, name, kind, timeout).await;
            (vantage, observed)
        }
    };
    join_all(vantages.iter().map(each)).await
}

/// Reads the set of one type back from every server at once. `None`: the server answered that there is none.
pub async fn read_back(
    servers: &[SocketAddr],
    name: &Name,
    kind: RecordType,
    timeout: Duration,
) -> Vec<(SocketAddr, Result<Option<RecordSet>, Unreachable>)> {
    let each = |server: SocketAddr| async move {
        let vantage = Vantage::Authoritative(server);
        let read = match observe(&vantage, name, kind, timeout).await {
            Ok(o) if !matches!(o.rcode.as_str(), "NOERROR" | "NXDOMAIN") => Err(Unreachable {
                vantage,
                why: o.rcode,
            }),
            Ok(o) if !o.authoritative => Err(Unreachable {
                vantage,
                why: "it is not authoritative".to_owned(),
            }),
            Ok(o) => Ok(o
                .answers
                .into_iter()
                .find(|set| set.name == *name && set.kind == kind)),
            Err(e) => Err(e),
        };
        (server, read)
    };
    join_all(servers.iter().copied().map(each)).await
}

/// Finds the servers of `zone`: its NS records as `via` knows them, and every address of each.
///
/// # Errors
/// `Missing` when there are no NS records or none of them has an address.
pub async fn authoritative_servers(
    zone: &Name,
    via: &Vantage,
    timeout: Duration,
) -> Result<Vec<SocketAddr>, VerifyError> {
    let answer = ask(via, zone, WireType::NS, timeout).await?;
    let names: Vec<Name> = answer
        .message
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::NS(ns) => Some(Name::from_wire(&ns.0)),
            _ => None,
        })
        .collect();
    let found = join_all(
        names
            .iter()
            .map(|name| resolve_addresses(via, name, timeout)),
    )
    .await;
    let mut servers: Vec<SocketAddr> = found
        .into_iter()
        .flatten()
        .flatten()
        .map(|ip| SocketAddr::new(ip, DNS_PORT))
        .collect();
    servers.sort();
    servers.dedup();
    if servers.is_empty() {
        let wanted = if names.is_empty() {
            "NS records"
        } else {
            "addresses of name servers"
        };
        return Err(missing(
            via,
            wanted,
            zone,
            answer.message.metadata.response_code,
        ));
    }
    Ok(servers)
}

/// Reads the zone's serial at one server.
///
/// # Errors
/// `Missing` when the server does not serve the zone.
pub async fn soa_serial(
    server: SocketAddr,
    zone: &Name,
    timeout: Duration,
) -> Result<u32, VerifyError> {
    let vantage = Vantage::Authoritative(server);
    let message = ask(&vantage, zone, WireType::SOA, timeout).await?.message;
    let serial = message
        .answers
        .iter()
        .find_map(|record| match &record.data {
            RData::SOA(soa) if Name::from_wire(&record.name) == *zone => Some(soa.serial),
            _ => None,
        });
    serial.ok_or_else(|| missing(&vantage, "SOA record", zone, message.metadata.response_code))
}

/// Resolves `name` to every address a client could get, both families, following aliases.
///
/// [`Vantage::System`] asks as every program on this host does, hosts file included.
///
/// # Errors
/// `Missing` when there is no address.
pub async fn resolve_addresses(
    via: &Vantage,
    name: &Name,
    timeout: Duration,
) -> Result<Vec<IpAddr>, VerifyError> {
    if *via == Vantage::System {
        return lookup_on_host(name, timeout).await;
    }
    let (four, six) = futures_util::join!(
        follow(via, name, RecordType::A, timeout),
        follow(via, name, RecordType::Aaaa, timeout)
    );
    // One family may be broken; both may not.
    let (mut addresses, rcode) = match (four, six) {
        (Ok((mut a, code)), Ok((b, _))) => {
            a.extend(b);
            (a, code)
        }
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => one,
        (Err(e), Err(_)) => return Err(e.into()),
    };
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(VerifyError::Missing {
            vantage: via.clone(),
            wanted: "address",
            name: name.clone(),
            rcode,
        });
    }
    Ok(addresses)
}

/// Follows aliases by hand, because a server without recursion hands out only the part that it knows.
async fn follow(
    via: &Vantage,
    name: &Name,
    kind: RecordType,
    timeout: Duration,
) -> Result<(Vec<IpAddr>, String), Unreachable> {
    let mut name = name.clone();
    let mut rcode = String::new();
    for _ in 0..CHAIN_LIMIT {
        let observed = observe(via, &name, kind, timeout).await?;
        let values = observed
            .answers
            .iter()
            .filter(|set| set.kind == kind)
            .flat_map(|set| &set.values);
        let addresses: Vec<IpAddr> = values.filter_map(|v| v.parse().ok()).collect();
        rcode = observed.rcode;
        let last = observed
            .answers
            .iter()
            .rev()
            .find(|set| set.kind == RecordType::Cname);
        let target = last.and_then(|set| Name::parse(set.values.first()?).ok());
        match target {
            Some(target) if addresses.is_empty() && target != name => name = target,
            _ => return Ok((addresses, rcode)),
        }
    }
    Ok((Vec::new(), rcode))
}

async fn lookup_on_host(name: &Name, timeout: Duration) -> Result<Vec<IpAddr>, VerifyError> {
    let system = |source| VerifyError::System {
        name: name.clone(),
        source,
    };
    let host = name.to_string();
    let found = tokio::time::timeout(timeout, tokio::net::lookup_host((host.as_str(), 0))).await;
    let found = found
        .map_err(|_| system(std::io::ErrorKind::TimedOut.into()))?
        .map_err(system)?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

async fn ask(
    vantage: &Vantage,
    name: &Name,
    kind: WireType,
    timeout: Duration,
) -> Result<wire::Answer, Unreachable> {
    let unreachable = |why: String| Unreachable {
        vantage: vantage.clone(),
        why,
    };
    let (server, recursion) = match vantage {
        Vantage::Authoritative(address) => (*address, false),
        Vantage::Resolver(address) => (*address, true),
        Vantage::System => (system_server().map_err(unreachable)?, true),
    };
    wire::ask(server, name.wire(), kind, recursion, timeout)
        .await
        .map_err(|e: AskError| unreachable(e.to_string()))
}

/// The first name server that this host is set up to use.
fn system_server() -> Result<SocketAddr, String> {
    let (config, _) =
        hickory_resolver::system_conf::read_system_conf().map_err(|e| e.to_string())?;
    let server = config
        .name_servers()
        .first()
        .ok_or("this host has no name server set up")?;
    let port = server
        .connections
        .first()
        .map_or(DNS_PORT, |connection| connection.port);
    Ok(SocketAddr::new(server.ip, port))
}

fn missing(
    vantage: &Vantage,
    wanted: &'static str,
    name: &Name,
    code: ResponseCode,
) -> VerifyError {
    VerifyError::Missing {
        vantage: vantage.clone(),
        wanted,
        name: name.clone(),
        rcode: wire::rcode(code),
    }
}
