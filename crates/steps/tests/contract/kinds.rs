//! What every step kind keeps: looking writes nothing, twice is once, a request or an answer that is lost changes
//! nothing about the end, after a failed run undo restores, and what is announced is what is done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use runbook_engine::clock::Clock;
use runbook_engine::event::{Change, Outcome};
use runbook_engine::executor::Ended;
use runbook_engine::step::{Probe, ReadContext};
use runbook_sim::{Edge, Sandbox, Verdict, dns};
use serde_json::Value;

use crate::cases::{After, Again, Case, cases};
use crate::pair::Pair;
use crate::scene::{DONE, Ran, Scene};

/// How many requests changed or could change something at the sites and in the zone.
fn written(sandbox: &Sandbox) -> usize {
    sandbox.log().len()
        + sandbox
            .dns()
            .log()
            .iter()
            .filter(|update| !update.effects.is_empty())
            .count()
}

async fn probe(pair: &Pair, ran: &Ran) -> Probe {
    let (reader, steps) = (
        pair.reader_for(&ran.plan).await,
        runbook_steps::build(&ran.plan).expect("steps"),
    );
    let clock = Clock::wall(ran.plan.time_scale);
    let position = ran.plan.position("it").expect("the step");
    let cx = ReadContext {
        world: &reader,
        plan: &ran.plan,
        clock: &clock,
        run: ran.state.clone(),
        position,
        assumed: None,
    };
    steps[position].probe(&cx).await.expect("a probe")
}

