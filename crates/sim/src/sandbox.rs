//! A DR pair on loopback: two Harbors, a DNS zone, and a control port.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    clock::{self, Chance, SimClock},
    control,
    dns::{DnsOptions, DnsServer, Record, RecordKind},
    harbor::Harbor,
    log::{self, Hook, LogEntry},
    replication, seed,
    site::{CopySpeed, Realm, Site, World, lock},
    snapshot::{SiteSnapshot, WorldSnapshot},
};

pub(crate) const ZONE: &str = "sandbox.test";
pub(crate) const KEY_NAME: &str = "dr-key";
/// Seconds.
pub(crate) const ENDPOINT_TTL: u32 = 60;
/// How often other addresses and ports are tried before giving up.
const ATTEMPTS: u32 = 30;

/// Which way the forward policy copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// `dr` pulls from `primary`.
    #[default]
    Pull,
    /// `primary` pushes to `dr`.
    Push,
}

/// What the sites hold at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contents {
    /// A DR pair: images, robots, endpoints and policies.
    #[default]
    Pair,
    /// What a fresh Harbor has: the user `admin` and the project `library`.
    Bare,
}

/// How a sandbox is started.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// The forward policy's direction.
    pub direction: Direction,
    /// What the sites hold.
    pub contents: Contents,
    /// How many times faster the sites' own waits run: status refresh (30 s), retries (16-118 s), schedules,
    /// copying. Must be positive.
    pub time_scale: f64,
    /// For chance, so that a failure can be replayed.
    pub seed: u64,
    /// The first two numbers of the addresses `127.a.b.x`; by default fresh ones, so that many run side by side.
    pub addresses: Option<(u8, u8)>,
    /// The port of everything; by default any free one.
    pub port: Option<u16>,
    /// How fast both sites copy.
    pub copy_speed: CopySpeed,
    /// Whose address the token realm names.
    pub realm: Realm,
    /// How long the secondary DNS server stays behind, in real time.
    pub secondary_lag: Duration,
    /// Whether `primary` starts with one tag, `production/app:fresh`, that is not replicated yet.
    pub fresh_tag: bool,
}

impl Default for SandboxOptions {
    fn default() -> SandboxOptions {
        SandboxOptions {
            direction: Direction::default(),
            contents: Contents::default(),
            time_scale: 1.0,
            seed: 1,
            addresses: None,
            port: None,
            copy_speed: CopySpeed::default(),
            realm: Realm::default(),
            secondary_lag: Duration::ZERO,
            fresh_tag: false,
        }
    }
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The time scale is not a positive number.
    #[error("time scale `{0}` is not a positive number")]
    TimeScale(f64),
    /// No address and port were free for all servers.
    #[error("no free addresses for the sandbox after {attempts} attempts")]
    Addresses {
        /// How often others were tried.
        attempts: u32,
        /// The last refusal.
        #[source]
        source: io::Error,
    },
    /// The content of the start was refused.
    #[error("the sandbox cannot be filled: {0}")]
    Fill(String),
}

/// Two Harbors `primary` and `dr` and the zone `sandbox.test`, until it is dropped.
pub struct Sandbox {
    pub(crate) inner: Arc<Inner>,
    timers: Vec<JoinHandle<()>>,
}

/// What the control port shares with the handle.
pub(crate) struct Inner {
    pub(crate) world: Arc<World>,
    pub(crate) primary: Harbor,
    pub(crate) dr: Harbor,
    pub(crate) dns: DnsServer,
    pub(crate) dns_secret: Vec<u8>,
    pub(crate) direction: Direction,
    pub(crate) control: SocketAddr,
}

impl Sandbox {
    /// Starts everything. Both sites hold the same; what they hold is in the crate's `seed` module.
    ///
    /// # Errors
    /// No free addresses, or a time scale that is none.
    pub async fn start(options: SandboxOptions) -> Result<Sandbox, SandboxError> {
        if !(options.time_scale.is_finite() && options.time_scale > 0.0) {
            return Err(SandboxError::TimeScale(options.time_scale));
        }
        let dns_secret: Vec<u8> = (0..4)
            .flat_map(|_| clock::unguessable().to_be_bytes())
            .collect();
        let (listeners, dns) = bind(&options, &dns_secret).await?;
        let [first, second, third] = listeners;
        let world = Arc::new(World {
            realm: options.realm,
            ..new_world(&options)
        });
        let address = |listener: &TcpListener| {
            listener
                .local_addr()
                .map_err(|source| SandboxError::Addresses {
                    attempts: 1,
                    source,
                })
        };
        let primary = Site::new("primary", address(&first)?, &world);
        let dr = Site::new("dr", address(&second)?, &world);
        let control = address(&third)?;
        *lock(&world.sites) = vec![primary.clone(), dr.clone()];
        for site in [&primary, &dr] {
            *lock(&site.copy_speed) = options.copy_speed;
        }
        let refuse = |refused| SandboxError::Fill(format!("{refused:?}"));
        match options.contents {
            Contents::Pair => seed::fill(&primary, &dr, options.direction).map_err(refuse)?,
            Contents::Bare => seed::leave_bare(&primary, &dr),
        }
        primary.listening.start(first, primary.clone());
        dr.listening.start(second, dr.clone());
        let inner = Arc::new(Inner {
            world,
            primary: Harbor {
                site: primary.clone(),
            },
            dr: Harbor { site: dr.clone() },
            dns,
            dns_secret,
            direction: options.direction,
            control,
        });
        let mut timers = vec![control::serve(third, &inner)];
        for site in [primary, dr] {
            timers.push(tokio::spawn(replication::run_timers(site.clone())));
            timers.push(tokio::spawn(replication::run_schedules(site)));
        }
        let sandbox = Sandbox { inner, timers };
        if options.fresh_tag {
            let pushed = sandbox
                .primary()
                .push_tag("production/app", "fresh", "app-fresh");
            pushed.map_err(|error| SandboxError::Fill(error.to_string()))?;
        }
        Ok(sandbox)
    }

