//! What is broken on request, and what the sandbox tells about itself.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use runbook_sim::{Direction, Edge, Fault, Mutation, Sandbox, SandboxOptions, Verdict};
use serde_json::json;

use crate::stage::{Stage, client};

async fn pair(direction: Direction) -> Stage {
    Stage::with(SandboxOptions {
        direction,
        time_scale: 200.0,
        ..SandboxOptions::default()
    })
    .await
}

/// Sets the read-only flag without caring for the answer.
async fn fence(stage: &Stage, read_only: bool) -> Result<u16, reqwest::Error> {
    let harbor = stage.harbor("dr");
    let request = client().put(format!("{}/api/v2.0/configurations", harbor.url()));
    let request = request
        .basic_auth("admin", Some(harbor.admin_password()))
        .timeout(Duration::from_millis(300));
    request
        .json(&json!({ "read_only": read_only }))
        .send()
        .await
        .map(|answer| answer.status().as_u16())
}

#[tokio::test]
async fn a_lost_reply_leaves_the_work_done() {
    let stage = pair(Direction::Pull).await;
    let path = Some("/configurations".to_owned());
    stage.harbor("dr").inject(Fault::LostReply {
        method: Some("PUT".to_owned()),
        path,
        times: Some(1),
    });
    let error = fence(&stage, true).await.expect_err("no reply");
    assert!(!error.is_connect() && !error.is_timeout(), "{error:?}");
    assert!(stage.harbor("dr").is_read_only());
    assert_eq!(fence(&stage, false).await.expect("an answer"), 200);
    let log = stage.sandbox.log();
    assert_eq!((log[0].replied, log[1].replied), (false, true));
    assert_eq!(
        (log[0].effect.as_str(), log[1].effect.as_str()),
        ("read_only false -> true", "read_only true -> false")
    );
    assert_eq!(
        stage.sandbox.effects()[&("PUT".to_owned(), "dr/configurations".to_owned())],
        2
    );
}

#[tokio::test]
async fn a_delayed_request_is_applied_after_its_client_has_gone() {
    let stage = pair(Direction::Pull).await;
    stage.harbor("dr").inject(Fault::Delay {
        method: None,
        path: None,
        delay_ms: 600,
        times: Some(1),
    });
    assert!(
        fence(&stage, true)
            .await
            .expect_err("too late")
            .is_timeout()
    );
    assert!(!stage.harbor("dr").is_read_only());
    stage
        .until("the request is applied", |sandbox| {
            sandbox.dr().is_read_only()
        })
        .await;
}

#[tokio::test]
async fn a_site_that_is_down_refuses_and_comes_back() {
    let stage = pair(Direction::Pull).await;
    let kept = client();
    let url = format!("{}/api/v2.0/ping", stage.harbor("dr").url());
    assert_eq!(
        kept.get(&url).send().await.expect("an answer").status(),
        200
    );
    stage.harbor("dr").inject(Fault::Down);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = kept.get(&url).send().await.expect_err("refused");
    assert!(
        error.is_connect(),
        "an open connection is closed too: {error:?}"
    );
    stage
        .harbor("dr")
        .repair(&Fault::Down)
        .await
        .expect("the address is free");
    assert_eq!(
        kept.get(&url).send().await.expect("an answer").status(),
        200
    );
}

#[tokio::test]
async fn a_hanging_site_applies_nothing_and_a_broken_one_answers_as_told() {
    let stage = pair(Direction::Pull).await;
    let hang = Fault::Hang {
        method: None,
        path: None,
    };
    stage.harbor("dr").inject(hang.clone());
    assert!(
        fence(&stage, true)
            .await
            .expect_err("no answer")
            .is_timeout()
    );
    stage.harbor("dr").repair(&hang).await.expect("repaired");
    stage.harbor("dr").inject(Fault::Status {
        method: None,
        path: None,
        status: 502,
        times: Some(2),
    });
    assert_eq!(fence(&stage, true).await.expect("an answer"), 502);
    assert_eq!(fence(&stage, true).await.expect("an answer"), 502);
    assert!(!stage.harbor("dr").is_read_only());
    assert_eq!(fence(&stage, true).await.expect("an answer"), 200);
}

#[tokio::test]
async fn somebody_interferes_between_read_and_write() {
    let stage = pair(Direction::Pull).await;
    let mutation = Mutation::PolicyDescription {
        policy: "dr-forward".to_owned(),
        description: "theirs".to_owned(),
    };
    let path = Some("/replication/policies/1".to_owned());
    stage.harbor("dr").inject(Fault::Interfere {
        method: Some("PUT".to_owned()),
        path,
        nth: 1,
        mutation,
    });
    let path = "/api/v2.0/replication/policies/1";
    let policy = stage.ask("dr", "GET", path, None).await.body;
    assert_eq!(stage.ask("dr", "PUT", path, Some(policy)).await.status, 200);
    let effect = &stage.sandbox.log()[0].effect;
    assert_eq!(effect, "description theirs -> made by the sandbox");
}

