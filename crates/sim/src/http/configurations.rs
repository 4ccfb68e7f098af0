//! `/systeminfo`, `/configurations`, `/users/current` and the small pages.

use serde_json::{Value, json};

use super::{
    call::{Call, Field},
    reply::{Answer, Reply, precondition, unauthorized},
};
use crate::{clock, site::Principal};

const VERSION: &str = "v2.9.5-672ec4ad";
/// What `/configurations` shows besides the read-only flag, as v2.9.5 had it.
const SETTINGS: &str = include_str!("../../testdata/configurations.json");

/// Logged-in callers see more; wrong credentials give the anonymous view with 200 (seen on v2.9.5).
pub(super) fn system_info(call: &Call) -> Answer {
    let mut info = json!({
        "auth_mode": "db_auth", "banner_message": "", "harbor_version": VERSION,
        "primary_auth_mode": false, "self_registration": false,
    });
    if !call.principal.is_anonymous() {
        let more = json!({
            "current_time": clock::show(call.site.now()), "external_url": call.site.url,
            "has_ca_root": false, "notification_enable": true, "project_creation_restriction": "everyone",
            "read_only": call.site.state().read_only, "registry_storage_provider_name": "filesystem",
            "registry_url": call.site.address.to_string(),
        });
        if let (Some(info), Value::Object(more)) = (info.as_object_mut(), more) {
            info.extend(more);
        }
    }
    Ok(Reply::json(&info))
}

pub(super) fn volumes(call: &Call) -> Answer {
    call.need_system("system-volumes", "read")?;
    let total: u64 = 100 << 30;
    let used: u64 = call
        .site
        .state()
        .blobs
        .values()
        .map(|blob| blob.len() as u64)
        .sum();
    Ok(Reply::json(
        &json!({ "storage": [{ "total": total, "free": total - used }] }),
    ))
}

pub(super) fn current_user(call: &Call) -> Answer {
    let id = match &call.principal {
        Principal::Anonymous => return Err(unauthorized()),
        Principal::Robot(_) => {
            return Err(precondition(
                "get current user not available for security context: robot",
            ));
        }
        Principal::Admin(id) => *id,
        Principal::User(name) => {
            let state = call.site.state();
            state
                .users
                .iter()
                .find(|user| user.name == *name)
                .map_or(0, |user| user.id)
        }
    };
    let state = call.site.state();
    let user = state
        .users
        .iter()
        .find(|user| user.id == id)
        .ok_or_else(unauthorized)?;
    let mut shown = json!({
        "user_id": user.id, "username": user.name, "sysadmin_flag": user.admin, "admin_role_in_auth": false,
        "comment": "", "realname": user.name,
        "creation_time": clock::show(user.created), "update_time": clock::show(user.created),
    });
    if user.admin {
        shown["comment"] = json!("admin user");
        shown["realname"] = json!("system admin");
    } else {
        shown["email"] = json!(format!("{}@example.org", user.name));
    }
    Ok(Reply::json(&shown))
}

pub(super) fn get(call: &Call) -> Answer {
    call.need_admin()?;
    let mut settings: Value =
        serde_json::from_str(SETTINGS).map_err(|_| super::reply::internal())?;
    let state = call.site.state();
    for (key, value) in &state.settings {
        if settings[key].is_object() {
            settings[key]["value"] = value.clone();
        }
    }
    settings["read_only"] = json!({ "editable": true, "value": state.read_only });
    Ok(Reply::json(&settings))
}

/// Changes the keys that are given; unknown ones and nulls are ignored.
pub(super) fn update(call: &Call) -> Answer {
    call.need_admin()?;
    let body = call.object(
        "configurations",
        "Configurations",
        &[("read_only", Field::Bool)],
    )?;
    let mut state = call.site.state();
    let mut effect = Vec::new();
    for (key, value) in body {
        match (key.as_str(), value.as_bool()) {
            (_, None) if value.is_null() => {}
            ("read_only", Some(read_only)) => {
                if read_only != state.read_only {
                    effect.push(format!("read_only {} -> {read_only}", state.read_only));
                }
                state.read_only = read_only;
            }
            _ => {
                effect.push(format!("{key} -> {value}"));
                state.settings.insert(key, value);
            }
        }
    }
    drop(state);
    call.note("configurations", effect.join(", "));
    Ok(Reply::empty(200))
}
