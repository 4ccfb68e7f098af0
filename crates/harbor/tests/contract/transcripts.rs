//! Every recorded exchange that belongs to a call of ours, answered again by a server that replays it: the
//! call has to read each recorded answer and to sort each recorded error.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use runbook_harbor::oci::{self, Login};
use runbook_harbor::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::server::{Reply, Request, Server, always};

const FILES: &[(&str, &str)] = &[
    (
        "errors-auth",
        include_str!("../../testdata/transcripts/errors-auth.jsonl"),
    ),
    (
        "executions-running-stop",
        include_str!("../../testdata/transcripts/executions-running-stop.jsonl"),
    ),
    (
        "executions",
        include_str!("../../testdata/transcripts/executions.jsonl"),
    ),
    (
        "failed-then-retried",
        include_str!("../../testdata/transcripts/failed-then-retried.jsonl"),
    ),
    (
        "filters-effect",
        include_str!("../../testdata/transcripts/filters-effect.jsonl"),
    ),
    (
        "first-replication",
        include_str!("../../testdata/transcripts/first-replication.jsonl"),
    ),
    (
        "health",
        include_str!("../../testdata/transcripts/health.jsonl"),
    ),
    (
        "policies",
        include_str!("../../testdata/transcripts/policies.jsonl"),
    ),
    (
        "read-only-replication",
        include_str!("../../testdata/transcripts/read-only-replication.jsonl"),
    ),
    (
        "read-only-source",
        include_str!("../../testdata/transcripts/read-only-source.jsonl"),
    ),
    (
        "read-only",
        include_str!("../../testdata/transcripts/read-only.jsonl"),
    ),
    (
        "registries",
        include_str!("../../testdata/transcripts/registries.jsonl"),
    ),
    (
        "robot-endpoints",
        include_str!("../../testdata/transcripts/robot-endpoints.jsonl"),
    ),
    (
        "robots",
        include_str!("../../testdata/transcripts/robots.jsonl"),
    ),
    (
        "scheduled",
        include_str!("../../testdata/transcripts/scheduled.jsonl"),
    ),
    (
        "setup",
        include_str!("../../testdata/transcripts/setup.jsonl"),
    ),
    (
        "verification",
        include_str!("../../testdata/transcripts/verification.jsonl"),
    ),
];

/// Calls that were recorded and that this client does not have.
const NOT_OURS: &[&str] = &[
    "/api/v1.0/",
    "/api/version",
    "/api/v2.0/jobservice/",
    "/api/v2.0/labels",
    "/api/v2.0/nosuch",
    "/api/v2.0/ping",
    "/api/v2.0/replication/adapter",
    "/api/v2.0/schedules",
    "/api/v2.0/statistics",
    "/api/v2.0/users",
    "/c/login",
    "/v2/_catalog",
];

/// One recorded exchange. Other lines (notes, series) have no method.
#[derive(Deserialize)]
struct Exchange<'a> {
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    status: Option<Value>,
    #[serde(default)]
    request_body: Option<Value>,
    #[serde(default)]
    request_body_raw: Option<String>,
    #[serde(default)]
    response_headers: Option<BTreeMap<String, Value>>,
    #[serde(default, borrow)]
    response_body: Option<&'a RawValue>,
}

impl Exchange<'_> {
    /// The body as it was on the wire. JSON keeps its order and spelling, so that digests hold.
    fn body(&self) -> String {
        let raw = self.response_body.map_or("", RawValue::get);
        serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned())
    }

    fn reply(&self, method: &str) -> Reply {
        let status = self
            .status
            .as_ref()
            .and_then(Value::as_u64)
            .expect("a status") as u16;
        let mut reply = Reply::new(status, self.body());
        for (name, value) in self.response_headers.iter().flatten() {
            // The recorded length is that of another spelling of the same JSON.
            let kept = name != "Content-Length" || method == "HEAD";
            if let (Some(value), true) = (value.as_str(), kept) {
                reply = reply.with(name, value);
            }
        }
        reply
    }

    fn document(&self) -> Value {
        serde_json::from_str(&self.body()).unwrap_or_default()
    }
}

