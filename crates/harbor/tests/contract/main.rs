//! What real Harbors answered, and what a hand-written server can do to a client.

mod behaviour;
mod oci;
mod server;
mod timelines;
mod transcripts;
mod vectors;
