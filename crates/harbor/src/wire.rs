//! One HTTP request and its answer.
//!
//! This file alone talks to the network: it sends no cookies (a kept `sid` cookie turns the next write into
//! a 403 about CSRF), follows no redirects, retries nothing and keeps every answer within a size.

use std::sync::{Arc, OnceLock};

use futures_util::StreamExt;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
};
use reqwest::{Method, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::blame::{Blame, describe};
use crate::connect::Route;
use crate::endpoint::{BeforeWrite, Endpoint, RequestIds, counted_request_ids};
use crate::error::{Error, ErrorKind, Result};
use crate::model::health::Health;

/// The largest page that Harbor gives; more is 422.
pub(crate) const PAGE_SIZE: usize = 100;
/// More pages than any list of a registry has; a server that ignores `page` would otherwise never end.
const MAX_PAGES: usize = 10_000;
/// The largest answer kept in memory, in bytes.
pub(crate) const MAX_BODY: usize = 64 << 20;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// A connection to one Harbor. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Wire {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Endpoint,
    client: reqwest::Client,
    /// For https addresses that a Harbor on plain http sends us to. Made when needed.
    elsewhere: OnceLock<reqwest::Client>,
    route: Route,
    ids: RequestIds,
}

/// Who a request claims to be.
pub(crate) enum Auth<'a> {
    Anonymous,
    Basic,
    Bearer(&'a SecretString),
}

/// One request to be sent.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) auth: Auth<'a>,
    pub(crate) accept: Option<&'static str>,
    pub(crate) body: Option<(&'a str, Vec<u8>)>,
    /// Whether it may change something. False for GET, HEAD and `POST /registries/ping`.
    pub(crate) mutates: bool,
}

/// An answer with a 2xx status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(url: Url) -> Call<'a> {
        Call {
            method: Method::GET,
            url,
            auth: Auth::Basic,
            accept: None,
            body: None,
            mutates: false,
        }
    }

    pub(crate) fn write(method: Method, url: Url) -> Call<'a> {
        Call {
            method,
            url,
            auth: Auth::Basic,
            accept: None,
            body: None,
            mutates: true,
        }
    }

    pub(crate) fn json(mut self, body: &Value) -> Call<'a> {
        self.body = Some(("application/json", body.to_string().into_bytes()));
        self
    }
}

impl Wire {
    /// Builds the client. Fails with [`ErrorKind::NotSent`] when the URL or the certificates are unusable.
    pub(crate) fn new(endpoint: Endpoint, ids: Option<RequestIds>) -> Result<Wire> {
        let route = Route::new(&endpoint)?;
        let client = route.client(&endpoint)?;
        let ids = ids.unwrap_or_else(counted_request_ids);
        let elsewhere = OnceLock::new();
        Ok(Wire {
            shared: Arc::new(Shared {
                endpoint,
                client,
                elsewhere,
                route,
                ids,
            }),
        })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// Returns the URL of a path whose parts are given unencoded, each one being one part.
    pub(crate) fn url<'p>(&self, parts: impl IntoIterator<Item = &'p str>) -> Url {
        let mut url = self.shared.route.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// Returns the URL below `/api/v2.0`.
    pub(crate) fn api<'p>(&self, parts: impl IntoIterator<Item = &'p str>) -> Url {
        self.url(["api", "v2.0"].into_iter().chain(parts))
    }

    /// Maps a URL that the server named to the one to be asked, when it is on the server's own host.
    pub(crate) fn to_own_address(&self, url: &Url) -> Url {
        let own = &self.shared.endpoint.url;
        if url.origin() != own.origin() {
            return url.clone();
        }
        let mut moved = self.shared.route.base.clone();
        moved.set_path(url.path());
        moved.set_query(url.query());
        moved
    }

