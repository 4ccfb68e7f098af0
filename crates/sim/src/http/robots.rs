//! `/robots`.

use serde_json::{Value, json};

use super::{
    call::{Call, Field, check_name, flag, text},
    listing,
    reply::{Answer, Reply, bad_request, conflict, not_found},
};
use crate::{
    clock,
    model::{Robot, State},
    site::Principal,
};

const FIELDS: [(&str, Field); 6] = [
    ("name", Field::Text),
    ("description", Field::Text),
    ("duration", Field::Int64),
    ("level", Field::Text),
    ("disable", Field::Bool),
    ("secret", Field::Text),
];
const KEYS: [&str; 6] = [
    "id",
    "level",
    "disable",
    "creation_time",
    "update_time",
    "expires_at",
];
const NAME_MESSAGE: &str = "robot name is not in lower case or contains illegal characters";
/// What a duration of 0 means.
const DEFAULT_DURATION_DAYS: i64 = 30;
const DAY_SECONDS: i64 = 86_400;

pub(super) fn list(call: &Call) -> Answer {
    call.need_system("robot", "list")?;
    // The name is matched without its prefix (seen on v2.9.5), so before the items are shown.
    let q = call.param("q").unwrap_or_default();
    let pairs: Vec<(&str, &str)> = q
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .collect();
    let wanted = |key: &str| {
        pairs
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| *value)
    };
    let level = wanted("level").unwrap_or("system");
    let state = call.site.state();
    let mut robots: Vec<&Robot> = state.robots.values().collect();
    robots.sort_by(|a, b| a.name.cmp(&b.name));
    let items = robots
        .into_iter()
        .filter(|robot| robot.level == level)
        .filter(|robot| match wanted("name") {
            None => true,
            Some(name) => match name.strip_prefix('~') {
                Some(part) => robot.name.contains(part),
                None => robot.name == name,
            },
        })
        .map(show)
        .collect();
    drop(state);
    listing::list(call, items, &KEYS)
}

pub(super) fn get(call: &Call, id: i64) -> Answer {
    call.need_system("robot", "read")?;
    call.site
        .state()
        .robots
        .get(&id)
        .map(|robot| Reply::json(&show(robot)))
        .ok_or_else(|| unknown(id))
}

pub(super) fn create(call: &Call) -> Answer {
    if let Principal::Anonymous = call.principal {
        call.need_system("robot", "create")?;
    }
    let body = call.object("robot", "RobotCreate", &FIELDS)?;
    call.need_system("robot", "create")?;
    let (name, level) = (text(&body, "name"), text(&body, "level"));
    let permissions = body.get("permissions").cloned().unwrap_or(Value::Null);
    let duration = body.get("duration").and_then(Value::as_i64).unwrap_or(0);
    let mut state = call.site.state();
    check_name(&name, NAME_MESSAGE)?;
    check(&state, &level, duration, &permissions)?;
    let full = match level.as_str() {
        "project" => format!(
            "{}+{name}",
            permissions[0]["namespace"].as_str().unwrap_or_default()
        ),
        _ => name.clone(),
    };
    let id = state.next_id("robot");
    if state.robots.values().any(|robot| robot.name == full) {
        return Err(conflict(format!("robot account 0:{name} already exists")));
    }
    let now = call.site.now();
    let duration_days = if duration == 0 {
        DEFAULT_DURATION_DAYS
    } else {
        duration
    };
    let robot = Robot {
        id,
        name: full,
        secret: clock::password(),
        description: text(&body, "description"),
        // `disable` is ignored at creation (seen on v2.9.5).
        disabled: false,
        duration_days,
        expires_at: expiry(now.as_second(), duration_days),
        level,
        permissions,
        created: now,
        updated: now,
    };
    let made = json!({
        "id": id, "name": robot.full_name(), "secret": robot.secret,
        "creation_time": clock::show(now), "expires_at": robot.expires_at,
    });
    call.note(format!("robot {}", robot.name), "absent -> created");
    state.robots.insert(id, robot);
    let mut reply = Reply::json(&made).with("location", format!("/api/v2.0/robots/{id}"));
    reply.status = 201;
    Ok(reply)
}

