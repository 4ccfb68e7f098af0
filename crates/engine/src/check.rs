//! The step that runs the checks of all steps.

use futures_util::future::join_all;
use serde_json::json;

use crate::attempt::within;
use crate::event::{Event, Sort};
use crate::executor::Driver;
use crate::plan::IfUnreachable;
use crate::step::{Finding, Level, World};

impl<W: World> Driver<'_, W> {
    /// Runs the checks of all steps that are to be taken.
    pub(crate) async fn check_all(&self, i: usize) -> Vec<Event> {
        let run = self.log.state();
        let due = |j: &usize| {
            self.plan().takes(&self.plan().steps[*j]) && !run.steps[*j].state.is_over() && *j != i
        };
        let checks = (0..self.steps.len()).filter(due).map(|j| {
            let run = run.clone();
            async move {
                let cx = self.read_context(j, run);
                match within(
                    self.log.clock(),
                    &self.plan().steps[i],
                    self.steps[j].check(&cx),
                )
                .await
                {
                    Ok(findings) => findings,
                    Err(error) => {
                        let level = match self.plan().steps[j].if_unreachable {
                            IfUnreachable::Fail => Level::Fail,
                            IfUnreachable::Owe => Level::Warn,
                        };
                        let object = format!("step `{}`", self.plan().steps[j].id);
                        vec![Finding {
                            level,
                            object,
                            text: format!("could not be checked: {error}"),
                        }]
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
            return vec![Event::Succeeded {
                step,
                output,
                changes: Vec::new(),
                probed: false,
            }];
        }
        let error = faults.join("; ");
        vec![
            Event::Checkpoint {
                step: step.clone(),
                name: "findings".into(),
                value: output["findings"].clone(),
            },
            Event::AttemptFailed {
                step: step.clone(),
                sort: Sort::Permanent,
                error: error.clone(),
                next_at: self.log.clock().now(),
            },
            Event::GaveUp { step, error },
        ]
    }
}
