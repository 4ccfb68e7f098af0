//! `harbor.health`: is a site fit for what the run wants of it?

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use runbook_engine::event::About;
use runbook_engine::step::{
    Done, Finding, Level, Probe, ReadContext, Step, StepError, WriteContext,
};
use runbook_harbor::{ErrorKind, Identity, Quota, Reader, Volume};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::verdict::{Verdict, verdict};
use crate::world::Sites;
use crate::{fault, look};

/// A signature is refused beyond five minutes; schedules of Harbor suffer from less.
const SKEW_WARN: Duration = Duration::from_secs(5);
/// The part of a quota or a disk beyond which it is said.
const FULL: f64 = 0.9;
const AT_ONCE: usize = 8;
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
            Err(error) if error.kind() == ErrorKind::Unauthorized => Finding::fail(
                &site,
                "refuses the credentials while its database is up: the user or the password in the configuration is wrong",
            ),
            Err(error) => Finding::fail(&site, error.to_string()),
        });
        findings.extend(space(reader).await.into_iter().map(|mut finding| {
            // A full site can still be left, and in a disaster it is better than none.
            if self.want != Want::Writable {
                finding.level = Level::Warn;
            }
            finding
        }));
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
            let output = json!(judged);
            if judged.verdict == Verdict::Healthy {
                // Unplanned, the final sync and the comparison are forfeited. For a site that works that is a choice.
                let question = format!(
                    "`{}` is healthy: a planned run would lose nothing, an unplanned one may; go on unplanned?",
                    judged.site
                );
                return Ok(Done::Ask {
                    about: About::Gate,
                    question,
                    output,
                });
            }
            return Ok(Done::Done {
                output,
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

/// Says where there is little room for what is to be copied and pushed. A request that fails says nothing: health and
/// login are judged elsewhere.
async fn space(reader: &Reader) -> Vec<Finding> {
    let site = reader.site();
    let projects = reader.projects().await.unwrap_or_default();
    let quotas = stream::iter(projects)
        .map(|project| async move {
            let quota = reader.quota(&project.name).await.ok()?;
            Some((project.name, quota))
        })
        .buffered(AT_ONCE)
        .filter_map(|found| async move { found })
        .collect::<Vec<_>>()
        .await;
    let mut findings: Vec<Finding> = quotas
        .iter()
        .filter_map(|(project, quota)| short_quota(site, project, quota))
        .collect();
    let volumes = reader.volumes().await.unwrap_or_default();
    findings.extend(
        volumes
            .iter()
            .filter_map(|volume| short_volume(site, volume)),
    );
    findings
}

fn short_quota(site: &str, project: &str, quota: &Quota) -> Option<Finding> {
    let object = format!("{site} project `{project}`");
    let (limit, used) = (
        u64::try_from(quota.limit).ok()?,
        u64::try_from(quota.used).ok()?,
    );
    let text = format!("{used} of {limit} bytes of its quota are used");
    if used >= limit {
        return Some(Finding::fail(
            object,
            format!("{text}: it takes neither copies nor pushes"),
        ));
    }
    (used as f64 > limit as f64 * FULL).then(|| Finding::warn(object, text))
}

fn short_volume(site: &str, volume: &Volume) -> Option<Finding> {
    let used = volume.total.saturating_sub(volume.free);
    (volume.total > 0 && used as f64 > volume.total as f64 * FULL).then(|| {
        let text = format!(
            "{} of {} bytes of its disk are free",
            volume.free, volume.total
        );
        Finding::warn(site, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_project_forbids_the_run_and_a_nearly_full_one_is_said() {
        let level = |limit, used| {
            short_quota("dr", "p", &Quota { limit, used }).map(|finding| finding.level)
        };
        assert_eq!(level(-1, 1 << 40), None, "no limit");
        assert_eq!(level(100, 90), None);
        assert_eq!(level(100, 91), Some(Level::Warn));
        assert_eq!(level(100, 100), Some(Level::Fail));
        assert_eq!(level(0, 0), Some(Level::Fail));
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_said() {
        let said = |total, free| short_volume("dr", &Volume { total, free }).is_some();
        assert!(!said(0, 0), "object storage tells nothing");
        assert!(!said(100, 10));
        assert!(said(100, 9));
    }
}
