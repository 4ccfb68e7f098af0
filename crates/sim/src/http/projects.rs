//! Projects, repositories, labels, quotas and users.

use serde_json::{Value, json};

use super::{
    artifacts,
    call::{Call, Field, check_name, text},
    listing,
    reply::{Answer, Reply, bad_request, conflict, not_found, unauthorized},
};
use crate::{
    clock,
    model::{Label, Project, State, User},
    site::Principal,
};

const KEYS: [&str; 5] = [
    "project_id",
    "name",
    "owner_id",
    "creation_time",
    "update_time",
];

/// Everybody gets 200; who has no rights sees the public ones only (seen on v2.9.5).
pub(super) fn list(call: &Call) -> Answer {
    let name = call.param("name").unwrap_or_default();
    let state = call.site.state();
    let items = state
        .projects
        .values()
        .filter(|project| project.name.contains(&name) && sees(&call.principal, project))
        .map(|project| show(&state, &call.principal, project))
        .collect();
    drop(state);
    listing::list(call, items, &KEYS)
}

pub(super) fn head(call: &Call) -> Answer {
    let name = call.param("project_name").unwrap_or_default();
    match call.site.state().project(&name) {
        _ if call.principal.is_anonymous() => Err(unauthorized()),
        Some(_) => Ok(Reply::empty(200)),
        None => Err(unknown(&name)),
    }
}

pub(super) fn create(call: &Call) -> Answer {
    if call.principal.is_anonymous() {
        return Err(unauthorized());
    }
    let body = call.object(
        "project",
        "ProjectReq",
        &[("project_name", Field::Text), ("metadata", Field::Object)],
    )?;
    let name = text(&body, "project_name");
    check_name(
        &name,
        "project name is not in lower case or contains illegal characters",
    )?;
    let public = body
        .get("metadata")
        .is_some_and(|metadata| metadata["public"] == "true")
        || body.get("public").and_then(Value::as_bool).unwrap_or(false);
    call.note(format!("project {name}"), "");
    let id = make(&mut call.site.state(), &name, public, call.site.now())
        .ok_or_else(|| conflict(format!("The project named {name} already exists")))?;
    call.note(format!("project {name}"), "absent -> created");
    Ok(Reply::created(format!("/api/v2.0/projects/{id}")))
}

/// Makes a project; `None` when the name is taken.
pub(crate) fn make(
    state: &mut State,
    name: &str,
    public: bool,
    now: jiff::Timestamp,
) -> Option<i64> {
    if state.project(name).is_some() {
        return None;
    }
    let id = state.next_id("project");
    state.projects.insert(
        id,
        Project {
            id,
            name: name.to_owned(),
            public,
            quota: -1,
            created: now,
        },
    );
    Some(id)
}

pub(super) fn get(call: &Call, name: &str) -> Answer {
    let state = call.site.state();
    let by_name = call
        .headers
        .get("x-is-resource-name")
        .is_some_and(|value| value == "true");
    let by_id = name
        .parse::<i64>()
        .ok()
        .filter(|_| !by_name)
        .and_then(|id| state.projects.get(&id));
    let project = match by_id.or_else(|| state.project(name)) {
        Some(project) => project,
        None if call.principal.is_anonymous() => return Err(unauthorized()),
        None => return Err(unknown(name)),
    };
    call.need_project(&project.name, project.public, "project", "read")
        .or_else(|refusal| {
            if sees(&call.principal, project) {
                Ok(())
            } else {
                Err(refusal)
            }
        })?;
    Ok(Reply::json(&show(&state, &call.principal, project)))
}

pub(super) fn summary(call: &Call, name: &str) -> Answer {
    let state = call.site.state();
    let project = state.project(name).ok_or_else(|| unknown(name))?;
    call.need_project(name, project.public, "project", "read")?;
    Ok(Reply::json(&json!({
        "repo_count": count_repositories(&state, project.id), "project_admin_count": 1,
        "quota": { "hard": { "storage": project.quota }, "used": { "storage": state.storage_of(project.id) } },
    })))
}

