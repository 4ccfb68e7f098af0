//! The providers, one module each. All pass the same conformance suite.

pub mod rfc2136;
#[cfg(feature = "route53")]
pub mod route53;
