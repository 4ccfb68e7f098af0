//! The SDK's errors, sorted by what to do next.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use aws_sdk_route53::config::http::HttpResponse;
use aws_sdk_route53::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_route53::operation::RequestId;

use super::PROVIDER;
use crate::change::Change;
use crate::error::{AuthFault, Error, ErrorKind};

/// The code of a batch that was not carried out.
const REFUSED_BATCH: &str = "InvalidChangeBatch";

/// Sorts the failure of a read: nothing was changed, whatever it was.
pub(super) fn of_read<E>(error: SdkError<E, HttpResponse>, what: String) -> Error
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    let sorted = sort(error, what);
    match sorted.kind {
        ErrorKind::OutcomeUnknown => Error {
            kind: ErrorKind::Unavailable,
            ..sorted
        },
        _ => sorted,
    }
}

/// Sorts the failure of a write.
pub(super) fn of_write<E>(error: SdkError<E, HttpResponse>, what: String) -> Error
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    sort(error, what)
}

/// Whether the batch was refused for its content.
pub(super) fn is_refused_batch(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Invalid) && error.code.as_deref() == Some(REFUSED_BATCH)
}

/// A request that the SDK will not even build.
pub(super) fn unbuildable(change: &Change, error: BuildError) -> Error {
    Error::new(
        PROVIDER,
        ErrorKind::Invalid,
        format!("the change of `{}` cannot be encoded", change.name),
    )
    .with_source(error)
}

fn sort<E>(error: SdkError<E, HttpResponse>, what: String) -> Error
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    let plain = |kind| Error::new(PROVIDER, kind, what.clone());
    match &error {
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            let body = context
                .raw()
                .body()
                .bytes()
                .map(String::from_utf8_lossy)
                .unwrap_or_default();
            let code = context
                .err()
                .code()
                .map(str::to_owned)
                .or_else(|| bare_code(&body));
            let text = context
                .err()
                .message()
                .map(str::to_owned)
                .or_else(|| element(&body, "Message").map(str::to_owned));
            let kind = by_code(
                code.as_deref().unwrap_or(""),
                text.as_deref().unwrap_or(""),
                status,
                retry_after(context.raw()),
            );
            let message = text.map_or_else(
                || format!("{what}: status {status}"),
                |text| format!("{what}: {text}"),
            );
            let mut sorted = Error::new(PROVIDER, kind, message);
            sorted.code = code.map(String::into_boxed_str);
            let id = context
                .err()
                .meta()
                .request_id()
                .or_else(|| element(&body, "RequestId"));
            sorted.request_id = id.map(Into::into);
            // The code and Amazon's text say it all: the SDK's own chain would repeat them.
            sorted
        }
        SdkError::ConstructionFailure(_) => plain(if names_credentials(&error) {
            ErrorKind::Unauthenticated(AuthFault::Key)
        } else {
            ErrorKind::Invalid
        })
        .with_source(error),
        SdkError::DispatchFailure(failure) => {
            let kind = if names_credentials(&error) {
                ErrorKind::Unauthenticated(AuthFault::Key)
            } else if failure.is_user() || never_connected(&error) {
                ErrorKind::Unavailable
            } else {
                ErrorKind::OutcomeUnknown
            };
            plain(kind).with_source(error)
        }
        // Timeouts, and answers that make no sense.
        _ => plain(ErrorKind::OutcomeUnknown).with_source(error),
    }
}

