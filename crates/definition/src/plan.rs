//! A runbook and the circumstances of a run become a plan.

use std::time::Duration;

use runbook_engine::plan::{self as engine, Mode, Plan, PlannedStep};
use serde_json::Value;

use crate::runbook::{Kind, Runbook, Step};

/// The circumstances of a run.
#[derive(Clone, Debug)]
pub struct Planning<'a> {
    /// Planned or unplanned.
    pub mode: Mode,
    /// The name of the topology.
    pub topology: &'a str,
    /// The site that serves now.
    pub from: &'a str,
    /// The site that shall serve afterwards. Equal to `from` for a runbook that moves nothing.
    pub to: &'a str,
    /// What the step kinds need to know of sites, policies and records.
    pub bindings: Value,
    /// How often faster than the wall waits are.
    pub time_scale: f64,
    /// How long a request may still be under way after its sender died.
    pub request_timeout: Duration,
    /// The recovery time objective, if one is declared.
    pub rto_target: Option<Duration>,
    /// The recovery point objective, if one is declared.
    pub rpo_target: Option<Duration>,
}

/// Why a runbook cannot become a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No step at all is taken in the mode.
    #[error("runbook `{runbook}` has no step in mode `{mode}`")]
    NothingToDo {
        /// The runbook.
        runbook: String,
        /// The mode.
        mode: Mode,
    },
    /// The runbook moves the clients, and the site that serves is the one that shall serve.
    #[error("runbook `{runbook}` moves the clients, but site `{site}` serves already")]
    NothingToMove {
        /// The runbook.
        runbook: String,
        /// The site.
        site: String,
    },
    /// Waits cannot be divided by it.
    #[error("time scale `{0}` is no number of at least 1")]
    TimeScale(f64),
    /// What stands under `do:` has no form as JSON.
    #[error("the action of step `{step}` has no form that a plan can keep")]
    Action {
        /// The step.
        step: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The kind's written form is not its name with something under it.
    #[error("the action of step `{step}` is not written under its kind `{kind}`")]
    Untagged {
        /// The step.
        step: String,
        /// The kind.
        kind: &'static str,
    },
    /// The plan is of a version that knows other kinds, or it was changed.
    #[error("step `{step}` of kind `{kind}` does not read as this version writes it")]
    Unreadable {
        /// The step.
        step: String,
        /// The kind.
        kind: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Resolves a runbook into a plan. Steps that are not of the mode stay in it, so that it can be read as the runbook;
/// the engine passes them by. Roles stay in the actions: the step kinds look them up in the bindings.
///
/// # Errors
/// When nothing would be done or moved, or an action cannot be kept.
pub fn plan<K: Kind>(runbook: &Runbook<K>, planning: Planning<'_>) -> Result<Plan, PlanError> {
    let Planning {
        mode,
        topology,
        from,
        to,
        bindings,
        time_scale,
        request_timeout,
        rto_target,
        rpo_target,
    } = planning;
    if !time_scale.is_finite() || time_scale < 1.0 {
        return Err(PlanError::TimeScale(time_scale));
    }
    let mut taken = runbook
        .steps
        .iter()
        .filter(|step| step.taken_in(mode))
        .peekable();
    if taken.peek().is_none() {
        return Err(PlanError::NothingToDo {
            runbook: runbook.name.clone(),
            mode,
        });
    }
    if from == to && taken.any(|step| step.cutover) {
        return Err(PlanError::NothingToMove {
            runbook: runbook.name.clone(),
            site: to.to_owned(),
        });
    }
    Ok(Plan {
        runbook: runbook.name.clone(),
        topology: topology.to_owned(),
        mode,
        from: from.to_owned(),
        to: to.to_owned(),
        bindings,
        steps: runbook
            .steps
            .iter()
            .map(planned)
            .collect::<Result<_, _>>()?,
        request_timeout,
        time_scale,
        rto_target,
        rpo_target,
    })
}

/// Reads the kind back from a step of a plan.
///
/// # Errors
/// When the plan was written by a version that knows other kinds.
pub fn kind_of<K: Kind>(step: &PlannedStep) -> Result<K, PlanError> {
    let written = match &step.action {
        // A kind without anything under it is written as its bare name.
        Value::Null => Value::String(step.kind.clone()),
        action => Value::Object([(step.kind.clone(), action.clone())].into_iter().collect()),
    };
    serde_json::from_value(written).map_err(|source| PlanError::Unreadable {
        step: step.id.clone(),
        kind: step.kind.clone(),
        source,
    })
}

fn planned<K: Kind>(step: &Step<K>) -> Result<PlannedStep, PlanError> {
    let id = step.id.as_str().to_owned();
    let kind = step.action.name();
    let written = serde_json::to_value(&*step.action).map_err(|source| PlanError::Action {
        step: id.clone(),
        source,
    })?;
    let action = match written {
        Value::String(name) if name == kind => Value::Null,
        Value::Object(mut map) if map.len() == 1 && map.contains_key(kind) => {
            map.remove(kind).unwrap_or(Value::Null)
        }
        _ => return Err(PlanError::Untagged { step: id, kind }),
    };
    let guards = step.guards.iter().map(|guard| engine::Guard {
        step: guard.step.as_str().to_owned(),
        max_age: guard.max_age.as_ref().map(|span| span.duration()),
        broken: guard.broken,
    });
    Ok(PlannedStep {
        id,
        kind: kind.to_owned(),
        action,
        modes: step.modes.clone(),
        timeout: step.timeout.duration(),
        retry: engine::Retry {
            attempts: *step.retry.attempts,
            backoff: step.retry.backoff.duration(),
        },
        on_failure: step.on_failure,
        if_unreachable: step.if_unreachable,
        guards: guards.collect(),
        back_to: step.back_to.as_ref().map(|id| id.as_str().to_owned()),
        cutover: step.cutover,
        in_doubt: step.in_doubt.unwrap_or_else(|| step.action.in_doubt()),
    })
}
