//! Each safeguard of the procedures, by the name that the model gives it: with it nothing bad happens.
//!
//! Where a safeguard stands in a runbook, the test also takes it out and shows what then happens. Where it stands in the
//! program, docs/safeguards.md says what happened when it was taken out.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use jiff::Timestamp;
use runbook_sim::{Direction, Edge, Fault, Mutation, Verdict, dns};
use rustix::process::Signal;
use serde_json::Value;

use crate::aborting::CUTOVER;
use crate::pair::{Pair, Ran};
use crate::rules::a_sync_begun_before_the_fence;
use crate::stage::{
    self, ELSEWHERE, FAILBACK, FRESH, PLANNED, RESUME, SCALE, UNDO, UNPLANNED, Watched, at_update,
    count, happened, once_at, position, send, tags, without_guards, without_step,
};

const POLICIES: &str = "/replication/policies/";
const TAG: (&str, &str) = ("production/app", "v1.0.0");

fn time(event: &Value) -> Timestamp {
    let text = event["at"].as_str().expect("a time");
    text.parse().expect("a time")
}

fn gate(yaml: &str) -> String {
    yaml.replace("gate: [missing, different]", "gate: []")
}

/// Lifts the fence and pushes, right after the standby was silenced: the last moment before the recheck.
fn lift_and_push_before_the_cutover(pair: &Pair) {
    let primary = pair.sandbox.primary().clone();
    once_at(
        &pair.sandbox,
        Edge::After,
        ("dr", "PUT", POLICIES),
        move || {
            primary.set_read_only(false);
            primary
                .push_tag("production/app", "between", "between")
                .expect("the fence is lifted");
            Verdict::Continue
        },
    );
}

/// Does the same when the name has moved.
fn lift_and_push_after_the_cutover(pair: &Pair) {
    let primary = pair.sandbox.primary().clone();
    at_update(&pair.sandbox, dns::Edge::After, CUTOVER, move || {
        primary.set_read_only(false);
        primary
            .push_tag("production/app", "stray", "stray")
            .expect("the fence is lifted");
        dns::Verdict::Proceed
    });
}

fn has(pair: &Pair, tag: &str) -> bool {
    pair.sandbox.dr().digest("production/app", tag).is_some()
}

