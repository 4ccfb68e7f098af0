//! Time, passed in.
//!
//! Spans in a plan are plan time. A sandbox runs them faster than the wall, so that a rehearsed wait for a TTL of
//! a minute takes a second; everywhere else the scale is 1.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// Tells the time and waits.
#[derive(Clone, Debug)]
pub struct Clock {
    scale: f64,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Wall,
    /// Milliseconds since 1970; a wait moves it on at once.
    Set(Arc<AtomicI64>),
}

impl Clock {
    /// Returns the clock of this machine, with waits `scale` times shorter than the plan says.
    pub fn wall(scale: f64) -> Clock {
        Clock {
            scale: if scale > 0.0 { scale } else { 1.0 },
            source: Source::Wall,
        }
    }

    /// Returns a clock that stands still but for its own waits.
    pub fn set(start: Timestamp) -> Clock {
        Clock {
            scale: 1.0,
            source: Source::Set(Arc::new(AtomicI64::new(start.as_millisecond()))),
        }
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        match &self.source {
            Source::Wall => {
                let now = Timestamp::now().as_millisecond();
                Timestamp::from_millisecond(now).unwrap_or(Timestamp::UNIX_EPOCH)
            }
            Source::Set(ms) => {
                Timestamp::from_millisecond(ms.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Returns how long a span of plan time takes on this clock.
    pub fn real(&self, span: Duration) -> Duration {
        Duration::try_from_secs_f64(span.as_secs_f64() / self.scale).unwrap_or(Duration::MAX)
    }

    /// Returns the time after a span of plan time from now.
    pub fn after(&self, span: Duration) -> Timestamp {
        later(self.now(), self.real(span))
    }

    /// Returns how much plan time has passed since.
    pub fn since(&self, then: Timestamp) -> Duration {
        let span = self.now().duration_since(then);
        let real = Duration::try_from(span).unwrap_or(Duration::ZERO);
        Duration::try_from_secs_f64(real.as_secs_f64() * self.scale).unwrap_or(Duration::MAX)
    }

    /// Waits for a span of plan time.
    pub async fn sleep(&self, span: Duration) {
        self.sleep_until(self.after(span)).await;
    }

    /// Waits until a time of this clock.
    pub async fn sleep_until(&self, then: Timestamp) {
        match &self.source {
            Source::Wall => {
                let span = then.duration_since(Timestamp::now());
                tokio::time::sleep(Duration::try_from(span).unwrap_or(Duration::ZERO)).await;
            }
            Source::Set(ms) => {
                ms.fetch_max(then.as_millisecond(), Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Returns a time later by a span; the end of time if that is earlier.
pub(crate) fn later(then: Timestamp, span: Duration) -> Timestamp {
    let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(then.as_millisecond().saturating_add(ms)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn a_sandbox_waits_shorter_and_counts_longer() {
        let clock = Clock {
            scale: 60.0,
            source: Source::Set(Arc::new(AtomicI64::new(0))),
        };
        assert_eq!(clock.real(Duration::from_secs(60)), Duration::from_secs(1));
        assert_eq!(clock.after(Duration::from_secs(120)).as_second(), 2);
        let later = Clock {
            scale: 60.0,
            source: Source::Set(Arc::new(AtomicI64::new(1000))),
        };
        assert_eq!(later.since(START), Duration::from_secs(60));
    }

    #[test]
    fn what_is_no_scale_counts_as_one() {
        for scale in [0.0, -1.0, f64::NAN] {
            assert_eq!(
                Clock::wall(scale).real(Duration::from_secs(7)),
                Duration::from_secs(7)
            );
        }
        assert_eq!(
            Clock::wall(1e-300).real(Duration::from_secs(7)),
            Duration::MAX
        );
        assert_eq!(
            Clock::wall(f64::INFINITY).real(Duration::from_secs(7)),
            Duration::ZERO
        );
    }

    #[test]
    fn the_end_of_time_is_not_passed() {
        assert_eq!(
            later(Timestamp::MAX, Duration::from_secs(1)),
            Timestamp::MAX
        );
        assert_eq!(later(START, Duration::MAX), Timestamp::MAX);
        assert_eq!(
            Clock::set(Timestamp::from_second(9).expect("in range")).since(Timestamp::MAX),
            Duration::ZERO
        );
    }

    #[tokio::test]
    async fn only_its_own_waits_move_a_set_clock() {
        let clock = Clock::set(START);
        let other = clock.clone();
        clock.sleep(Duration::from_millis(1500)).await;
        assert_eq!(
            other.now().as_millisecond(),
            1500,
            "all that hold it see the same time"
        );
        other.sleep_until(START).await;
        assert_eq!(clock.now().as_millisecond(), 1500, "it does not go back");
    }
}
