//! `harbor.sync`: run a policy once and wait until it is really over.
//!
//! A started execution is found again by its id above a mark, so an answer that was lost starts nothing twice. Each
//! time that the run goes back over the step it takes a mark of its own besides: what an earlier round found done is
//! what the comparison refused, so it is not believed again.

use std::time::Duration;

use async_trait::async_trait;
use runbook_engine::event::Change;
use runbook_engine::step::{Done, Finding, Probe, ReadContext, Step, StepError, WriteContext};
use runbook_harbor::settle::{Progress, SETTLE, Settle};
use runbook_harbor::{Execution, ExecutionStatus, Ping, Policy, TaskStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bindings::PolicyBinding;
use crate::harbor_silence::busy;
use crate::look::{
    change, enabled, policy, policy_object, policy_words, restore_enabled, sync_binding,
};
use crate::world::Sites;
use crate::{fault, look};

/// Short against the second within which the end of the last task is to be seen.
const POLL: Duration = Duration::from_millis(400);
/// How much of a failed task's log is shown.
const LOG_TAIL: usize = 600;

/// What the operator writes under `do:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HarborSync {
    /// `forward`, `reverse`, `final-sync` or `final-reverse-sync`.
    pub policy: String,
    /// The step whose mark counts: only executions that began after it are believed, and what began before it is
    /// stopped. Left out: a mark of its own, taken first.
    #[serde(default)]
    pub above_mark: Option<String>,
}

#[async_trait]
impl Step<Sites> for HarborSync {
    fn summary(&self) -> String {
        format!("run policy {} once", self.policy)
    }

    async fn check(&self, cx: &ReadContext<'_, Sites>) -> Result<Vec<Finding>, StepError> {
        let bound = sync_binding(cx, &self.policy)?;
        let object = policy_words(&bound.site, &bound.name);
        if self.cannot_be_started(cx) {
            return Ok(vec![Finding::warn(
                object,
                format!(
                    "stands in for a `{0}` policy, and a read-only Harbor cannot start a push: what is pushed between the last copy and the fence shows as missing in the comparison; declare a manual pull policy on the receiving site and name it under `policies: {{ {0}: NAME }}`",
                    self.policy
                ),
            )]);
        }
        let policy = policy(cx, &bound).await?;
        if let Err(error) = runbook_harbor::filter::Filters::from_policy(&policy) {
            return Ok(vec![Finding::fail(
                object,
                format!("every run will fail: {error}"),
            )]);
        }
        let Some(remote) = policy.remote() else {
            return Ok(vec![Finding::fail(object, "neither side is remote")]);
        };
        let reader = look::reader(cx, &bound.site)?;
        // A read-only Harbor refuses the ping as a write, so it proves nothing there.
        let ping = reader.ping_registry(remote.id).await;
        let endpoint = format!("{} endpoint `{}`", bound.site, remote.name);
        Ok(vec![
            match ping {
                Ok(Ping::Ok) => Finding::ok(endpoint, "answers and takes the credentials"),
                Ok(Ping::BadCredentials) => {
                    Finding::fail(endpoint, "refuses the credentials, or is no Harbor")
                }
                Ok(Ping::Unreachable) => Finding::fail(endpoint, "does not answer"),
                Err(error) => Finding::warn(endpoint, format!("could not be pinged: {error}")),
            },
            Finding::ok(object, format!("can be run ({})", enabled(policy.enabled))),
        ])
    }

    async fn probe(&self, cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        if self.cannot_be_started(cx) {
            return Ok(Probe::Done(not_started()));
        }
        let bound = sync_binding(cx, &self.policy)?;
        let policy = policy(cx, &bound).await?;
        let object = policy_words(&bound.site, &bound.name);
        let mut changes = Vec::new();
        if cx.seen(&object, "enabled", enabled(policy.enabled)) == enabled(false) {
            changes.push(change(&object, "enabled", enabled(false), enabled(true)));
        }
        changes.push(change(&object, "executions", "-", "one more"));
        let Some(mark) = self.mark(cx) else {
            return Ok(Probe::NotDone(changes));
        };
        let above = look::reader(cx, &bound.site)?
            .executions_above(policy.id, mark)
            .await
            .map_err(fault::harbor)?;
        let won = above.iter().find(|execution| succeeded(cx, execution));
        Ok(won.map_or(Probe::NotDone(changes), |execution| {
            Probe::Done(output(execution))
        }))
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        let read = cx.read();
        if self.cannot_be_started(&read) {
            return Ok(Done::Done {
                output: not_started(),
                changes: Vec::new(),
            });
        }
        let bound = sync_binding(&read, &self.policy)?;
        let policy = policy(&read, &bound).await?;
        let object = policy_words(&bound.site, &bound.name);
        if self.takes_own_mark(&read) && read.checkpoint("mark").is_none() {
            let highest = look::reader(&read, &bound.site)?
                .highest_execution(policy.id)
                .await
                .map_err(fault::harbor)?;
            cx.save_checkpoint("mark", json!(highest)).await?;
        }
        let mark = self
            .mark(&cx.read())
            .ok_or_else(|| fault::wrong("the step that takes the mark has none"))?;
        let mut changes = Vec::new();
        if let Some(fence) = self.fence_mark(&read) {
            self.stop_older(cx, &bound, fence, &mut changes).await?;
        }
        // A way back from a later step finds the policy disabled.
        if !policy.enabled {
            cx.save_original(
                &bound.site,
                &policy_object(&bound.name),
                policy.document.clone(),
            )
            .await?;
            look::writer(cx, &bound.site)?
                .set_policy_enabled(policy.id, true)
                .await
                .map_err(fault::harbor)?;
            changes.push(change(&object, "enabled", enabled(false), enabled(true)));
        }
        let execution = self.follow(cx, &bound, &policy, mark).await?;
        changes.push(change(&object, "executions", "-", "one more"));
        Ok(Done::Done {
            output: output(&execution),
            changes,
        })
    }

