//! The rules that hold in all procedures (docs/procedures.md), one test each.

use std::time::Duration;

use runbook_sim::{Direction, Edge, Fault, Mutation, Verdict, dns};
use rustix::process::Signal;

use crate::aborting::CUTOVER;
use crate::stage::{
    self, FAILBACK, FRESH, PLANNED, RESUME, SETTLE, UNDO, UNPLANNED, Watched, at_update, count,
    happened, once_at, position, send, tags,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_1_guards_are_probed_again_and_no_way_leads_back_across_the_cutover() {
    // Before the cutover a broken guard goes back to the step that establishes it.
    let pair = stage::pull().await;
    let primary = pair.sandbox.primary().clone();
    once_at(
        &pair.sandbox,
        Edge::After,
        ("dr", "PUT", "/replication/policies/"),
        move || {
            primary.set_read_only(false);
            Verdict::Continue
        },
    );
    let before = tags(pair.sandbox.primary());
    pair.expect(0, PLANNED).await;
    pair.is_moved(&before);
    let returns = pair.report().await["returns"].clone();
    assert_eq!(returns[0]["to"], "fence", "{returns}");

    // An interrupted step is probed before its guards: found done, they no longer count, and nothing goes back.
    let pair = stage::pull().await;
    let before = tags(pair.sandbox.primary());
    let run = Watched::start(&pair, PLANNED);
    let pid = run.pid();
    at_update(&pair.sandbox, dns::Edge::After, CUTOVER, move || {
        send(pid, Signal::KILL);
        dns::Verdict::Drop
    });
    assert_eq!(run.end().await.code, None, "it was killed");
    pair.sandbox.dns().clear_hook();
    assert_eq!(pair.serves(), "dr", "the update arrived");
    pair.sandbox.primary().set_read_only(false);
    let new = pair
        .sandbox
        .dr()
        .push_tag("production/app", "v1.0.0", "newer");
    pair.expect(0, RESUME).await.says(&["found done"]);
    assert!(!happened(&pair.events().await, "went-back"));
    assert_eq!(
        pair.sandbox.dr().digest("production/app", "v1.0.0"),
        new.ok()
    );
    assert!(
        pair.sandbox.primary().is_read_only(),
        "looked at after the TTL"
    );
    assert_eq!(tags(pair.sandbox.dr()).len(), before.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_undo_ends_at_the_cutover() {
    let pair = stage::pull().await;
    let settings = pair.settings();
    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", "compare").await;
    run.kill().await;
    pair.expect(8, UNDO).await;
    assert_eq!(
        pair.settings(),
        settings,
        "before it every original is back"
    );

    let mut run = Watched::start(&pair, PLANNED);
    run.until("now", "dns-verify").await;
    run.kill().await;
    pair.sandbox.clear_log();
    pair.expect(3, UNDO).await.says(&["run failback"]);
    assert_eq!(pair.serves(), "dr", "after it nothing is undone");
    assert!(pair.sandbox.log().is_empty(), "{:?}", pair.sandbox.log());
    pair.expect(0, RESUME).await;
    pair.expect(0, FAILBACK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_3_in_doubt_is_probed_once_it_can_no_longer_arrive() {
    crate::safeguards::a_fence_that_lands_late_is_undone().await;
    // A request is under way for at most 60 s, 1.2 s at this scale; this one lands 500 ms after its sender died.
    for (again, code) in [(RESUME, 0), (UNDO, 3)] {
        let pair = stage::scaled(Direction::Pull, 50.0).await;
        pair.edit_config(|text| text.replace("timeout: 5s", "timeout: 60s"));
        let before = tags(pair.sandbox.primary());
        let run = Watched::start(&pair, PLANNED);
        let pid = run.pid();
        at_update(&pair.sandbox, dns::Edge::Before, CUTOVER, move || {
            send(pid, Signal::KILL);
            std::thread::sleep(Duration::from_millis(500));
            dns::Verdict::Proceed
        });
        assert_eq!(run.end().await.code, None, "it was killed");
        pair.expect(code, again).await;
        assert_eq!(pair.serves(), "dr", "it arrived, and was seen");
        if code == 0 {
            pair.is_moved(&before);
            let events = pair.events().await;
            assert_eq!(count(&events, "attempt-started", "dns-upsert"), 1);
        } else {
            assert!(pair.sandbox.primary().is_read_only(), "nothing was undone");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_4_adopt_only_above_the_mark() {
    let pair = stage::pull().await;
    let old = a_sync_begun_before_the_fence(&pair).await;
    let report = pair.report().await;
    let events = pair.events().await;
    let mark = events
        .iter()
        .find(|event| {
            event["event"] == "checkpoint" && event["step"] == "fence" && event["name"] == "mark"
        })
        .expect("a mark after the fence");
    assert!(mark["value"].as_i64() >= Some(old), "{mark}");
    let runs = pair.sandbox.dr().executions("dr-forward");
    let (_, status, _) = runs
        .iter()
        .find(|(id, _, _)| *id == old)
        .expect("it is listed");
    assert_eq!(status, "Stopped", "{runs:?}");
    assert!(
        runs.iter()
            .any(|(id, status, _)| *id > old && status != "Stopped")
    );
    assert_eq!(report["outcome"], "done");
}

/// A run during which a sync that was begun before the fence is still under way when the active is fenced, and a client
/// has pushed since it listed its source. Gives the id of that sync.
pub async fn a_sync_begun_before_the_fence(pair: &crate::pair::Pair) -> i64 {
    let mut run = Watched::start(pair, PLANNED);
    run.until("done", "bulk-sync").await;
    run.signal(Signal::STOP);
    let (primary, dr) = (pair.sandbox.primary(), pair.sandbox.dr());
    if primary.is_read_only() {
        panic!("the driver was quicker than this test");
    }
    dr.set_copy_speed(stage::slow());
    primary
        .push_tag("production/web", "wanted", "wanted")
        .expect("there is something to copy");
    dr.change(&Mutation::ExecutionStarted {
        policy: "dr-forward".into(),
    })
    .expect("started");
    stage::eventually("it copies", || dr.is_copying()).await;
    // Slow until somebody stops it.
    let again = dr.clone();
    once_at(
        &pair.sandbox,
        Edge::Before,
        ("dr", "PUT", "/replication/executions/"),
        move || {
            again.set_copy_speed(runbook_sim::CopySpeed::default());
            Verdict::Continue
        },
    );
    primary
        .push_tag("production/app", "late", "late")
        .expect("clients may still push");
    let old = dr.executions("dr-forward").last().expect("one").0;
    let before = tags(primary);
    run.signal(Signal::CONT);
    run.expect(0).await;
    pair.is_moved(&before);
    old
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_5_succeed_is_not_proof() {
    let pair = stage::pull().await;
    // Only there: deletions do not travel by pull, so it is journaled and stops nobody.
    pair.sandbox
        .dr()
        .push_tag("production/app", "only-here", "only-here")
        .expect("a push");
    let before = tags(pair.sandbox.primary());
    pair.sandbox
        .dr()
        .inject(Fault::CopiesNothing { times: Some(2) });
    pair.expect(0, PLANNED).await;
    pair.is_moved(&before);
    let events = pair.events().await;
    let back = events
        .iter()
        .find(|event| event["event"] == "went-back")
        .expect("the digests were compared");
    assert_eq!(
        (&back["step"], &back["to"]),
        (&"compare".into(), &"final-sync".into())
    );
    let found = &pair.report().await["comparisons"][0];
    assert_eq!(found["extra"][0]["reference"], "only-here", "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_6_a_site_that_receives_replication_cannot_be_read_only() {
    let pair = stage::pull().await;
    pair.sandbox.dr().set_read_only(true);
    let ran = pair.expect(3, PLANNED).await;
    ran.says(&["dr: is read-only"]);
    pair.sandbox.dr().set_read_only(false);
    pair.expect(0, PLANNED).await;
    assert!(!pair.sandbox.dr().is_read_only());
    pair.expect(0, FAILBACK).await;
    let events = pair.events().await;
    let mut at = 0;
    for step in [
        "open-former",
        "bulk-sync",
        "fence",
        "final-sync",
        "open-standby",
        "restore-policies",
        "forward-sync",
    ] {
        at = position(&events, at, "succeeded", step)
            .unwrap_or_else(|| panic!("`{step}` is out of order"));
    }
    assert!(!pair.sandbox.dr().is_read_only(), "it receives again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_7_one_unfinished_run_per_topology() {
    let pair = stage::pull().await;
    pair.expect(5, &["run", "failover", "--mode", "planned", "--no-input"])
        .await;
    let id = pair.newest().await;
    for other in [PLANNED, SETTLE] {
        pair.expect(6, other).await.says(&[&id, "runbook resume"]);
    }
    // Another state file knows nothing of it; there the record decides, and the owner's marker says who moved it.
    let before = tags(pair.sandbox.primary());
    let mut elsewhere = pair.command(PLANNED);
    elsewhere.env("RUNBOOK_STATE", pair.folder().join("elsewhere.db"));
    Watched::of(elsewhere).expect(0).await;
    pair.is_moved(&before);
    let moves = pair.sandbox.dns().log().len();
    pair.expect(0, &["approve"]).await;
    let ran = pair.run(RESUME).await;
    assert!(matches!(ran.code, Some(3..=5)), "{ran:?}");
    assert_eq!(pair.serves(), "dr");
    let wrote = pair.sandbox.dns().log().split_off(moves);
    assert!(
        wrote.iter().all(|update| update.effects.is_empty()),
        "{wrote:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_8_restoring_a_read_only_site() {
    let pair = stage::push().await;
    pair.run(&["compare", "primary", "dr"]).await;
    pair.sandbox.primary().inject(Fault::Down);
    pair.expect(0, UNPLANNED).await;
    pair.sandbox.primary().set_read_only(true);
    pair.sandbox
        .primary()
        .repair_all()
        .await
        .expect("it returns");
    let robots = pair.sandbox.dr().snapshot().robots;
    assert_eq!(
        robots.get("dr-replication"),
        Some(&true),
        "cut before anything is lifted"
    );
    pair.sandbox.clear_log();
    pair.expect(0, SETTLE).await;
    let done: Vec<String> = pair
        .sandbox
        .log()
        .iter()
        .filter(|entry| entry.site == "primary" && entry.status < 400 && !entry.effect.is_empty())
        .map(|entry| entry.effect.clone())
        .collect();
    let find = |words: &str| done.iter().position(|effect| effect.contains(words));
    let (lifted, silenced, fenced) = (
        find("true -> false"),
        done.iter().position(|effect| effect.contains("enabled")),
        done.iter()
            .rposition(|effect| effect.contains("false -> true")),
    );
    assert!(
        lifted.is_some() && lifted < silenced && silenced < fenced,
        "lift, disable, fence again: {done:#?}"
    );
    assert!(pair.sandbox.primary().is_read_only());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_9_approval_comes_before_writes_stop() {
    for runbook in ["failover", "failback"] {
        let pair = stage::pull().await;
        if runbook == "failback" {
            pair.expect(0, PLANNED).await;
        }
        let (settings, writes) = (pair.settings(), pair.writes());
        let mut asking = vec!["run", runbook, "--no-input"];
        if runbook == "failover" {
            asking.extend(["--mode", "planned"]);
        }
        pair.expect(5, &asking).await.says(&["approval"]);
        assert_eq!(
            pair.writes(),
            writes,
            "nothing is written before the answer"
        );
        assert_eq!(pair.settings(), settings);
        pair.expect(0, &["approve"]).await;
        pair.expect(0, RESUME).await;
        let events = pair.events().await;
        let approved = position(&events, 0, "approved", "approval").expect("approved");
        for step in [
            "originals",
            "lower-ttl",
            "silence-active",
            "fence",
            "dns-upsert",
        ] {
            let begun = position(&events, 0, "attempt-started", step).expect("begun");
            assert!(approved < begun, "`{step}`");
        }
        // A second question only if a gate found something.
        assert_eq!(
            events
                .iter()
                .filter(|event| event["event"] == "asked")
                .count(),
            1
        );
        let site = if runbook == "failover" {
            pair.sandbox.dr()
        } else {
            pair.sandbox.primary()
        };
        assert!(site.digest(FRESH.0, FRESH.1).is_some());
    }
}
