//! SIGKILL of the driver at every journal write and at every edge of every mutating request and sync poll, then
//! `resume`: the world must equal that of an uninterrupted run, and each effect must have happened as often as there.

// The list of points is what this test has to show.
#![allow(clippy::print_stdout)]

// The scenarios use the rest of it.
#[allow(dead_code)]
#[path = "../support/pair.rs"]
mod pair;

mod matrix;
mod point;

use matrix::{Procedure, walk};

// The numbers are what the procedures had when this was last looked at. Fewer points mean that something is no longer
// killed; raise a number when a procedure grows.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planned_failover() {
    walk(Procedure::Planned, 128).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unplanned_failover() {
    walk(Procedure::Unplanned, 109).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failback() {
    walk(Procedure::Failback, 177).await;
}
