//! Pulling.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LINK, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::challenge::Challenge;
use super::{MANIFEST_TYPES, digest, hex_digest};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::wire::{Answer, Auth, Blame, Call, PAGE_SIZE, Wire, header_text, read_body};

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// A blob can be handed on to a storage, and that one to another.
const MAX_REDIRECTS: usize = 3;
/// How long before its end a token is no longer used.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);
const MAX_TAG_PAGES: usize = 10_000;

/// How requests log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// User and password with each request: one round trip. Harbor takes it.
    Basic,
    /// A token for each repository, as container clients do: what proves that they can.
    Token,
}

/// Pulls from a registry. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Reader {
    wire: Wire,
    login: Login,
    tokens: Arc<Mutex<Tokens>>,
}

#[derive(Default)]
struct Tokens {
    /// Realm and service, from the first challenge.
    service: Option<(Url, Option<String>)>,
    by_scope: HashMap<String, (SecretString, Instant)>,
}

/// What `GET /v2/` without credentials says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ping {
    /// Anybody may pull.
    Open,
    /// User and password are asked for.
    Basic,
    /// A token is asked for.
    Token {
        /// Where it is issued. A realm on another host than the one that clients use breaks logins.
        realm: Url,
        /// The name of the service, `harbor-registry`.
        service: Option<String>,
    },
}

/// A token, and who issued it.
#[derive(Clone)]
pub struct Token {
    /// What to log in with.
    pub secret: SecretString,
    /// Where it was issued: the host must be one that clients reach.
    pub realm: Url,
    /// The name of the service.
    pub service: Option<String>,
    /// What it was asked for. Harbor issues a token also to who has no right: it then grants nothing.
    pub scope: String,
    /// How long it lives. A robot that is disabled keeps its tokens for that long.
    pub lifetime: Duration,
}

/// A manifest whose bytes have its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The digest of the bytes.
    pub digest: String,
    /// The media type.
    pub media_type: String,
    /// The bytes, unchanged.
    pub bytes: Vec<u8>,
}

