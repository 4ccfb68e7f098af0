//! What people say: answers to questions, and commands in the inbox.

use crate::decide::{Effect, effect, event_of};
use crate::event::{About, Event, Outcome};
use crate::executor::{Answer, Driver, Ended, INBOX};
use crate::run::Phase;
use crate::runlog::Lost;
use crate::step::World;

impl<W: World> Driver<'_, W> {
    /// Waits for an answer. Some: the driver leaves without one.
    pub(crate) async fn await_person(&self, i: usize) -> Result<Option<Ended>, Lost> {
        let step = self.id(i);
        let Some(question) = self.log.look(|run| run.steps[i].question.clone()) else {
            return Ok(None);
        };
        let left = Ended::Asking {
            step: step.clone(),
            question: question.clone(),
        };
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

    /// Takes what waits in the inbox. Each command goes into one commit with what it does.
    pub(crate) async fn take_commands(&self) -> Result<(), Lost> {
        let after = self.log.look(|run| run.last_command);
        for sent in self.log.journal().inbox(self.log.id(), after).await? {
            let verdict = match self.log.look(|run| effect(self.plan(), run, &sent.command)) {
                Ok(Effect::UnwindIfWithdrawn(i)) => {
                    self.withdraw(i).await?.map(|()| Effect::Unwind)
                }
                other => other,
            };
            let mut events = vec![Event::CommandTaken {
                id: sent.id,
                by: sent.by.clone(),
                command: sent.command.clone(),
                refused: verdict.as_ref().err().cloned(),
            }];
            match verdict {
                Ok(Effect::Abort) => {
                    events.push(Event::AbortRequested {
                        by: sent.by,
                        undo: false,
                    });
                    self.log.finish(events, Outcome::Aborted).await?;
                }
                Ok(effect) => {
                    events.push(event_of(self.plan(), effect, &sent.by, &sent.command));
                    self.log.append(events).await?;
                }
                Err(_) => self.log.append(events).await?,
            }
        }
        Ok(())
    }

    /// True if a command waits.
    pub(crate) async fn has_mail(&self) -> Result<bool, Lost> {
        let after = self.log.look(|run| run.last_command);
        Ok(!self
            .log
            .journal()
            .inbox(self.log.id(), after)
            .await?
            .is_empty())
    }
}
