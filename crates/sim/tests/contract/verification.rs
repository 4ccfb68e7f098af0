//! Looking at images, as recorded in `setup` and `verification`.

use runbook_sim::SandboxOptions;
use serde_json::Value;

use crate::stage::{Stage, Tolerate, client, recording};

#[tokio::test]
async fn images_are_shown_as_recorded() {
    let mut stage = Stage::bare(100.0).await;
    for exchange in &recording("setup")[..6] {
        stage.replay(exchange, &[]).await;
    }
    let primary = stage.harbor("primary");
    for tag in ["v1.0.0", "v1.2.3", "latest"] {
        primary
            .push_tag("production/app", tag, tag)
            .expect("a push");
    }
    primary
        .push_tag("production/team/tool", "v1", "tool")
        .expect("a push");
    let dr = stage
        .ask(
            "dr",
            "POST",
            "/api/v2.0/projects",
            Some(serde_json::json!({ "project_name": "production" })),
        )
        .await;
    assert_eq!(dr.status, 201);
    stage
        .harbor("dr")
        .push_tag("production/app", "v1.0.0", "v1.0.0")
        .expect("a push");
    for exchange in recording("verification") {
        // How many tags, policies and artifacts there were is not the point here; policies have a test of their own.
        let counts = ["tags/list", "_catalog", "/artifacts?page_size", "/policies"];
        // The second artifact of the recording had lost its tag to a later push.
        let tolerated: &[Tolerate] =
            if exchange.path().contains("/policies") || exchange.note() == "artifacts paged" {
                &[Tolerate::Amount, Tolerate::Body]
            } else if counts.iter().any(|part| exchange.path().contains(part)) {
                &[Tolerate::Amount]
            } else {
                &[]
            };
        // When an artifact or tag was pulled last, only its own history tells: same type either way.
        stage.replay(&exchange, tolerated).await;
    }
}

#[tokio::test]
async fn an_image_is_pushed_and_pulled_byte_for_byte() {
    let stage = Stage::with(SandboxOptions::default()).await;
    let harbor = stage.harbor("primary");
    let send = |method: &str, path: &str, body: Vec<u8>| {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", harbor.url())
        };
        client()
            .request(method.parse().expect("a method"), url)
            .basic_auth("admin", Some(harbor.admin_password()))
            .header("content-type", "application/vnd.oci.image.manifest.v1+json")
            .body(body)
            .send()
    };
    let config = b"{}".to_vec();
    let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let begun = send("POST", "/v2/library/probe/blobs/uploads/", Vec::new())
        .await
        .expect("an answer");
    assert_eq!(begun.status(), 202);
    let location = begun.headers()["location"]
        .to_str()
        .expect("text")
        .to_owned();
    assert_eq!(
        send("PATCH", &location, config)
            .await
            .expect("an answer")
            .status(),
        202
    );
    let ended = send("PUT", &format!("{location}&digest={digest}"), Vec::new())
        .await
        .expect("an answer");
    assert_eq!(ended.status(), 201);
    assert_eq!(ended.headers()["docker-content-digest"], digest);
    let mounted = format!("/v2/library/other/blobs/uploads/?mount={digest}&from=library/probe");
    assert_eq!(
        send("POST", &mounted, Vec::new())
            .await
            .expect("an answer")
            .status(),
        201
    );

    let descriptor = serde_json::json!({ "mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": digest });
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": descriptor, "layers": [] })
        .to_string()
        .into_bytes();
    let missing = serde_json::json!({ "schemaVersion": 2, "config": { "digest": "sha256:00" }, "layers": [] }).to_string();
    let refused = send("PUT", "/v2/library/probe/manifests/t", missing.into_bytes())
        .await
        .expect("an answer");
    assert_eq!(
        refused.status(),
        404,
        "a manifest without its blobs is refused"
    );
    let put = send("PUT", "/v2/library/probe/manifests/t", manifest.clone())
        .await
        .expect("an answer");
    assert_eq!(put.status(), 201);
    let own = put.headers()["docker-content-digest"]
        .to_str()
        .expect("text")
        .to_owned();
    let pulled = send(
        "GET",
        &format!("/v2/library/probe/manifests/{own}"),
        Vec::new(),
    )
    .await
    .expect("an answer");
    assert_eq!(pulled.bytes().await.expect("bytes"), manifest);
    let deleted = send(
        "DELETE",
        &format!("/v2/library/probe/manifests/{own}"),
        Vec::new(),
    )
    .await
    .expect("an answer");
    assert_eq!(deleted.status(), 202);
    let gone = send("HEAD", "/v2/library/probe/manifests/t", Vec::new())
        .await
        .expect("an answer");
    assert_eq!(gone.status(), 404);
}

#[tokio::test]
async fn an_index_and_an_accessory_are_no_artifacts_of_their_own() {
    let stage = Stage::with(SandboxOptions::default()).await;
    let artifacts = async |repository: &str| {
        let path = format!(
            "/api/v2.0/projects/production/repositories/{repository}/artifacts?with_accessory=true"
        );
        stage.ask("primary", "GET", &path, None).await.body
    };
    let web = artifacts("web").await;
    assert_eq!(web.as_array().map(Vec::len), Some(1));
    assert_eq!(web[0]["references"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        web[0]["manifest_media_type"],
        "application/vnd.oci.image.index.v1+json"
    );
    let app = artifacts("app").await;
    let signed: Vec<&Value> = app
        .as_array()
        .expect("a list")
        .iter()
        .filter(|artifact| artifact["accessories"].is_array())
        .collect();
    assert_eq!(signed.len(), 1);
    assert_eq!(signed[0]["tags"][0]["name"], "v1.0.0");
}
