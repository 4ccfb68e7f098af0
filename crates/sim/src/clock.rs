//! Time and chance of the sandbox.
//!
//! Timestamps that a site shows are the wall clock's, because a driver compares them with its own clock. Only
//! the waits run faster: a wait of 30 s at scale 60 takes half a second.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

/// What Harbor shows for a time that is not set.
pub(crate) const ZERO_TIME: &str = "0001-01-01T00:00:00.000Z";

/// The clock of one sandbox.
#[derive(Debug)]
pub(crate) struct SimClock {
    scale: f64,
    started: Timestamp,
    started_at: Instant,
}

impl SimClock {
    pub(crate) fn new(scale: f64) -> SimClock {
        SimClock {
            scale,
            started: Timestamp::now(),
            started_at: Instant::now(),
        }
    }

    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// How long a simulated span takes here.
    pub(crate) fn real(&self, simulated: Duration) -> Duration {
        simulated.div_f64(self.scale)
    }

    /// The time by which schedules fire: it starts at the wall clock's and runs `scale` times faster.
    pub(crate) fn schedule_now(&self) -> Timestamp {
        let elapsed = self.started_at.elapsed().mul_f64(self.scale);
        self.started + SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::ZERO)
    }
}

/// Prints a time as Harbor does: UTC with milliseconds.
pub(crate) fn show(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Prints a time cut to whole seconds, as Harbor does for tasks.
pub(crate) fn show_seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

/// Prints a time that may be unset.
pub(crate) fn show_or_zero(time: Option<Timestamp>) -> String {
    time.map_or_else(|| ZERO_TIME.to_owned(), show)
}

/// Chance from a seed (SplitMix64), so that a failure is a seed to replay.
#[derive(Debug)]
pub(crate) struct Chance(Mutex<u64>);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(Mutex::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        let mut state = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to, not including, `limit`.
    pub(crate) fn below(&self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// A span between the two, in steps of a millisecond.
    pub(crate) fn between(&self, low: Duration, high: Duration) -> Duration {
        let width = high.saturating_sub(low).as_millis() as u64;
        low + Duration::from_millis(self.below(width + 1))
    }
}

/// A number that nobody can guess, for addresses, passwords and tokens: the standard library seeds its hasher
/// from the operating system.
pub(crate) fn unguessable() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

/// A password that passes Harbor's rule (8-128 characters, upper, lower, digit).
pub(crate) fn password() -> String {
    format!("Sb1{:016x}{:016x}", unguessable(), unguessable())
}
