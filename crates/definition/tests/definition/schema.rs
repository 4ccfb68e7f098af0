//! The schemas take what the reader takes, and refuse what it refuses.

use jsonschema::Validator;
use runbook_definition::{config_schema, runbook_schema};
use serde_json::Value;

use crate::samples::{CONFIG, Dns, Kinds, RUNBOOK, SMALL_CONFIG, config, runbook, with};

fn json(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

fn validators() -> (Validator, Validator) {
    let validator = |schema: &Value| jsonschema::draft7::new(schema).expect("a schema of draft 7");
    (
        validator(&config_schema::<Dns>()),
        validator(&runbook_schema::<Kinds>()),
    )
}

#[track_caller]
fn takes(validator: &Validator, text: &str) {
    let problems: Vec<_> = validator
        .iter_errors(&json(text))
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn schemas_take_the_samples() {
    let (config, runbook) = validators();
    takes(&config, CONFIG);
    takes(&config, SMALL_CONFIG);
    takes(&runbook, RUNBOOK);
}

#[test]
fn schemas_say_draft_7() {
    for schema in [config_schema::<Dns>(), runbook_schema::<Kinds>()] {
        assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    }
}

#[test]
fn a_slip_in_the_configuration_is_refused_by_schema_and_reader() {
    let (validator, _) = validators();
    for (old, new) in [
        ("version: 1", "version: 2"),
        ("version: 1\n", ""),
        ("    region: us-east-1", "    regoin: us-east-1"),
        ("timeout: 20s", "timeout: 20"),
        ("timeout: 20s", "timeout: 20 s"),
        (
            "https://harbor-primary.example.com",
            "harbor-primary.example.com",
        ),
        ("\"env:HARBOR_PRIMARY_PASSWORD\"", "hunter-two"),
        ("{ exec: [pass, show, harbor dr] }", "{ exec: [] }"),
        ("connect-to: \"10.0.0.2:8080\"", "connect-to: localhost"),
        ("direction: pull", "direction: both"),
        ("      standby: dr\n", ""),
        ("deletions: keep", "deletions: some"),
        ("{ rto: 15m, rpo: 15m }", "{ preset: fast }"),
        ("- rfc2136:", "- bind:"),
        ("zone: example.com, server:", "zone: example.com, sever:"),
        ("verify: [authoritative,", "verify: [everywhere,"),
        (
            "verify: [authoritative, \"1.1.1.1\", \"8.8.8.8:53\", system]",
            "verify: []",
        ),
        ("also-sync: [projects,", "also-sync: [project,"),
        ("argv: [mail, -s, runbook, ops]", "argv: []"),
        ("probe: { project: library,", "probe: {"),
    ] {
        let text = with(CONFIG, old, new);
        assert!(
            !validator.is_valid(&json(&text)),
            "the schema takes `{new}`"
        );
        assert!(config(&text).is_err(), "the reader takes `{new}`");
    }
}

#[test]
fn a_slip_in_a_runbook_is_refused_by_schema_and_reader() {
    let (_, validator) = validators();
    for (old, new) in [
        ("for: dr-pair", "for: pair"),
        ("do: { dns.upsert:", "do: { dns.upset:"),
        ("above-mark: fence", "above-mrk: fence"),
        ("[planned]\n    timeout", "[panned]\n    timeout"),
        ("timeout: 10m", "timeout: 10"),
        ("attempts: 5", "attempts: 0"),
        ("attempts: 5", "attempts: 101"),
        ("on-failure: ask", "on-failure: retry"),
        ("if-unreachable: owe", "if-unreachable: wait"),
        ("in-doubt: ask", "in-doubt: guess"),
        ("broken: ask", "broken: forward"),
        ("max-age: 15m", "max-age: 15"),
        ("cutover: true", "cutover: perhaps"),
        ("  - id: tell\n    do: note\n", "  - id: tell\n"),
        ("  - id: tell\n    do: note\n", "  - do: note\n"),
    ] {
        let text = with(RUNBOOK, old, new);
        assert!(
            !validator.is_valid(&json(&text)),
            "the schema takes `{new}`"
        );
        assert!(runbook(&text).is_err(), "the reader takes `{new}`");
    }
}

#[test]
fn the_words_of_the_engine_are_those_of_the_schema() {
    let (_, validator) = validators();
    for (old, words) in [
        (
            "on-failure: ask",
            [
                "on-failure: stop",
                "on-failure: ask",
                "on-failure: continue",
            ]
            .as_slice(),
        ),
        (
            "if-unreachable: owe",
            &["if-unreachable: fail", "if-unreachable: owe"],
        ),
        (
            "in-doubt: ask",
            &["in-doubt: probe", "in-doubt: ask", "in-doubt: repeat"],
        ),
        ("broken: ask", &["broken: back", "broken: ask"]),
        (
            "[planned]\n    timeout",
            &[
                "[planned]\n    timeout",
                "[planned, unplanned]\n    timeout",
            ],
        ),
    ] {
        for word in words {
            let text = with(RUNBOOK, old, word);
            takes(&validator, &text);
            assert!(runbook(&text).is_ok(), "{word}");
        }
    }
}
