//! Route 53's record sets and ours, and the batch of a change. Pure.

use aws_sdk_route53::types::{
    Change as WireChange, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};

use super::{PROVIDER, failure, fqdn};
use crate::change::{Change, Expected};
use crate::error::{Error, ErrorKind};
use crate::name::Name;
use crate::record::{RecordSet, RecordType};

/// The TTL of a marker written without a record, in seconds.
const MARKER_TTL: u32 = 60;

/// The longest comment of a batch, in characters.
const COMMENT_LIMIT: usize = 256;

/// A TXT string holds this many octets; longer values are several strings.
const TXT_STRING: usize = 255;

/// Returns the type of a set, if it is one of ours.
pub(super) fn kind(set: &ResourceRecordSet) -> Option<RecordType> {
    match set.r#type() {
        RrType::A => Some(RecordType::A),
        RrType::Aaaa => Some(RecordType::Aaaa),
        RrType::Cname => Some(RecordType::Cname),
        RrType::Txt => Some(RecordType::Txt),
        _ => None,
    }
}

/// Reads a set; `None` for a type that is not ours.
///
/// # Errors
/// `Unsupported` for an alias or a set with a routing policy: what such a name answers does not stand in the set.
pub(super) fn read(set: &ResourceRecordSet) -> Result<Option<RecordSet>, Error> {
    let Some(kind) = kind(set) else {
        return Ok(None);
    };
    let name = Name::parse(set.name())
        .map_err(|e| Error::new(PROVIDER, ErrorKind::Unsupported, e.to_string()))?;
    let unsupported = |what: &str| {
        let text = format!("`{name}` {kind} is {what}, which this provider does not change");
        Err(Error::new(PROVIDER, ErrorKind::Unsupported, text))
    };
    if set.set_identifier().is_some() {
        return unsupported("one of several sets under a routing policy");
    }
    let (None, Some(ttl)) = (set.alias_target(), set.ttl()) else {
        return unsupported("an alias target");
    };
    let values: Vec<String> = set
        .resource_records()
        .iter()
        .map(|record| plain(kind, record.value()))
        .collect();
    let ttl = u32::try_from(ttl).unwrap_or(0);
    let made = RecordSet::new(name.clone(), kind, ttl, values);
    made.map(Some)
        .map_err(|e| Error::new(PROVIDER, ErrorKind::Unsupported, e.to_string()))
}

/// The batch of `change`, given what is stored: DELETE to the letter, then CREATE.
pub(super) fn changes(
    change: &Change,
    stored: &[ResourceRecordSet],
    marker: Option<&ResourceRecordSet>,
) -> Result<Vec<WireChange>, Error> {
    let mut batch = Vec::new();
    match (&change.expected, &change.desired) {
        // The guard alone: take the set away and put it back as it is.
        (Expected::Exactly(expected), desired) => {
            let old = stored.iter().find(|set| kind(set) == Some(expected.kind));
            if let Some(old) = old {
                batch.push(step(change, ChangeAction::Delete, old.clone())?);
                let new = desired
                    .as_ref()
                    .map_or_else(|| Ok(old.clone()), |set| write(change, set))?;
                batch.push(step(change, ChangeAction::Create, new)?);
            }
        }
        (Expected::Absent, Some(desired)) => {
            batch.push(step(change, ChangeAction::Create, write(change, desired)?)?)
        }
        (Expected::Any, Some(desired)) => {
            batch.push(step(change, ChangeAction::Upsert, write(change, desired)?)?)
        }
        (Expected::Absent | Expected::Any, None) => {}
    }
    if let Some(wanted) = &change.marker {
        let ttl = change.desired.as_ref().map_or(MARKER_TTL, |set| set.ttl);
        let name = change
            .name
            .marker()
            .map_err(|e| Error::new(PROVIDER, ErrorKind::Invalid, e.to_string()))?;
        let new = RecordSet {
            name,
            kind: RecordType::Txt,
            ttl,
            values: vec![wanted.desired.clone()],
        };
        let mut new = write(change, &new)?;
        if let Some(old) = marker {
            batch.push(step(change, ChangeAction::Delete, old.clone())?);
            if wanted.expected.as_ref() == Some(&wanted.desired) {
                new = old.clone();
            }
        }
        batch.push(step(change, ChangeAction::Create, new)?);
    }
    Ok(batch)
}

