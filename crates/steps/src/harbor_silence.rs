//! `harbor.silence`: disable the policies of a site that move content, stop their executions, and wait until nothing
//! changes.
//!
//! Harbor runs a failed task up to three times, for some three minutes; disabling the policy does not prevent it, a stop
//! does. A stop says `Stopped` at once while the layer under way goes on for as long as it takes; it then writes no
//! tag (seen on v2.9.5).

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use runbook_engine::event::{Change, Owed};
use runbook_engine::step::{Done, Finding, Probe, ReadContext, Step, StepError, WriteContext};
use runbook_harbor::{ErrorKind, Execution, ExecutionStatus, Policy, Reader};
use runbook_replication::same_address;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::look::{change, enabled, policy_object, policy_words, restore_enabled};
use crate::span::Span;
use crate::world::{Sites, SitesReader};
use crate::{fault, look};

/// Harbor tries a failed task again for about three minutes; two more are the margin.
const RETRIES_FOR: Duration = Duration::from_secs(300);
/// How many of a policy's newest executions can still matter.
const NEWEST: usize = 20;
/// The checkpoint that holds the policies towards others than the pair.
const RE_HOME: &str = "re-home";
const POLL: Duration = Duration::from_millis(500);

/// What the operator writes under `do:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HarborSilence {
    /// `active`, `standby` or the name of a site.
    pub site: String,
    /// Which policies.
    #[serde(default)]
    pub moves: Moves,
    /// How long a stopped copy may take to be over.
    #[serde(default = "settle")]
    pub settle: Span,
    /// Only look: fail if it is not so.
    #[serde(default)]
    pub verify: bool,
    /// Lift the read-only flag first if there is something to silence. Only while the site's credentials are cut at
    /// the receiver: a refused scheduled run fires 1 to 6 s after the lift (seen on v2.9.5).
    #[serde(default)]
    pub lift: bool,
}

/// Which policies of a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Moves {
    /// Into it and out of it.
    #[default]
    All,
    /// Into it: the pulls.
    Into,
}

fn settle() -> Span {
    Span(Duration::from_secs(10))
}

#[async_trait]
impl Step<Sites> for HarborSilence {
    fn summary(&self) -> String {
        match (self.verify, self.moves) {
            (true, _) => format!("{} is silent", self.site),
            (false, Moves::All) => format!("silence {}", self.site),
            (false, Moves::Into) => format!("silence what pulls into {}", self.site),
        }
    }

