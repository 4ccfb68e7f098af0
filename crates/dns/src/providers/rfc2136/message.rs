//! The UPDATE message of a change. Pure.

use hickory_proto::op::{Message, OpCode, Query, UpdateMessage};
use hickory_proto::rr::{DNSClass, Name as WireName, Record, RecordType as WireType};

use super::PROVIDER;
use crate::change::{Change, Expected};
use crate::error::{Error, ErrorKind};
use crate::name::Name;
use crate::record::{RecordSet, RecordType};
use crate::wire;

/// The TTL of a marker written without a record, in seconds.
const MARKER_TTL: u32 = 60;

/// The message that makes `change` if record and marker are as expected.
///
/// # Errors
/// `Unsupported` for a change of type: delete and add in one message lost the name on a signing Knot 3.2.
pub(super) fn update(zone: &Name, change: &Change) -> Result<Message, Error> {
    let mut message = empty(zone);
    for record in prerequisites(change)? {
        message.add_pre_requisite(record);
    }
    for record in updates(change)? {
        message.add_update(record);
    }
    Ok(message)
}

/// The same updates with one condition that cannot hold: that the apex, where the SOA stands, is not in use.
/// A server that answers YXDOMAIN has accepted key, clock and right for exactly these updates. (With conditions
/// alone BIND 9.18 answers NOERROR to a key without any right.)
pub(super) fn probe(zone: &Name, change: &Change) -> Result<Message, Error> {
    let mut message = empty(zone);
    message.add_pre_requisite(bare(zone.wire(), DNSClass::NONE, WireType::ANY));
    for record in updates(change)? {
        message.add_update(record);
    }
    Ok(message)
}

fn empty(zone: &Name) -> Message {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    let mut section = Query::new();
    section
        .set_name(zone.wire().clone())
        .set_query_class(DNSClass::IN)
        .set_query_type(WireType::SOA);
    message.add_zone(section);
    message
}

fn prerequisites(change: &Change) -> Result<Vec<Record>, Error> {
    let name = change.name.wire();
    let mut records = match (
        &change.expected,
        change.desired.as_ref().map(|set| set.kind),
    ) {
        (Expected::Exactly(set), _) => with_ttl(set, 0)?,
        (Expected::Absent, _) => vec![bare(name, DNSClass::NONE, WireType::ANY)],
        // A server ignores an alias added beside addresses, and the other way round, with a success code:
        // force does not reach so far, so let it refuse.
        (Expected::Any, Some(RecordType::Cname)) => [WireType::A, WireType::AAAA, WireType::TXT]
            .map(|kind| bare(name, DNSClass::NONE, kind))
            .into(),
        (Expected::Any, Some(_)) => vec![bare(name, DNSClass::NONE, WireType::CNAME)],
        (Expected::Any, None) => Vec::new(),
    };
    if let Some(marker) = &change.marker {
        match &marker.expected {
            Some(text) => records.extend(with_ttl(&marker_set(change, text, 0)?, 0)?),
            None => records.push(bare(
                marker_name(change)?.wire(),
                DNSClass::NONE,
                WireType::TXT,
            )),
        }
    }
    Ok(records)
}

fn updates(change: &Change) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    if let Some(desired) = &change.desired {
        if let Expected::Exactly(expected) = &change.expected
            && expected.kind != desired.kind
        {
            let text = format!(
                "`{}` would change from {} to {}",
                change.name, expected.kind, desired.kind
            );
            return Err(Error::new(
                PROVIDER,
                ErrorKind::Unsupported,
                format!("{text}; change the type by hand first"),
            ));
        }
        // Adding an alias where one stands replaces it (RFC 2136, 3.4.2.2), its TTL too. Deleting it first in
        // the same message made a signing Knot 3.2 drop the add and lose the name.
        if desired.kind != RecordType::Cname && change.expected != Expected::Absent {
            records.push(bare(
                change.name.wire(),
                DNSClass::ANY,
                wire::wire_type(desired.kind),
            ));
        }
        records.extend(with_ttl(desired, desired.ttl)?);
    }
    if let Some(marker) = &change.marker
        && marker.expected.as_deref() != Some(marker.desired.as_str())
    {
        if marker.expected.is_some() {
            records.push(bare(
                marker_name(change)?.wire(),
                DNSClass::ANY,
                WireType::TXT,
            ));
        }
        let ttl = change.desired.as_ref().map_or(MARKER_TTL, |set| set.ttl);
        records.extend(with_ttl(&marker_set(change, &marker.desired, ttl)?, ttl)?);
    }
    Ok(records)
}

/// A record without data: "exists", "does not exist" or "delete the set", by its class.
fn bare(name: &WireName, class: DNSClass, kind: WireType) -> Record {
    let mut record = Record::update0(name.clone(), 0, kind);
    record.dns_class = class;
    record
}

fn with_ttl(set: &RecordSet, ttl: u32) -> Result<Vec<Record>, Error> {
    let encode = |value: &String| {
        let data = wire::encode(set.kind, value).ok_or_else(|| {
            Error::new(
                PROVIDER,
                ErrorKind::Invalid,
                format!("`{value}` is no value for {}", set.kind),
            )
        })?;
        Ok(Record::from_rdata(set.name.wire().clone(), ttl, data))
    };
    set.values.iter().map(encode).collect()
}

