//! What is decided, by tables and over any legal history.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::event::{Owed, Sort};
use crate::plan::{IfUnreachable, Mode, OnFailure, PlannedStep, Retry};
use crate::run::StepRecord;

const IDS: [&str; 5] = ["a", "b", "other", "cut", "last"];

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// Five steps: the first may be repeated, the third belongs to another mode, the fourth is the cutover.
fn plan() -> Plan {
    let step = |id: &str| PlannedStep {
        id: id.into(),
        kind: "toy".into(),
        action: Value::Null,
        modes: if id == "other" {
            vec![Mode::Unplanned]
        } else {
            Vec::new()
        },
        timeout: Duration::from_secs(60),
        retry: Retry {
            attempts: 3,
            backoff: Duration::from_secs(1),
        },
        on_failure: OnFailure::Stop,
        if_unreachable: IfUnreachable::Fail,
        guards: Vec::new(),
        back_to: None,
        cutover: id == "cut",
        in_doubt: match id {
            "a" => InDoubt::Repeat,
            "b" => InDoubt::Ask,
            _ => InDoubt::Probe,
        },
    };
    Plan {
        runbook: "toy".into(),
        topology: "pair".into(),
        mode: Mode::Planned,
        from: "primary".into(),
        to: "dr".into(),
        bindings: Value::Null,
        steps: IDS.map(step).to_vec(),
        request_timeout: Duration::from_secs(10),
        time_scale: 1.0,
        rto_target: None,
        rpo_target: None,
    }
}

fn after(events: &[Event]) -> RunState {
    RunState::of(&plan(), events.iter().map(|event| (time(100), event))).expect("they add up")
}

fn started(step: &str) -> Event {
    Event::AttemptStarted {
        step: step.into(),
        attempt: 1,
        token: "t".into(),
    }
}

fn done(step: &str) -> Event {
    Event::Succeeded {
        step: step.into(),
        output: Value::Null,
        changes: Vec::new(),
        probed: false,
    }
}

fn failed(step: &str, sort: Sort, at: i64) -> Event {
    Event::AttemptFailed {
        step: step.into(),
        sort,
        error: "e".into(),
        next_at: time(at),
    }
}

fn gave_up(step: &str) -> Event {
    Event::GaveUp {
        step: step.into(),
        error: "e".into(),
    }
}

fn asked(step: &str, about: About) -> Event {
    Event::Asked {
        step: step.into(),
        nonce: "n1".into(),
        about,
        question: "?".into(),
        output: json!(1),
    }
}

fn lost(step: &str) -> Event {
    Event::AttemptLost { step: step.into() }
}

fn unwinding() -> Event {
    Event::AbortRequested {
        by: "ana".into(),
        undo: true,
    }
}

fn taken_over() -> Event {
    Event::TakenOver {
        by: "b".into(),
        from: "a".into(),
        requests_over_at: time(105),
    }
}

#[test]
fn what_is_next() {
    use Action as A;
    let to_cut = [done("a"), started("b"), done("b")];
    let table: Vec<(&str, Vec<Event>, Action)> = vec![
        ("the first", vec![], A::Take(0)),
        ("the one after", vec![done("a")], A::Take(1)),
        (
            "not the one of another mode",
            vec![done("a"), done("b")],
            A::Take(3),
        ),
        (
            "the end",
            vec![done("a"), done("b"), done("cut"), done("last")],
            A::Finish(Outcome::Done),
        ),
        (
            "a pause",
            vec![done("a"), started("b"), failed("b", Sort::Transient, 109)],
            A::Sleep(1, time(109)),
        ),
        (
            "no pause",
            vec![done("a"), started("b"), failed("b", Sort::Transient, 100)],
            A::Take(1),
        ),
        (
            "a request may be under way",
            vec![done("a"), started("b"), failed("b", Sort::Unknown, 110)],
            A::Sleep(1, time(110)),
        ),
        (
            "it is over",
            vec![done("a"), started("b"), failed("b", Sort::Unknown, 99)],
            A::Judge(1),
        ),
        (
            "that of a dead driver",
            vec![done("a"), started("b"), taken_over(), lost("b")],
            A::Sleep(1, time(105)),
        ),
        (
            "what is repeated need not wait for it",
            vec![started("a"), taken_over(), lost("a")],
            A::Judge(0),
        ),
        (
            "but for its own pause",
            vec![started("a"), failed("a", Sort::Unknown, 103)],
            A::Sleep(0, time(103)),
        ),
        (
            "a person",
            vec![asked("a", About::Approval)],
            A::AwaitPerson(0),
        ),
        (
            "refused before it wrote",
            vec![
                started("a"),
                failed("a", Sort::Permanent, 100),
                gave_up("a"),
            ],
            A::Finish(Outcome::Refused),
        ),
        (
            "halted after",
            vec![
                done("a"),
                started("b"),
                failed("b", Sort::Permanent, 100),
                gave_up("b"),
            ],
            A::Halt(1),
        ),
        (
            "in doubt and wanted again: looked at first",
            [
                to_cut.to_vec(),
                vec![
                    started("cut"),
                    lost("cut"),
                    asked("cut", About::Doubt),
                    Event::Retried {
                        step: "cut".into(),
                        by: "x".into(),
                    },
                ],
            ]
            .concat(),
            A::Judge(3),
        ),
        (
            "unless it cannot be looked at",
            vec![
                done("a"),
                started("b"),
                lost("b"),
                asked("b", About::Doubt),
                Event::Retried {
                    step: "b".into(),
                    by: "x".into(),
                },
            ],
            A::Take(1),
        ),
        (
            "the last first",
            [to_cut.to_vec(), vec![unwinding()]].concat(),
            A::Undo(1),
        ),
        (
            "what was never begun is not undone",
            vec![done("a"), done("b"), unwinding()],
            A::Finish(Outcome::Undone),
        ),
        (
            "in doubt first",
            vec![done("a"), started("b"), lost("b"), unwinding()],
            A::Judge(1),
        ),
        (
            "an undo that a dead driver began",
            vec![
                done("a"),
                started("b"),
                done("b"),
                unwinding(),
                Event::UndoStarted { step: "b".into() },
                taken_over(),
            ],
            A::Sleep(1, time(105)),
        ),
        (
            "stuck",
            vec![
                started("a"),
                done("a"),
                started("b"),
                done("b"),
                unwinding(),
                Event::UndoStarted { step: "b".into() },
                Event::UndoFailed {
                    step: "b".into(),
                    error: "e".into(),
                },
            ],
            A::Undo(0),
        ),
    ];
    for (words, events, wanted) in table {
        assert_eq!(
            decide(&plan(), &after(&events), time(100)),
            wanted,
            "{words}"
        );
    }
}

