//! The policies of a pair: as named, or found by looking at the Harbors.

use runbook_definition::{DrPair, Policies};
use runbook_replication::{Found, PairError, find_pull, find_push};
use runbook_steps::SitesReader;
use runbook_steps::bindings::{Direction, PairPolicies, PolicyBinding};

use crate::codes::Code;
use crate::failure::{Failure, Result};

/// Where each policy of a pair lives. Fixed by the declared roles, whichever site serves now.
struct Places<'a> {
    active: &'a str,
    standby: &'a str,
    pulls: bool,
}

/// Which policy.
#[derive(Clone, Copy)]
enum Wanted {
    Forward,
    Reverse,
    FinalSync,
    FinalReverseSync,
}

/// Returns the policies as far as the configuration names them; the others without a name.
pub fn named(pair: &DrPair) -> PairPolicies {
    let places = Places::of(pair);
    let Policies {
        forward,
        reverse,
        final_sync,
        final_reverse_sync,
    } = &pair.policies;
    let bind = |wanted, name: &Option<String>| PolicyBinding {
        site: places.of_policy(wanted).to_owned(),
        name: name.clone().unwrap_or_default(),
    };
    let forward = bind(Wanted::Forward, forward);
    let reverse = bind(Wanted::Reverse, reverse);
    // A pull can be started while its source is read-only, so in a pull pair the policy itself does the final sync.
    let last = |wanted, name: &Option<String>, own: &PolicyBinding| match (name, places.pulls) {
        (Some(_), _) => Some(bind(wanted, name)),
        (None, true) => Some(own.clone()),
        (None, false) => None,
    };
    PairPolicies {
        final_sync: last(Wanted::FinalSync, final_sync, &forward),
        final_reverse_sync: last(Wanted::FinalReverseSync, final_reverse_sync, &reverse),
        forward,
        reverse,
    }
}

/// Looks for the policies that have no name. What cannot be looked for because its site does not answer stays
/// without a name and is returned as a warning, if `lenient`: with a dead active only those of the standby are needed.
pub async fn find(
    pair: &DrPair,
    policies: &mut PairPolicies,
    reader: &SitesReader,
    lenient: bool,
) -> Result<Vec<String>> {
    let places = Places::of(pair);
    let mut warnings = Vec::new();
    for wanted in [Wanted::Forward, Wanted::Reverse] {
        let bound = match wanted {
            Wanted::Forward => &mut policies.forward,
            _ => &mut policies.reverse,
        };
        if !bound.name.is_empty() {
            continue;
        }
        match look(&places, wanted, reader).await {
            Ok(found) => bound.name = found.name,
            Err(error) if lenient && is_unreachable(&error) => {
                warnings.push(format!(
                    "the policy `{}` could not be looked for: {error}",
                    wanted.key()
                ));
            }
            Err(error) => return Err(failure(wanted, &error)),
        }
    }
    if places.pulls {
        for (last, own) in [
            (&mut policies.final_sync, &policies.forward),
            (&mut policies.final_reverse_sync, &policies.reverse),
        ] {
            if let Some(last) = last.as_mut().filter(|last| last.name.is_empty()) {
                last.clone_from(own);
            }
        }
        return Ok(warnings);
    }
    for wanted in [Wanted::FinalSync, Wanted::FinalReverseSync] {
        let bound = match wanted {
            Wanted::FinalSync => &mut policies.final_sync,
            _ => &mut policies.final_reverse_sync,
        };
        if bound.is_some() {
            continue;
        }
        // A push pair may do without them: the step that needs one says so, and its check before anything changes.
        match look(&places, wanted, reader).await {
            Ok(found) => {
                *bound = Some(PolicyBinding {
                    site: found.site,
                    name: found.name,
                })
            }
            Err(error) => warnings.push(format!("no `{}`: {error}", wanted.key())),
        }
    }
    Ok(warnings)
}

/// True if every policy that a pair cannot do without has a name.
pub fn complete(policies: &PairPolicies, direction: Direction) -> bool {
    let named = !policies.forward.name.is_empty() && !policies.reverse.name.is_empty();
    named
        && (direction == Direction::Pull
            || (policies.final_sync.is_some() && policies.final_reverse_sync.is_some()))
}

async fn look(
    places: &Places<'_>,
    wanted: Wanted,
    reader: &SitesReader,
) -> std::result::Result<Found, PairError> {
    let here = places.of_policy(wanted);
    let there = if here == places.active {
        places.standby
    } else {
        places.active
    };
    let none = || PairError::None {
        at: here.to_owned(),
        way: format!("between `{here}` and `{there}`"),
    };
    let (here_reader, there_reader) = (
        reader.harbor(here).ok_or_else(none)?,
        reader.harbor(there).ok_or_else(none)?,
    );
    match wanted {
        Wanted::Forward | Wanted::Reverse if places.pulls => {
            find_pull(here_reader, there_reader, None).await
        }
        Wanted::Forward | Wanted::Reverse => find_push(here_reader, there_reader).await,
        Wanted::FinalSync | Wanted::FinalReverseSync => {
            find_pull(here_reader, there_reader, Some(true)).await
        }
    }
}

fn is_unreachable(error: &PairError) -> bool {
    matches!(error, PairError::Harbor(error) if error.is_unreachable())
}

fn failure(wanted: Wanted, error: &PairError) -> Failure {
    Failure::refused(
        Code::NoPolicies,
        format!("the policy `{}` of the pair cannot be found", wanted.key()),
    )
    .because(error)
    .hint(format!(
        "name it in the configuration: `policies: {{ {}: NAME }}`",
        wanted.key()
    ))
}

impl<'a> Places<'a> {
    fn of(pair: &'a DrPair) -> Places<'a> {
        Places {
            active: pair.active.as_str(),
            standby: pair.standby.as_str(),
            pulls: *pair.direction == runbook_definition::Direction::Pull,
        }
    }

    fn of_policy(&self, wanted: Wanted) -> &'a str {
        match (wanted, self.pulls) {
            // A pull lives where the copy goes, a push where it comes from.
            (Wanted::Forward, true) | (Wanted::Reverse, false) | (Wanted::FinalSync, _) => {
                self.standby
            }
            (Wanted::Forward, false) | (Wanted::Reverse, true) | (Wanted::FinalReverseSync, _) => {
                self.active
            }
        }
    }
}

impl Wanted {
    fn key(self) -> &'static str {
        match self {
            Wanted::Forward => "forward",
            Wanted::Reverse => "reverse",
            Wanted::FinalSync => "final-sync",
            Wanted::FinalReverseSync => "final-reverse-sync",
        }
    }
}
