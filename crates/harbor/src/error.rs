//! What can go wrong with one request, and what it means for the next one.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use reqwest::Method;

/// The result of one request to a Harbor.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request did not give what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No connection: refused, no route, name not found, connect timeout. Nothing was sent.
    Unreachable,
    /// No whole answer within the endpoint's timeout.
    Timeout,
    /// The connection broke after the request left and before the whole answer came.
    Lost,
    /// The TLS handshake failed: untrusted or expired certificate, wrong name, not TLS at all.
    Tls,
    /// Harbor is in read-only mode and refused a write.
    ReadOnly,
    /// The credentials are right but lack the right (403).
    Forbidden,
    /// The credentials are wrong (401 while the database is up, or an anonymous answer).
    Unauthorized,
    /// 401 while `/health` calls the database unhealthy: the credentials could not be checked.
    DatabaseDown,
    /// No such thing (404).
    NotFound,
    /// A thing of that name exists already (409).
    Conflict,
    /// The state of the thing forbids it (412): a disabled policy, a policy with a running execution.
    Precondition,
    /// Harbor does not accept the request itself (400, 422 and other 4xx).
    Invalid,
    /// 429.
    TooManyRequests {
        /// What the `Retry-After` header asked for.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    Server,
    /// Somebody else changed the object between our reading and our writing.
    ChangedMeanwhile,
    /// An answer that is not what Harbor's API gives: HTML, cut JSON, a redirect, a wrong digest.
    Protocol,
    /// The request was never sent, because [`BeforeWrite`](crate::BeforeWrite) refused it or because it
    /// could not be built.
    NotSent,
}

/// What a caller may do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Nothing was changed; the same request may work later.
    Transient,
    /// The same request would end the same.
    Permanent,
    /// The request left and may have done its work. Look before trying again.
    Unknown,
}

/// A failed request: which site, which call, what Harbor said.
pub struct Error(Box<Failure>);

struct Failure {
    site: String,
    method: Method,
    path: String,
    kind: ErrorKind,
    sort: Sort,
    status: Option<u16>,
    code: Option<String>,
    message: String,
    request_id: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Returns an error of `kind` about a request to `site`. The sort is worked out for a request that
    /// changes something when `method` is neither GET nor HEAD.
    pub fn new(
        site: impl Into<String>,
        method: Method,
        path: impl Into<String>,
        kind: ErrorKind,
        message: impl Into<String>,
    ) -> Error {
        let mutates = method != Method::GET && method != Method::HEAD;
        Error(Box::new(Failure {
            site: site.into(),
            method,
            path: path.into(),
            kind,
            sort: sort_of(kind, None, mutates),
            status: None,
            code: None,
            message: message.into(),
            request_id: None,
            source: None,
        }))
    }

    /// The name of the site, as the configuration calls it.
    pub fn site(&self) -> &str {
        &self.0.site
    }

    /// The HTTP method of the failed request.
    pub fn method(&self) -> &Method {
        &self.0.method
    }

    /// The path of the failed request, without host and query.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Why it failed.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What may be done next.
    pub fn sort(&self) -> Sort {
        self.0.sort
    }

    /// The HTTP status, if an answer came.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// Harbor's own code, such as `PRECONDITION` or `DENIED`.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// What Harbor said, or what is wrong with its answer.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The `X-Request-Id` under which Harbor's logs have the request.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// Whether no complete answer came: the site is down, cut off or hanging.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Lost
        )
    }

    /// Whether the thing asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        self.0.kind == ErrorKind::NotFound
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind, mutates: bool) -> Error {
        self.0.kind = kind;
        self.0.sort = sort_of(kind, self.0.status, mutates);
        self
    }

    pub(crate) fn with_sort(mut self, sort: Sort) -> Error {
        self.0.sort = sort;
        self
    }

    pub(crate) fn with_status(mut self, status: u16, mutates: bool) -> Error {
        self.0.status = Some(status);
        self.0.sort = sort_of(self.0.kind, Some(status), mutates);
        self
    }

    pub(crate) fn with_code(mut self, code: Option<String>) -> Error {
        self.0.code = code;
        self
    }

    pub(crate) fn with_request_id(mut self, id: Option<String>) -> Error {
        self.0.request_id = id;
        self
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Error {
        self.0.source = Some(source.into());
        self
    }
}

