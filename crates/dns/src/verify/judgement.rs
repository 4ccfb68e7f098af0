//! What observations mean. Pure: no I/O, no clock.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::record::{RecordSet, RecordType};
use crate::verify::observe::{Observation, Unreachable, Vantage};

/// The pause between two looks at an authoritative server starts here and doubles up to the limit.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const AUTHORITATIVE_PAUSE_LIMIT: Duration = Duration::from_millis(500);
/// A cache is asked at least this often.
const CACHE_PAUSE_LIMIT: Duration = Duration::from_secs(5);
/// How often in a row a vantage must say the new value. Behind one address may stand several caches (anycast),
/// so two questions may reach two of them.
const IN_A_ROW: u32 = 2;

/// What a vantage says, compared with the new and the old value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The new value.
    New,
    /// The old value.
    Old,
    /// Something else.
    Other(Vec<String>),
    /// That there is nothing.
    Negative,
    /// Nothing that can be used, and why.
    Unreachable(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::New => f.write_str("new value"),
            Verdict::Old => f.write_str("old value"),
            Verdict::Other(values) => write!(f, "other value: {}", values.join(", ")),
            Verdict::Negative => f.write_str("no such record"),
            Verdict::Unreachable(why) => write!(f, "no answer: {why}"),
        }
    }
}

/// Judges one observation of `new`'s name. Compares values, not TTLs.
pub fn judge(
    observed: &Result<Observation, Unreachable>,
    new: &RecordSet,
    old: Option<&RecordSet>,
) -> Verdict {
    let observation = match observed {
        Ok(observation) => observation,
        Err(e) => return Verdict::Unreachable(e.why.clone()),
    };
    if !matches!(observation.rcode.as_str(), "NOERROR" | "NXDOMAIN") {
        return Verdict::Unreachable(observation.rcode.clone());
    }
    if matches!(observation.vantage, Vantage::Authoritative(_)) && !observation.authoritative {
        return Verdict::Unreachable("it does not serve the zone".to_owned());
    }
    // The first set at the name itself: what follows in the answer belongs to the alias's target.
    let Some(there) = observation.answers.iter().find(|set| set.name == new.name) else {
        return Verdict::Negative;
    };
    if there.same_values(new) {
        Verdict::New
    } else if old.is_some_and(|old| there.same_values(old)) {
        Verdict::Old
    } else {
        Verdict::Other(there.values.clone())
    }
}

/// How long until the last of these vantages forgets the old value, as the caches themselves say. Nothing when
/// none holds it.
pub fn eta(
    observed: &[(Vantage, Result<Observation, Unreachable>)],
    old: &RecordSet,
) -> Option<Duration> {
    let left = observed.iter().filter_map(|(vantage, observed)| {
        let observation = observed
            .as_ref()
            .ok()
            .filter(|_| !matches!(vantage, Vantage::Authoritative(_)))?;
        let held = observation.answers.iter().find(|set| set.same_values(old));
        held.map(|set| set.ttl).or(observation.negative_ttl)
    });
    left.max()
        .map(|seconds| Duration::from_secs(seconds.into()))
}

/// How long to wait before looking at the vantage again; `last` is the pause before this look.
///
/// Authoritative servers are asked quickly. A cache says itself how long it will keep what it has: asking more
/// often than at a quarter of that does not make it forget sooner.
pub fn next_poll(
    vantage: &Vantage,
    observed: &Result<Observation, Unreachable>,
    kind: RecordType,
    last: Option<Duration>,
) -> Duration {
    let doubled = last
        .map_or(FIRST_PAUSE, |last| last.saturating_mul(2))
        .clamp(FIRST_PAUSE, AUTHORITATIVE_PAUSE_LIMIT);
    let held = match (vantage, observed) {
        (Vantage::Resolver(_) | Vantage::System, Ok(o)) => o
            .answers
            .iter()
            .find(|set| set.kind == kind)
            .map(|set| set.ttl)
            .or(o.negative_ttl),
        _ => None,
    };
    match held {
        // Down to the second before it expires a quarter is still more than nothing to wait for.
        Some(ttl) => {
            (Duration::from_secs(ttl.into()) / 4).clamp(FIRST_PAUSE * 10, CACHE_PAUSE_LIMIT)
        }
        None => doubled,
    }
}

/// Whether serial `have` is `want` or later, RFC 1982: serials wrap.
pub fn serial_reached(have: u32, want: u32) -> bool {
    have.wrapping_sub(want) < 1 << 31
}

/// Whether all required vantages have come to the new value: each said so twice in a row.
#[derive(Clone, Debug, Serialize)]
pub struct Convergence {
    vantages: BTreeMap<Vantage, Standing>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Standing {
    last: Option<Verdict>,
    new_in_a_row: u32,
}

impl Convergence {
    /// Starts with nothing seen. Without required vantages nothing can converge.
    pub fn new(required: impl IntoIterator<Item = Vantage>) -> Convergence {
        Convergence {
            vantages: required
                .into_iter()
                .map(|vantage| (vantage, Standing::default()))
                .collect(),
        }
    }

    /// Takes one verdict in. One of a vantage that is not required changes nothing.
    pub fn record(&mut self, vantage: &Vantage, verdict: Verdict) {
        if let Some(standing) = self.vantages.get_mut(vantage) {
            standing.new_in_a_row = if verdict == Verdict::New {
                standing.new_in_a_row + 1
            } else {
                0
            };
            standing.last = Some(verdict);
        }
    }