/// What the right kind of error is, worked out from the recorded answer alone.
fn expected_kind(status: u16, body: &Value) -> ErrorKind {
    match (status, body["errors"][0]["code"].as_str()) {
        (401, _) => ErrorKind::Unauthorized,
        (403, Some("DENIED")) => ErrorKind::ReadOnly,
        (403, _) => ErrorKind::Forbidden,
        (404, _) => ErrorKind::NotFound,
        (409, _) => ErrorKind::Conflict,
        (412, _) => ErrorKind::Precondition,
        (400 | 405 | 422, _) => ErrorKind::Invalid,
        (500 | 502, _) => ErrorKind::Server,
        other => panic!("no rule for {other:?}"),
    }
}

fn expected_sort(kind: ErrorKind, method: &str, path: &str) -> Sort {
    let mutates = !matches!(method, "GET" | "HEAD") && !path.ends_with("/registries/ping");
    match (kind, mutates) {
        (ErrorKind::Server, true) => Sort::Unknown,
        (ErrorKind::Server, false) => Sort::Transient,
        _ => Sort::Permanent,
    }
}

#[tokio::test]
async fn our_calls_read_every_recorded_answer() {
    let current: Arc<Mutex<BTreeMap<String, Reply>>> = Arc::default();
    let replies = Arc::clone(&current);
    let server =
        Server::start(move |request| reply(&replies.lock().expect("no panic"), request)).await;
    let (reader, writer) = (server.reader(), server.writer());
    let pull = oci::Reader::new(server.endpoint(), Login::Basic).expect("a reader");
    let push = oci::Writer::new(server.endpoint(), Login::Basic, always()).expect("a writer");

    let (mut replayed, mut refused, mut not_ours) = (0, 0, 0);
    for (file, text) in FILES {
        for (number, line) in text.lines().enumerate() {
            let exchange: Exchange<'_> = serde_json::from_str(line).expect("JSON");
            let (Some(method), Some(target)) = (&exchange.method, &exchange.path) else {
                continue;
            };
            let place = format!("{file}:{} {method} {target}", number + 1);
            let path = target.split('?').next().expect("a path");
            let status = exchange
                .status
                .as_ref()
                .and_then(Value::as_u64)
                .expect("a status") as u16;
            if NOT_OURS
                .iter()
                .any(|prefix| path.starts_with(prefix) && path != "/api/v2.0/users/current")
            {
                not_ours += 1;
                continue;
            }
            *current.lock().expect("no panic") =
                BTreeMap::from([(method.clone(), exchange.reply(method))]);
            let Some(outcome) = call(&reader, &writer, &pull, &push, &exchange, method, path).await
            else {
                not_ours += 1;
                continue;
            };
            replayed += 1;
            match outcome {
                Ok(seen) => {
                    let known_refusals = [
                        // A robot, and pings of a registry, are findings and not failures.
                        (path == "/api/v2.0/users/current" && status == 412),
                        (path == "/api/v2.0/registries/ping" && matches!(status, 400 | 500)),
                        // So is a blob that is not there.
                        (path.contains("/blobs/sha256:") && status == 404),
                        // What asks for a login says so with 401.
                        (path == "/v2/" && status == 401),
                    ];
                    assert!(
                        status < 300 || known_refusals.contains(&true),
                        "{place}: {status} {seen}"
                    );
                    if let Some(wanted) = seen.get("same as") {
                        assert_eq!(wanted, &exchange.document(), "{place}");
                    }
                }
                Err(error) => {
                    refused += 1;
                    let body = exchange.document();
                    let kind = expected_kind(status, &body);
                    assert_eq!(error.kind(), kind, "{place}: {error}");
                    assert_eq!(error.status(), Some(status), "{place}: {error}");
                    assert_eq!(
                        error.sort(),
                        expected_sort(kind, method, path),
                        "{place}: {error}"
                    );
                    // HEAD has no body to read.
                    if method != "HEAD" {
                        assert_eq!(error.code(), body["errors"][0]["code"].as_str(), "{place}");
                        if let Some(message) = body["errors"][0]["message"].as_str() {
                            assert_eq!(error.message(), message, "{place}");
                        }
                    }
                }
            }
        }
    }
    // Fewer would mean that recordings are no longer looked at.
    assert_eq!(
        (replayed, refused, not_ours),
        (REPLAYED, REFUSED, NOT_REPLAYED)
    );
}

