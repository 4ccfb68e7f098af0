//! `dns.upsert`: point the service name at the site that shall take traffic. The cutover.
//!
//! By compare-and-set from the other site's value, so of two operators one loses. A success reply proves nothing: a
//! signing Knot 3.2 was seen to answer NOERROR and lose the name. So it is read back from the authoritative servers,
//! and if the name is gone the previous value is put back.

use std::time::Duration;

use async_trait::async_trait;
use runbook_dns::{Expected, FindingLevel, MarkerChange, RecordSet};
use runbook_engine::event::Change;
use runbook_engine::step::{Done, Finding, Probe, ReadContext, Step, StepError, WriteContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bindings::Bindings;
use crate::look::change;
use crate::record::{self, Said};
use crate::world::Sites;
use crate::{dns_ttl, fault};

/// A vanished name is to be back within 2 s.
const VANISHED_WITHIN: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(20);
/// The checkpoint that holds what stood at the name when the request left.
const SENT: &str = "sent";
/// How long servers may disagree before a probe says so.
const AGREE_WITHIN: Duration = Duration::from_secs(3);

/// What the operator writes under `do:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DnsUpsert {
    /// `endpoint`: the service name of the topology.
    pub name: ServiceName,
    /// The site that shall take traffic.
    pub to: String,
}

/// The only name that a run may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceName {
    /// The service name of the topology.
    Endpoint,
}

#[async_trait]
impl Step<Sites> for DnsUpsert {
    fn summary(&self) -> String {
        format!("point the service name at {}", self.to)
    }

    async fn check(&self, cx: &ReadContext<'_, Sites>) -> Result<Vec<Finding>, StepError> {
        let bindings = &cx.world.bindings;
        let words = record::words(bindings);
        let found = cx
            .world
            .dns
            .read(&record::name(bindings)?)
            .await
            .map_err(fault::dns)?;
        let (from, to) = self.sets(bindings, 0)?;
        let Some(there) = found.set(to.kind) else {
            return Ok(vec![Finding::fail(
                words,
                "does not exist; make it, pointing to the active site",
            )]);
        };
        if !there.same_values(&from) {
            return Ok(vec![Finding::fail(
                words,
                format!(
                    "points to `{}`, not to `{}` of site `{}`: the roles in the state file and in DNS differ",
                    record::shown(there),
                    record::shown(&from),
                    self.from(bindings)
                ),
            )]);
        }
        let mut findings = vec![Finding::ok(
            &words,
            format!("points to `{}`", record::shown(there)),
        )];
        findings.extend(late_clients(cx, &words, there.ttl));
        let desired = RecordSet {
            ttl: there.ttl,
            ..to
        };
        let request = match record::change(bindings, &found, desired, self.to(bindings)) {
            Ok(request) => request,
            Err(error) => return Ok(vec![Finding::fail(words, error.to_string())]),
        };
        match cx.world.dns.check(&request).await {
            Ok(said) => findings.extend(said.into_iter().map(|finding| match finding.level {
                FindingLevel::Info => Finding::ok(&words, finding.text),
                FindingLevel::Warning => Finding::warn(&words, finding.text),
                FindingLevel::Error => Finding::fail(&words, finding.text),
            })),
            Err(error) => findings.push(Finding::fail(&words, error.to_string())),
        }
        Ok(findings)
    }

