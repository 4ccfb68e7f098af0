//! The step kinds against the sandbox.

mod pair;
mod procedures;