/// What is said of a manifest without giving it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// The digest that the registry names.
    pub digest: String,
    /// The media type.
    pub media_type: String,
    /// In bytes.
    pub size: Option<u64>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    /// In seconds; 60 where it is not told, by the specification.
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Reader {
    /// Makes a client for the registry at `endpoint.url`. Sends nothing yet.
    pub fn new(endpoint: Endpoint, login: Login) -> Result<Reader> {
        Ok(Reader::on(Wire::new(endpoint, None)?, login))
    }

    pub(crate) fn on(wire: Wire, login: Login) -> Reader {
        Reader {
            wire,
            login,
            tokens: Arc::default(),
        }
    }

    /// The name of the site.
    pub fn site(&self) -> &str {
        &self.wire.endpoint().site
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Asks `/v2/` without credentials what it wants.
    pub async fn ping(&self) -> Result<Ping> {
        let url = self.wire.url(["v2", ""]);
        let mut call = Call::get(url);
        call.auth = Auth::Anonymous;
        let (blame, response) = self.wire.start(call, true).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_body(&blame, response).await?;
        if status.is_success() {
            return Ok(Ping::Open);
        }
        let refusal = blame.refusal(status, &headers, &body);
        if refusal.kind() != ErrorKind::Unauthorized {
            return Err(refusal);
        }
        match header_text(&headers, &WWW_AUTHENTICATE).and_then(Challenge::parse) {
            Some(Challenge::Bearer { realm, service, .. }) => {
                let realm = Url::parse(&realm).map_err(|error| {
                    blame
                        .error(
                            ErrorKind::Protocol,
                            format!("the token realm `{realm}` is no URL"),
                        )
                        .with_source(error)
                })?;
                Ok(Ping::Token { realm, service })
            }
            Some(Challenge::Basic) => Ok(Ping::Basic),
            // Harbor asks for nothing when it cannot check anything.
            None => Err(refusal),
        }
    }

    /// Has a token issued for `scope`, such as `repository:production/app:pull,push`, with the user's
    /// password. Wrong credentials get [`ErrorKind::Unauthorized`] or, from Harbor, a token that grants
    /// nothing: only its use tells.
    pub async fn token(&self, scope: &str) -> Result<Token> {
        let known = self
            .tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .service
            .clone();
        let (realm, service) = match known {
            Some(known) => known,
            None => match self.ping().await? {
                Ping::Token { realm, service } => {
                    let known = (realm, service);
                    self.tokens
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .service = Some(known.clone());
                    known
                }
                Ping::Open | Ping::Basic => {
                    return Err(self.error("/v2/", "the registry names no token service"));
                }
            },
        };
        // A password does not follow a registry into the clear.
        if self.wire.endpoint().url.scheme() == "https" && realm.scheme() != "https" {
            return Err(self.error("/v2/", format!("the token realm `{realm}` is not https")));
        }
        let mut url = self.wire.to_own_address(&realm);
        {
            let mut pairs = url.query_pairs_mut();
            if let Some(service) = &service {
                pairs.append_pair("service", service);
            }
            pairs.append_pair("scope", scope);
        }
        let path = url.path().to_owned();
        let answer = self.wire.send(Call::get(url)).await?;
        let TokenAnswer {
            token,
            access_token,
            expires_in,
        } = serde_json::from_slice(&answer.body).map_err(|error| {
            self.error(&path, "the answer holds no token")
                .with_source(error)
        })?;
        let secret = if token.is_empty() {
            access_token
        } else {
            token
        };
        if secret.is_empty() {
            return Err(self.error(&path, "the token is empty"));
        }
        let lifetime = Duration::from_secs(expires_in.unwrap_or(60));
        Ok(Token {
            secret: secret.into(),
            realm,
            service,
            scope: scope.to_owned(),
            lifetime,
        })
    }

    /// Pulls a manifest by tag or digest and checks its bytes against the digest that the registry names,
    /// and against `reference` if that is one.
    pub async fn manifest(&self, repository: &str, reference: &str) -> Result<Manifest> {
        let url = self.url(repository, &["manifests", reference]);
        let path = url.path().to_owned();
        let mut call = Call::get(url);
        call.accept = Some(MANIFEST_TYPES);
        let answer = self.send(call, &pull(repository)).await?;
        let found = digest(&answer.body);
        let named = header_text(&answer.headers, &CONTENT_DIGEST);
        let wanted = reference.starts_with("sha256:").then_some(reference);
        if let Some(other) = [named, wanted]
            .into_iter()
            .flatten()
            .find(|other| *other != found)
        {
            return Err(self.error(
                &path,
                format!("the bytes have digest `{found}` instead of `{other}`"),
            ));
        }
        let media_type = header_text(&answer.headers, &CONTENT_TYPE)
            .unwrap_or_default()
            .to_owned();
        Ok(Manifest {
            digest: found,
            media_type,
            bytes: answer.body,
        })
    }

    /// Asks for the digest of a manifest by tag or digest: the cheapest check that it is there.
    pub async fn head_manifest(&self, repository: &str, reference: &str) -> Result<ManifestHead> {
        let url = self.url(repository, &["manifests", reference]);
        let path = url.path().to_owned();
        let mut call = Call::get(url);
        call.method = Method::HEAD;
        call.accept = Some(MANIFEST_TYPES);
        let answer = self.send(call, &pull(repository)).await?;
        let Some(digest) = header_text(&answer.headers, &CONTENT_DIGEST) else {
            return Err(self.error(&path, "the answer names no digest"));
        };
        Ok(ManifestHead {
            digest: digest.to_owned(),
            media_type: header_text(&answer.headers, &CONTENT_TYPE)
                .unwrap_or_default()
                .to_owned(),
            size: header_text(&answer.headers, &CONTENT_LENGTH).and_then(|text| text.parse().ok()),
        })
    }

    /// Pulls a blob into memory, at most 64 MiB, and checks its digest.
    pub async fn blob(&self, repository: &str, wanted: &str) -> Result<Vec<u8>> {
        let (blame, response) = self.start_blob(repository, wanted, true).await?;
        let bytes = read_body(&blame, response).await?;
        let found = digest(&bytes);
        if found != wanted {
            return Err(blame.error(
                ErrorKind::Protocol,
                format!("the bytes have digest `{found}`"),
            ));
        }
        Ok(bytes)
    }

    /// Pulls a blob of any size without keeping it, checks its digest and returns its size in bytes. The
    /// endpoint's timeout holds between two reads.
    pub async fn verify_blob(&self, repository: &str, wanted: &str) -> Result<u64> {
        let (blame, response) = self.start_blob(repository, wanted, false).await?;
        let mut hash = Sha256::new();
        let mut size = 0;
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| blame.transport(error))?;
            hash.update(&chunk);
            size += chunk.len() as u64;
        }
        let found = hex_digest(&hash.finalize());
        if found != wanted {
            return Err(blame.error(
                ErrorKind::Protocol,
                format!("the bytes have digest `{found}`"),
            ));
        }
        Ok(size)
    }

    /// Lists all tags of a repository.
    pub async fn tags(&self, repository: &str) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Tags {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut url = self.url(repository, &["tags", "list"]);
        url.query_pairs_mut()
            .append_pair("n", &PAGE_SIZE.to_string());
        let path = url.path().to_owned();
        let mut all = Vec::new();
        for _ in 0..MAX_TAG_PAGES {
            let base = url.clone();
            let answer = self.send(Call::get(url), &pull(repository)).await?;
            let page: Tags = self.wire.decode(&Method::GET, &path, &answer)?;
            all.extend(page.tags.unwrap_or_default());
            match header_text(&answer.headers, &LINK).and_then(next_link) {
                // Only the query is taken: the path is known, and the host stays ours.
                Some(next) => {
                    let next = base.join(next).map_err(|error| {
                        self.error(&path, format!("`{next}` is no next page"))
                            .with_source(error)
                    })?;
                    url = base;
                    url.set_query(next.query());
                }
                None => return Ok(all),
            }
        }
        Err(self.error(
            &path,
            format!("the list does not end after {MAX_TAG_PAGES} pages"),
        ))
    }

    pub(super) fn url(&self, repository: &str, rest: &[&str]) -> Url {
        self.wire.url(
            ["v2"]
                .into_iter()
                .chain(repository.split('/'))
                .chain(rest.iter().copied()),
        )
    }

    /// Has what [`Reader::send`] needs for `scope` at hand.
    pub(super) async fn prepare(&self, scope: &str) -> Result<()> {
        self.secret_for(scope).await.map(|_| ())
    }

    /// Sends a request with the login that was chosen.
    pub(super) async fn send<'a>(&self, call: Call<'a>, scope: &str) -> Result<Answer> {
        let token = self.secret_for(scope).await?;
        if let Some(token) = &token {
            let call = Call {
                auth: Auth::Bearer(token),
                ..call
            };
            let answer = self.wire.send_once(call).await;
            return self.forget_refused(answer, scope);
        }
        self.wire.send(call).await
    }

    /// Starts a blob, going where a registry with an object storage sends its clients.
    async fn start_blob(
        &self,
        repository: &str,
        wanted: &str,
        within_timeout: bool,
    ) -> Result<(Blame, Response)> {
        let mut url = self.url(repository, &["blobs", wanted]);
        let scope = pull(repository);
        let token = self.secret_for(&scope).await?;
        let registry = url.origin();
        for _ in 0..=MAX_REDIRECTS {
            let mut call = Call::get(url.clone());
            call.auth = match &token {
                // Signed addresses of a storage refuse a second login, and it is not theirs to see.
                _ if url.origin() != registry => Auth::Anonymous,
                Some(token) => Auth::Bearer(token),
                None => Auth::Basic,
            };
            let (blame, response) = self.wire.start(call, within_timeout).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            if status.is_success() {
                return Ok((blame, response));
            }
            let next =
                header_text(&headers, &LOCATION).and_then(|location| url.join(location).ok());
            match next {
                Some(next) if status.is_redirection() => {
                    if url.scheme() == "https" && next.scheme() != "https" {
                        return Err(blame.error(
                            ErrorKind::Protocol,
                            format!("redirected to `{next}` without TLS"),
                        ));
                    }
                    url = self.wire.to_own_address(&next);
                }
                _ => {
                    let body = read_body(&blame, response).await?;
                    return self
                        .forget_refused(Err(blame.refusal(status, &headers, &body)), &scope);
                }
            }
        }
        Err(self.error(
            url.path(),
            format!("redirected more than {MAX_REDIRECTS} times"),
        ))
    }

    /// The token for `scope`, or `None` when the login is by password.
    async fn secret_for(&self, scope: &str) -> Result<Option<SecretString>> {
        if self.login == Login::Basic {
            return Ok(None);
        }
        let cached = {
            let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            tokens.by_scope.get(scope).cloned()
        };
        if let Some((secret, until)) = cached {
            if Instant::now() < until {
                return Ok(Some(secret));
            }
        }
        let token = self.token(scope).await?;
        let until = Instant::now() + token.lifetime.saturating_sub(TOKEN_MARGIN);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens
            .by_scope
            .insert(scope.to_owned(), (token.secret.clone(), until));
        Ok(Some(token.secret))
    }

    /// A token that is refused is not used again.
    fn forget_refused<T>(&self, answer: Result<T>, scope: &str) -> Result<T> {
        if answer
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Unauthorized)
        {
            self.tokens
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .by_scope
                .remove(scope);
        }
        answer
    }

    pub(super) fn error(&self, path: &str, message: impl Into<String>) -> Error {
        self.wire
            .error(Method::GET, path, ErrorKind::Protocol, message)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("realm", &self.realm.as_str())
            .field("service", &self.service)
            .field("scope", &self.scope)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Shows the token itself, for a client of the caller's own.
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }
}

fn pull(repository: &str) -> String {
    format!("repository:{repository}:pull")
}

/// The address of the next page in a Link header.
fn next_link(header: &str) -> Option<&str> {
    header.split(", ").map(str::trim).find_map(|link| {
        let (address, parameters) = link.strip_prefix('<')?.split_once('>')?;
        parameters.contains("rel=\"next\"").then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        assert_eq!(
            next_link("</v2/a/tags/list?last=x&n=2>; rel=\"next\""),
            Some("/v2/a/tags/list?last=x&n=2")
        );
        assert_eq!(
            next_link("<p>; rel=\"prev\" , <n>; rel=\"next\""),
            Some("n")
        );
        assert_eq!(next_link("<p>; rel=\"prev\""), None);
    }
}
