//! The rules of RFC 2136 on a zone, as pure functions.

use std::collections::BTreeMap;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, RData, Record as WireRecord, RecordType};

use super::zone::{Effect, Zone};

impl Zone {
    /// RFC 2136 section 3.2: do the prerequisites hold?
    pub fn prerequisites(&self, records: &[WireRecord]) -> Result<(), ResponseCode> {
        let mut exact: BTreeMap<(Name, RecordType), Vec<RData>> = BTreeMap::new();
        for record in records {
            let (name, kind) = (record.name.to_lowercase(), record.record_type());
            if record.ttl != 0 {
                return Err(ResponseCode::FormErr);
            }
            if !self.origin().zone_of(&name) {
                return Err(ResponseCode::NotZone);
            }
            let empty = matches!(record.data, RData::Update0(_));
            match record.dns_class {
                DNSClass::ANY if empty => match kind {
                    RecordType::ANY if !self.in_use(&name) => return Err(ResponseCode::NXDomain),
                    RecordType::ANY => {}
                    kind if self.records(&name, kind).is_empty() => {
                        return Err(ResponseCode::NXRRSet);
                    }
                    _ => {}
                },
                DNSClass::NONE if empty => match kind {
                    RecordType::ANY if self.in_use(&name) => return Err(ResponseCode::YXDomain),
                    RecordType::ANY => {}
                    kind if !self.records(&name, kind).is_empty() => {
                        return Err(ResponseCode::YXRRSet);
                    }
                    _ => {}
                },
                DNSClass::IN => exact
                    .entry((name, kind))
                    .or_default()
                    .push(record.data.clone()),
                _ => return Err(ResponseCode::FormErr),
            }
        }
        for ((name, kind), wanted) in exact {
            let there: Vec<RData> = self
                .records(&name, kind)
                .into_iter()
                .map(|r| r.data)
                .collect();
            let equal = there.iter().all(|d| wanted.contains(d))
                && wanted.iter().all(|d| there.contains(d));
            if !equal {
                return Err(ResponseCode::NXRRSet);
            }
        }
        Ok(())
    }

    /// RFC 2136 section 3.4.1: is every update well formed? Nothing is changed before all have passed.
    pub fn prescan(&self, records: &[WireRecord]) -> Result<(), ResponseCode> {
        for record in records {
            if !self.origin().zone_of(&record.name) {
                return Err(ResponseCode::NotZone);
            }
            let empty = matches!(record.data, RData::Update0(_));
            let well_formed = match record.dns_class {
                DNSClass::IN => !empty && record.record_type() != RecordType::ANY,
                DNSClass::ANY => empty && record.ttl == 0,
                DNSClass::NONE => {
                    !empty && record.ttl == 0 && record.record_type() != RecordType::ANY
                }
                _ => false,
            };
            if !well_formed {
                return Err(ResponseCode::FormErr);
            }
        }
        Ok(())
    }