    async fn undo(&self, cx: &WriteContext<'_, Sites>) -> Result<Vec<Change>, StepError> {
        if self.cannot_be_started(&cx.read()) {
            return Ok(Vec::new());
        }
        let bound = sync_binding(&cx.read(), &self.policy)?;
        // What it copied needs no undoing; that it enabled the policy does.
        let policy = policy(&cx.read(), &bound).await?;
        let writer = look::writer(cx, &bound.site)?;
        let running = busy(
            writer.reader(),
            std::slice::from_ref(&policy),
            |at| cx.clock().since(at),
            &[],
        )
        .await?;
        for (_, execution) in running
            .iter()
            .filter(|(_, execution)| execution.id > self.mark(&cx.read()).unwrap_or(i64::MAX))
        {
            writer
                .stop_execution(execution.id)
                .await
                .map_err(fault::harbor)?;
        }
        Ok(restore_enabled(cx, &bound.site, &bound.name)
            .await?
            .into_iter()
            .collect())
    }
}

impl HarborSync {
    /// True in a push pair without a pull policy for this: once the source is fenced, nothing can copy from it.
    fn cannot_be_started(&self, cx: &ReadContext<'_, Sites>) -> bool {
        self.above_mark.is_some() && cx.world.bindings.policy(&self.policy).is_none()
    }

    /// Without a fence's mark, and on each way back.
    fn takes_own_mark(&self, cx: &ReadContext<'_, Sites>) -> bool {
        self.above_mark.is_none() || cx.run.steps[cx.position].generation > 0
    }

    fn fence_mark(&self, cx: &ReadContext<'_, Sites>) -> Option<i64> {
        let step = self.above_mark.as_ref()?;
        cx.output(step)["mark"].as_i64()
    }

    /// Returns the id above which an execution is believed, if it is known yet.
    fn mark(&self, cx: &ReadContext<'_, Sites>) -> Option<i64> {
        let own = cx.checkpoint("mark").and_then(Value::as_i64);
        if self.takes_own_mark(cx) {
            return own.map(|own| own.max(self.fence_mark(cx).unwrap_or(0)));
        }
        self.fence_mark(cx)
    }

    /// What began at or below the mark listed its source before the fence and misses later pushes. It is stopped,
    /// never adopted, and it must be over, or it would write next to the final sync.
    async fn stop_older(
        &self,
        cx: &WriteContext<'_, Sites>,
        bound: &PolicyBinding,
        mark: i64,
        changes: &mut Vec<Change>,
    ) -> Result<(), StepError> {
        let writer = look::writer(cx, &bound.site)?;
        let mut policies: Vec<Policy> = writer.reader().policies().await.map_err(fault::harbor)?;
        policies.retain(Policy::is_pull);
        let mut stopped: Vec<i64> = cx
            .read()
            .checkpoint("stopped")
            .and_then(|ids| serde_json::from_value(ids.clone()).ok())
            .unwrap_or_default();
        loop {
            let mut older = busy(
                writer.reader(),
                &policies,
                |at| cx.clock().since(at),
                &stopped,
            )
            .await?;
            older.retain(|(_, execution)| execution.id <= mark);
            if older.is_empty() {
                break;
            }
            for (name, execution) in &older {
                cx.tell(&format!(
                    "stopping execution {}, which began before the fence",
                    execution.id
                ));
                writer
                    .stop_execution(execution.id)
                    .await
                    .map_err(fault::harbor)?;
                let object = format!(
                    "{} execution {}",
                    policy_words(&bound.site, name),
                    execution.id
                );
                changes.push(change(object, "status", "InProgress", "Stopped"));
                stopped.push(execution.id);
            }
            cx.save_checkpoint("stopped", json!(stopped)).await?;
            let until = cx
                .clock()
                .after(crate::harbor_silence::HarborSilence::settle_span());
            cx.save_checkpoint("settle-until", json!(until)).await?;
            cx.sleep(POLL).await?;
        }
        let until = cx
            .read()
            .checkpoint("settle-until")
            .and_then(|at| serde_json::from_value(at.clone()).ok());
        match until {
            Some(until) => cx.sleep_until(until).await,
            None => Ok(()),
        }
    }

