//! Bad days at the Harbors and at the DNS server: what is said, how the world is left, and that it goes on later.

use runbook_sim::{Fault, Mutation, dns};

use crate::aborting::CUTOVER;
use crate::pair::{Pair, Ran};
use crate::stage::{self, ELSEWHERE, FRESH, PLANNED, RESUME, Watched, at_update, tags};

/// A run that does not begin, because of what the check finds.
async fn refused(pair: &Pair, words: &[&str]) -> Ran {
    let ran = pair.expect(3, PLANNED).await;
    ran.says(words);
    ran.says(&["nothing was changed", "--dry-run"]);
    assert_eq!(pair.serves(), "primary");
    let wrote: Vec<_> = pair
        .sandbox
        .log()
        .into_iter()
        .filter(|entry| !entry.effect.is_empty())
        .collect();
    assert!(wrote.is_empty(), "{wrote:#?}");
    ran
}

/// After the repair the same command does it.
async fn goes_on(pair: &Pair) {
    let before = tags(pair.sandbox.primary());
    pair.expect(0, PLANNED).await;
    pair.is_moved(&before);
}

fn put_secret(pair: &Pair, name: &str, value: &str) {
    std::fs::write(pair.folder().join("secrets").join(name), value).expect("the secret is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_standby_is_named() {
    let pair = stage::pull().await;
    pair.sandbox.dr().inject(Fault::Down);
    refused(&pair, &["harbor `dr` cannot be reached"]).await;
    pair.sandbox.dr().repair_all().await.expect("repaired");
    goes_on(&pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_hangs_is_given_up_after_its_timeout() {
    let pair = stage::pull().await;
    pair.edit_config(|text| text.replace("timeout: 5s", "timeout: 500ms"));
    pair.sandbox.dr().inject(Fault::Hang {
        method: None,
        path: None,
    });
    refused(&pair, &["dr"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_called_one() {
    let pair = stage::pull().await;
    let right = pair.sandbox.dr().admin_password().to_owned();
    let wrong = format!("Wrong{:x}", std::process::id());
    put_secret(&pair, "dr-password", &wrong);
    let ran = refused(&pair, &["dr", "password"]).await;
    assert!(!ran.stderr.contains(&wrong), "{}", ran.stderr);
    put_secret(&pair, "dr-password", &right);
    goes_on(&pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_down_is_not_called_a_wrong_password() {
    let pair = stage::pull().await;
    pair.sandbox.primary().inject(Fault::ComponentDown {
        component: "database".into(),
    });
    pair.sandbox.primary().refresh_health();
    let ran = refused(&pair, &["primary", "database"]).await;
    assert!(!ran.stderr.contains("wrong password"), "{}", ran.stderr);
    pair.sandbox.primary().repair_all().await.expect("repaired");
    pair.sandbox.primary().refresh_health();
    goes_on(&pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_robot_is_not_enough() {
    let pair = stage::pull().await;
    let secret = pair
        .sandbox
        .dr()
        .robot_secret("dr-replication")
        .expect("there is one");
    put_secret(&pair, "dr-password", &secret);
    pair.edit_config(|text| {
        let at = text.rfind("user: admin").expect("a user");
        format!(
            "{}user: \"robot$dr-replication\"{}",
            &text[..at],
            &text[at + "user: admin".len()..]
        )
    });
    refused(&pair, &["dr", "robot", "administrator"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_is_missing_is_named() {
    for (site, policy) in [("dr", "dr-forward"), ("primary", "dr-reverse")] {
        let pair = stage::pull().await;
        let missing = Mutation::PolicyDeleted {
            policy: policy.into(),
        };
        pair.sandbox
            .site(site)
            .expect("a site")
            .change(&missing)
            .expect("deleted");
        let ran = pair.run(PLANNED).await;
        assert!(matches!(ran.code, Some(2 | 3)), "{ran:?}");
        ran.says(&[policy, site, "nothing was changed"]);
        assert_eq!(pair.writes(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reverse_policy_that_is_enabled_is_refused() {
    let pair = stage::pull().await;
    let on = |enabled| Mutation::PolicyEnabled {
        policy: "dr-reverse".into(),
        enabled,
    };
    pair.sandbox.primary().change(&on(true)).expect("changed");
    refused(
        &pair,
        &["primary policy `dr-reverse`", "it must be disabled"],
    )
    .await;
    pair.sandbox.primary().change(&on(false)).expect("changed");
    goes_on(&pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forward_policy_that_is_disabled_is_run_all_the_same() {
    let pair = stage::pull().await;
    let off = Mutation::PolicyEnabled {
        policy: "dr-forward".into(),
        enabled: false,
    };
    pair.sandbox.dr().change(&off).expect("changed");
    goes_on(&pair).await;
    assert!(pair.sandbox.dr().digest(FRESH.0, FRESH.1).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_of_a_site_that_is_wrong_is_named() {
    let pair = stage::pull().await;
    let skew = Fault::ClockSkew {
        offset_ms: 3_600_000,
    };
    pair.sandbox.dr().inject(skew.clone());
    refused(&pair, &["dr", "its clock is off by 3"]).await;
    pair.sandbox.dr().repair(&skew).await.expect("repaired");
    goes_on(&pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dns_server_that_refuses_the_key_for_the_name() {
    let pair = stage::pull().await;
    pair.sandbox
        .dns()
        .set_update_policy(Some(vec!["other.sandbox.test".into()]));
    refused(&pair, &["harbor.sandbox.test", "REFUSED"]).await;
    pair.sandbox.dns().set_update_policy(None);
    goes_on(&pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_dns_key_is_named_and_its_secret_is_not() {
    let pair = stage::pull().await;
    let file = pair.folder().join("secrets/tsig");
    let right = std::fs::read_to_string(&file).expect("the key");
    let wrong = "QUJD".repeat(11);
    put_secret(&pair, "tsig", &wrong);
    let ran = refused(&pair, &["dr-key", "BADSIG"]).await;
    assert!(!ran.stderr.contains(&wrong), "{}", ran.stderr);
    put_secret(&pair, "tsig", &right);
    goes_on(&pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_the_dns_server_does_not_accept() {
    let pair = stage::pull().await;
    pair.sandbox
        .dns()
        .inject(dns::Scope::Updates, dns::Fault::ClockSkew(3600), None);
    refused(&pair, &["BADTIME", "clock"]).await;
    pair.sandbox.dns().clear_faults();
    goes_on(&pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dns_server_that_does_not_answer() {
    let pair = stage::pull().await;
    pair.sandbox
        .dns()
        .inject(dns::Scope::Everything, dns::Fault::Hang, None);
    refused(&pair, &["harbor.sandbox.test"]).await;
    pair.sandbox.dns().clear_faults();
    goes_on(&pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_points_elsewhere_is_not_ours_to_move() {
    let pair = stage::pull().await;
    pair.point_elsewhere();
    let ran = pair.expect(3, PLANNED).await;
    ran.says(&[ELSEWHERE, "nothing was changed"]);
    assert_eq!(pair.record().values, [ELSEWHERE]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_lost_after_the_work_was_done_does_it_once() {
    for (site, method, path) in [
        ("primary", "PUT", "/configurations"),
        ("dr", "PUT", "/replication/policies/"),
        ("dr", "POST", "/replication/executions"),
    ] {
        let pair = stage::pull().await;
        let before = tags(pair.sandbox.primary());
        pair.sandbox
            .site(site)
            .expect("a site")
            .inject(Fault::LostReply {
                method: Some(method.into()),
                path: Some(path.into()),
                times: Some(1),
            });
        let ran = pair.run(PLANNED).await;
        assert_eq!(ran.code, Some(0), "{method} {path}: {ran:?}");
        pair.is_moved(&before);
        if method == "POST" {
            let runs = pair.sandbox.dr().executions("dr-forward");
            assert_eq!(runs.len(), 2, "one bulk, one final: {runs:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dns_reply_that_is_lost_moves_the_name_once() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    at_update(&pair.sandbox, dns::Edge::After, CUTOVER, || {
        dns::Verdict::Drop
    });
    pair.expect(0, PLANNED).await;
    pair.is_moved(&before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_the_server_loses_is_put_back() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    let mut run = Watched::start(&pair, PLANNED);
    run.until("done", "lower-ttl").await;
    pair.sandbox
        .dns()
        .inject(dns::Scope::Updates, dns::Fault::DropRecord, Some(1));
    let ran = run.end().await;
    assert!(matches!(ran.code, Some(4 | 5)), "{ran:?}");
    ran.says(&["lost the name", "was put back"]);
    assert_eq!(pair.serves(), "primary");
    pair.expect(0, RESUME).await;
    pair.is_moved(&before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secondary_that_lags_is_waited_for() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    pair.sandbox
        .dns()
        .set_secondary_lag(std::time::Duration::from_millis(400));
    pair.expect(0, PLANNED).await;
    pair.is_moved(&before);
    let name = pair.sandbox.endpoint_name();
    let seen = pair.sandbox.dns().secondary_snapshot();
    let set = seen
        .iter()
        .find(|set| set.name == name && set.kind == dns::RecordKind::Cname);
    assert_eq!(
        set.map(|set| set.values.join(" ")),
        Some("dr.sandbox.test".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_standby_is_a_question_that_names_what_failed() {
    let pair = stage::pull().await;
    let full = Fault::QuotaFull { project: None };
    pair.sandbox.dr().inject(full.clone());
    let ran = pair.run(PLANNED).await;
    assert!(matches!(ran.code, Some(3..=5)), "{ran:?}");
    assert_eq!(pair.serves(), "primary");
    ran.says(&["dr"]);
    pair.sandbox.dr().repair(&full).await.expect("repaired");
    let again = if ran.code == Some(3) { PLANNED } else { RESUME };
    pair.expect(0, again).await;
    assert_eq!(pair.serves(), "dr");
}
