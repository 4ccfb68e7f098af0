//! `/replication/executions`, their tasks and logs.

use serde_json::{Value, json};

use super::{
    call::{Call, Field},
    listing, policies,
    reply::{Answer, Reply, not_found, precondition},
};
use crate::{
    clock,
    model::{Execution, State, Status, Task},
    replication,
};

const KEYS: [&str; 7] = [
    "id",
    "policy_id",
    "status",
    "trigger",
    "start_time",
    "end_time",
    "total",
];
const TASK_KEYS: [&str; 6] = [
    "id",
    "status",
    "operation",
    "resource_type",
    "start_time",
    "end_time",
];

/// Starts a run: 201 with the id in `Location` only, whatever becomes of it.
pub(super) fn start(call: &Call) -> Answer {
    call.need_system("replication", "create")?;
    let body = call.object(
        "execution",
        "StartReplicationExecution",
        &[("policy_id", Field::Int64)],
    )?;
    let policy = body.get("policy_id").and_then(Value::as_i64).unwrap_or(0);
    {
        let state = call.site.state();
        let found = state
            .policies
            .get(&policy)
            .ok_or_else(|| policies::unknown(policy))?;
        call.note(format!("executions of {}", found.name), "");
        if !found.enabled {
            return Err(precondition(format!("the policy {policy} is disabled")));
        }
    }
    let trigger = call
        .param("trigger")
        .filter(|trigger| trigger == "scheduled")
        .unwrap_or_else(|| "manual".to_owned());
    let id = replication::start(&call.site, policy, &trigger, None)
        .ok_or_else(|| policies::unknown(policy))?;
    let noted = call.noted();
    call.note(noted.object, format!("started execution {id}"));
    Ok(Reply::created(format!(
        "/api/v2.0/replication/executions/{id}"
    )))
}

pub(super) fn list(call: &Call) -> Answer {
    call.need_system("replication", "list")?;
    let policy = call.number("policy_id")?;
    let wanted = call.param("status").map(|status| match status.as_str() {
        // The inner words are taken too.
        "Success" => "Succeed".to_owned(),
        "Running" => "InProgress".to_owned(),
        "Error" => "Failed".to_owned(),
        _ => status,
    });
    let trigger = call.param("trigger");
    let state = call.site.state();
    let mut executions: Vec<&Execution> = state
        .executions
        .values()
        .filter(|execution| policy.is_none_or(|policy| execution.policy == policy))
        .filter(|execution| {
            wanted
                .as_deref()
                .is_none_or(|wanted| execution.status.text() == wanted)
        })
        .filter(|execution| {
            trigger
                .as_deref()
                .is_none_or(|trigger| execution.trigger == trigger)
        })
        .collect();
    executions.sort_by_key(|execution| std::cmp::Reverse((execution.started, execution.id)));
    let items = executions
        .into_iter()
        .map(|execution| show(&state, execution))
        .collect();
    drop(state);
    listing::list(call, items, &KEYS)
}

pub(super) fn get(call: &Call, id: i64) -> Answer {
    call.need_system("replication", "read")?;
    let state = call.site.state();
    let execution = state.executions.get(&id).ok_or_else(|| unknown(id))?;
    Ok(Reply::json(&show(&state, execution)))
}

/// Stops a run: 200 with the JSON text `null`, also when it is over.
pub(super) fn stop(call: &Call, id: i64) -> Answer {
    call.need_system("replication", "update")
        .or_else(|_| call.need_system("replication", "create"))?;
    let mut state = call.site.state();
    let execution = state.executions.get(&id).ok_or_else(|| unknown(id))?;
    let name = state
        .policies
        .get(&execution.policy)
        .map_or_else(String::new, |policy| policy.name.clone());
    let before = execution.status.text();
    replication::stop(&mut state, id, call.site.now());
    let after = state
        .executions
        .get(&id)
        .map_or(before, |execution| execution.status.text());
    call.note(
        format!("executions of {name}"),
        format!("stopped execution {id}: {before} -> {after}"),
    );
    Ok(Reply::json(&Value::Null))
}

pub(super) fn tasks(call: &Call, id: i64) -> Answer {
    call.need_system("replication", "list")?;
    let state = call.site.state();
    if !state.executions.contains_key(&id) {
        return Err(unknown(id));
    }
    let status = call.param("status");
    let kind = call.param("resource_type");
    let mut tasks: Vec<&Task> = state
        .tasks_of(id)
        .filter(|task| {
            status
                .as_deref()
                .is_none_or(|status| task.status.text() == status)
        })
        .filter(|_| kind.as_deref().is_none_or(|kind| kind == "artifact"))
        .collect();
    tasks.sort_by_key(|task| std::cmp::Reverse((task.started.as_second(), task.id)));
    let items = tasks.into_iter().map(show_task).collect();
    drop(state);
    listing::list(call, items, &TASK_KEYS)
}

pub(super) fn log(call: &Call, id: i64, task: i64) -> Answer {
    call.need_system("replication", "read")?;
    let state = call.site.state();
    if !state.executions.contains_key(&id) {
        return Err(unknown(id));
    }
    match state.tasks.get(&task).filter(|task| task.execution == id) {
        Some(task) => Ok(Reply::text(task.log.clone())),
        None => Err(not_found(format!("replication task {task} not found"))),
    }
}

/// The counters are up to date at once; the status is what the timer saw last (seen on v2.9.5).
fn show(state: &State, execution: &Execution) -> Value {
    let count = |wanted: &[Status]| {
        state
            .tasks_of(execution.id)
            .filter(|task| wanted.contains(&task.status))
            .count()
    };
    json!({
        "id": execution.id, "policy_id": execution.policy,
        "status": execution.status.text(), "status_text": execution.status_text, "trigger": execution.trigger,
        "start_time": clock::show(execution.started), "end_time": clock::show_or_zero(execution.ended),
        "total": state.tasks_of(execution.id).count(),
        "in_progress": count(&[Status::Pending, Status::InProgress]),
        "succeed": count(&[Status::Succeed]),
        "failed": count(&[Status::Failed]),
        "stopped": count(&[Status::Stopped]),
    })
}

fn show_task(task: &Task) -> Value {
    let items = format!("[{} item(s) in total]", task.items);
    json!({
        "id": task.id, "execution_id": task.execution, "job_id": task.job,
        "operation": task.operation, "resource_type": "artifact", "status": task.status.text(),
        "src_resource": format!("{} {items}", task.source), "dst_resource": format!("{} {items}", task.destination),
        "start_time": clock::show_seconds(task.started),
        "end_time": task.ended.map_or_else(|| clock::ZERO_TIME.to_owned(), clock::show_seconds),
    })
}

fn unknown(id: i64) -> Reply {
    not_found(format!("replication execution {id} not found"))
}
