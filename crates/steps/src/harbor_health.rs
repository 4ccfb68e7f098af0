//! `harbor.health`: is a site fit for what the run wants of it?

use std::time::Duration;

use async_trait::async_trait;
use runbook_engine::step::{
    Done, Finding, Level, Probe, ReadContext, Step, StepError, WriteContext,
};
use runbook_harbor::{ErrorKind, Identity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::verdict::verdict;
use crate::world::Sites;
use crate::{fault, look};

/// A signature is refused beyond five minutes; schedules of Harbor suffer from less.
const SKEW_WARN: Duration = Duration::from_secs(5);
const SKEW_FAIL: Duration = Duration::from_secs(240);

/// What the operator writes under `do:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HarborHealth {
    /// `active`, `standby` or the name of a site.
    pub site: String,
    /// What is wanted of it.
    #[serde(default)]
    pub want: Want,
}

/// What is wanted of a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// Healthy by every component, with an administrator's credentials.
    #[default]
    Healthy,
    /// Healthy, and open for writes.
    Writable,
    /// Only a verdict: it may be dead.
    Verdict,
}

#[async_trait]
impl Step<Sites> for HarborHealth {
    fn summary(&self) -> String {
        match self.want {
            Want::Healthy => format!("{} is healthy", self.site),
            Want::Writable => format!("{} is healthy and writable", self.site),
            Want::Verdict => format!("judge {}", self.site),
        }
    }

    async fn check(&self, cx: &ReadContext<'_, Sites>) -> Result<Vec<Finding>, StepError> {
        if self.want == Want::Verdict {
            let judged = verdict(cx.world, &self.site).await;
            return Ok(vec![Finding::warn(
                judged.site,
                format!("{}: {}", judged.verdict, judged.evidence.join("; ")),
            )]);
        }
        let reader = look::reader(cx, &self.site)?;
        let site = reader.site().to_owned();
        let health = match reader.health().await {
            Ok(health) => health,
            Err(error) => return Ok(vec![Finding::fail(site, error.to_string())]),
        };
        let mut findings = Vec::new();
        let broken = health.unhealthy();
        findings.push(if broken.is_empty() {
            Finding::ok(
                &site,
                format!("healthy ({} components)", health.components.len()),
            )
        } else {
            Finding::fail(&site, format!("unhealthy: {}", broken.join(", ")))
        });
        findings.push(match reader.identity().await {
            Ok(Identity::User { administrator: true, .. }) => Finding::ok(&site, "credentials of an administrator"),
            Ok(Identity::User { name, .. }) => Finding::fail(
                &site,
                format!("user `{name}` is no administrator: the read-only flag needs one"),
            ),
            Ok(Identity::Robot) => {
                Finding::fail(&site, "the credentials are a robot's: the read-only flag needs an administrator, which no robot can be")
            }
            Err(error) if error.kind() == ErrorKind::DatabaseDown => Finding::fail(
                &site,
                "its database is down: the login cannot be checked (this does not say that the password is wrong)",
            ),
            Err(error) => Finding::fail(&site, error.to_string()),
        });
        let asked = cx.clock.now();
        if let Ok(info) = reader.system_info().await {
            if self.want == Want::Writable && info.read_only == Some(true) {
                findings.push(Finding::fail(
                    &site,
                    "is read-only: it could neither receive nor serve pushes",
                ));
            }
            let skew = info
                .clock_skew(asked, cx.clock.now())
                .map(|skew| skew.unsigned_abs());
            findings.extend(skew.filter(|skew| *skew > SKEW_WARN).map(|skew| {
                let level = if skew > SKEW_FAIL {
                    Level::Fail
                } else {
                    Level::Warn
                };
                Finding {
                    level,
                    object: site.clone(),
                    text: format!("its clock is off by {} s", skew.as_secs()),
                }
            }));
        }
        Ok(findings)
    }

    async fn probe(&self, _cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        Ok(Probe::NotDone(Vec::new()))
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        let read = cx.read();
        if self.want == Want::Verdict {
            let judged = verdict(read.world, &self.site).await;
            return Ok(Done::Done {
                output: json!(judged),
                changes: Vec::new(),
            });
        }
        let findings = self.check(&read).await?;
        match findings.iter().find(|finding| finding.level == Level::Fail) {
            Some(finding) => Err(fault::wrong(format!(
                "{}: {}",
                finding.object, finding.text
            ))),
            None => Ok(Done::Done {
                output: Value::Null,
                changes: Vec::new(),
            }),
        }
    }
}
