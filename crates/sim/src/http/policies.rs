//! `/replication/policies`.

use serde_json::{Map, Value, json};

use super::{
    call::{Call, Field, flag, text},
    endpoints, listing,
    reply::{Answer, Reply, bad_request, conflict, not_found, precondition},
};
use crate::{
    clock, cron,
    model::{Policy, State, Trigger},
    namespace,
    site::Site,
};

const FIELDS: [(&str, Field); 13] = [
    ("name", Field::Text),
    ("description", Field::Text),
    ("src_registry", Field::Object),
    ("dest_registry", Field::Object),
    ("dest_namespace", Field::Text),
    ("dest_namespace_replace_count", Field::Int8),
    ("trigger", Field::Object),
    ("deletion", Field::Bool),
    ("replicate_deletion", Field::Bool),
    ("override", Field::Bool),
    ("enabled", Field::Bool),
    ("speed", Field::Int32),
    ("copy_by_chunk", Field::Bool),
];
const KEYS: [&str; 9] = [
    "id",
    "name",
    "description",
    "enabled",
    "creation_time",
    "update_time",
    "dest_namespace",
    "override",
    "speed",
];

pub(super) fn list(call: &Call) -> Answer {
    call.need_system("replication-policy", "list")?;
    let name = call.param("name").unwrap_or_default();
    let state = call.site.state();
    // Newest first.
    let policies = state
        .policies
        .values()
        .rev()
        .filter(|policy| policy.name.contains(&name));
    let items = policies
        .map(|policy| show(&call.site, &state, policy))
        .collect();
    drop(state);
    listing::list(call, items, &KEYS)
}

pub(super) fn get(call: &Call, id: i64) -> Answer {
    call.need_system("replication-policy", "read")?;
    let state = call.site.state();
    let policy = state.policies.get(&id).ok_or_else(|| unknown(id))?;
    Ok(Reply::json(&show(&call.site, &state, policy)))
}

pub(super) fn create(call: &Call) -> Answer {
    call.need_system("replication-policy", "create")?;
    let body = call.object("policy", "ReplicationPolicy", &FIELDS)?;
    let mut policy = read(call, &body)?;
    let mut state = call.site.state();
    check_endpoints(&state, &policy)?;
    // The database draws the id before it sees the duplicate: ids have gaps.
    policy.id = state.next_id("policy");
    if state.policy_named(&policy.name).is_some() {
        return Err(conflict(format!(
            "replication policy {} already exists",
            policy.name
        )));
    }
    call.note(
        format!("policy {}", policy.name),
        format!("absent -> created, enabled {}", policy.enabled),
    );
    let id = policy.id;
    state.policies.insert(id, policy);
    Ok(Reply::created(format!(
        "/api/v2.0/replication/policies/{id}"
    )))
}

/// Replaces the whole policy: what the body leaves out is reset (seen on v2.9.5).
pub(super) fn update(call: &Call, id: i64) -> Answer {
    call.need_system("replication-policy", "update")?;
    let body = call.object("policy", "ReplicationPolicy", &FIELDS)?;
    {
        let state = call.site.state();
        let before = state.policies.get(&id).ok_or_else(|| unknown(id))?;
        call.note(format!("policy {}", before.name), "");
    }
    let mut policy = read(call, &body)?;
    let mut state = call.site.state();
    let before = state.policies.get(&id).ok_or_else(|| unknown(id))?.clone();
    check_endpoints(&state, &policy)?;
    if state
        .policy_named(&policy.name)
        .is_some_and(|other| other.id != id)
    {
        return Err(conflict(format!(
            "replication policy {} already exists",
            policy.name
        )));
    }
    policy.id = id;
    policy.created = before.created;
    policy.revision = before.revision + 1;
    call.note(
        format!("policy {}", before.name),
        difference(&before, &policy),
    );
    state.policies.insert(id, policy);
    Ok(Reply::empty(200))
}

pub(super) fn delete(call: &Call, id: i64) -> Answer {
    call.need_system("replication-policy", "delete")?;
    let mut state = call.site.state();
    let name = state
        .policies
        .get(&id)
        .ok_or_else(|| unknown(id))?
        .name
        .clone();
    call.note(format!("policy {name}"), "");
    if state
        .executions
        .values()
        .any(|execution| execution.policy == id && !execution.status.is_final())
    {
        return Err(precondition(
            "contains executions that aren't in final status, stop the execution first",
        ));
    }
    remove(&mut state, id);
    call.note(format!("policy {name}"), "present -> deleted");
    Ok(Reply::empty(200))
}

