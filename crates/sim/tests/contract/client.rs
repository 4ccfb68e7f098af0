//! The project's own client works against the sandbox: each of its calls, once.

use std::{sync::Arc, time::Duration};

use runbook_harbor::{
    ArtifactQuery, Endpoint, ExecutionStatus, Identity, Ping, Reader, Writer, oci,
};
use runbook_sim::{Fault, Harbor, SandboxOptions};

use crate::stage::Stage;

fn endpoint(harbor: &Harbor, user: &str, password: &str) -> Endpoint {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Endpoint {
        site: harbor.name().to_owned(),
        url: harbor.url().parse().expect("a URL"),
        user: user.to_owned(),
        password: password.to_owned().into(),
        timeout: Duration::from_secs(5),
        connect_to: None,
        ca_pem: None,
    }
}

fn writer(harbor: &Harbor) -> Writer {
    Writer::new(
        endpoint(harbor, "admin", harbor.admin_password()),
        Arc::new(|| Ok(())),
    )
    .expect("a client")
}

#[tokio::test]
async fn every_read_of_the_client_is_answered() {
    let stage = Stage::with(SandboxOptions {
        time_scale: 200.0,
        ..SandboxOptions::default()
    })
    .await;
    let dr = writer(stage.harbor("dr")).reader().clone();
    assert!(dr.health().await.expect("health").is_healthy());
    assert!(!dr.read_only().await.expect("the flag"));
    assert_eq!(
        dr.identity().await.expect("who"),
        Identity::User {
            name: "admin".to_owned(),
            administrator: true
        }
    );
    dr.system_info().await.expect("system info");
    dr.configurations().await.expect("configurations");
    dr.volumes().await.expect("volumes");
    dr.quota("production").await.expect("the quota");
    let registry = &dr.registries().await.expect("registries")[0];
    assert_eq!(registry.name, "primary");
    dr.registry(registry.id).await.expect("one registry");
    assert_eq!(
        dr.ping_registry(registry.id).await.expect("a ping"),
        Ping::Ok
    );
    let policy = dr
        .policy_named("dr-forward")
        .await
        .expect("policies")
        .expect("it is there");
    assert!(policy.enabled && policy.is_pull());
    assert_eq!(dr.policies().await.expect("policies").len(), 1);
    let robot = dr
        .robot_named("dr-replication")
        .await
        .expect("robots")
        .expect("it is there");
    assert!(!dr.robot(robot.id).await.expect("one robot").disabled);
    assert_eq!(dr.projects().await.expect("projects").len(), 2);
    dr.project("production").await.expect("one project");
    let repositories = dr.repositories("production").await.expect("repositories");
    assert_eq!(repositories.len(), 3);
    let query = ArtifactQuery {
        with_label: true,
        with_accessory: true,
    };
    let mut artifacts = 0;
    for repository in &repositories {
        artifacts += dr
            .artifacts("production", repository.name_in_project(), &query)
            .await
            .expect("artifacts")
            .len();
    }
    assert_eq!(artifacts, 5);
    let robot = stage
        .harbor("dr")
        .robot_secret("dr-replication")
        .expect("a secret");
    let robot = Reader::new(endpoint(stage.harbor("dr"), "robot$dr-replication", &robot))
        .expect("a client");
    assert_eq!(robot.identity().await.expect("who"), Identity::Robot);
    let manifest = dr
        .oci()
        .manifest("production/web", "v2.0.0")
        .await
        .expect("a manifest");
    assert_eq!(
        dr.oci()
            .head_manifest("production/web", &manifest.digest)
            .await
            .expect("a head")
            .digest,
        manifest.digest
    );
    assert_eq!(
        dr.oci().tags("production/app").await.expect("tags").len(),
        4
    );
    assert!(
        stage.sandbox.log().is_empty(),
        "reading writes nothing: {:?}",
        stage.sandbox.log()
    );
}

#[tokio::test]
async fn every_write_of_the_client_takes_effect() {
    let stage = Stage::with(SandboxOptions {
        time_scale: 200.0,
        ..SandboxOptions::default()
    })
    .await;
    let harbor = stage.harbor("dr");
    let dr = writer(harbor);
    let policy = dr
        .reader()
        .policy_named("dr-forward")
        .await
        .expect("policies")
        .expect("it is there");
    assert!(
        !dr.set_policy_enabled(policy.id, false)
            .await
            .expect("disabled")
            .enabled
    );
    assert_eq!(harbor.is_policy_enabled("dr-forward"), Some(false));
    dr.start_execution(policy.id)
        .await
        .expect_err("a disabled policy is not started");
    dr.set_policy_enabled(policy.id, true)
        .await
        .expect("enabled");
    stage
        .harbor("primary")
        .push_tag("production/app", "fresh", "fresh")
        .expect("a push");
    let mark = dr
        .reader()
        .highest_execution(policy.id)
        .await
        .expect("the mark");
    let id = dr.start_execution(policy.id).await.expect("started");
    assert_eq!(
        dr.reader()
            .executions_above(policy.id, mark)
            .await
            .expect("executions")[0]
            .id,
        id
    );
    stage
        .execution_when("dr", id, |one| one["status"] == "Succeed")
        .await;
    assert_eq!(
        dr.reader()
            .execution(id)
            .await
            .expect("one execution")
            .status,
        ExecutionStatus::Succeed
    );
    assert_eq!(dr.reader().tasks(id).await.expect("tasks").len(), 4);
    dr.stop_execution(id)
        .await
        .expect("stopping what is over changes nothing");
    assert!(harbor.digest("production/app", "fresh").is_some());

    let robot = dr
        .reader()
        .robot_named("dr-replication")
        .await
        .expect("robots")
        .expect("it is there");
    assert!(
        dr.set_robot_disabled(robot.id, true)
            .await
            .expect("disabled")
            .disabled
    );
    assert!(
        !dr.set_robot_disabled(robot.id, false)
            .await
            .expect("enabled")
            .disabled
    );
    dr.delete_tag("production", "app", "fresh", "fresh")
        .await
        .expect("deleted");
    assert!(harbor.digest("production/app", "fresh").is_none());

    let endpoint = endpoint(harbor, "admin", harbor.admin_password());
    let registry =
        oci::Writer::new(endpoint, oci::Login::Token, Arc::new(|| Ok(()))).expect("a client");
    let blob = registry
        .push_blob("library/probe", b"{}".to_vec())
        .await
        .expect("a blob");
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"{blob}"}},"layers":[]}}"#
    );
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let digest = registry
        .push_manifest("library/probe", "canary", media_type, manifest.into_bytes())
        .await
        .expect("pushed");
    assert_eq!(
        harbor.digest("library/probe", "canary").as_deref(),
        Some(digest.as_str())
    );
    registry
        .delete_manifest("library/probe", &digest)
        .await
        .expect("deleted");
    assert!(harbor.digest("library/probe", "canary").is_none());

    dr.set_read_only(true).await.expect("fenced");
    assert!(dr.reader().read_only().await.expect("the flag"));
    dr.set_policy_enabled(policy.id, false)
        .await
        .expect_err("a read-only Harbor refuses it");
    dr.set_read_only(false).await.expect("lifted");
    harbor.inject(Fault::ComponentDown {
        component: "database".to_owned(),
    });
    harbor.refresh_health();
    assert!(
        dr.reader()
            .health()
            .await
            .expect("health")
            .database_is_down()
    );
    dr.reader()
        .policies()
        .await
        .expect_err("nobody can be logged in");
}