pub(super) fn repositories(call: &Call, name: &str) -> Answer {
    let state = call.site.state();
    let project = state.project(name).ok_or_else(|| unknown(name))?;
    call.need_project(name, project.public, "repository", "list")?;
    let items = state
        .repositories
        .values()
        .filter(|repository| repository.project == project.id);
    let items = newest_first(items.map(artifacts::show_repository).collect());
    drop(state);
    listing::list(
        call,
        items,
        &[
            "id",
            "name",
            "creation_time",
            "update_time",
            "artifact_count",
        ],
    )
}

pub(super) fn all_repositories(call: &Call) -> Answer {
    let state = call.site.state();
    let visible = |repository: &&crate::model::Repository| {
        state
            .projects
            .get(&repository.project)
            .is_some_and(|project| sees(&call.principal, project))
    };
    let items = newest_first(
        state
            .repositories
            .values()
            .filter(visible)
            .map(artifacts::show_repository)
            .collect(),
    );
    drop(state);
    listing::list(
        call,
        items,
        &[
            "id",
            "name",
            "creation_time",
            "update_time",
            "artifact_count",
        ],
    )
}

pub(super) fn statistics(call: &Call) -> Answer {
    if call.principal.is_anonymous() {
        return Err(unauthorized());
    }
    let state = call.site.state();
    let projects = |public: bool| {
        state
            .projects
            .values()
            .filter(move |project| project.public == public)
    };
    let repositories = |public: bool| {
        projects(public)
            .map(|project| count_repositories(&state, project.id))
            .sum::<usize>()
    };
    let storage: u64 = state.projects.keys().map(|id| state.storage_of(*id)).sum();
    Ok(Reply::json(&json!({
        "private_project_count": projects(false).count(), "private_repo_count": repositories(false),
        "public_project_count": projects(true).count(), "public_repo_count": repositories(true),
        "total_project_count": state.projects.len(), "total_repo_count": state.repositories.len(),
        "total_storage_consumption": storage,
    })))
}

pub(super) fn labels(call: &Call) -> Answer {
    let Some(scope) = call
        .param("scope")
        .filter(|scope| scope == "g" || scope == "p")
    else {
        return Err(bad_request("invalid scope: "));
    };
    let project = call.number("project_id")?.unwrap_or(0);
    let name = call.param("name").unwrap_or_default();
    let state = call.site.state();
    let items = state
        .labels
        .values()
        .filter(|label| label.scope == scope && label.name.contains(&name))
        .filter(|label| scope == "g" || label.project == project)
        .map(show_label)
        .collect();
    drop(state);
    listing::list(call, items, &["id", "name"])
}

pub(super) fn create_label(call: &Call) -> Answer {
    call.need_admin()?;
    let body = call.object(
        "label",
        "Label",
        &[
            ("name", Field::Text),
            ("scope", Field::Text),
            ("project_id", Field::Int64),
        ],
    )?;
    let name = text(&body, "name");
    let scope = text(&body, "scope");
    let project = body.get("project_id").and_then(Value::as_i64).unwrap_or(0);
    let mut state = call.site.state();
    call.note(format!("label {name}"), "");
    if state
        .labels
        .values()
        .any(|label| label.name == name && label.scope == scope && label.project == project)
    {
        return Err(conflict(format!("label {name} already exists")));
    }
    let id = state.next_id("label");
    let label = Label {
        id,
        name: name.clone(),
        description: text(&body, "description"),
        color: text(&body, "color"),
        scope,
        project,
        created: call.site.now(),
    };
    state.labels.insert(id, label);
    call.note(format!("label {name}"), "absent -> created");
    Ok(Reply::created(format!("/api/v2.0/labels/{id}")))
}

pub(super) fn quotas(call: &Call) -> Answer {
    call.need_system("quota", "list")?;
    let project = call.param("reference_id");
    let state = call.site.state();
    let items = state
        .projects
        .values()
        .filter(|one| {
            project
                .as_deref()
                .is_none_or(|project| one.id.to_string() == project)
        })
        .map(|one| {
            json!({
                "id": one.id, "ref": { "id": one.id, "name": one.name, "owner_name": "admin" },
                "hard": { "storage": one.quota }, "used": { "storage": state.storage_of(one.id) },
                "creation_time": clock::show(one.created), "update_time": clock::show(one.created),
            })
        })
        .collect();
    drop(state);
    listing::list(call, items, &["id"])
}

