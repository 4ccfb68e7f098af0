//! What can go wrong at a provider, sorted by what to do next.

use std::fmt;
use std::time::Duration;

use crate::change::Found;

/// An error of another crate, kept as the source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A refusal or failure of a provider.
#[derive(Debug)]
pub struct Error {
    /// Which provider: `rfc2136`, `route53`.
    pub provider: &'static str,
    /// What kind of failure, which decides what to do next.
    pub kind: ErrorKind,
    /// What happened, with the object it happened to.
    pub message: String,
    /// The provider's own code: `NXRRSET`, `BADKEY`, `InvalidChangeBatch`.
    pub code: Option<Box<str>>,
    /// The provider's id of the request, for its support.
    pub request_id: Option<Box<str>>,
    /// What lies below.
    pub source: Option<BoxError>,
}

/// Kinds of failure, by what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Something else stands at the name. Nothing was changed.
    Conflict {
        /// What stands there, read right after the refusal.
        found: Box<Found>,
    },
    /// No such zone.
    NotFound,
    /// Several zones answer to the name: the id must be given.
    AmbiguousZone,
    /// Known, but without the right.
    Denied,
    /// Not known, or the clock is off. Nothing was changed.
    Unauthenticated(AuthFault),
    /// The change could never be carried out.
    Invalid,
    /// Too many requests. Nothing was changed.
    Throttled {
        /// How long the provider asks to wait, where it says so.
        after: Option<Duration>,
    },
    /// Nothing was changed; safe to try again.
    Unavailable,
    /// The request left and no answer came that can be trusted. Read back before anything else.
    OutcomeUnknown,
    /// The provider cannot do this.
    Unsupported,
    /// Another owner's marker stands at the name. Nothing was changed.
    ForeignOwner {
        /// The marker found.
        marker: String,
    },
}

/// Why a request was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFault {
    /// The server does not know the key (BADKEY), or the credentials are unknown.
    Key,
    /// The server knows the key, but not this secret (BADSIG), or the signature does not match.
    Secret,
    /// The clocks are too far apart (BADTIME).
    Clock,
    /// The server did not say which.
    Unspecified,
}

/// What an error means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Worth another attempt. Nothing was changed.
    Transient,
    /// Another attempt would end the same.
    Permanent,
    /// The change may have been made. Probe before trying again.
    Unknown,
}

impl Error {
    pub(crate) fn new(
        provider: &'static str,
        kind: ErrorKind,
        message: impl Into<String>,
    ) -> Error {
        Error {
            provider,
            kind,
            message: message.into(),
            code: None,
            request_id: None,
            source: None,
        }
    }

    pub(crate) fn with_code(mut self, code: impl Into<String>) -> Error {
        self.code = Some(code.into().into_boxed_str());
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Error {
        self.source = Some(source.into());
        self
    }

    /// Sorts the error by what to do next.
    pub fn sort(&self) -> Sort {
        match &self.kind {
            ErrorKind::Throttled { .. } | ErrorKind::Unavailable => Sort::Transient,
            ErrorKind::OutcomeUnknown => Sort::Unknown,
            ErrorKind::Conflict { .. }
            | ErrorKind::NotFound
            | ErrorKind::AmbiguousZone
            | ErrorKind::Denied
            | ErrorKind::Unauthenticated(_)
            | ErrorKind::Invalid
            | ErrorKind::Unsupported
            | ErrorKind::ForeignOwner { .. } => Sort::Permanent,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.provider, self.message)?;
        match (&self.code, &self.request_id) {
            (Some(code), Some(id)) => write!(f, " ({code}, request {id})"),
            (Some(code), None) => write!(f, " ({code})"),
            (None, Some(id)) => write!(f, " (request {id})"),
            (None, None) => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