/// A batch with the names, types and actions of `change` that cannot be carried out: of two different sets of one
/// name and type at most one can be there to be deleted.
pub(super) fn probe(
    change: &Change,
    stored: &[ResourceRecordSet],
    marker: Option<&ResourceRecordSet>,
) -> Result<ChangeBatch, Error> {
    let (name, kind) = match &change.desired {
        Some(desired) => (change.name.clone(), desired.kind),
        None => {
            let name = change
                .name
                .marker()
                .map_err(|e| Error::new(PROVIDER, ErrorKind::Invalid, e.to_string()))?;
            (name, RecordType::Txt)
        }
    };
    // Values kept for documentation; it would not matter if one of them were there.
    let pair = match kind {
        RecordType::A => ["192.0.2.1", "192.0.2.2"],
        RecordType::Aaaa => ["2001:db8::1", "2001:db8::2"],
        RecordType::Cname => ["one.invalid", "two.invalid"],
        RecordType::Txt => ["check one", "check two"],
    };
    let mut batch = Vec::new();
    for value in pair {
        let set = RecordSet {
            name: name.clone(),
            kind,
            ttl: MARKER_TTL,
            values: vec![value.to_owned()],
        };
        batch.push(step(change, ChangeAction::Delete, write(change, &set)?)?);
    }
    batch.extend(changes(change, stored, marker)?);
    let built = ChangeBatch::builder()
        .comment("runbook check")
        .set_changes(Some(batch))
        .build();
    built.map_err(|e| failure::unbuildable(change, e))
}

/// Cuts the token to what a comment may hold.
pub(super) fn comment(token: &str) -> String {
    token.chars().take(COMMENT_LIMIT).collect()
}

fn step(
    change: &Change,
    action: ChangeAction,
    set: ResourceRecordSet,
) -> Result<WireChange, Error> {
    let built = WireChange::builder()
        .action(action)
        .resource_record_set(set)
        .build();
    built.map_err(|e| failure::unbuildable(change, e))
}

fn write(change: &Change, set: &RecordSet) -> Result<ResourceRecordSet, Error> {
    let kind = match set.kind {
        RecordType::A => RrType::A,
        RecordType::Aaaa => RrType::Aaaa,
        RecordType::Cname => RrType::Cname,
        RecordType::Txt => RrType::Txt,
    };
    let mut builder = ResourceRecordSet::builder()
        .name(fqdn(&set.name))
        .r#type(kind)
        .ttl(set.ttl.into());
    for value in &set.values {
        let record = ResourceRecord::builder()
            .value(stored_form(set.kind, value))
            .build();
        builder = builder.resource_records(record.map_err(|e| failure::unbuildable(change, e))?);
    }
    builder.build().map_err(|e| failure::unbuildable(change, e))
}

fn stored_form(kind: RecordType, value: &str) -> String {
    match kind {
        RecordType::Cname => format!("{value}."),
        RecordType::Txt => quote(value),
        RecordType::A | RecordType::Aaaa => value.to_owned(),
    }
}

fn plain(kind: RecordType, value: &str) -> String {
    if kind == RecordType::Txt {
        unquote(value)
    } else {
        value.to_owned()
    }
}