#[test]
fn what_a_command_does() {
    let approve = Command::Approve {
        nonce: "n1".into(),
        reason: None,
    };
    let decline = Command::Decline {
        nonce: "n1".into(),
        reason: None,
    };
    let stale = Command::Approve {
        nonce: "n0".into(),
        reason: None,
    };
    let (undo, abort) = (
        Command::Abort { undo: true },
        Command::Abort { undo: false },
    );
    let hand = |step: &str| Command::MarkDone { step: step.into() };
    let cut_begun = vec![done("a"), done("b"), started("cut"), lost("cut")];
    let cut_done = vec![done("a"), done("b"), started("cut"), done("cut")];
    let table: Vec<(Vec<Event>, Command, Result<Effect, &str>)> = vec![
        (vec![], approve.clone(), Err("asks nothing")),
        (
            vec![asked("a", About::Approval)],
            approve.clone(),
            Ok(Effect::Approve(0)),
        ),
        (
            vec![asked("a", About::Gate)],
            approve.clone(),
            Ok(Effect::Approve(0)),
        ),
        (
            vec![asked("a", About::Guard)],
            approve.clone(),
            Err("cannot be approved"),
        ),
        (
            vec![asked("a", About::Failure)],
            decline,
            Ok(Effect::Decline(0)),
        ),
        (
            vec![asked("a", About::Approval)],
            stale,
            Err("earlier question"),
        ),
        (
            vec![asked("a", About::Approval), unwinding()],
            approve,
            Err("asks nothing"),
        ),
        (
            vec![asked("a", About::Approval)],
            Command::Retry,
            Err("no step waits"),
        ),
        (
            vec![asked("a", About::Gate)],
            Command::Retry,
            Ok(Effect::Retry(0)),
        ),
        (vec![gave_up("a")], Command::Retry, Ok(Effect::Retry(0))),
        (vec![], Command::Retry, Err("no step waits")),
        (vec![], hand("a"), Ok(Effect::MarkDone(0))),
        (vec![], hand("b"), Err("not the step")),
        (vec![done("a")], hand("a"), Err("done already")),
        (vec![started("a")], hand("a"), Err("being attempted")),
        (vec![], hand("nobody"), Err("no step `nobody`")),
        (vec![], abort.clone(), Ok(Effect::Abort)),
        (vec![], undo.clone(), Ok(Effect::Unwind)),
        (cut_begun, undo.clone(), Ok(Effect::UnwindIfWithdrawn(3))),
        (cut_done.clone(), undo.clone(), Err("run failback instead")),
        (cut_done, abort.clone(), Ok(Effect::Abort)),
        (vec![unwinding()], undo, Err("unwound already")),
        (vec![unwinding()], abort.clone(), Err("being unwound")),
        (
            vec![Event::RunFinished {
                outcome: Outcome::Done,
            }],
            abort,
            Err("is over (done)"),
        ),
    ];
    for (events, command, wanted) in table {
        let got = effect(&plan(), &after(&events), &command);
        match (&got, &wanted) {
            (Ok(effect), Ok(wanted)) => assert_eq!(effect, wanted, "{command:?}"),
            (Err(why), Err(part)) => assert!(why.contains(part), "{command:?}: {why}"),
            _ => panic!("{command:?} after {events:?}: {got:?}"),
        }
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let about = prop::sample::select(vec![
        About::Approval,
        About::Gate,
        About::Doubt,
        About::Guard,
        About::Failure,
    ]);
    let sort = prop::sample::select(vec![Sort::Transient, Sort::Permanent, Sort::Unknown]);
    (
        0..24u8,
        prop::sample::select(IDS.to_vec()),
        prop::sample::select(IDS.to_vec()),
        about,
        sort,
        90..120i64,
        any::<bool>(),
    )
        .prop_map(|(kind, step, other, about, sort, at, flag)| {
            let step = step.to_owned();
            let by = "ana".to_owned();
            match kind {
                0 | 1 => started(&step),
                2 | 3 => done(&step),
                4 => failed(&step, sort, at),
                5 => lost(&step),
                6 => Event::AttemptPaused { step },
                7 => Event::FoundNotDone {
                    step,
                    remaining: Vec::new(),
                },
                8 => gave_up(&step),
                9 => Event::PassedOver {
                    step,
                    error: "e".into(),
                },
                10 | 11 => asked(&step, about),
                12 => Event::Approved {
                    step,
                    by,
                    reason: None,
                },
                13 => Event::Declined {
                    step,
                    by,
                    reason: None,
                },
                14 => Event::Retried { step, by },
                15 => Event::MarkedDone { step, by },
                16 => Event::WentBack {
                    step,
                    to: other.into(),
                    reason: "r".into(),
                },
                17 => Event::Owed {
                    step,
                    items: vec![Owed {
                        site: "s".into(),
                        what: "fence".into(),
                    }],
                    reason: "r".into(),
                },
                18 => Event::TakenOver {
                    by,
                    from: "b".into(),
                    requests_over_at: time(at),
                },
                19 => Event::AbortRequested { by, undo: flag },
                20 => Event::UndoStarted { step },
                21 => Event::UndoFinished {
                    step,
                    changes: Vec::new(),
                },
                22 => Event::UndoFailed {
                    step,
                    error: "e".into(),
                },
                _ => Event::Checkpoint {
                    step,
                    name: "n".into(),
                    value: json!(at),
                },
            }
        })
}

fn commands() -> Vec<Command> {
    let answers = ["n1", "n0"].into_iter().flat_map(|nonce| {
        let (nonce, reason) = (nonce.to_owned(), Some("r".to_owned()));
        [
            Command::Approve {
                nonce: nonce.clone(),
                reason: reason.clone(),
            },
            Command::Decline { nonce, reason },
        ]
    });
    let by_hand = IDS.iter().chain(&["nobody"]).map(|step| Command::MarkDone {
        step: (*step).to_owned(),
    });
    let rest = [
        Command::Retry,
        Command::Abort { undo: true },
        Command::Abort { undo: false },
    ];
    answers.chain(by_hand).chain(rest).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever legal history a run has: a step is taken only if all before it are over, and each command is
    /// refused with a reason or leads to an event that is legal there.
    #[test]
    fn any_legal_history_leads_somewhere(events in prop::collection::vec(any_event(), 0..120), now in 90..130i64) {
        let plan = plan();
        let mut run = RunState::new(&plan);
        for event in &events {
            let before = run.clone();
            if run.apply(time(100), event).is_err() {
                run = before;
                continue;
            }
            match decide(&plan, &run, time(now)) {
                Action::Take(i) => {
                    prop_assert_eq!(run.phase, Phase::Forward);
                    prop_assert_eq!(run.steps[i].state, StepState::Ready);
                    prop_assert!(is_current(&plan, &run, i) && plan.takes(&plan.steps[i]));
                    prop_assert!(!run.steps[i].doubtful || plan.steps[i].in_doubt != InDoubt::Probe);
                }
                Action::Undo(i) => {
                    prop_assert_eq!(run.phase, Phase::Unwinding);
                    prop_assert!(run.steps[i].state.after(crate::state::StepEvent::UndoStarted).is_ok());
                    let over = |later: &StepRecord| !later.touched || matches!(later.state, StepState::Undone | StepState::Stuck);
                    prop_assert!(run.steps[i + 1..].iter().all(over));
                }
                Action::Sleep(_, at) => prop_assert!(at > time(now)),
                Action::Finish(Outcome::Refused) => prop_assert!(!run.may_have_written(&plan)),
                _ => {}
            }
            for command in commands() {
                match effect(&plan, &run, &command) {
                    Ok(effect) => {
                        let event = event_of(&plan, effect, "ana", &command);
                        prop_assert!(run.clone().apply(time(101), &event).is_ok(), "{command:?} in {run:?}");
                    }
                    Err(why) => prop_assert!(!why.is_empty()),
                }
            }
        }
    }
}
