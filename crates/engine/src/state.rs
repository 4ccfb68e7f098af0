//! The life of one step.
//!
//! This file alone decides which event may follow which state. It does no I/O: the executor asks it what is legal,
//! and recovery replays the journal through it. The table is data, so that a test can walk all of it and the
//! diagram in `ARCHITECTURE.md` is made from it.

use crate::event::{Event, Sort};

/// Where a step stands, worked out from the journal and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepState {
    /// To be done, perhaps after attempts that failed.
    Ready,
    /// An attempt is under way.
    Running,
    /// An attempt may or may not have taken effect. Only a probe can tell.
    InDoubt,
    /// A person has been asked.
    Asking,
    /// Done.
    Succeeded,
    /// Cannot be done now; it is written down as owed.
    Owed,
    /// Failed, and the runbook says to go on.
    PassedOver,
    /// No attempt is left.
    Failed,
    /// Being undone.
    Undoing,
    /// Its originals are back.
    Undone,
    /// Neither done nor undone. A person has to decide.
    Stuck,
}

/// What happens to a step, without the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepEvent {
    /// `attempt-started`
    AttemptStarted,
    /// `checkpoint` and `original-saved`
    Noted,
    /// `succeeded`
    Succeeded,
    /// `owed`
    Owed,
    /// `attempt-failed`, transient or permanent
    AttemptFailed,
    /// `attempt-failed`, outcome unknown
    OutcomeUnknown,
    /// `attempt-lost`
    AttemptLost,
    /// `attempt-paused`
    AttemptPaused,
    /// `found-not-done`
    FoundNotDone,
    /// `gave-up`
    GaveUp,
    /// `passed-over`
    PassedOver,
    /// `asked`
    Asked,
    /// `approved`
    Approved,
    /// `declined`
    Declined,
    /// `retried`
    Retried,
    /// `marked-done`
    MarkedDone,
    /// `went-back`, for every step gone back over
    WentBack,
    /// `undo-started`
    UndoStarted,
    /// `undo-finished`
    UndoFinished,
    /// `undo-failed`
    UndoFailed,
}

use StepEvent as E;
use StepState as S;

/// Every legal move: from, what happened, to.
pub const TRANSITIONS: &[(StepState, StepEvent, StepState)] = &[
    (S::Ready, E::AttemptStarted, S::Running),
    // What it rests on could not be read, so no attempt was started.
    (S::Ready, E::AttemptFailed, S::Ready),
    // A person wants the world looked at again: see `StepRecord::doubtful`.
    (S::Ready, E::FoundNotDone, S::Ready),
    // A probe found it done, or there is nothing to do.
    (S::Ready, E::Succeeded, S::Succeeded),
    (S::Ready, E::Owed, S::Owed),
    (S::Ready, E::Asked, S::Asking),
    (S::Ready, E::GaveUp, S::Failed),
    (S::Ready, E::PassedOver, S::PassedOver),
    (S::Ready, E::MarkedDone, S::Succeeded),
    (S::Ready, E::WentBack, S::Ready),
    (S::Running, E::Noted, S::Running),
    (S::Running, E::Succeeded, S::Succeeded),
    (S::Running, E::Owed, S::Owed),
    (S::Running, E::Asked, S::Asking),
    (S::Running, E::AttemptFailed, S::Ready),
    (S::Running, E::OutcomeUnknown, S::InDoubt),
    (S::Running, E::AttemptLost, S::InDoubt),
    (S::Running, E::AttemptPaused, S::Ready),
    // A step that finds that an earlier one must be taken again, such as a comparison with a difference.
    (S::Running, E::WentBack, S::Ready),
    (S::InDoubt, E::Succeeded, S::Succeeded),
    (S::InDoubt, E::FoundNotDone, S::Ready),
    (S::InDoubt, E::Asked, S::Asking),
    (S::InDoubt, E::Owed, S::Owed),
    // While unwinding nobody is asked: the undo puts the originals back either way.
    (S::InDoubt, E::GaveUp, S::Failed),
    (S::InDoubt, E::MarkedDone, S::Succeeded),
    (S::Asking, E::Approved, S::Succeeded),
    (S::Asking, E::Declined, S::Failed),
    (S::Asking, E::Retried, S::Ready),
    (S::Asking, E::MarkedDone, S::Succeeded),
    (S::Failed, E::Retried, S::Ready),
    (S::Failed, E::MarkedDone, S::Succeeded),
    (S::Succeeded, E::WentBack, S::Ready),
    (S::Owed, E::WentBack, S::Ready),
    (S::PassedOver, E::WentBack, S::Ready),
    // A failed attempt may still have changed something, so it is undone too. In doubt is not in this list: it is
    // probed first, and the probe's answer decides.
    (S::Succeeded, E::UndoStarted, S::Undoing),
    (S::Ready, E::UndoStarted, S::Undoing),
    (S::Asking, E::UndoStarted, S::Undoing),
    (S::Failed, E::UndoStarted, S::Undoing),
    (S::Owed, E::UndoStarted, S::Undoing),
    (S::PassedOver, E::UndoStarted, S::Undoing),
    (S::Undoing, E::Noted, S::Undoing),
    (S::Undoing, E::UndoStarted, S::Undoing), // after a crash: an undo may be called twice
    (S::Undoing, E::UndoFinished, S::Undone),
    (S::Undoing, E::UndoFailed, S::Stuck),
    (S::Stuck, E::Retried, S::Undoing),
    (S::Stuck, E::MarkedDone, S::Undone),
];

