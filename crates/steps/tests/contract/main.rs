//! The step kinds against the sandbox.

mod bad_days;
mod cases;
mod foretold;
mod gates;
mod kinds;
mod meddling;
mod pair;
mod round_trip;
mod scene;
mod syncs;
mod unplanned;
mod way_back;