/// Approves the loss, if it is asked for.
async fn unplanned(pair: &Pair) -> Ran {
    let ran = pair.run(UNPLANNED).await;
    if ran.code != Some(5) {
        return ran;
    }
    pair.expect(0, &["approve", "--reason", "known"]).await;
    pair.run(RESUME).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_save_after_first_write() {
    let pair = stage::pull().await;
    let settings = pair.settings();
    let run = Watched::start(&pair, PLANNED);
    let pid = run.pid();
    // The death right after the last write that an undo has to take back.
    once_at(
        &pair.sandbox,
        Edge::After,
        ("dr", "PUT", POLICIES),
        move || {
            send(pid, Signal::KILL);
            Verdict::NoReply
        },
    );
    assert_eq!(run.end().await.code, None, "it was killed");
    pair.sandbox.clear_hook();
    let events = pair.events().await;
    let saved = events
        .iter()
        .rposition(|event| event["event"] == "original-saved");
    let first = position(&events, 0, "attempt-started", "lower-ttl");
    assert!(
        saved.is_some() && saved < first,
        "saved before the first write"
    );
    pair.expect(8, UNDO).await;
    assert_eq!(pair.settings(), settings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_wait_after_lowering() {
    for name in [PLANNED, FAILBACK] {
        let pair = stage::pull().await;
        if name == FAILBACK {
            pair.expect(0, PLANNED).await;
        }
        pair.expect(0, name).await;
        let events = pair.events().await;
        let begun = position(&events, 0, "attempt-started", "lower-ttl").expect("begun");
        let done = position(&events, begun, "succeeded", "lower-ttl").expect("done");
        let waited = time(&events[done]).duration_since(time(&events[begun]));
        // A cache that asked right before the change keeps the record for the whole old TTL, 60 s.
        assert!(waited.as_secs_f64() >= 60.0 / SCALE, "{waited}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_silence_active() {
    for silenced in [true, false] {
        let pair = stage::push().await;
        if !silenced {
            pair.with_runbook("failover", |yaml| without_step(&yaml, "silence-active"));
        }
        pair.expect(0, PLANNED).await;
        let (primary, dr) = (pair.sandbox.primary(), pair.sandbox.dr());
        assert_eq!(primary.is_policy_enabled("dr-forward"), Some(!silenced));
        // The fence is lifted one day, and a client with an old address is still there.
        primary.set_read_only(false);
        let new = dr.push_tag(TAG.0, TAG.1, "of the new side").ok();
        let runs = primary.executions("dr-forward").len();
        primary
            .push_tag(TAG.0, TAG.1, "of an old client")
            .expect("it is open");
        if silenced {
            assert_eq!(primary.executions("dr-forward").len(), runs);
            assert_eq!(dr.digest(TAG.0, TAG.1), new);
        } else {
            stage::eventually("the new side is overwritten", || {
                dr.digest(TAG.0, TAG.1) != new
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_fence() {
    for fenced in [true, false] {
        let pair = stage::pull().await;
        if !fenced {
            pair.with_runbook("failover", |yaml| {
                without_step(&yaml, "fence").replace(", above-mark: fence", "")
            });
        }
        let primary = pair.sandbox.primary().clone();
        let acknowledged = Arc::new(Mutex::new(None));
        let kept = acknowledged.clone();
        at_update(&pair.sandbox, dns::Edge::Before, CUTOVER, move || {
            let pushed = primary.push_tag("production/app", "last", "last");
            *kept.lock().expect("no panic") = Some(pushed.is_ok());
            dns::Verdict::Proceed
        });
        pair.expect(0, PLANNED).await;
        let acknowledged = *acknowledged.lock().expect("no panic");
        assert_eq!(acknowledged, Some(!fenced));
        // Unfenced, a client was told that its push is there, and it is not.
        assert!(!has(&pair, "last"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_mark_in_flag_probe() {
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    let run = Watched::start(&pair, PLANNED);
    let pid = run.pid();
    // The flag is set; its driver dies before it took the mark.
    once_at(
        &pair.sandbox,
        Edge::After,
        ("primary", "PUT", "/configurations"),
        move || {
            send(pid, Signal::KILL);
            Verdict::NoReply
        },
    );
    assert_eq!(run.end().await.code, None, "it was killed");
    pair.sandbox.clear_hook();
    assert!(pair.sandbox.primary().is_read_only());
    pair.expect(0, RESUME).await;
    pair.is_moved(&before);
    let events = pair.events().await;
    let mark = position(&events, 0, "checkpoint", "fence").expect("a mark");
    let sync = position(&events, 0, "attempt-started", "final-sync").expect("a final sync");
    assert!(mark < sync);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_mark() {
    // The bulk sync has succeeded and misses what is pushed after it.
    let pair = stage::pull().await;
    late_push_is_copied(&pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_adopt_below_mark() {
    let pair = stage::pull().await;
    a_sync_begun_before_the_fence(&pair).await;
    assert!(has(&pair, "late"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_mark_no_gate() {
    // The mark alone is enough.
    let pair = stage::pull().await;
    pair.with_runbook("failover", |yaml| gate(&yaml));
    late_push_is_copied(&pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_adopt_below_mark_no_gate() {
    let pair = stage::pull().await;
    pair.with_runbook("failover", |yaml| gate(&yaml));
    a_sync_begun_before_the_fence(&pair).await;
    assert!(has(&pair, "late"));
}

/// A push after the bulk sync was over and before the fence.
async fn late_push_is_copied(pair: &Pair) {
    let primary = pair.sandbox.primary().clone();
    once_at(
        &pair.sandbox,
        Edge::Before,
        ("primary", "PUT", "/configurations"),
        move || {
            primary
                .push_tag("production/app", "late", "late")
                .expect("it is open until now");
            Verdict::Continue
        },
    );
    pair.expect(0, PLANNED).await;
    assert!(has(pair, "late"));
    pair.is_moved(&tags(pair.sandbox.primary()));
    assert!(
        !happened(&pair.events().await, "went-back"),
        "the first final sync has it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_gate() {
    for gated in [true, false] {
        let pair = stage::pull().await;
        if !gated {
            pair.with_runbook("failover", |yaml| gate(&yaml));
        }
        nothing_is_ever_copied(&pair, gated).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_compare() {
    for compared in [true, false] {
        let pair = stage::pull().await;
        if !compared {
            pair.with_runbook("failover", |yaml| {
                without_step(&without_step(&yaml, "late-writes"), "compare")
            });
        }
        nothing_is_ever_copied(&pair, compared).await;
    }
}

/// Harbor says `Succeed` and has copied nothing.
async fn nothing_is_ever_copied(pair: &Pair, seen: bool) {
    pair.sandbox
        .dr()
        .inject(Fault::CopiesNothing { times: None });
    if seen {
        pair.expect(5, PLANNED)
            .await
            .says(&["production/app:fresh"]);
        assert_eq!(pair.serves(), "primary");
    } else {
        pair.expect(0, PLANNED).await;
        assert_eq!(pair.serves(), "dr");
        assert_eq!(pair.sandbox.dr().digest(FRESH.0, FRESH.1), None, "lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_enable_on_return() {
    let pair = stage::pull().await;
    lift_and_push_before_the_cutover(&pair);
    pair.expect(0, PLANNED).await;
    assert!(has(&pair, "between"));
    let changes = pair.report().await["changes"].clone();
    let enabled = changes.as_array().expect("a list").iter().any(|change| {
        change["step"] == "final-sync"
            && change["field"] == "enabled"
            && change["after"] == "enabled"
    });
    assert!(enabled, "{changes}");
    assert_eq!(
        pair.sandbox.dr().is_policy_enabled("dr-forward"),
        Some(false)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_silence_standby() {
    for silenced in [true, false] {
        let pair = stage::pull().await;
        if !silenced {
            pair.with_runbook("failover", |yaml| without_step(&yaml, "silence-standby"));
        }
        pair.expect(0, PLANNED).await;
        let dr = pair.sandbox.dr();
        assert_eq!(dr.is_policy_enabled("dr-forward"), Some(!silenced));
        let new = dr.push_tag(TAG.0, TAG.1, "of the new side").ok();
        if !silenced {
            dr.repair(&stage::lost_schedule()).await.expect("repaired");
            // The schedule fires and puts the old side's content back.
            stage::eventually("the new side is overwritten", || {
                dr.digest(TAG.0, TAG.1) != new
            })
            .await;
        }
    }
}

/// A sync that somebody starts at the standby right before it is silenced, slow or failing at first.
async fn silenced_in_the_middle(pair: &Pair, fails: bool) -> i64 {
    let dr = pair.sandbox.dr().clone();
    let primary = pair.sandbox.primary().clone();
    once_at(
        &pair.sandbox,
        Edge::Before,
        ("dr", "PUT", POLICIES),
        move || {
            if fails {
                dr.inject(Fault::FailedTasks { times: Some(1) });
            } else {
                dr.set_copy_speed(stage::slow());
            }
            // Something that it has to copy.
            primary.set_read_only(false);
            primary
                .push_tag("library/base", "extra", "extra")
                .expect("it is open");
            primary.set_read_only(true);
            dr.change(&Mutation::ExecutionStarted {
                policy: "dr-forward".into(),
            })
            .expect("started");
            // What was just started must not wait for this thread.
            tokio::task::block_in_place(|| {
                for _ in 0..400 {
                    std::thread::sleep(Duration::from_millis(5));
                    dr.refresh_status();
                    let last = dr.executions("dr-forward").pop();
                    let failed = last.is_some_and(|(_, status, _)| status == "Failed");
                    if fails && failed || !fails && dr.is_copying() {
                        return;
                    }
                }
                panic!("it neither copies nor fails");
            });
            Verdict::Continue
        },
    );
    pair.expect(0, PLANNED).await;
    let runs = pair.sandbox.dr().executions("dr-forward");
    runs.last().expect("one").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_stop() {
    let pair = stage::pull().await;
    let id = silenced_in_the_middle(&pair, false).await;
    let runs = pair.sandbox.dr().executions("dr-forward");
    assert_eq!(
        runs.last().map(|(_, status, _)| status.as_str()),
        Some("Stopped"),
        "{id}: {runs:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_retry_stop() {
    // Harbor tries again 16 to 118 s later: 0.4 to 3 s here, so that the driver is there before.
    let pair = stage::scaled(Direction::Pull, 40.0).await;
    let id = silenced_in_the_middle(&pair, true).await;
    let stopped = pair.sandbox.log().iter().any(|entry| {
        entry.method == "PUT"
            && entry
                .path
                .ends_with(&format!("/replication/executions/{id}"))
    });
    assert!(
        stopped,
        "a failed run that Harbor would try again is stopped"
    );
    // Longer than Harbor's last retry.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    pair.sandbox.dr().refresh_status();
    let runs = pair.sandbox.dr().executions("dr-forward");
    assert_eq!(
        runs.last().map(|(_, status, _)| status.as_str()),
        Some("Failed"),
        "{runs:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_settle() {
    let pair = stage::pull().await;
    silenced_in_the_middle(&pair, false).await;
    let events = pair.events().await;
    let until = events
        .iter()
        .position(|event| {
            event["event"] == "checkpoint"
                && event["step"] == "silence-standby"
                && event["name"] == "settle-until"
        })
        .expect("a stopped copy may go on for a while");
    let over: Timestamp = events[until]["value"]
        .as_str()
        .expect("a time")
        .parse()
        .expect("a time");
    let done = position(&events, until, "succeeded", "silence-standby").expect("done");
    assert!(time(&events[done]) >= over, "it is waited for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_recheck() {
    for rechecked in [true, false] {
        let pair = stage::pull().await;
        if !rechecked {
            pair.with_runbook("failover", |yaml| without_guards(&yaml, "dns-upsert"));
        }
        lift_and_push_before_the_cutover(&pair);
        pair.expect(0, PLANNED).await;
        assert_eq!(has(&pair, "between"), rechecked);
        if !rechecked {
            // The look after the TTL lists what was lost.
            let divergence = pair.report().await["divergence"].to_string();
            assert!(divergence.contains("between"), "{divergence}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_guards_before_probe() {
    let pair = stage::pull().await;
    let run = Watched::start(&pair, PLANNED);
    let pid = run.pid();
    at_update(&pair.sandbox, dns::Edge::After, CUTOVER, move || {
        send(pid, Signal::KILL);
        dns::Verdict::Drop
    });
    assert_eq!(run.end().await.code, None, "it was killed");
    pair.sandbox.dns().clear_hook();
    // The guards of the interrupted step are broken, and the step is done.
    pair.sandbox.primary().set_read_only(false);
    let new = pair
        .sandbox
        .dr()
        .push_tag(TAG.0, TAG.1, "of the new side")
        .ok();
    pair.expect(0, RESUME).await;
    assert!(!happened(&pair.events().await, "went-back"));
    assert_eq!(
        pair.sandbox.dr().digest(TAG.0, TAG.1),
        new,
        "not overwritten"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_keep_results() {
    let pair = stage::pull().await;
    lift_and_push_before_the_cutover(&pair);
    pair.expect(0, PLANNED).await;
    assert!(has(&pair, "between"));
    let events = pair.events().await;
    for step in ["fence", "final-sync", "compare"] {
        assert_eq!(
            count(&events, "succeeded", step),
            2,
            "`{step}` is taken again"
        );
    }
    let marks: Vec<&Value> = events
        .iter()
        .filter(|event| {
            event["event"] == "checkpoint" && event["step"] == "fence" && event["name"] == "mark"
        })
        .map(|event| &event["value"])
        .collect();
    assert!(
        marks.len() == 2 && marks[0].as_i64() < marks[1].as_i64(),
        "{marks:?}"
    );
    let compared: Vec<i64> = events
        .iter()
        .filter(|event| event["event"] == "succeeded" && event["step"] == "compare")
        .filter_map(|event| event["output"]["compared"].as_i64())
        .collect();
    assert_eq!(
        compared[1],
        compared[0] + 1,
        "the second saw what came between"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_owe_in_failback() {
    for waits in [true, false] {
        let pair = stage::pull().await;
        if !waits {
            pair.with_runbook("failback", |yaml| {
                let owe = |yaml: String, id: &str| {
                    yaml.replace(
                        &format!("  - id: {id}\n"),
                        &format!("  - id: {id}\n    if-unreachable: owe\n"),
                    )
                };
                owe(owe(yaml, "still-fenced"), "late-writes")
                    .replace("    guards: [{ step: still-fenced, broken: ask }]\n", "")
            });
        }
        pair.expect(0, PLANNED).await;
        // The site left behind goes away when the name has moved, and somebody lifts its fence.
        let dr = pair.sandbox.dr().clone();
        at_update(&pair.sandbox, dns::Edge::After, CUTOVER, move || {
            dr.inject(Fault::Down);
            dr.set_read_only(false);
            dr.push_tag("production/app", "stray", "stray")
                .expect("it is open inside");
            dns::Verdict::Proceed
        });
        let ran = pair.run(FAILBACK).await;
        assert!(matches!(ran.code, Some(4 | 5)), "it must answer: {ran:?}");
        assert_eq!(pair.serves(), "primary");
        pair.sandbox.dns().clear_hook();
        pair.sandbox.dr().repair_all().await.expect("it returns");
        let ran = pair.run(RESUME).await;
        if waits {
            // What it took is shown before replication overwrites it.
            assert_eq!(ran.code, Some(5), "{ran:?}");
            ran.says(&["stray", "what follows overwrites them"]);
            pair.expect(0, &["approve", "--reason", "a test's"]).await;
            pair.expect(0, RESUME).await;
        } else {
            assert_eq!(ran.code, Some(0), "{ran:?}");
            assert!(!ran.stderr.contains("stray"), "nobody was shown it");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_compare_and_set() {
    let pair = Arc::new(stage::pull().await);
    let weak: Weak<Pair> = Arc::downgrade(&pair);
    // Between the driver's look and its update.
    at_update(&pair.sandbox, dns::Edge::Before, CUTOVER, move || {
        weak.upgrade().expect("the pair is there").point_elsewhere();
        dns::Verdict::Proceed
    });
    let ran = pair.run(PLANNED).await;
    pair.sandbox.dns().clear_hook();
    assert!(matches!(ran.code, Some(4 | 5)), "{ran:?}");
    assert_eq!(
        pair.record().values,
        [ELSEWHERE],
        "somebody's change stands"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_undo_in_doubt() {
    let pair = stage::pull().await;
    let run = Watched::start(&pair, PLANNED);
    let pid = run.pid();
    at_update(&pair.sandbox, dns::Edge::After, CUTOVER, move || {
        send(pid, Signal::KILL);
        dns::Verdict::Drop
    });
    assert_eq!(run.end().await.code, None, "it was killed");
    pair.sandbox.dns().clear_hook();
    pair.expect(3, UNDO).await;
    // Undone, the old side would take pushes next to the new one.
    assert_eq!(pair.serves(), "dr");
    assert!(pair.sandbox.primary().is_read_only());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_wait_out() {
    a_fence_that_lands_late_is_undone().await;
}

/// An undo after a driver that died with its fence under way.
pub async fn a_fence_that_lands_late_is_undone() {
    let pair = stage::scaled(Direction::Pull, 50.0).await;
    // A request is under way for at most 60 s, 1.2 s at this scale; this one lands 500 ms after its sender died.
    pair.edit_config(|text| text.replace("timeout: 5s", "timeout: 60s"));
    let settings = pair.settings();
    let run = Watched::start(&pair, PLANNED);
    let pid = run.pid();
    once_at(
        &pair.sandbox,
        Edge::Before,
        ("primary", "PUT", "/configurations"),
        move || {
            send(pid, Signal::KILL);
            std::thread::sleep(Duration::from_millis(500));
            Verdict::Continue
        },
    );
    assert_eq!(run.end().await.code, None, "it was killed");
    pair.expect(8, UNDO).await.says(&["every original is back"]);
    pair.sandbox.clear_hook();
    // Judged too early it counts as not done, and the fence falls after the undo.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(pair.settings(), settings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_after_check() {
    for looks in [true, false] {
        let pair = stage::pull().await;
        if !looks {
            pair.with_runbook("failover", |yaml| no_after_check(&yaml));
        }
        lift_and_push_after_the_cutover(&pair);
        pair.expect(0, PLANNED).await;
        assert_eq!(pair.sandbox.primary().is_read_only(), looks);
        let divergence = pair.report().await["divergence"].to_string();
        assert_eq!(divergence.contains("stray"), looks, "{divergence}");
    }
}

fn no_after_check(yaml: &str) -> String {
    ["late-writes", "late-writes-unplanned", "still-fenced"]
        .iter()
        .fold(yaml.to_owned(), |yaml, step| without_step(&yaml, step))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_recheck_no_after_check() {
    for safe in [true, false] {
        let pair = stage::pull().await;
        if !safe {
            pair.with_runbook("failover", |yaml| {
                no_after_check(&without_guards(&yaml, "dns-upsert"))
            });
        }
        lift_and_push_before_the_cutover(&pair);
        pair.expect(0, PLANNED).await;
        assert_eq!(has(&pair, "between"), safe);
        assert_eq!(pair.sandbox.primary().is_read_only(), safe);
        let divergence = pair.report().await["divergence"].to_string();
        assert!(
            !divergence.contains("between"),
            "lost and not even listed, or not lost: {divergence}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_credential_cut() {
    for cut in [true, false] {
        let pair = stage::push().await;
        if !cut {
            pair.with_runbook("failover", |yaml| without_step(&yaml, "cut-credentials"));
        }
        pair.sandbox.primary().inject(Fault::Down);
        let ran = unplanned(&pair).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let (primary, dr) = (pair.sandbox.primary(), pair.sandbox.dr());
        let new = dr.push_tag(TAG.0, TAG.1, "of the new side").ok();
        // It comes back with its policy on, and a client with an old address.
        primary.repair_all().await.expect("it returns");
        primary
            .push_tag(TAG.0, TAG.1, "of an old client")
            .expect("it is open");
        if cut {
            stage::eventually("the old side is refused", || {
                primary.refresh_status();
                let last = primary.executions("dr-forward").pop();
                last.is_some_and(|(_, status, _)| status == "Failed")
            })
            .await;
            assert_eq!(dr.digest(TAG.0, TAG.1), new);
        } else {
            stage::eventually("the new side is overwritten", || {
                dr.digest(TAG.0, TAG.1) != new
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_open_after_cut() {
    for opened_first in [true, false] {
        let pair = stage::push().await;
        if !opened_first {
            pair.with_runbook("failover", |yaml| {
                let open = "  - id: open-standby\n    do: { harbor.read-only: { site: standby, value: false } }\n    modes: [unplanned]\n";
                let without = yaml.replacen(open, "", 1).replacen("    guards: [open-standby]\n", "", 1);
                without.replacen("  - id: silence-old\n", &format!("{open}  - id: silence-old\n"), 1)
            });
        }
        pair.sandbox.dr().set_read_only(true);
        pair.sandbox.primary().inject(Fault::Down);
        let ran = unplanned(&pair).await;
        if opened_first {
            assert_eq!(ran.code, Some(0), "{ran:?}");
            assert_eq!(pair.serves(), "dr");
            let robots = pair.sandbox.dr().snapshot().robots;
            assert_eq!(robots.get("dr-replication"), Some(&true));
        } else {
            assert!(matches!(ran.code, Some(3..=5)), "{ran:?}");
            ran.says(&["read only"]);
            assert_eq!(
                pair.serves(),
                "primary",
                "stuck in the middle of a disaster"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_no_two_way() {
    for compared in [true, false] {
        let pair = stage::pull().await;
        if !compared {
            pair.with_runbook("failback", |yaml| {
                without_step(&yaml, "divergence").replace(", decided-in: divergence", "")
            });
        }
        pair.expect(0, PLANNED).await;
        // A repair by hand at the former active, behind its fence.
        let primary = pair.sandbox.primary();
        primary.set_read_only(false);
        let by_hand = primary.push_tag(TAG.0, TAG.1, "by hand").ok();
        primary.set_read_only(true);
        if compared {
            pair.expect(5, FAILBACK)
                .await
                .says(&["production/app:v1.0.0"]);
            assert_eq!(primary.digest(TAG.0, TAG.1), by_hand, "still there");
        } else {
            pair.expect(0, FAILBACK).await;
            assert_ne!(
                primary.digest(TAG.0, TAG.1),
                by_hand,
                "overwritten without a word"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_skip_wait() {
    for waits in [true, false] {
        let pair = stage::pull().await;
        pair.edit_config(|text| {
            text.replacen(
                "      targets:",
                "      ttl: { lowered: 60s }\n      targets:",
                1,
            )
        });
        if !waits {
            pair.with_runbook("failback", |yaml| without_step(&yaml, "wait-old-ttl"));
        }
        pair.expect(0, PLANNED).await;
        // 60 s of a cache take 4 s from here on.
        pair.edit_config(|text| {
            text.replacen(&format!("time-scale: {SCALE}"), "time-scale: 15", 1)
        });
        let run = Watched::start(&pair, FAILBACK);
        stage::eventually("the name has moved", || pair.serves() == "primary").await;
        let dr = pair.sandbox.dr();
        let mut taken = false;
        for _ in 0..300 {
            taken |= dr.push_tag("production/app", "cached", "cached").is_ok();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // What it takes now is overwritten by the forward sync, or stays where nobody looks.
        assert_eq!(taken, !waits, "a client with the old record");
        run.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safeguard_check_writes() {
    for pair in [stage::pull().await, stage::push().await] {
        let (world, settings) = (pair.sandbox.snapshot().without_history(), pair.settings());
        pair.expect(0, &["run", "failover", "--mode", "planned", "--dry-run"])
            .await;
        pair.expect(5, &["run", "failover", "--mode", "planned", "--no-input"])
            .await;
        let wrote: Vec<_> = pair
            .sandbox
            .log()
            .into_iter()
            .filter(|entry| !entry.effect.is_empty())
            .collect();
        assert!(wrote.is_empty(), "{wrote:#?}");
        let updates = pair.sandbox.dns().log();
        assert!(
            updates.iter().all(|update| update.effects.is_empty()),
            "{updates:?}"
        );
        assert_eq!(pair.sandbox.snapshot().without_history().dns, world.dns);
        assert_eq!(pair.settings(), settings);
    }
}
