//! Random plans, random faults, random deaths: the world ends as in an uninterrupted run. A case is one number, and the
//! same number is the same case.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use runbook_engine::event::{About, Outcome};
use runbook_engine::executor::Ended;
use runbook_engine::plan::{InDoubt, PlannedStep, Retry};
use serde_json::json;

use crate::rig::{Life, Rig, Words, guard, look, step, yes};
use crate::world::{At, Effect, Fault};

/// Numbers from a seed: SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

struct Case {
    steps: Vec<PlannedStep>,
    faults: Vec<(String, Vec<Fault>)>,
    deaths: Vec<Death>,
}

enum Death {
    Event(usize),
    Request(At),
}

fn case(seed: u64) -> Case {
    let mut dice = Dice(seed);
    let count = 2 + dice.roll(5);
    let mut steps = Vec::new();
    let mut faults = Vec::new();
    for number in 0..count {
        let id = format!("s{number}");
        let keys: Vec<String> = (0..=dice.roll(3))
            .map(|key| format!("{id}-{key}"))
            .collect();
        let mut made = match dice.roll(6) {
            0 => look(&id),
            1 => look(&id).doing(json!({ "asks": About::Approval })),
            2 => step(&id).doing(json!({ "sets": keys, "asks": About::Gate })),
            3 => step(&id).doing(json!({ "sets": keys, "waits-ms": 1 + dice.roll(5000) })),
            _ => step(&id).doing(json!({ "sets": keys })),
        };
        made.retry = Retry {
            attempts: 6,
            backoff: Duration::from_millis(1 + dice.roll(3000)),
        };
        if number > 0 && dice.roll(2) == 0 {
            made.guards.push(guard(&format!("s{}", dice.roll(number))));
        }
        made.cutover = number + 1 == count && made.in_doubt == InDoubt::Probe;
        let writes = made.in_doubt == InDoubt::Probe;
        let script: Vec<Fault> = (0..dice.roll(4))
            .map(|_| match dice.roll(4) {
                1 if writes => Fault::AnswerLost,
                2 if writes => Fault::RequestLost,
                3 if writes => Fault::Late(Duration::from_millis(dice.roll(9_900))),
                _ => Fault::Transient,
            })
            .collect();
        faults.push((id.clone(), script));
        if dice.roll(3) == 0 {
            faults.push((format!("probe {id}"), vec![Fault::Transient]));
        }
        steps.push(made);
    }
    let deaths = (0..1 + dice.roll(4))
        .map(|_| match dice.roll(3) {
            0 => Death::Event(1 + dice.roll(30) as usize),
            1 => Death::Request(At::Before(1 + dice.roll(12) as usize)),
            _ => Death::Request(At::After(1 + dice.roll(12) as usize)),
        })
        .collect();
    Case {
        steps,
        faults,
        deaths,
    }
}

async fn rig(case: &Case) -> Rig {
    let rig = Rig::new(case.steps.clone()).await;
    for (name, script) in &case.faults {
        rig.toy.script(name, script);
    }
    rig.people(&vec![yes(); 100]);
    rig
}

async fn uninterrupted(case: &Case) -> (BTreeMap<String, String>, BTreeMap<Effect, usize>) {
    let rig = rig(case).await;
    assert_eq!(rig.begin().await.outcome(), Outcome::Done);
    (rig.toy.cells(), rig.toy.counts())
}

/// Dies as the case says, then is left in peace.
async fn interrupted(case: &Case) -> Rig {
    let rig = rig(case).await;
    let mut begun = false;
    for death in &case.deaths {
        let life = match (death, begun) {
            (Death::Event(at), false) => rig.begin_and_die_after(*at).await,
            (Death::Event(at), true) => rig.resume_and_die_after(*at).await,
            (Death::Request(at), begun) => {
                rig.toy.die(*at);
                if begun {
                    rig.resume().await
                } else {
                    rig.begin().await
                }
            }
        };
        begun = true;
        match life {
            Life::Died => {}
            Life::Ended(Ended::Finished(Outcome::Done)) => return rig,
            other => panic!("{other:?}"),
        }
    }
    if rig.state().await.finished_at.is_none() {
        assert_eq!(rig.survive().await, Ended::Finished(Outcome::Done));
    }
    rig
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_run_ends_as_if_nobody_had_died(seed in any::<u64>()) {
        runtime().block_on(async {
            let case = case(seed);
            let (cells, counts) = uninterrupted(&case).await;
            let rig = interrupted(&case).await;
            assert_eq!(rig.toy.cells(), cells, "seed {seed}");
            assert_eq!(rig.toy.counts(), counts, "seed {seed}");
            assert!(rig.toy.counts().values().all(|count| *count == 1), "seed {seed}");
        });
    }
}

#[test]
fn the_same_seed_is_the_same_journal() {
    for seed in [1, 7, 42, 4242] {
        let journal = || {
            runtime().block_on(async {
                let rig = interrupted(&case(seed)).await;
                rig.recorded()
                    .await
                    .into_iter()
                    .map(|it| (it.seq, it.at, it.epoch, it.event, it.hash))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(journal(), journal(), "seed {seed}");
    }
}
