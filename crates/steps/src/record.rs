//! The record of the service name: what stands there, what should, and where to look.

use std::net::SocketAddr;

use runbook_dns::verify::{Vantage, authoritative_servers, read_back};
use runbook_dns::{Change, Expected, Found, MarkerChange, Name, RecordSet};
use runbook_engine::step::StepError;

use crate::bindings::Bindings;
use crate::fault;
use crate::world::DNS_TIMEOUT;

/// Returns the service name.
pub(crate) fn name(bindings: &Bindings) -> Result<Name, StepError> {
    Name::parse(&bindings.endpoint.name).map_err(StepError::permanent)
}

/// Returns the set that stands at the name while a site serves.
pub(crate) fn set_for(bindings: &Bindings, site: &str, ttl: u32) -> Result<RecordSet, StepError> {
    let value = bindings.endpoint.targets.get(site).ok_or_else(|| {
        fault::wrong(format!(
            "endpoint `{}` has no target for site `{site}`",
            bindings.endpoint.name
        ))
    })?;
    // One value, or several with blanks between them.
    let values = value.split_whitespace();
    RecordSet::new(
        name(bindings)?,
        bindings.endpoint.dns.record_type(),
        ttl,
        values,
    )
    .map_err(StepError::permanent)
}

/// The words for the record.
pub(crate) fn words(bindings: &Bindings) -> String {
    format!(
        "DNS {} {}",
        bindings.endpoint.name,
        bindings.endpoint.dns.record_type()
    )
}

/// Returns the text of our ownership marker while a site serves.
pub(crate) fn marker_text(bindings: &Bindings, serves: &str) -> String {
    format!("v1 owner={} serves={serves}", bindings.owner)
}

/// Returns the marker's change, or why the record is not ours.
pub(crate) fn marker(
    bindings: &Bindings,
    found: &Found,
    desired: String,
) -> Result<MarkerChange, StepError> {
    let there = found.marker_text();
    if let Some(text) = &there
        && !is_ours(bindings, text)
    {
        return Err(fault::wrong(format!(
            "`{}` belongs to another owner: its marker says `{text}`, ours begins with `v1 owner={}`",
            bindings.endpoint.name, bindings.owner
        )));
    }
    Ok(MarkerChange {
        expected: there,
        desired,
    })
}

fn is_ours(bindings: &Bindings, text: &str) -> bool {
    text.split_whitespace()
        .any(|word| word == format!("owner={}", bindings.owner))
}

/// Returns a change of the record from the set that stands there, with the marker.
pub(crate) fn change(
    bindings: &Bindings,
    found: &Found,
    desired: RecordSet,
    serves: &str,
) -> Result<Change, StepError> {
    let expected = found
        .set(desired.kind)
        .cloned()
        .map_or(Expected::Absent, Expected::Exactly);
    let marker = marker(bindings, found, marker_text(bindings, serves))?;
    Ok(Change {
        name: name(bindings)?,
        expected,
        desired: Some(desired),
        marker: Some(marker),
    })
}

/// Returns the authoritative servers: as configured, or by walking the zone.
pub(crate) async fn servers(
    bindings: &Bindings,
    dns: &dyn runbook_dns::Reader,
) -> Result<Vec<SocketAddr>, StepError> {
    if let Some(servers) = bindings.endpoint.dns.authoritative().map_err(fault::dns)? {
        return Ok(servers);
    }
    let zone = dns.zone().await.map_err(fault::dns)?;
    let via = bindings
        .endpoint
        .resolver
        .map_or(Vantage::System, Vantage::Resolver);
    authoritative_servers(&zone.name, &via, DNS_TIMEOUT)
        .await
        .map_err(fault::look)
}

/// What the authoritative servers say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// All show this set.
    All(Option<RecordSet>),
    /// They disagree, or one does not answer: each with what it said.
    Mixed(Vec<(SocketAddr, String)>),
}

/// Asks every authoritative server.
pub(crate) async fn ask(bindings: &Bindings, servers: &[SocketAddr]) -> Result<Said, StepError> {
    let read = read_back(
        servers,
        &name(bindings)?,
        bindings.endpoint.dns.record_type(),
        DNS_TIMEOUT,
    )
    .await;
    let mut sets = Vec::new();
    let mut words = Vec::new();
    for (server, answer) in read {
        match answer {
            Ok(set) => {
                words.push((
                    server,
                    set.as_ref().map_or_else(|| "nothing".to_owned(), shown),
                ));
                sets.push(set);
            }
            Err(error) => words.push((server, error.to_string())),
        }
    }
    let agree = sets.len() == words.len()
        && sets
            .windows(2)
            .all(|two| same(two[0].as_ref(), two[1].as_ref()));
    Ok(match sets.into_iter().next() {
        Some(first) if agree => Said::All(first),
        _ => Said::Mixed(words),
    })
}

fn same(one: Option<&RecordSet>, other: Option<&RecordSet>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.same_values(other) && one.ttl == other.ttl,
        (None, None) => true,
        _ => false,
    }
}

/// Writes a set's values.
pub(crate) fn shown(set: &RecordSet) -> String {
    set.values.join(" ")
}
