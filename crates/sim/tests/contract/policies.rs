//! Policies, as recorded in `policies`: all validations, the full replacement, paging.

use crate::stage::{Stage, Tolerate, recording};

#[tokio::test]
async fn policies_answer_as_recorded() {
    let mut stage = Stage::bare(100.0).await;
    stage.add_endpoint().await;
    // The recording changed the description of the endpoint before.
    let changed = recording("registries")
        .into_iter()
        .find(|one| one.note().contains("only description"));
    stage.replay(&changed.expect("recorded"), &[]).await;
    // One policy was there when the recording began.
    let first = recording("first-replication").into_iter().find(|one| {
        one.method() == "POST" && one.path().ends_with("/policies") && one.instance() == "dr"
    });
    stage.replay(&first.expect("recorded"), &[]).await;
    for exchange in recording("policies") {
        // Deletes between the parts were not recorded, so lists are longer here.
        let is_list = exchange.method() == "GET"
            && (exchange.path().ends_with("/policies") || exchange.path().contains("/policies?"));
        let tolerated: &[Tolerate] = if is_list {
            &[Tolerate::Amount, Tolerate::Body]
        } else {
            &[]
        };
        let answer = stage.replay(&exchange, tolerated).await;
        if exchange.note().starts_with("paging") && exchange.path().contains("page=1") {
            let link = answer.header("link").expect("a link to the next page");
            assert_eq!(
                link,
                "</api/v2.0/replication/policies?page=2&page_size=2>; rel=\"next\""
            );
            assert_eq!(answer.body.as_array().map(Vec::len), Some(2));
        }
    }
}

#[tokio::test]
async fn a_policy_read_and_written_back_is_unchanged() {
    let stage = Stage::with(runbook_sim::SandboxOptions::default()).await;
    let before = stage.harbor("dr").snapshot().policies;
    let path = "/api/v2.0/replication/policies/1";
    let mut policy = stage.ask("dr", "GET", path, None).await.body;
    assert_eq!(policy["enabled"], true);
    policy["enabled"] = serde_json::json!(false);
    assert_eq!(stage.ask("dr", "PUT", path, Some(policy)).await.status, 200);
    let mut policy = stage.ask("dr", "GET", path, None).await.body;
    assert!(
        policy.get("enabled").is_none(),
        "a disabled policy has no such key"
    );
    policy["enabled"] = serde_json::json!(true);
    assert_eq!(stage.ask("dr", "PUT", path, Some(policy)).await.status, 200);
    assert_eq!(stage.harbor("dr").snapshot().policies, before);
    let effects: Vec<_> = stage
        .sandbox
        .log()
        .into_iter()
        .map(|entry| (entry.object, entry.effect))
        .collect();
    assert_eq!(
        effects[0],
        (
            "policy dr-forward".to_owned(),
            "enabled true -> false".to_owned()
        )
    );
    assert_eq!(
        effects[1],
        (
            "policy dr-forward".to_owned(),
            "enabled false -> true".to_owned()
        )
    );
}
