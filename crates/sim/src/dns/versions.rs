//! The versions of the zone: what the primary has, and what the secondary has come to.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::zone::Zone;

/// The primary's present version, and the one that the secondary has come to.
pub(super) struct Versions {
    lag: Duration,
    /// Oldest first; the first is the secondary's, the last the primary's.
    published: Vec<(Instant, Arc<Zone>)>,
}

impl Versions {
    pub fn new(zone: Zone, lag: Duration) -> Versions {
        Versions {
            lag,
            published: vec![(Instant::now(), Arc::new(zone))],
        }
    }

    pub fn primary(&self) -> Arc<Zone> {
        Arc::clone(&self.published.last().expect("there is always a version").1)
    }

    pub fn secondary(&mut self) -> Arc<Zone> {
        let lag = self.lag;
        let arrived = self
            .published
            .iter()
            .rposition(|(at, _)| at.elapsed() >= lag)
            .unwrap_or(0);
        self.published.drain(..arrived);
        Arc::clone(&self.published.first().expect("there is always a version").1)
    }

    pub fn set_lag(&mut self, lag: Duration) {
        // Settle what has arrived by the old lag: a secondary never goes back.
        self.secondary();
        self.lag = lag;
    }

    /// Publishes a changed copy; a failed edit publishes nothing.
    pub fn edit<T>(&mut self, edit: impl FnOnce(&mut Zone) -> io::Result<T>) -> io::Result<T> {
        let mut zone = Zone::clone(&self.primary());
        let done = edit(&mut zone)?;
        self.publish(zone);
        Ok(done)
    }

    pub fn publish(&mut self, zone: Zone) {
        self.secondary();
        self.published.push((Instant::now(), Arc::new(zone)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::RecordKind;
    use crate::dns::zone::tests::zone;

    #[test]
    fn the_secondary_lags_and_never_goes_back() {
        let mut versions = Versions::new(zone(), Duration::from_secs(3600));
        versions
            .edit(|z| z.replace("new.sandbox.test", RecordKind::A, &["127.0.0.9"], 60))
            .unwrap();
        assert_eq!(
            (versions.primary().serial(), versions.secondary().serial()),
            (2, 1)
        );
        versions.set_lag(Duration::ZERO);
        assert_eq!(versions.secondary().serial(), 2);
        versions.set_lag(Duration::from_secs(3600));
        assert_eq!(versions.secondary().serial(), 2);
    }
}