/// All states, for tests and the diagram.
pub const STATES: &[StepState] = &[
    S::Ready,
    S::Running,
    S::InDoubt,
    S::Asking,
    S::Succeeded,
    S::Owed,
    S::PassedOver,
    S::Failed,
    S::Undoing,
    S::Undone,
    S::Stuck,
];

/// An event that may not follow a state: the journal is damaged, or the engine is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{event:?}` cannot follow `{state:?}`")]
pub struct IllegalTransition {
    /// The state.
    pub state: StepState,
    /// What would have followed.
    pub event: StepEvent,
}

impl StepState {
    /// Returns the state that `event` leads to.
    pub fn after(self, event: StepEvent) -> Result<StepState, IllegalTransition> {
        TRANSITIONS
            .iter()
            .find(|(from, what, _)| *from == self && *what == event)
            .map(|(_, _, to)| *to)
            .ok_or(IllegalTransition { state: self, event })
    }

    /// Tells whether the run may go on to the next step.
    pub fn is_over(self) -> bool {
        matches!(self, S::Succeeded | S::Owed | S::PassedOver)
    }
}

impl StepEvent {
    /// Returns what an event means for the step that it is about.
    pub fn of(event: &Event) -> Option<StepEvent> {
        Some(match event {
            Event::AttemptStarted { .. } => E::AttemptStarted,
            Event::Checkpoint { .. } | Event::OriginalSaved { .. } => E::Noted,
            Event::Succeeded { .. } => E::Succeeded,
            Event::Owed { .. } => E::Owed,
            Event::AttemptFailed {
                sort: Sort::Unknown,
                ..
            } => E::OutcomeUnknown,
            Event::AttemptFailed { .. } => E::AttemptFailed,
            Event::AttemptLost { .. } => E::AttemptLost,
            Event::AttemptPaused { .. } => E::AttemptPaused,
            Event::FoundNotDone { .. } => E::FoundNotDone,
            Event::GaveUp { .. } => E::GaveUp,
            Event::PassedOver { .. } => E::PassedOver,
            Event::Asked { .. } => E::Asked,
            Event::Approved { .. } => E::Approved,
            Event::Declined { .. } => E::Declined,
            Event::Retried { .. } => E::Retried,
            Event::MarkedDone { .. } => E::MarkedDone,
            Event::WentBack { .. } => E::WentBack,
            Event::UndoStarted { .. } => E::UndoStarted,
            Event::UndoFinished { .. } => E::UndoFinished,
            Event::UndoFailed { .. } => E::UndoFailed,
            Event::RunStarted { .. }
            | Event::TakenOver { .. }
            | Event::Paused { .. }
            | Event::CommandTaken { .. }
            | Event::AbortRequested { .. }
            | Event::RunFinished { .. } => return None,
        })
    }
}

