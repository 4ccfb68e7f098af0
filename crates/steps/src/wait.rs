//! `wait`: let time pass: a span, or until the last cache has let go of the record.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use runbook_engine::step::{Done, Probe, ReadContext, Step, StepError, WriteContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::span::Span;
use crate::world::Sites;

/// What the operator writes under `do:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// A span.
    For(Span),
    /// The TTL that the record had when this step moved it: a cache may have taken the old value right before.
    TtlOf(String),
}

#[async_trait]
impl Step<Sites> for Wait {
    fn summary(&self) -> String {
        match self {
            Wait::For(span) => format!("wait {} s", span.0.as_secs_f64()),
            Wait::TtlOf(_) => "wait until no cache holds the old record".into(),
        }
    }

    async fn probe(&self, cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        let over = until(cx).is_some_and(|until| until <= cx.clock.now());
        Ok(if over {
            Probe::Done(Value::Null)
        } else {
            Probe::NotDone(Vec::new())
        })
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        if until(&cx.read()).is_none() {
            let (from, span) = self.span(&cx.read());
            let real = cx.clock().real(span);
            let until = from
                .checked_add(jiff::SignedDuration::try_from(real).unwrap_or_default())
                .unwrap_or(from);
            cx.save_checkpoint("until", json!(until)).await?;
        }
        if let Some(until) = until(&cx.read()).filter(|until| *until > cx.now()) {
            cx.tell("waiting until no cache holds the old record");
            cx.sleep_until(until).await?;
        }
        Ok(Done::plain())
    }
}

impl Wait {
    fn span(&self, cx: &ReadContext<'_, Sites>) -> (Timestamp, Duration) {
        match self {
            Wait::For(span) => (cx.clock.now(), span.0),
            Wait::TtlOf(step) => {
                let record = cx.run.step(step);
                let moved_at = record
                    .and_then(|record| record.ended_at)
                    .unwrap_or_else(|| cx.clock.now());
                let ttl = record
                    .and_then(|record| record.output["ttl"].as_u64())
                    .unwrap_or(0);
                (moved_at, Duration::from_secs(ttl))
            }
        }
    }
}

fn until(cx: &ReadContext<'_, Sites>) -> Option<Timestamp> {
    cx.checkpoint("until")
        .and_then(|at| serde_json::from_value(at.clone()).ok())
}
