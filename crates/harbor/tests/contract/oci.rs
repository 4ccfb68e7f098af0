//! `/v2/` with its token flow.

use std::collections::BTreeMap;
use std::sync::Mutex;

use runbook_harbor::oci::{Login, Ping, Reader, Writer, digest};
use runbook_harbor::{ErrorKind, Sort};
use serde_json::json;

use crate::server::{Reply, Request, Server, always, endpoint};

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;
const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry that wants a token for each repository, issued at `realm`.
fn registry(request: &Request, realm: &str) -> Reply {
    let bearer = request
        .header("authorization")
        .and_then(|text| text.strip_prefix("Bearer "));
    match (request.method.as_str(), request.path(), bearer) {
        (_, "/service/token", _) => {
            assert!(
                request
                    .header("authorization")
                    .is_some_and(|text| text.starts_with("Basic "))
            );
            Reply::json(
                200,
                json!({ "token": request.query(), "access_token": "", "expires_in": 1800 }),
            )
        }
        (_, _, None) => Reply::error(401, "UNAUTHORIZED", "unauthorized: unauthorized").with(
            "Www-Authenticate",
            format!("Bearer realm=\"{realm}\",service=\"harbor-registry\""),
        ),
        ("GET" | "HEAD", "/v2/production/app/manifests/v1", Some(token)) => {
            assert_eq!(
                token,
                "service=harbor-registry&scope=repository%3Aproduction%2Fapp%3Apull"
            );
            Reply::new(200, MANIFEST)
                .with("Content-Type", OCI)
                .with("Docker-Content-Digest", digest(MANIFEST))
        }
        _ => Reply::error(404, "NOT_FOUND", "not found"),
    }
}

#[tokio::test]
async fn a_token_is_asked_for_once_a_repository() {
    // The realm names the service, not the address: the client connects where it was told.
    let server =
        Server::start(|request| registry(request, "http://registry.example.test/service/token"))
            .await;
    let mut named = endpoint("http://registry.example.test".parse().expect("a url"));
    named.connect_to = Some(server.address);
    let reader = Reader::new(named, Login::Token).expect("a reader");

    let manifest = reader
        .manifest("production/app", "v1")
        .await
        .expect("a manifest");
    assert_eq!(
        (manifest.bytes.as_slice(), manifest.media_type.as_str()),
        (MANIFEST, OCI)
    );
    let head = reader
        .head_manifest("production/app", "v1")
        .await
        .expect("a head");
    assert_eq!(
        (head.digest, head.size),
        (manifest.digest, Some(MANIFEST.len() as u64))
    );
    assert_eq!(
        server.calls(),
        [
            "GET /v2/",
            "GET /service/token",
            "GET /v2/production/app/manifests/v1",
            "HEAD /v2/production/app/manifests/v1"
        ]
    );
    assert!(
        server
            .requests()
            .iter()
            .all(|r| r.header("host") == Some("registry.example.test"))
    );

    let token = reader
        .token("repository:production/app:pull")
        .await
        .expect("a token");
    assert_eq!(
        token.realm.as_str(),
        "http://registry.example.test/service/token"
    );
    assert_eq!(token.lifetime.as_secs(), 1800);
    assert!(!format!("{token:?}").contains(token.expose()));
}

#[tokio::test]
async fn ping_tells_the_realm() {
    let server =
        Server::start(|request| registry(request, "http://elsewhere.example.test/service/token"))
            .await;
    let reader = Reader::new(server.endpoint(), Login::Token).expect("a reader");
    let Ping::Token { realm, service } = reader.ping().await.expect("an answer") else {
        panic!("no token")
    };
    assert_eq!(realm.host_str(), Some("elsewhere.example.test"));
    assert_eq!(service.as_deref(), Some("harbor-registry"));

    // While the database is down, Harbor names no way to log in.
    let server =
        Server::start(|_| Reply::error(401, "UNAUTHORIZED", "failed").with("Www-Authenticate", ""))
            .await;
    let reader = Reader::new(server.endpoint(), Login::Token).expect("a reader");
    assert_eq!(
        reader.ping().await.expect_err("no way").kind(),
        ErrorKind::Unauthorized
    );
}

#[tokio::test]
async fn bytes_that_have_another_digest_are_refused() {
    let server = Server::start(|request| match request.path() {
        "/v2/a/b/manifests/named" => {
            Reply::new(200, "changed").with("Docker-Content-Digest", digest(MANIFEST))
        }
        _ => Reply::new(200, "changed"),
    })
    .await;
    let reader = Reader::new(server.endpoint(), Login::Basic).expect("a reader");
    for reference in ["named", &digest(MANIFEST)] {
        let error = reader
            .manifest("a/b", reference)
            .await
            .expect_err("another digest");
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.message().contains(&digest(b"changed")), "{error}");
    }
    assert!(reader.blob("a/b", &digest(b"wanted")).await.is_err());
    assert!(reader.verify_blob("a/b", &digest(b"wanted")).await.is_err());
    assert_eq!(
        reader
            .blob("a/b", &digest(b"changed"))
            .await
            .expect("the blob"),
        b"changed"
    );
    assert_eq!(
        reader
            .verify_blob("a/b", &digest(b"changed"))
            .await
            .expect("the blob"),
        7
    );
}

