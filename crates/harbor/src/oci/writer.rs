//! Pushing.

use reqwest::Method;
use reqwest::header::LOCATION;

use super::digest;
use super::login::Login;
use super::reader::{CONTENT_DIGEST, Reader};
use crate::endpoint::{BeforeWrite, Endpoint};
use crate::error::{ErrorKind, Result};
use crate::wire::{Answer, Call, Wire, WriteWire, header_text};

/// Pushes to a registry and deletes from it. Each mutating request first asks the [`BeforeWrite`] it was made
/// with.
#[derive(Clone)]
pub struct Writer {
    reader: Reader,
    before_write: BeforeWrite,
}

impl Writer {
    /// Makes a client for the registry at `endpoint.url`. Sends nothing yet.
    pub fn new(endpoint: Endpoint, login: Login, before_write: BeforeWrite) -> Result<Writer> {
        Ok(Writer {
            reader: Reader::on(Wire::new(endpoint, None)?, login),
            before_write,
        })
    }

    pub(crate) fn on(wire: WriteWire, login: Login) -> Writer {
        Writer {
            reader: Reader::on(wire.wire, login),
            before_write: wire.before_write,
        }
    }

    /// The reader of the same registry.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Pushes a blob in one piece and returns its digest. Two requests; one that is cut off between them
    /// leaves an upload that the registry throws away by itself.
    pub async fn push_blob(&self, repository: &str, bytes: Vec<u8>) -> Result<String> {
        let digest = digest(&bytes);
        let url = self.reader.url(repository, &["blobs", "uploads", ""]);
        let path = url.path().to_owned();
        let started = self
            .send(Call::write(Method::POST, url.clone()), repository)
            .await?;
        let Some(upload) =
            header_text(&started.headers, &LOCATION).and_then(|location| url.join(location).ok())
        else {
            let message = "the answer does not say where to upload";
            return Err(self.reader.wire().error(
                Method::POST,
                &path,
                ErrorKind::Protocol,
                message,
            ));
        };
        // The address names the host as Harbor knows it; the upload goes where the request went.
        let mut url = url;
        url.set_path(upload.path());
        url.set_query(upload.query());
        url.query_pairs_mut().append_pair("digest", &digest);
        let mut call = Call::write(Method::PUT, url);
        call.body = Some(("application/octet-stream", bytes));
        self.send(call, repository).await?;
        Ok(digest)
    }

    /// Pushes a manifest under a tag or its digest and returns its digest, which the registry must have
    /// worked out alike.
    pub async fn push_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<String> {
        let digest = digest(&bytes);
        let url = self.reader.url(repository, &["manifests", reference]);
        let path = url.path().to_owned();
        let mut call = Call::write(Method::PUT, url);
        call.body = Some((media_type, bytes));
        let answer = self.send(call, repository).await?;
        match header_text(&answer.headers, &CONTENT_DIGEST) {
            Some(other) if other != digest => {
                let message = format!("the registry stored digest `{other}` instead of `{digest}`");
                Err(self
                    .reader
                    .wire()
                    .error(Method::PUT, &path, ErrorKind::Protocol, message))
            }
            _ => Ok(digest),
        }
    }

    /// Deletes a manifest by digest, with all its tags. Its blobs stay until garbage is collected.
    pub async fn delete_manifest(&self, repository: &str, digest: &str) -> Result<()> {
        let url = self.reader.url(repository, &["manifests", digest]);
        let call = Call::write(Method::DELETE, url);
        self.send_as(call, &format!("repository:{repository}:delete"))
            .await?;
        Ok(())
    }

    async fn send(&self, call: Call<'_>, repository: &str) -> Result<Answer> {
        self.send_as(call, &format!("repository:{repository}:pull,push"))
            .await
    }

    async fn send_as(&self, call: Call<'_>, scope: &str) -> Result<Answer> {
        // The token is fetched first, so that the question is put right before the write leaves.
        self.reader.prepare(scope).await?;
        (self.before_write)().map_err(|source| {
            self.reader
                .wire()
                .error(call.method.clone(), call.url.path(), ErrorKind::NotSent, "")
                .with_source(source)
        })?;
        self.reader.send(call, scope).await
    }
}
