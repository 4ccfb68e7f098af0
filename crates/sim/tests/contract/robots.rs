//! Robots, as recorded in `robots` and `robot-endpoints`.

use crate::stage::{Stage, Tolerate, recording};

#[tokio::test]
async fn robots_answer_as_recorded() {
    let mut stage = Stage::bare(100.0).await;
    stage.fill().await;
    let primary_to_dr = recording("registries")
        .into_iter()
        .last()
        .expect("recorded");
    stage.replay(&primary_to_dr, &[]).await;
    for exchange in recording("robots") {
        // Bodies of pushes were not recorded; pushes are tested in `verification`.
        if exchange.path().starts_with("/v2/")
            && !matches!(exchange.method(), "GET" | "HEAD" | "POST")
        {
            continue;
        }
        // The recording had one push policy with one execution by then, and no dev user in between.
        let is_list = exchange.path().contains("/replication/") && exchange.method() == "GET";
        let tolerated: &[Tolerate] = if is_list || exchange.path().contains("/repositories") {
            &[Tolerate::Amount]
        } else {
            &[]
        };
        stage.replay(&exchange, tolerated).await;
    }
}

#[tokio::test]
async fn the_rights_of_an_endpoint_show_at_run_time() {
    let mut stage = Stage::bare(300.0).await;
    stage.fill().await;
    for exchange in recording("robot-endpoints").into_iter().take(24) {
        let is_read = exchange.method() == "GET";
        let is_log = exchange.path().ends_with("/log");
        if is_read && !is_log && !exchange.path().ends_with("/tasks") {
            let wanted = exchange.0["response_body"]["status"].clone();
            stage
                .replay_when(&exchange, &[], |body| body["status"] == wanted)
                .await;
        } else {
            // The text of a task's log is not compared: the lines follow from the images.
            stage
                .replay(&exchange, if is_log { &[Tolerate::Body] } else { &[] })
                .await;
        }
    }
}

#[tokio::test]
async fn a_robot_can_be_disabled_and_given_a_secret() {
    let stage = Stage::with(runbook_sim::SandboxOptions {
        time_scale: 100.0,
        ..Default::default()
    })
    .await;
    let harbor = stage.harbor("dr");
    let path = "/api/v2.0/robots/1";
    let mut robot = stage.ask("dr", "GET", path, None).await.body;
    assert_eq!(robot["name"], "robot$dr-replication");
    robot["disable"] = serde_json::json!(true);
    assert_eq!(
        stage
            .ask("dr", "PUT", path, Some(robot.clone()))
            .await
            .status,
        200
    );
    assert!(harbor.snapshot().robots["dr-replication"]);
    let url = format!("{}/v2/", harbor.url());
    let secret = harbor.robot_secret("dr-replication").expect("a secret");
    let log_in = || {
        crate::stage::client()
            .get(&url)
            .basic_auth("robot$dr-replication", Some(&secret))
            .send()
    };
    assert_eq!(log_in().await.expect("an answer").status(), 401);
    robot["disable"] = serde_json::json!(false);
    assert_eq!(stage.ask("dr", "PUT", path, Some(robot)).await.status, 200);
    assert_eq!(log_in().await.expect("an answer").status(), 200);
    let given = serde_json::json!({ "secret": format!("{secret}X") });
    assert_eq!(
        stage.ask("dr", "PATCH", path, Some(given)).await.body,
        serde_json::json!({})
    );
    assert_eq!(log_in().await.expect("an answer").status(), 401);
}