    /// Sends a request and reads the whole answer. Anything but 2xx is an error.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Answer> {
        let basic = matches!(call.auth, Auth::Basic);
        let mutates = call.mutates;
        match self.send_once(call).await {
            Err(error) if basic && error.kind() == ErrorKind::Unauthorized => {
                // With its database down Harbor answers 401 to right credentials.
                if self.database_is_down().await {
                    Err(error.with_kind(ErrorKind::DatabaseDown, mutates))
                } else {
                    Err(error)
                }
            }
            other => other,
        }
    }

    /// Like [`Wire::send`], without asking what a 401 means.
    pub(crate) async fn send_once(&self, call: Call<'_>) -> Result<Answer> {
        let (blame, response) = self.start(call, true).await?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = read_body(&blame, response).await?;
        if status.is_success() {
            return Ok(Answer {
                status,
                headers,
                body,
            });
        }
        Err(blame.refusal(status, &headers, &body))
    }

    /// Sends a request and returns as soon as the answer's head is there.
    ///
    /// With `within_timeout` the endpoint's timeout spans the body too; without, it holds between reads.
    pub(crate) async fn start(
        &self,
        call: Call<'_>,
        within_timeout: bool,
    ) -> Result<(Blame, Response)> {
        let shared = &self.shared;
        let id = (shared.ids)();
        let mut blame = Blame {
            site: shared.endpoint.site.clone(),
            method: call.method.clone(),
            path: call.url.path().to_owned(),
            mutates: call.mutates,
            request_id: id.clone(),
        };
        let own = call.url.origin() == shared.route.base.origin();
        let client = match call.url.scheme() {
            "https" if shared.route.base.scheme() == "http" => self.elsewhere()?,
            _ => &shared.client,
        };
        let mut request = client.request(call.method, call.url);
        if within_timeout {
            request = request.timeout(shared.endpoint.timeout);
        }
        if let (Some(host), true) = (&shared.route.host, own) {
            request = request.header(HOST, host.clone());
        }
        request = match call.auth {
            Auth::Anonymous => request,
            Auth::Basic => request.basic_auth(
                &shared.endpoint.user,
                Some(shared.endpoint.password.expose_secret()),
            ),
            Auth::Bearer(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
                    .map_err(|error| {
                        blame
                            .error(ErrorKind::NotSent, "unusable token")
                            .with_source(error)
                    })?;
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
        };
        if let Some(accept) = call.accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some((content_type, body)) = call.body {
            request = request.header(CONTENT_TYPE, content_type).body(body);
        }
        tracing::debug!(site = %blame.site, method = %blame.method, path = %blame.path, request_id = %id, "request");
        let response = request
            .header(REQUEST_ID, id)
            .send()
            .await
            .map_err(|error| blame.transport(error))?;
        if let Some(echoed) = header_text(response.headers(), &REQUEST_ID) {
            blame.request_id = echoed.to_owned();
        }
        Ok((blame, response))
    }

    fn elsewhere(&self) -> Result<&reqwest::Client> {
        if let Some(client) = self.shared.elsewhere.get() {
            return Ok(client);
        }
        let client = self.shared.route.client_elsewhere(&self.shared.endpoint)?;
        Ok(self.shared.elsewhere.get_or_init(|| client))
    }

    /// Gets one JSON document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T> {
        let path = url.path().to_owned();
        let answer = self.send(Call::get(url)).await?;
        self.decode(&Method::GET, &path, &answer)
    }

    /// Gets page `page` (from 1) of a list, and how many items the list has, if Harbor says so.
    pub(crate) async fn page<T: DeserializeOwned>(
        &self,
        url: &Url,
        page: usize,
        size: usize,
    ) -> Result<(Vec<T>, Option<usize>)> {
        let mut url = url.clone();
        url.query_pairs_mut()
            .append_pair("page", &page.to_string())
            .append_pair("page_size", &size.to_string());
        let path = url.path().to_owned();
        let answer = self.send(Call::get(url)).await?;
        let items: Option<Vec<T>> = self.decode(&Method::GET, &path, &answer)?;
        let total = header_text(&answer.headers, &TOTAL_COUNT).and_then(|text| text.parse().ok());
        Ok((items.unwrap_or_default(), total))
    }

    /// Gets all pages of a list. An item that moved to the next page meanwhile is given once, by `key`.
    pub(crate) async fn pages<T: DeserializeOwned, K: Eq + std::hash::Hash>(
        &self,
        url: Url,
        key: impl Fn(&T) -> K,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for page in 1..=MAX_PAGES {
            let (items, total) = self.page::<T>(&url, page, PAGE_SIZE).await?;
            let count = items.len();
            all.extend(items.into_iter().filter(|item| seen.insert(key(item))));
            let over = match total {
                Some(total) => page * PAGE_SIZE >= total,
                None => count < PAGE_SIZE,
            };
            if count == 0 || over {
                return Ok(all);
            }
        }
        Err(self.error(
            Method::GET,
            url.path(),
            ErrorKind::Protocol,
            format!("the list does not end after {MAX_PAGES} pages"),
        ))
    }

    pub(crate) fn decode<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        answer: &Answer,
    ) -> Result<T> {
        serde_json::from_slice(&answer.body).map_err(|error| {
            let message = format!(
                "expected JSON, got {}",
                describe(&answer.headers, &answer.body)
            );
            self.error(method.clone(), path, ErrorKind::Protocol, message)
                .with_status(answer.status.as_u16(), *method != Method::GET)
                .with_request_id(header_text(&answer.headers, &REQUEST_ID).map(str::to_owned))
                .with_source(error)
        })
    }

    pub(crate) fn error(
        &self,
        method: Method,
        path: &str,
        kind: ErrorKind,
        message: impl Into<String>,
    ) -> Error {
        Error::new(&self.shared.endpoint.site, method, path, kind, message)
    }

    /// Asks `/health` whether the database is unhealthy. No answer counts as no.
    pub(crate) async fn database_is_down(&self) -> bool {
        let mut call = Call::get(self.api(["health"]));
        call.auth = Auth::Anonymous;
        let Ok(answer) = self.send_once(call).await else {
            return false;
        };
        serde_json::from_slice::<Health>(&answer.body).is_ok_and(|health| health.database_is_down())
    }
}

