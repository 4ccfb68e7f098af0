//! Addresses of web services.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::host::Host;
use super::secret::SecretRef;
use super::text_scalar;

/// An address with `http` or `https`, and without credentials in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    text: String,
    tls: bool,
    host: Host,
    port: u16,
    path: String,
}

/// Why a text is no usable address. It does not repeat the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither `http` nor `https`.
    #[error("an address starts with `http://` or `https://`")]
    Scheme,
    /// A user or a password in front of the host.
    #[error(
        "an address holds no credentials: write them under `auth`, the password as a reference"
    )]
    Credentials,
    /// No host, or none that could be one.
    #[error("the address has no usable host")]
    Host,
    /// A port that is no number from 1 to 65535.
    #[error("the port of the address is no number from 1 to 65535")]
    Port,
    /// A blank, a line break or a fragment.
    #[error("an address has neither blanks nor a `#`")]
    Character,
}

impl Url {
    /// Makes the address of a service by its host name alone: TLS and the usual port.
    pub fn https(host: &Host) -> Self {
        Self {
            text: format!("https://{host}"),
            tls: true,
            host: host.clone(),
            port: 443,
            path: String::new(),
        }
    }

    /// Returns the address as written, without slashes at the end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Tells whether it is `https`.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Returns the host name or IP address.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the port: the written one, else 80 or 443.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns what follows host and port, query included; empty when there is nothing but slashes.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Tells whether the address cannot leave this machine: `127.0.0.0/8`, `::1` or `localhost`.
    pub fn is_loopback(&self) -> bool {
        match self.host.address() {
            Some(address) => address.is_loopback(),
            None => self.host.as_str() == "localhost",
        }
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
            return Err(UrlError::Character);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlError::Scheme),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        let (host, port) = split_port(authority)?;
        let port = match port {
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(UrlError::Port)?,
            None if tls => 443,
            None => 80,
        };
        let host: Host = host.parse().map_err(|_| UrlError::Host)?;
        let path = path.trim_end_matches('/').to_owned();
        Ok(Self {
            text: text.trim_end_matches('/').to_owned(),
            tls,
            host,
            port,
            path,
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

text_scalar!(
    Url,
    "Url",
    json_schema!({
        "type": "string",
        "description": "An address with `http` or `https`, without credentials in it.",
        "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^@#\\s/?]+([/?][^#\\s]*)?$",
    })
);

/// An address, or a reference to it where the address itself is a secret, as with many webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlOrSecret {
    /// The address.
    Url(Url),
    /// Where the address is kept.
    Secret(SecretRef),
}

impl<'de> Deserialize<'de> for UrlOrSecret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if SecretRef::is_meant(&text) {
            text.parse()
                .map(Self::Secret)
                .map_err(serde::de::Error::custom)
        } else {
            text.parse()
                .map(Self::Url)
                .map_err(serde::de::Error::custom)
        }
    }
}

impl Serialize for UrlOrSecret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Url(url) => url.serialize(to),
            Self::Secret(reference) => reference.serialize(to),
        }
    }
}

impl JsonSchema for UrlOrSecret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UrlOrSecret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An address, or a reference such as `env:NAME` to one that is a secret.",
            "pattern": "^([Hh][Tt][Tt][Pp][Ss]?://|env:|file:|cred:|exec:).+$",
        })
    }
}

/// Splits `host:port` where the host may be an IPv6 address in brackets.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(UrlError::Host)?;
        if !matches!(address.parse(), Ok(IpAddr::V6(_))) {
            return Err(UrlError::Host);
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((address, Some(port))),
            None if after.is_empty() => Ok((address, None)),
            None => Err(UrlError::Port),
        };
    }
    match authority.split_once(':') {
        // An IPv6 address without brackets: where the port begins cannot be known.
        Some((_, port)) if port.contains(':') => Err(UrlError::Host),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_an_address_apart() {
        let url: Url = "https://Harbor.Example.com:8443/base/?x=1"
            .parse()
            .expect("an address");
        assert_eq!(
            (url.is_tls(), url.host().as_str(), url.port()),
            (true, "harbor.example.com", 8443)
        );
        assert_eq!(url.path(), "/base/?x=1");
        let url: Url = "http://[::1]:8080/".parse().expect("an address");
        assert_eq!(
            (url.as_str(), url.port(), url.is_loopback()),
            ("http://[::1]:8080", 8080, true)
        );
        for (text, loopback) in [
            ("http://127.8.9.1", true),
            ("http://localhost:1", true),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(
                text.parse::<Url>().expect(text).is_loopback(),
                loopback,
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        for (text, error) in [
            ("harbor.example.com", UrlError::Scheme),
            ("ftp://harbor", UrlError::Scheme),
            ("https://", UrlError::Host),
            ("https://a_b!", UrlError::Host),
            ("http://::1:80", UrlError::Host),
            ("https://h:0", UrlError::Port),
            ("https://h:70000", UrlError::Port),
            ("https://h/a b", UrlError::Character),
            ("https://h/#x", UrlError::Character),
            ("https://admin:hunter@h", UrlError::Credentials),
        ] {
            assert_eq!(text.parse::<Url>(), Err(error), "{text}");
        }
    }
}
