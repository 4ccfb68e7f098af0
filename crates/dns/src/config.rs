//! What the operator writes about a provider, and opening it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::name::Name;
use crate::providers;
use crate::record::RecordType;
use crate::traits::Provider;

/// Looks up the secret behind a reference such as `env:DNS_KEY`. Secrets are resolved once, before anything is
/// changed; here they only arrive.
pub type ResolveSecret<'a> = &'a dyn Fn(&str) -> Option<SecretString>;

/// One provider, by its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderConfig {
    /// Any server that takes signed dynamic updates: BIND, Knot, PowerDNS.
    Rfc2136(Rfc2136Config),
    /// Amazon Route 53.
    Route53(Route53Config),
}

/// Dynamic update, RFC 2136, signed with TSIG, RFC 8945.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rfc2136Config {
    /// The zone that holds the service name.
    pub zone: Name,
    /// The primary as `ip:port` (port 53 when left out), or several separated by commas: the next one is tried
    /// only when the one before refused the connection, so that nothing can have left.
    pub server: String,
    /// The key that signs updates.
    pub key: TsigKeyConfig,
    /// The type of the service record.
    #[serde(rename = "type", default = "default_type")]
    pub kind: RecordType,
    /// The service record's TTL in seconds.
    #[serde(default = "default_ttl")]
    pub ttl: u32,
    /// The servers that must agree after a change, as `ip:port`. Left out: found by the zone's NS records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authoritative: Option<Vec<String>>,
    /// Limit of one exchange, such as `5s` or `500ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// A TSIG key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TsigKeyConfig {
    /// The key's name as the server knows it.
    pub name: Name,
    /// The algorithm.
    #[serde(default)]
    pub algorithm: TsigAlgorithm,
    /// A reference to the secret in base64, as key files hold it.
    pub secret: String,
}

/// TSIG algorithms that are safe to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TsigAlgorithm {
    /// The usual one.
    #[default]
    HmacSha256,
    /// Longer.
    HmacSha384,
    /// Longest.
    HmacSha512,
}

/// Amazon Route 53.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Route53Config {
    /// The zone's id (`Z...`) or its name. The id is needed when several zones share the name.
    pub zone: String,
    /// The type of the service record.
    #[serde(rename = "type", default = "default_type")]
    pub kind: RecordType,
    /// The service record's TTL in seconds.
    #[serde(default = "default_ttl")]
    pub ttl: u32,
    /// Another endpoint than Amazon's, such as a local one for tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// The region to sign for. Route 53 is global; `us-east-1` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A reference to the access key id. Left out together with the secret: the default chain is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// A reference to the secret access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<String>,
    /// A reference to the session token of temporary credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
    /// The servers that must agree after a change, as `ip:port`. Left out: found by the zone's NS records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authoritative: Option<Vec<String>>,
}

fn default_type() -> RecordType {
    RecordType::Cname
}

fn default_ttl() -> u32 {
    60
}

impl ProviderConfig {
    /// The references to secrets in it, to be resolved before [`open`].
    pub fn secret_references(&self) -> Vec<&str> {
        match self {
            ProviderConfig::Rfc2136(c) => vec![c.key.secret.as_str()],
            ProviderConfig::Route53(c) => {
                [&c.access_key_id, &c.secret_access_key, &c.session_token]
                    .into_iter()
                    .flatten()
                    .map(String::as_str)
                    .collect()
            }
        }
    }

    /// The type of the service record.
    pub fn record_type(&self) -> RecordType {
        match self {
            ProviderConfig::Rfc2136(c) => c.kind,
            ProviderConfig::Route53(c) => c.kind,
        }
    }

    /// The service record's TTL in seconds.
    pub fn ttl(&self) -> u32 {
        match self {
            ProviderConfig::Rfc2136(c) => c.ttl,
            ProviderConfig::Route53(c) => c.ttl,
        }
    }

    /// The configured authoritative servers; `None` when they are to be found by NS records.
    pub fn authoritative(&self) -> Result<Option<Vec<SocketAddr>>, Error> {
        let (provider, list) = match self {
            ProviderConfig::Rfc2136(c) => (providers::rfc2136::PROVIDER, &c.authoritative),
            ProviderConfig::Route53(c) => ("route53", &c.authoritative),
        };
        list.as_ref()
            .map(|list| {
                list.iter()
                    .map(|text| server_address(provider, text))
                    .collect()
            })
            .transpose()
    }
}

/// Opens the provider that `config` names. Contacts nobody.
///
/// # Errors
/// `Invalid` for an address, time or secret that cannot be right; `Unsupported` for a provider left out of this build.
pub fn open(
    config: &ProviderConfig,
    secrets: ResolveSecret<'_>,
) -> Result<Arc<dyn Provider>, Error> {
    match config {
        ProviderConfig::Rfc2136(c) => Ok(Arc::new(providers::rfc2136::Rfc2136::open(c, secrets)?)),
        #[cfg(feature = "route53")]
        ProviderConfig::Route53(c) => Ok(Arc::new(providers::route53::Route53::open(c, secrets)?)),
        #[cfg(not(feature = "route53"))]
        ProviderConfig::Route53(_) => Err(Error::new(
            "route53",
            ErrorKind::Unsupported,
            "this build was made without the feature `route53`",
        )),
    }
}

