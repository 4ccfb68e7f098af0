//! Acts: takes what `decide` says, does it, and writes down what came of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::decide::{Action, Effect, decide, effect};
use crate::event::{About, Command, Event, Outcome, Sort};
use crate::guard::{self, Standing};
use crate::lease::TERM;
use crate::plan::{IfUnreachable, InDoubt, OnFailure, Plan, hex};
use crate::run::{Phase, Question, RunState};
use crate::runlog::{Lost, RunLog};
use crate::step::{Done, Finding, Level, Probe, ReadContext, Step, StepError, World, WriteContext};
use crate::stop::{Stop, StopSender, stop};

/// The step kind that runs the checks of all steps. The engine knows it because only the engine sees all steps.
pub const CHECK: &str = "check";

/// How often the inbox is looked at.
const INBOX: Duration = Duration::from_millis(200);
/// The least real time that an attempt gets, however fast a sandbox's clock is.
const LEAST_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a run may go back to one step before a person is asked.
const MOST_RETURNS: u32 = 12;

/// Who answers the questions of a run in this process.
#[async_trait]
pub trait Person: Send + Sync {
    /// Answers, or says that nobody here can.
    async fn answer(&self, step: &str, question: &Question) -> Answer;
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Approve {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// No.
    Decline {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// Nobody here can say; another process may.
    Wait,
    /// Nobody here can say and nobody shall wait: the driver leaves.
    Leave,
}

/// How driving ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// The run is over.
    Finished(Outcome),
    /// It waits for a person.
    Asking {
        /// The step.
        step: String,
        /// The question.
        question: Question,
    },
    /// A step failed; the run can be resumed.
    Halted {
        /// The step.
        step: String,
        /// Its last error.
        error: String,
    },
    /// Somebody asked the driver to stop.
    Paused {
        /// Who.
        by: String,
    },
}

/// Drives one run.
pub struct Driver<'a, W: World> {
    /// The run.
    pub log: Arc<RunLog>,
    /// Its steps, in the order of the plan.
    pub steps: &'a [Box<dyn Step<W>>],
    /// The world.
    pub world: &'a W,
    /// Who answers questions here.
    pub person: &'a dyn Person,
    /// Seen when somebody wants the driver to stop.
    pub stop: Stop,
    /// Source of nonces.
    pub chance: &'a (dyn Fn() -> u64 + Send + Sync),
}

