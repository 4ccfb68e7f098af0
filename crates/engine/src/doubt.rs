//! An attempt whose outcome is unknown: the world is looked at, or a person decides. Nothing is guessed.

use serde_json::Value;

use crate::attempt::within;
use crate::event::{About, Change, Event, Sort};
use crate::executor::Driver;
use crate::plan::{IfUnreachable, InDoubt};
use crate::run::Phase;
use crate::runlog::Lost;
use crate::step::{Probe, World};

impl<W: World> Driver<'_, W> {
    /// Finds out whether an attempt in doubt took effect.
    pub(crate) async fn judge(&self, i: usize) -> Result<(), Lost> {
        let (planned, step) = (&self.plan().steps[i], self.id(i));
        let events = match planned.in_doubt {
            InDoubt::Repeat => self.not_done(i, Vec::new()),
            InDoubt::Ask => vec![self.undecided(
                i,
                "its outcome is unknown and this kind of step cannot be probed".into(),
            )],
            InDoubt::Probe => {
                let mut tries = 0;
                loop {
                    tries += 1;
                    let cx = self.read_context(i, self.log.state());
                    match within(self.log.clock(), planned, self.steps[i].probe(&cx)).await {
                        Ok(Probe::Done(output)) => {
                            break vec![Event::Succeeded {
                                step,
                                output,
                                changes: Vec::new(),
                                probed: true,
                            }];
                        }
                        Ok(Probe::NotDone(remaining)) => break self.not_done(i, remaining),
                        Ok(Probe::Unknown(why)) => break vec![self.undecided(i, why)],
                        Err(error)
                            if error.sort == Sort::Permanent || tries >= planned.retry.attempts =>
                        {
                            break vec![self.undecided(i, error.chain())];
                        }
                        Err(error) => {
                            let why = error.chain();
                            self.rest(
                                i,
                                &why,
                                self.log.clock().after(planned.retry.wait_after(tries)),
                            )
                            .await;
                            if self.stop.by().is_some() || self.has_mail().await? {
                                return Ok(());
                            }
                        }
                    }
                }
            }
        };
        self.log.append(events).await
    }

    /// Returns what follows if the attempt took no effect.
    fn not_done(&self, i: usize, remaining: Vec<Change>) -> Vec<Event> {
        let found = Event::FoundNotDone {
            step: self.id(i),
            remaining,
        };
        let most = self.plan().steps[i].retry.attempts;
        let last_error = self.log.look(|run| {
            let record = &run.steps[i];
            record
                .error
                .clone()
                .filter(|_| record.attempts >= most && run.phase == Phase::Forward)
        });
        match last_error {
            Some(error) => vec![found, self.give_up(i, error)],
            None => vec![found],
        }
    }

    /// Returns what follows if nobody can tell.
    fn undecided(&self, i: usize, why: String) -> Event {
        // While unwinding nobody is asked: the undo puts the originals back either way.
        if self.log.look(|run| run.phase == Phase::Unwinding) {
            return Event::GaveUp {
                step: self.id(i),
                error: why,
            };
        }
        match self.plan().steps[i].if_unreachable {
            // The outcome may be unknown and is then owed too.
            IfUnreachable::Owe => Event::Owed {
                step: self.id(i),
                items: self.steps[i].owes(),
                reason: why,
            },
            IfUnreachable::Fail => self.asked(i, About::Doubt, why, Value::Null),
        }
    }
}
