//! Answers that no Harbor in good order gives, and what leaves the client.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runbook_harbor::*;
use serde_json::{Value, json};

use crate::server::{Reply, Request, Server, always, endpoint};

fn policy_document() -> Value {
    json!({
        "id": 3, "name": "p1", "enabled": true, "description": "keep me", "speed": 1024,
        "copy_by_chunk": false, "dest_namespace_replace_count": 1, "new_field": { "a": [1, 2] },
        "filters": [{ "type": "name", "value": "production/**" }],
        "src_registry": { "id": 8, "name": "primary", "url": "http://p", "credential": { "access_secret": "*****" } },
        "dest_registry": { "id": 0, "name": "Local" },
        "trigger": { "type": "scheduled", "trigger_settings": { "cron": "0 0 2 * * *" } },
        "update_time": "2026-11-23T17:27:14.088Z",
    })
}

/// A Harbor with one object that GET gives, PUT replaces and `disturb` changes after each PUT.
async fn one_object(
    document: Value,
    disturb: impl Fn(&mut Value) + Send + Sync + 'static,
) -> Server {
    let stored = Mutex::new(document);
    Server::start(move |request| {
        let mut stored = stored.lock().expect("no panic");
        if request.method == "PUT" {
            *stored = request.json();
            stored["update_time"] = json!("2026-11-23T18:00:00.000Z");
            // As Harbor does: what is false is left out.
            for field in ["enabled", "disable"] {
                if stored[field] == json!(false) {
                    stored.as_object_mut().expect("an object").remove(field);
                }
            }
            disturb(&mut stored);
            return Reply::new(200, "");
        }
        Reply::json(200, stored.clone())
    })
    .await
}

#[tokio::test]
async fn an_execution_is_known_by_its_location_alone() {
    let server = Server::start(|_| {
        Reply::new(201, "").with("Location", "/api/v2.0/replication/executions/36")
    })
    .await;
    assert_eq!(
        server.writer().start_execution(79).await.expect("started"),
        36
    );
    let request = &server.requests()[0];
    assert_eq!(request.json(), json!({ "policy_id": 79 }));
    assert_eq!(request.header("content-type"), Some("application/json"));

    let server = Server::start(|_| Reply::new(201, "")).await;
    let error = server
        .writer()
        .start_execution(79)
        .await
        .expect_err("no id");
    // It was started all the same.
    assert_eq!(
        (error.kind(), error.sort()),
        (ErrorKind::Protocol, Sort::Unknown)
    );
}

#[tokio::test]
async fn no_cookie_is_sent_back() {
    // The server sets `sid` with every answer.
    let server = one_object(policy_document(), |_| {}).await;
    let writer = server.writer();
    writer.set_policy_enabled(3, false).await.expect("disabled");
    writer.reader().policy(3).await.expect("a policy");
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    for request in &requests {
        assert_eq!(request.header("cookie"), None);
        assert!(
            request
                .header("authorization")
                .is_some_and(|text| text.starts_with("Basic "))
        );
        assert_eq!(
            request.header("host"),
            Some(server.address.to_string().as_str())
        );
    }
}

#[tokio::test]
async fn every_request_has_an_id_that_the_error_names() {
    let server =
        Server::start(|_| Reply::error(412, "PRECONDITION", "the policy 81 is disabled")).await;
    let count = AtomicUsize::new(0);
    let ids: RequestIds = Arc::new(move || format!("r{}", count.fetch_add(1, Ordering::Relaxed)));
    let writer = Writer::with_request_ids(server.endpoint(), always(), ids).expect("a writer");
    let error = writer.start_execution(81).await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        "harbor `dr` refused POST /api/v2.0/replication/executions: 412 PRECONDITION: the policy 81 is disabled (request id r0)"
    );
    assert_eq!(error.kind(), ErrorKind::Precondition);
    assert_eq!(server.requests()[0].header("x-request-id"), Some("r0"));
}

#[tokio::test]
async fn a_page_of_html_is_named_as_such() {
    let server = Server::start(|_| {
        Reply::new(200, "<!DOCTYPE html>\n<html>login</html>").with("Content-Type", "text/html")
    })
    .await;
    let error = server.reader().policies().await.expect_err("HTML");
    assert_eq!(
        (error.kind(), error.sort()),
        (ErrorKind::Protocol, Sort::Permanent)
    );
    assert_eq!(
        error.message(),
        "expected JSON, got 34 bytes of `text/html`: `<!DOCTYPE html> <html>login</html>`"
    );

    let server = Server::start(|_| {
        Reply::new(502, "<html>bad gateway</html>").with("Content-Type", "text/html")
    })
    .await;
    let error = server.writer().set_read_only(true).await.expect_err("502");
    assert_eq!(
        (error.kind(), error.sort(), error.code()),
        (ErrorKind::Server, Sort::Unknown, None)
    );
    assert!(error.to_string().contains("text/html"), "{error}");
}

