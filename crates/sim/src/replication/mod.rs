//! The replication engine of a simulated Harbor.
//!
//! An execution first lists and filters its source, then runs one task per repository. Counters and task
//! statuses are up to date at once; the execution's own status is refreshed by a timer of 30 s.

mod events;
mod flow;
mod schedule;
mod side;
mod tasks;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

pub(crate) use events::{Event, fire};

use crate::{
    model::{Execution, State, Status, status_from},
    site::Site,
};

/// How often the status of executions follows their tasks.
const STATUS_REFRESH: Duration = Duration::from_secs(30);
/// How often the status of endpoints follows their credentials.
const ENDPOINT_REFRESH: Duration = Duration::from_secs(300);
/// How often old executions are swept, and how many of a policy stay.
const SWEEP: Duration = Duration::from_secs(3600);
const KEPT_EXECUTIONS: usize = 50;

/// Starts a run of a policy and gives its id; `None` when there is no such policy.
pub(crate) fn start(
    site: &Arc<Site>,
    policy: i64,
    trigger: &str,
    event: Option<Event>,
) -> Option<i64> {
    let now = site.now();
    let (id, policy) = {
        let mut state = site.state();
        let policy = state.policies.get(&policy)?.clone();
        let id = state.next_id("execution");
        let execution = Execution {
            id,
            policy: policy.id,
            status: Status::InProgress,
            status_text: String::new(),
            trigger: trigger.to_owned(),
            started: now,
            ended: None,
            stopped: false,
        };
        state.executions.insert(id, execution);
        (id, policy)
    };
    tokio::spawn(flow::run(site.clone(), id, policy, event));
    Some(id)
}

/// Stops a run: what is not over is `Stopped` at once, and nothing that failed is tried again.
///
/// The layer under way goes on being copied; its tag is not written (seen on v2.9.5).
pub(crate) fn stop(state: &mut State, id: i64, now: Timestamp) {
    let mut stopped_any = false;
    for task in state
        .tasks
        .values_mut()
        .filter(|task| task.execution == id && !task.status.is_final())
    {
        task.status = Status::Stopped;
        task.ended = Some(now);
        stopped_any = true;
    }
    let from_tasks = status_from(state.tasks_of(id));
    let Some(execution) = state.executions.get_mut(&id) else {
        return;
    };
    let had_tasks = from_tasks.is_some();
    if !execution.status.is_final()
        || stopped_any
        || (had_tasks && execution.status == Status::Failed)
    {
        execution.stopped = true;
    }
    if execution.status.is_final() && !stopped_any {
        return;
    }
    match from_tasks {
        None => finish(execution, Status::Stopped, now),
        // Stopping is shown at once; everything else waits for the timer.
        Some(_) if stopped_any => finish(execution, from_tasks.unwrap_or(Status::Stopped), now),
        Some(_) => {}
    }
}

/// Ends an execution that has no tasks.
fn finish(execution: &mut Execution, status: Status, now: Timestamp) {
    execution.status = status;
    execution.ended = Some(now);
}

/// Runs the timers of a site until the sandbox goes.
pub(crate) async fn run_timers(site: Arc<Site>) {
    // Each process of Harbor counts from its own start.
    site.sleep(site.between(Duration::ZERO, STATUS_REFRESH))
        .await;
    let mut elapsed = Duration::ZERO;
    loop {
        site.sleep(STATUS_REFRESH).await;
        elapsed += STATUS_REFRESH;
        if !site.component_down("database") {
            refresh(&mut site.state());
        }
        if elapsed.as_secs().is_multiple_of(ENDPOINT_REFRESH.as_secs()) {
            refresh_endpoints(&site);
        }
        if elapsed.as_secs().is_multiple_of(SWEEP.as_secs()) {
            sweep(&mut site.state());
        }
    }
}

/// Runs the schedules of a site until the sandbox goes.
pub(crate) async fn run_schedules(site: Arc<Site>) {
    schedule::run(site).await;
}

/// Lets the status of every execution follow its tasks, also back from `Failed`.
pub(crate) fn refresh(state: &mut State) {
    let ids: Vec<i64> = state.executions.keys().copied().collect();
    for id in ids {
        let Some(status) = status_from(state.tasks_of(id)) else {
            continue;
        };
        let ended = state.tasks_of(id).filter_map(|task| task.ended).max();
        if let Some(execution) = state.executions.get_mut(&id) {
            execution.status = status;
            execution.ended = if status.is_final() { ended } else { None };
        }
    }
}

/// Keeps the newest 50 executions of each policy, and what is not over.
pub(crate) fn sweep(state: &mut State) {
    let policies: Vec<i64> = state.policies.keys().copied().collect();
    for policy in policies {
        let ids = state
            .executions
            .values()
            .rev()
            .filter(|execution| execution.policy == policy);
        let old: Vec<i64> = ids
            .skip(KEPT_EXECUTIONS)
            .filter(|execution| execution.status.is_final())
            .map(|execution| execution.id)
            .collect();
        state.executions.retain(|id, _| !old.contains(id));
        state.tasks.retain(|_, task| !old.contains(&task.execution));
    }
}

/// An endpoint that does not answer keeps its status; only refused credentials change it (seen on v2.9.5).
fn refresh_endpoints(site: &Site) {
    let endpoints: Vec<_> = site.state().endpoints.values().cloned().collect();
    for endpoint in endpoints {
        let Some(peer) = crate::http::peer(site, &endpoint) else {
            continue;
        };
        let known = !peer
            .log_in(&endpoint.access_key, &endpoint.access_secret)
            .is_anonymous();
        if let Some(stored) = site.state().endpoints.get_mut(&endpoint.id) {
            stored.status = if known { "healthy" } else { "unhealthy" }.to_owned();
        }
    }
}