    /// Follows an execution above the mark to its end, starting one if there is none to follow.
    async fn follow(
        &self,
        cx: &WriteContext<'_, Sites>,
        bound: &PolicyBinding,
        policy: &Policy,
        mark: i64,
    ) -> Result<Execution, StepError> {
        let writer = look::writer(cx, &bound.site)?;
        let reader = writer.reader();
        let above = reader
            .executions_above(policy.id, mark)
            .await
            .map_err(fault::harbor)?;
        if let Some(done) = above
            .iter()
            .find(|execution| succeeded(&cx.read(), execution))
        {
            return Ok(done.clone());
        }
        let under_way = above
            .iter()
            .find(|execution| is_under_way(&cx.read(), execution));
        let id = match under_way {
            Some(execution) => execution.id,
            None => writer
                .start_execution(policy.id)
                .await
                .map_err(fault::harbor)?,
        };
        let mut settle = Settle::new(cx.clock().real(SETTLE));
        loop {
            let execution = reader.execution(id).await.map_err(fault::harbor)?;
            match settle.observe(cx.now(), &execution) {
                Progress::Succeeded | Progress::SucceededNothing => return Ok(execution),
                Progress::Running => cx.tell(&format!(
                    "execution {id}: {} of {} repositories",
                    execution.succeed, execution.total
                )),
                Progress::Settling { .. } => cx.tell(&format!(
                    "execution {id} failed for {} repositories; Harbor may try them again",
                    execution.failed
                )),
                Progress::Failed { reason } => {
                    let log = self.failed_log(cx, bound, id).await;
                    return Err(StepError::transient(format!(
                        "execution {id} of policy `{}` failed: {reason}{log}",
                        bound.name
                    )));
                }
                Progress::Stopped => {
                    return Err(StepError::transient(format!(
                        "execution {id} of policy `{}` was stopped by somebody",
                        bound.name
                    )));
                }
            }
            cx.sleep(POLL).await?;
        }
    }

    /// The reason of a failed task stands in its log alone.
    async fn failed_log(
        &self,
        cx: &WriteContext<'_, Sites>,
        bound: &PolicyBinding,
        id: i64,
    ) -> String {
        let Ok(writer) = look::writer(cx, &bound.site) else {
            return String::new();
        };
        let Ok(tasks) = writer.reader().tasks(id).await else {
            return String::new();
        };
        let Some(task) = tasks.iter().find(|task| task.status == TaskStatus::Failed) else {
            return String::new();
        };
        match writer.reader().task_log_tail(id, task.id, LOG_TAIL).await {
            Ok(log) => format!(
                "; {}: {}",
                task.src_resource,
                log.lines().last().unwrap_or_default()
            ),
            Err(_) => format!("; {}", task.src_resource),
        }
    }
}

/// What one reading says. Counters first: the status lags up to 30 s behind its tasks.
fn observe_once(cx: &ReadContext<'_, Sites>, execution: &Execution) -> Progress {
    let mut settle = Settle::new(cx.clock.real(SETTLE));
    settle.observe(cx.clock.now(), execution)
}

/// Whether an execution that was found may still copy by itself. One that was stopped does not; one that failed is
/// tried again by Harbor for as long as it settles, counted from its end.
fn is_under_way(cx: &ReadContext<'_, Sites>, execution: &Execution) -> bool {
    match observe_once(cx, execution) {
        Progress::Running => execution.status != ExecutionStatus::Stopped,
        Progress::Settling { .. } => execution
            .end_time
            .is_none_or(|ended| cx.clock.since(ended) < SETTLE),
        _ => false,
    }
}

fn succeeded(cx: &ReadContext<'_, Sites>, execution: &Execution) -> bool {
    matches!(
        observe_once(cx, execution),
        Progress::Succeeded | Progress::SucceededNothing
    )
}

fn not_started() -> Value {
    json!({ "execution": null, "note": "no pull policy is declared: the comparison decides" })
}

fn output(execution: &Execution) -> Value {
    json!({
        "execution": execution.id,
        "started_at": execution.start_time,
        "repositories": execution.total,
        "copied_nothing": execution.total == 0,
    })
}