    /// Whether all required vantages said the new value twice in a row.
    pub fn converged(&self) -> bool {
        !self.vantages.is_empty() && self.vantages.values().all(|s| s.new_in_a_row >= IN_A_ROW)
    }

    /// The vantages still waited for, each with what it said last.
    pub fn waiting(&self) -> Vec<(&Vantage, Option<&Verdict>)> {
        let waiting = self
            .vantages
            .iter()
            .filter(|(_, s)| s.new_in_a_row < IN_A_ROW);
        waiting
            .map(|(vantage, standing)| (vantage, standing.last.as_ref()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    fn cname(to: &str) -> RecordSet {
        RecordSet::new(
            Name::parse("h.example.test").unwrap(),
            RecordType::Cname,
            60,
            [to],
        )
        .unwrap()
    }

    fn server(n: u8) -> Vantage {
        Vantage::Authoritative(([192, 0, 2, n], 53).into())
    }

    fn cache(n: u8) -> Vantage {
        Vantage::Resolver(([192, 0, 2, n], 53).into())
    }

    fn saw(
        vantage: Vantage,
        rcode: &str,
        answers: Vec<RecordSet>,
    ) -> Result<Observation, Unreachable> {
        let negative_ttl = answers.is_empty().then_some(30);
        let rtt = Duration::from_millis(1);
        let authoritative = matches!(vantage, Vantage::Authoritative(_));
        Ok(Observation {
            vantage,
            rcode: rcode.into(),
            authoritative,
            truncated: false,
            answers,
            negative_ttl,
            rtt,
        })
    }

    #[test]
    fn verdicts() {
        let (new, old) = (cname("fra.example.test"), cname("ams.example.test"));
        let address = RecordSet::new(new.name.clone(), RecordType::A, 60, ["192.0.2.9"]).unwrap();
        let mut lame = saw(server(1), "NOERROR", vec![new.clone()]);
        if let Ok(o) = &mut lame {
            o.authoritative = false;
        }
        let dead = Err(Unreachable {
            vantage: server(1),
            why: "no answer within 1s".into(),
        });
        let cases = [
            (
                saw(
                    server(1),
                    "NOERROR",
                    vec![RecordSet {
                        ttl: 5,
                        ..new.clone()
                    }],
                ),
                Verdict::New,
            ),
            (saw(server(1), "NOERROR", vec![old.clone()]), Verdict::Old),
            (
                saw(server(1), "NOERROR", vec![cname("x.test")]),
                Verdict::Other(vec!["x.test".into()]),
            ),
            (
                saw(server(1), "NOERROR", vec![address]),
                Verdict::Other(vec!["192.0.2.9".into()]),
            ),
            (saw(server(1), "NOERROR", vec![]), Verdict::Negative),
            (saw(server(1), "NXDOMAIN", vec![]), Verdict::Negative),
            (
                saw(server(1), "SERVFAIL", vec![]),
                Verdict::Unreachable("SERVFAIL".into()),
            ),
            (
                lame,
                Verdict::Unreachable("it does not serve the zone".into()),
            ),
            (dead, Verdict::Unreachable("no answer within 1s".into())),
        ];
        for (observed, verdict) in cases {
            assert_eq!(judge(&observed, &new, Some(&old)), verdict);
        }
    }

    #[test]
    fn converged_means_all_required_twice_in_a_row() {
        let mut c = Convergence::new([server(1), server(2)]);
        assert!(!c.converged());
        c.record(&server(1), Verdict::New);
        c.record(&server(1), Verdict::New);
        c.record(&server(2), Verdict::New);
        assert!(!c.converged());
        c.record(&server(2), Verdict::Old);
        c.record(&server(2), Verdict::New);
        assert!(
            !c.converged(),
            "the old value in between starts the count again"
        );
        assert_eq!(c.waiting(), [(&server(2), Some(&Verdict::New))]);
        c.record(&server(3), Verdict::Old);
        c.record(&server(2), Verdict::New);
        assert!(
            c.converged(),
            "a vantage that is not required holds nothing up"
        );
        assert!(
            !Convergence::new([]).converged(),
            "nobody asked is nobody agreed"
        );
    }

    #[test]
    fn caches_are_asked_by_their_ttl_and_servers_quickly() {
        let old = cname("ams.example.test");
        let kind = RecordType::Cname;
        let held = |ttl| saw(cache(1), "NOERROR", vec![RecordSet { ttl, ..old.clone() }]);
        let ms = Duration::from_millis;
        assert_eq!(next_poll(&cache(1), &held(8), kind, None), ms(2000));
        assert_eq!(next_poll(&cache(1), &held(3600), kind, None), ms(5000));
        assert_eq!(next_poll(&cache(1), &held(0), kind, None), ms(200));
        let auth = saw(server(1), "NOERROR", vec![old.clone()]);
        assert_eq!(next_poll(&server(1), &auth, kind, None), ms(20));
        assert_eq!(next_poll(&server(1), &auth, kind, Some(ms(20))), ms(40));
        assert_eq!(next_poll(&server(1), &auth, kind, Some(ms(400))), ms(500));
        let all = [
            (cache(1), held(17)),
            (cache(2), held(40)),
            (server(1), auth),
        ];
        assert_eq!(eta(&all, &old), Some(Duration::from_secs(40)));
    }

    #[test]
    fn serials_wrap() {
        for (have, want, reached) in [
            (5, 5, true),
            (6, 5, true),
            (4, 5, false),
            (0, u32::MAX, true),
            (u32::MAX, 0, false),
        ] {
            assert_eq!(serial_reached(have, want), reached, "{have} {want}");
        }
    }
}