fn marker_name(change: &Change) -> Result<Name, Error> {
    change
        .name
        .marker()
        .map_err(|e| Error::new(PROVIDER, ErrorKind::Invalid, e.to_string()))
}

fn marker_set(change: &Change, text: &str, ttl: u32) -> Result<RecordSet, Error> {
    Ok(RecordSet {
        name: marker_name(change)?,
        kind: RecordType::Txt,
        ttl,
        values: vec![text.to_owned()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::MarkerChange;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn set(kind: RecordType, ttl: u32, values: &[&str]) -> RecordSet {
        RecordSet::new(name("h.example.test"), kind, ttl, values).unwrap()
    }

    /// The sections as text: class, type, name, TTL, data.
    fn spelled(records: &[Record]) -> Vec<String> {
        let line = |r: &Record| {
            format!(
                "{} {} {} {} {}",
                r.dns_class,
                r.record_type(),
                r.name,
                r.ttl,
                r.data
            )
        };
        records
            .iter()
            .map(|r| line(r).trim_end_matches(" UPDATE").to_owned())
            .collect()
    }

    fn sections(change: &Change) -> (Vec<String>, Vec<String>) {
        let message = update(&name("example.test"), change).unwrap();
        (spelled(message.prerequisites()), spelled(message.updates()))
    }

    #[test]
    fn an_alias_is_swapped_by_adding_alone() {
        let change = Change {
            name: name("h.example.test"),
            expected: Expected::Exactly(set(RecordType::Cname, 60, &["ams.example.test"])),
            desired: Some(set(RecordType::Cname, 60, &["fra.example.test"])),
            marker: Some(MarkerChange {
                expected: Some("v1 owner=a".into()),
                desired: "v1 owner=a".into(),
            }),
        };
        let (conditions, updates) = sections(&change);
        assert_eq!(
            conditions,
            [
                "IN CNAME h.example.test. 0 ams.example.test.",
                "IN TXT _dr-owner.h.example.test. 0 v1 owner=a"
            ]
        );
        assert_eq!(updates, ["IN CNAME h.example.test. 60 fra.example.test."]);
    }

    #[test]
    fn addresses_are_replaced_as_a_whole() {
        let change = Change {
            name: name("h.example.test"),
            expected: Expected::Exactly(set(RecordType::A, 60, &["192.0.2.1", "192.0.2.2"])),
            desired: Some(set(RecordType::A, 30, &["192.0.2.3"])),
            marker: Some(MarkerChange {
                expected: Some("v1 owner=a".into()),
                desired: "v1 owner=b".into(),
            }),
        };
        let (conditions, updates) = sections(&change);
        assert_eq!(
            conditions[..2],
            [
                "IN A h.example.test. 0 192.0.2.1",
                "IN A h.example.test. 0 192.0.2.2"
            ]
        );
        assert_eq!(
            updates,
            [
                "ANY A h.example.test. 0",
                "IN A h.example.test. 30 192.0.2.3",
                "ANY TXT _dr-owner.h.example.test. 0",
                "IN TXT _dr-owner.h.example.test. 30 v1 owner=b",
            ]
        );
    }

    #[test]
    fn a_new_name_must_not_be_in_use_and_have_no_marker() {
        let change = Change {
            name: name("h.example.test"),
            expected: Expected::Absent,
            desired: Some(set(RecordType::A, 60, &["192.0.2.1"])),
            marker: Some(MarkerChange {
                expected: None,
                desired: "v1 owner=a".into(),
            }),
        };
        let (conditions, updates) = sections(&change);
        assert_eq!(
            conditions,
            [
                "NONE ANY h.example.test. 0",
                "NONE TXT _dr-owner.h.example.test. 0"
            ]
        );
        assert_eq!(
            updates,
            [
                "IN A h.example.test. 60 192.0.2.1",
                "IN TXT _dr-owner.h.example.test. 60 v1 owner=a"
            ]
        );
    }

    #[test]
    fn a_probe_is_the_real_change_under_a_condition_that_cannot_hold() {
        let change = Change {
            name: name("h.example.test"),
            expected: Expected::Exactly(set(RecordType::Cname, 60, &["ams.example.test"])),
            desired: Some(set(RecordType::Cname, 60, &["fra.example.test"])),
            marker: None,
        };
        let message = probe(&name("example.test"), &change).unwrap();
        assert_eq!(
            spelled(message.prerequisites()),
            ["NONE ANY example.test. 0"]
        );
        assert_eq!(spelled(message.updates()), sections(&change).1);
    }

    #[test]
    fn a_change_of_type_is_refused() {
        let change = Change {
            name: name("h.example.test"),
            expected: Expected::Exactly(set(RecordType::A, 60, &["192.0.2.1"])),
            desired: Some(set(RecordType::Cname, 60, &["fra.example.test"])),
            marker: None,
        };
        let error = update(&name("example.test"), &change).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
    }
}