/// Replaces a robot's document; name and level must be the stored ones.
pub(super) fn update(call: &Call, id: i64) -> Answer {
    call.need_system("robot", "update")?;
    let body = call.object("robot", "Robot", &FIELDS)?;
    let mut state = call.site.state();
    let before = state.robots.get(&id).cloned().ok_or_else(|| unknown(id))?;
    call.note(format!("robot {}", before.name), "");
    let level = text(&body, "level");
    let duration = body.get("duration").and_then(Value::as_i64).unwrap_or(0);
    let permissions = body.get("permissions").cloned().unwrap_or(Value::Null);
    check(&state, &level, duration, &permissions)?;
    if level != before.level || text(&body, "name") != before.full_name() {
        return Err(bad_request("cannot update the level or name of robot"));
    }
    let duration_days = if duration == 0 {
        before.duration_days
    } else {
        duration
    };
    let after = Robot {
        description: text(&body, "description"),
        disabled: flag(&body, "disable"),
        expires_at: if duration_days == before.duration_days {
            before.expires_at
        } else {
            expiry(before.created.as_second(), duration_days)
        },
        duration_days,
        permissions,
        updated: call.site.now(),
        ..before.clone()
    };
    call.note(
        format!("robot {}", before.name),
        difference(&before, &after),
    );
    state.robots.insert(id, after);
    Ok(Reply::empty(200))
}

/// Sets a new secret: the one given, or a generated one, which the answer shows.
pub(super) fn refresh(call: &Call, id: i64) -> Answer {
    call.need_system("robot", "update")?;
    let body = call.object("robot_sec", "RobotSec", &[("secret", Field::Text)])?;
    let mut state = call.site.state();
    let robot = state.robots.get_mut(&id).ok_or_else(|| unknown(id))?;
    let given = text(&body, "secret");
    call.note(format!("robot {}", robot.name), "");
    let answer = if given.is_empty() {
        robot.secret = clock::password();
        json!({ "secret": robot.secret })
    } else {
        let has = |test: fn(&char) -> bool| given.chars().any(|c| test(&c));
        let strong = (8..=128).contains(&given.len())
            && has(char::is_ascii_uppercase)
            && has(char::is_ascii_lowercase)
            && has(char::is_ascii_digit);
        if !strong {
            return Err(bad_request(
                "the secret must be 8-128, inclusively, characters long with at least 1 uppercase letter, 1 lowercase letter and 1 number",
            ));
        }
        robot.secret = given;
        json!({})
    };
    robot.updated = call.site.now();
    call.note(format!("robot {}", robot.name), "secret replaced");
    Ok(Reply::json(&answer))
}

pub(super) fn delete(call: &Call, id: i64) -> Answer {
    call.need_system("robot", "delete")?;
    let robot = call
        .site
        .state()
        .robots
        .remove(&id)
        .ok_or_else(|| unknown(id))?;
    call.note(format!("robot {}", robot.name), "present -> deleted");
    Ok(Reply::empty(200))
}

fn check(state: &State, level: &str, duration: i64, permissions: &Value) -> Result<(), Reply> {
    if duration < -1 {
        return Err(bad_request(format!(
            "bad request error duration input: {duration}"
        )));
    }
    if !matches!(level, "system" | "project") {
        return Err(bad_request(format!(
            "bad request error level input: {level}"
        )));
    }
    let entries = permissions.as_array().filter(|entries| !entries.is_empty());
    for entry in entries.ok_or_else(|| bad_request("bad request empty permission"))? {
        let namespace = entry["namespace"].as_str().unwrap_or_default();
        match entry["kind"].as_str() {
            Some("system") => {}
            Some("project") if namespace == "*" || state.project(namespace).is_some() => {}
            Some("project") => return Err(not_found(format!("project {namespace} not found"))),
            _ => return Err(bad_request("unknown robot kind")),
        }
    }
    Ok(())
}

fn show(robot: &Robot) -> Value {
    let mut shown = json!({
        "id": robot.id, "name": robot.full_name(), "level": robot.level, "duration": robot.duration_days,
        "disable": robot.disabled, "editable": true, "expires_at": robot.expires_at,
        "permissions": robot.permissions,
        "creation_time": clock::show(robot.created), "update_time": clock::show(robot.updated),
    });
    if !robot.description.is_empty() {
        shown["description"] = json!(robot.description);
    }
    shown
}

fn difference(before: &Robot, after: &Robot) -> String {
    let mut changes = Vec::new();
    if before.disabled != after.disabled {
        changes.push(format!("disable {} -> {}", before.disabled, after.disabled));
    }
    if before.permissions != after.permissions {
        changes.push("permissions changed".to_owned());
    }
    if before.description != after.description {
        changes.push(format!(
            "description {} -> {}",
            before.description, after.description
        ));
    }
    if before.duration_days != after.duration_days {
        changes.push(format!(
            "duration {} -> {}",
            before.duration_days, after.duration_days
        ));
    }
    changes.join(", ")
}

fn expiry(from_seconds: i64, days: i64) -> i64 {
    if days == -1 {
        -1
    } else {
        from_seconds + days * DAY_SECONDS
    }
}

fn unknown(id: i64) -> Reply {
    not_found(format!("robot {id} not found"))
}
