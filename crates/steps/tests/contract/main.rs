//! The step kinds against the sandbox.

mod kinds;
mod pair;
mod round_trip;
mod scene;
