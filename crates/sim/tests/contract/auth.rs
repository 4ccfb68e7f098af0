//! Credentials and errors, as recorded in `errors-auth`.

use runbook_sim::{Realm, SandboxOptions};

use crate::stage::{Stage, Tolerate, client, recording};

#[tokio::test]
async fn credentials_and_errors_answer_as_recorded() {
    let mut stage = Stage::bare(100.0).await;
    stage.fill().await;
    for exchange in recording("errors-auth") {
        // Form logins are not part of the sandbox; sessions are tested below.
        if exchange.path() == "/c/login"
            || exchange.note().contains("cookie")
            || exchange.note().contains("session")
        {
            continue;
        }
        // The recording lists the repositories of the time; the others are counted by it too.
        let tolerated: &[Tolerate] = if exchange.path().contains("_catalog") {
            &[Tolerate::Amount]
        } else {
            &[]
        };
        stage.replay(&exchange, tolerated).await;
    }
}

#[tokio::test]
async fn a_kept_session_cookie_makes_the_next_write_a_forgery() {
    let stage = Stage::bare(100.0).await;
    let harbor = stage.harbor("primary");
    let write = |cookie: Option<&str>| {
        let url = format!("{}/api/v2.0/replication/executions", harbor.url());
        let request = client()
            .post(url)
            .basic_auth("admin", Some(harbor.admin_password()));
        let request = request.json(&serde_json::json!({ "policy_id": 999_999 }));
        match cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    };
    assert_eq!(write(None).send().await.expect("an answer").status(), 404);
    let refused = write(Some("sid=abc")).send().await.expect("an answer");
    assert_eq!(refused.status(), 403);
    assert!(refused.headers().contains_key("x-harbor-csrf-token"));
    assert!(
        refused
            .text()
            .await
            .expect("a body")
            .contains("CSRF token invalid")
    );
}

#[tokio::test]
async fn a_token_allows_what_its_holder_may_do() {
    let mut stage = Stage::bare(100.0).await;
    stage.fill().await;
    let harbor = stage.harbor("primary");
    let manifest = format!("{}/v2/production/app/manifests/v1.0.0", harbor.url());
    let anonymous = client().get(&manifest).send().await.expect("an answer");
    assert_eq!(anonymous.status(), 401);
    let challenge = anonymous.headers()["www-authenticate"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(
        challenge.starts_with(&format!("Bearer realm=\"{}/service/token\"", harbor.url())),
        "{challenge}"
    );
    assert!(
        challenge.ends_with("scope=\"repository:production/app:pull\""),
        "{challenge}"
    );
    for (password, status) in [(harbor.admin_password(), 200), ("wrong", 401)] {
        let url = format!(
            "{}/service/token?service=harbor-registry&scope=repository:production/app:pull",
            harbor.url()
        );
        let answer = client()
            .get(url)
            .basic_auth("admin", Some(password))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200, "a token is always given");
        let token: serde_json::Value = answer.json().await.expect("JSON");
        let pulled = client()
            .get(&manifest)
            .bearer_auth(token["token"].as_str().expect("a token"));
        assert_eq!(pulled.send().await.expect("an answer").status(), status);
    }
}

#[tokio::test]
async fn the_realm_can_follow_the_host() {
    for (realm, wanted) in [
        (Realm::ExternalUrl, None),
        (Realm::FollowsHost, Some("harbor.sandbox.test:80")),
    ] {
        let stage = Stage::with(SandboxOptions {
            realm,
            ..SandboxOptions::default()
        })
        .await;
        let harbor = stage.harbor("dr");
        let request = client()
            .get(format!("{}/v2/", harbor.url()))
            .header("host", "harbor.sandbox.test:80");
        let answer = request.send().await.expect("an answer");
        let challenge = answer.headers()["www-authenticate"]
            .to_str()
            .expect("text")
            .to_owned();
        let host = wanted.map_or_else(|| harbor.address().to_string(), str::to_owned);
        assert_eq!(
            challenge,
            format!("Bearer realm=\"http://{host}/service/token\",service=\"harbor-registry\"")
        );
    }
}
