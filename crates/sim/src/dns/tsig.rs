//! The server's side of TSIG, RFC 8945: which key, is the signature right, is the time right, how to sign the reply.

use std::io;
use std::str::FromStr;

use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, TsigError};
use hickory_proto::rr::{Name, TSigResponseContext, TSigner};
use hickory_server::server::Request;

use super::invalid;

/// Seconds that the clocks may differ.
const FUDGE: u16 = 300;

/// Why a request is not believed, as the log spells it.
pub(super) struct Disbelief(pub &'static str);

pub(super) fn key(name: &str, secret: Vec<u8>) -> io::Result<TSigner> {
    let mut name = Name::from_str(name).map_err(|e| invalid(format!("key name `{name}`: {e}")))?;
    name.set_fqdn(true);
    TSigner::new(secret, TsigAlgorithm::HmacSha256, name, FUDGE).map_err(|e| invalid(e.to_string()))
}

/// Verifies the request at the server's time `now`, in seconds. Also returns how to sign the reply: an unsigned
/// request gets an unsigned reply.
pub(super) fn verify(
    key: &TSigner,
    request: &Request,
    now: u64,
) -> (Result<(), Disbelief>, Option<TSigResponseContext>) {
    let id = request.metadata.id;
    let Some(signature) = request.signature.as_deref() else {
        return (Err(Disbelief("REFUSED")), None);
    };
    if key.signer_name() != &signature.name || key.algorithm() != &signature.data.algorithm {
        return (
            Err(Disbelief("BADKEY")),
            Some(TSigResponseContext::unknown_key(
                id,
                now,
                signature.name.clone(),
            )),
        );
    }
    match key.verify_message_byte(request.as_slice(), None, true) {
        Err(_) => (
            Err(Disbelief("BADSIG")),
            Some(TSigResponseContext::bad_signature(id, now, key.clone())),
        ),
        Ok((mac, _, window)) if !window.contains(&now) => {
            let context =
                TSigResponseContext::new(id, now, key.clone(), mac, Some(TsigError::BadTime));
            (Err(Disbelief("BADTIME")), Some(context))
        }
        Ok((mac, ..)) => (
            Ok(()),
            Some(TSigResponseContext::new(id, now, key.clone(), mac, None)),
        ),
    }
}
