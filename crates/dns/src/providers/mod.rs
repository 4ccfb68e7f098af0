//! The providers, one module each. All pass the same conformance suite.

pub mod rfc2136;
#[cfg(feature = "route53")]
pub mod route53;

use crate::change::{Change, Expected, Finding, Found};
use crate::error::{Error, ErrorKind};
use crate::record::RecordType;

/// The error for a change whose expectation `found` does not meet.
fn conflict(provider: &'static str, change: &Change, found: Found) -> Error {
    if let Some(marker) = change.foreign_marker(&found) {
        let text = format!("`{}` belongs to another owner: `{marker}`", change.name);
        return Error::new(provider, ErrorKind::ForeignOwner { marker }, text);
    }
    let text = format!("`{}` is not as expected: {}", change.name, describe(&found));
    Error::new(
        provider,
        ErrorKind::Conflict {
            found: Box::new(found),
        },
        text,
    )
}

/// What a look at the present sets says about `change`.
fn look(change: &Change, found: &Found) -> Vec<Finding> {
    if change.is_done(found) {
        return vec![Finding::info(format!(
            "`{}` is already as wanted",
            change.name
        ))];
    }
    let mut findings = Vec::new();
    if let Some(marker) = change.foreign_marker(found) {
        findings.push(Finding::error(format!(
            "`{}` belongs to another owner: `{marker}`",
            change.name
        )));
    } else if let Some(marker) = &change.marker
        && marker.expected != found.marker_text()
        && found.marker_text().as_ref() != Some(&marker.desired)
    {
        findings.push(Finding::error(format!(
            "the ownership marker of `{}` is missing",
            change.name
        )));
    }
    if !change.expectation_holds(found) {
        findings.push(Finding::error(format!(
            "`{}` is not as expected: {}",
            change.name,
            describe(found)
        )));
    }
    if let Expected::Exactly(set) = &change.expected
        && let Some(there) = found.set(set.kind)
        && there.same_values(set)
        && there.ttl != set.ttl
    {
        let (there, expected) = (there.ttl, set.ttl);
        findings.push(Finding::warning(format!(
            "the TTL of `{}` is {there} s, not {expected} s",
            change.name
        )));
    }
    let other_family = match change.desired.as_ref().map(|set| set.kind) {
        Some(RecordType::A) => found.set(RecordType::Aaaa),
        Some(RecordType::Aaaa) => found.set(RecordType::A),
        _ => None,
    };
    if let Some(set) = other_family {
        findings.push(Finding::warning(format!(
            "`{set}` stays: clients of that family keep the old side"
        )));
    }
    findings
}

fn describe(found: &Found) -> String {
    if found.sets.is_empty() {
        return "nothing stands there".to_owned();
    }
    found
        .sets
        .iter()
        .map(|set| format!("`{set}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
