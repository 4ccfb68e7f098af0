//! `/health`: a cached view of the parts of a site.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    call::Call,
    reply::{Answer, Reply},
};
use crate::site::{Site, lock};

const COMPONENTS: [&str; 7] = [
    "core",
    "database",
    "jobservice",
    "portal",
    "redis",
    "registry",
    "registryctl",
];
/// How often each part is probed.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// What the probes saw last.
#[derive(Debug, Default)]
pub(crate) struct Seen(Option<(Instant, BTreeMap<&'static str, String>)>);

/// The answer is 200 also when something is unhealthy, and the same for everybody.
pub(super) fn health(call: &Call) -> Answer {
    let errors = errors(&call.site);
    let components: Vec<Value> = COMPONENTS
        .iter()
        .map(|name| match errors.get(name) {
            None => json!({ "name": name, "status": "healthy" }),
            Some(error) => json!({ "name": name, "status": "unhealthy", "error": error }),
        })
        .collect();
    let status = if errors.is_empty() {
        "healthy"
    } else {
        "unhealthy"
    };
    Ok(Reply::json(
        &json!({ "status": status, "components": components }),
    ))
}

fn errors(site: &Site) -> BTreeMap<&'static str, String> {
    let period = site
        .world()
        .map_or(PROBE_EVERY, |world| world.clock.real(PROBE_EVERY));
    let mut seen = lock(&site.health);
    if let Some((at, errors)) = &seen.0
        && at.elapsed() < period
    {
        return errors.clone();
    }
    let fresh = probe(site);
    seen.0 = Some((Instant::now(), fresh.clone()));
    fresh
}

fn probe(site: &Site) -> BTreeMap<&'static str, String> {
    let host = site.address.ip();
    let refused = |path: &str, port: u16| {
        format!(
            "failed to check health: Get \"http://{host}:{port}{path}\": dial tcp {host}:{port}: connect: connection refused"
        )
    };
    let mut errors = BTreeMap::new();
    for name in COMPONENTS {
        let error = match name {
            "database" => {
                format!(
                    "failed to run SQL \"SELECT 1\": failed to connect to `host={host} user=postgres database=registry`: dial error (dial tcp {host}:5432: connect: connection refused)"
                )
            }
            "redis" => {
                format!("failed to check health: dial tcp {host}:6379: connect: connection refused")
            }
            "registry" => refused("/", 5000),
            "registryctl" => refused("/api/health", 8080),
            "jobservice" => refused("/api/v1/stats", 8888),
            _ => refused("", 8081),
        };
        if site.component_down(name) {
            errors.insert(name, error);
        }
    }
    if site.component_down("redis") {
        let error = "received unexpected status code: 500 {\"code\":10004,\"message\":\"check stats of server failed with error\"}";
        errors.insert("jobservice", error.to_owned());
    }
    errors
}