    async fn check(&self, cx: &ReadContext<'_, Sites>) -> Result<Vec<Finding>, StepError> {
        let site = cx.world.bindings.site(&self.site);
        if !self.verify {
            let policies = match self.policies(look::reader(cx, &self.site)?).await {
                Ok(policies) if self.moves == Moves::All => policies,
                Ok(_) => return Ok(Vec::new()),
                // Whether it answers at all is for `harbor.health` to say.
                Err(error) if error.unreachable => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let elsewhere = towards_others(cx.world, site, &policies)?;
            return Ok(elsewhere
                .iter()
                .map(|one| {
                    let object = policy_words(site, &one.policy);
                    let text = format!(
                        "replicates with `{}` ({}), which is not of the pair: it is silenced with the others and has to be set up at the site that serves then",
                        one.with, one.url
                    );
                    Finding::warn(object, text)
                })
                .collect());
        }
        Ok(match self.probe(cx).await? {
            Probe::NotDone(changes) if !changes.is_empty() => changes
                .iter()
                .map(|c| {
                    Finding::fail(
                        c.object.clone(),
                        format!("{} is {}; it must be {}", c.field, c.before, c.after),
                    )
                })
                .collect(),
            _ => vec![Finding::ok(
                site,
                "silent: no policy enabled, nothing running",
            )],
        })
    }

    async fn probe(&self, cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        let site = cx.world.bindings.site(&self.site);
        let reader = look::reader(cx, &self.site)?;
        let policies = self.policies(reader).await?;
        let mut changes = Vec::new();
        for policy in &policies {
            let object = policy_words(site, &policy.name);
            if cx.seen(&object, "enabled", enabled(policy.enabled)) == enabled(true) {
                changes.push(change(object, "enabled", enabled(true), enabled(false)));
            }
        }
        let stopped = stopped(cx);
        for (policy, execution) in
            busy(reader, &policies, |at| cx.clock.since(at), &stopped).await?
        {
            let object = format!("{} execution {}", policy_words(site, &policy), execution.id);
            changes.push(change(object, "status", status(&execution), "Stopped"));
        }
        let settling = settle_until(cx).is_some_and(|until| until > cx.clock.now());
        Ok(if changes.is_empty() && !settling {
            Probe::Done(self.output(cx))
        } else {
            Probe::NotDone(changes)
        })
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        let read = cx.read();
        let site = read.world.bindings.site(&self.site).to_owned();
        if self.verify {
            return match self.probe(&read).await? {
                Probe::NotDone(changes) => {
                    let what = changes.first().map_or_else(String::new, |c| {
                        format!(": {} {} is {}", c.object, c.field, c.before)
                    });
                    Err(fault::wrong(format!("site `{site}` is not silent{what}")))
                }
                _ => Ok(Done::plain()),
            };
        }
        let writer = look::writer(cx, &self.site)?;
        let mut changes = Vec::new();
        if self.lift
            && matches!(self.probe(&read).await?, Probe::NotDone(found) if !found.is_empty())
        {
            self.lift_flag(cx, &site, &mut changes).await?;
        }
        let policies = self.policies(writer.reader()).await?;
        self.keep_elsewhere(cx, &site, &policies).await?;
        for policy in policies.into_iter().filter(|policy| policy.enabled) {
            cx.save_original(&site, &policy_object(&policy.name), policy.document.clone())
                .await?;
            match writer.set_policy_enabled(policy.id, false).await {
                Ok(_) => changes.push(change(
                    policy_words(&site, &policy.name),
                    "enabled",
                    enabled(true),
                    enabled(false),
                )),
                // The flag was set by another hand: what is on under it waits for the day it is lifted.
                Err(error) if error.kind() == ErrorKind::ReadOnly => {
                    return Err(fault::wrong(format!(
                        "site `{site}` is read-only and its policy `{}` is enabled: read-only refuses to disable it; lift the flag (`runbook run settle` does, once the credentials are cut), then resume",
                        policy.name
                    )));
                }
                Err(error) => return Err(fault::harbor(error)),
            }
        }
        self.stop_all(cx, &site, &mut changes).await?;
        let output = self.output(&cx.read());
        Ok(Done::Done { output, changes })
    }

    async fn undo(&self, cx: &WriteContext<'_, Sites>) -> Result<Vec<Change>, StepError> {
        if self.verify {
            return Ok(Vec::new());
        }
        let site = cx.world.bindings.site(&self.site).to_owned();
        let mut changes = Vec::new();
        for policy in self
            .policies(look::writer(cx, &self.site)?.reader())
            .await?
        {
            changes.extend(restore_enabled(cx, &site, &policy.name).await?);
        }
        Ok(changes)
    }

    fn owes(&self) -> Vec<Owed> {
        vec![Owed {
            site: self.site.clone(),
            what: "silence".into(),
        }]
    }
}

impl HarborSilence {
    /// How long a stopped copy may take to be over, where nothing else is said.
    pub(crate) fn settle_span() -> Duration {
        settle().0
    }

    async fn policies(&self, reader: &Reader) -> Result<Vec<Policy>, StepError> {
        let mut policies = reader.policies().await.map_err(fault::harbor)?;
        policies.retain(|policy| self.moves == Moves::All || policy.is_pull());
        Ok(policies)
    }

    /// Keeps which of the policies to be disabled go to others than the pair, before the first is disabled: later
    /// nobody can tell.
    async fn keep_elsewhere(
        &self,
        cx: &WriteContext<'_, Sites>,
        site: &str,
        policies: &[Policy],
    ) -> Result<(), StepError> {
        let read = cx.read();
        let elsewhere = towards_others(read.world, site, policies)?;
        if elsewhere.is_empty() || read.checkpoint(RE_HOME).is_some() {
            return Ok(());
        }
        cx.save_checkpoint(RE_HOME, json!(elsewhere)).await
    }

    /// What is to be set up again at the site that serves next, for the report.
    fn output(&self, cx: &ReadContext<'_, Sites>) -> Value {
        cx.checkpoint(RE_HOME)
            .map_or(Value::Null, |elsewhere| json!({ "re_home": elsewhere }))
    }

    async fn lift_flag(
        &self,
        cx: &WriteContext<'_, Sites>,
        site: &str,
        changes: &mut Vec<Change>,
    ) -> Result<(), StepError> {
        let writer = look::writer(cx, &self.site)?;
        if writer.reader().read_only().await.map_err(fault::harbor)? {
            cx.save_original(site, look::FLAG, json!(true)).await?;
            writer.set_read_only(false).await.map_err(fault::harbor)?;
            changes.push(change(site, look::FLAG, true, false));
        }
        Ok(())
    }

