//! Schedules that fire, lose firings, or fire late after read-only was lifted.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{cron::Cron, faults::Fault, site::Site};

/// How often the schedules are looked at, in simulated time, and at most in real time.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(5);
/// A firing that read-only refused comes this long after the flag was lifted (seen: 1 to 6 s).
const LATE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(6));

/// What is known of one policy's schedule.
struct Planned {
    /// The policy's revision: a new schedule is made with every write.
    revision: u64,
    next: Option<Timestamp>,
    refused: bool,
    /// When the refused firing comes again.
    late: Option<Timestamp>,
}

pub(super) async fn run(site: Arc<Site>) {
    let mut planned: HashMap<i64, Planned> = HashMap::new();
    loop {
        let Some(pause) = site.world().map(|world| world.clock.real(LOOK_EVERY)) else {
            return;
        };
        tokio::time::sleep(pause.max(LOOK_AT_MOST_EVERY)).await;
        let Some(now) = site.world().map(|world| world.clock.schedule_now()) else {
            return;
        };
        for policy in due(&site, &mut planned, now) {
            super::start(&site, policy, "scheduled", None);
        }
    }
}

/// The policies to start now.
fn due(site: &Site, planned: &mut HashMap<i64, Planned>, now: Timestamp) -> Vec<i64> {
    let works = !["jobservice", "redis", "database"]
        .iter()
        .any(|part| site.component_down(part))
        && site.listening.is_up();
    let state = site.state();
    let scheduled: Vec<_> = state
        .policies
        .values()
        .filter(|policy| policy.enabled)
        .filter_map(|policy| {
            Some((
                policy.id,
                policy.name.clone(),
                policy.revision,
                Cron::parse(policy.cron()?)?,
            ))
        })
        .collect();
    let read_only = state.read_only;
    drop(state);
    // Disabled or changed to manual: nothing fires any more, a refused firing neither.
    planned.retain(|id, _| scheduled.iter().any(|(policy, ..)| policy == id));
    let mut start = Vec::new();
    for (id, name, revision, cron) in scheduled {
        let plan = planned.entry(id).or_insert_with(|| Planned {
            revision,
            next: cron.next_after(now),
            refused: false,
            late: None,
        });
        if plan.revision != revision {
            *plan = Planned {
                revision,
                next: cron.next_after(now),
                refused: false,
                late: None,
            };
        }
        if plan.next.is_some_and(|next| next <= now) {
            plan.next = cron.next_after(now);
            let lost = site.faults.find(|fault| {
                matches!(fault, Fault::LostSchedule { policy } if *policy == name).then_some(())
            });
            match (works && lost.is_none(), read_only) {
                // Missed times are not caught up.
                (false, _) => {}
                (true, true) => plan.refused = true,
                (true, false) => start.push(id),
            }
        }
        if plan.refused && !read_only && plan.late.is_none() {
            plan.late = Some(
                now + jiff::SignedDuration::from_millis(
                    site.between(LATE.0, LATE.1).as_millis() as i64
                ),
            );
        }
        if plan.late.is_some_and(|late| late <= now) {
            plan.late = None;
            if read_only {
                continue;
            }
            plan.refused = false;
            start.push(id);
        }
    }
    start
}
