//! What a change is: one name, what is expected there, what is wanted.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::name::Name;
use crate::record::{RecordSet, RecordType, Zone};
use crate::traits::Capabilities;

/// What must stand at the name for the change to be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// Whatever: the forced change, for a person who typed the force.
    Any,
    /// Nothing of any type. Also what puts a vanished name back.
    Absent,
    /// Exactly this set.
    Exactly(RecordSet),
}

/// One name and its marker, nothing else. (A batch shared with other names fails for their sake.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The name to change.
    pub name: Name,
    /// The guard on the record.
    pub expected: Expected,
    /// The set wanted there. `None` leaves the record alone: only the marker changes.
    pub desired: Option<RecordSet>,
    /// The guard on the marker, and the marker wanted. `None` leaves it alone.
    pub marker: Option<MarkerChange>,
}

/// The TXT value at `_dr-owner.<name>`, such as `v1 owner=<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkerChange {
    /// The marker that must stand there. `None`: there must be none.
    pub expected: Option<String>,
    /// The marker wanted. Equal to `expected`: a guard and nothing more.
    pub desired: String,
}

/// What stands at a name, in the provider's own view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The sets at the name, of every type this crate knows.
    pub sets: Vec<RecordSet>,
    /// The marker's set.
    pub marker: Option<RecordSet>,
}

/// What a provider said when it took a change. It does not say that the change is served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The provider's id of the change, where it has one.
    pub change_id: Option<String>,
    /// The zone's serial read after the change, where there is one.
    pub serial: Option<u32>,
}

/// How far a change has come inside the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeStatus {
    /// Taken, not yet at every server.
    Pending,
    /// At every server, as far as the provider knows.
    InSync,
    /// The provider cannot say.
    Unknown,
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub level: FindingLevel,
    /// What it is, as a lower-case fragment.
    pub text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingLevel {
    /// Good to know.
    Info,
    /// The change would work, but look at this.
    Warning,
    /// The change would not work.
    Error,
}

impl Finding {
    pub(crate) fn info(text: impl Into<String>) -> Finding {
        Finding {
            level: FindingLevel::Info,
            text: text.into(),
        }
    }

    pub(crate) fn warning(text: impl Into<String>) -> Finding {
        Finding {
            level: FindingLevel::Warning,
            text: text.into(),
        }
    }

    pub(crate) fn error(text: impl Into<String>) -> Finding {
        Finding {
            level: FindingLevel::Error,
            text: text.into(),
        }
    }
}

impl Found {
    /// Returns the set of one type.
    pub fn set(&self, kind: RecordType) -> Option<&RecordSet> {
        self.sets.iter().find(|set| set.kind == kind)
    }

    /// Returns the marker's text, its values joined should there be several.
    pub fn marker_text(&self) -> Option<String> {
        self.marker.as_ref().map(|set| set.values.join("; "))
    }
}

impl Change {
    /// Whether `found` is what this change wants, TTL included: then there is nothing left to do.
    pub fn is_done(&self, found: &Found) -> bool {
        let record = match &self.desired {
            // Beside an alias nothing may stand: a neighbour would mean that the old value is still served.
            Some(desired) => {
                let alone = found.sets.len() == 1;
                let alias = found.set(RecordType::Cname).is_some();
                found.set(desired.kind) == Some(desired) && (alone || !alias)
            }
            None => self.expectation_holds(found),
        };
        record
            && self
                .marker
                .as_ref()
                .is_none_or(|m| found.marker_text().as_deref() == Some(m.desired.as_str()))
    }

    /// Whether the record's guard holds for `found`. Compares values, as servers do, not the TTL.
    pub fn expectation_holds(&self, found: &Found) -> bool {
        match &self.expected {
            Expected::Any => true,
            Expected::Absent => found.sets.is_empty(),
            Expected::Exactly(set) => found
                .set(set.kind)
                .is_some_and(|there| there.same_values(set)),
        }
    }

    /// Returns the marker found when it is neither the expected nor the desired one: another owner's.
    pub fn foreign_marker(&self, found: &Found) -> Option<String> {
        let change = self.marker.as_ref()?;
        let there = found.marker_text()?;
        let ours = change.expected.as_ref() == Some(&there) || change.desired == there;
        (!ours).then_some(there)
    }

