//! An authoritative DNS server in memory: a primary that takes signed updates, a secondary that lags behind it,
//! and faults on request.
//!
//! Everything is reached over UDP and TCP as with any server. What a test must see or break beyond that (the log
//! of updates with their effect, someone else's edits, faults, the edges of each request) is on [`DnsServer`].

mod faults;
mod handler;
mod tsig;
mod update;
mod versions;
mod zone;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_server::Server;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UdpSocket};

pub use faults::{DnsRequestSeen, Edge, Fault, Scope, Verdict};
pub use zone::{Effect, RecordKind, RecordSet};

use faults::Faults;
use handler::{Handler, Role, Shared};
use versions::Versions;
use zone::Zone;

/// An idle TCP connection is closed after this long. So the client of a lost reply sees the end of the stream
/// rather than waiting for its own limit.
const IDLE: Duration = Duration::from_secs(1);

/// How often another port is tried when the system's choice is taken on the secondary's address.
const PORT_ATTEMPTS: u32 = 20;

/// What the server is started with.
#[derive(Clone)]
pub struct DnsOptions {
    /// The zone's apex, such as `sandbox.test`.
    pub zone: String,
    /// Where the primary listens. Port 0: any free one, the same for both servers.
    pub primary: SocketAddr,
    /// Where the secondary listens. Must differ from the primary's in address or port.
    pub secondary: SocketAddr,
    /// What stands in the zone at the start.
    pub records: Vec<Record>,
    /// The name of the TSIG key (HMAC-SHA256) that may update.
    pub key_name: String,
    /// Its secret.
    pub key_secret: Vec<u8>,
    /// How long the secondary stays behind.
    pub secondary_lag: Duration,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: RecordKind,
    /// Its value, as in a zone file but without quotes and trailing dots.
    pub value: String,
    /// Its time to live in seconds.
    pub ttl: u32,
}

/// An UPDATE that reached the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateSeen {
    /// Counted from 1.
    pub number: u64,
    /// Who sent it.
    pub from: SocketAddr,
    /// The reply's code as DNS spells it, such as `NOERROR` or `NXRRSET`; `BADKEY`, `BADSIG`, `BADTIME` where
    /// the signature was the reason. Also when the reply was lost.
    pub rcode: String,
    /// What it changed, set by set. Empty: nothing.
    pub effects: Vec<Effect>,
    /// Whether a reply was sent.
    pub replied: bool,
}

/// The running server. Dropping it closes its sockets.
pub struct DnsServer {
    shared: Arc<Shared>,
    primary: SocketAddr,
    secondary: SocketAddr,
    _servers: [Server<Handler>; 2],
}

impl DnsServer {
    /// Starts primary and secondary.
    ///
    /// # Errors
    /// An address that is taken, or options that make no zone (`InvalidInput`).
    pub async fn start(options: DnsOptions) -> io::Result<DnsServer> {
        let zone = Zone::new(
            &options.zone,
            options.primary.ip(),
            options.secondary.ip(),
            &options.records,
        )?;
        let key = tsig::key(&options.key_name, options.key_secret)?;
        let (first, second) = bind_pair(options.primary, options.secondary).await?;
        let (primary, secondary) = (first.address, second.address);
        let shared = Arc::new(Shared {
            key,
            versions: Mutex::new(Versions::new(zone, options.secondary_lag)),
            log: Mutex::new(Vec::new()),
            faults: Faults::default(),
        });
        let servers = [
            first.serve(Role::Primary, &shared),
            second.serve(Role::Secondary, &shared),
        ];
        Ok(DnsServer {
            shared,
            primary,
            secondary,
            _servers: servers,
        })
    }

    /// Where the primary listens.
    pub fn primary(&self) -> SocketAddr {
        self.primary
    }

    /// Where the secondary listens.
    pub fn secondary(&self) -> SocketAddr {
        self.secondary
    }

