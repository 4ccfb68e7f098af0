//! What a request without a good answer means.

use std::error::Error as StdError;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use crate::error::{Error, ErrorKind};
use crate::wire::header_text;

/// What an error says about the request that it belongs to.
pub(crate) struct Blame {
    pub(crate) site: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) mutates: bool,
    pub(crate) request_id: String,
}

impl Blame {
    pub(crate) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(&self.site, self.method.clone(), &self.path, kind, message)
            .with_kind(kind, self.mutates)
            .with_request_id(Some(self.request_id.clone()))
    }

    /// An error for a request that got no (whole) answer.
    pub(crate) fn transport(&self, error: reqwest::Error) -> Error {
        let kind = if let Some(tls) = find_tls(&error) {
            return self.error(ErrorKind::Tls, tls.to_string());
        } else if error.is_connect() {
            ErrorKind::Unreachable
        } else if error.is_builder() {
            ErrorKind::NotSent
        } else if error.is_timeout() {
            ErrorKind::Timeout
        } else {
            ErrorKind::Lost
        };
        // reqwest's own text repeats the URL; the innermost cause says what happened.
        let mut cause: &dyn StdError = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let message = if kind == ErrorKind::Timeout {
            String::new()
        } else {
            cause.to_string()
        };
        self.error(kind, message).with_source(error.without_url())
    }

    /// An error for an answer that is not 2xx.
    pub(crate) fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let items = serde_json::from_slice::<Errors>(body)
            .map(|parsed| parsed.errors)
            .unwrap_or_default();
        let code = items
            .first()
            .map(|item| item.code.clone())
            .filter(|code| !code.is_empty());
        let message = if !items.is_empty() {
            items
                .iter()
                .map(|item| item.message.as_str())
                .collect::<Vec<_>>()
                .join("; ")
        } else if status.is_redirection() {
            format!(
                "redirected to `{}`",
                header_text(headers, &LOCATION).unwrap_or("nowhere")
            )
        } else if body.is_empty() {
            status
                .canonical_reason()
                .unwrap_or_default()
                .to_ascii_lowercase()
        } else {
            describe(headers, body)
        };
        let kind = kind_of(status, code.as_deref(), &message, headers);
        self.error(kind, message)
            .with_code(code)
            .with_status(status.as_u16(), self.mutates)
    }
}

fn kind_of(
    status: StatusCode,
    code: Option<&str>,
    message: &str,
    headers: &HeaderMap,
) -> ErrorKind {
    match status.as_u16() {
        401 => ErrorKind::Unauthorized,
        // DENIED also stands for a full quota and for policies of a project.
        403 if code == Some("DENIED") && message.contains("read only") => ErrorKind::ReadOnly,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        408 => ErrorKind::Timeout,
        409 => ErrorKind::Conflict,
        412 => ErrorKind::Precondition,
        429 => ErrorKind::TooManyRequests {
            retry_after: header_text(headers, &RETRY_AFTER)
                .and_then(|text| text.trim().parse().ok())
                .map(Duration::from_secs),
        },
        400..=499 => ErrorKind::Invalid,
        500..=599 => ErrorKind::Server,
        _ => ErrorKind::Protocol,
    }
}

/// Says in a few words what an unexpected body is.
pub(crate) fn describe(headers: &HeaderMap, body: &[u8]) -> String {
    const SHOWN: usize = 80;
    let kind = header_text(headers, &CONTENT_TYPE).unwrap_or("no content type");
    if body.is_empty() {
        return format!("an empty body ({kind})");
    }
    let text: String = String::from_utf8_lossy(body)
        .chars()
        .map(|c| {
            if c.is_whitespace() || c.is_control() {
                ' '
            } else {
                c
            }
        })
        .take(SHOWN)
        .collect();
    format!("{} bytes of `{kind}`: `{}`", body.len(), text.trim())
}

fn find_tls(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut source = StdError::source(error);
    while let Some(cause) = source {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // An io::Error hides what it wraps from `source`.
        let wrapped = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if let Some(tls) = wrapped.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Some(tls);
        }
        source = cause.source();
    }
    None
}
