//! What the servers really say: read-back at the authoritative servers, and the watch over caches.
//!
//! Observations are raw: never cached by us, one question to one server. What they mean ([`judge`],
//! [`Convergence`], [`next_poll`]) is decided by pure functions.

mod judgement;
mod observe;

pub use judgement::{Convergence, Verdict, eta, judge, next_poll, serial_reached};
pub use observe::{
    Observation, Unreachable, Vantage, VerifyError, authoritative_servers, observe, observe_all,
    read_back, resolve_addresses, soa_serial,
};
