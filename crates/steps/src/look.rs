//! What several step kinds look up: policies, clients by role, and the words for objects in changes.

use runbook_engine::event::Change;
use runbook_engine::state::StepState;
use runbook_engine::step::{ReadContext, StepError, WriteContext};
use runbook_harbor::{Policy, Reader, Writer};

use crate::bindings::{Direction, PolicyBinding};
use crate::fault;
use crate::world::Sites;

/// Returns the reading client of a site.
pub(crate) fn reader<'a>(
    cx: &'a ReadContext<'_, Sites>,
    site: &str,
) -> Result<&'a Reader, StepError> {
    cx.world
        .harbor(site)
        .ok_or_else(|| fault::wrong(format!("the plan has no site `{site}`")))
}

/// Returns the writing client of a site.
pub(crate) fn writer<'a>(
    cx: &'a WriteContext<'_, Sites>,
    site: &str,
) -> Result<&'a Writer, StepError> {
    cx.world
        .harbor(site)
        .ok_or_else(|| fault::wrong(format!("the plan has no site `{site}`")))
}

/// Returns what a word such as `forward` is bound to.
pub(crate) fn binding(cx: &ReadContext<'_, Sites>, word: &str) -> Result<PolicyBinding, StepError> {
    cx.world.bindings.policy(word).cloned().ok_or_else(|| {
        fault::wrong(match word {
            "final-sync" | "final-reverse-sync" => format!(
                "the pair has no policy for `{word}`: a read-only Harbor cannot start a push, so declare a manual pull policy on the receiving site and name it under `policies: {{ {word}: NAME }}`"
            ),
            _ => format!("the pair has no policy `{word}`"),
        })
    })
}

/// Returns what a step that syncs starts. In a push pair without a pull policy for it, the push itself stands in: it
/// can be started until its site is fenced.
pub(crate) fn sync_binding(
    cx: &ReadContext<'_, Sites>,
    word: &str,
) -> Result<PolicyBinding, StepError> {
    let bindings = &cx.world.bindings;
    let stands_in = match (bindings.direction, word) {
        (Direction::Push, "final-sync") => "forward",
        (Direction::Push, "final-reverse-sync") => "reverse",
        _ => return binding(cx, word),
    };
    binding(
        cx,
        if bindings.policy(word).is_some() {
            word
        } else {
            stands_in
        },
    )
}

/// Returns a policy by its binding.
pub(crate) async fn policy(
    cx: &ReadContext<'_, Sites>,
    bound: &PolicyBinding,
) -> Result<Policy, StepError> {
    reader(cx, &bound.site)?
        .policy_named(&bound.name)
        .await
        .map_err(fault::harbor)?
        .ok_or_else(|| {
            fault::wrong(format!(
                "site `{}` has no replication policy `{}`",
                bound.site, bound.name
            ))
        })
}

/// The words for a policy.
pub(crate) fn policy_words(site: &str, name: &str) -> String {
    format!("{site} policy `{name}`")
}

/// The words for a robot.
pub(crate) fn robot_words(site: &str, name: &str) -> String {
    format!("{site} robot `{name}`")
}

/// One field, before and after.
pub(crate) fn change(
    object: impl Into<String>,
    field: &str,
    before: impl ToString,
    after: impl ToString,
) -> Change {
    Change {
        object: object.into(),
        field: field.to_owned(),
        before: before.to_string(),
        after: after.to_string(),
    }
}

/// Says on or off, as people say of a policy.
pub(crate) fn enabled(on: bool) -> &'static str {
    if on { "enabled" } else { "disabled" }
}

/// The name under which the original of a policy is saved.
pub(crate) fn policy_object(name: &str) -> String {
    format!("policy {name}")
}

/// The name under which the original of a robot is saved.
pub(crate) fn robot_object(name: &str) -> String {
    format!("robot {name}")
}

/// The name under which the original of the read-only flag is saved.
pub(crate) const FLAG: &str = "read_only";

/// Where the original of the record is saved.
pub(crate) const DNS: &str = "dns";

/// Puts a policy of this run back to what its original says of being enabled. Returns the change, if one was needed.
pub(crate) async fn restore_enabled(
    cx: &WriteContext<'_, Sites>,
    site: &str,
    name: &str,
) -> Result<Option<Change>, StepError> {
    let read = cx.read();
    let Some(original) = read
        .original(site, &policy_object(name))
        .filter(|document| !document.is_null())
    else {
        return Ok(None);
    };
    // A policy that is disabled has no such key at all: Harbor leaves zero values out.
    let wanted = original["enabled"].as_bool().unwrap_or(false);
    let writer = writer(cx, site)?;
    let Some(now) = writer
        .reader()
        .policy_named(name)
        .await
        .map_err(fault::harbor)?
    else {
        return Ok(None);
    };
    if now.enabled == wanted {
        return Ok(None);
    }
    writer
        .set_policy_enabled(now.id, wanted)
        .await
        .map_err(fault::harbor)?;
    Ok(Some(change(
        policy_words(site, name),
        "enabled",
        enabled(now.enabled),
        enabled(wanted),
    )))
}

/// Tells whether a step of this run is owed.
pub(crate) fn is_owed(cx: &ReadContext<'_, Sites>, step: Option<&str>) -> bool {
    step.and_then(|step| cx.run.step(step))
        .is_some_and(|record| record.state == StepState::Owed)
}