#[tokio::test]
async fn a_hook_sees_both_edges_and_decides() {
    let stage = pair(Direction::Pull).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    stage.sandbox.on_request(Arc::new(move |request| {
        let mut seen = kept.lock().expect("no panic");
        seen.push((request.edge, request.mutating, request.status));
        match seen.len() {
            1 => Verdict::NotApplied,
            2 => Verdict::NoReply,
            6 => Verdict::Answer(503),
            _ => Verdict::Continue,
        }
    }));
    fence(&stage, true)
        .await
        .expect_err("not applied, no reply");
    assert!(!stage.harbor("dr").is_read_only());
    fence(&stage, true).await.expect_err("applied, no reply");
    assert!(stage.harbor("dr").is_read_only());
    assert_eq!(fence(&stage, false).await.expect("an answer"), 200);
    assert_eq!(fence(&stage, true).await.expect("an answer"), 503);
    assert!(!stage.harbor("dr").is_read_only());
    assert_eq!(
        *seen.lock().expect("no panic"),
        [
            (Edge::Before, true, None),
            (Edge::Before, true, None),
            (Edge::After, true, Some(200)),
            (Edge::Before, true, None),
            (Edge::After, true, Some(200)),
            (Edge::Before, true, None),
            (Edge::After, true, Some(503)),
        ]
    );
}

#[tokio::test]
async fn a_push_pair_carries_pushes_and_deletions() {
    let stage = pair(Direction::Push).await;
    let primary = stage.harbor("primary");
    let digest = primary
        .push_tag("production/new/app", "v9", "nine")
        .expect("a push");
    stage
        .until("the tag arrives", |sandbox| {
            sandbox.dr().digest("production/app", "v9").as_deref() == Some(&digest)
                || sandbox.dr().digest("production/new/app", "v9").as_deref() == Some(&digest)
        })
        .await;
    assert_eq!(
        stage.harbor("dr").digest("production/new/app", "v9"),
        Some(digest)
    );
    primary
        .delete_tag("production/new/app", "v9")
        .expect("the tag is there");
    stage
        .until("the tag goes", |sandbox| {
            sandbox.dr().digest("production/new/app", "v9").is_none()
        })
        .await;
    let manifests = &stage.harbor("dr").snapshot().repositories["production/new/app"].manifests;
    assert_eq!(manifests.len(), 1, "the artifact stays");
}

#[tokio::test]
async fn a_pull_pair_brings_everything_over_and_only_adds() {
    let stage = pair(Direction::Pull).await;
    assert_eq!(stage.harbor("primary").snapshot().repositories.len(), 4);
    stage
        .harbor("primary")
        .push_tag("production/app", "fresh", "fresh")
        .expect("a push");
    stage
        .harbor("primary")
        .delete_tag("production/app", "dev-1")
        .expect("the tag is there");
    let id = stage.start("dr", 1).await;
    stage
        .execution_when("dr", id, |one| one["status"] == "Succeed")
        .await;
    let dr = stage.harbor("dr").snapshot().repositories;
    assert!(dr["production/app"].tags.contains_key("fresh"));
    assert!(
        dr["production/app"].tags.contains_key("dev-1"),
        "deletions do not travel by pull"
    );
}

#[tokio::test]
async fn a_disabled_robot_copies_nothing_that_is_private() {
    let stage = pair(Direction::Pull).await;
    let off = Mutation::RobotDisabled {
        robot: "dr-replication".to_owned(),
        disabled: true,
    };
    stage
        .harbor("primary")
        .change(&off)
        .expect("the robot is there");
    stage
        .harbor("primary")
        .push_tag("production/app", "fresh", "fresh")
        .expect("a push");
    let id = stage.start("dr", 1).await;
    stage
        .execution_when("dr", id, |one| one["status"] != "InProgress")
        .await;
    assert!(
        stage
            .harbor("dr")
            .digest("production/app", "fresh")
            .is_none()
    );
}

#[tokio::test]
async fn copies_nothing_is_called_a_success() {
    let stage = pair(Direction::Pull).await;
    stage
        .harbor("primary")
        .push_tag("production/app", "fresh", "fresh")
        .expect("a push");
    stage
        .harbor("dr")
        .inject(Fault::CopiesNothing { times: Some(1) });
    let id = stage.start("dr", 1).await;
    let execution = stage
        .execution_when("dr", id, |one| one["status"] != "InProgress")
        .await;
    assert_eq!(
        (&execution["status"], &execution["total"]),
        (&json!("Succeed"), &json!(0))
    );
    assert!(
        stage
            .harbor("dr")
            .digest("production/app", "fresh")
            .is_none()
    );
}

