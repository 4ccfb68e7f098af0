//! `dns.verify`: wait until every vantage shows the new value.

use std::time::Duration;

use async_trait::async_trait;
use runbook_dns::verify::{Convergence, Vantage, Verdict, judge, observe_all};
use runbook_dns::{RecordSet, RecordType};
use runbook_engine::step::{Done, Finding, Probe, ReadContext, Step, StepError, WriteContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bindings::Bindings;
use crate::world::{DNS_TIMEOUT, Sites};
use crate::{fault, record};

/// Authoritative servers are asked quickly at first, caches hold what they have anyway.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// What the operator writes under `do:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DnsVerify {
    /// The site that the name should point to.
    pub to: String,
}

#[async_trait]
impl Step<Sites> for DnsVerify {
    fn summary(&self) -> String {
        format!("every vantage shows {}", self.to)
    }

    async fn check(&self, cx: &ReadContext<'_, Sites>) -> Result<Vec<Finding>, StepError> {
        let bindings = &cx.world.bindings;
        let (_, old) = self.sets(bindings)?;
        let vantages = vantages(bindings, cx.world.dns.as_ref()).await?;
        let seen = observe_all(&vantages, &old.name, old.kind, DNS_TIMEOUT).await;
        Ok(seen
            .iter()
            .filter_map(|(vantage, observed)| match judge(observed, &old, None) {
                Verdict::New => None,
                verdict => Some(Finding::warn(
                    format!("vantage {vantage}"),
                    format!("before the move: {verdict}"),
                )),
            })
            .collect())
    }

    async fn probe(&self, cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        let bindings = &cx.world.bindings;
        let (new, old) = self.sets(bindings)?;
        let vantages = vantages(bindings, cx.world.dns.as_ref()).await?;
        let mut convergence = Convergence::new(vantages.iter().cloned());
        for _ in 0..2 {
            look(&vantages, &new, &old, &mut convergence).await;
        }
        Ok(if convergence.converged() {
            Probe::Done(Value::Null)
        } else {
            Probe::NotDone(Vec::new())
        })
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        let bindings = &cx.world.bindings;
        let (new, old) = self.sets(bindings)?;
        let vantages = vantages(bindings, cx.world.dns.as_ref()).await?;
        let mut convergence = Convergence::new(vantages.iter().cloned());
        let mut pause = FIRST_PAUSE;
        loop {
            look(&vantages, &new, &old, &mut convergence).await;
            if convergence.converged() {
                return Ok(Done::Done {
                    output: json!({ "vantages": vantages.len() }),
                    changes: Vec::new(),
                });
            }
            if let Some(other) = foreign(&convergence) {
                return Err(fault::wrong(format!(
                    "{} points to `{other}` at every authoritative server, which is neither site's: somebody else changed it",
                    record::words(bindings)
                )));
            }
            let waiting: Vec<String> = convergence
                .waiting()
                .into_iter()
                .map(|(vantage, verdict)| {
                    format!(
                        "{vantage}: {}",
                        verdict.map_or_else(|| "not asked".into(), Verdict::to_string)
                    )
                })
                .collect();
            cx.tell(&format!(
                "{} of {} vantages show it; {}",
                vantages.len() - waiting.len(),
                vantages.len(),
                waiting.join(", ")
            ));
            cx.sleep(pause).await?;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}

impl DnsVerify {
    fn sets(&self, bindings: &Bindings) -> Result<(RecordSet, RecordSet), StepError> {
        let to = bindings.site(&self.to);
        Ok((
            record::set_for(bindings, to, 0)?,
            record::set_for(bindings, bindings.other(to), 0)?,
        ))
    }
}

/// Returns the value that all authoritative servers show, if it is neither the old nor the new one. No wait ends that.
fn foreign(convergence: &Convergence) -> Option<String> {
    let waiting = convergence.waiting();
    let mut authoritative = waiting
        .iter()
        .filter(|(vantage, _)| matches!(vantage, Vantage::Authoritative(_)))
        .map(|(_, verdict)| match verdict {
            Some(Verdict::Other(values)) => Some(values.join(", ")),
            _ => None,
        })
        .peekable();
    let first = authoritative.peek()?.clone()?;
    authoritative
        .all(|other| other.as_ref() == Some(&first))
        .then_some(first)
}

async fn look(
    vantages: &[Vantage],
    new: &RecordSet,
    old: &RecordSet,
    convergence: &mut Convergence,
) {
    let kind: RecordType = new.kind;
    for (vantage, observed) in observe_all(vantages, &new.name, kind, DNS_TIMEOUT).await {
        convergence.record(&vantage, judge(&observed, new, Some(old)));
    }
}

/// Returns the vantages that must agree.
async fn vantages(
    bindings: &Bindings,
    dns: &dyn runbook_dns::Reader,
) -> Result<Vec<Vantage>, StepError> {
    let mut vantages = Vec::new();
    for word in &bindings.endpoint.verify {
        match word.as_str() {
            "authoritative" => {
                vantages.extend(
                    record::servers(bindings, dns)
                        .await?
                        .into_iter()
                        .map(Vantage::Authoritative),
                );
            }
            "system" => vantages.push(Vantage::System),
            address => vantages.push(Vantage::Resolver(resolver(address)?)),
        }
    }
    Ok(vantages)
}

fn resolver(text: &str) -> Result<std::net::SocketAddr, StepError> {
    let with_port = text.parse().ok();
    let bare = || {
        text.parse()
            .ok()
            .map(|ip: std::net::IpAddr| (ip, 53).into())
    };
    with_port.or_else(bare).ok_or_else(|| {
        fault::wrong(format!(
            "`{text}` under `verify` is no address of a resolver"
        ))
    })
}