#[tokio::test]
async fn a_blob_is_fetched_from_a_storage_without_our_login() {
    let storage = Server::start(|request| {
        assert_eq!(request.header("authorization"), None);
        Reply::new(200, "layer")
    })
    .await;
    let target = format!("{}signed?x=1", storage.url);
    let server = Server::start(move |_| Reply::new(307, "").with("Location", target.clone())).await;
    let reader = Reader::new(server.endpoint(), Login::Basic).expect("a reader");
    assert_eq!(
        reader
            .blob("a/b", &digest(b"layer"))
            .await
            .expect("the blob"),
        b"layer"
    );
    assert_eq!(storage.requests()[0].target, "/signed?x=1");

    let server = Server::start(|_| Reply::new(307, "").with("Location", "/again")).await;
    let reader = Reader::new(server.endpoint(), Login::Basic).expect("a reader");
    let error = reader
        .blob("a/b", &digest(b"layer"))
        .await
        .expect_err("a loop");
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert_eq!(server.calls().len(), 4);
}

#[tokio::test]
async fn tags_are_read_to_the_last_page() {
    let server = Server::start(|request| {
        let page = if request.query().contains("last=b") {
            json!(["c"])
        } else {
            json!(["a", "b"])
        };
        let reply = Reply::json(200, json!({ "name": "a/b", "tags": page }));
        match request.query().contains("last=") {
            true => reply,
            false => reply.with("Link", "</v2/a/b/tags/list?last=b&n=100>; rel=\"next\""),
        }
    })
    .await;
    let reader = Reader::new(server.endpoint(), Login::Basic).expect("a reader");
    assert_eq!(reader.tags("a/b").await.expect("tags"), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_push_ends_with_what_a_pull_gives() {
    let stored: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::default();
    let server = Server::start(move |request| {
        let mut stored = stored.lock().expect("no panic");
        match (request.method.as_str(), request.path()) {
            // Harbor names itself by its own address, which need not be the client's.
            ("POST", "/v2/a/b/blobs/uploads/") => Reply::new(202, "").with(
                "Location",
                "http://core:8080/v2/a/b/blobs/uploads/u1?_state=s%3D",
            ),
            ("PUT", "/v2/a/b/blobs/uploads/u1") => {
                let query = request
                    .query()
                    .strip_prefix("_state=s%3D&digest=")
                    .expect("state, then digest");
                stored.insert(
                    format!("blobs/{}", query.replace("%3A", ":")),
                    request.body.clone(),
                );
                Reply::new(201, "")
            }
            ("PUT", "/v2/a/b/manifests/v1") => {
                assert_eq!(request.header("content-type"), Some(OCI));
                stored.insert("manifests/v1".into(), request.body.clone());
                Reply::new(201, "").with("Docker-Content-Digest", digest(&request.body))
            }
            ("DELETE", _) => Reply::new(202, ""),
            (_, path) => match stored.get(path.trim_start_matches("/v2/a/b/")) {
                Some(bytes) => Reply::new(200, bytes.clone()),
                None => Reply::error(404, "NOT_FOUND", "not found"),
            },
        }
    })
    .await;
    let writer = Writer::new(server.endpoint(), Login::Basic, always()).expect("a writer");
    let blob = writer
        .push_blob("a/b", b"layer".to_vec())
        .await
        .expect("pushed");
    assert_eq!(
        writer.reader().blob("a/b", &blob).await.expect("the blob"),
        b"layer"
    );
    let pushed = writer
        .push_manifest("a/b", "v1", OCI, MANIFEST.to_vec())
        .await
        .expect("pushed");
    assert_eq!(
        writer
            .reader()
            .manifest("a/b", "v1")
            .await
            .expect("the manifest")
            .digest,
        pushed
    );
    writer
        .delete_manifest("a/b", &pushed)
        .await
        .expect("deleted");
    assert_eq!(
        server.calls().last().map(String::as_str),
        Some(format!("DELETE /v2/a/b/manifests/{pushed}").as_str())
    );
}

#[tokio::test]
async fn a_refused_push_says_whether_it_was_read_only() {
    let message = "The system is in read only mode. Any modification is prohibited.";
    let server = Server::start(move |_| Reply::error(403, "DENIED", message)).await;
    let writer = Writer::new(server.endpoint(), Login::Basic, always()).expect("a writer");
    let error = writer
        .push_blob("a/b", b"x".to_vec())
        .await
        .expect_err("read-only");
    assert_eq!(
        (error.kind(), error.sort()),
        (ErrorKind::ReadOnly, Sort::Permanent)
    );

    let server =
        Server::start(|_| Reply::error(403, "DENIED", "adding 1 MiB will exceed the quota")).await;
    let writer = Writer::new(server.endpoint(), Login::Basic, always()).expect("a writer");
    let error = writer
        .push_blob("a/b", b"x".to_vec())
        .await
        .expect_err("the quota");
    assert_eq!(error.kind(), ErrorKind::Forbidden);
}
