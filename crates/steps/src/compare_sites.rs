//! What two sites hold, for people who ask at any time.

use jiff::Timestamp;
use runbook_engine::step::StepError;
use runbook_replication::{Comparison, Scope, compare, take};

use crate::fault;
use crate::world::SitesReader;

/// Compares two sites as the forward policy would copy from one to the other, for people who ask at any time.
pub async fn compare_sites(
    reader: &SitesReader,
    source: &str,
    target: &str,
    now: Timestamp,
) -> Result<Comparison, StepError> {
    let unknown = |site: &str| fault::wrong(format!("there is no site `{site}`"));
    let (from, to) = (
        reader.harbor(source).ok_or_else(|| unknown(source))?,
        reader.harbor(target).ok_or_else(|| unknown(target))?,
    );
    let policies = &reader.bindings.policies;
    let mut scope = Scope::all();
    for bound in [&policies.forward, &policies.reverse] {
        let Some(holder) = reader.harbor(&bound.site) else {
            continue;
        };
        let Some(policy) = holder
            .policy_named(&bound.name)
            .await
            .map_err(fault::harbor)?
        else {
            continue;
        };
        let copies_from = if policy.is_pull() {
            reader.bindings.other(&bound.site)
        } else {
            bound.site.as_str()
        };
        if copies_from == from.site() {
            scope = Scope::of(&policy).map_err(StepError::permanent)?;
            break;
        }
    }
    let everything = Scope::all();
    let target_scope = if scope.keeps_names() {
        &scope
    } else {
        &everything
    };
    let (one, other) =
        futures_util::future::try_join(take(from, &scope, now), take(to, target_scope, now))
            .await
            .map_err(fault::harbor)?;
    for inventory in [&one, &other] {
        reader
            .inventories
            .keep(inventory)
            .await
            .map_err(StepError::permanent)?;
    }
    Ok(compare(&one, &other, &scope))
}
