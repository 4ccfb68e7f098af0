//! Hosts, and places to connect to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use schemars::json_schema;

use super::text_scalar;

/// A host name or an IP address, in lower case and without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

/// Why a text is no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no host name: write it without scheme, port and path, such as `harbor.example.com`"
)]
pub struct HostError(String);

impl Host {
    /// Returns the name or address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the IP address, if it is one and no name.
    pub fn address(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if name.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(is_label)) {
            Ok(Self(name))
        } else {
            Err(HostError(text.to_owned()))
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_scalar!(
    Host,
    "Host",
    json_schema!({
        "type": "string",
        "description": "A host name or an IP address, without scheme, port and path.",
        "pattern": "^[A-Za-z0-9_.:-]+$",
    })
);

/// An IP address and a port to connect to, `127.0.0.1:19080` or `[::1]:19080`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort(SocketAddr);

/// Why a text is no place to connect to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no place to connect to: write an IP address and a port, such as `127.0.0.1:19080`"
)]
pub struct HostPortError(String);

impl HostPort {
    /// Returns address and port.
    pub fn addr(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        match text.parse::<SocketAddr>() {
            Ok(addr) if addr.port() != 0 => Ok(Self(addr)),
            _ => Err(HostPortError(text.to_owned())),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_scalar!(
    HostPort,
    "HostPort",
    json_schema!({
        "type": "string",
        "description": "An IP address and a port, such as `127.0.0.1:19080`.",
        "pattern": "^([0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$",
    })
);

/// From where the service name is looked at after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vantage {
    /// Every authoritative server of the zone.
    Authoritative,
    /// The resolver of this machine.
    System,
    /// A resolver by its address; port 53 when none is written.
    Resolver(SocketAddr),
}

/// Why a text is no vantage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no place to look from: write `authoritative`, `system` or a resolver's address such as `1.1.1.1` or `8.8.8.8:53`"
)]
pub struct VantageError(String);

impl FromStr for Vantage {
    type Err = VantageError;

    fn from_str(text: &str) -> Result<Self, VantageError> {
        match text {
            "authoritative" => Ok(Self::Authoritative),
            "system" => Ok(Self::System),
            _ => text
                .parse::<SocketAddr>()
                .or_else(|_| {
                    text.parse::<IpAddr>()
                        .map(|address| SocketAddr::new(address, 53))
                })
                .map(Self::Resolver)
                .ok()
                .filter(|vantage| !matches!(vantage, Self::Resolver(addr) if addr.port() == 0))
                .ok_or_else(|| VantageError(text.to_owned())),
        }
    }
}

impl fmt::Display for Vantage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authoritative => f.write_str("authoritative"),
            Self::System => f.write_str("system"),
            Self::Resolver(addr) if addr.port() == 53 => addr.ip().fmt(f),
            Self::Resolver(addr) => addr.fmt(f),
        }
    }
}

text_scalar!(
    Vantage,
    "Vantage",
    json_schema!({
        "type": "string",
        "description": "`authoritative`, `system`, or the address of a resolver such as `1.1.1.1` or `8.8.8.8:53`.",
        "pattern": "^(authoritative|system|[0-9A-Fa-f.:\\[\\]]+)$",
    })
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts() {
        assert_eq!(
            "Harbor.Example.COM."
                .parse::<Host>()
                .expect("a host")
                .as_str(),
            "harbor.example.com"
        );
        assert!(
            "10.0.0.1"
                .parse::<Host>()
                .expect("an address")
                .address()
                .is_some()
        );
        assert!(
            "fd00::1"
                .parse::<Host>()
                .expect("an address")
                .address()
                .is_some()
        );
        for text in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a:80",
            "http://a",
            "a/b",
            "a b",
            &"x".repeat(64),
        ] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_places_and_vantages() {
        assert!("127.0.0.1:19080".parse::<HostPort>().is_ok());
        for text in ["127.0.0.1", "localhost:80", "127.0.0.1:0", "127.0.0.1:x"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
        for (text, back) in [
            ("8.8.8.8:53", "8.8.8.8"),
            ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("::1", "::1"),
            ("system", "system"),
        ] {
            assert_eq!(text.parse::<Vantage>().expect(text).to_string(), back);
        }
        assert!("google".parse::<Vantage>().is_err());
    }
}