    /// Refuses what no server should be asked: a name outside the zone, an alias at the apex, sets that are
    /// not about this name, a TTL below the provider's floor.
    pub(crate) fn validate(&self, zone: &Zone, capabilities: &Capabilities) -> Result<(), Error> {
        let invalid =
            |text: String| Err(Error::new(capabilities.provider, ErrorKind::Invalid, text));
        if !self.name.is_within(&zone.name) {
            return invalid(format!(
                "`{}` is not inside zone `{}`",
                self.name, zone.name
            ));
        }
        let expected = match &self.expected {
            Expected::Exactly(set) => Some(set),
            Expected::Any | Expected::Absent => None,
        };
        if let Some(set) = expected
            .into_iter()
            .chain(&self.desired)
            .find(|set| set.name != self.name)
        {
            return invalid(format!(
                "the change is about `{}`, but a set in it is about `{}`",
                self.name, set.name
            ));
        }
        if let Some(desired) = &self.desired {
            if desired.kind == RecordType::Cname && self.name.is_apex(&zone.name) {
                return invalid(format!(
                    "`{}` is the apex of its zone, where no CNAME may stand",
                    self.name
                ));
            }
            if desired.ttl < capabilities.min_ttl {
                let (ttl, floor) = (desired.ttl, capabilities.min_ttl);
                return invalid(format!(
                    "a TTL of {ttl} s for `{}` is below the floor of {floor} s",
                    self.name
                ));
            }
            // The fields are public: a set may not have come through its constructor.
            match RecordSet::new(
                desired.name.clone(),
                desired.kind,
                desired.ttl,
                &desired.values,
            ) {
                Ok(normal) if normal == *desired => {}
                Ok(_) => {
                    return invalid(format!(
                        "the values of `{desired}` are not in their normal form"
                    ));
                }
                Err(e) => return invalid(e.to_string()),
            }
        }
        if self.desired.is_none() && self.marker.is_none() {
            return invalid(format!("the change of `{}` wants nothing", self.name));
        }
        match self.marker.as_ref().map(|_| self.name.marker()) {
            Some(Err(e)) => invalid(e.to_string()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traits::Atomicity;

    const CAPABILITIES: Capabilities = Capabilities {
        provider: "test",
        compare_and_set: Atomicity::Atomic,
        batch: Atomicity::Atomic,
        change_id: false,
        min_ttl: 5,
        marker_in_prerequisite: true,
        control_plane: None,
    };

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn cname(at: &str, ttl: u32, to: &str) -> RecordSet {
        RecordSet::new(name(at), RecordType::Cname, ttl, [to]).unwrap()
    }

    fn change(at: &str, desired: RecordSet) -> Change {
        Change {
            name: name(at),
            expected: Expected::Absent,
            desired: Some(desired),
            marker: None,
        }
    }

    #[test]
    fn a_change_that_cannot_be_right_is_refused_before_anything_leaves() {
        let zone = Zone {
            name: name("example.test"),
            id: None,
        };
        let cases = [
            (
                change("example.test", cname("example.test", 60, "a.test")),
                "apex",
            ),
            (
                change("h.other.test", cname("h.other.test", 60, "a.test")),
                "not inside zone",
            ),
            (
                change("h.example.test", cname("x.example.test", 60, "a.test")),
                "is about `x.example.test`",
            ),
            (
                change("h.example.test", cname("h.example.test", 1, "a.test")),
                "below the floor of 5 s",
            ),
            (
                Change {
                    desired: None,
                    ..change("h.example.test", cname("h.example.test", 60, "a.test"))
                },
                "wants nothing",
            ),
        ];
        for (change, text) in cases {
            let error = change.validate(&zone, &CAPABILITIES).unwrap_err();
            assert!(
                matches!(error.kind, ErrorKind::Invalid) && error.message.contains(text),
                "{error}"
            );
        }
        let good = change("h.example.test", cname("h.example.test", 60, "a.test"));
        assert!(good.validate(&zone, &CAPABILITIES).is_ok());
    }

    #[test]
    fn done_looks_at_ttl_and_at_neighbours() {
        let wanted = cname("h.example.test", 60, "a.test");
        let change = change("h.example.test", wanted.clone());
        let found = |sets: Vec<RecordSet>| Found { sets, marker: None };
        assert!(change.is_done(&found(vec![wanted.clone()])));
        assert!(!change.is_done(&found(vec![RecordSet {
            ttl: 5,
            ..wanted.clone()
        }])));
        let other = RecordSet::new(name("h.example.test"), RecordType::Txt, 60, ["x"]).unwrap();
        assert!(!change.is_done(&found(vec![wanted, other])));
        assert!(!change.is_done(&found(vec![])));
    }

    #[test]
    fn a_marker_is_foreign_unless_expected_or_wanted() {
        let marker = |text: &str| {
            let set = RecordSet::new(
                name("_dr-owner.h.example.test"),
                RecordType::Txt,
                60,
                [text],
            )
            .unwrap();
            Found {
                sets: vec![],
                marker: Some(set),
            }
        };
        let change = Change {
            marker: Some(MarkerChange {
                expected: Some("v1 owner=a".into()),
                desired: "v1 owner=b".into(),
            }),
            ..change("h.example.test", cname("h.example.test", 60, "a.test"))
        };
        assert_eq!(change.foreign_marker(&marker("v1 owner=a")), None);
        assert_eq!(change.foreign_marker(&marker("v1 owner=b")), None);
        assert_eq!(
            change.foreign_marker(&marker("v1 owner=c")).as_deref(),
            Some("v1 owner=c")
        );
        assert_eq!(change.foreign_marker(&Found::default()), None);
    }
}
