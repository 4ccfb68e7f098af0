//! `dns.ttl`: lower the TTL before a planned move and wait the old one out, or put it back.
//!
//! A cache that was asked a moment before the lowering keeps the record for the whole old TTL, so the wait is part of
//! the step.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use runbook_dns::{Found, RecordSet};
use runbook_engine::event::Change;
use runbook_engine::step::{Done, Finding, Probe, ReadContext, Step, StepError, WriteContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bindings::Bindings;
use crate::look::{DNS, change};
use crate::record::{self, Said};
use crate::world::Sites;
use crate::{dns_upsert, fault};

const POLL: Duration = Duration::from_millis(250);

/// What the operator writes under `do:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DnsTtl {
    /// To the endpoint's lowered TTL; waits the old one out.
    Lower,
    /// To what it was before this run.
    Restore,
}

#[async_trait]
impl Step<Sites> for DnsTtl {
    fn summary(&self) -> String {
        match self {
            DnsTtl::Lower => "lower the TTL and wait the old one out".into(),
            DnsTtl::Restore => "put the TTL back".into(),
        }
    }

    async fn check(&self, cx: &ReadContext<'_, Sites>) -> Result<Vec<Finding>, StepError> {
        match self {
            DnsTtl::Restore => Ok(Vec::new()),
            DnsTtl::Lower => {
                let bindings = &cx.world.bindings;
                let found = read(cx.world.dns.as_ref(), bindings).await?;
                let Some(set) = found.set(bindings.endpoint.dns.record_type()) else {
                    return Ok(Vec::new());
                };
                let words = record::words(bindings);
                let lowered = bindings.endpoint.lowered_ttl;
                let least = cx.world.dns.capabilities().min_ttl;
                if lowered < least {
                    let text = format!(
                        "the provider takes no TTL under {least} s, and {lowered} s is configured"
                    );
                    return Ok(vec![Finding::fail(words, text)]);
                }
                let limit = cx.plan.steps[cx.position].timeout;
                Ok(vec![if set.ttl <= lowered {
                    Finding::ok(words, format!("TTL {} s: low already", set.ttl))
                } else if Duration::from_secs(set.ttl.into()) > limit {
                    let text = format!(
                        "TTL {} s: waiting it out takes longer than the step may ({} s)",
                        set.ttl,
                        limit.as_secs()
                    );
                    Finding::fail(words, text)
                } else {
                    Finding::ok(
                        words,
                        format!("TTL {} s: that long is waited after lowering it", set.ttl),
                    )
                }])
            }
        }
    }

    async fn probe(&self, cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        let bindings = &cx.world.bindings;
        let found = read(cx.world.dns.as_ref(), bindings).await?;
        let Some(set) = found.set(bindings.endpoint.dns.record_type()).cloned() else {
            return Err(fault::wrong(format!(
                "{} does not exist",
                record::words(bindings)
            )));
        };
        let seen = cx.seen(&record::words(bindings), "ttl", set.ttl.to_string());
        let wanted = match self {
            DnsTtl::Lower => set.ttl.min(bindings.endpoint.lowered_ttl),
            DnsTtl::Restore => match original_ttl(cx) {
                Some(ttl) => ttl,
                None if cx.rehearses() => set.ttl,
                None => return Ok(Probe::Done(Value::Null)),
            },
        };
        if seen != wanted.to_string() {
            return Ok(Probe::NotDone(vec![change(
                record::words(bindings),
                "ttl",
                seen,
                wanted,
            )]));
        }
        let waited = *self == DnsTtl::Restore
            || cx.rehearses()
            || original_ttl(cx).is_some_and(|ttl| ttl <= wanted)
            || wait_until(cx).is_some_and(|until| until <= cx.clock.now());
        Ok(if waited {
            Probe::Done(Value::Null)
        } else {
            Probe::NotDone(Vec::new())
        })
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        let bindings = cx.world.bindings.clone();
        let found = read(cx.world.dns.as_ref(), &bindings).await?;
        let kind = bindings.endpoint.dns.record_type();
        let Some(set) = found.set(kind).cloned() else {
            return Err(fault::wrong(format!(
                "{} does not exist",
                record::words(&bindings)
            )));
        };
        self.need_active(&bindings, &set)?;
        let read = cx.read();
        let old = original_ttl(&read).unwrap_or(set.ttl);
        let wanted = match self {
            DnsTtl::Lower => old.min(bindings.endpoint.lowered_ttl),
            DnsTtl::Restore => old,
        };
        if original_ttl(&read).is_none() {
            let record = serde_json::to_value(&found).map_err(StepError::permanent)?;
            cx.save_original(DNS, "record", record).await?;
        }
        let mut changes = Vec::new();
        if set.ttl != wanted {
            changes.extend(set_ttl(cx, &found, &set, wanted).await?);
        }
        if *self == DnsTtl::Lower && old > wanted {
            self.wait_out(cx, old, wanted).await?;
        }
        Ok(Done::changed(changes))
    }