/// Takes a policy away with its executions and their tasks.
pub(crate) fn remove(state: &mut State, id: i64) {
    state.policies.remove(&id);
    let gone: Vec<i64> = state
        .executions
        .values()
        .filter(|execution| execution.policy == id)
        .map(|execution| execution.id)
        .collect();
    state
        .executions
        .retain(|_, execution| execution.policy != id);
    state
        .tasks
        .retain(|_, task| !gone.contains(&task.execution));
}

/// A policy as answers show it: both sides are there, the local one made up; false and empty are left out.
pub(crate) fn show(site: &Site, state: &State, policy: &Policy) -> Value {
    let side = |id: i64| match state.endpoints.get(&id) {
        Some(endpoint) => endpoints::show(endpoint),
        None => endpoints::local(site),
    };
    let mut shown = json!({
        "id": policy.id, "name": policy.name,
        "src_registry": side(policy.source), "dest_registry": side(policy.destination),
        "dest_namespace_replace_count": policy.replace_count,
        "filters": policy.filters, "speed": policy.speed, "copy_by_chunk": policy.copy_by_chunk,
        "creation_time": clock::show(policy.created), "update_time": clock::show(policy.updated),
    });
    let mut put = |key: &str, value: Value| shown[key] = value;
    for (key, set) in [
        ("enabled", policy.enabled),
        ("override", policy.overwrites),
        ("deletion", policy.deletion),
        ("replicate_deletion", policy.deletion),
    ] {
        if set {
            put(key, json!(true));
        }
    }
    for (key, text) in [
        ("description", &policy.description),
        ("dest_namespace", &policy.dest_namespace),
    ] {
        if !text.is_empty() {
            put(key, json!(text));
        }
    }
    match &policy.trigger {
        Some(trigger) if trigger.cron.is_empty() => put("trigger", json!({ "type": trigger.kind })),
        Some(trigger) => {
            put(
                "trigger",
                json!({ "type": trigger.kind, "trigger_settings": { "cron": trigger.cron } }),
            );
        }
        None => {}
    }
    shown
}

/// Reads and checks a policy out of a body, in Harbor's order.
fn read(call: &Call, body: &Map<String, Value>) -> Result<Policy, Reply> {
    let now = call.site.now();
    let side = |field: &str| {
        body.get(field)
            .and_then(|side| side["id"].as_i64())
            .unwrap_or(0)
    };
    let number = |field: &str| body.get(field).and_then(Value::as_i64);
    let trigger = body
        .get("trigger")
        .and_then(Value::as_object)
        .map(|trigger| Trigger {
            kind: text(trigger, "type"),
            cron: trigger
                .get("trigger_settings")
                .and_then(|settings| settings["cron"].as_str())
                .unwrap_or_default()
                .to_owned(),
        });
    let filters = match body.get("filters") {
        Some(Value::Array(filters)) if !filters.is_empty() => {
            Value::Array(filters.iter().map(tidy).collect())
        }
        _ => Value::Null,
    };
    let policy = Policy {
        id: 0,
        name: text(body, "name"),
        description: text(body, "description"),
        source: side("src_registry"),
        destination: side("dest_registry"),
        dest_namespace: text(body, "dest_namespace"),
        replace_count: number("dest_namespace_replace_count").unwrap_or(-1),
        trigger,
        filters,
        // Only this one is read; `replicate_deletion` is not (seen on v2.9.5).
        deletion: flag(body, "deletion"),
        overwrites: flag(body, "override"),
        enabled: flag(body, "enabled"),
        speed: number("speed").unwrap_or(0).max(0),
        copy_by_chunk: flag(body, "copy_by_chunk"),
        created: now,
        updated: now,
        revision: 0,
    };
    check(&policy).map_err(bad_request)?;
    Ok(policy)
}

/// Checks what can be checked without looking anything up.
pub(crate) fn check(policy: &Policy) -> Result<(), String> {
    if policy.name.is_empty() {
        return Err("empty name".to_owned());
    }
    if (policy.source == 0) == (policy.destination == 0) {
        return Err(
            "either src_registry or dest_registry should be empty and the other one shouldn't be empty".to_owned()
        );
    }
    for filter in policy.filters.as_array().into_iter().flatten() {
        check_filter(filter)?;
    }
    if !policy.dest_namespace.is_empty() && !namespace::is_path(&policy.dest_namespace) {
        return Err(format!(
            "invalid destination namespace: {}",
            policy.dest_namespace
        ));
    }
    match &policy.trigger {
        None => Ok(()),
        Some(trigger) => match trigger.kind.as_str() {
            "manual" | "event_based" => Ok(()),
            "scheduled" => cron::check(&trigger.cron),
            _ => Err("invalid trigger type".to_owned()),
        },
    }
}