pub(super) fn set_quota(call: &Call, id: i64) -> Answer {
    call.need_admin()?;
    let body = call.object("hard", "QuotaUpdateReq", &[("hard", Field::Object)])?;
    let storage = body
        .get("hard")
        .and_then(|hard| hard["storage"].as_i64())
        .unwrap_or(-1);
    let mut state = call.site.state();
    let project = state
        .projects
        .get_mut(&id)
        .ok_or_else(|| not_found(format!("quota {id} not found")))?;
    call.note(
        format!("quota of {}", project.name),
        format!("storage {} -> {storage}", project.quota),
    );
    project.quota = storage;
    Ok(Reply::empty(200))
}

pub(super) fn create_user(call: &Call) -> Answer {
    call.need_admin()?;
    let body = call.object(
        "userReq",
        "UserCreationReq",
        &[("username", Field::Text), ("password", Field::Text)],
    )?;
    let name = text(&body, "username");
    let mut state = call.site.state();
    call.note(format!("user {name}"), "");
    if state.users.iter().any(|user| user.name == name) {
        return Err(conflict(format!("user {name} or email already exists")));
    }
    // Number 2 is taken by Harbor itself: the first user made is number 3.
    let id = state
        .users
        .iter()
        .map(|user| user.id)
        .max()
        .unwrap_or(0)
        .max(2)
        + 1;
    state.users.push(User {
        id,
        name: name.clone(),
        password: text(&body, "password"),
        admin: false,
        created: call.site.now(),
    });
    call.note(format!("user {name}"), "absent -> created");
    Ok(Reply::created(format!("/api/v2.0/users/{id}")))
}

/// Whether a project is in somebody's lists.
pub(crate) fn sees(principal: &Principal, project: &Project) -> bool {
    match principal {
        Principal::Admin(_) => true,
        Principal::Robot(robot) => {
            let named = robot
                .permissions
                .as_array()
                .into_iter()
                .flatten()
                .any(|entry| {
                    entry["kind"] == "project"
                        && (entry["namespace"] == "*"
                            || entry["namespace"] == project.name.as_str())
                });
            named || project.public
        }
        _ => project.public,
    }
}

pub(super) fn unknown(name: &str) -> Reply {
    not_found(format!("project {name} not found"))
}

pub(super) fn show_label(label: &Label) -> Value {
    let mut shown = json!({
        "id": label.id, "name": label.name, "scope": label.scope, "color": label.color,
        "creation_time": clock::show(label.created), "update_time": clock::show(label.created),
    });
    if !label.description.is_empty() {
        shown["description"] = json!(label.description);
    }
    if label.project != 0 {
        shown["project_id"] = json!(label.project);
    }
    shown
}

fn show(state: &State, principal: &Principal, project: &Project) -> Value {
    let mut shown = json!({
        "project_id": project.id, "name": project.name, "owner_id": 1, "owner_name": "admin",
        "metadata": { "public": project.public.to_string() },
        "repo_count": count_repositories(state, project.id), "current_user_role_ids": null,
        "cve_allowlist": {
            "id": project.id, "project_id": project.id, "items": [],
            "creation_time": clock::ZERO_TIME, "update_time": clock::ZERO_TIME,
        },
        "creation_time": clock::show(project.created), "update_time": clock::show(project.created),
    });
    if let Principal::Admin(_) = principal {
        shown["current_user_role_id"] = json!(1);
        shown["current_user_role_ids"] = json!([1]);
    }
    shown
}

fn count_repositories(state: &State, project: i64) -> usize {
    state
        .repositories
        .values()
        .filter(|repository| repository.project == project)
        .count()
}

fn newest_first(mut items: Vec<Value>) -> Vec<Value> {
    items.sort_by_key(|item| std::cmp::Reverse(item["id"].as_i64()));
    items
}