    async fn probe(&self, cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        let bindings = &cx.world.bindings;
        let (from, to) = self.sets(bindings, 0)?;
        let mut waited = Duration::ZERO;
        loop {
            let servers = record::servers(bindings, cx.world.dns.as_ref()).await?;
            let said = record::ask(bindings, &servers).await?;
            match &said {
                Said::All(Some(set)) if set.same_values(&to) => {
                    return Ok(Probe::Done(self.output(cx, set.ttl)));
                }
                Said::All(Some(set)) if set.same_values(&from) => {
                    let now = record::shown(set);
                    return Ok(Probe::NotDone(vec![change(
                        record::words(bindings),
                        "value",
                        now,
                        record::shown(&to),
                    )]));
                }
                Said::All(Some(set)) => {
                    return Ok(Probe::Unknown(format!(
                        "{} points to `{}`, which is neither site's: somebody else changed it",
                        record::words(bindings),
                        record::shown(set)
                    )));
                }
                // The server took our request and lost the name: another attempt begins with putting it back.
                Said::All(None) if sent(cx).is_some() => return Ok(Probe::NotDone(Vec::new())),
                Said::All(None) => {
                    return Ok(Probe::Unknown(format!(
                        "{} does not exist any more",
                        record::words(bindings)
                    )));
                }
                // A secondary may lag: what the provider itself holds decides which way it will go.
                Said::Mixed(words) if waited >= AGREE_WITHIN => {
                    return self.by_provider(cx, &from, &to, words).await;
                }
                Said::Mixed(_) => {}
            }
            cx.clock.sleep(AGREE_WITHIN / 10).await;
            waited += AGREE_WITHIN / 10;
        }
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        let bindings = cx.world.bindings.clone();
        let (from, to) = self.sets(&bindings, 0)?;
        let found = cx
            .world
            .dns
            .read(&record::name(&bindings)?)
            .await
            .map_err(fault::dns)?;
        let there = found.set(to.kind).cloned();
        let there = match there {
            Some(set) if set.same_values(&to) => {
                return Ok(Done::Done {
                    output: self.output(&cx.read(), set.ttl),
                    changes: Vec::new(),
                });
            }
            Some(set) if set.same_values(&from) => set,
            Some(set) => {
                return Err(fault::wrong(format!(
                    "{} points to `{}`, not to `{}`: somebody changed it meanwhile; nothing was changed",
                    record::words(&bindings),
                    record::shown(&set),
                    record::shown(&from)
                )));
            }
            None => {
                return Err(match sent(&cx.read()) {
                    Some(before) => put_back(cx, &before).await?,
                    None => fault::wrong(format!(
                        "{} does not exist any more; nothing was changed",
                        record::words(&bindings)
                    )),
                });
            }
        };
        let desired = RecordSet {
            ttl: there.ttl,
            ..to.clone()
        };
        let request = record::change(&bindings, &found, desired, self.to(&bindings))?;
        // Whoever finds the name gone after this knows that it was this run's request, and what stood there.
        cx.save_checkpoint(SENT, json!(there)).await?;
        apply(cx, &request).await?;
        put_back_if_vanished(cx, &there).await?;
        let changes = vec![change(
            record::words(&bindings),
            "value",
            record::shown(&there),
            record::shown(&to),
        )];
        Ok(Done::Done {
            output: self.output(&cx.read(), there.ttl),
            changes,
        })
    }

    /// Changes the marker, which the request in doubt has in its prerequisite, and then looks whether the name ever
    /// moved.
    async fn withdraw(&self, cx: &WriteContext<'_, Sites>) -> Result<(), StepError> {
        let bindings = cx.world.bindings.clone();
        let (from, _) = self.sets(&bindings, 0)?;
        let name = record::name(&bindings)?;
        let found = cx.world.dns.read(&name).await.map_err(fault::dns)?;
        if !found
            .set(from.kind)
            .is_some_and(|set| set.same_values(&from))
        {
            return Err(fault::wrong(format!(
                "{} does not point to `{}` any more",
                record::words(&bindings),
                record::shown(&from)
            )));
        }
        let text = format!(
            "{} withdrawn={}",
            record::marker_text(&bindings, self.from(&bindings)),
            cx.token()
        );
        if found.marker_text().as_deref() != Some(&text) {
            let marker = Some(record::marker(&bindings, &found, text)?);
            // Guarded by the old value too: if the request in doubt has arrived since the look, this one is refused.
            let expected = found
                .set(from.kind)
                .cloned()
                .map_or(Expected::Absent, Expected::Exactly);
            apply(
                cx,
                &runbook_dns::Change {
                    name,
                    expected,
                    desired: None,
                    marker,
                },
            )
            .await?;
        }
        let servers = record::servers(&bindings, cx.world.dns.as_ref()).await?;
        match record::ask(&bindings, &servers).await? {
            Said::All(Some(set)) if set.same_values(&from) => Ok(()),
            said => Err(fault::wrong(format!(
                "the authoritative servers do not all show that it never moved: {said:?}"
            ))),
        }
    }

    /// Reached only after [`Step::withdraw`]: the record never moved, and the marker says again who serves.
    async fn undo(&self, cx: &WriteContext<'_, Sites>) -> Result<Vec<Change>, StepError> {
        let bindings = cx.world.bindings.clone();
        let name = record::name(&bindings)?;
        let found = cx.world.dns.read(&name).await.map_err(fault::dns)?;
        let text = record::marker_text(&bindings, self.from(&bindings));
        if found.marker_text().as_deref() != Some(&text) {
            let marker: MarkerChange = record::marker(&bindings, &found, text)?;
            let expected = found
                .set(bindings.endpoint.dns.record_type())
                .cloned()
                .map_or(Expected::Absent, Expected::Exactly);
            apply(
                cx,
                &runbook_dns::Change {
                    name,
                    expected,
                    desired: None,
                    marker: Some(marker),
                },
            )
            .await?;
        }
        Ok(Vec::new())
    }
}

impl DnsUpsert {
    fn to<'a>(&'a self, bindings: &'a Bindings) -> &'a str {
        bindings.site(&self.to)
    }

