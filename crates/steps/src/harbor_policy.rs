//! `harbor.policy`: turn a policy of the pair on or off, see that it is as it should be, or put all policies and robots
//! back to what they were before the last failover.
//!
//! A PUT replaces the whole policy (seen on v2.9.5), so the document is read, changed, written and read back.

use async_trait::async_trait;
use runbook_engine::event::Change;
use runbook_engine::step::{Done, Finding, Probe, ReadContext, Step, StepError, WriteContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::look::{binding, change, enabled, policy, policy_object, policy_words, restore_enabled};
use crate::world::Sites;
use crate::{fault, look, restore};

/// What the operator writes under `do:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum HarborPolicy {
    /// Turn it on.
    Enable(Which),
    /// Turn it off.
    Disable(Which),
    /// Only look: fail if it is missing or not so.
    Verify(State),
    /// Put every policy and robot back to its original of the run that moved the clients.
    Restore(Restore),
}

/// A policy of the pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Which {
    /// `forward`, `reverse`, `final-sync` or `final-reverse-sync`.
    pub policy: String,
}

/// How a policy should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct State {
    /// `forward`, `reverse`, `final-sync` or `final-reverse-sync`.
    pub policy: String,
    /// Whether it should be on.
    pub enabled: bool,
}

/// Nothing to choose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Restore {}

#[async_trait]
impl Step<Sites> for HarborPolicy {
    fn summary(&self) -> String {
        match self {
            HarborPolicy::Enable(which) => format!("enable policy {}", which.policy),
            HarborPolicy::Disable(which) => format!("disable policy {}", which.policy),
            HarborPolicy::Verify(state) => format!(
                "policy {} exists and is {}",
                state.policy,
                enabled(state.enabled)
            ),
            HarborPolicy::Restore(_) => "restore the policies and robots".into(),
        }
    }

    async fn check(&self, cx: &ReadContext<'_, Sites>) -> Result<Vec<Finding>, StepError> {
        match self {
            HarborPolicy::Verify(state) => {
                let bound = binding(cx, &state.policy)?;
                let object = policy_words(&bound.site, &bound.name);
                Ok(vec![match policy(cx, &bound).await {
                    Ok(policy) if policy.enabled == state.enabled => {
                        Finding::ok(object, enabled(policy.enabled))
                    }
                    Ok(policy) => Finding::fail(
                        object,
                        format!(
                            "is {}; it must be {}",
                            enabled(policy.enabled),
                            enabled(state.enabled)
                        ),
                    ),
                    Err(error) if error.unreachable => return Err(error),
                    Err(error) => Finding::fail(object, error.to_string()),
                }])
            }
            HarborPolicy::Restore(_) => restore::check(cx).await,
            _ => Ok(Vec::new()),
        }
    }

    async fn probe(&self, cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        let changes = match self {
            HarborPolicy::Enable(which) => self.toggle(cx, &which.policy, true).await?,
            HarborPolicy::Disable(which) => self.toggle(cx, &which.policy, false).await?,
            HarborPolicy::Verify(state) => self.toggle(cx, &state.policy, state.enabled).await?,
            HarborPolicy::Restore(_) => restore::changes(cx).await?,
        };
        Ok(if changes.is_empty() {
            Probe::Done(Value::Null)
        } else {
            Probe::NotDone(changes)
        })
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        let read = cx.read();
        match self {
            HarborPolicy::Enable(which) => self.set(cx, &which.policy, true).await,
            HarborPolicy::Disable(which) => self.set(cx, &which.policy, false).await,
            HarborPolicy::Verify(_) => match self.probe(&read).await? {
                Probe::NotDone(changes) => {
                    let seen = changes.first().map_or_else(String::new, |c| {
                        format!("{} is {}; it must be {}", c.object, c.before, c.after)
                    });
                    Err(fault::wrong(seen))
                }
                _ => Ok(Done::plain()),
            },
            HarborPolicy::Restore(_) => Ok(Done::changed(restore::run(cx).await?)),
        }
    }

    async fn undo(&self, cx: &WriteContext<'_, Sites>) -> Result<Vec<Change>, StepError> {
        let word = match self {
            HarborPolicy::Enable(which) | HarborPolicy::Disable(which) => &which.policy,
            // Looks only; and what is restored lies behind the cutover.
            HarborPolicy::Verify(_) | HarborPolicy::Restore(_) => return Ok(Vec::new()),
        };
        let bound = binding(&cx.read(), word)?;
        Ok(restore_enabled(cx, &bound.site, &bound.name)
            .await?
            .into_iter()
            .collect())
    }
}

impl HarborPolicy {
    async fn toggle(
        &self,
        cx: &ReadContext<'_, Sites>,
        word: &str,
        on: bool,
    ) -> Result<Vec<Change>, StepError> {
        let bound = binding(cx, word)?;
        let policy = policy(cx, &bound).await?;
        let object = policy_words(&bound.site, &bound.name);
        let seen = cx.seen(&object, "enabled", enabled(policy.enabled));
        Ok(if seen == enabled(on) {
            Vec::new()
        } else {
            vec![change(object, "enabled", seen, enabled(on))]
        })
    }

    async fn set(
        &self,
        cx: &WriteContext<'_, Sites>,
        word: &str,
        on: bool,
    ) -> Result<Done, StepError> {
        let read = cx.read();
        let changes = self.toggle(&read, word, on).await?;
        if changes.is_empty() {
            return Ok(Done::plain());
        }
        let bound = binding(&read, word)?;
        let policy = policy(&read, &bound).await?;
        cx.save_original(
            &bound.site,
            &policy_object(&bound.name),
            policy.document.clone(),
        )
        .await?;
        look::writer(cx, &bound.site)?
            .set_policy_enabled(policy.id, on)
            .await
            .map_err(fault::harbor)?;
        Ok(Done::changed(changes))
    }
}