/// Writes the table as a Mermaid state diagram.
pub fn diagram() -> String {
    use std::fmt::Write as _;
    let mut text = String::from("stateDiagram-v2\n    [*] --> Ready\n");
    for (from, event, to) in TRANSITIONS {
        let _ = writeln!(text, "    {from:?} --> {to:?}: {event:?}");
    }
    text.push_str(
        "    Succeeded --> [*]\n    Owed --> [*]\n    PassedOver --> [*]\n    Undone --> [*]\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_move_stands_twice() {
        for (i, (from, event, _)) in TRANSITIONS.iter().enumerate() {
            assert!(
                !TRANSITIONS[i + 1..]
                    .iter()
                    .any(|(f, e, _)| f == from && e == event),
                "{from:?} after {event:?} stands twice"
            );
        }
    }

    #[test]
    fn every_state_can_be_reached_and_left() {
        for state in STATES {
            let reached = *state == S::Ready || TRANSITIONS.iter().any(|(_, _, to)| to == state);
            assert!(reached, "{state:?} is never reached");
            let left = *state == S::Undone
                || TRANSITIONS
                    .iter()
                    .any(|(from, _, to)| from == state && to != state);
            assert!(left, "{state:?} is never left");
        }
    }

    #[test]
    fn what_is_in_doubt_is_never_undone_before_it_is_probed() {
        assert!(S::InDoubt.after(E::UndoStarted).is_err());
        assert!(S::Running.after(E::UndoStarted).is_err());
    }

    #[test]
    fn a_step_that_is_over_is_left_only_by_going_back_or_undoing() {
        for (from, event, _) in TRANSITIONS {
            if from.is_over() {
                assert!(
                    matches!(event, E::WentBack | E::UndoStarted),
                    "{from:?} is left by {event:?}"
                );
            }
        }
    }

    const EVENTS: &[StepEvent] = &[
        E::AttemptStarted,
        E::Noted,
        E::Succeeded,
        E::Owed,
        E::AttemptFailed,
        E::OutcomeUnknown,
        E::AttemptLost,
        E::AttemptPaused,
        E::FoundNotDone,
        E::GaveUp,
        E::PassedOver,
        E::Asked,
        E::Approved,
        E::Declined,
        E::Retried,
        E::MarkedDone,
        E::WentBack,
        E::UndoStarted,
        E::UndoFinished,
        E::UndoFailed,
    ];

    #[test]
    fn every_pair_of_state_and_event_is_a_move_or_refused() {
        let mut moves = 0;
        for state in STATES {
            for event in EVENTS {
                match state.after(*event) {
                    Ok(to) => {
                        assert!(TRANSITIONS.contains(&(*state, *event, to)));
                        moves += 1;
                    }
                    Err(refused) => assert_eq!(
                        refused,
                        IllegalTransition {
                            state: *state,
                            event: *event
                        }
                    ),
                }
            }
        }
        assert_eq!(moves, TRANSITIONS.len());
        for event in EVENTS {
            assert!(
                TRANSITIONS.iter().any(|(_, what, _)| what == event),
                "{event:?} is never legal"
            );
        }
    }

    #[test]
    fn nothing_is_done_or_undone_without_an_intent() {
        for (from, event, _) in TRANSITIONS {
            match event {
                E::AttemptLost | E::AttemptPaused | E::OutcomeUnknown => {
                    assert_eq!(*from, S::Running)
                }
                E::UndoFinished | E::UndoFailed => assert_eq!(*from, S::Undoing),
                _ => {}
            }
        }
    }

    #[test]
    fn the_diagram_holds_every_move_once() {
        let text = diagram();
        assert!(text.starts_with("stateDiagram-v2\n    [*] --> Ready\n"));
        assert_eq!(
            text.lines().filter(|line| line.contains(": ")).count(),
            TRANSITIONS.len()
        );
        assert!(text.contains("    Running --> InDoubt: AttemptLost\n"));
        assert!(text.ends_with("    Undone --> [*]\n"));
    }
}
