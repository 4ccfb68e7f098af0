//! The zone: its sets, its serial, and lookups.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::str::FromStr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record as WireRecord, RecordType};
use serde::{Deserialize, Serialize};

use super::{Record, invalid};

/// TTL of what the zone says about itself, in seconds.
const OWN_TTL: u32 = 300;
/// How long a cache may hold that something does not exist, in seconds (SOA minimum).
const NEGATIVE_TTL: u32 = 5;
/// No chain of aliases in a sandbox is longer.
const CHAIN_LIMIT: usize = 8;

/// The record types that can be put into the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordKind {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Alias.
    Cname,
    /// Text.
    Txt,
}

/// All values of one type at one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordSet {
    /// Lower case, without the trailing dot.
    pub name: String,
    /// Its type.
    pub kind: RecordKind,
    /// Seconds.
    pub ttl: u32,
    /// Sorted.
    pub values: Vec<String>,
}

/// What an UPDATE did to one set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The set's name.
    pub name: String,
    /// The set's type.
    pub kind: RecordKind,
    /// What stood there. `None`: nothing.
    pub before: Option<RecordSet>,
    /// What stands there now.
    pub after: Option<RecordSet>,
}

/// What a query finds.
pub(super) struct Answer {
    pub code: ResponseCode,
    pub answers: Vec<WireRecord>,
    /// The SOA, when there is nothing to say.
    pub authority: Vec<WireRecord>,
}

/// One version of the zone.
#[derive(Clone)]
pub(super) struct Zone {
    origin: Name,
    serial: u32,
    pub(super) sets: BTreeMap<Name, BTreeMap<RecordType, Set>>,
}

#[derive(Clone, PartialEq)]
pub(super) struct Set {
    pub ttl: u32,
    pub data: Vec<RData>,
}

