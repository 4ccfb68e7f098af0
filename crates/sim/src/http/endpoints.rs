//! `/registries`: the endpoints that policies replicate from and to.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    call::{Call, Field, flag, text},
    listing,
    reply::{Answer, Reply, bad_request, conflict, internal, not_found, precondition},
};
use crate::{clock, model::Endpoint, site::Site};

const FLAT: [(&str, Field); 7] = [
    ("name", Field::Text),
    ("description", Field::Text),
    ("url", Field::Text),
    ("insecure", Field::Bool),
    ("credential_type", Field::Text),
    ("access_key", Field::Text),
    ("access_secret", Field::Text),
];
const KEYS: [&str; 6] = ["id", "name", "url", "type", "creation_time", "update_time"];
/// Harbor tries a wrong password twice.
const UNHEALTHY_DELAY: Duration = Duration::from_secs(3);

pub(super) fn list(call: &Call) -> Answer {
    call.need_system("registry", "list")?;
    let name = call.param("name").unwrap_or_default();
    let state = call.site.state();
    let items = state
        .endpoints
        .values()
        .filter(|endpoint| endpoint.name.contains(&name))
        .map(show)
        .collect();
    drop(state);
    listing::list(call, items, &KEYS)
}

pub(super) fn get(call: &Call, id: i64) -> Answer {
    call.need_system("registry", "read")?;
    if id == 0 {
        return Ok(Reply::json(&local(&call.site)));
    }
    let state = call.site.state();
    state
        .endpoints
        .get(&id)
        .map(|endpoint| Reply::json(&show(endpoint)))
        .ok_or_else(|| unknown(id))
}

/// Makes an endpoint, after the other side was contacted.
pub(super) async fn create(call: &Call) -> Answer {
    call.need_system("registry", "create")?;
    let fields = [
        ("name", Field::Text),
        ("type", Field::Text),
        ("url", Field::Text),
        ("credential", Field::Object),
    ];
    let body = call.object("registry", "Registry", &fields)?;
    let (name, kind) = (text(&body, "name"), text(&body, "type"));
    if name.is_empty() {
        return Err(bad_request("name cannot be empty"));
    }
    let url = tidy_url(&text(&body, "url"))?;
    let empty = Map::new();
    let credential = body
        .get("credential")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let now = call.site.now();
    let mut endpoint = Endpoint {
        id: 0,
        name,
        description: text(&body, "description"),
        kind,
        url,
        insecure: flag(&body, "insecure"),
        access_key: text(credential, "access_key"),
        access_secret: text(credential, "access_secret"),
        status: "healthy".to_owned(),
        created: now,
        updated: now,
    };
    call.note(format!("endpoint {}", endpoint.name), "");
    contact(&call.site, &endpoint).await?;
    let mut state = call.site.state();
    endpoint.id = state.next_id("endpoint");
    if state
        .endpoints
        .values()
        .any(|other| other.name == endpoint.name)
    {
        return Err(conflict(format!(
            "registry {} already exists",
            endpoint.name
        )));
    }
    call.note(format!("endpoint {}", endpoint.name), "absent -> created");
    let id = endpoint.id;
    state.endpoints.insert(id, endpoint);
    Ok(Reply::created(format!("/api/v2.0/registries/{id}")))
}

/// Changes the fields that are given, after the other side was contacted with them.
pub(super) async fn update(call: &Call, id: i64) -> Answer {
    call.need_system("registry", "update")?;
    let body = call.object("registry", "RegistryUpdate", &FLAT)?;
    let mut endpoint = call
        .site
        .state()
        .endpoints
        .get(&id)
        .cloned()
        .ok_or_else(|| unknown(id))?;
    call.note(format!("endpoint {}", endpoint.name), "");
    merge(&mut endpoint, &body)?;
    endpoint.updated = call.site.now();
    contact(&call.site, &endpoint).await?;
    let fields: Vec<&str> = body.keys().map(String::as_str).collect();
    call.note(
        format!("endpoint {}", endpoint.name),
        format!("changed {}", fields.join(", ")),
    );
    call.site.state().endpoints.insert(id, endpoint);
    Ok(Reply::empty(200))
}

pub(super) fn delete(call: &Call, id: i64) -> Answer {
    call.need_system("registry", "delete")?;
    let mut state = call.site.state();
    let name = state
        .endpoints
        .get(&id)
        .ok_or_else(|| unknown(id))?
        .name
        .clone();
    call.note(format!("endpoint {name}"), "");
    if state
        .policies
        .values()
        .any(|policy| policy.source == id || policy.destination == id)
    {
        return Err(precondition(format!(
            "the registry {id} is referenced by replication policies, cannot delete it"
        )));
    }
    state.endpoints.remove(&id);
    call.note(format!("endpoint {name}"), "present -> deleted");
    Ok(Reply::empty(200))
}