    /// The site that the service name points to at the start.
    pub fn primary(&self) -> &Harbor {
        &self.inner.primary
    }

    /// The other one.
    pub fn dr(&self) -> &Harbor {
        &self.inner.dr
    }

    /// A site by name.
    pub fn site(&self, name: &str) -> Option<&Harbor> {
        self.inner.site(name)
    }

    /// The DNS server.
    pub fn dns(&self) -> &DnsServer {
        &self.inner.dns
    }

    /// Which way the forward policy copies.
    pub fn direction(&self) -> Direction {
        self.inner.direction
    }

    /// How many times faster the sites' own waits run.
    pub fn time_scale(&self) -> f64 {
        self.inner.world.clock.scale()
    }

    /// The service name.
    pub fn endpoint_name(&self) -> String {
        format!("harbor.{ZONE}")
    }

    /// Where a sandbox is steered from another process: `GET /state`, `GET /log`, `POST /fault`,
    /// `DELETE /fault`, `POST /push`, `POST /read-only`, `POST /change`.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.inner.control)
    }

    /// Calls a hook at both edges of every request, in place of an earlier one.
    pub fn on_request(&self, hook: Hook) {
        *lock(&self.inner.world.hook) = Some(hook);
    }

    /// Takes the hook away.
    pub fn clear_hook(&self) {
        *lock(&self.inner.world.hook) = None;
    }

    /// Every mutating request so far.
    pub fn log(&self) -> Vec<LogEntry> {
        lock(&self.inner.world.log).clone()
    }

    /// Forgets the log; the numbers go on.
    pub fn clear_log(&self) {
        lock(&self.inner.world.log).clear();
    }

    /// How often each mutating request was carried out, by (method, `site/object`).
    pub fn effects(&self) -> BTreeMap<(String, String), usize> {
        log::count(&lock(&self.inner.world.log))
    }

    /// Both sites and the zone, as data.
    pub fn snapshot(&self) -> WorldSnapshot {
        self.inner.snapshot()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for timer in &self.timers {
            timer.abort();
        }
        for harbor in [&self.inner.primary, &self.inner.dr] {
            harbor.site.listening.stop();
        }
        // Sites and world hold each other: let go, so that tasks under way notice that the world is gone.
        lock(&self.inner.world.sites).clear();
    }
}

impl Inner {
    pub(crate) fn site(&self, name: &str) -> Option<&Harbor> {
        [&self.primary, &self.dr]
            .into_iter()
            .find(|harbor| harbor.name() == name)
    }

    pub(crate) fn snapshot(&self) -> WorldSnapshot {
        let sites = [&self.primary, &self.dr];
        WorldSnapshot {
            sites: sites
                .map(|harbor| (harbor.name().to_owned(), SiteSnapshot::of(&harbor.site)))
                .into(),
            dns: self.dns.snapshot(),
        }
    }
}

fn new_world(options: &SandboxOptions) -> World {
    World {
        clock: SimClock::new(options.time_scale),
        chance: Chance::new(options.seed),
        realm: options.realm,
        sites: Mutex::default(),
        hook: Mutex::default(),
        log: Mutex::default(),
        requests: AtomicU64::new(0),
    }
}

/// A world without sites, for tests of single functions.
#[cfg(test)]
pub(crate) fn lone_world() -> World {
    new_world(&SandboxOptions::default())
}

/// Binds the two sites, the control port and the DNS servers: one port for all of them.
async fn bind(
    options: &SandboxOptions,
    secret: &[u8],
) -> Result<([TcpListener; 3], DnsServer), SandboxError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match try_bind(options, secret).await {
            Ok(bound) => return Ok(bound),
            Err(source) if attempts >= ATTEMPTS => {
                return Err(SandboxError::Addresses { attempts, source });
            }
            Err(_) => {}
        }
    }
}

async fn try_bind(
    options: &SandboxOptions,
    secret: &[u8],
) -> io::Result<([TcpListener; 3], DnsServer)> {
    let random = clock::unguessable();
    // 127.0 is everybody's.
    let fresh = (1 + (random % 254) as u8, (random >> 8) as u8);
    let (a, b) = options.addresses.unwrap_or(fresh);
    let at =
        |last: u8, port: u16| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, a, b, last)), port);
    let primary = TcpListener::bind(at(1, options.port.unwrap_or(0))).await?;
    let port = primary.local_addr()?.port();
    let dr = TcpListener::bind(at(2, port)).await?;
    let control = TcpListener::bind(at(250, port)).await?;
    let record = |name: &str, kind: RecordKind, value: String| Record {
        name: format!("{name}.{ZONE}"),
        kind,
        value,
        ttl: ENDPOINT_TTL,
    };
    let dns = DnsServer::start(DnsOptions {
        zone: ZONE.to_owned(),
        primary: at(53, port),
        secondary: at(54, port),
        records: vec![
            record("primary", RecordKind::A, at(1, port).ip().to_string()),
            record("dr", RecordKind::A, at(2, port).ip().to_string()),
            record("harbor", RecordKind::Cname, format!("primary.{ZONE}")),
        ],
        key_name: KEY_NAME.to_owned(),
        key_secret: secret.to_vec(),
        secondary_lag: options.secondary_lag,
    })
    .await?;
    Ok(([primary, dr, control], dns))
}