#[tokio::test]
async fn quota_clock_and_schedule_can_be_broken() {
    let stage = pair(Direction::Pull).await;
    let dr = stage.harbor("dr");
    dr.inject(Fault::QuotaFull {
        project: Some("production".to_owned()),
    });
    assert!(dr.push_tag("production/app", "x", "x").is_err());
    assert!(dr.push_tag("library/base", "x", "x").is_ok());
    dr.inject(Fault::ClockSkew {
        offset_ms: 3_600_000,
    });
    let time =
        |answer: &crate::stage::Answer| answer.body["current_time"].as_str().map(str::to_owned);
    let (here, there) = (
        stage
            .ask("primary", "GET", "/api/v2.0/systeminfo", None)
            .await,
        stage.ask("dr", "GET", "/api/v2.0/systeminfo", None).await,
    );
    assert_ne!(
        time(&here).map(|time| time[..13].to_owned()),
        time(&there).map(|time| time[..13].to_owned())
    );
    let schedules = async || {
        let all = stage
            .ask("dr", "GET", "/api/v2.0/schedules", None)
            .await
            .body;
        all.as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["vendor_type"] == "REPLICATION")
            .count()
    };
    assert_eq!(schedules().await, 1);
    dr.inject(Fault::LostSchedule {
        policy: "dr-forward".to_owned(),
    });
    assert_eq!(schedules().await, 0);
}

#[tokio::test]
async fn the_control_port_steers_from_outside() {
    let sandbox = Sandbox::start(SandboxOptions {
        time_scale: 100.0,
        ..SandboxOptions::default()
    })
    .await
    .expect("a sandbox");
    let control = |method: &str, path: &str, body: serde_json::Value| {
        let url = format!("{}{path}", sandbox.control_url());
        client()
            .request(method.parse().expect("a method"), url)
            .json(&body)
            .send()
    };
    let fault = json!({ "site": "dr", "fault": { "kind": "down" } });
    assert_eq!(
        control("POST", "/fault", fault)
            .await
            .expect("an answer")
            .status(),
        200
    );
    assert_eq!(sandbox.dr().faults(), [Fault::Down]);
    assert_eq!(
        control("DELETE", "/fault", json!({}))
            .await
            .expect("an answer")
            .status(),
        200
    );
    assert!(sandbox.dr().faults().is_empty());
    let pushed =
        json!({ "site": "primary", "repository": "production/app", "tag": "from-outside" });
    assert_eq!(
        control("POST", "/push", pushed)
            .await
            .expect("an answer")
            .status(),
        200
    );
    assert!(
        sandbox
            .primary()
            .digest("production/app", "from-outside")
            .is_some()
    );
    let flag = json!({ "site": "primary", "read-only": true });
    assert_eq!(
        control("POST", "/read-only", flag)
            .await
            .expect("an answer")
            .status(),
        200
    );
    let url = format!("{}/state", sandbox.control_url());
    let state: serde_json::Value = client()
        .get(url)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(state["world"]["sites"]["primary"]["read_only"], true);
    let unknown = json!({ "site": "moon", "read-only": true });
    assert_eq!(
        control("POST", "/read-only", unknown)
            .await
            .expect("an answer")
            .status(),
        404
    );
}

#[tokio::test]
async fn the_runbook_names_secrets_only_by_file() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::start(SandboxOptions {
        direction: Direction::Push,
        ..SandboxOptions::default()
    })
    .await
    .expect("a sandbox");
    let folder = std::env::temp_dir().join(format!(
        "sandbox-secrets-{}",
        sandbox.primary().address().port()
    ));
    std::fs::create_dir_all(&folder).expect("a folder");
    let yaml = sandbox.runbook_yaml(&folder).expect("written");
    assert!(!yaml.contains(sandbox.primary().admin_password()));
    assert!(yaml.contains("final-reverse-sync: dr-final-reverse-sync"));
    let file = folder.join("primary-password");
    assert_eq!(
        std::fs::read_to_string(&file).expect("readable"),
        sandbox.primary().admin_password()
    );
    assert_eq!(
        std::fs::metadata(&file)
            .expect("there")
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[tokio::test]
async fn two_runs_that_end_alike_have_equal_snapshots() {
    let stage = pair(Direction::Pull).await;
    let before = stage.sandbox.snapshot();
    let id = stage.start("dr", 1).await;
    stage
        .execution_when("dr", id, |one| one["status"] == "Succeed")
        .await;
    let after = stage.sandbox.snapshot();
    assert_ne!(before, after);
    assert_eq!(before.without_history(), after.without_history());
}