/// Writes text as quoted strings of at most 255 octets. Quotes and backslashes are escaped, what is not printable
/// ASCII goes as three octal digits.
fn quote(text: &str) -> String {
    let strings: Vec<&[u8]> = if text.is_empty() {
        vec![b""]
    } else {
        text.as_bytes().chunks(TXT_STRING).collect()
    };
    let quoted = strings.into_iter().map(|string| {
        let octets = string.iter().map(|octet| match octet {
            b'"' | b'\\' => format!("\\{}", char::from(*octet)),
            b' '..=b'~' => char::from(*octet).to_string(),
            other => format!("\\{other:03o}"),
        });
        format!("\"{}\"", octets.collect::<String>())
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Reads quoted strings back into one text. What stands outside of quotes is taken as it is if nothing is quoted.
fn unquote(value: &str) -> String {
    if !value.contains('"') {
        return value.to_owned();
    }
    let mut octets = Vec::new();
    let mut inside = false;
    let mut rest = value.bytes().peekable();
    while let Some(octet) = rest.next() {
        match octet {
            b'"' => inside = !inside,
            b'\\' if inside => {
                let mut code = 0u32;
                let mut digits = 0;
                while digits < 3
                    && let Some(digit @ b'0'..=b'7') = rest.peek()
                {
                    code = code * 8 + u32::from(digit - b'0');
                    digits += 1;
                    rest.next();
                }
                match u8::try_from(code) {
                    Ok(octet) if digits == 3 => octets.push(octet),
                    _ => octets.extend(rest.next()),
                }
            }
            octet if inside => octets.push(octet),
            _ => {}
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::MarkerChange;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn set(kind: RecordType, ttl: u32, value: &str) -> RecordSet {
        RecordSet::new(name("h.example.test"), kind, ttl, [value]).unwrap()
    }

    fn change(
        expected: Expected,
        desired: Option<RecordSet>,
        marker: Option<MarkerChange>,
    ) -> Change {
        Change {
            name: name("h.example.test"),
            expected,
            desired,
            marker,
        }
    }

    fn spelled(batch: &[WireChange]) -> Vec<String> {
        let line = |c: &WireChange| {
            let set = c.resource_record_set()?;
            let values: Vec<&str> = set.resource_records().iter().map(|r| r.value()).collect();
            Some(format!(
                "{} {} {} {} {}",
                c.action(),
                set.name(),
                set.ttl()?,
                set.r#type(),
                values.join(",")
            ))
        };
        batch.iter().filter_map(line).collect()
    }

    #[test]
    fn the_stored_set_is_deleted_to_the_letter() {
        // Stored by hand: upper case, no trailing dot, another TTL than expected.
        let record = ResourceRecord::builder()
            .value("AMS.example.test")
            .build()
            .unwrap();
        let stored = ResourceRecordSet::builder()
            .name("h.example.test.")
            .r#type(RrType::Cname)
            .ttl(30);
        let stored = stored.resource_records(record).build().unwrap();
        let old = set(RecordType::Cname, 60, "ams.example.test");
        assert!(read(&stored).unwrap().unwrap().same_values(&old));
        let change = change(
            Expected::Exactly(old),
            Some(set(RecordType::Cname, 60, "fra.example.test")),
            None,
        );
        assert_eq!(
            spelled(&changes(&change, &[stored], None).unwrap()),
            [
                "DELETE h.example.test. 30 CNAME AMS.example.test",
                "CREATE h.example.test. 60 CNAME fra.example.test."
            ]
        );
    }

    #[test]
    fn a_first_write_creates_and_a_forced_one_upserts() {
        let wanted = set(RecordType::A, 60, "192.0.2.1");
        let marker = MarkerChange {
            expected: None,
            desired: "v1 owner=a".into(),
        };
        let first = change(Expected::Absent, Some(wanted.clone()), Some(marker));
        assert_eq!(
            spelled(&changes(&first, &[], None).unwrap()),
            [
                "CREATE h.example.test. 60 A 192.0.2.1",
                "CREATE _dr-owner.h.example.test. 60 TXT \"v1 owner=a\""
            ]
        );
        let forced = change(Expected::Any, Some(wanted), None);
        assert_eq!(
            spelled(&changes(&forced, &[], None).unwrap()),
            ["UPSERT h.example.test. 60 A 192.0.2.1"]
        );
    }

    #[test]
    fn a_probe_deletes_one_set_twice() {
        let wanted = set(RecordType::A, 60, "192.0.2.9");
        let batch = probe(&change(Expected::Absent, Some(wanted), None), &[], None).unwrap();
        assert_eq!(
            spelled(batch.changes()),
            [
                "DELETE h.example.test. 60 A 192.0.2.1",
                "DELETE h.example.test. 60 A 192.0.2.2",
                "CREATE h.example.test. 60 A 192.0.2.9",
            ]
        );
    }

    #[test]
    fn what_is_not_a_plain_set_is_refused() {
        let weighted = ResourceRecordSet::builder()
            .name("h.example.test.")
            .r#type(RrType::A)
            .ttl(60);
        let weighted = weighted.set_identifier("one").weight(1).build().unwrap();
        assert_eq!(read(&weighted).unwrap_err().kind, ErrorKind::Unsupported);
        let alias = ResourceRecordSet::builder()
            .name("h.example.test.")
            .r#type(RrType::A)
            .build()
            .unwrap();
        assert_eq!(read(&alias).unwrap_err().kind, ErrorKind::Unsupported);
        let mail = ResourceRecordSet::builder()
            .name("h.example.test.")
            .r#type(RrType::Mx)
            .ttl(60)
            .build()
            .unwrap();
        assert_eq!(read(&mail).unwrap(), None);
    }

    #[test]
    fn text_survives_its_quotes() {
        for text in [
            "",
            "v1 owner=a",
            "a \"b\" \\ c",
            "bücher",
            &"x".repeat(600),
            "1\\101",
        ] {
            assert_eq!(unquote(&quote(text)), text, "{text:?}");
        }
        assert_eq!(quote("bü\""), "\"b\\303\\274\\\"\"");
        assert_eq!(unquote("bare"), "bare");
    }

    #[test]
    fn names_come_escaped() {
        let star = ResourceRecordSet::builder()
            .name("\\052.example.test.")
            .r#type(RrType::A)
            .ttl(60);
        let record = ResourceRecord::builder()
            .value("192.0.2.1")
            .build()
            .unwrap();
        let star = star.resource_records(record).build().unwrap();
        assert_eq!(read(&star).unwrap().unwrap().name, name("*.example.test"));
    }
}
