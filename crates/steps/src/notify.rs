//! `notify`: tell people, by webhook or command.
//!
//! Repeated with the same id when its outcome is unknown: two notices are better than none.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use runbook_engine::step::{Done, Probe, ReadContext, Step, StepError, WriteContext};
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::bindings::Channel;
use crate::fault;
use crate::world::Sites;

/// How long one channel may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What the operator writes under `do:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Notify {
    /// What to say.
    pub message: String,
}

#[async_trait]
impl Step<Sites> for Notify {
    fn summary(&self) -> String {
        format!("tell people: {}", self.message)
    }

    async fn probe(&self, _cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        Ok(Probe::NotDone(Vec::new()))
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        let plan = cx.plan();
        let notice = json!({
            "id": cx.token(),
            "message": self.message,
            "runbook": plan.runbook,
            "topology": plan.topology,
            "mode": plan.mode,
            "from": plan.from,
            "to": plan.to,
            "endpoint": cx.world.bindings.endpoint.name,
        });
        let mut told = Vec::new();
        let mut failed = Vec::new();
        for (name, channel) in &cx.world.bindings.notify {
            let sent = match channel {
                Channel::Webhook { .. } => webhook(cx, name, &notice).await,
                Channel::Command { argv } => command(argv, &notice).await,
            };
            match sent {
                Ok(()) => told.push(name.clone()),
                Err(error) => failed.push(format!("channel `{name}`: {error}")),
            }
        }
        if failed.is_empty() {
            Ok(Done::Done {
                output: json!({ "told": told }),
                changes: Vec::new(),
            })
        } else {
            Err(StepError::transient(failed.join("; ")))
        }
    }
}

async fn webhook(
    cx: &WriteContext<'_, Sites>,
    name: &str,
    notice: &Value,
) -> Result<(), StepError> {
    let url = cx
        .world
        .webhooks
        .get(name)
        .ok_or_else(|| fault::wrong("its address is missing"))?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(LIMIT)
        .build()
        .map_err(StepError::permanent)?;
    // The address may be a secret: an error must not repeat it.
    let answer = client
        .post(url.expose_secret())
        .json(notice)
        .send()
        .await
        .map_err(|error| StepError::transient(error.without_url()))?;
    let status = answer.status();
    if status.is_success() {
        Ok(())
    } else {
        Err(StepError::transient(format!("answered {status}")))
    }
}

async fn command(argv: &[String], notice: &Value) -> Result<(), StepError> {
    let (program, rest) = argv
        .split_first()
        .ok_or_else(|| fault::wrong("its command is empty"))?;
    let mut child = tokio::process::Command::new(program)
        .args(rest)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(StepError::permanent)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read what it is told is its own affair.
        let _ = stdin.write_all(notice.to_string().as_bytes()).await;
    }
    let status = tokio::time::timeout(LIMIT, child.wait())
        .await
        .map_err(|_| StepError::transient("no end after 10s"))?
        .map_err(StepError::transient)?;
    if status.success() {
        Ok(())
    } else {
        Err(StepError::transient(format!("ended with {status}")))
    }
}
