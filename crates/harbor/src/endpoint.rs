//! How to reach one Harbor, and who is asked before something is changed there.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Url;
use secrecy::SecretString;

/// How to reach one Harbor.
#[derive(Clone)]
pub struct Endpoint {
    /// The name of the site, for messages.
    pub site: String,
    /// Where Harbor answers: scheme, host and port.
    pub url: Url,
    /// The user, or the full name of a robot (`robot$name`).
    pub user: String,
    /// The password, or the secret of the robot.
    pub password: SecretString,
    /// The longest that one request may take, its answer included.
    pub timeout: Duration,
    /// Connect here instead of where the name resolves to. Host header and TLS name stay those of `url`.
    pub connect_to: Option<SocketAddr>,
    /// PEM certificates to trust besides the built-in ones.
    pub ca_pem: Option<Vec<u8>>,
}

/// Called before each mutating request leaves; an error means that nothing is sent (the engine's lease is
/// gone).
pub type BeforeWrite =
    Arc<dyn Fn() -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;

/// Makes the `X-Request-Id` of each request. Harbor writes it into its log and echoes it.
pub type RequestIds = Arc<dyn Fn() -> String + Send + Sync>;

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("site", &self.site)
            .field("url", &self.url.as_str())
            .field("user", &self.user)
            .field("timeout", &self.timeout)
            .field("connect_to", &self.connect_to)
            .finish_non_exhaustive()
    }
}

/// Returns ids of the form `runbook-<process start, ms, hex>-<count>`.
///
/// They need not be unguessable, only distinct in Harbor's log.
pub(crate) fn counted_request_ids() -> RequestIds {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    static START: std::sync::OnceLock<u128> = std::sync::OnceLock::new();
    let start = *START.get_or_init(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis())
    });
    Arc::new(move || {
        format!(
            "runbook-{start:x}-{}",
            COUNT.fetch_add(1, Ordering::Relaxed)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_password() {
        let endpoint = Endpoint {
            site: "east".into(),
            url: Url::parse("http://127.0.0.1:1").expect("a url"),
            user: "admin".into(),
            password: SecretString::from("not to be shown"),
            timeout: Duration::from_secs(1),
            connect_to: None,
            ca_pem: None,
        };
        assert!(!format!("{endpoint:?}").contains("not to be shown"));
    }

    #[test]
    fn request_ids_are_distinct_across_clients() {
        let (one, two) = (counted_request_ids(), counted_request_ids());
        assert_ne!(one(), two());
    }
}