/// How many recorded exchanges are read, how many of these are refusals, and how many are not ours.
const REPLAYED: usize = 668;
const REFUSED: usize = 129;
const NOT_REPLAYED: usize = 42;

/// The recorded answer to requests of the recorded method, and what else our call needs around it.
fn reply(current: &BTreeMap<String, Reply>, request: &Request) -> Reply {
    let later_page = request.query().contains("last=");
    match current.get(&request.method) {
        // The page after a recorded one was not recorded; it is the last.
        Some(_) if later_page => Reply::json(200, json!({ "name": "x", "tags": null })),
        Some(reply) if request.path() != "/api/v2.0/health" => reply.clone(),
        // A 401 makes the client ask for the health.
        _ if request.path() == "/api/v2.0/health" && !current.contains_key("health") => current
            .get("GET")
            .filter(|reply| matches!(reply, Reply::Whole { body, .. } if body.starts_with(b"{\"components\"")))
            .cloned()
            .unwrap_or_else(|| Reply::json(200, json!({ "status": "healthy", "components": [] }))),
        _ if request.method == "POST" => {
            Reply::new(202, "").with("Location", "/v2/production/app/blobs/uploads/x?_state=y")
        }
        // Reading back what was written is another exchange.
        _ => Reply::error(404, "NOT_FOUND", "nothing was recorded"),
    }
}

