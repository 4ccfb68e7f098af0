//! One signed exchange over TCP, done by hand so that the reason of a refused signature can be read.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::TSigner;
use hickory_proto::rr::rdata::tsig::{TSIG, TsigError};
use tokio::net::TcpStream;

use super::PROVIDER;
use crate::error::{AuthFault, Error, ErrorKind};
use crate::name::Name;
use crate::wire;

/// A reply whose signature was verified.
pub(super) struct Reply {
    pub server: SocketAddr,
    pub code: ResponseCode,
}

/// Sends `message` to the first server that takes the connection and returns its verified reply.
///
/// The next server is tried only when no connection came about, so that nothing can have left. From the first
/// octet sent every failure is `OutcomeUnknown`.
pub(super) async fn update(
    servers: &[SocketAddr],
    key: &TSigner,
    mut message: Message,
    limit: Duration,
) -> Result<Reply, Error> {
    let (server, mut stream) = connect(servers, limit).await?;
    // Signed for this one connection: a message signed twice is refused.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let invalid =
        |e| Error::new(PROVIDER, ErrorKind::Invalid, "the update cannot be encoded").with_source(e);
    let verifier = message.finalize(key, now).map_err(invalid)?;
    let bytes = message.to_vec().map_err(invalid)?;

    let exchange = async {
        wire::send_framed(&mut stream, &bytes).await?;
        wire::receive_framed(&mut stream).await
    };
    let unknown = |text: &str| {
        Error::new(
            PROVIDER,
            ErrorKind::OutcomeUnknown,
            format!("{server} {text}"),
        )
    };
    let reply = match tokio::time::timeout(limit, exchange).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(e)) => {
            return Err(unknown("took the update, then the connection broke").with_source(e));
        }
        Err(_) => {
            return Err(unknown(&format!(
                "took the update and gave no answer within {limit:?}"
            )));
        }
    };
    let plain = match Message::from_vec(&reply) {
        Ok(plain) if plain.metadata.id == message.metadata.id => plain,
        Ok(_) => return Err(unknown("answered another request")),
        Err(e) => return Err(unknown("gave an answer that cannot be read").with_source(e)),
    };
    let code = plain.metadata.response_code;
    // A signature error first: by the RFC such a reply is unsigned, or signed at a time we do not believe.
    if let Some(error) = plain
        .signature()
        .and_then(|record| record.data.error.map(|e| (e, &record.data)))
    {
        return Err(refused_signature(server, key, error, now));
    }
    if plain.signature().is_none() {
        return Err(unsigned(server, code));
    }
    let verified = verifier.map(|mut verifier| verifier.verify(&reply));
    match verified {
        Some(Ok(_)) => Ok(Reply { server, code }),
        Some(Err(e)) => Err(unknown("signed its answer wrongly")
            .with_code(wire::rcode(code))
            .with_source(e)),
        None => Err(unknown("gave an answer that cannot be verified").with_code(wire::rcode(code))),
    }
}

async fn connect(
    servers: &[SocketAddr],
    limit: Duration,
) -> Result<(SocketAddr, TcpStream), Error> {
    let mut failures = Vec::new();
    let mut last = None;
    for server in servers {
        let failure = match tokio::time::timeout(limit, TcpStream::connect(server)).await {
            Ok(Ok(stream)) => return Ok((*server, stream)),
            Ok(Err(e)) => e,
            Err(_) => io::Error::from(io::ErrorKind::TimedOut),
        };
        failures.push(server.to_string());
        last = Some(failure);
    }
    let text = format!("no connection to {}; nothing was sent", failures.join(", "));
    let error = Error::new(PROVIDER, ErrorKind::Unavailable, text);
    Err(match last {
        Some(e) => error.with_source(e),
        None => error,
    })
}

fn refused_signature(
    server: SocketAddr,
    key: &TSigner,
    error: (TsigError, &TSIG),
    now: u64,
) -> Error {
    let name = Name::from_wire(key.signer_name());
    let (fault, code, text) = match error.0 {
        TsigError::BadKey => (
            AuthFault::Key,
            "BADKEY",
            format!("{server} does not know key `{name}`"),
        ),
        TsigError::BadSig => (
            AuthFault::Secret,
            "BADSIG",
            format!("{server} has another secret for key `{name}`"),
        ),
        TsigError::BadTime => {
            let text = match server_time(error.1) {
                Some(there) => {
                    let (off, side) = if there > now {
                        (there - now, "ahead")
                    } else {
                        (now - there, "behind")
                    };
                    format!("the clock of {server} is {off} s {side} of this host's")
                }
                None => format!(
                    "the clocks of {server} and this host are more than {} s apart",
                    key.fudge()
                ),
            };
            (AuthFault::Clock, "BADTIME", text)
        }
        _ => (
            AuthFault::Unspecified,
            "TSIG",
            format!("{server} did not accept the signature of key `{name}`"),
        ),
    };
    Error::new(PROVIDER, ErrorKind::Unauthenticated(fault), text).with_code(code)
}

/// The server's time in seconds, which it sends along with BADTIME, RFC 8945, 5.2.3.
fn server_time(tsig: &TSIG) -> Option<u64> {
    let octets: [u8; 6] = tsig.other.as_slice().try_into().ok()?;
    Some(
        octets
            .iter()
            .fold(0, |time, octet| time << 8 | u64::from(*octet)),
    )
}

/// A reply without a signature. Nothing is believed of it but that the server did not take us seriously: some
/// servers leave refusals unsigned (Knot for an unknown zone, PowerDNS for an unknown key).
fn unsigned(server: SocketAddr, code: ResponseCode) -> Error {
    let (kind, text) = match code {
        ResponseCode::Refused | ResponseCode::NotAuth => (
            ErrorKind::Unauthenticated(AuthFault::Unspecified),
            "refused the update without a signature of its own",
        ),
        ResponseCode::FormErr => (ErrorKind::Invalid, "could not read the update"),
        ResponseCode::NotImp => (ErrorKind::Unsupported, "takes no dynamic updates"),
        _ => (
            ErrorKind::OutcomeUnknown,
            "gave an answer without a signature",
        ),
    };
    Error::new(PROVIDER, kind, format!("{server} {text}")).with_code(wire::rcode(code))
}
