//! Which handler answers which path.

use super::{
    artifacts, auth,
    call::{Call, decode, id_in_path},
    configurations, endpoints, executions, health, jobservice, policies, projects, registry,
    reply::{Answer, Reply, not_found, read_only},
    robots,
};

const PREFIX: &str = "/api/v2.0/";

/// Finds the handler and calls it.
pub(super) async fn route(call: &Call) -> Answer {
    if call.path.starts_with("/service/token") {
        return auth::token(call);
    }
    if call.site.state().read_only && !is_allowed_read_only(call) {
        return Err(read_only());
    }
    if call.path == "/api/version" {
        return Ok(Reply::typed(
            200,
            "text/plain; charset=utf-8",
            "{\"version\":\"v2.0\"}\n",
        ));
    }
    if call.path == "/v2" || call.path.starts_with("/v2/") {
        return registry::route(call);
    }
    let Some(rest) = call.path.strip_prefix(PREFIX) else {
        return Err(Reply::empty(404));
    };
    let raw: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
    let allowed = methods(&raw);
    if allowed.is_empty() {
        return Err(not_found(format!("path {} was not found", call.path)));
    }
    if !allowed.contains(&call.method.as_str()) {
        let message = format!(
            "method {} is not allowed, but [{}] are",
            call.method,
            allowed.join(",")
        );
        return Err(Reply::error(405, "METHOD_NOT_ALLOWED", message));
    }
    match raw[0] {
        "registries" => route_endpoints(call, &raw[1..]).await,
        "replication" => route_replication(call, &raw[1..]),
        "projects" => route_projects(call, &raw[1..]),
        "robots" => route_robots(call, &raw[1..]),
        _ => route_rest(call, &raw),
    }
}

/// The methods that a path takes; none for an unknown one.
fn methods(path: &[&str]) -> &'static [&'static str] {
    const COLLECTION: &[&str] = &["GET", "POST"];
    const ITEM: &[&str] = &["DELETE", "GET", "PUT"];
    const READ: &[&str] = &["GET"];
    match path {
        [
            "ping" | "health" | "systeminfo" | "statistics" | "schedules" | "quotas"
            | "repositories",
        ] => READ,
        ["systeminfo", "volumes"] | ["users", "current"] | ["jobservice", "queues" | "pools"] => {
            READ
        }
        ["configurations"] => &["GET", "PUT"],
        ["users"] => &["POST"],
        ["labels"] => COLLECTION,
        ["quotas", _] => &["PUT"],
        ["registries"] | ["replication", "policies" | "executions"] | ["robots"] => COLLECTION,
        ["registries", "ping"] => &["POST"],
        ["registries", _] | ["replication", "policies", _] => ITEM,
        ["registries", _, "info"] | ["replication", "adapters"] => READ,
        ["replication", "executions", _] => &["GET", "PUT"],
        ["replication", "executions", _, "tasks"]
        | ["replication", "executions", _, "tasks", _, "log"] => READ,
        ["robots", _] => &["DELETE", "GET", "PATCH", "PUT"],
        ["projects"] => &["GET", "HEAD", "POST"],
        ["projects", _] | ["projects", _, "summary" | "repositories"] => READ,
        ["projects", _, "repositories", _] => &["DELETE", "GET"],
        ["projects", _, "repositories", _, "artifacts"] => READ,
        ["projects", _, "repositories", _, "artifacts", _] => &["DELETE", "GET"],
        ["projects", _, "repositories", _, "artifacts", _, "tags"] => COLLECTION,
        ["projects", _, "repositories", _, "artifacts", _, "tags", _] => &["DELETE"],
        ["projects", _, "repositories", _, "artifacts", _, "labels"] => &["POST"],
        _ => &[],
    }
}

async fn route_endpoints(call: &Call, path: &[&str]) -> Answer {
    match (call.method.as_str(), path) {
        ("GET", []) => endpoints::list(call),
        (_, []) => endpoints::create(call).await,
        ("POST", ["ping"]) => endpoints::ping(call).await,
        (method, [id, rest @ ..]) => {
            // Nobody learns about ids without logging in.
            call.need_system("registry", "read")?;
            let id = id_in_path("id", id)?;
            match (method, rest) {
                ("GET", ["info"]) => endpoints::info(call, id),
                ("GET", _) => endpoints::get(call, id),
                ("PUT", _) => endpoints::update(call, id).await,
                _ => endpoints::delete(call, id),
            }
        }
    }
}