/// Makes the call that the recorded exchange belongs to. `same as` holds what must equal the recorded
/// document.
#[allow(clippy::too_many_arguments)]
async fn call(
    reader: &Reader,
    writer: &Writer,
    pull: &oci::Reader,
    push: &oci::Writer,
    exchange: &Exchange<'_>,
    method: &str,
    path: &str,
) -> Option<Result<Value>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let parts = parts.strip_prefix(&["api", "v2.0"]).unwrap_or(&parts);
    let nothing = |()| json!({});
    let all = |items: Vec<Value>| json!({ "same as": items });
    Some(match (method, parts) {
        ("GET", ["health"]) => reader
            .health()
            .await
            .map(|health| json!({ "same as": health })),
        ("GET", ["systeminfo"]) => reader.system_info().await.map(|info| {
            let document = exchange.document();
            assert_eq!(info.read_only, document["read_only"].as_bool());
            assert_eq!(
                info.harbor_version,
                document["harbor_version"].as_str().expect("a version")
            );
            assert_eq!(
                info.external_url.as_deref(),
                document["external_url"].as_str()
            );
            assert_eq!(info.current_time.is_some(), info.is_authenticated());
            json!({})
        }),
        ("GET", ["users", "current"]) => reader.identity().await.map(|identity| match identity {
            Identity::User {
                name,
                administrator,
            } => {
                let document = exchange.document();
                assert_eq!(Some(name.as_str()), document["username"].as_str());
                assert_eq!(administrator, document["sysadmin_flag"] == true);
                json!({})
            }
            Identity::Robot => {
                assert_eq!(exchange.document()["errors"][0]["code"], "PRECONDITION");
                json!({})
            }
        }),
        ("GET", ["configurations"]) => reader
            .configurations()
            .await
            .map(|settings| json!({ "same as": settings })),
        ("PUT", ["configurations"]) => writer.set_read_only(true).await.map(nothing),

        ("GET", ["registries"]) => reader.registries().await.map(|found| {
            assert_eq!(
                found.len(),
                exchange.document().as_array().expect("a list").len()
            );
            json!({})
        }),
        ("GET", ["registries", _, "info"]) => return None,
        ("GET", ["registries", _]) => reader.registry(8).await.map(|registry| {
            let document = exchange.document();
            assert_eq!(Some(registry.id), document["id"].as_i64());
            assert_eq!(Some(registry.url.as_str()), document["url"].as_str());
            assert_eq!(
                Some(registry.credential.user.as_str()),
                document["credential"]["access_key"].as_str()
            );
            json!({})
        }),
        ("POST", ["registries"]) => writer
            .create_registry(&NewRegistry {
                name: "primary".into(),
                description: String::new(),
                kind: "harbor".into(),
                url: "http://127.0.0.1:1".into(),
                insecure: true,
                user: "admin".into(),
                password: String::new().into(),
            })
            .await
            .map(|id| location(exchange, id)),
        ("POST", ["registries", "ping"]) => reader.ping_registry(8).await.map(|ping| {
            let status = exchange.status.as_ref().and_then(Value::as_u64);
            let expected = match status {
                Some(200) => Ping::Ok,
                Some(400) => Ping::BadCredentials,
                _ => Ping::Unreachable,
            };
            assert_eq!(ping, expected);
            json!({})
        }),

        ("GET", ["replication", "policies"]) => reader
            .policies()
            .await
            .map(|found| all(found.into_iter().map(Value::from).collect())),
        ("GET", ["replication", "policies", _]) => reader.policy(1).await.map(|policy| {
            let document = exchange.document();
            assert_eq!(policy.enabled, document["enabled"] == true);
            assert_eq!(policy.deletion, document["deletion"] == true);
            assert_eq!(
                policy.filters.len(),
                document["filters"].as_array().map_or(0, Vec::len)
            );
            assert!(
                policy
                    .filters
                    .iter()
                    .all(|filter| !matches!(filter, Filter::Other(_))),
                "{document}"
            );
            assert!(policy.update_time.is_some() && policy.remote().is_some());
            // Written back it is the same policy.
            let again = Policy::try_from(
                PolicyDocument::from(policy.input_fields())
                    .as_json()
                    .clone(),
            );
            assert_eq!(policy.differences(&again.expect("a policy")), []);
            json!({ "same as": policy })
        }),
        ("POST", ["replication", "policies"]) => {
            let document = exchange.request_body.clone().unwrap_or_default();
            // What Harbor refused as 400 is refused by our check too, and nothing that it took.
            let status = exchange.status.as_ref().and_then(Value::as_u64);
            let valid = validate_policy(&document);
            if matches!(status, Some(201 | 400)) {
                assert_eq!(valid.is_ok(), status == Some(201), "{document}: {valid:?}");
            }
            let body = Policy::try_from(document).map_or_else(
                |_| PolicyDocument::from(empty_fields()),
                |policy| policy.to_document(),
            );
            writer
                .create_policy(&body)
                .await
                .map(|id| location(exchange, id))
        }
        ("PUT", ["replication", "policies", _]) => writer
            .update_policy(&PolicyDocument::from(empty_fields()).with_id(3))
            .await
            .map(nothing),
        ("DELETE", ["replication", "policies", _]) => writer.delete_policy(3).await.map(nothing),

        ("GET", ["replication", "executions"]) => {
            reader.executions_above(0, 0).await.map(|found| {
                let mut recorded: Vec<Execution> =
                    serde_json::from_value(exchange.document()).expect("executions");
                recorded.sort_by_key(|execution| std::cmp::Reverse(execution.id));
                assert_eq!(found, recorded);
                json!({})
            })
        }
        ("POST", ["replication", "executions"]) => writer
            .start_execution(1)
            .await
            .map(|id| location(exchange, id)),
        ("GET", ["replication", "executions", _]) => reader.execution(1).await.map(|execution| {
            let document = exchange.document();
            assert_eq!(
                Some(execution.status.to_string().as_str()),
                document["status"].as_str()
            );
            assert!(!matches!(execution.status, ExecutionStatus::Other(_)));
            assert_eq!(
                execution.end_time.is_none(),
                document["end_time"] == "0001-01-01T00:00:00.000Z"
            );
            for (count, name) in [
                (execution.total, "total"),
                (execution.in_progress, "in_progress"),
                (execution.succeed, "succeed"),
                (execution.failed, "failed"),
                (execution.stopped, "stopped"),
            ] {
                assert_eq!(Some(count), document[name].as_i64(), "{name}");
            }
            json!({})
        }),
        ("PUT", ["replication", "executions", _]) => writer.stop_execution(1).await.map(nothing),
        ("GET", ["replication", "executions", _, "tasks"]) => reader.tasks(1).await.map(|tasks| {
            assert_eq!(
                tasks.len(),
                exchange.document().as_array().expect("a list").len()
            );
            assert!(
                tasks
                    .iter()
                    .all(|task| !matches!(task.status, TaskStatus::Other(_)))
            );
            assert!(
                tasks
                    .iter()
                    .all(|task| task.src_resource.contains("item(s) in total"))
            );
            json!({})
        }),
        ("GET", ["replication", "executions", _, "tasks", _, "log"]) => {
            reader.task_log_tail(1, 1, 1 << 20).await.map(|log| {
                assert_eq!(log, exchange.body());
                json!({})
            })
        }

        ("GET", ["robots"]) => reader
            .robots()
            .await
            .map(|found| all(found.into_iter().map(Value::from).collect())),
        ("GET", ["robots", _]) => reader
            .robot(1)
            .await
            .map(|robot| json!({ "same as": robot })),
        ("POST", ["robots"]) => writer
            .create_robot(&NewRobot {
                name: "dr-sync".into(),
                description: String::new(),
                level: "system".into(),
                duration: -1,
                permissions: Vec::new(),
            })
            .await
            .map(|robot| {
                assert_eq!(Some(robot.id), exchange.document()["id"].as_i64());
                assert!(robot.name.starts_with("robot$"));
                json!({})
            }),
        ("PATCH", ["robots", _]) => return None,

        ("GET", ["projects"]) => reader.projects().await.map(|found| {
            assert_eq!(
                found.len(),
                exchange.document().as_array().expect("a list").len()
            );
            json!({})
        }),
        ("GET", ["projects", "production" | "nosuch"]) => {
            reader.project(parts[1]).await.map(|project| {
                assert_eq!(
                    project.is_public(),
                    exchange.document()["metadata"]["public"] == "true"
                );
                json!({})
            })
        }
        ("GET", ["projects", _, "summary"]) => reader.quota("production").await.map(|quota| {
            let document = exchange.document();
            assert_eq!(
                Some(quota.limit),
                document["quota"]["hard"]["storage"].as_i64()
            );
            assert_eq!(
                Some(quota.used),
                document["quota"]["used"]["storage"].as_i64()
            );
            json!({})
        }),
        ("GET", ["projects", _, "repositories"]) => {
            reader.repositories("production").await.map(|found| {
                assert_eq!(
                    found.len(),
                    exchange.document().as_array().expect("a list").len()
                );
                json!({})
            })
        }
        ("GET", ["projects", _, "repositories", .., "artifacts"]) => {
            let query = ArtifactQuery {
                with_label: true,
                with_accessory: true,
            };
            reader
                .artifacts("production", "app", &query)
                .await
                .map(|found| {
                    let document = exchange.document();
                    let recorded = document.as_array().expect("a list");
                    assert_eq!(found.len(), recorded.len());
                    for (artifact, recorded) in found.iter().zip(recorded) {
                        assert_eq!(Some(artifact.digest.as_str()), recorded["digest"].as_str());
                        assert_eq!(
                            artifact.tags.len(),
                            recorded["tags"].as_array().map_or(0, Vec::len)
                        );
                        assert_eq!(
                            artifact.labels.len(),
                            recorded["labels"].as_array().map_or(0, Vec::len)
                        );
                    }
                    json!({})
                })
        }
        ("GET", ["projects", _, "repositories", _, "artifacts", _]) => reader
            .artifact("production", "app", "v1.0.0", &ArtifactQuery::default())
            .await
            .map(|artifact| {
                assert_eq!(artifact.view().tags, ["v1.0.0"]);
                json!({})
            }),
        ("DELETE", ["projects", _, "repositories", _, "artifacts", _]) => writer
            .delete_artifact("production", "app", "robot-1")
            .await
            .map(nothing),
        ("DELETE", ["projects", _, "repositories", _, "artifacts", _, "tags", _]) => writer
            .delete_tag("production", "app", "latest", "latest")
            .await
            .map(nothing),

        ("GET", ["v2"]) => pull.ping().await.map(|ping| {
            let challenge = exchange
                .response_headers
                .as_ref()
                .and_then(|headers| headers.get("Www-Authenticate"));
            assert_eq!(challenge.is_some(), ping != oci::Ping::Open);
            json!({})
        }),
        ("GET", ["v2", _, _, "manifests", tag]) => {
            pull.manifest("production/app", tag).await.map(|manifest| {
                assert_eq!(oci::digest(&manifest.bytes), manifest.digest);
                json!({})
            })
        }
        ("HEAD", ["v2", _, _, "manifests", tag]) => {
            pull.head_manifest("production/app", tag).await.map(|head| {
                assert!(head.digest.starts_with("sha256:") && head.size.is_some());
                json!({})
            })
        }
        ("HEAD", ["v2", _, _, "blobs", digest]) => {
            pull.has_blob("production/app", digest).await.map(|found| {
                assert_eq!(found, exchange.status == Some(json!(200)));
                json!({})
            })
        }
        ("GET", ["v2", _, _, "tags", "list"]) => pull.tags("production/app").await.map(|tags| {
            assert_eq!(json!(tags), exchange.document()["tags"]);
            json!({})
        }),
        ("POST", ["v2", _, _, "blobs", "uploads"]) => {
            // Started, it goes on with a PUT that no recording answers here.
            match push.push_blob("production/app", b"x".to_vec()).await {
                Err(error) if error.method() == reqwest::Method::PUT => Ok(json!({})),
                other => other.map(|_| json!({})),
            }
        }
        ("PUT", ["v2", _, _, "blobs", "uploads", _]) => push
            .push_blob("production/app", b"x".to_vec())
            .await
            .map(|_| json!({})),
        ("PUT", ["v2", _, _, "manifests", tag]) => {
            let media_type = "application/vnd.docker.distribution.manifest.v2+json";
            let body = exchange
                .request_body_raw
                .clone()
                .unwrap_or_default()
                .into_bytes();
            push.push_manifest("production/app", tag, media_type, body)
                .await
                .map(|_| json!({}))
        }
        ("DELETE", ["v2", _, _, "manifests", digest]) => push
            .delete_manifest("production/app", digest)
            .await
            .map(nothing),
        _ => return None,
    })
}

