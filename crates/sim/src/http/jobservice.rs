//! The job runner's pages: queues, pools and schedules.

use serde_json::{Value, json};

use super::{
    call::Call,
    listing,
    reply::{Answer, Reply},
};
use crate::{clock, faults::Fault, model::Status};

pub(super) fn queues(call: &Call) -> Answer {
    call.need_system("jobservice-monitor", "list")?;
    let paused = call
        .site
        .faults
        .find(|fault| matches!(fault, Fault::PausedQueue).then_some(()))
        .is_some();
    let state = call.site.state();
    let pending: Vec<_> = state
        .tasks
        .values()
        .filter(|task| task.status == Status::Pending)
        .collect();
    if pending.is_empty() && !paused {
        return Ok(Reply::json(&json!([])));
    }
    let oldest = pending.iter().map(|task| task.started).min();
    let latency = oldest.map_or(0, |oldest| {
        (call.site.now().as_second() - oldest.as_second()).max(0)
    });
    Ok(Reply::json(&json!([
        { "job_type": "REPLICATION", "count": pending.len(), "latency": latency, "paused": paused },
    ])))
}

pub(super) fn pools(call: &Call) -> Answer {
    call.need_system("jobservice-monitor", "list")?;
    if call.site.component_down("jobservice") || call.site.component_down("redis") {
        return Ok(Reply::json(&json!([])));
    }
    let now = clock::show_seconds(call.site.now());
    Ok(Reply::json(&json!([
        { "worker_pool_id": "76ab80dfd41c9c283722e864", "pid": 1, "concurrency": 10, "heartbeat_at": now, "start_at": now },
    ])))
}

/// A schedule that is missing here although its policy is enabled is lost.
pub(super) fn schedules(call: &Call) -> Answer {
    call.need_system("jobservice-monitor", "list")?;
    let started = clock::show(call.site.now());
    let mut items: Vec<Value> = vec![
        json!({ "id": 1, "vendor_type": "SYSTEM_ARTIFACT_CLEANUP", "cron": "0 0 0 * * *", "update_time": started }),
        json!({ "id": 2, "vendor_type": "EXECUTION_SWEEP", "vendor_id": -1, "cron": "0 0 * * * *", "update_time": started }),
    ];
    let state = call.site.state();
    for policy in state.policies.values().filter(|policy| policy.enabled) {
        let lost = call.site.faults.find(|fault| {
            matches!(fault, Fault::LostSchedule { policy: name } if *name == policy.name)
                .then_some(())
        });
        if let (Some(cron), None) = (policy.cron(), lost) {
            items.push(json!({
                "id": 1000 + policy.id, "vendor_type": "REPLICATION", "vendor_id": policy.id,
                "cron": cron, "update_time": clock::show(policy.updated),
            }));
        }
    }
    drop(state);
    listing::page(call, &items)
}