fn check_filter(filter: &Value) -> Result<(), String> {
    let kind = filter["type"].as_str().unwrap_or_default();
    let value = &filter["value"];
    match kind {
        "label" => {
            let strings = value
                .as_array()
                .is_some_and(|values| values.iter().all(Value::is_string));
            if !strings {
                return Err("the type of label filter value isn't string slice".to_owned());
            }
        }
        "name" | "tag" | "resource" => {
            let Some(text) = value.as_str() else {
                return Err("the type of filter value isn't string".to_owned());
            };
            if kind == "resource" && !matches!(text, "image" | "artifact") {
                return Err(format!("invalid resource filter: {text}"));
            }
        }
        _ => return Err("invalid filter type".to_owned()),
    }
    let decoration = filter["decoration"].as_str().unwrap_or_default();
    if decoration.is_empty() {
        return Ok(());
    }
    if !matches!(kind, "tag" | "label") {
        return Err("only tag and label filter support decoration".to_owned());
    }
    if !matches!(decoration, "matches" | "excludes") {
        return Err(format!("invalid filter decoration, :{decoration}"));
    }
    Ok(())
}

/// Keeps what Harbor keeps of a filter.
fn tidy(filter: &Value) -> Value {
    let mut kept = json!({ "type": filter["type"], "value": filter["value"] });
    if filter["decoration"]
        .as_str()
        .is_some_and(|decoration| !decoration.is_empty())
    {
        kept["decoration"] = filter["decoration"].clone();
    }
    kept
}

fn check_endpoints(state: &State, policy: &Policy) -> Result<(), Reply> {
    for id in [policy.source, policy.destination] {
        if id != 0 && !state.endpoints.contains_key(&id) {
            return Err(endpoints::unknown(id));
        }
    }
    Ok(())
}

fn difference(before: &Policy, after: &Policy) -> String {
    let mut changes = Vec::new();
    let mut compare = |field: &str, before: String, after: String| {
        if before != after {
            changes.push(format!("{field} {before} -> {after}"));
        }
    };
    let trigger = |policy: &Policy| {
        policy
            .trigger
            .as_ref()
            .map_or("none".to_owned(), |trigger| {
                format!("{} {}", trigger.kind, trigger.cron)
            })
    };
    compare("name", before.name.clone(), after.name.clone());
    compare(
        "enabled",
        before.enabled.to_string(),
        after.enabled.to_string(),
    );
    compare(
        "description",
        before.description.clone(),
        after.description.clone(),
    );
    compare("trigger", trigger(before), trigger(after));
    compare(
        "filters",
        before.filters.to_string(),
        after.filters.to_string(),
    );
    compare(
        "source",
        before.source.to_string(),
        after.source.to_string(),
    );
    compare(
        "destination",
        before.destination.to_string(),
        after.destination.to_string(),
    );
    compare(
        "dest_namespace",
        before.dest_namespace.clone(),
        after.dest_namespace.clone(),
    );
    compare(
        "replace count",
        before.replace_count.to_string(),
        after.replace_count.to_string(),
    );
    compare(
        "override",
        before.overwrites.to_string(),
        after.overwrites.to_string(),
    );
    compare(
        "deletion",
        before.deletion.to_string(),
        after.deletion.to_string(),
    );
    compare("speed", before.speed.to_string(), after.speed.to_string());
    compare(
        "copy_by_chunk",
        before.copy_by_chunk.to_string(),
        after.copy_by_chunk.to_string(),
    );
    changes.join(", ")
}

pub(super) fn unknown(id: i64) -> Reply {
    not_found(format!("replication policy {id} not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_follow_the_vectors() {
        let vectors: Value =
            serde_json::from_str(include_str!("../../testdata/filter-vectors.json"))
                .expect("the vectors are JSON");
        for vector in vectors["policy_validation"].as_array().expect("an array") {
            let body = vector["policy"].as_object().expect("an object");
            let world = std::sync::Arc::new(crate::sandbox::lone_world());
            let site = Site::new("primary", ([127, 0, 0, 1], 1).into(), &world);
            let (parts, ()) = axum::http::Request::new(()).into_parts();
            let call = Call::new(site, parts, axum::body::Bytes::new());
            assert_eq!(
                read(&call, body).is_ok(),
                vector["valid"] == true,
                "{vector}"
            );
        }
    }
}
