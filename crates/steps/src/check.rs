//! `check`: the checks of all steps, before anything is asked or changed. The engine runs them; only it sees all steps.

use async_trait::async_trait;
use runbook_engine::step::{Done, Probe, ReadContext, Step, StepError, WriteContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::world::Sites;

/// What the operator writes under `do:`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Check {}

#[async_trait]
impl Step<Sites> for Check {
    fn summary(&self) -> String {
        "check everything, changing nothing".into()
    }

    async fn probe(&self, _cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        Ok(Probe::NotDone(Vec::new()))
    }

    async fn run(&self, _cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        Ok(Done::plain())
    }
}