impl<W: World> Driver<'_, W> {
    /// Drives the run until it is over or cannot go on, and gives the lease back.
    pub async fn drive(self) -> Result<Ended, Lost> {
        let log = self.log.clone();
        let keeper = tokio::spawn({
            let log = log.clone();
            async move {
                loop {
                    tokio::time::sleep(TERM / 4).await;
                    if log.renew().await.is_err() {
                        break;
                    }
                }
            }
        });
        let ended = self.turn().await;
        keeper.abort();
        if ended.is_ok() {
            log.release().await?;
        }
        ended
    }

    async fn turn(&self) -> Result<Ended, Lost> {
        loop {
            self.take_commands().await?;
            let action = self.log.look(|run| decide(self.log.plan(), run, self.log.clock().now()));
            let over = matches!(action, Action::Finish(_) | Action::Over(_));
            if let Some(by) = self.stop.by().filter(|_| !over) {
                self.log.append(vec![Event::Paused { by: by.clone() }]).await?;
                return Ok(Ended::Paused { by });
            }
            match action {
                Action::Over(outcome) => return Ok(Ended::Finished(outcome)),
                Action::Finish(outcome) => {
                    self.log.finish(outcome).await?;
                    return Ok(Ended::Finished(outcome));
                }
                Action::Sleep(i, until) => self.rest(i, until).await,
                Action::Take(i) => self.take(i).await?,
                Action::Judge(i) => self.judge(i).await?,
                Action::Undo(i) => self.undo(i).await?,
                Action::AwaitPerson(i) => {
                    if let Some(ended) = self.await_person(i).await? {
                        return Ok(ended);
                    }
                }
                Action::Halt(i) => {
                    let error = self.log.look(|run| run.steps[i].error.clone()).unwrap_or_default();
                    return Ok(Ended::Halted { step: self.id(i), error });
                }
            }
        }
    }

    /// Takes a step, and the ones after it as long as their intent goes into one commit with the outcome before.
    async fn take(&self, mut i: usize) -> Result<(), Lost> {
        if !self.stand(i).await? {
            return Ok(());
        }
        self.log.append(vec![self.intent(i)]).await?;
        loop {
            let mut events = if self.plan().steps[i].kind == CHECK {
                self.check_all(i).await?
            } else {
                let result = self.attempt(i).await;
                self.outcome(i, result)?
            };
            let next = self.next_in_same_commit(&events);
            events.extend(next.map(|j| self.intent(j)));
            self.log.append(events).await?;
            match next {
                Some(j) => i = j,
                None => break,
            }
        }
        self.refuse_if_nothing_was_changed(i).await
    }

    /// Checks the guards of a step. False: they do not hold, and what follows from it is written down.
    async fn stand(&self, i: usize) -> Result<bool, Lost> {
        let events = match guard::standing(&self.log, self.steps, self.world.reader(), i).await {
            Standing::Holds => return Ok(true),
            Standing::Owed { reason } => {
                vec![Event::Owed { step: self.id(i), items: self.steps[i].owes(), reason }]
            }
            Standing::Back { to, reason } => {
                let returns = self.log.look(|run| run.steps[to].generation);
                if returns < MOST_RETURNS {
                    vec![Event::WentBack { step: self.id(i), to: self.id(to), reason }]
                } else {
                    vec![self.asked(i, About::Guard, format!("{reason}; the run has gone back {returns} times"), Value::Null)]
                }
            }
            Standing::Ask { reason } => vec![self.asked(i, About::Guard, reason, Value::Null)],
            Standing::Unread { error } => {
                let mut events = vec![self.intent(i)];
                events.extend(self.failed(i, &error));
                events
            }
        };
        self.log.append(events).await?;
        Ok(false)
    }

    /// Returns the next step if its intent may go into the commit of these events: nothing has to be looked at before.
    fn next_in_same_commit(&self, events: &[Event]) -> Option<usize> {
        if !matches!(events, [Event::Succeeded { .. }]) || self.stop.by().is_some() {
            return None;
        }
        let now = self.log.clock().now();
        let mut after = self.log.state();
        events.iter().try_for_each(|event| after.apply(now, event)).ok()?;
        match decide(self.plan(), &after, now) {
            Action::Take(j) if self.plan().steps[j].guards.is_empty() => Some(j),
            _ => None,
        }
    }

    async fn attempt(&self, i: usize) -> Result<Done, StepError> {
        let (caller, called) = stop();
        let cx = self.write_context(i, called);
        let limit = self.log.clock().real(self.plan().steps[i].timeout).max(LEAST_TIMEOUT);
        let run = tokio::time::timeout(limit, self.steps[i].run(&cx));
        tokio::pin!(run);
        loop {
            tokio::select! {
                biased;
                result = &mut run => {
                    return result.unwrap_or_else(|_| {
                        let words = format!("no end after {}", words(self.plan().steps[i].timeout));
                        Err(StepError::unknown(words).unreachable())
                    });
                }
                () = tokio::time::sleep(INBOX) => self.call_off(&caller).await,
            }
        }
    }

    /// Lets a step that waits know that somebody wants the run ended, or the driver gone.
    async fn call_off(&self, caller: &StopSender) {
        if let Some(by) = self.stop.by() {
            caller.request(&by);
        }
        let after = self.log.look(|run| run.last_command);
        if let Ok(waiting) = self.log.journal().inbox(self.log.id(), after).await
            && let Some(abort) = waiting.iter().find(|sent| matches!(sent.command, Command::Abort { .. }))
        {
            caller.request(&abort.by);
        }
    }

    /// Turns what an attempt came to into events.
    fn outcome(&self, i: usize, result: Result<Done, StepError>) -> Result<Vec<Event>, Lost> {
        let step = self.id(i);
        Ok(match result {
            Ok(Done::Done { output, changes }) => vec![Event::Succeeded { step, output, changes, probed: false }],
            Ok(Done::Ask { about, question, output }) => vec![self.asked(i, about, question, output)],
            Ok(Done::Owe { items, reason }) => vec![Event::Owed { step, items, reason }],
            Ok(Done::Back { reason, output }) => self.back(i, reason, output),
            Err(error) => {
                let error = match error.into_lost() {
                    Ok(lost) => return Err(lost),
                    Err(error) => error,
                };
                if !self.log.lease().holds() {
                    return Err(Lost::Expired);
                }
                if error.paused { vec![Event::AttemptPaused { step }] } else { self.failed(i, &error) }
            }
        })
    }

    fn back(&self, i: usize, reason: String, output: Value) -> Vec<Event> {
        let planned = &self.plan().steps[i];
        let target = planned.back_to.as_deref().and_then(|to| self.plan().position(to)).filter(|to| *to < i);
        match target {
            Some(to) if self.log.look(|run| run.steps[i].generation) + 1 < planned.retry.attempts => {
                vec![Event::WentBack { step: self.id(i), to: self.id(to), reason }]
            }
            _ => vec![self.asked(i, About::Gate, reason, output)],
        }
    }

    /// Returns what follows from a failed attempt.
    fn failed(&self, i: usize, error: &StepError) -> Vec<Event> {
        let (planned, step, text) = (&self.plan().steps[i], self.id(i), error.chain());
        // The intent of an attempt whose guards could not be read goes into the same commit.
        let attempt = self.log.look(|run| run.steps[i].attempts.max(1));
        let left = attempt < planned.retry.attempts;
        let (wait, more) = match error.sort {
            Sort::Unknown => (self.plan().request_timeout, true),
            Sort::Transient if left => (planned.retry.wait_after(attempt), true),
            Sort::Transient | Sort::Permanent => (Duration::ZERO, false),
        };
        let next_at = self.log.clock().after(wait);
        let failure = Event::AttemptFailed { step, sort: error.sort, error: text.clone(), next_at };
        if more { vec![failure] } else { [vec![failure], self.give_up(i, text)].concat() }
    }

    /// Returns what follows when no attempt is left.
    fn give_up(&self, i: usize, error: String) -> Vec<Event> {
        let (planned, step) = (&self.plan().steps[i], self.id(i));
        vec![match (planned.if_unreachable, planned.on_failure) {
            // In a disaster the other side may fail in any way: what cannot be done there is owed.
            (IfUnreachable::Owe, _) => Event::Owed { step, items: self.steps[i].owes(), reason: error },
            (_, OnFailure::Stop) => Event::GaveUp { step, error },
            (_, OnFailure::Ask) => self.asked(i, About::Failure, error, Value::Null),
            (_, OnFailure::Continue) => Event::PassedOver { step, error },
        }]
    }

    /// Runs the checks of all steps that are to be taken.
    async fn check_all(&self, i: usize) -> Result<Vec<Event>, Lost> {
        let run = self.log.state();
        let due = |j: &usize| self.plan().takes(&self.plan().steps[*j]) && !run.steps[*j].state.is_over() && *j != i;
        let checks = (0..self.steps.len()).filter(due).map(|j| {
            let run = run.clone();
            async move {
                let cx = self.read_context(j, run);
                match self.steps[j].check(&cx).await {
                    Ok(findings) => findings,
                    Err(error) => {
                        let level = match self.plan().steps[j].if_unreachable {
                            IfUnreachable::Fail => Level::Fail,
                            IfUnreachable::Owe => Level::Warn,
                        };
                        let object = format!("step `{}`", self.plan().steps[j].id);
                        vec![Finding { level, object, text: format!("could not be checked: {error}") }]
                    }
                }
            }
        });
        let mut findings: Vec<Finding> = Vec::new();
        for finding in join_all(checks).await.into_iter().flatten() {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        let step = self.id(i);
        let faults: Vec<String> = findings
            .iter()
            .filter(|finding| finding.level == Level::Fail)
            .map(|finding| format!("{}: {}", finding.object, finding.text))
            .collect();
        let output = json!({ "findings": findings });
        if faults.is_empty() {
            return Ok(vec![Event::Succeeded { step, output, changes: Vec::new(), probed: false }]);
        }
        let error = faults.join("; ");
        Ok(vec![
            Event::Checkpoint { step: step.clone(), name: "findings".into(), value: output["findings"].clone() },
            Event::AttemptFailed {
                step: step.clone(),
                sort: Sort::Permanent,
                error: error.clone(),
                next_at: self.log.clock().now(),
            },
            Event::GaveUp { step, error },
        ])
    }

    /// A run that failed before it wrote anything is over: it must not stand in the way of the next one.
    async fn refuse_if_nothing_was_changed(&self, i: usize) -> Result<(), Lost> {
        let refused = self.log.look(|run| {
            run.phase == Phase::Forward
                && matches!(decide(self.plan(), run, Timestamp::MAX), Action::Halt(at) if at == i)
                && !run.may_have_written(self.plan())
        });
        if refused { self.log.finish(Outcome::Refused).await } else { Ok(()) }
    }

    /// Finds out whether an attempt in doubt took effect.
    async fn judge(&self, i: usize) -> Result<(), Lost> {
        let (planned, step) = (&self.plan().steps[i], self.id(i));
        match planned.in_doubt {
            InDoubt::Repeat => return self.log.append(vec![Event::FoundNotDone { step, remaining: Vec::new() }]).await,
            InDoubt::Ask => {
                let question = "its outcome is unknown and this kind of step cannot be probed".to_owned();
                return self.log.append(vec![self.asked(i, About::Doubt, question, Value::Null)]).await;
            }
            InDoubt::Probe => {}
        }
        let mut tries = 0;
        let events = loop {
            tries += 1;
            let cx = self.read_context(i, self.log.state());
            match self.steps[i].probe(&cx).await {
                Ok(Probe::Done(output)) => break vec![Event::Succeeded { step, output, changes: Vec::new(), probed: true }],
                Ok(Probe::NotDone(remaining)) => {
                    let found = Event::FoundNotDone { step, remaining };
                    let (attempts, error) = self.log.look(|run| (run.steps[i].attempts, run.steps[i].error.clone()));
                    break match error.filter(|_| attempts >= planned.retry.attempts) {
                        Some(error) => [vec![found], self.give_up(i, error)].concat(),
                        None => vec![found],
                    };
                }
                Ok(Probe::Unknown(why)) => break vec![self.doubtful(i, why)],
                Err(error) if error.sort == Sort::Permanent || tries >= planned.retry.attempts => {
                    break vec![self.doubtful(i, error.chain())];
                }
                Err(_) => {
                    self.rest(i, self.log.clock().after(planned.retry.wait_after(tries))).await;
                    if self.stop.by().is_some() {
                        return Ok(());
                    }
                }
            }
        };
        self.log.append(events).await
    }

    fn doubtful(&self, i: usize, why: String) -> Event {
        match self.plan().steps[i].if_unreachable {
            // The outcome may be unknown and is then owed too.
            IfUnreachable::Owe => Event::Owed { step: self.id(i), items: self.steps[i].owes(), reason: why },
            IfUnreachable::Fail => self.asked(i, About::Doubt, why, Value::Null),
        }
    }

    async fn undo(&self, i: usize) -> Result<(), Lost> {
        let (planned, step) = (&self.plan().steps[i], self.id(i));
        self.log.append(vec![Event::UndoStarted { step: step.clone() }]).await?;
        let limit = self.log.clock().real(planned.timeout).max(LEAST_TIMEOUT);
        let mut tries = 0;
        let event = loop {
            tries += 1;
            let (_caller, called) = stop();
            let cx = self.write_context(i, called);
            let result = tokio::time::timeout(limit, self.steps[i].undo(&cx)).await;
            let error = match result {
                Ok(Ok(changes)) => break Event::UndoFinished { step, changes },
                Ok(Err(error)) => error,
                Err(_) => StepError::unknown(format!("no end after {}", words(planned.timeout))),
            };
            let error = match error.into_lost() {
                Ok(lost) => return Err(lost),
                Err(error) => error,
            };
            if !self.log.lease().holds() {
                return Err(Lost::Expired);
            }
            if error.sort == Sort::Permanent || tries >= planned.retry.attempts {
                break Event::UndoFailed { step, error: error.chain() };
            }
            // An undo puts originals back and may be called twice, so an unknown outcome is simply waited out.
            let wait = if error.sort == Sort::Unknown { self.plan().request_timeout } else { planned.retry.wait_after(tries) };
            self.rest(i, self.log.clock().after(wait)).await;
            if self.stop.by().is_some() {
                return Ok(());
            }
        };
        self.log.append(vec![event]).await
    }

    /// Waits for an answer. Some: the driver leaves without one.
    async fn await_person(&self, i: usize) -> Result<Option<Ended>, Lost> {
        let step = self.id(i);
        let Some(question) = self.log.look(|run| run.steps[i].question.clone()) else { return Ok(None) };
        let left = Ended::Asking { step: step.clone(), question: question.clone() };
        if !matches!(question.about, About::Approval | About::Gate) {
            return Ok(Some(left));
        }
        let asked = self.id(i);
        let answer = self.person.answer(&asked, &question);
        tokio::pin!(answer);
        let mut answered = false;
        loop {
            tokio::select! {
                biased;
                said = &mut answer, if !answered => match said {
                    Answer::Approve { by, reason } => {
                        self.log.append(vec![Event::Approved { step, by, reason }]).await?;
                        return Ok(None);
                    }
                    Answer::Decline { by, reason } => {
                        self.log.append(vec![Event::Declined { step, by, reason }]).await?;
                        self.refuse_if_nothing_was_changed(i).await?;
                        return Ok(None);
                    }
                    Answer::Wait => answered = true,
                    Answer::Leave => return Ok(Some(left)),
                },
                () = tokio::time::sleep(INBOX) => {
                    self.take_commands().await?;
                    let open = self.log.look(|run| run.steps[i].question.is_some() && run.phase == Phase::Forward);
                    if !open || self.stop.by().is_some() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Takes what waits in the inbox.
    async fn take_commands(&self) -> Result<(), Lost> {
        let after = self.log.look(|run| run.last_command);
        for sent in self.log.journal().inbox(self.log.id(), after).await? {
            let verdict = self.log.look(|run| effect(self.plan(), run, &sent.command));
            let verdict = match verdict {
                Ok(Effect::UnwindIfWithdrawn(i)) => self.withdraw(i).await?.map(|()| Effect::Unwind),
                other => other,
            };
            let taken = Event::CommandTaken {
                id: sent.id,
                by: sent.by.clone(),
                command: sent.command.clone(),
                refused: verdict.as_ref().err().cloned(),
            };
            let mut events = vec![taken];
            let aborts = verdict == Ok(Effect::Abort);
            let declined = match &verdict {
                Ok(Effect::Decline(i)) => Some(*i),
                _ => None,
            };
            events.extend(verdict.ok().map(|effect| self.event_of(effect, &sent.by, &sent.command)));
            self.log.append(events).await?;
            if aborts {
                self.log.finish(Outcome::Aborted).await?;
                break;
            }
            if let Some(i) = declined {
                self.refuse_if_nothing_was_changed(i).await?;
            }
        }
        Ok(())
    }

    fn event_of(&self, effect: Effect, by: &str, command: &Command) -> Event {
        let by = by.to_owned();
        let reason = match command {
            Command::Approve { reason, .. } | Command::Decline { reason, .. } => reason.clone(),
            Command::Retry | Command::MarkDone { .. } | Command::Abort { .. } => None,
        };
        match effect {
            Effect::Approve(i) => Event::Approved { step: self.id(i), by, reason },
            Effect::Decline(i) => Event::Declined { step: self.id(i), by, reason },
            Effect::Retry(i) => Event::Retried { step: self.id(i), by },
            Effect::MarkDone(i) => Event::MarkedDone { step: self.id(i), by },
            Effect::Abort => Event::AbortRequested { by, undo: false },
            Effect::Unwind | Effect::UnwindIfWithdrawn(_) => Event::AbortRequested { by, undo: true },
        }
    }

    /// Makes the cutover that was begun impossible and proves that it moved nothing.
    async fn withdraw(&self, i: usize) -> Result<Result<(), String>, Lost> {
        let over = self.log.look(|run| run.steps[i].next_at.max(run.requests_over_at));
        if let Some(over) = over {
            // Judged too early, a request under way counts as not done and lands after the undo.
            self.log.clock().sleep_until(over).await;
        }
        let (_caller, called) = stop();
        let cx = self.write_context(i, called);
        Ok(match self.steps[i].withdraw(&cx).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let error = match error.into_lost() {
                    Ok(lost) => return Err(lost),
                    Err(error) => error,
                };
                Err(format!("step `{}` may have moved the clients: {error}; run failback instead", self.id(i)))
            }
        })
    }

    /// Waits until a time, or until somebody wants something.
    async fn rest(&self, i: usize, until: Timestamp) {
        let why = self.log.look(|run| run.steps[i].error.clone()).unwrap_or_else(|| "a request may be under way".into());
        self.log.observer().waiting(&self.id(i), &why);
        let clock = self.log.clock().clone();
        let after = self.log.look(|run| run.last_command);
        let mut stop = self.stop.clone();
        let called = async {
            loop {
                tokio::time::sleep(INBOX).await;
                if self.log.journal().inbox(self.log.id(), after).await.is_ok_and(|sent| !sent.is_empty()) {
                    break;
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.requested() => {}
            () = clock.sleep_until(until) => {}
            () = called => {}
        }
    }

    fn intent(&self, i: usize) -> Event {
        let (attempt, generation) = self.log.look(|run| (run.steps[i].attempts + 1, run.steps[i].generation));
        Event::AttemptStarted { step: self.id(i), attempt, token: self.token(i, generation) }
    }

    fn token(&self, i: usize, generation: u32) -> String {
        let text = format!("{}/{}/{generation}", self.log.id(), self.plan().steps[i].id);
        hex(&Sha256::digest(text)[..8])
    }

    fn asked(&self, i: usize, about: About, question: String, output: Value) -> Event {
        let nonce = format!("{:08x}", (self.chance)() as u32);
        Event::Asked { step: self.id(i), nonce, about, question, output }
    }

    fn read_context(&self, i: usize, run: RunState) -> ReadContext<'_, W> {
        ReadContext {
            world: self.world.reader(),
            plan: self.log.plan(),
            clock: self.log.clock(),
            run,
            position: i,
            assumed: None,
        }
    }

    fn write_context(&self, i: usize, called: Stop) -> WriteContext<'_, W> {
        let generation = self.log.look(|run| run.steps[i].generation);
        WriteContext {
            world: self.world.writer(),
            reader: self.world.reader(),
            plan: self.log.plan(),
            clock: self.log.clock(),
            log: &self.log,
            position: i,
            stop: called,
            token: self.token(i, generation),
        }
    }

    fn plan(&self) -> &Plan {
        self.log.plan()
    }

    fn id(&self, i: usize) -> String {
        self.plan().steps[i].id.clone()
    }
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
