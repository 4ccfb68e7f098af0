//! `approval`: a person says yes before writes stop, so that nobody's sleep extends the outage.

use async_trait::async_trait;
use runbook_engine::event::About;
use runbook_engine::plan::Mode;
use runbook_engine::step::{Done, Probe, ReadContext, Step, StepError, WriteContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::world::Sites;

/// What the operator writes under `do:`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Approval {
    /// Said before the rest of the question.
    #[serde(default)]
    pub text: Option<String>,
}

#[async_trait]
impl Step<Sites> for Approval {
    fn summary(&self) -> String {
        "approval".into()
    }

    async fn probe(&self, cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        // It holds once it was given; going back asks again.
        let given = cx.run.steps[cx.position].state == runbook_engine::state::StepState::Succeeded;
        Ok(if given {
            Probe::Done(Value::Null)
        } else {
            Probe::NotDone(Vec::new())
        })
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        let read = cx.read();
        let plan = read.plan;
        let mut lines = Vec::new();
        lines.extend(self.text.clone());
        let moves = if plan.from == plan.to {
            format!("on `{}`", plan.to)
        } else {
            format!("from `{}` to `{}`", plan.from, plan.to)
        };
        lines.push(format!(
            "{} {} {moves}, topology `{}`",
            plan.mode, plan.runbook, plan.topology
        ));
        for record in &read.run.steps {
            lines.extend(found(&record.id, &record.output));
        }
        if plan.mode == Mode::Unplanned {
            lines.push(
                "unplanned: what the active took after its last inventory may be lost".into(),
            );
        }
        Ok(Done::Ask {
            about: About::Approval,
            question: lines.join("\n"),
            output: Value::Null,
        })
    }
}

/// What an earlier step found that bears on the consent.
fn found(step: &str, output: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    if let Some(verdict) = output["verdict"].as_str() {
        let parts: Vec<String> = list(&output["what"]).iter().map(text).collect();
        let parts = if parts.is_empty() {
            String::new()
        } else {
            format!(" ({})", parts.join(", "))
        };
        lines.push(format!(
            "verdict on `{}`: {verdict}{parts}",
            text(&output["site"])
        ));
        lines.extend(
            list(&output["evidence"])
                .iter()
                .map(|said| format!("  {}", text(said))),
        );
    }
    if let Some(counts) = output["counts"].as_object() {
        let counts: Vec<String> = counts
            .iter()
            .map(|(class, count)| format!("{count} {class}"))
            .collect();
        lines.push(format!("{step}: {}", counts.join(", ")));
    }
    for finding in list(&output["findings"])
        .iter()
        .filter(|finding| finding["level"] == "warn")
    {
        lines.push(format!(
            "WARN {}: {}",
            text(&finding["object"]),
            text(&finding["text"])
        ));
    }
    lines
}
