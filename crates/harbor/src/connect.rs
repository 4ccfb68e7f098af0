//! How a client connects: address, name, certificates and time limits.

use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Method, Url};

use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};

/// Where requests go.
pub(crate) struct Route {
    /// What URLs are built from: the endpoint's URL, moved to the port (or address) of `connect_to`.
    pub(crate) base: Url,
    /// What the Host header says, where that is not what `base` says.
    pub(crate) host: Option<HeaderValue>,
}

impl Route {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Route> {
        let url = &endpoint.url;
        let Some(name) = url
            .host_str()
            .filter(|_| matches!(url.scheme(), "http" | "https"))
        else {
            return Err(refusal(
                endpoint,
                format!("`{url}` is not an http or https address"),
            ));
        };
        let Some(address) = endpoint.connect_to else {
            return Ok(Route {
                base: url.clone(),
                host: None,
            });
        };
        let authority = match url.port() {
            Some(port) => format!("{name}:{port}"),
            None => name.to_owned(),
        };
        let host = HeaderValue::from_str(&authority).map_err(|error| {
            refusal(endpoint, format!("`{authority}` is not a host name")).with_source(error)
        })?;
        let mut base = url.clone();
        // A name stays in the URL, for TLS, and the client is told its address. The URL's port is the one
        // that counts.
        let moved = (url.domain().is_some() || base.set_ip_host(address.ip()).is_ok())
            && base.set_port(Some(address.port())).is_ok();
        if !moved {
            return Err(refusal(
                endpoint,
                format!("`{url}` cannot be reached at {address}"),
            ));
        }
        Ok(Route {
            base,
            host: Some(host),
        })
    }

    /// The client for the endpoint itself.
    pub(crate) fn client(&self, endpoint: &Endpoint) -> Result<reqwest::Client> {
        let mut builder = self.builder(endpoint);
        if let Some(pem) = &endpoint.ca_pem {
            let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(|error| {
                refusal(endpoint, "the certificates are not readable PEM").with_source(error)
            })?;
            builder = builder.tls_certs_merge(certificates);
        } else if self.base.scheme() == "http" {
            // Reading the system's certificates takes longer than all of a small run's requests.
            builder = builder.tls_certs_only([]);
        }
        build(endpoint, builder)
    }

    /// The client for https addresses that an endpoint on plain http names.
    pub(crate) fn client_elsewhere(&self, endpoint: &Endpoint) -> Result<reqwest::Client> {
        build(endpoint, self.builder(endpoint))
    }

    fn builder(&self, endpoint: &Endpoint) -> reqwest::ClientBuilder {
        // Connecting gets at most half of the time, so that it ends before the whole request does: only
        // then is it certain that nothing was sent.
        let connect = (endpoint.timeout / 2).min(Duration::from_secs(5));
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("runbook/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(connect)
            .read_timeout(endpoint.timeout)
            .pool_idle_timeout(Duration::from_secs(20));
        if let Some(address) = endpoint.connect_to {
            if let Some(name) = endpoint.url.domain() {
                builder = builder.resolve(name, address);
            }
            // HTTP/2 has no Host header of its own.
            builder = builder.http1_only();
        }
        builder
    }
}

fn build(endpoint: &Endpoint, builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    builder
        .build()
        .map_err(|error| refusal(endpoint, "no HTTP client could be made").with_source(error))
}

fn refusal(endpoint: &Endpoint, message: impl Into<String>) -> Error {
    let path = endpoint.url.path();
    Error::new(
        &endpoint.site,
        Method::GET,
        path,
        ErrorKind::NotSent,
        message,
    )
}