/// Checks an id against the recorded Location.
fn location(exchange: &Exchange<'_>, id: i64) -> Value {
    let headers = exchange.response_headers.as_ref().expect("headers");
    let location = headers["Location"].as_str().expect("a location");
    assert!(location.ends_with(&format!("/{id}")), "{location} {id}");
    json!({})
}

fn empty_fields() -> PolicyFields {
    let document = json!({ "id": 1, "name": "p", "src_registry": { "id": 8 } });
    Policy::try_from(document).expect("a policy").input_fields()
}

/// 401 to right credentials, as recorded while the database was down, together with the health of that time.
#[tokio::test]
async fn a_401_while_the_database_is_down_is_not_called_a_wrong_password() {
    let health = include_str!("../../testdata/transcripts/health.jsonl");
    let lines: Vec<Value> = health
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let recorded = |note: &str| {
        let found = lines.iter().find(|line| {
            line["note"]
                .as_str()
                .is_some_and(|text| text.starts_with(note))
        });
        found.expect("a recording").clone()
    };
    let unhealthy = lines
        .iter()
        .find(|line| {
            line["response_body"]["components"]
                .as_array()
                .is_some_and(|components| {
                    components
                        .iter()
                        .any(|part| part["name"] == "database" && part["status"] == "unhealthy")
                })
        })
        .expect("a recording")["response_body"]
        .clone();
    let refusal = recorded("postgres down: policies");
    assert_eq!(refusal["status"], 401);
    let server = Server::start(move |request| match request.path() {
        "/api/v2.0/health" => Reply::json(200, unhealthy.clone()),
        _ => Reply::json(401, refusal["response_body"].clone()),
    })
    .await;
    for error in [
        server.reader().identity().await.expect_err("refused"),
        server.reader().policies().await.expect_err("refused"),
        server
            .writer()
            .set_read_only(true)
            .await
            .expect_err("refused"),
        server
            .reader()
            .oci()
            .head_manifest("production/app", "v1.0.0")
            .await
            .expect_err("refused"),
    ] {
        assert_eq!(
            (error.kind(), error.sort()),
            (ErrorKind::DatabaseDown, Sort::Transient),
            "{error}"
        );
    }
    // The health is asked for without credentials.
    for request in server
        .requests()
        .iter()
        .filter(|request| request.path() == "/api/v2.0/health")
    {
        assert_eq!(request.header("authorization"), None);
    }
}
