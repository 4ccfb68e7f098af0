//! One attempt of a step: its guards, its intent, its run, and what follows from how it ended.

use std::convert::Infallible;
use std::time::Duration;

use serde_json::Value;

use crate::clock::Clock;
use crate::decide::{Action, decide};
use crate::event::{About, Command, Event, Sort};
use crate::executor::{CHECK, Driver, INBOX};
use crate::guard::{self, Standing};
use crate::plan::{IfUnreachable, InDoubt, OnFailure, PlannedStep};
use crate::runlog::Lost;
use crate::step::{Done, Probe, StepError, World};
use crate::stop::{StopSender, stop};

/// The least real time that an attempt gets where a sandbox's clock makes its timeout shorter.
const LEAST_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a run may go back to one step before a person is asked.
const MOST_RETURNS: u32 = 12;

impl<W: World> Driver<'_, W> {
    /// Takes a step, and the ones after it as long as their intent goes into one commit with the outcome before.
    pub(crate) async fn take(&self, mut i: usize) -> Result<(), Lost> {
        if !self.stand(i).await? {
            return Ok(());
        }
        self.log.append(vec![self.intent(i)]).await?;
        loop {
            // A crash here leaves a started attempt without an outcome: it is in doubt when the run is resumed.
            let mut events = if self.plan().steps[i].kind == CHECK {
                self.check_all(i).await
            } else {
                let result = self.attempt(i).await;
                self.outcome(i, result)?
            };
            let next = self.next_in_same_commit(&events).await?;
            events.extend(next.map(|j| self.intent(j)));
            self.log.append(events).await?;
            match next {
                Some(j) => i = j,
                None => return Ok(()),
            }
        }
    }

    /// Checks the guards of a step. False: they do not hold, and what follows from it is written down.
    async fn stand(&self, i: usize) -> Result<bool, Lost> {
        let events = match guard::standing(&self.log, self.steps, self.world.reader(), i).await {
            Standing::Holds => return Ok(true),
            Standing::Owed { reason } => {
                vec![Event::Owed {
                    step: self.id(i),
                    items: self.steps[i].owes(),
                    reason,
                }]
            }
            Standing::Back { to, reason } => vec![self.back_for_guard(i, to, reason).await],
            Standing::Ask { reason } => vec![self.asked(i, About::Guard, reason, Value::Null)],
            Standing::Unread { error } => {
                let attempt = self.log.look(|run| run.steps[i].attempts + 1);
                self.failed(i, attempt, &error)
            }
        };
        self.log.append(events).await?;
        Ok(false)
    }

    /// Goes back to a step that no longer holds, unless that is no longer possible.
    async fn back_for_guard(&self, i: usize, to: usize, reason: String) -> Event {
        let begun = self.plan().cutover() == Some(i) && self.log.look(|run| run.steps[i].touched);
        if begun {
            // A failed attempt may have moved the clients all the same, and no way leads back across the cutover.
            let cx = self.read_context(i, self.log.state());
            let unknown = match within(
                self.log.clock(),
                &self.plan().steps[i],
                self.steps[i].probe(&cx),
            )
            .await
            {
                Ok(Probe::NotDone(_)) => None,
                Ok(Probe::Done(output)) => {
                    return Event::Succeeded {
                        step: self.id(i),
                        output,
                        changes: Vec::new(),
                        probed: true,
                    };
                }
                Ok(Probe::Unknown(why)) => Some(why),
                Err(error) => Some(error.chain()),
            };
            if let Some(why) = unknown {
                let question = format!(
                    "{reason}; and whether an attempt has moved the clients is unknown: {why}"
                );
                return self.asked(i, About::Guard, question, Value::Null);
            }
        }
        let returns = self.log.look(|run| run.steps[to].generation);
        if returns < MOST_RETURNS {
            Event::WentBack {
                step: self.id(i),
                to: self.id(to),
                reason,
            }
        } else {
            self.asked(
                i,
                About::Guard,
                format!("{reason}; the run has gone back {returns} times"),
                Value::Null,
            )
        }
    }

    /// Returns the next step if its intent may go into the commit of these events: nothing has to be looked at before.
    async fn next_in_same_commit(&self, events: &[Event]) -> Result<Option<usize>, Lost> {
        if !matches!(events, [Event::Succeeded { .. }]) || self.stop.by().is_some() {
            return Ok(None);
        }
        let now = self.log.clock().now();
        let mut after = self.log.state();
        for event in events {
            after.apply(now, event)?;
        }
        match decide(self.plan(), &after, now) {
            Action::Take(j)
                if self.plan().steps[j].guards.is_empty() && !self.has_mail().await? =>
            {
                Ok(Some(j))
            }
            _ => Ok(None),
        }
    }

    async fn attempt(&self, i: usize) -> Result<Done, StepError> {
        let (caller, called) = stop();
        let cx = self.write_context(i, called);
        // Both are polled all the time: a step that stood still in the middle of a commit would hold the journal
        // against the look into the inbox.
        tokio::select! {
            biased;
            result = within(self.log.clock(), &self.plan().steps[i], self.steps[i].run(&cx)) => result,
            never = self.call_off(&caller) => match never {},
        }
    }

    /// Lets a step that waits know that somebody wants the run ended, or the driver gone.
    async fn call_off(&self, caller: &StopSender) -> Infallible {
        loop {
            tokio::time::sleep(INBOX).await;
            if let Some(by) = self.stop.by() {
                caller.request(&by);
            }
            let after = self.log.look(|run| run.last_command);
            if let Ok(waiting) = self.log.journal().inbox(self.log.id(), after).await
                && let Some(abort) = waiting
                    .iter()
                    .find(|sent| matches!(sent.command, Command::Abort { .. }))
            {
                caller.request(&abort.by);
            }
        }
    }

    /// Turns what an attempt came to into events.
    fn outcome(&self, i: usize, result: Result<Done, StepError>) -> Result<Vec<Event>, Lost> {
        let step = self.id(i);
        Ok(match result {
            Ok(Done::Done { output, changes }) => vec![Event::Succeeded {
                step,
                output,
                changes,
                probed: false,
            }],
            Ok(Done::Ask {
                about,
                question,
                output,
            }) => vec![self.asked(i, about, question, output)],
            Ok(Done::Owe { items, reason }) => vec![Event::Owed {
                step,
                items,
                reason,
            }],
            Ok(Done::Back { reason, output }) => vec![self.back(i, reason, output)],
            Err(error) => {
                let error = self.unless_lost(error)?;
                let attempt = self.log.look(|run| run.steps[i].attempts);
                if error.paused {
                    vec![Event::AttemptPaused { step }]
                } else {
                    self.failed(i, attempt, &error)
                }
            }
        })
    }

    fn back(&self, i: usize, reason: String, output: Value) -> Event {
        let planned = &self.plan().steps[i];
        let crosses = |to: usize| {
            self.plan()
                .cutover()
                .is_some_and(|cut| to <= cut && cut <= i)
        };
        let target = planned
            .back_to
            .as_deref()
            .and_then(|to| self.plan().position(to));
        match target.filter(|to| *to < i && !crosses(*to)) {
            Some(to)
                if self.log.look(|run| run.steps[i].generation) + 1 < planned.retry.attempts =>
            {
                Event::WentBack {
                    step: self.id(i),
                    to: self.id(to),
                    reason,
                }
            }
            _ => self.asked(i, About::Gate, reason, output),
        }
    }

    /// Returns what follows from the failure of attempt number `attempt`.
    fn failed(&self, i: usize, attempt: u32, error: &StepError) -> Vec<Event> {
        let (planned, step, text) = (&self.plan().steps[i], self.id(i), error.chain());
        let left = attempt < planned.retry.attempts;
        let (wait, more) = match error.sort {
            // What may simply be done again needs no request to be over, but a pause like any other failure.
            Sort::Unknown if planned.in_doubt == InDoubt::Repeat => {
                (planned.retry.wait_after(attempt), true)
            }
            Sort::Unknown => (self.plan().request_timeout, true),
            Sort::Transient if left => (planned.retry.wait_after(attempt), true),
            Sort::Transient | Sort::Permanent => (Duration::ZERO, false),
        };
        let next_at = self.log.clock().after(wait);
        let failure = Event::AttemptFailed {
            step,
            sort: error.sort,
            error: text.clone(),
            next_at,
        };
        if more {
            vec![failure]
        } else {
            vec![failure, self.give_up(i, text)]
        }
    }

    /// Returns what follows when no attempt is left.
    pub(crate) fn give_up(&self, i: usize, error: String) -> Event {
        let (planned, step) = (&self.plan().steps[i], self.id(i));
        match (planned.if_unreachable, planned.on_failure) {
            // In a disaster the other side may fail in any way: what cannot be done there is owed.
            (IfUnreachable::Owe, _) => Event::Owed {
                step,
                items: self.steps[i].owes(),
                reason: error,
            },
            (_, OnFailure::Stop) => Event::GaveUp { step, error },
            (_, OnFailure::Ask) => self.asked(i, About::Failure, error, Value::Null),
            (_, OnFailure::Continue) => Event::PassedOver { step, error },
        }
    }
}

/// Waits for something a step does, no longer than the plan allows.
pub(crate) async fn within<T>(
    clock: &Clock,
    planned: &PlannedStep,
    it: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    let real = clock.real(planned.timeout);
    let limit = real.max(LEAST_TIMEOUT.min(planned.timeout));
    tokio::time::timeout(limit, it).await.unwrap_or_else(|_| {
        Err(StepError::unknown(format!("no end after {}", words(planned.timeout))).unreachable())
    })
}

/// Says a span in the shortest words, such as `1m 30s`.
pub(crate) fn words(span: Duration) -> String {
    let seconds = span.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, 0) => format!("{} ms", span.as_millis()),
        (0, s) => format!("{s}s"),
        (m, 0) => format!("{m}m"),
        (m, s) => format!("{m}m {s}s"),
    }
}
