//! The way back: steps are undone in reverse order, up to the cutover and never across it.

use crate::attempt::within;
use crate::event::{Event, Sort};
use crate::executor::Driver;
use crate::runlog::Lost;
use crate::step::World;
use crate::stop::stop;

impl<W: World> Driver<'_, W> {
    /// Puts the originals of a step back.
    pub(crate) async fn undo(&self, i: usize) -> Result<(), Lost> {
        let (planned, step) = (&self.plan().steps[i], self.id(i));
        self.log
            .append(vec![Event::UndoStarted { step: step.clone() }])
            .await?;
        let mut tries = 0;
        let event = loop {
            tries += 1;
            let (_caller, called) = stop();
            let cx = self.write_context(i, called);
            // A crash here leaves a started undo: it is called again, once its request can no longer arrive.
            let error = match within(self.log.clock(), planned, self.steps[i].undo(&cx)).await {
                Ok(changes) => break Event::UndoFinished { step, changes },
                Err(error) => self.unless_lost(error)?,
            };
            if error.sort == Sort::Permanent || tries >= planned.retry.attempts {
                break Event::UndoFailed {
                    step,
                    error: error.chain(),
                };
            }
            // An undo puts originals back and may be called twice, so an unknown outcome is simply waited out.
            let wait = if error.sort == Sort::Unknown {
                self.plan().request_timeout
            } else {
                planned.retry.wait_after(tries)
            };
            self.wait(i, &error.chain(), self.log.clock().after(wait))
                .await;
            if self.stop.by().is_some() {
                return Ok(());
            }
        };
        self.log.append(vec![event]).await
    }

    /// Makes the cutover that was begun impossible and proves that it moved nothing, or says why the way back is
    /// closed.
    pub(crate) async fn withdraw(&self, i: usize) -> Result<Result<(), String>, Lost> {
        let over = self
            .log
            .look(|run| run.steps[i].next_at.max(run.requests_over_at));
        if let Some(over) = over {
            // Judged too early, a request under way counts as not done and lands after the undo.
            self.log.clock().sleep_until(over).await;
        }
        let (_caller, called) = stop();
        let cx = self.write_context(i, called);
        let withdrawn = within(
            self.log.clock(),
            &self.plan().steps[i],
            self.steps[i].withdraw(&cx),
        )
        .await;
        let Err(error) = withdrawn else {
            return Ok(Ok(()));
        };
        let error = self.unless_lost(error)?;
        Ok(Err(match error.sort {
            Sort::Permanent => format!(
                "step `{}` may have moved the clients: {error}; run failback instead",
                self.id(i)
            ),
            Sort::Transient | Sort::Unknown => {
                format!(
                    "whether step `{}` has moved the clients cannot be told now: {error}; try again",
                    self.id(i)
                )
            }
        }))
    }
}
