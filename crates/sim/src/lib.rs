//! Harbors and a DNS server that run in memory and break on request.

pub mod dns;
