//! Everything that can be wrong with `runbook.yaml`, and what is said about it.

use insta::assert_snapshot;
use runbook_definition::Code;

use crate::samples::{CONFIG, SMALL_CONFIG, config, config_told, with};

#[test]
fn the_samples_are_right() {
    for text in [CONFIG, SMALL_CONFIG] {
        config(text)
            .map_err(|wrong| wrong.render(false, 100))
            .expect("the sample is right");
    }
}

#[test]
fn not_yaml() {
    assert_snapshot!(config_told("sites:\n  primary:", "sites: {\n  primary:"), @r#"
HDR1005

  × expected a map
   ╭─[runbook.yaml:6:5]
 6 │     url: https://harbor-primary.example.com
   ·     ─┬─
   ·      ╰── a value that does not fit
   ╰────
"#);
    assert_snapshot!(config("").expect_err("nothing").render(false, 100), @r#"
HDR1001

  × the file ends where something was expected
   ╭─[runbook.yaml:1:1]
   ╰────
  help: is the file empty, or cut off?
"#);
    assert_snapshot!(config("- version: 1\n").expect_err("a list").render(false, 100), @r#"
HDR1005

  × expected a map
   ╭─[runbook.yaml:1:1]
 1 │ - version: 1
   · ┬
   · ╰── a value that does not fit
   ╰────
"#);
}

#[test]
fn unknown_key() {
    assert_snapshot!(config_told("    region: us-east-1", "    regoin: us-east-1"), @r#"
HDR1002

  × unknown key `regoin`
   ╭─[runbook.yaml:7:5]
 7 │     regoin: us-east-1
   ·     ───┬──
   ·        ╰── unknown key
   ╰────
  help: did you mean `region`? keys here: `url`, `region`, `auth`, `timeout`, `connect-to`,
        `ca-file`
"#);
    assert_snapshot!(config_told("    objectives:", "    drills:"), @r#"
HDR1002

  × unknown key `drills`
    ╭─[runbook.yaml:28:5]
 28 │     drills: { rto: 15m, rpo: 15m }
    ·     ───┬──
    ·        ╰── unknown key
    ╰────
  help: keys here: `dr-pair`, `objectives`, `endpoint`, `robots`, `also-sync`, `runbooks`
"#);
}

#[test]
fn unknown_key_of_a_provider() {
    assert_snapshot!(config_told("zone: example.com, server:", "zone: example.com, sever:"), @r#"
HDR1002

  × unknown key `sever`
    ╭─[runbook.yaml:33:41]
 33 │         - rfc2136: { zone: example.com, sever: "127.0.0.1:5353", key: { name: ops, secret: "env:DNS_KEY" }, ttl: 60 }
    ·                                         ──┬──
    ·                                           ╰── unknown key
    ╰────
  help: did you mean `server`? keys here: `zone`, `server`, `key`, `ttl`
"#);
}

#[test]
fn unknown_words() {
    assert_snapshot!(config_told("direction: pull", "direction: pul"), @r#"
HDR1006

  × unknown word `pul`
    ╭─[runbook.yaml:21:18]
 21 │       direction: pul
    ·                  ─┬─
    ·                   ╰── unknown word
    ╰────
  help: did you mean `pull`? words here: `pull`, `push`
"#);
    assert_snapshot!(config_told("- rfc2136:", "- rfc2316:"), @r#"
HDR1006

  × unknown DNS provider `rfc2316`
    ╭─[runbook.yaml:33:11]
 33 │         - rfc2316: { zone: example.com, server: "127.0.0.1:5353", key: { name: ops, secret: "env:DNS_KEY" }, ttl: 60 }
    ·           ───┬───
    ·              ╰── unknown DNS provider
    ╰────
  help: did you mean `rfc2136`? DNS providers: `rfc2136`, `route53`
"#);
    assert_snapshot!(config_told("{ rto: 15m, rpo: 15m }", "{ preset: dr-failver }"), @r#"
HDR1006

  × unknown preset `dr-failver`
    ╭─[runbook.yaml:28:27]
 28 │     objectives: { preset: dr-failver }
    ·                           ─────┬────
    ·                                ╰── unknown preset
    ╰────
  help: did you mean `dr-failover`? presets: `dr-failover`, `compliance-archive`,
        `development-sync`, `regional-cache`
"#);
    assert_snapshot!(config_told("webhook: { url", "pagerduty: { url"), @r#"
HDR1002

  × unknown key `pagerduty`
    ╭─[runbook.yaml:45:13]
 45 │   oncall: { pagerduty: { url: "env:ONCALL_URL", authorization: "file:secrets/oncall" }, on: [run.*] }
    ·             ────┬────
    ·                 ╰── unknown key
    ╰────
  help: keys here: `webhook`, `command`, `on`
"#);
}

#[test]
fn missing_key() {
    assert_snapshot!(config_told("      standby: dr\n", ""), @r#"
HDR1003

  × the key `standby` is missing
    ╭─[runbook.yaml:26:7]
 26 │       on-existing: override
    ·       ─────┬─────
    ·            ╰── `standby` is missing in this map
    ╰────
"#);
}

#[test]
fn the_same_key_twice() {
    assert_snapshot!(config_told("    region: us-east-1", "    region: us-east-1\n    region: us-east-2"), @r#"
HDR1004

  × the key `region` stands twice in one map
   ╭─[runbook.yaml:8:5]
 8 │     region: us-east-2
   ·     ───┬──
   ·        ╰── the same key twice
   ╰────
"#);
    assert_snapshot!(config_told("  dr:\n    url:", "  primary:\n    url:"), @r#"
HDR1004

  × the key `primary` stands twice in one map
    ╭─[runbook.yaml:11:3]
 11 │   primary:
    ·   ───┬───
    ·      ╰── the same key twice
    ╰────
"#);
}

#[test]
fn values_that_do_not_fit() {
    assert_snapshot!(config_told("timeout: 20s", "timeout: 20"), @r#"
HDR1005

  × `20` has no unit: write `20s`, `20m` or `20h`
   ╭─[runbook.yaml:9:14]
 9 │     timeout: 20
   ·              ─┬
   ·               ╰── a value that does not fit
   ╰────
"#);
    assert_snapshot!(config_told("rto: 15m", "rto: soon"), @r#"
HDR1005

  × `soon` is no span of time: write a number with `ms`, `s`, `m`, `h` or `d`, such as `90s` or
  │ `1h30m`
    ╭─[runbook.yaml:28:24]
 28 │     objectives: { rto: soon, rpo: 15m }
    ·                        ──┬─
    ·                          ╰── a value that does not fit
    ╰────
"#);
    assert_snapshot!(config_told("https://harbor-primary.example.com", "harbor-primary.example.com"), @r#"
HDR1005

  × an address starts with `http://` or `https://`
   ╭─[runbook.yaml:6:10]
 6 │     url: harbor-primary.example.com
   ·          ─────────────┬────────────
   ·                       ╰── a value that does not fit
   ╰────
"#);
    assert_snapshot!(config_told("https://harbor-primary.example.com", "https://harbor-primary.example.com/api"), @r#"
HDR1005

  × the address of a Harbor has no path and no query
   ╭─[runbook.yaml:6:10]
 6 │     url: https://harbor-primary.example.com/api
   ·          ───────────────────┬──────────────────
   ·                             ╰── a value that does not fit
   ╰────
  help: write scheme, host and port only
"#);
    assert_snapshot!(config_told("connect-to: \"10.0.0.2:8080\"", "connect-to: dr.internal:8080"), @r#"
HDR1005

  × `dr.internal:8080` is no place to connect to: write an IP address and a port, such as
  │ `127.0.0.1:19080`
    ╭─[runbook.yaml:14:17]
 14 │     connect-to: dr.internal:8080
    ·                 ────────┬───────
    ·                         ╰── a value that does not fit
    ╰────
"#);
    assert_snapshot!(config_told("verify: [authoritative,", "verify: [authoritatif,"), @r#"
HDR1005

  × `authoritatif` is no place to look from: write `authoritative`, `system` or a resolver's address
  │ such as `1.1.1.1` or `8.8.8.8:53`
    ╭─[runbook.yaml:36:16]
 36 │       verify: [authoritatif, "1.1.1.1", "8.8.8.8:53", system]
    ·                ──────┬─────
    ·                      ╰── a value that does not fit
    ╰────
"#);
    assert_snapshot!(config_told("name: harbor.example.com", "name: https://harbor.example.com"), @r#"
HDR1005

  × `https://harbor.example.com` is no host name: write it without scheme, port and path, such as
  │ `harbor.example.com`
    ╭─[runbook.yaml:30:13]
 30 │       name: https://harbor.example.com
    ·             ─────────────┬────────────
    ·                          ╰── a value that does not fit
    ╰────
"#);
    assert_snapshot!(config_told("ttl: 60 }", "ttl: long }"), @r#"
HDR1005

  × expected a whole number of at least 0
    ╭─[runbook.yaml:33:115]
 33 │         - rfc2136: { zone: example.com, server: "127.0.0.1:5353", key: { name: ops, secret: "env:DNS_KEY" }, ttl: long }
    ·                                                                                                                   ──┬─
    ·                                                                                                                     ╰── a value that does not fit
    ╰────
"#);
    assert_snapshot!(config_told("also-sync: [projects,", "also-sync: [[projects],"), @r#"
HDR1005

  × expected a word, alone or as the one key of a map
    ╭─[runbook.yaml:41:17]
 41 │     also-sync: [[projects], members, robots, labels, quotas]
    ·                 ─────┬────
    ·                      ╰── a value that does not fit
    ╰────
"#);
    assert_snapshot!(config_told("include: [\"**\"]", "include: \"**\""), @r#"
HDR1005

  × expected a list
    ╭─[runbook.yaml:24:16]
 24 │       include: "**"
    ·                ──┬─
    ·                  ╰── a value that does not fit
    ╰────
"#);
}

#[test]
fn version() {
    assert_snapshot!(config_told("version: 1", "version: 2"), @r#"
HDR1007

  × version 2 of the file is unknown
   ╭─[runbook.yaml:2:10]
 2 │ version: 2
   ·          ┬
   ·          ╰── unknown version of the file
   ╰────
  help: this tool knows version 1
"#);
    assert_snapshot!(config_told("version: 1", "version: one"), @r#"
HDR1005

  × expected a whole number of at least 0
   ╭─[runbook.yaml:2:10]
 2 │ version: one
   ·          ─┬─
   ·           ╰── a value that does not fit
   ╰────
"#);
}

#[test]
fn a_secret_in_the_file() {
    assert_snapshot!(config_told("\"env:HARBOR_PRIMARY_PASSWORD\"", "a-planted-literal"), @r#"
HDR1008

  × a secret is never written here: refer to it by `env:NAME`, `file:PATH`, `cred:NAME` or
  │ `exec: [PROGRAM, ARG]`
   ╭─[runbook.yaml:8:36]
 8 │     auth: { user: admin, password: ***************** }   # read-only needs an administrator
   ·                                    ────────┬────────
   ·                                            ╰── a secret in the file
   ╰────
"#);
    assert_snapshot!(config_told("\"env:HARBOR_PRIMARY_PASSWORD\"", "\"env:\""), @r#"
HDR1005

  × the reference names nothing: write `env:NAME`, `file:PATH`, `cred:NAME` or
  │ `exec: [PROGRAM, ARG]`
   ╭─[runbook.yaml:8:36]
 8 │     auth: { user: admin, password: "env:" }   # read-only needs an administrator
   ·                                    ───┬──
   ·                                       ╰── a value that does not fit
   ╰────
"#);
    assert_snapshot!(config_told("\"env:DNS_KEY\"", "a-planted-literal"), @r#"
HDR1008

  × a secret is never written here: refer to it by `env:NAME`, `file:PATH`, `cred:NAME` or
  │ `exec: [PROGRAM, ARG]`
    ╭─[runbook.yaml:33:93]
 33 │         - rfc2136: { zone: example.com, server: "127.0.0.1:5353", key: { name: ops, secret: ***************** }, ttl: 60 }
    ·                                                                                             ────────┬────────
    ·                                                                                                     ╰── a secret in the file
    ╰────
"#);
    assert_snapshot!(config_told("https://harbor-primary.example.com", "https://admin:a-planted-literal@harbor.example.com"), @r#"
HDR1005

  × an address holds no credentials: write them under `auth`, the password as a reference
   ╭─[runbook.yaml:6:10]
 6 │     url: https://***********************@harbor.example.com
   ·          ─────────────────────────┬────────────────────────
   ·                                   ╰── a value that does not fit
   ╰────
"#);
}

#[test]
fn unknown_sites() {
    assert_snapshot!(config_told("active: primary", "active: primry"), @r#"
HDR1101

  × unknown site `primry`
    ╭─[runbook.yaml:19:15]
 19 │       active: primry
    ·               ───┬──
    ·                  ╰── unknown site
    ╰────
  help: did you mean `primary`? sites: `dr`, `primary`
"#);
    assert_snapshot!(config_told("{ dr: \"127.0.0.1:19080\" }", "{ drr: \"127.0.0.1:19080\" }"), @r#"
HDR1101

  × unknown site `drr`
    ╭─[runbook.yaml:38:21]
 38 │       connect-to: { drr: "127.0.0.1:19080" }
    ·                     ─┬─
    ·                      ╰── unknown site
    ╰────
  help: did you mean `dr`? sites: `dr`, `primary`
"#);
    let third = "sites:\n  third: { url: \"https://c.example.com\", auth: { user: a, password: \"env:C\" } }\n";
    let text = with(CONFIG, "sites:\n", third);
    let text = with(
        &text,
        "{ dr: \"127.0.0.1:19080\" }",
        "{ third: \"127.0.0.1:19080\" }",
    );
    assert_snapshot!(config(&text).expect_err("not of the pair").render(false, 100), @r#"
HDR1101

  × site `third` is not of the pair
    ╭─[runbook.yaml:39:21]
 39 │       connect-to: { third: "127.0.0.1:19080" }
    ·                     ──┬──
    ·                       ╰── unknown site
    ╰────
  help: sites of the pair: `primary`, `dr`
"#);
}

#[test]
fn one_site_is_no_pair() {
    assert_snapshot!(config_told("standby: dr", "standby: primary"), @r#"
HDR1102

  × `primary` is both active and standby
    ╭─[runbook.yaml:19:15]
 19 │       active: primary
    ·               ───┬───
    ·                  ╰── the same site
 20 │       standby: primary
    ·                ───┬───
    ·                   ╰── active and standby are the same site
    ╰────
  help: name the other site
"#);
}

#[test]
fn targets() {
    assert_snapshot!(config_told(", dr: harbor-dr.example.com }", " }"), @r#"
HDR1103

  × `targets` has no entry for site `dr`
    ╭─[runbook.yaml:34:16]
 34 │       targets: { primary: harbor-primary.example.com }
    ·                ───────────────────┬───────────────────
    ·                                   ╰── targets do not fit the pair
    ╰────
  help: add what the record shall say when `dr` serves: `dr: HOST`
"#);
    assert_snapshot!(config_told("dr: harbor-dr.example.com }", "dr: Harbor-Primary.example.com. }"), @r#"
HDR1103

  × sites `primary` and `dr` have the same target `harbor-primary.example.com`
    ╭─[runbook.yaml:34:27]
 34 │       targets: { primary: harbor-primary.example.com, dr: Harbor-Primary.example.com. }
    ·                           ─────────────┬────────────      ─────────────┬─────────────
    ·                                        │                               ╰── targets do not fit the pair
    ·                                        ╰── the same target
    ╰────
  help: the record could not tell who serves: give each site a name of its own
"#);
    assert_snapshot!(config_told("dr: harbor-dr.example.com }", "dr: harbor.example.com }"), @r#"
HDR1103

  × the target of `dr` is the service name itself
    ╭─[runbook.yaml:34:59]
 34 │       targets: { primary: harbor-primary.example.com, dr: harbor.example.com }
    ·                                                           ─────────┬────────
    ·                                                                    ╰── targets do not fit the pair
    ╰────
  help: write the name or address of the site
"#);
}

#[test]
fn time_scale_needs_loopback() {
    assert_snapshot!(config_told("version: 1\n", "version: 1\ntime-scale: 60\n"), @r#"
HDR1104

  × `time-scale` is set, but site `dr` is at `10.0.0.2:8080`, which is no loopback address
   ╭─[runbook.yaml:3:13]
 3 │ time-scale: 60
   ·             ─┬
   ·              ╰── time scale outside a sandbox
   ╰────
    ╭─[runbook.yaml:15:17]
 15 │     connect-to: "10.0.0.2:8080"
    ·                 ───────┬───────
    ·                        ╰── not on this machine
    ╰────
  help: remove `time-scale`: it shortens waits that a real Harbor needs

HDR1104

  × `time-scale` is set, but site `primary` is at `https://harbor-primary.example.com`, which is no
  │ loopback address
   ╭─[runbook.yaml:3:13]
 3 │ time-scale: 60
   ·             ─┬
   ·              ╰── time scale outside a sandbox
   ╰────
   ╭─[runbook.yaml:7:10]
 7 │     url: https://harbor-primary.example.com
   ·          ─────────────────┬────────────────
   ·                           ╰── not on this machine
   ╰────
  help: remove `time-scale`: it shortens waits that a real Harbor needs
"#);
    assert_snapshot!(config_told("version: 1\n", "version: 1\ntime-scale: 0.5\n"), @r#"
HDR1207

  × time scale 0.5 is outside 1 to 100000
   ╭─[runbook.yaml:3:13]
 3 │ time-scale: 0.5
   ·             ─┬─
   ·              ╰── a number outside its bounds
   ╰────
  help: 1 is the time of the wall; leave it out outside a sandbox
"#);
    assert!(config(&with(CONFIG, "version: 1\n", "version: 1\ntime-scale: 1\n")).is_ok());
    // A loopback address in `url` is no loopback when the connection goes elsewhere.
    let text = with(
        SMALL_CONFIG,
        "\"env:B\" } }",
        "\"env:B\" }, connect-to: \"10.0.0.1:80\" }",
    );
    assert_eq!(
        config(&text).expect_err("elsewhere").codes(),
        [Code::TimeScale]
    );
}

#[test]
fn objectives_and_spans_are_positive() {
    assert_snapshot!(config_told("{ rto: 15m, rpo: 15m }", "{ rto: 0s, rpo: 0m }"), @r#"
HDR1105

  × an objective must be longer than nothing
    ╭─[runbook.yaml:28:24]
 28 │     objectives: { rto: 0s, rpo: 0m }
    ·                        ─┬
    ·                         ╰── a span that must be longer than nothing
    ╰────
  help: write a span such as `10s` or `15m`

HDR1105

  × an objective must be longer than nothing
    ╭─[runbook.yaml:28:33]
 28 │     objectives: { rto: 0s, rpo: 0m }
    ·                                 ─┬
    ·                                  ╰── a span that must be longer than nothing
    ╰────
  help: write a span such as `10s` or `15m`
"#);
    assert_eq!(
        config(&with(CONFIG, "every: 8m", "every: 0s"))
            .expect_err("zero")
            .codes(),
        [Code::NotPositive]
    );
    assert_eq!(
        config(&with(CONFIG, "timeout: 20s", "timeout: 0s"))
            .expect_err("zero")
            .codes(),
        [Code::NotPositive]
    );
}

#[test]
fn several_providers() {
    let second = "      dns:\n        - route53: { zone: Z1 }\n";
    assert_snapshot!(config_told("      dns:\n", second), @r#"
HDR1106

  × 2 DNS providers are declared, and this version moves the record at exactly one
    ╭─[runbook.yaml:34:11]
 34 │         - rfc2136: { zone: example.com, server: "127.0.0.1:5353", key: { name: ops, secret: "env:DNS_KEY" }, ttl: 60 }
    ·           ───┬───
    ·              ╰── not exactly one DNS provider
    ╰────
  help: keep the one that holds the record
"#);
    let none = with(
        SMALL_CONFIG,
        "dns: [ { route53: { zone: Z123 } } ]",
        "dns: []",
    );
    assert_snapshot!(config(&none).expect_err("none").render(false, 100), @r#"
HDR1106

  × no DNS provider is declared
    ╭─[runbook.yaml:11:12]
 11 │       dns: []
    ·            ─┬
    ·             ╰── not exactly one DNS provider
    ╰────
  help: write the one that holds the record, such as `- rfc2136: { ... }`
"#);
}

#[test]
fn settings_that_exclude_each_other() {
    assert_snapshot!(config_told("every: 8m", "every: 8m\n      cron: \"*/8 * * * *\""), @r#"
HDR1107

  × `every` and `cron` exclude each other
    ╭─[runbook.yaml:23:14]
 23 │       every: 8m
    ·              ─┬
    ·               ╰── the other schedule
 24 │       cron: "*/8 * * * *"
    ·             ──────┬──────
    ·                   ╰── settings that exclude each other
    ╰────
  help: a policy has one schedule: keep one of the two
"#);
    assert_snapshot!(config_told("every: 8m", "on: push"), @r#"
HDR1107

  × a pull cannot be started by a push
    ╭─[runbook.yaml:21:18]
 21 │       direction: pull
    ·                  ──┬─
    ·                    ╰── the standby pulls
 22 │       policies: { forward: dr-full-sync, reverse: dr-reverse, final-sync: dr-final, final-reverse-sync: dr-back }
 23 │       on: push
    ·           ──┬─
    ·             ╰── settings that exclude each other
    ╰────
  help: write `every` or `cron`, or `direction: push`
"#);
    assert_snapshot!(config_told("deletions: keep", "deletions: mirror"), @r#"
HDR1107

  × deletions do not travel by pull
    ╭─[runbook.yaml:21:18]
 21 │       direction: pull
    ·                  ──┬─
    ·                    ╰── the standby pulls
 22 │       policies: { forward: dr-full-sync, reverse: dr-reverse, final-sync: dr-final, final-reverse-sync: dr-back }
 23 │       every: 8m
 24 │       include: ["**"]
 25 │       tags: { match: ["v*"], exclude: ["dev-*", "pr-*"] }
 26 │       deletions: mirror
    ·                  ───┬──
    ·                     ╰── settings that exclude each other
    ╰────
  help: Harbor deletes by push events only: write `deletions: keep`, or `direction: push`
"#);
    assert_snapshot!(config_told("lowered: 5s", "lowered: 90s"), @r#"
HDR1107

  × the lowered TTL `1m30s` is above the normal one `1m`
    ╭─[runbook.yaml:35:36]
 35 │       ttl: { normal: 60s, lowered: 90s }
    ·                                    ─┬─
    ·                                     ╰── settings that exclude each other
    ╰────
  help: lower it to at most the normal one
"#);
    assert_snapshot!(config_told("https://harbor.example.com:8443", "https://registry.example.com"), @r#"
HDR1107

  × the address leads to `registry.example.com`, which is not the service name
    ╭─[runbook.yaml:30:13]
 30 │       name: harbor.example.com
    ·             ─────────┬────────
    ·                      ╰── the service name
 31 │       url: "https://registry.example.com"
    ·            ───────────────┬──────────────
    ·                           ╰── settings that exclude each other
    ╰────
  help: clients are tried through the name that is moved: use it in the address
"#);
    assert_snapshot!(config_told("every: 8m", "cron: daily"), @r#"
HDR1005

  × `daily` is no line of cron
    ╭─[runbook.yaml:23:13]
 23 │       cron: daily
    ·             ──┬──
    ·               ╰── a value that does not fit
    ╰────
  help: write five fields (minute, hour, day, month, weekday) or six with the second first, in UTC
"#);
}

#[test]
fn channels() {
    assert_snapshot!(config_told("desk: { command: { argv: [mail, -s, runbook, ops], timeout: 30s } }", "desk: { on: [run.*] }"), @r#"
HDR1108

  × channel `desk` is neither a `webhook` nor a `command`
    ╭─[runbook.yaml:46:3]
 46 │   desk: { on: [run.*] }
    ·   ──┬─
    ·     ╰── a channel that is not exactly one thing
    ╰────
  help: write either `webhook` or `command`; two channels have two names
"#);
    assert_snapshot!(config_told("on: [run.*] }", "command: { argv: [mail] } }"), @r#"
HDR1108

  × channel `oncall` is both a `webhook` and a `command`
    ╭─[runbook.yaml:45:3]
 45 │   oncall: { webhook: { url: "env:ONCALL_URL", authorization: "file:secrets/oncall" }, command: { argv: [mail] } }
    ·   ───┬──
    ·      ╰── a channel that is not exactly one thing
    ╰────
  help: write either `webhook` or `command`; two channels have two names
"#);
    assert_snapshot!(config_told("argv: [mail, -s, runbook, ops]", "argv: []"), @r#"
HDR1110

  × channel `desk` names no program
    ╭─[runbook.yaml:46:28]
 46 │   desk: { command: { argv: [], timeout: 30s } }
    ·                            ─┬
    ·                             ╰── nothing where at least one is needed
    ╰────
  help: write the program first, then its arguments
"#);
    assert_snapshot!(config_told("on: [run.*]", "on: [\"run *\"]"), @r#"
HDR1005

  × `run *` is no name of an event
    ╭─[runbook.yaml:45:92]
 45 │   oncall: { webhook: { url: "env:ONCALL_URL", authorization: "file:secrets/oncall" }, on: ["run *"] }
    ·                                                                                            ───┬───
    ·                                                                                               ╰── a value that does not fit
    ╰────
  help: write a name such as `run.finished`, or `run.*`
"#);
}

#[test]
fn names() {
    assert_snapshot!(config_told("  dr:\n    url:", "  standby:\n    url:"), @r#"
HDR1005

  × `standby` is a role, so no site may be called that
    ╭─[runbook.yaml:11:3]
 11 │   standby:
    ·   ───┬───
    ·      ╰── a value that does not fit
    ╰────
"#);
    assert_snapshot!(config_told("topologies:\n  dr:", "topologies:\n  DR pair:"), @r#"
HDR1109

  × `DR pair` cannot be the name of a topology
    ╭─[runbook.yaml:17:3]
 17 │   DR pair:
    ·   ───┬───
    ·      ╰── a name that cannot be one
    ╰────
  help: use up to 40 lower-case letters, digits and `-`, starting with a letter
"#);
}

#[test]
fn robots_secret_goes_to_a_file() {
    assert_snapshot!(config_told("file:secrets/dr-robot", "env:ROBOT"), @r#"
HDR1005

  × a secret can only be put into a file
    ╭─[runbook.yaml:40:48]
 40 │     robots: { name: dr-replication, secret-to: "env:ROBOT" }
    ·                                                ─────┬─────
    ·                                                     ╰── a value that does not fit
    ╰────
  help: write `file:PATH`
"#);
}

#[test]
fn everything_wrong_is_told_together() {
    let text = with(SMALL_CONFIG, "active: primary", "active: prmary");
    let text = with(&text, "harbor-b.example.test }", "harbor-a.example.test }");
    let text = with(
        &text,
        "\"http://localhost:8080\"",
        "\"http://10.0.0.1:8080\"",
    );
    assert_snapshot!(config(&text).expect_err("much is wrong").render(false, 100), @r#"
HDR1104

  × `time-scale` is set, but site `dr` is at `http://10.0.0.1:8080`, which is no loopback address
   ╭─[runbook.yaml:2:13]
 2 │ time-scale: 60
   ·             ─┬
   ·              ╰── time scale outside a sandbox
   ╰────
   ╭─[runbook.yaml:5:14]
 5 │   dr: { url: "http://10.0.0.1:8080", auth: { user: admin, password: "env:B" } }
   ·              ───────────┬──────────
   ·                         ╰── not on this machine
   ╰────
  help: remove `time-scale`: it shortens waits that a real Harbor needs

HDR1101

  × unknown site `prmary`
   ╭─[runbook.yaml:8:24]
 8 │     dr-pair: { active: prmary, standby: dr, direction: push, on: push, deletions: mirror }
   ·                        ───┬──
   ·                           ╰── unknown site
   ╰────
  help: did you mean `primary`? sites: `dr`, `primary`

HDR1103

  × sites `primary` and `dr` have the same target `harbor-a.example.test`
    ╭─[runbook.yaml:12:27]
 12 │       targets: { primary: harbor-a.example.test, dr: harbor-a.example.test }
    ·                           ──────────┬──────────      ──────────┬──────────
    ·                                     │                          ╰── targets do not fit the pair
    ·                                     ╰── the same target
    ╰────
  help: the record could not tell who serves: give each site a name of its own
"#);
    assert_snapshot!(config(&text).expect_err("much is wrong").to_string(), @r#"
runbook.yaml:2:13: `time-scale` is set, but site `dr` is at `http://10.0.0.1:8080`, which is no loopback address [HDR1104]
runbook.yaml:8:24: unknown site `prmary` [HDR1101]
runbook.yaml:12:54: sites `primary` and `dr` have the same target `harbor-a.example.test` [HDR1103]
"#);
}

#[test]
fn long_comments_are_no_matter() {
    let text = with(
        CONFIG,
        "topologies:\n",
        &format!("{}topologies:\n", "# a long explanation\n".repeat(200)),
    );
    assert!(config(&text).is_ok());
}

#[test]
fn aliases_do_not_explode() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..10 {
        let before = format!("*a{}", i - 1);
        text.push_str(&format!(
            "a{i}: &a{i} [{}]\n",
            [before.as_str(); 10].join(", ")
        ));
    }
    assert!(config(&text).is_err());
    let deep = format!("version: {}1{}", "[".repeat(5000), "]".repeat(5000));
    assert!(config(&deep).is_err());
}