    async fn stop_all(
        &self,
        cx: &WriteContext<'_, Sites>,
        site: &str,
        changes: &mut Vec<Change>,
    ) -> Result<(), StepError> {
        let writer = look::writer(cx, &self.site)?;
        let policies = self.policies(writer.reader()).await?;
        loop {
            let mut done = stopped(&cx.read());
            let busy = busy(writer.reader(), &policies, |at| cx.clock().since(at), &done).await?;
            if busy.is_empty() {
                break;
            }
            let mut copies = false;
            for (policy, execution) in busy {
                cx.tell(&format!(
                    "stopping execution {} of policy `{policy}`",
                    execution.id
                ));
                writer
                    .stop_execution(execution.id)
                    .await
                    .map_err(fault::harbor)?;
                let object = format!("{} execution {}", policy_words(site, &policy), execution.id);
                changes.push(change(object, "status", status(&execution), "Stopped"));
                copies |= execution.in_progress > 0 || execution.total == 0;
                done.push(execution.id);
            }
            cx.save_checkpoint("stopped", json!(done)).await?;
            if copies {
                cx.save_checkpoint("settle-until", json!(cx.clock().after(self.settle.0)))
                    .await?;
            }
            cx.sleep(POLL).await?;
        }
        if let Some(until) = settle_until(&cx.read()).filter(|until| *until > cx.now()) {
            cx.tell("waiting for a stopped copy to be over");
            cx.sleep_until(until).await?;
        }
        Ok(())
    }
}

/// A policy that moves content between the site and another one than its pair's.
#[derive(Debug, Serialize)]
struct Elsewhere {
    policy: String,
    with: String,
    url: String,
}

/// Returns the enabled policies that go to others than the pair.
fn towards_others(
    world: &SitesReader,
    site: &str,
    policies: &[Policy],
) -> Result<Vec<Elsewhere>, StepError> {
    let other = world.bindings.other(site);
    let url = world
        .harbor(other)
        .ok_or_else(|| fault::wrong(format!("the plan has no site `{other}`")))?
        .url()
        .as_str();
    let enabled = policies.iter().filter(|policy| policy.enabled);
    Ok(enabled
        .filter_map(|policy| Some((policy, policy.remote()?)))
        .filter(|(_, remote)| !same_address(&remote.url, url))
        .map(|(policy, remote)| Elsewhere {
            policy: policy.name.clone(),
            with: remote.name.clone(),
            url: remote.url.clone(),
        })
        .collect())
}

fn stopped(cx: &ReadContext<'_, Sites>) -> Vec<i64> {
    cx.checkpoint("stopped")
        .and_then(|ids| serde_json::from_value(ids.clone()).ok())
        .unwrap_or_default()
}

fn settle_until(cx: &ReadContext<'_, Sites>) -> Option<Timestamp> {
    cx.checkpoint("settle-until")
        .and_then(|at| serde_json::from_value(at.clone()).ok())
}

/// Returns the executions that can still write: those in progress, and failed ones that Harbor may try again.
pub(crate) async fn busy(
    reader: &Reader,
    policies: &[Policy],
    since: impl Fn(Timestamp) -> Duration,
    stopped: &[i64],
) -> Result<Vec<(String, Execution)>, StepError> {
    let lists = policies.iter().map(|policy| async {
        let newest = reader.executions(policy.id, NEWEST).await?;
        Ok::<_, runbook_harbor::Error>((policy.name.clone(), newest))
    });
    let mut busy = Vec::new();
    for (name, executions) in try_join_all(lists).await.map_err(fault::harbor)? {
        for execution in executions {
            let ended = execution.end_time.or(execution.start_time);
            let pending = execution.status == ExecutionStatus::Failed
                && execution.total > 0
                && !stopped.contains(&execution.id)
                && ended.is_none_or(|at| since(at) < RETRIES_FOR);
            let running = execution.in_progress > 0
                || execution.status == ExecutionStatus::InProgress
                    && execution.succeed < execution.total.max(1);
            if running || pending {
                busy.push((name.clone(), execution));
            }
        }
    }
    Ok(busy)
}

fn status(execution: &Execution) -> String {
    if execution.status == ExecutionStatus::Failed && execution.in_progress == 0 {
        "Failed, may be tried again".into()
    } else {
        "InProgress".into()
    }
}