#[tokio::test]
async fn a_cut_answer_is_not_half_a_list() {
    let cut = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[{\"id\":".to_vec();
    let server = Server::start(move |_| Reply::Raw(cut.clone())).await;
    let error = server.reader().policies().await.expect_err("cut");
    assert_eq!(
        (error.kind(), error.sort()),
        (ErrorKind::Lost, Sort::Transient),
        "{error}"
    );

    let server = Server::start(|_| Reply::new(200, "[{\"id\":")).await;
    let error = server.reader().policies().await.expect_err("not JSON");
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

#[tokio::test]
async fn a_lost_answer_to_a_write_leaves_it_unknown() {
    let server = Server::start(|_| Reply::Lost).await;
    let error = server.writer().start_execution(1).await.expect_err("lost");
    assert_eq!(
        (error.kind(), error.sort()),
        (ErrorKind::Lost, Sort::Unknown),
        "{error}"
    );
    let error = server.reader().policies().await.expect_err("lost");
    assert_eq!(
        (error.kind(), error.sort()),
        (ErrorKind::Lost, Sort::Transient),
        "{error}"
    );
    assert!(error.is_unreachable());
    // One request each: nothing is tried again.
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test]
async fn a_hanging_harbor_is_a_timeout() {
    let server = Server::start(|_| Reply::Hang).await;
    let mut endpoint = server.endpoint();
    endpoint.timeout = Duration::from_millis(200);
    let writer = Writer::new(endpoint, always()).expect("a writer");
    let error = writer.set_read_only(true).await.expect_err("a timeout");
    assert_eq!(
        (error.kind(), error.sort()),
        (ErrorKind::Timeout, Sort::Unknown),
        "{error}"
    );
    let error = writer.reader().health().await.expect_err("a timeout");
    assert_eq!(
        (error.kind(), error.sort()),
        (ErrorKind::Timeout, Sort::Transient),
        "{error}"
    );
}

#[tokio::test]
async fn a_refused_connection_left_nothing() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address")
    };
    let url = format!("http://{gone}").parse().expect("a url");
    let writer = Writer::new(endpoint(url), always()).expect("a writer");
    let error = writer.start_execution(1).await.expect_err("refused");
    assert_eq!(
        (error.kind(), error.sort()),
        (ErrorKind::Unreachable, Sort::Transient),
        "{error}"
    );
    assert!(error.is_unreachable());
    assert!(error.to_string().contains("onnection refused"), "{error}");
    assert!(!error.to_string().contains("request id"), "{error}");
}

#[tokio::test]
async fn plain_text_at_a_tls_port_is_no_unreachable_site() {
    let server = Server::start(|_| Reply::new(200, "")).await;
    let url = format!("https://{}", server.address)
        .parse()
        .expect("a url");
    let error = Reader::new(endpoint(url))
        .expect("a reader")
        .health()
        .await
        .expect_err("no TLS");
    // What the server says is read by the TLS library, or the connection ends before: either way nothing
    // was sent.
    assert_ne!(error.sort(), Sort::Unknown, "{error}");
    assert!(
        matches!(error.kind(), ErrorKind::Tls | ErrorKind::Unreachable),
        "{error}"
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server =
        Server::start(|_| Reply::new(308, "").with("Location", "https://elsewhere/")).await;
    let error = server
        .writer()
        .set_read_only(true)
        .await
        .expect_err("a redirect");
    assert_eq!(
        (error.kind(), error.sort()),
        (ErrorKind::Protocol, Sort::Permanent)
    );
    assert_eq!(error.message(), "redirected to `https://elsewhere/`");
}

#[tokio::test]
async fn a_lost_lease_sends_nothing() {
    let server = one_object(policy_document(), |_| {}).await;
    let held = Arc::new(AtomicUsize::new(1));
    let asked = Arc::clone(&held);
    let before: BeforeWrite = Arc::new(move || {
        match asked.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) {
            Ok(_) => Ok(()),
            Err(_) => Err("the lease was taken by another driver".into()),
        }
    });
    let writer = Writer::new(server.endpoint(), before).expect("a writer");
    writer.set_read_only(true).await.expect("still held");
    let error = writer
        .set_read_only(true)
        .await
        .expect_err("no longer held");
    assert_eq!(
        (error.kind(), error.sort()),
        (ErrorKind::NotSent, Sort::Permanent)
    );
    let source = std::error::Error::source(&error)
        .expect("a source")
        .to_string();
    assert_eq!(source, "the lease was taken by another driver");
    let error = writer
        .oci()
        .push_blob("a/b", b"x".to_vec())
        .await
        .expect_err("no longer held");
    assert_eq!(error.kind(), ErrorKind::NotSent);
    assert_eq!(server.calls(), ["PUT /api/v2.0/configurations"]);
}

#[tokio::test]
async fn a_policy_is_toggled_whole() {
    let server = one_object(policy_document(), |_| {}).await;
    let writer = server.writer();
    let after = writer.set_policy_enabled(3, false).await.expect("disabled");
    assert!(!after.enabled);
    let mut expected = policy_document();
    expected["enabled"] = json!(false);
    assert_eq!(server.requests()[1].json(), expected);
    // Twice is once.
    writer
        .set_policy_enabled(3, false)
        .await
        .expect("still disabled");
    let puts = server
        .calls()
        .iter()
        .filter(|call| call.starts_with("PUT"))
        .count();
    assert_eq!(puts, 1);
}

#[tokio::test]
async fn somebody_elses_change_to_a_policy_is_noticed() {
    let server = one_object(policy_document(), |document| document["speed"] = json!(7)).await;
    let error = server
        .writer()
        .set_policy_enabled(3, false)
        .await
        .expect_err("changed");
    assert_eq!(
        (error.kind(), error.sort()),
        (ErrorKind::ChangedMeanwhile, Sort::Unknown)
    );
    assert_eq!(
        error.message(),
        "policy `p1`: `speed` reads 7 instead of 1024"
    );

    let server = one_object(policy_document(), |_| {}).await;
    let writer = server.writer();
    let read = writer.reader().policy(3).await.expect("a policy");
    let document = read
        .to_document()
        .expecting(read.update_time)
        .with_enabled(false);
    writer
        .update_policy(&document)
        .await
        .expect("unchanged until now");
    let error = writer
        .update_policy(&document)
        .await
        .expect_err("changed since");
    assert_eq!(
        (error.kind(), error.sort()),
        (ErrorKind::ChangedMeanwhile, Sort::Permanent)
    );
    let puts = server
        .calls()
        .iter()
        .filter(|call| call.starts_with("PUT"))
        .count();
    assert_eq!(puts, 1, "nothing is sent when it was changed");
}

#[tokio::test]
async fn a_robot_is_switched_whole() {
    let robot = json!({
        "id": 6, "name": "robot$dr-sync", "level": "system", "duration": -1, "expires_at": -1,
        "disable": false, "editable": true, "update_time": "2026-11-23T17:31:50.277Z",
        "permissions": [{ "kind": "project", "namespace": "*", "access": [{ "resource": "repository", "action": "pull" }] }],
    });
    let server = one_object(robot.clone(), |_| {}).await;
    let after = server
        .writer()
        .set_robot_disabled(6, true)
        .await
        .expect("disabled");
    assert!(after.disabled);
    let mut expected = robot.clone();
    expected["disable"] = json!(true);
    assert_eq!(server.requests()[1].json(), expected);

    let server = one_object(robot, |document| document["permissions"] = json!([])).await;
    let error = server
        .writer()
        .set_robot_disabled(6, true)
        .await
        .expect_err("changed");
    assert_eq!(error.kind(), ErrorKind::ChangedMeanwhile);
}

/// A list that Harbor gives in pages, newest first.
fn paged(request: &Request, count: i64, item: impl Fn(i64) -> Value) -> Reply {
    let number = |key: &str| -> i64 {
        let pair = request
            .query()
            .split('&')
            .find_map(|pair| pair.strip_prefix(key))
            .expect("a number");
        pair.parse().expect("a number")
    };
    let (page, size) = (number("page="), number("page_size="));
    assert!((1..=100).contains(&size));
    let first = count - (page - 1) * size;
    let items: Vec<Value> = (0..size)
        .map(|n| first - n)
        .filter(|id| *id > 0)
        .map(item)
        .collect();
    Reply::json(200, Value::Array(items)).with("X-Total-Count", count.to_string())
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    let server = Server::start(|request| {
        paged(
            request,
            230,
            |id| json!({ "id": id, "name": format!("p{id}"), "src_registry": { "id": 8 } }),
        )
    })
    .await;
    let reader = server.reader();
    assert_eq!(reader.policies().await.expect("policies").len(), 230);
    assert_eq!(server.calls().len(), 3);
    let found = reader
        .policy_named("p7")
        .await
        .expect("an answer")
        .expect("a policy");
    assert_eq!(found.id, 7);
    assert_eq!(reader.policy_named("p").await.expect("an answer"), None);
}

#[tokio::test]
async fn executions_are_read_down_to_the_mark() {
    let server = Server::start(|request| {
        assert!(
            request.query().contains("policy_id=5"),
            "{}",
            request.query()
        );
        paged(
            request,
            250,
            |id| json!({ "id": id, "policy_id": 5, "status": "Succeed" }),
        )
    })
    .await;
    let reader = server.reader();
    let ids = |executions: Vec<Execution>| executions.iter().map(|e| e.id).collect::<Vec<_>>();
    assert_eq!(reader.highest_execution(5).await.expect("a mark"), 250);
    assert_eq!(
        ids(reader.executions_above(5, 247).await.expect("some")),
        [250, 249, 248]
    );
    assert_eq!(
        ids(reader.executions_above(5, 250).await.expect("none")),
        [0; 0]
    );
    assert_eq!(
        reader
            .executions_above(5, 120)
            .await
            .expect("two pages")
            .len(),
        130
    );
    assert_eq!(ids(reader.executions(5, 2).await.expect("two")), [250, 249]);
    assert_eq!(
        reader.executions(5, 120).await.expect("two pages").len(),
        120
    );

    let empty = Server::start(|_| Reply::json(200, json!([])).with("X-Total-Count", "0")).await;
    assert_eq!(empty.reader().highest_execution(5).await.expect("none"), 0);
}

#[tokio::test]
async fn a_repository_with_a_slash_is_encoded_twice() {
    let server = Server::start(|_| Reply::json(200, json!([]))).await;
    let query = ArtifactQuery {
        with_label: true,
        with_accessory: false,
    };
    server
        .reader()
        .artifacts("production", "team/tool", &query)
        .await
        .expect("none");
    let request = &server.requests()[0];
    assert_eq!(
        request.path(),
        "/api/v2.0/projects/production/repositories/team%252Ftool/artifacts"
    );
    assert_eq!(
        request.query(),
        "with_tag=true&with_label=true&page=1&page_size=100"
    );
    server
        .writer()
        .delete_tag("production", "team/tool", "sha256:0", "v1")
        .await
        .expect("deleted");
    let calls = server.calls();
    let path =
        "/api/v2.0/projects/production/repositories/team%252Ftool/artifacts/sha256:0/tags/v1";
    assert_eq!(calls[1], format!("DELETE {path}"));
}

#[tokio::test]
async fn an_anonymous_answer_is_no_answer_about_read_only() {
    let server = Server::start(|request| match request.path() {
        "/api/v2.0/systeminfo" => Reply::json(200, json!({ "harbor_version": "v2.9.5" })),
        _ => Reply::json(200, json!({ "status": "healthy", "components": [] })),
    })
    .await;
    let error = server
        .reader()
        .read_only()
        .await
        .expect_err("not logged in");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);

    let server = Server::start(|_| Reply::json(200, json!({ "read_only": true }))).await;
    assert!(server.reader().read_only().await.expect("an answer"));
}