/// The live check of an endpoint: 200, 400 for bad credentials, 500 when nothing listens.
pub(super) async fn ping(call: &Call) -> Answer {
    call.need_system("registry", "read")?;
    let mut fields = vec![("id", Field::Int64), ("type", Field::Text)];
    fields.extend(FLAT);
    let body = call.object("registry", "RegistryPing", &fields)?;
    let mut endpoint = match body.get("id").and_then(Value::as_i64) {
        Some(id) => call
            .site
            .state()
            .endpoints
            .get(&id)
            .cloned()
            .ok_or_else(|| unknown(id))?,
        None => blank(&text(&body, "type"), call.site.now()),
    };
    merge(&mut endpoint, &body)?;
    contact(&call.site, &endpoint).await?;
    Ok(Reply::empty(200))
}

pub(super) fn info(call: &Call, id: i64) -> Answer {
    call.need_system("registry", "read")?;
    let kind = match id {
        0 => "harbor".to_owned(),
        _ => {
            let endpoint = call
                .site
                .state()
                .endpoints
                .get(&id)
                .cloned()
                .ok_or_else(|| unknown(id))?;
            peer(&call.site, &endpoint).ok_or_else(internal)?;
            endpoint.kind
        }
    };
    let mut triggers = vec!["manual", "scheduled"];
    if id == 0 {
        triggers.push("event_based");
    }
    Ok(Reply::json(&json!({
        "type": kind, "supported_copy_by_chunk": true, "supported_triggers": triggers,
        "supported_resource_filters": [
            { "style": "input", "type": "name", "values": null },
            { "style": "input", "type": "tag", "values": null },
            { "style": "list", "type": "label", "values": null },
            { "style": "radio", "type": "resource", "values": ["image", "artifact"] },
        ],
    })))
}

/// An endpoint as answers show it, its secret masked.
pub(crate) fn show(endpoint: &Endpoint) -> Value {
    let mut shown = json!({
        "id": endpoint.id, "name": endpoint.name, "type": endpoint.kind, "url": endpoint.url,
        "status": endpoint.status,
        "creation_time": clock::show(endpoint.created), "update_time": clock::show(endpoint.updated),
    });
    if !endpoint.access_key.is_empty() {
        shown["credential"] =
            json!({ "type": "basic", "access_key": endpoint.access_key, "access_secret": "*****" });
    }
    if endpoint.insecure {
        shown["insecure"] = json!(true);
    }
    if !endpoint.description.is_empty() {
        shown["description"] = json!(endpoint.description);
    }
    shown
}

/// The made-up endpoint that stands for this Harbor itself.
pub(crate) fn local(site: &Site) -> Value {
    json!({
        "id": 0, "name": "Local", "type": "harbor", "url": site.url, "status": "healthy", "insecure": true,
        "credential": { "type": "secret", "access_secret": "*****" },
        "creation_time": clock::ZERO_TIME, "update_time": clock::ZERO_TIME,
    })
}

/// The site behind an endpoint, when it answers.
pub(crate) fn peer(site: &Site, endpoint: &Endpoint) -> Option<std::sync::Arc<Site>> {
    site.world()?
        .site_at(&endpoint.url)
        .filter(|peer| peer.is_reachable())
}

async fn contact(site: &Site, endpoint: &Endpoint) -> Result<(), Reply> {
    if endpoint.kind != "harbor" {
        return Err(internal());
    }
    let peer = peer(site, endpoint).ok_or_else(internal)?;
    let known = !peer
        .log_in(&endpoint.access_key, &endpoint.access_secret)
        .is_anonymous();
    if !known || peer.component_down("database") {
        site.sleep(UNHEALTHY_DELAY).await;
        return Err(bad_request("the registry is unhealthy"));
    }
    Ok(())
}

fn merge(endpoint: &mut Endpoint, body: &Map<String, Value>) -> Result<(), Reply> {
    let given = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
    if let Some(url) = given("url") {
        endpoint.url = tidy_url(&url)?;
    }
    for (field, slot) in [
        ("name", &mut endpoint.name),
        ("description", &mut endpoint.description),
        ("access_key", &mut endpoint.access_key),
        ("access_secret", &mut endpoint.access_secret),
        ("type", &mut endpoint.kind),
    ] {
        if let Some(value) = given(field) {
            *slot = value;
        }
    }
    if let Some(insecure) = body.get("insecure").and_then(Value::as_bool) {
        endpoint.insecure = insecure;
    }
    Ok(())
}

fn blank(kind: &str, now: Timestamp) -> Endpoint {
    Endpoint {
        id: 0,
        name: String::new(),
        description: String::new(),
        kind: kind.to_owned(),
        url: String::new(),
        insecure: false,
        access_key: String::new(),
        access_secret: String::new(),
        status: "healthy".to_owned(),
        created: now,
        updated: now,
    }
}

fn tidy_url(url: &str) -> Result<String, Reply> {
    let url = url.trim().trim_end_matches('/');
    if url.is_empty() {
        return Err(bad_request("empty string"));
    }
    Ok(if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    })
}

pub(super) fn unknown(id: i64) -> Reply {
    not_found(format!("registry {id} not found"))
}