/// Reads `ip:port`, or `ip` alone for port 53.
pub(crate) fn server_address(provider: &'static str, text: &str) -> Result<SocketAddr, Error> {
    let text = text.trim();
    text.parse()
        .or_else(|_| {
            text.trim_matches(['[', ']'])
                .parse()
                .map(|ip| SocketAddr::new(ip, 53))
        })
        .map_err(|e| {
            Error::new(
                provider,
                ErrorKind::Invalid,
                format!("`{text}` is not `ip:port`"),
            )
            .with_source(e)
        })
}

/// Reads a span of time such as `5s` or `500ms`.
pub(crate) fn span(provider: &'static str, text: &str) -> Result<Duration, Error> {
    let invalid = |why: &str| {
        Error::new(
            provider,
            ErrorKind::Invalid,
            format!("`{text}` is no timeout: {why}"),
        )
    };
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|e| invalid("write it as `5s` or `500ms`").with_source(e))?;
    match Duration::try_from(span) {
        Ok(limit) if !limit.is_zero() => Ok(limit),
        _ => Err(invalid("it must be above zero")),
    }
}

/// Fetches the secret behind a reference.
pub(crate) fn secret(
    provider: &'static str,
    secrets: ResolveSecret<'_>,
    reference: &str,
) -> Result<SecretString, Error> {
    secrets(reference).ok_or_else(|| {
        Error::new(
            provider,
            ErrorKind::Invalid,
            format!("no secret behind `{reference}`"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let read = |text| {
            server_address("test", text)
                .map(|a| a.to_string())
                .map_err(|e| e.kind)
        };
        assert_eq!(read("192.0.2.1:5353"), Ok("192.0.2.1:5353".into()));
        assert_eq!(read(" 192.0.2.1"), Ok("192.0.2.1:53".into()));
        assert_eq!(read("[2001:db8::1]:53"), Ok("[2001:db8::1]:53".into()));
        assert_eq!(read("2001:db8::1"), Ok("[2001:db8::1]:53".into()));
        assert_eq!(read("ns1.example.test:53"), Err(ErrorKind::Invalid));
    }

    #[test]
    fn a_configuration_has_defaults_and_takes_no_unknown_key() {
        let key = r#"{"name":"dr-key","secret":"file:/run/key"}"#;
        let text =
            format!(r#"{{"rfc2136":{{"zone":"Example.test.","server":"192.0.2.1","key":{key}}}}}"#);
        let config: ProviderConfig = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (config.record_type(), config.ttl()),
            (RecordType::Cname, 60)
        );
        assert_eq!(config.secret_references(), ["file:/run/key"]);
        assert_eq!(config.authoritative().map_err(|e| e.kind), Ok(None));
        assert_eq!(
            serde_json::from_str::<ProviderConfig>(&serde_json::to_string(&config).unwrap())
                .unwrap(),
            config
        );
        let wrong = text.replace("\"server\"", "\"tll\":5,\"server\"");
        let error = serde_json::from_str::<ProviderConfig>(&wrong)
            .unwrap_err()
            .to_string();
        assert!(error.contains("`tll`"), "{error}");

        let text = r#"{"route53":{"zone":"Z1","type":"A","ttl":30,"endpoint-url":"http://127.0.0.1:1",
            "access-key-id":"env:ID","secret-access-key":"env:KEY","authoritative":["192.0.2.1:53"]}}"#;
        let config: ProviderConfig = serde_json::from_str(text).unwrap();
        assert_eq!((config.record_type(), config.ttl()), (RecordType::A, 30));
        assert_eq!(config.secret_references(), ["env:ID", "env:KEY"]);
        assert_eq!(
            config.authoritative().map_err(|e| e.kind),
            Ok(Some(vec![([192, 0, 2, 1], 53).into()]))
        );
    }

    #[test]
    fn a_secret_that_is_missing_or_no_base64_is_refused_without_being_shown() {
        let key = TsigKeyConfig {
            name: Name::parse("dr-key").unwrap(),
            algorithm: TsigAlgorithm::default(),
            secret: "env:KEY".into(),
        };
        let config = ProviderConfig::Rfc2136(Rfc2136Config {
            zone: Name::parse("example.test").unwrap(),
            server: "192.0.2.1, 192.0.2.2:5353".into(),
            key,
            kind: RecordType::Cname,
            ttl: 60,
            authoritative: None,
            timeout: None,
        });
        let with = |secret: Option<&'static str>| {
            let opened = open(&config, &|_| {
                secret.map(|text| SecretString::from(text.to_owned()))
            });
            opened.err().map(|e| format!("{e} {e:?}"))
        };
        assert_eq!(with(Some("c2VjcmV0")), None);
        assert!(with(None).is_some_and(|e| e.contains("`env:KEY`")));
        for secret in ["not!base64", ""] {
            assert!(
                with(Some(secret)).is_some_and(|e| e.contains("`env:KEY`") && !e.contains("not!"))
            );
        }
    }

    #[test]
    fn spans() {
        assert_eq!(
            span("test", "500ms").map_err(|e| e.kind),
            Ok(Duration::from_millis(500))
        );
        assert_eq!(
            span("test", "5s").map_err(|e| e.kind),
            Ok(Duration::from_secs(5))
        );
        for text in ["", "5", "0s", "-5s", "soon"] {
            assert_eq!(
                span("test", text).map_err(|e| e.kind),
                Err(ErrorKind::Invalid),
                "{text}"
            );
        }
    }
}