impl Zone {
    pub fn new(
        origin: &str,
        primary: IpAddr,
        secondary: IpAddr,
        records: &[Record],
    ) -> io::Result<Zone> {
        let origin = absolute(origin)?;
        let mut zone = Zone {
            origin: origin.clone(),
            serial: 1,
            sets: BTreeMap::new(),
        };
        let servers = [("ns1", primary), ("ns2", secondary)];
        for (label, ip) in servers {
            let name = origin
                .prepend_label(label)
                .map_err(|e| invalid(e.to_string()))?
                .to_lowercase();
            let data = match ip {
                IpAddr::V4(ip) => RData::A(A(ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
            };
            zone.add(&WireRecord::from_rdata(name.clone(), OWN_TTL, data));
            zone.add(&WireRecord::from_rdata(
                origin.clone(),
                OWN_TTL,
                RData::NS(NS(name)),
            ));
        }
        for record in records {
            let name = zone.inside(&record.name)?;
            zone.add(&WireRecord::from_rdata(
                name,
                record.ttl,
                record.kind.data(&record.value)?,
            ));
        }
        Ok(zone)
    }

    pub fn serial(&self) -> u32 {
        self.serial
    }

    pub fn origin(&self) -> &Name {
        &self.origin
    }

    pub fn snapshot(&self) -> Vec<RecordSet> {
        let own = [Name::from_str("ns1"), Name::from_str("ns2")];
        let own = own.map(|label| {
            label
                .and_then(|label| label.append_domain(&self.origin))
                .ok()
        });
        let names = self
            .sets
            .iter()
            .filter(|(name, _)| !own.iter().flatten().any(|n| n == *name));
        names
            .flat_map(|(name, types)| types.keys().filter_map(|t| self.view(name, *t)))
            .collect()
    }

    /// Replaces a set as a person with an editor does, or removes it when there are no values.
    pub fn replace(
        &mut self,
        name: &str,
        kind: RecordKind,
        values: &[&str],
        ttl: u32,
    ) -> io::Result<()> {
        let name = self.inside(name)?;
        let data = values
            .iter()
            .map(|v| kind.data(v))
            .collect::<io::Result<Vec<_>>>()?;
        self.remove(&name, kind.wire());
        if kind == RecordKind::Cname && !data.is_empty() {
            self.sets.remove(&name);
        }
        if !data.is_empty() {
            self.sets
                .entry(name)
                .or_default()
                .insert(kind.wire(), Set { ttl, data });
        }
        self.bump();
        Ok(())
    }

    /// Answers a query, following aliases inside the zone.
    pub fn lookup(&self, name: &Name, kind: RecordType) -> Answer {
        let mut answer = Answer {
            code: ResponseCode::NoError,
            answers: Vec::new(),
            authority: Vec::new(),
        };
        let mut name = name.to_lowercase();
        if !self.origin.zone_of(&name) {
            answer.code = ResponseCode::Refused;
            return answer;
        }
        for _ in 0..CHAIN_LIMIT {
            let here = self.records(&name, kind);
            if !here.is_empty() {
                answer.answers.extend(here);
                return answer;
            }
            let alias = self.records(&name, RecordType::CNAME);
            let Some(RData::CNAME(target)) = alias.first().map(|r| r.data.clone()) else {
                break;
            };
            answer.answers.extend(alias);
            if !self.origin.zone_of(&target.0) {
                return answer;
            }
            name = target.0.to_lowercase();
        }
        // A name with something below it exists, even with no record of its own.
        let exists = self.sets.keys().any(|there| name.zone_of(there));
        answer.code = if exists {
            ResponseCode::NoError
        } else {
            ResponseCode::NXDomain
        };
        let soa = WireRecord::from_rdata(self.origin.clone(), NEGATIVE_TTL, RData::SOA(self.soa()));
        answer.authority.push(soa);
        answer
    }

    /// Removes every set that `records` add, so that the name vanishes although all went well.
    pub fn lose(&mut self, records: &[WireRecord]) {
        for record in records
            .iter()
            .filter(|r| r.dns_class == DNSClass::IN && r.record_type() != RecordType::TXT)
        {
            self.remove(&record.name.to_lowercase(), record.record_type());
        }
        self.sweep();
    }

    /// What changed between `before` and now. Bumps the serial if anything did.
    pub fn effects_since(&mut self, before: &Zone) -> Vec<Effect> {
        let mut effects = Vec::new();
        let names: std::collections::BTreeSet<&Name> =
            before.sets.keys().chain(self.sets.keys()).collect();
        for name in names {
            for kind in RecordKind::ALL {
                let (old, new) = (before.view(name, kind.wire()), self.view(name, kind.wire()));
                if old != new {
                    effects.push(Effect {
                        name: plain(name),
                        kind,
                        before: old,
                        after: new,
                    });
                }
            }
        }
        if before.sets != self.sets && self.serial == before.serial {
            self.bump();
        }
        effects
    }

    pub(super) fn add(&mut self, record: &WireRecord) {
        let (name, kind) = (record.name.to_lowercase(), record.record_type());
        let types = self.sets.entry(name).or_default();
        // RFC 2136, 3.4.2.2: a CNAME beside anything, or anything beside a CNAME, is silently ignored.
        let alias = kind == RecordType::CNAME;
        if types
            .keys()
            .any(|there| (*there == RecordType::CNAME) != alias)
        {
            return;
        }
        let set = types.entry(kind).or_insert_with(|| Set {
            ttl: record.ttl,
            data: Vec::new(),
        });
        set.ttl = record.ttl;
        if alias {
            set.data.clear();
        }
        if !set.data.contains(&record.data) {
            set.data.push(record.data.clone());
        }
    }

    pub(super) fn remove(&mut self, name: &Name, kind: RecordType) {
        if let Some(types) = self.sets.get_mut(name) {
            types.remove(&kind);
        }
        self.sweep();
    }

    /// Forgets empty sets and names: an empty entry would look like a name in use.
    pub(super) fn sweep(&mut self) {
        for types in self.sets.values_mut() {
            types.retain(|_, set| !set.data.is_empty());
        }
        self.sets.retain(|_, types| !types.is_empty());
    }

    fn bump(&mut self) {
        self.serial = self.serial.wrapping_add(1);
    }

    pub(super) fn in_use(&self, name: &Name) -> bool {
        *name == self.origin || self.sets.contains_key(name)
    }

    pub(super) fn records(&self, name: &Name, kind: RecordType) -> Vec<WireRecord> {
        if kind == RecordType::SOA && *name == self.origin {
            return vec![WireRecord::from_rdata(
                name.clone(),
                OWN_TTL,
                RData::SOA(self.soa()),
            )];
        }
        let Some(types) = self.sets.get(name) else {
            return Vec::new();
        };
        let wanted = types
            .iter()
            .filter(|(t, _)| kind == RecordType::ANY || **t == kind);
        wanted
            .flat_map(|(_, set)| {
                set.data
                    .iter()
                    .map(|d| WireRecord::from_rdata(name.clone(), set.ttl, d.clone()))
            })
            .collect()
    }

    fn soa(&self) -> SOA {
        let at = |label: &str| {
            self.origin
                .prepend_label(label)
                .unwrap_or_else(|_| self.origin.clone())
        };
        SOA::new(
            at("ns1"),
            at("hostmaster"),
            self.serial,
            3600,
            600,
            86400,
            NEGATIVE_TTL,
        )
    }

    fn view(&self, name: &Name, kind: RecordType) -> Option<RecordSet> {
        let set = self.sets.get(name)?.get(&kind)?;
        let kind = RecordKind::ALL.into_iter().find(|k| k.wire() == kind)?;
        let mut values: Vec<String> = set.data.iter().map(text).collect();
        values.sort();
        Some(RecordSet {
            name: plain(name),
            kind,
            ttl: set.ttl,
            values,
        })
    }

    fn inside(&self, name: &str) -> io::Result<Name> {
        let name = absolute(name)?;
        if self.origin.zone_of(&name) {
            Ok(name)
        } else {
            Err(invalid(format!("`{name}` is outside the zone")))
        }
    }
}

impl RecordKind {
    const ALL: [RecordKind; 4] = [
        RecordKind::A,
        RecordKind::Aaaa,
        RecordKind::Cname,
        RecordKind::Txt,
    ];

    fn wire(self) -> RecordType {
        match self {
            RecordKind::A => RecordType::A,
            RecordKind::Aaaa => RecordType::AAAA,
            RecordKind::Cname => RecordType::CNAME,
            RecordKind::Txt => RecordType::TXT,
        }
    }

    pub(super) fn data(self, value: &str) -> io::Result<RData> {
        let wrong = |e: &dyn std::fmt::Display| invalid(format!("`{value}`: {e}"));
        Ok(match self {
            RecordKind::A => RData::A(A(value.parse().map_err(|e| wrong(&e))?)),
            RecordKind::Aaaa => RData::AAAA(AAAA(value.parse().map_err(|e| wrong(&e))?)),
            RecordKind::Cname => RData::CNAME(CNAME(absolute(value)?)),
            RecordKind::Txt => RData::TXT(TXT::from_bytes(value.as_bytes().chunks(255).collect())),
        })
    }
}

pub(super) fn absolute(text: &str) -> io::Result<Name> {
    let mut name = Name::from_str(text).map_err(|e| invalid(format!("`{text}`: {e}")))?;
    name.set_fqdn(true);
    Ok(name.to_lowercase())
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

fn text(data: &RData) -> String {
    match data {
        RData::CNAME(target) => plain(&target.0.to_lowercase()),
        RData::TXT(txt) => txt
            .txt_data
            .iter()
            .map(|part| String::from_utf8_lossy(part))
            .collect(),
        other => other.to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `harbor` is an alias of `ams`, which has two addresses; below `fra` stands only a marker.
    pub fn zone() -> Zone {
        let record = |name: &str, kind, value: &str| Record {
            name: name.into(),
            kind,
            value: value.into(),
            ttl: 60,
        };
        let records = [
            record("harbor.sandbox.test", RecordKind::Cname, "ams.sandbox.test"),
            record("ams.sandbox.test", RecordKind::A, "127.0.0.10"),
            record("ams.sandbox.test", RecordKind::A, "127.0.0.11"),
            record("_dr-owner.fra.sandbox.test", RecordKind::Txt, "v1 owner=a"),
        ];
        let ip = IpAddr::from([127, 0, 0, 1]);
        Zone::new("sandbox.test", ip, ip, &records).unwrap()
    }

    fn name(text: &str) -> Name {
        absolute(text).unwrap()
    }

    #[test]
    fn lookups_follow_aliases_and_tell_nothing_from_no_data() {
        let z = zone();
        let chain = z.lookup(&name("harbor.sandbox.test"), RecordType::A);
        assert_eq!(chain.answers.len(), 3);
        let below = z.lookup(&name("fra.sandbox.test"), RecordType::A);
        assert_eq!(
            (below.code, below.answers.len(), below.authority.len()),
            (ResponseCode::NoError, 0, 1)
        );
        assert_eq!(
            z.lookup(&name("no.sandbox.test"), RecordType::A).code,
            ResponseCode::NXDomain
        );
        assert_eq!(
            z.lookup(&name("h.other.test"), RecordType::A).code,
            ResponseCode::Refused
        );
    }

    #[test]
    fn the_snapshot_leaves_the_servers_own_records_out() {
        let names: Vec<String> = zone().snapshot().into_iter().map(|set| set.name).collect();
        assert_eq!(
            names,
            [
                "ams.sandbox.test",
                "_dr-owner.fra.sandbox.test",
                "harbor.sandbox.test"
            ]
        );
    }
}
