//! Everything that can be wrong with a runbook, and what is said about it.

use insta::assert_snapshot;
use runbook_definition::Code;

use crate::samples::{RUNBOOK, runbook, runbook_told, with};

#[test]
fn the_sample_is_right() {
    let read = runbook(RUNBOOK)
        .map_err(|wrong| wrong.render(false, 100))
        .expect("the sample is right");
    assert!(read.check_sites(["primary", "dr"]).is_ok());
}

#[test]
fn unknown_step_kind() {
    assert_snapshot!(runbook_told("do: { dns.upsert:", "do: { dns.upset:"), @r#"
HDR1006

  × unknown step kind `dns.upset`
    ╭─[failover.yaml:24:11]
 24 │     do: { dns.upset: { name: endpoint, to: standby } }
    ·           ────┬────
    ·               ╰── unknown step kind
    ╰────
  help: did you mean `dns.upsert`? step kinds: `harbor.sync`, `harbor.silence`, `harbor.read-only`,
        `dns.upsert`, `approval`, `note`
"#);
    assert_snapshot!(runbook_told("do: note", "do: nota"), @r#"
HDR1006

  × unknown step kind `nota`
    ╭─[failover.yaml:28:9]
 28 │     do: nota
    ·         ──┬─
    ·           ╰── unknown step kind
    ╰────
  help: did you mean `note`? step kinds: `harbor.sync`, `harbor.silence`, `harbor.read-only`,
        `dns.upsert`, `approval`, `note`
"#);
}

#[test]
fn unknown_key_of_a_step() {
    assert_snapshot!(runbook_told("above-mark: fence", "above-mrk: fence"), @r#"
HDR1002

  × unknown key `above-mrk`
    ╭─[failover.yaml:16:58]
 16 │     do: { harbor.sync: { site: standby, policy: forward, above-mrk: fence } }
    ·                                                          ────┬────
    ·                                                              ╰── unknown key
    ╰────
  help: did you mean `above-mark`? keys here: `site`, `policy`, `above-mark`
"#);
    assert_snapshot!(runbook_told("on-failure: ask", "on-fail: ask"), @r#"
HDR1002

  × unknown key `on-fail`
    ╭─[failover.yaml:20:5]
 20 │     on-fail: ask
    ·     ───┬───
    ·        ╰── unknown key
    ╰────
  help: did you mean `on-failure`? keys here: `id`, `do`, `modes`, `timeout`, `retry`, `on-failure`,
        `if-unreachable`, `guards`, `back-to`, `cutover`, `in-doubt`
"#);
}

#[test]
fn missing_and_wrong_values_of_a_step() {
    assert_snapshot!(runbook_told("{ site: active, value: true }", "{ site: active }"), @r#"
HDR1003

  × the key `value` is missing
    ╭─[failover.yaml:13:31]
 13 │     do: { harbor.read-only: { site: active } }
    ·                               ──┬─
    ·                                 ╰── `value` is missing in this map
    ╰────
"#);
    assert_snapshot!(runbook_told("value: true", "value: yes"), @r#"
HDR1005

  × expected `true` or `false`
    ╭─[failover.yaml:13:52]
 13 │     do: { harbor.read-only: { site: active, value: yes } }
    ·                                                    ─┬─
    ·                                                     ╰── a value that does not fit
    ╰────
"#);
    assert_snapshot!(runbook_told("timeout: 10m", "timeout: 10"), @r#"
HDR1005

  × `10` has no unit: write `10s`, `10m` or `10h`
    ╭─[failover.yaml:18:14]
 18 │     timeout: 10
    ·              ─┬
    ·               ╰── a value that does not fit
    ╰────
"#);
    assert_snapshot!(runbook_told("  - id: tell\n    do: note", "  - id: tell"), @r#"
HDR1003

  × the key `do` is missing
    ╭─[failover.yaml:28:5]
 28 │     on-failure: continue
    ·     ─────┬────
    ·          ╰── `do` is missing in this map
    ╰────
"#);
}

#[test]
fn two_kinds_in_one_step() {
    assert_snapshot!(runbook_told("do: { approval: {} }", "do: { approval: {}, note: }"), @r#"
HDR1005

  × a second key stands beside the one that says the kind
   ╭─[failover.yaml:6:25]
 6 │     do: { approval: {}, note: }
   ·                         ──┬─
   ·                           ╰── a value that does not fit
   ╰────
  help: keep one of them: what belongs to a kind stands under its key
"#);
    assert_snapshot!(runbook_told("do: { approval: {} }", "do: [approval]"), @r#"
HDR1005

  × expected a step kind, alone or as the one key of a map
   ╭─[failover.yaml:6:9]
 6 │     do: [approval]
   ·         ─────┬────
   ·              ╰── a value that does not fit
   ╰────
"#);
}

#[test]
fn unknown_words() {
    assert_snapshot!(runbook_told("in-doubt: ask", "in-doubt: guess"), @r#"
HDR1006

  × unknown word `guess`
   ╭─[failover.yaml:7:15]
 7 │     in-doubt: guess
   ·               ──┬──
   ·                 ╰── unknown word
   ╰────
  help: words here: `probe`, `ask`, `repeat`
"#);
    assert_snapshot!(runbook_told("if-unreachable: owe", "if-unreachable: ow"), @r#"
HDR1006

  × unknown word `ow`
    ╭─[failover.yaml:14:21]
 14 │     if-unreachable: ow
    ·                     ─┬
    ·                      ╰── unknown word
    ╰────
  help: did you mean `owe`? words here: `fail`, `owe`
"#);
    assert_snapshot!(runbook_told("[planned]\n    timeout", "[panned]\n    timeout"), @r#"
HDR1006

  × unknown mode `panned`
    ╭─[failover.yaml:17:13]
 17 │     modes: [panned]
    ·             ───┬──
    ·                ╰── unknown mode
    ╰────
  help: did you mean `planned`? modes: `planned`, `unplanned`
"#);
    assert_snapshot!(runbook_told("for: dr-pair", "for: hub-spoke"), @r#"
HDR1006

  × unknown pattern `hub-spoke`
   ╭─[failover.yaml:3:6]
 3 │ for: hub-spoke
   ·      ────┬────
   ·          ╰── unknown pattern
   ╰────
  help: patterns: `dr-pair`
"#);
}

#[test]
fn guards() {
    assert_snapshot!(runbook_told("guards: [silence-active,", "guards: [silence-activ,"), @r#"
HDR1202

  × unknown step `silence-activ`
    ╭─[failover.yaml:21:14]
 21 │     guards: [silence-activ, { step: fence, broken: ask }]
    ·              ──────┬──────
    ·                    ╰── unknown step
    ╰────
  help: did you mean `silence-active`? earlier steps: `approval`, `silence-active`, `fence`
"#);
    assert_snapshot!(runbook_told("{ step: fence, broken: ask }", "{ step: fense, broken: ask }"), @r#"
HDR1202

  × unknown step `fense`
    ╭─[failover.yaml:21:38]
 21 │     guards: [silence-active, { step: fense, broken: ask }]
    ·                                      ──┬──
    ·                                        ╰── unknown step
    ╰────
  help: did you mean `fence`? earlier steps: `approval`, `silence-active`, `fence`
"#);
    assert_snapshot!(runbook_told("{ step: fence, broken: ask }", "{ step: fence, broken: forward }"), @r#"
HDR1006

  × unknown word `forward`
    ╭─[failover.yaml:21:53]
 21 │     guards: [silence-active, { step: fence, broken: forward }]
    ·                                                     ───┬───
    ·                                                        ╰── unknown word
    ╰────
  help: words here: `back`, `ask`
"#);
    assert_snapshot!(runbook_told("{ step: fence, broken: ask }", "{ step: fence, borken: ask }"), @r#"
HDR1002

  × unknown key `borken`
    ╭─[failover.yaml:21:45]
 21 │     guards: [silence-active, { step: fence, borken: ask }]
    ·                                             ───┬──
    ·                                                ╰── unknown key
    ╰────
  help: did you mean `broken`? keys here: `step`, `max-age`, `broken`
"#);
    assert_snapshot!(runbook_told("{ step: fence, broken: ask }", "{ broken: ask }"), @r#"
HDR1003

  × the key `step` is missing
    ╭─[failover.yaml:21:32]
 21 │     guards: [silence-active, { broken: ask }]
    ·                                ───┬──
    ·                                   ╰── `step` is missing in this map
    ╰────
"#);
    assert_snapshot!(runbook_told("max-age: 15m", "max-age: 15"), @r#"
HDR1005

  × `15` has no unit: write `15s`, `15m` or `15h`
    ╭─[failover.yaml:11:41]
 11 │     guards: [{ step: approval, max-age: 15 }]
    ·                                         ─┬
    ·                                          ╰── a value that does not fit
    ╰────
"#);
    assert_snapshot!(runbook_told("max-age: 15m", "max-age: 0m"), @r#"
HDR1105

  × a guard of no age can never hold
    ╭─[failover.yaml:11:41]
 11 │     guards: [{ step: approval, max-age: 0m }]
    ·                                         ─┬
    ·                                          ╰── a span that must be longer than nothing
    ╰────
  help: write a span such as `15m`, or leave `max-age` out
"#);
    assert_snapshot!(runbook_told("guards: [silence-active,", "guards: [[silence-active],"), @r#"
HDR1005

  × expected the name of an earlier step, or `{ step: NAME, max-age: 15m, broken: back | ask }`,
  │ found a list
    ╭─[failover.yaml:21:14]
 21 │     guards: [[silence-active], { step: fence, broken: ask }]
    ·              ────────┬───────
    ·                      ╰── a value that does not fit
    ╰────
"#);
}

#[test]
fn references_to_later_steps() {
    assert_snapshot!(runbook_told("guards: [silence-active,", "guards: [dns-upsert,"), @r#"
HDR1203

  × `guards` names `dns-upsert`, which comes later
    ╭─[failover.yaml:21:14]
 21 │     guards: [dns-upsert, { step: fence, broken: ask }]
    ·              ─────┬────
    ·                   ╰── a step that comes later
 22 │     back-to: silence-active
 23 │   - id: dns-upsert
    ·         ─────┬────
    ·              ╰── this step
    ╰────
  help: earlier steps: `approval`, `silence-active`, `fence`
"#);
    assert_snapshot!(runbook_told("back-to: silence-active", "back-to: final-sync"), @r#"
HDR1203

  × `back-to` names the step itself
    ╭─[failover.yaml:22:14]
 22 │     back-to: final-sync
    ·              ─────┬────
    ·                   ╰── a step that comes later
    ╰────
  help: earlier steps: `approval`, `silence-active`, `fence`
"#);
}

#[test]
fn steps_that_are_never_taken_together() {
    assert_snapshot!(runbook_told("if-unreachable: owe", "if-unreachable: owe\n    modes: [unplanned]"), @r#"
HDR1204

  × `final-sync` and `fence` are never taken in one run
    ╭─[failover.yaml:12:9]
 12 │   - id: fence
    ·         ──┬──
    ·           ╰── this step
 13 │     do: { harbor.read-only: { site: active, value: true } }
 14 │     if-unreachable: owe
 15 │     modes: [unplanned]
 16 │   - id: final-sync
 17 │     do: { harbor.sync: { site: standby, policy: forward, above-mark: fence } }
 18 │     modes: [planned]
 19 │     timeout: 10m
 20 │     retry: { attempts: 5, backoff: 500ms }
 21 │     on-failure: ask
 22 │     guards: [silence-active, { step: fence, broken: ask }]
    ·                                      ──┬──
    ·                                        ╰── two steps that are never taken together
    ╰────
  help: `final-sync` is taken in `planned`, `fence` in `unplanned`
"#);
}

#[test]
fn duplicate_steps() {
    assert_snapshot!(runbook_told("- id: tell", "- id: fence"), @r#"
HDR1201

  × two steps are called `fence`
    ╭─[failover.yaml:12:9]
 12 │   - id: fence
    ·         ──┬──
    ·           ╰── the first one
    ╰────
    ╭─[failover.yaml:27:9]
 27 │   - id: fence
    ·         ──┬──
    ·           ╰── two steps with the same name
    ╰────
  help: guards, `back-to` and commands name steps: give each a name of its own
"#);
}

#[test]
fn several_cutovers() {
    assert_snapshot!(runbook_told("on-failure: continue", "cutover: true"), @r#"
HDR1205

  × `tell` is a second cutover in mode `planned`
    ╭─[failover.yaml:23:9]
 23 │   - id: dns-upsert
    ·         ─────┬────
    ·              ╰── the first one
 24 │     do: { dns.upsert: { name: endpoint, to: standby } }
 25 │     guards: [fence, final-sync]
 26 │     cutover: true
 27 │   - id: tell
    ·         ──┬─
    ·           ╰── several cutovers in one mode
    ╰────
  help: undo ends at the cutover, so a run has at most one: give the two steps different `modes`
"#);
    let apart = with(
        RUNBOOK,
        "    cutover: true\n",
        "    cutover: true\n    modes: [unplanned]\n",
    );
    let apart = with(&apart, "guards: [fence, final-sync]", "guards: [fence]");
    let apart = with(
        &apart,
        "on-failure: continue",
        "cutover: true\n    modes: [planned]",
    );
    assert!(
        runbook(&apart).is_ok(),
        "one in each mode is one in each run"
    );
}

#[test]
fn no_way_back_across_the_cutover() {
    assert_snapshot!(runbook_told("on-failure: continue", "back-to: fence"), @r#"
HDR1208

  × `tell` would go back to `fence`, across the cutover
    ╭─[failover.yaml:23:9]
 23 │   - id: dns-upsert
    ·         ─────┬────
    ·              ╰── the cutover
 24 │     do: { dns.upsert: { name: endpoint, to: standby } }
 25 │     guards: [fence, final-sync]
 26 │     cutover: true
 27 │   - id: tell
 28 │     do: note
 29 │     back-to: fence
    ·              ──┬──
    ·                ╰── a way back across the cutover
    ╰────
  help: the new side takes writes by then; what breaks after the cutover is recorded as owed
"#);
}

#[test]
fn numbers_and_names() {
    assert_snapshot!(runbook_told("attempts: 5", "attempts: 0"), @r#"
HDR1207

  × 0 attempts are outside 1 to 100
    ╭─[failover.yaml:19:24]
 19 │     retry: { attempts: 0, backoff: 500ms }
    ·                        ┬
    ·                        ╰── a number outside its bounds
    ╰────
  help: 1 means: no second attempt
"#);
    assert_snapshot!(runbook_told("attempts: 5", "attempts: many"), @r#"
HDR1005

  × expected a whole number of at least 0
    ╭─[failover.yaml:19:24]
 19 │     retry: { attempts: many, backoff: 500ms }
    ·                        ──┬─
    ·                          ╰── a value that does not fit
    ╰────
"#);
    assert_snapshot!(runbook_told("attempts: 5", "attempts: -1"), @r#"
HDR1005

  × expected a whole number of at least 0
    ╭─[failover.yaml:19:24]
 19 │     retry: { attempts: -1, backoff: 500ms }
    ·                        ─┬
    ·                         ╰── a value that does not fit
    ╰────
"#);
    assert_snapshot!(runbook_told("- id: tell", "- id: Tell people"), @r#"
HDR1109

  × `Tell people` cannot be the name of a step
    ╭─[failover.yaml:27:9]
 27 │   - id: Tell people
    ·         ─────┬─────
    ·              ╰── a name that cannot be one
    ╰────
  help: use up to 40 lower-case letters, digits and `-`, starting with a letter
"#);
    assert_eq!(
        runbook(&with(RUNBOOK, "timeout: 10m", "timeout: 0s"))
            .expect_err("none")
            .codes(),
        [Code::NotPositive]
    );
    assert_eq!(
        runbook(&with(RUNBOOK, "version: 1", "version: 3"))
            .expect_err("3")
            .codes(),
        [Code::Version]
    );
    assert_snapshot!(runbook("version: 1\nrunbook: x\nfor: dr-pair\nsteps: []\n").expect_err("none").render(false, 100), @r#"
HDR1110

  × the runbook has no steps
   ╭─[failover.yaml:4:8]
 4 │ steps: []
   ·        ─┬
   ·         ╰── nothing where at least one is needed
   ╰────
  help: write at least one, with `id` and `do`
"#);
}

#[test]
fn roles_and_sites() {
    let read = runbook(&with(RUNBOOK, "site: standby,", "site: stanby,"))
        .expect("a role is checked with the sites");
    assert_snapshot!(read.check_sites(["primary", "dr"]).expect_err("unknown").render(false, 100), @r#"
HDR1206

  × step `final-sync` names `stanby`, which is neither a role nor a site
    ╭─[failover.yaml:16:32]
 16 │     do: { harbor.sync: { site: stanby, policy: forward, above-mark: fence } }
    ·                                ───┬──
    ·                                   ╰── unknown role
    ╰────
  help: did you mean `standby`? roles and sites: `active`, `standby`, `endpoint`, `primary`, `dr`
"#);
    let read = runbook(&with(RUNBOOK, "site: standby,", "site: dr,")).expect("a site");
    assert!(read.check_sites(["primary", "dr"]).is_ok());
}

#[test]
fn everything_wrong_is_told_together() {
    let text = with(RUNBOOK, "- id: tell", "- id: fence");
    let text = with(&text, "guards: [silence-active,", "guards: [silenc-active,");
    let text = with(&text, "attempts: 5", "attempts: 500");
    let wrong = runbook(&text).expect_err("much is wrong");
    assert_eq!(
        wrong.codes(),
        [Code::OutOfRange, Code::UnknownStep, Code::DuplicateStep]
    );
    assert_snapshot!(wrong.to_string(), @r#"
failover.yaml:19:24: 500 attempts are outside 1 to 100 [HDR1207]
failover.yaml:21:14: unknown step `silenc-active` [HDR1202]
failover.yaml:27:9: two steps are called `fence` [HDR1201]
"#);
}
