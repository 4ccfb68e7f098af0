//! One conformance suite over every provider: real BIND 9 and the sandbox's DNS server (rfc2136), moto (route53).
//! Beside it what only one of them has: signatures and clocks, lost answers, changes in flight, secondaries.

#[path = "../../../tests/support/servers.rs"]
mod servers;

mod real {
    mod conformance;
    mod rfc2136;
    #[cfg(feature = "route53")]
    mod route53;
    mod verification;
    mod worlds;
}
