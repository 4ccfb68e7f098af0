//! What is wrong in files and arguments: named with its place, before anything is sent.

use std::os::unix::fs::PermissionsExt as _;

use crate::pair::{Pair, Ran};
use crate::stage::{self, PLANNED};

/// Breaks the configuration, runs, and sees that nothing was sent.
async fn broken(code: i32, edit: impl Fn(String) -> String, words: &[&str]) -> (Pair, Ran) {
    let pair = stage::pull().await;
    pair.edit_config(edit);
    let ran = pair.expect(code, PLANNED).await;
    ran.says(words);
    assert_eq!(pair.writes(), 0);
    assert!(!pair.state().exists(), "no run was begun");
    (pair, ran)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_key_has_a_caret_and_a_suggestion() {
    let (pair, ran) = broken(
        2,
        |text| text.replacen("standby: dr", "standbye: dr", 1),
        &[
            "runbook.yaml:",
            "unknown key `standbye`",
            "──",
            "did you mean `standby`?",
        ],
    )
    .await;
    let line = ran
        .stderr
        .lines()
        .find(|line| line.contains("runbook.yaml:"));
    let place = line
        .and_then(|line| line.split("runbook.yaml:").nth(1))
        .expect("a place");
    assert!(place.starts_with(|c: char| c.is_ascii_digit()), "{place}");
    pair.expect(2, &["validate"]).await.says(&["did you mean"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_site_is_suggested_another() {
    broken(
        2,
        |text| text.replacen("active: primary", "active: primry", 1),
        &["runbook.yaml:", "primry", "did you mean `primary`"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_step_kind_is_suggested_another() {
    let pair = stage::pull().await;
    pair.with_runbook("failover", |yaml| {
        yaml.replacen("harbor.silence", "harbor.silense", 1)
    });
    let ran = pair.expect(2, PLANNED).await;
    ran.says(&[
        "failover.yaml:",
        "harbor.silense",
        "did you mean `harbor.silence`",
    ]);
    assert_eq!(pair.writes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_on_no_step_is_named() {
    let pair = stage::pull().await;
    pair.with_runbook("failover", |yaml| {
        yaml.replacen("guards: [silence-active]", "guards: [silence-activ]", 1)
    });
    pair.expect(2, PLANNED)
        .await
        .says(&["failover.yaml:", "silence-activ"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_cannot_be_found_is_named_with_its_use() {
    broken(
        2,
        |text| text.replacen("dr-password", "no-such-file", 1),
        &["no-such-file", "site `dr`", "nothing was changed"],
    )
    .await;
    broken(
        2,
        |text| {
            let (head, tail) = text.split_once("password: \"file:").expect("a secret");
            let (_, rest) = tail.split_once('"').expect("its end");
            format!("{head}password: \"env:RUNBOOK_TEST_UNSET\"{rest}")
        },
        &["env:RUNBOOK_TEST_UNSET", "not set", "nothing was changed"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_written_into_the_file_is_refused_and_not_shown() {
    let secret = format!("Aa1{:x}", std::process::id());
    let (_, ran) = broken(
        2,
        |text| {
            let (head, tail) = text.split_once("password: \"file:").expect("a secret");
            let (_, rest) = tail.split_once('"').expect("its end");
            format!("{head}password: \"{secret}\"{rest}")
        },
        &["runbook.yaml:"],
    )
    .await;
    assert!(!ran.stderr.contains(&secret), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_configuration_names_the_ways_to_go_on() {
    let pair = stage::pull().await;
    std::fs::remove_file(pair.config()).expect("removed");
    pair.expect(2, PLANNED)
        .await
        .says(&["runbook.yaml", "--config FILE", "runbook demo"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_configuration_is_said_to_be_unreadable() {
    let pair = stage::pull().await;
    std::fs::remove_file(pair.config()).expect("removed");
    std::fs::create_dir(pair.config()).expect("a folder of that name");
    std::fs::set_permissions(pair.config(), std::fs::Permissions::from_mode(0o700)).expect("set");
    let config = pair.config();
    let named = [
        "--config",
        config.to_str().expect("a path"),
        "run",
        "failover",
        "--mode",
        "planned",
        "--no-input",
    ];
    pair.expect(2, &named).await.says(&["cannot read"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_runbook_is_suggested_another() {
    let pair = stage::pull().await;
    pair.expect(2, &["run", "failovr", "--no-input"])
        .await
        .says(&["there is no runbook `failovr`", "did you mean `failover`?"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_run_is_said_to_be_unknown() {
    let pair = stage::pull().await;
    pair.expect(2, &["show", "zzzzz"])
        .await
        .says(&["state file"]);
    pair.expect(0, PLANNED).await;
    for command in ["show", "resume", "abort", "journal"] {
        pair.expect(2, &[command, "zzzzz"])
            .await
            .says(&["zzzzz", "runbook runs"]);
    }
}
