//! The servers under test, each behind the same face.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runbook_dns::{
    Name, Provider, ProviderConfig, RecordSet, RecordType, Rfc2136Config, TsigAlgorithm,
    TsigKeyConfig, open,
};
use runbook_sim::dns::{DnsOptions, DnsServer, RecordKind};
use secrecy::SecretString;

use crate::servers::{self, Bind};

pub const ZONE: &str = "example.test";

/// The names that cases use, one each, so that they cannot disturb each other.
pub const NAMES: [&str; 16] = [
    "harbor",
    "create",
    "again",
    "swap",
    "moved",
    "ttl",
    "foreign",
    "unmarked",
    "marker",
    "vanished",
    "addresses",
    "check",
    "key",
    "right",
    "any",
    "type",
];

pub fn name(label: &str) -> Name {
    Name::parse(&format!("{label}.{ZONE}")).unwrap()
}

pub fn cname(label: &str, ttl: u32, target: &str) -> RecordSet {
    RecordSet::new(
        name(label),
        RecordType::Cname,
        ttl,
        [format!("{target}.{ZONE}")],
    )
    .unwrap()
}

/// A provider with a zone to work on, seen from four sides.
pub struct World {
    /// As it should be set up.
    pub provider: Arc<dyn Provider>,
    /// With credentials that the server does not know.
    pub stranger: Arc<dyn Provider>,
    /// With credentials that the server knows and that may not change these names.
    pub powerless: Arc<dyn Provider>,
    /// Someone else with the right to change everything.
    pub elsewhere: Box<dyn Elsewhere>,
}

/// Someone else who edits the zone.
pub trait Elsewhere {
    fn put(&self, set: &RecordSet);
    fn remove(&self, set: &RecordSet);
}

pub fn rfc2136(
    servers: &[SocketAddr],
    key: &str,
    secret: &str,
    authoritative: Option<&[SocketAddr]>,
) -> Arc<dyn Provider> {
    let text = |list: &[SocketAddr]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let config = ProviderConfig::Rfc2136(Rfc2136Config {
        zone: Name::parse(ZONE).unwrap(),
        server: text(servers).join(","),
        key: TsigKeyConfig {
            name: Name::parse(key).unwrap(),
            algorithm: TsigAlgorithm::HmacSha256,
            secret: "env:DNS_KEY".into(),
        },
        kind: RecordType::Cname,
        ttl: 60,
        authoritative: authoritative.map(text),
        timeout: Some("2s".into()),
    });
    let secret = SecretString::from(secret.to_owned());
    open(&config, &|reference| {
        (reference == "env:DNS_KEY").then(|| secret.clone())
    })
    .unwrap()
}

/// Real BIND 9.
pub fn bind() -> World {
    let bind = Arc::new(Bind::start(ZONE, &["harbor-ams IN A 192.0.2.1"], &NAMES));
    let at = |key: &str, secret: &str| rfc2136(&[bind.address], key, secret, None);
    World {
        provider: at(servers::KEY, &bind.secret),
        stranger: at("nobody", &bind.secret),
        powerless: at(servers::NARROW_KEY, &bind.narrow_secret),
        elsewhere: Box::new(BindEdit(bind)),
    }
}

struct BindEdit(Arc<Bind>);

impl Elsewhere for BindEdit {
    fn put(&self, set: &RecordSet) {
        let mut commands = format!("update delete {} {}\n", set.name, set.kind);
        for value in &set.values {
            let value = if set.kind == RecordType::Cname {
                format!("{value}.")
            } else {
                format!("\"{value}\"")
            };
            commands.push_str(&format!(
                "update add {} {} {} {value}\n",
                set.name, set.ttl, set.kind
            ));
        }
        self.0.edit(&commands);
    }

    fn remove(&self, set: &RecordSet) {
        self.0
            .edit(&format!("update delete {} {}", set.name, set.kind));
    }
}

/// The sandbox's server, which shares no type with the client.
pub async fn sandbox() -> (World, Arc<DnsServer>) {
    let secret = random_key();
    let server = Arc::new(start_sandbox(&secret, Duration::ZERO).await);
    let key = STANDARD.encode(&secret);
    let at = |name: &str| {
        rfc2136(
            &[server.primary()],
            name,
            &key,
            Some(&[server.primary(), server.secondary()]),
        )
    };
    let world = World {
        provider: at("ops"),
        stranger: at("nobody"),
        powerless: at("ops"),
        elsewhere: Box::new(SandboxEdit(Arc::clone(&server))),
    };
    (world, server)
}

pub async fn start_sandbox(secret: &[u8], secondary_lag: Duration) -> DnsServer {
    DnsServer::start(DnsOptions {
        zone: ZONE.into(),
        primary: ([127, 0, 0, 1], 0).into(),
        secondary: ([127, 0, 0, 2], 0).into(),
        records: vec![],
        key_name: "ops".into(),
        key_secret: secret.to_vec(),
        secondary_lag,
    })
    .await
    .unwrap()
}

pub fn random_key() -> Vec<u8> {
    use std::hash::{BuildHasher, RandomState};
    (0..4u8)
        .flat_map(|n| RandomState::new().hash_one(n).to_be_bytes())
        .collect()
}

struct SandboxEdit(Arc<DnsServer>);

impl SandboxEdit {
    fn set(&self, set: &RecordSet, values: &[&str]) {
        let kind = match set.kind {
            RecordType::A => RecordKind::A,
            RecordType::Aaaa => RecordKind::Aaaa,
            RecordType::Cname => RecordKind::Cname,
            RecordType::Txt => RecordKind::Txt,
        };
        self.0
            .set_record(&set.name.to_string(), kind, values, set.ttl)
            .unwrap();
    }
}

impl Elsewhere for SandboxEdit {
    fn put(&self, set: &RecordSet) {
        self.set(
            set,
            &set.values.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }

    fn remove(&self, set: &RecordSet) {
        self.set(set, &[]);
    }
}