fn route_replication(call: &Call, path: &[&str]) -> Answer {
    match (call.method.as_str(), path) {
        (_, ["adapters"]) => {
            call.need_system("replication", "list")?;
            Ok(Reply::json(&serde_json::json!([
                "docker-hub",
                "docker-registry",
                "harbor"
            ])))
        }
        ("GET", ["policies"]) => policies::list(call),
        (_, ["policies"]) => policies::create(call),
        ("GET", ["policies", id]) => policies::get(call, id_in_path("id", id)?),
        ("PUT", ["policies", id]) => policies::update(call, id_in_path("id", id)?),
        (_, ["policies", id]) => policies::delete(call, id_in_path("id", id)?),
        ("GET", ["executions"]) => executions::list(call),
        (_, ["executions"]) => executions::start(call),
        ("GET", ["executions", id]) => executions::get(call, id_in_path("id", id)?),
        (_, ["executions", id, "tasks", task, "log"]) => {
            executions::log(call, id_in_path("id", id)?, id_in_path("task_id", task)?)
        }
        (_, ["executions", id, "tasks"]) => executions::tasks(call, id_in_path("id", id)?),
        (_, [_, id, ..]) => executions::stop(call, id_in_path("id", id)?),
        _ => Err(not_found("page not found")),
    }
}

fn route_robots(call: &Call, path: &[&str]) -> Answer {
    match (call.method.as_str(), path) {
        ("GET", []) => robots::list(call),
        (_, []) => robots::create(call),
        ("GET", [id, ..]) => robots::get(call, id_in_path("robot_id", id)?),
        ("PUT", [id, ..]) => robots::update(call, id_in_path("robot_id", id)?),
        ("PATCH", [id, ..]) => robots::refresh(call, id_in_path("robot_id", id)?),
        (_, [id, ..]) => robots::delete(call, id_in_path("robot_id", id)?),
    }
}

fn route_projects(call: &Call, raw: &[&str]) -> Answer {
    // Decoded twice, as Harbor does: its own links are encoded twice to survive a proxy.
    let path: Vec<String> = raw.iter().map(|part| decode(&decode(part))).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match (call.method.as_str(), &path[..]) {
        ("GET", []) => projects::list(call),
        ("HEAD", []) => projects::head(call),
        (_, []) => projects::create(call),
        (_, [project]) => projects::get(call, project),
        (_, [project, "summary"]) => projects::summary(call, project),
        (_, [project, "repositories"]) => projects::repositories(call, project),
        ("GET", [project, _, name]) => artifacts::repository(call, project, name),
        (_, [project, _, name]) => artifacts::delete_repository(call, project, name),
        (_, [project, _, name, "artifacts"]) => artifacts::list(call, project, name),
        ("GET", [project, _, name, _, reference]) => artifacts::get(call, project, name, reference),
        (_, [project, _, name, _, reference]) => artifacts::delete(call, project, name, reference),
        ("GET", [project, _, name, _, reference, "tags"]) => {
            artifacts::tags(call, project, name, reference)
        }
        (_, [project, _, name, _, reference, "tags"]) => {
            artifacts::create_tag(call, project, name, reference)
        }
        (_, [project, _, name, _, reference, "labels"]) => {
            artifacts::add_label(call, project, name, reference)
        }
        (_, [project, _, name, _, reference, _, tag]) => {
            artifacts::delete_tag(call, project, name, reference, tag)
        }
        _ => Err(not_found("page not found")),
    }
}

fn route_rest(call: &Call, path: &[&str]) -> Answer {
    match (call.method.as_str(), path) {
        (_, ["ping"]) => Ok(Reply::text("Pong")),
        (_, ["health"]) => health::health(call),
        (_, ["systeminfo"]) => configurations::system_info(call),
        (_, ["systeminfo", "volumes"]) => configurations::volumes(call),
        (_, ["statistics"]) => projects::statistics(call),
        (_, ["users", "current"]) => configurations::current_user(call),
        (_, ["users"]) => projects::create_user(call),
        ("GET", ["configurations"]) => configurations::get(call),
        (_, ["configurations"]) => configurations::update(call),
        (_, ["schedules"]) => jobservice::schedules(call),
        (_, ["jobservice", "queues"]) => jobservice::queues(call),
        (_, ["jobservice", "pools"]) => jobservice::pools(call),
        (_, ["repositories"]) => projects::all_repositories(call),
        ("GET", ["labels"]) => projects::labels(call),
        (_, ["labels"]) => projects::create_label(call),
        (_, ["quotas"]) => projects::quotas(call),
        (_, ["quotas", id]) => projects::set_quota(call, id_in_path("id", id)?),
        _ => Err(not_found("page not found")),
    }
}

/// What a read-only Harbor takes besides reads (seen on v2.9.5): the configuration, logins and tokens.
fn is_allowed_read_only(call: &Call) -> bool {
    call.is_safe() || call.path == "/api/v2.0/configurations" || call.path == "/c/login"
}
