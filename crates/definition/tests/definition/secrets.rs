//! A secret that somebody wrote into a file is in nothing that is shown of it.

use runbook_definition::{Diagnostics, SecretRef};

use crate::samples::{CONFIG, RUNBOOK, config, runbook, with};

const PLANTED: &str = "planted-0f3a-literal";

fn everything_shown(wrong: &Diagnostics) -> String {
    format!(
        "{wrong}\n{wrong:?}\n{}\n{}\n{:?}",
        wrong.render(false, 100),
        wrong.render(true, 40),
        miette::Report::new(wrong.clone())
    )
}

#[track_caller]
fn shows_nothing(wrong: Diagnostics) {
    let shown = everything_shown(&wrong);
    assert!(!shown.contains(PLANTED), "{shown}");
}

#[test]
fn a_literal_is_refused_and_not_shown() {
    for place in [
        "\"env:HARBOR_PRIMARY_PASSWORD\"",
        "{ exec: [pass, show, harbor dr] }",
        "\"env:DNS_KEY\"",
        "\"cred:probe\"",
        "\"file:secrets/oncall\"",
    ] {
        for form in [
            "{}",
            "\"{}\"",
            "'{}'",
            "[{}]",
            "{ {}: 1 }",
            "\"vault:{}\"",
            "\n      {}",
            "!x {}",
            "{}, {}",
        ] {
            let text = with(CONFIG, place, &form.replace("{}", PLANTED));
            shows_nothing(config(&text).expect_err("a literal is refused"));
        }
    }
}

#[test]
fn a_literal_is_not_shown_by_an_error_beside_it() {
    for (old, new) in [
        (
            "auth: { user: admin, password: \"env:HARBOR_PRIMARY_PASSWORD\" }",
            "auth: PLANTED",
        ),
        (
            "auth: { user: admin, password: \"env:HARBOR_PRIMARY_PASSWORD\" }",
            "auth: { user: admin, pasword: PLANTED }",
        ),
        (
            "auth: { user: admin, password: \"env:HARBOR_PRIMARY_PASSWORD\" }",
            "auth: { usr: admin, password: PLANTED }",
        ),
        (
            "auth: { user: admin, password: \"env:HARBOR_PRIMARY_PASSWORD\" }",
            "auth: { user: admin, password: PLANTED",
        ),
        (
            "auth: { user: admin, password: \"env:HARBOR_PRIMARY_PASSWORD\" }",
            "auth: { user: admin, password: PLANTED, password: PLANTED }",
        ),
        (
            "https://harbor-primary.example.com",
            "https://admin:PLANTED@harbor-primary.example.com",
        ),
        (
            "https://harbor-primary.example.com",
            "ftp://admin:PLANTED@harbor-primary.example.com",
        ),
        (
            "https://harbor-primary.example.com",
            "https://admin:PLA/PLANTED@harbor-primary.example.com",
        ),
        (
            "name: ops, secret: \"env:DNS_KEY\"",
            "nme: ops, secret: PLANTED",
        ),
        ("version: 1", "password: PLANTED\nversion: 1"),
    ] {
        let text = with(CONFIG, old, &new.replace("PLANTED", PLANTED));
        shows_nothing(config(&text).expect_err("refused"));
    }
    let text = with(
        RUNBOOK,
        "do: note",
        &format!("do: {{ notte: {{ token: {PLANTED} }} }}"),
    );
    shows_nothing(runbook(&text).expect_err("refused"));
}

#[test]
fn all_references_are_listed_with_their_places() {
    let config = config(CONFIG).expect("the sample");
    let listed: Vec<_> = config
        .secret_references()
        .into_iter()
        .map(|(place, secret)| format!("{place} = {secret}"))
        .collect();
    assert_eq!(
        listed,
        [
            "sites.dr.auth.password = exec:pass",
            "sites.primary.auth.password = env:HARBOR_PRIMARY_PASSWORD",
            "topologies.dr.endpoint.dns[0].rfc2136.key.secret = env:DNS_KEY",
            "topologies.dr.endpoint.probe.auth.password = cred:probe",
            "notify.oncall.webhook.url = env:ONCALL_URL",
            "notify.oncall.webhook.authorization = file:secrets/oncall",
        ]
    );
    let exec = config.secret_references().remove(0).1;
    assert_eq!(
        exec,
        SecretRef::Exec(vec!["pass".into(), "show".into(), "harbor dr".into()])
    );
}
