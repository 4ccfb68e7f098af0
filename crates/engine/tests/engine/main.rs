//! The engine against a toy world: a run that is killed anywhere ends where an uninterrupted one would have ended.

mod commands;
mod crash;
mod doubt;
mod guards;
mod happy;
mod lease;
mod random;
mod rehearsal;
mod rig;
mod state_file;
mod steps;
mod undo;
mod world;