    fn from<'a>(&self, bindings: &'a Bindings) -> &'a str {
        bindings.other(bindings.site(&self.to))
    }

    /// Returns the set of the site left and of the site moved to.
    fn sets(&self, bindings: &Bindings, ttl: u32) -> Result<(RecordSet, RecordSet), StepError> {
        Ok((
            record::set_for(bindings, self.from(bindings), ttl)?,
            record::set_for(bindings, self.to(bindings), ttl)?,
        ))
    }

    fn output(&self, cx: &ReadContext<'_, Sites>, ttl: u32) -> Value {
        json!({ "ttl": ttl, "original_ttl": dns_ttl::original_ttl(cx) })
    }

    async fn by_provider(
        &self,
        cx: &ReadContext<'_, Sites>,
        from: &RecordSet,
        to: &RecordSet,
        words: &[(std::net::SocketAddr, String)],
    ) -> Result<Probe, StepError> {
        let found = cx
            .world
            .dns
            .read(&record::name(&cx.world.bindings)?)
            .await
            .map_err(fault::dns)?;
        let nobody_new = !words.iter().any(|(_, said)| *said == record::shown(to));
        Ok(match found.set(to.kind) {
            Some(set) if set.same_values(to) => Probe::Done(self.output(cx, set.ttl)),
            Some(set) if set.same_values(from) && nobody_new => {
                let before = record::shown(set);
                Probe::NotDone(vec![change(
                    record::words(&cx.world.bindings),
                    "value",
                    before,
                    record::shown(to),
                )])
            }
            _ => Probe::Unknown(format!("the authoritative servers disagree: {words:?}")),
        })
    }
}

/// Returns the site whose value a set is.
pub(crate) fn serving<'a>(bindings: &'a Bindings, set: &RecordSet) -> Option<&'a String> {
    bindings
        .endpoint
        .targets
        .keys()
        .find(|site| record::set_for(bindings, site, 0).is_ok_and(|of| of.same_values(set)))
}

/// Sends one change, if this driver still holds its lease.
pub(crate) async fn apply(
    cx: &WriteContext<'_, Sites>,
    request: &runbook_dns::Change,
) -> Result<(), StepError> {
    (cx.world.before_write)().map_err(StepError::permanent)?;
    let receipt = cx
        .world
        .dns
        .apply(request, cx.token())
        .await
        .map_err(fault::dns)?;
    while cx.world.dns.status(&receipt).await.map_err(fault::dns)?
        == runbook_dns::ChangeStatus::Pending
    {
        cx.tell("the provider is carrying the change to its servers");
        cx.sleep(Duration::from_secs(1)).await?;
    }
    Ok(())
}

/// Looks at the authoritative servers for a moment: a name that is gone is put back at once.
async fn put_back_if_vanished(
    cx: &WriteContext<'_, Sites>,
    before: &RecordSet,
) -> Result<(), StepError> {
    let bindings = &cx.world.bindings;
    let servers = record::servers(bindings, cx.world.dns.as_ref()).await?;
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < VANISHED_WITHIN {
        match record::ask(bindings, &servers).await? {
            Said::All(None) => return Err(put_back(cx, before).await?),
            Said::All(Some(set)) if !set.same_values(before) => return Ok(()),
            // A secondary that lags is `dns.verify`'s to wait for.
            Said::All(_) | Said::Mixed(_) => {}
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Puts back what stood at a name that is gone, unless somebody did so meanwhile. Returns what to say of it.
async fn put_back(
    cx: &WriteContext<'_, Sites>,
    before: &RecordSet,
) -> Result<StepError, StepError> {
    let bindings = &cx.world.bindings;
    let name = record::name(bindings)?;
    let found = cx.world.dns.read(&name).await.map_err(fault::dns)?;
    if found.sets.is_empty() {
        let serves = serving(bindings, before).cloned().unwrap_or_default();
        let marker = record::marker(bindings, &found, record::marker_text(bindings, &serves))?;
        let request = runbook_dns::Change {
            name,
            expected: Expected::Absent,
            desired: Some(before.clone()),
            marker: Some(marker),
        };
        apply(cx, &request).await?;
    }
    Ok(fault::wrong(format!(
        "the server took the change and lost the name; `{}` was put back and the name points where it did",
        record::shown(before)
    )))
}

/// Returns what stood at the name when this run sent its request, if it did.
fn sent(cx: &ReadContext<'_, Sites>) -> Option<RecordSet> {
    serde_json::from_value(cx.checkpoint(SENT)?.clone()).ok()
}

/// A TTL beyond the recovery time objective keeps clients away for longer than promised.
fn late_clients(cx: &ReadContext<'_, Sites>, words: &str, ttl: u32) -> Option<Finding> {
    let target = cx.plan.rto_target?;
    let lowers =
        cx.plan.steps.iter().any(|step| {
            step.kind == "dns.ttl" && step.action == json!("lower") && cx.plan.takes(step)
        });
    let seen = if lowers {
        ttl.min(cx.world.bindings.endpoint.lowered_ttl)
    } else {
        ttl
    };
    (Duration::from_secs(seen.into()) > target).then(|| {
        Finding::warn(
            words,
            format!(
                "caches hold the old value for up to {seen} s, longer than the recovery time objective of {} s",
                target.as_secs()
            ),
        )
    })
}