    /// Returns all sets as the primary holds them, sorted, without the zone's own (SOA, NS and the servers' names).
    pub fn snapshot(&self) -> Vec<RecordSet> {
        lock(&self.shared.versions).primary().snapshot()
    }

    /// Returns all sets as the secondary answers at this moment.
    pub fn secondary_snapshot(&self) -> Vec<RecordSet> {
        lock(&self.shared.versions).secondary().snapshot()
    }

    /// Returns the primary's SOA serial.
    pub fn serial(&self) -> u32 {
        lock(&self.shared.versions).primary().serial()
    }

    /// Returns every UPDATE seen so far, in order of arrival of its work.
    pub fn log(&self) -> Vec<UpdateSeen> {
        lock(&self.shared.log).clone()
    }

    /// Someone else edits the zone: replaces the set, or removes it when there are no values. Not in the log.
    ///
    /// # Errors
    /// `InvalidInput` for a name outside the zone or a value that does not fit the type.
    pub fn set_record(
        &self,
        name: &str,
        kind: RecordKind,
        values: &[&str],
        ttl: u32,
    ) -> io::Result<()> {
        lock(&self.shared.versions).edit(|zone| zone.replace(name, kind, values, ttl))
    }

    /// Sets how long the secondary stays behind from now on. It never goes back to an older version.
    pub fn set_secondary_lag(&self, lag: Duration) {
        lock(&self.shared.versions).set_lag(lag);
    }

    /// Limits the key to these names, as an update policy does: others are REFUSED. `None`: the whole zone.
    pub fn set_update_policy(&self, names: Option<Vec<String>>) {
        self.shared.faults.set_policy(names);
    }

    /// Arms a fault for the next `times` requests in `scope`; `None`: until cleared.
    pub fn inject(&self, scope: Scope, fault: Fault, times: Option<u32>) {
        self.shared.faults.inject(scope, fault, times);
    }

    /// Disarms every fault.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Calls `hook` before the work and after it, before the reply, for every UPDATE and every query, and obeys
    /// its verdict. It runs on the server's own task: it may kill a process, it must not wait long.
    pub fn on_request(&self, hook: Arc<dyn Fn(&DnsRequestSeen) -> Verdict + Send + Sync>) {
        self.shared.faults.set_hook(Some(hook));
    }

    /// Removes the hook.
    pub fn clear_hook(&self) {
        self.shared.faults.set_hook(None);
    }
}

/// A UDP and a TCP socket on one address.
struct Bound {
    address: SocketAddr,
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Bound {
    async fn bind(address: SocketAddr) -> io::Result<Bound> {
        let tcp = TcpListener::bind(address).await?;
        let address = tcp.local_addr()?;
        Ok(Bound {
            address,
            udp: UdpSocket::bind(address).await?,
            tcp,
        })
    }

    fn serve(self, role: Role, shared: &Arc<Shared>) -> Server<Handler> {
        let mut server = Server::new(Handler::new(role, Arc::clone(shared)));
        server.register_socket(self.udp);
        server.register_listener(self.tcp, IDLE, 64);
        server
    }
}

async fn bind_pair(primary: SocketAddr, mut secondary: SocketAddr) -> io::Result<(Bound, Bound)> {
    if primary.ip() == secondary.ip() && primary.port() == secondary.port() {
        return Err(invalid(
            "primary and secondary need different addresses".to_owned(),
        ));
    }
    let mut attempt = 0;
    loop {
        attempt += 1;
        let bound = async {
            let first = Bound::bind(primary).await?;
            if primary.port() == 0 {
                secondary.set_port(first.address.port());
            }
            let second = Bound::bind(secondary).await?;
            Ok((first, second))
        };
        match bound.await {
            // The system's choice was free for TCP on the first address, but not for UDP or on the second.
            Err(e) if primary.port() == 0 && attempt < PORT_ATTEMPTS && in_use(&e) => {}
            other => return other,
        }
    }
}

fn in_use(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::AddrInUse
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// No state here can be left half-changed by a panic: every change is made on a copy.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