    async fn undo(&self, cx: &WriteContext<'_, Sites>) -> Result<Vec<Change>, StepError> {
        let bindings = cx.world.bindings.clone();
        let (DnsTtl::Lower, Some(old)) = (self, original_ttl(&cx.read())) else {
            return Ok(Vec::new());
        };
        let found = read(cx.world.dns.as_ref(), &bindings).await?;
        match found.set(bindings.endpoint.dns.record_type()).cloned() {
            Some(set) if set.ttl != old => set_ttl(cx, &found, &set, old).await,
            _ => Ok(Vec::new()),
        }
    }
}

impl DnsTtl {
    /// The TTL is lowered for a name that points to the active site, and for no other.
    fn need_active(&self, bindings: &Bindings, set: &RecordSet) -> Result<(), StepError> {
        let active = record::set_for(bindings, &bindings.active, 0)?;
        if *self == DnsTtl::Restore || set.same_values(&active) {
            return Ok(());
        }
        Err(fault::wrong(format!(
            "{} points to `{}`, not to `{}`: somebody changed it meanwhile; nothing was changed",
            record::words(bindings),
            record::shown(set),
            record::shown(&active)
        )))
    }

    async fn wait_out(
        &self,
        cx: &WriteContext<'_, Sites>,
        old: u32,
        wanted: u32,
    ) -> Result<(), StepError> {
        let bindings = &cx.world.bindings;
        if wait_until(&cx.read()).is_none() {
            let servers = record::servers(bindings, cx.world.dns.as_ref()).await?;
            loop {
                match record::ask(bindings, &servers).await? {
                    Said::All(Some(set)) if set.ttl == wanted => break,
                    said => cx.tell(&format!(
                        "waiting for every authoritative server to show TTL {wanted} s ({said:?})"
                    )),
                }
                cx.sleep(POLL).await?;
            }
            // From the last authoritative sight of the old TTL: nobody can have got it later.
            let until = cx.clock().after(Duration::from_secs(old.into()));
            cx.save_checkpoint("wait-until", json!(until)).await?;
        }
        let until = wait_until(&cx.read()).unwrap_or_else(|| cx.now());
        cx.tell(&format!("waiting the old TTL of {old} s out"));
        cx.sleep_until(until).await
    }
}

async fn read(dns: &dyn runbook_dns::Reader, bindings: &Bindings) -> Result<Found, StepError> {
    dns.read(&record::name(bindings)?).await.map_err(fault::dns)
}

async fn set_ttl(
    cx: &WriteContext<'_, Sites>,
    found: &Found,
    set: &RecordSet,
    ttl: u32,
) -> Result<Vec<Change>, StepError> {
    let bindings = &cx.world.bindings;
    let desired = RecordSet { ttl, ..set.clone() };
    let serves = dns_upsert::serving(bindings, set).ok_or_else(|| {
        fault::wrong(format!(
            "{} points to `{}`, which is neither site's: somebody else changed it; nothing was changed",
            record::words(bindings),
            record::shown(set)
        ))
    })?;
    let request = record::change(bindings, found, desired, serves)?;
    dns_upsert::apply(cx, &request).await?;
    Ok(vec![change(record::words(bindings), "ttl", set.ttl, ttl)])
}

/// Returns the TTL before this run.
pub(crate) fn original_ttl(cx: &ReadContext<'_, Sites>) -> Option<u32> {
    let found: Found = serde_json::from_value(cx.original(DNS, "record")?.clone()).ok()?;
    found
        .set(cx.world.bindings.endpoint.dns.record_type())
        .map(|set| set.ttl)
}

fn wait_until(cx: &ReadContext<'_, Sites>) -> Option<Timestamp> {
    cx.checkpoint("wait-until")
        .and_then(|at| serde_json::from_value(at.clone()).ok())
}