/// Sends writes, asking first whether it still may.
#[derive(Clone)]
pub(crate) struct WriteWire {
    pub(crate) wire: Wire,
    pub(crate) before_write: BeforeWrite,
}

impl WriteWire {
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Answer> {
        (self.before_write)().map_err(|source| {
            self.wire
                .error(call.method.clone(), call.url.path(), ErrorKind::NotSent, "")
                .with_source(source)
        })?;
        self.wire.send(call).await
    }

    /// Sends a creating request and returns the id that stands at the end of the Location header.
    pub(crate) async fn create(&self, url: Url, body: &Value) -> Result<i64> {
        let path = url.path().to_owned();
        let answer = self.send(Call::write(Method::POST, url).json(body)).await?;
        answer.location_id().ok_or_else(|| {
            self.wire
                .error(
                    Method::POST,
                    &path,
                    ErrorKind::Protocol,
                    "the answer has no Location with an id",
                )
                .with_status(answer.status.as_u16(), true)
        })
    }
}

impl Answer {
    /// The id at the end of the Location header: what Harbor gives instead of a body.
    pub(crate) fn location_id(&self) -> Option<i64> {
        let location = header_text(&self.headers, &LOCATION)?;
        location
            .split(['?', '#'])
            .next()?
            .trim_end_matches('/')
            .rsplit('/')
            .next()?
            .parse()
            .ok()
    }
}

/// Reads a body of at most [`MAX_BODY`] bytes.
pub(crate) async fn read_body(blame: &Blame, response: Response) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| blame.transport(error))?;
        if body.len() + chunk.len() > MAX_BODY {
            return Err(blame.error(
                ErrorKind::Protocol,
                format!("the answer is larger than {MAX_BODY} bytes"),
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(crate) fn header_text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