#[tokio::test]
async fn connect_to_changes_the_address_and_not_the_name() {
    let server =
        Server::start(|_| Reply::json(200, json!({ "status": "healthy", "components": [] }))).await;
    for (url, host) in [
        ("http://registry.example.test", "registry.example.test"),
        (
            "http://registry.example.test:8080",
            "registry.example.test:8080",
        ),
        ("http://192.0.2.1", "192.0.2.1"),
    ] {
        let mut endpoint = endpoint(url.parse().expect("a url"));
        endpoint.connect_to = Some(server.address);
        let reader = Reader::new(endpoint).expect("a reader");
        assert!(reader.health().await.expect("an answer").is_healthy());
        assert_eq!(
            server.requests().last().expect("a request").header("host"),
            Some(host)
        );
    }
}

#[tokio::test]
async fn too_many_requests_say_how_long_to_wait() {
    let server = Server::start(|_| Reply::new(429, "").with("Retry-After", "7")).await;
    let error = server.writer().start_execution(1).await.expect_err("429");
    assert_eq!(
        error.kind(),
        ErrorKind::TooManyRequests {
            retry_after: Some(Duration::from_secs(7))
        }
    );
    assert_eq!(error.sort(), Sort::Transient);
}

#[test]
fn an_address_that_is_none_is_refused_at_once() {
    let url = "ftp://example.test".parse().expect("a url");
    let error = Reader::new(endpoint(url)).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::NotSent);
}
