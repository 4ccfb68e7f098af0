//! `exec`: one process. An escape hatch.
//!
//! No shell. In doubt a person is asked: the world cannot be probed for it.

use std::process::Stdio;

use async_trait::async_trait;
use runbook_engine::step::{Done, Probe, ReadContext, Step, StepError, WriteContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::fault;
use crate::world::Sites;

/// How much of what a process printed is kept.
const KEPT: usize = 4096;

/// What the operator writes under `do:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Exec {
    /// Program and arguments.
    pub argv: Vec<String>,
}

#[async_trait]
impl Step<Sites> for Exec {
    fn summary(&self) -> String {
        format!(
            "run {}",
            self.argv.first().map_or("nothing", String::as_str)
        )
    }

    async fn probe(&self, _cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        Ok(Probe::NotDone(Vec::new()))
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        (cx.world.before_write)().map_err(StepError::permanent)?;
        let (program, rest) = self
            .argv
            .split_first()
            .ok_or_else(|| fault::wrong("`argv` is empty"))?;
        let plan = cx.plan();
        let ended = tokio::process::Command::new(program)
            .args(rest)
            .env("RUNBOOK_TOKEN", cx.token())
            .env("RUNBOOK_FROM", &plan.from)
            .env("RUNBOOK_TO", &plan.to)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| fault::wrong(format!("`{program}` cannot be run: {error}")))?;
        let said = String::from_utf8_lossy(&ended.stdout);
        if ended.status.success() {
            let kept: String = said.chars().take(KEPT).collect();
            return Ok(Done::Done {
                output: json!({ "stdout": kept }),
                changes: Vec::new(),
            });
        }
        let error = String::from_utf8_lossy(&ended.stderr);
        Err(fault::wrong(format!(
            "`{program}` ended with {}: {}",
            ended.status,
            error.lines().last().unwrap_or_default()
        )))
    }
}