    /// RFC 2136 section 3.4.2: applies the updates in order and says what they came to.
    pub fn update(&mut self, records: &[WireRecord]) -> Vec<Effect> {
        let before = self.clone();
        for record in records {
            let (name, kind) = (record.name.to_lowercase(), record.record_type());
            match record.dns_class {
                DNSClass::IN => self.add(record),
                DNSClass::ANY if kind == RecordType::ANY => {
                    let apex = name == *self.origin();
                    if let Some(types) = self.sets.get_mut(&name) {
                        types.retain(|t, _| apex && *t == RecordType::NS);
                    }
                }
                DNSClass::ANY => self.remove(&name, kind),
                DNSClass::NONE => {
                    if let Some(set) = self
                        .sets
                        .get_mut(&name)
                        .and_then(|types| types.get_mut(&kind))
                    {
                        set.data.retain(|d| *d != record.data);
                    }
                }
                _ => {}
            }
            // At once: a set emptied here must not stand in the way of an alias added next.
            self.sweep();
        }
        self.effects_since(&before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::RecordKind;
    use crate::dns::zone::absolute;
    use crate::dns::zone::tests::zone;

    fn name(text: &str) -> Name {
        absolute(text).unwrap()
    }

    fn add(at: &str, kind: RecordKind, value: &str) -> WireRecord {
        WireRecord::from_rdata(name(at), 60, kind.data(value).unwrap())
    }

    fn exactly(at: &str, kind: RecordKind, value: &str) -> WireRecord {
        WireRecord::from_rdata(name(at), 0, kind.data(value).unwrap())
    }

    fn bare(at: &str, class: DNSClass, kind: RecordType) -> WireRecord {
        let mut record = WireRecord::update0(name(at), 0, kind);
        record.dns_class = class;
        record
    }

    #[test]
    fn prerequisites_hold_or_name_the_reason() {
        use {DNSClass as C, RecordKind as K, RecordType as T};
        let h = "Harbor.sandbox.test";
        let two = vec![
            exactly("ams.sandbox.test", K::A, "127.0.0.11"),
            exactly("ams.sandbox.test", K::A, "127.0.0.10"),
        ];
        let cases: Vec<(Vec<WireRecord>, Result<(), ResponseCode>)> = vec![
            (vec![exactly(h, K::Cname, "AMS.sandbox.test")], Ok(())),
            (
                vec![exactly(h, K::Cname, "fra.sandbox.test")],
                Err(ResponseCode::NXRRSet),
            ),
            (two.clone(), Ok(())),
            (two[..1].to_vec(), Err(ResponseCode::NXRRSet)),
            (vec![bare(h, C::ANY, T::ANY)], Ok(())),
            (
                vec![bare("no.sandbox.test", C::ANY, T::ANY)],
                Err(ResponseCode::NXDomain),
            ),
            (vec![bare(h, C::ANY, T::A)], Err(ResponseCode::NXRRSet)),
            (vec![bare(h, C::NONE, T::ANY)], Err(ResponseCode::YXDomain)),
            (
                vec![bare("sandbox.test", C::NONE, T::ANY)],
                Err(ResponseCode::YXDomain),
            ),
            // Only something below it: the name itself is not in use.
            (vec![bare("fra.sandbox.test", C::NONE, T::ANY)], Ok(())),
            (vec![bare(h, C::NONE, T::CNAME)], Err(ResponseCode::YXRRSet)),
            (vec![bare(h, C::NONE, T::TXT)], Ok(())),
            (
                vec![bare("h.other.test", C::ANY, T::ANY)],
                Err(ResponseCode::NotZone),
            ),
            (
                vec![add(h, K::Cname, "ams.sandbox.test")],
                Err(ResponseCode::FormErr),
            ),
        ];
        for (records, expected) in cases {
            assert_eq!(zone().prerequisites(&records), expected, "{records:?}");
        }
    }

    #[test]
    fn an_alias_is_replaced_and_never_joined() {
        let mut z = zone();
        let effects = z.update(&[add(
            "harbor.sandbox.test",
            RecordKind::Cname,
            "fra.sandbox.test",
        )]);
        assert_eq!(effects.len(), 1);
        assert_eq!(
            effects[0].before.as_ref().unwrap().values,
            ["ams.sandbox.test"]
        );
        assert_eq!(
            effects[0].after.as_ref().unwrap().values,
            ["fra.sandbox.test"]
        );
        assert_eq!(z.serial(), 2);
        assert!(
            z.update(&[add("harbor.sandbox.test", RecordKind::A, "127.0.0.9")])
                .is_empty()
        );
        assert!(
            z.update(&[add(
                "ams.sandbox.test",
                RecordKind::Cname,
                "fra.sandbox.test"
            )])
            .is_empty()
        );
        assert_eq!(z.serial(), 2, "no effect, no new serial");
    }

    #[test]
    fn one_message_may_change_the_type() {
        let mut z = zone();
        let gone = bare("ams.sandbox.test", DNSClass::ANY, RecordType::A);
        let effects = z.update(&[
            gone,
            add("ams.sandbox.test", RecordKind::Cname, "fra.sandbox.test"),
        ]);
        assert_eq!(effects.len(), 2);
        assert_eq!(
            z.lookup(&name("ams.sandbox.test"), RecordType::CNAME)
                .answers
                .len(),
            1
        );
    }
}