fn by_code(code: &str, text: &str, status: u16, after: Option<Duration>) -> ErrorKind {
    match code {
        REFUSED_BATCH | "InvalidInput" | "InvalidArgument" => ErrorKind::Invalid,
        "NoSuchHostedZone" | "NoSuchChange" => ErrorKind::NotFound,
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "OptInRequired" => {
            ErrorKind::Denied
        }
        "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "AuthFailure"
        | "MissingAuthenticationToken"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "NotAuthorized" => ErrorKind::Unauthenticated(AuthFault::Key),
        "RequestExpired" | "RequestTimeTooSkewed" => ErrorKind::Unauthenticated(AuthFault::Clock),
        // A signature of the wrong time comes under the same code.
        "SignatureDoesNotMatch" | "InvalidSignatureException"
            if text.contains("expired") || text.contains("not yet current") =>
        {
            ErrorKind::Unauthenticated(AuthFault::Clock)
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" | "IncompleteSignature" => {
            ErrorKind::Unauthenticated(AuthFault::Secret)
        }
        "Throttling"
        | "ThrottlingException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "PriorRequestNotComplete" => ErrorKind::Throttled { after },
        _ => match status {
            401 => ErrorKind::Unauthenticated(AuthFault::Unspecified),
            403 => ErrorKind::Denied,
            404 => ErrorKind::NotFound,
            429 => ErrorKind::Throttled { after },
            400..=499 => ErrorKind::Invalid,
            // A 5xx may come after the work.
            _ => ErrorKind::OutcomeUnknown,
        },
    }
}

/// The code of a refusal that the SDK leaves untyped: in its bare form (`<InvalidChangeBatch ...><Messages>..`), or
/// as an `<Error>` without the wrapping.
fn bare_code(body: &str) -> Option<String> {
    let known = [
        REFUSED_BATCH,
        "NoSuchHostedZone",
        "NoSuchChange",
        "InvalidInput",
        "PriorRequestNotComplete",
        "Throttling",
    ];
    let named = known
        .into_iter()
        .find(|code| body.contains(&format!("<{code}")));
    named.or_else(|| element(body, "Code")).map(str::to_owned)
}

/// The text of the first element of this name. Enough for error bodies, which are flat.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

fn retry_after(response: &HttpResponse) -> Option<Duration> {
    response
        .headers()
        .get("retry-after")?
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// Whether no connection came about, so that nothing can have left.
fn never_connected(error: &(dyn StdError + 'static)) -> bool {
    use io::ErrorKind as K;
    chain(error).any(|e| {
        let io = e.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(
            io,
            Some(
                K::ConnectionRefused
                    | K::HostUnreachable
                    | K::NetworkUnreachable
                    | K::AddrNotAvailable
            )
        )
    })
}

fn names_credentials(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|e| e.to_string().to_ascii_lowercase().contains("credential"))
}

fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |e: &&'a (dyn StdError + 'static)| {
        (**e).source()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        let after = None;
        let cases = [
            ("InvalidChangeBatch", "", 400, ErrorKind::Invalid),
            ("NoSuchHostedZone", "", 404, ErrorKind::NotFound),
            ("AccessDenied", "", 403, ErrorKind::Denied),
            (
                "InvalidClientTokenId",
                "",
                403,
                ErrorKind::Unauthenticated(AuthFault::Key),
            ),
            (
                "SignatureDoesNotMatch",
                "",
                403,
                ErrorKind::Unauthenticated(AuthFault::Secret),
            ),
            (
                "SignatureDoesNotMatch",
                "Signature expired: now",
                403,
                ErrorKind::Unauthenticated(AuthFault::Clock),
            ),
            (
                "Throttling",
                "Rate exceeded",
                400,
                ErrorKind::Throttled { after },
            ),
            (
                "PriorRequestNotComplete",
                "",
                400,
                ErrorKind::Throttled { after },
            ),
            ("", "", 400, ErrorKind::Invalid),
            ("InternalFailure", "", 500, ErrorKind::OutcomeUnknown),
            ("ServiceUnavailable", "", 503, ErrorKind::OutcomeUnknown),
        ];
        for (code, text, status, kind) in cases {
            assert_eq!(by_code(code, text, status, after), kind, "{code} {status}");
        }
    }

    #[test]
    fn the_bare_form_has_a_code_too() {
        let body = r#"<?xml version="1.0"?><InvalidChangeBatch xmlns="urn:x"><Messages><Message>values do not match</Message></Messages></InvalidChangeBatch>"#;
        assert_eq!(bare_code(body).as_deref(), Some("InvalidChangeBatch"));
        assert_eq!(element(body, "Message"), Some("values do not match"));
        assert_eq!(
            bare_code("<Error><Code>AccessDenied</Code></Error>").as_deref(),
            Some("AccessDenied")
        );
        assert_eq!(bare_code("<html>"), None);
    }
}