#[test]
fn every_kind_is_in_the_table() {
    let schema = schemars::schema_for!(runbook_steps::Kind);
    let schema: Value = serde_json::to_value(schema).expect("JSON");
    let kinds: BTreeSet<&str> = schema["oneOf"]
        .as_array()
        .expect("one schema for each kind")
        .iter()
        .filter_map(|kind| kind["required"][0].as_str())
        .collect();
    let tested: BTreeSet<&str> = cases().iter().map(|case| case.name).collect();
    assert_eq!(kinds, tested);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_and_probe_write_nothing_and_foretell_what_run_changes() {
    join_all(
        cases()
            .iter()
            .filter(|case| case.name != "http")
            .map(async |case| {
                let mut pair = case.pair().await;
                let plan = case.plan(&pair);
                let rehearsed = pair.rehearse(&plan).await;
                assert_eq!(
                    written(&pair.sandbox),
                    0,
                    "{} {}: {:?}",
                    case.name,
                    case.action,
                    pair.sandbox.log()
                );
                let foretold = rehearsed
                    .into_iter()
                    .find(|step| step.step == "it")
                    .expect("the step");
                assert_eq!(foretold.unknown, None, "{}", case.action);
                let ran = pair.drive(plan, Scene::default()).await.done();
                assert_eq!(
                    comparable(&foretold.changes),
                    comparable(&ran.changes("it")),
                    "{}",
                    case.action
                );
                match (case.after, probe(&pair, &ran).await) {
                    (After::Done, Probe::Done(_)) | (After::NotDone, Probe::NotDone(_)) => {}
                    (_, other) => panic!("{}: {other:?}\n{}", case.action, ran.told()),
                }
            }),
    )
    .await;
}

/// Changes but for the ids of executions, which nobody can foretell.
fn comparable(changes: &[Change]) -> Vec<Change> {
    let mut changes = changes.to_vec();
    changes.sort();
    changes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twice_is_once() {
    let once_only = |case: &&Case| case.again == Again::Nothing && case.keys.is_empty();
    join_all(cases().iter().filter(once_only).map(async |case| {
        let mut effects = Vec::new();
        for ids in [&["it"][..], &["it", "again"][..]] {
            let mut pair = case.pair().await;
            let plan = pair.small(&case.steps(&pair, ids));
            pair.drive(plan, Scene::default()).await.done();
            effects.push((pair.sandbox.effects(), pair.world()));
        }
        assert_eq!(effects[0].0, effects[1].0, "{}", case.action);
        assert_eq!(
            masked(&effects[0].1),
            masked(&effects[1].1),
            "{}",
            case.action
        );
    }))
    .await;
}

/// A world with the loopback addresses of its sandbox taken out.
fn masked(world: &str) -> String {
    let mut text = String::new();
    for part in world.split("127.") {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ':');
        text.push_str(if rest.len() < part.len() { rest } else { part });
    }
    text
}

/// What happens to the mutating request of this number, counted from the beginning of the step.
#[derive(Clone, Copy, Debug)]
enum Hit {
    /// It never arrives.
    Lost(usize),
    /// It is carried out and its answer is lost.
    Unanswered(usize),
    /// It and all after it are refused.
    Refused(usize),
}

fn hit(sandbox: &Sandbox, case: &Case, skip: usize, hit: Hit) {
    let seen = Arc::new(AtomicUsize::new(0));
    if case.writes_to_dns() {
        if let Hit::Refused(_) = hit {
            return sandbox
                .dns()
                .inject(dns::Scope::Updates, dns::Fault::Refuse, None);
        }
        sandbox
            .dns()
            .on_request(Arc::new(move |request: &dns::DnsRequestSeen| {
                let (number, edge) = match hit {
                    Hit::Lost(number) => (number, dns::Edge::Before),
                    Hit::Unanswered(number) | Hit::Refused(number) => (number, dns::Edge::After),
                };
                let counts = request.update && request.edge == edge;
                if counts && seen.fetch_add(1, Ordering::SeqCst) + 1 == number {
                    return dns::Verdict::Drop;
                }
                dns::Verdict::Proceed
            }));
        return;
    }
    sandbox.on_request(Arc::new(move |request| {
        let (number, edge) = match hit {
            Hit::Lost(number) | Hit::Refused(number) => (number, Edge::Before),
            Hit::Unanswered(number) => (number, Edge::After),
        };
        if !request.mutating || request.edge != edge {
            return Verdict::Continue;
        }
        let nth = seen.fetch_add(1, Ordering::SeqCst) + 1;
        match hit {
            Hit::Refused(_) if nth >= skip + number => Verdict::Answer(403),
            Hit::Lost(_) if nth == skip + number => Verdict::NotApplied,
            Hit::Unanswered(_) if nth == skip + number => Verdict::NoReply,
            _ => Verdict::Continue,
        }
    }));
}

/// Returns how many mutating requests the steps before it and the step itself send, and the world they leave.
async fn clean(case: &Case) -> (usize, usize, Pair, Ran) {
    let mut pair = case.pair().await;
    let plan = case.plan(&pair);
    let updates = pair.sandbox.dns().log().len();
    let ran = pair.drive(plan, Scene::default()).await.done();
    let skip = ran.begun.get("it").copied().unwrap_or(0);
    let own = if case.writes_to_dns() {
        pair.sandbox.dns().log().len() - updates
    } else {
        pair.sandbox.log().len() - skip
    };
    (skip, own, pair, ran)
}

fn writing() -> Vec<Case> {
    let looks_only = [
        "check",
        "harbor.health",
        "approval",
        "originals",
        "harbor.compare",
        "dns.verify",
        "wait",
        "notify",
        "http",
        "exec",
    ];
    cases()
        .into_iter()
        .filter(|case| !looks_only.contains(&case.name))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_request_or_answer_changes_nothing_about_the_end() {
    let mut points = 0;
    for of_case in join_all(writing().iter().map(lost_anywhere)).await {
        points += of_case;
    }
    assert!(points >= 40, "only {points} points were tried");
}

async fn lost_anywhere(case: &Case) -> usize {
    let (skip, own, clean, _) = clean(case).await;
    for number in 1..=own {
        for what in [Hit::Lost(number), Hit::Unanswered(number)] {
            let mut pair = case.pair().await;
            hit(&pair.sandbox, case, skip, what);
            let plan = case.plan(&pair);
            let ran = pair.drive(plan, Scene::default()).await;
            let context = format!("{} {what:?} of {own}\n{}", case.action, ran.told());
            assert_eq!(ran.ended, DONE, "{context}");
            assert_eq!(masked(&pair.world()), masked(&clean.world()), "{context}");
            if case.counted {
                assert_eq!(pair.sandbox.effects(), clean.sandbox.effects(), "{context}");
            }
        }
    }
    own * 2
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_run_undo_restores_the_originals() {
    // The clients are not moved back by an undo.
    let undone = |case: &&Case| case.name != "dns.upsert" && !case.action.contains("restore");
    let cases = writing();
    join_all(cases.iter().filter(undone).map(refused_anywhere)).await;
}

async fn refused_anywhere(case: &Case) {
    let (skip, own, _, _) = clean(case).await;
    // One more than there are: the step is done, and a later one fails.
    for number in 1..=own + 1 {
        let mut pair = case.pair().await;
        let before = pair.settings();
        if number <= own {
            hit(&pair.sandbox, case, skip, Hit::Refused(number));
        }
        let last = "  - { id: last, do: { exec: { argv: [\"false\"] } } }\n";
        let plan = pair.small(&format!("{}{last}", case.steps(&pair, &["it"])));
        let ran = pair.drive(plan, Scene::default()).await;
        ran.halts(if number <= own { "it" } else { "last" });
        pair.sandbox.clear_hook();
        pair.sandbox.dns().clear_faults();
        let undone = pair.undo(&ran.id).await;
        let context = format!(
            "{} refused at {number} of {own}\n{}",
            case.action,
            undone.told()
        );
        assert_eq!(undone.ended, Ended::Finished(Outcome::Undone), "{context}");
        assert_eq!(pair.settings(), before, "{context}");
        let canary = pair
            .primary()
            .snapshot()
            .repositories
            .contains_key("library/runbook-canary");
        assert!(!canary, "{context}");
    }
}