/// The one place that decides whether work may have been done.
fn sort_of(kind: ErrorKind, status: Option<u16>, mutates: bool) -> Sort {
    match kind {
        ErrorKind::Unreachable | ErrorKind::TooManyRequests { .. } | ErrorKind::DatabaseDown => {
            Sort::Transient
        }
        // 503 is said by who did not take the request; the others may be said after the work was done.
        ErrorKind::Server if status == Some(503) => Sort::Transient,
        ErrorKind::Timeout | ErrorKind::Lost | ErrorKind::Server if mutates => Sort::Unknown,
        ErrorKind::Timeout | ErrorKind::Lost | ErrorKind::Server => Sort::Transient,
        // A 2xx that cannot be read means that something answered, possibly after the work. A redirect
        // or an error page does not.
        ErrorKind::Protocol if mutates && status.is_none_or(|status| status < 300) => Sort::Unknown,
        ErrorKind::Tls
        | ErrorKind::ReadOnly
        | ErrorKind::Forbidden
        | ErrorKind::Unauthorized
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Precondition
        | ErrorKind::Invalid
        | ErrorKind::ChangedMeanwhile
        | ErrorKind::Protocol
        | ErrorKind::NotSent => Sort::Permanent,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure {
            site,
            method,
            path,
            kind,
            status,
            code,
            message,
            request_id,
            ..
        } = &*self.0;
        match kind {
            ErrorKind::Unreachable => {
                write!(f, "harbor `{site}` cannot be reached for {method} {path}")?
            }
            ErrorKind::Timeout => write!(
                f,
                "harbor `{site}` gave no answer in time to {method} {path}"
            )?,
            ErrorKind::Lost => write!(
                f,
                "harbor `{site}` broke off the connection at {method} {path}"
            )?,
            ErrorKind::Tls => write!(
                f,
                "no trusted connection to harbor `{site}` for {method} {path}"
            )?,
            ErrorKind::Server => write!(f, "harbor `{site}` failed at {method} {path}")?,
            ErrorKind::DatabaseDown => {
                write!(
                    f,
                    "harbor `{site}` cannot check credentials at {method} {path}: its database is down"
                )?;
            }
            ErrorKind::ChangedMeanwhile => {
                write!(
                    f,
                    "somebody else changed what {method} {path} at harbor `{site}` was to change"
                )?;
            }
            ErrorKind::Protocol => write!(
                f,
                "harbor `{site}` gave an unusable answer to {method} {path}"
            )?,
            ErrorKind::NotSent => {
                write!(f, "nothing was sent to harbor `{site}` for {method} {path}")?
            }
            _ => write!(f, "harbor `{site}` refused {method} {path}")?,
        }
        match (status, code) {
            (Some(status), Some(code)) => write!(f, ": {status} {code}")?,
            (Some(status), None) => write!(f, ": {status}")?,
            (None, _) => {}
        }
        if !message.is_empty() {
            write!(f, ": {message}")?;
        }
        // Only an answered request is in Harbor's log under its id for sure.
        match request_id {
            Some(id) if status.is_some() => write!(f, " (request id {id})"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("sort", &self.0.sort)
            .field("text", &self.to_string())
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sort_says_whether_work_may_have_been_done() {
        use ErrorKind as K;
        let table = [
            (K::Unreachable, None, true, Sort::Transient),
            (K::Unreachable, None, false, Sort::Transient),
            (K::Timeout, None, false, Sort::Transient),
            (K::Timeout, None, true, Sort::Unknown),
            (K::Lost, None, false, Sort::Transient),
            (K::Lost, None, true, Sort::Unknown),
            (K::Server, Some(500), false, Sort::Transient),
            (K::Server, Some(500), true, Sort::Unknown),
            (K::Server, Some(502), true, Sort::Unknown),
            (K::Server, Some(504), true, Sort::Unknown),
            (K::Server, Some(503), true, Sort::Transient),
            (
                K::TooManyRequests { retry_after: None },
                Some(429),
                true,
                Sort::Transient,
            ),
            (K::DatabaseDown, Some(401), true, Sort::Transient),
            (K::ReadOnly, Some(403), true, Sort::Permanent),
            (K::Forbidden, Some(403), true, Sort::Permanent),
            (K::Unauthorized, Some(401), false, Sort::Permanent),
            (K::NotFound, Some(404), false, Sort::Permanent),
            (K::Conflict, Some(409), true, Sort::Permanent),
            (K::Precondition, Some(412), true, Sort::Permanent),
            (K::Invalid, Some(422), true, Sort::Permanent),
            (K::Protocol, Some(200), false, Sort::Permanent),
            (K::Protocol, Some(201), true, Sort::Unknown),
            (K::Protocol, Some(302), true, Sort::Permanent),
            (K::Tls, None, true, Sort::Permanent),
            (K::NotSent, None, true, Sort::Permanent),
        ];
        for (kind, status, mutates, sort) in table {
            assert_eq!(
                sort_of(kind, status, mutates),
                sort,
                "{kind:?} {status:?} {mutates}"
            );
        }
    }

    #[test]
    fn the_text_names_site_call_status_code_and_request() {
        let error = Error::new(
            "dr",
            Method::POST,
            "/api/v2.0/replication/executions",
            ErrorKind::Precondition,
            "the policy 81 is disabled",
        )
        .with_status(412, true)
        .with_code(Some("PRECONDITION".into()))
        .with_request_id(Some("r-1".into()));
        assert_eq!(
            error.to_string(),
            "harbor `dr` refused POST /api/v2.0/replication/executions: 412 PRECONDITION: \
             the policy 81 is disabled (request id r-1)"
        );
    }
}
