//! Pulling.

use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LINK, LOCATION};
use reqwest::{Method, Response, Url};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::login::{Login, Tokens};
use super::{MANIFEST_TYPES, digest, hex_digest};
use crate::blame::Blame;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::wire::{Auth, Call, PAGE_SIZE, Wire, header_text, read_body};

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// A blob can be handed on to a storage, and that one to another.
const MAX_REDIRECTS: usize = 3;
const MAX_TAG_PAGES: usize = 10_000;

/// Pulls from a registry. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Reader {
    wire: Wire,
    pub(super) login: Login,
    pub(super) tokens: Arc<Mutex<Tokens>>,
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

    /// Asks whether a blob is there, without pulling it. The answer is that of the registry's index: a blob
    /// lost in the storage may still be told.
    pub async fn has_blob(&self, repository: &str, digest: &str) -> Result<bool> {
        let mut call = Call::get(self.url(repository, &["blobs", digest]));
        call.method = Method::HEAD;
        match self.send(call, &pull(repository)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
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

    pub(super) fn error(&self, path: &str, message: impl Into<String>) -> Error {
        self.wire
            .error(Method::GET, path, ErrorKind::Protocol, message)
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
