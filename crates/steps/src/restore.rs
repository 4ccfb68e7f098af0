//! Everything back to what it was before the clients were moved: policies whole, robots by their switch.

use runbook_engine::event::Change;
use runbook_engine::step::{Finding, ReadContext, StepError, WriteContext};
use runbook_harbor::{Policy, Robot};

use crate::look::{change, enabled, policy_object, policy_words, robot_object, robot_words};
use crate::world::Sites;
use crate::{fault, look};

/// A policy that still exists, as it is and as it was.
struct OldPolicy {
    site: String,
    now: Policy,
    original: Policy,
}

/// A robot that still exists, and whether it was disabled.
struct OldRobot {
    site: String,
    name: String,
    now: Robot,
    disabled: bool,
}

/// Says what would keep it from working now.
pub(crate) async fn check(cx: &ReadContext<'_, Sites>) -> Result<Vec<Finding>, StepError> {
    if cx.world.bindings.inherited.originals.is_empty() {
        return Ok(vec![Finding::fail(
            "originals",
            "no run with originals is in the state file: the policies cannot be put back; set them by hand and mark the step done",
        )]);
    }
    Ok(match policies(cx).await {
        Err(error) if !error.unreachable => vec![Finding::fail("originals", error.to_string())],
        // A site that does not answer is for `harbor.health` to say.
        _ => Vec::new(),
    })
}

/// Returns what is not yet as it was.
pub(crate) async fn changes(cx: &ReadContext<'_, Sites>) -> Result<Vec<Change>, StepError> {
    let mut changes = Vec::new();
    for old in policies(cx).await? {
        changes.extend(old.differences(cx));
    }
    for old in robots(cx).await? {
        changes.extend(old.difference(cx));
    }
    Ok(changes)
}

/// Puts it back and reads it back. Policies to be turned off come first, so that at no moment both directions copy.
pub(crate) async fn run(cx: &WriteContext<'_, Sites>) -> Result<Vec<Change>, StepError> {
    let read = cx.read();
    let mut changes = Vec::new();
    for old in policies(&read).await? {
        let different = old.differences(&read);
        if different.is_empty() {
            continue;
        }
        let (site, name) = (&old.site, &old.now.name);
        cx.save_original(site, &policy_object(name), old.now.document.clone())
            .await?;
        let writer = look::writer(cx, site)?;
        let document = old.original.to_document().with_id(old.now.id);
        writer
            .update_policy(&document)
            .await
            .map_err(fault::harbor)?;
        let after = writer
            .reader()
            .policy(old.now.id)
            .await
            .map_err(fault::harbor)?;
        if let Some(field) = after.differences(&old.original).first() {
            return Err(StepError::transient(format!(
                "{} was put back and its `{}` reads {} instead of {}",
                policy_words(site, name),
                field.field,
                field.before,
                field.after
            )));
        }
        changes.extend(different);
    }
    for old in robots(&read).await? {
        let Some(different) = old.difference(&read) else {
            continue;
        };
        cx.save_original(
            &old.site,
            &robot_object(&old.name),
            old.now.document.clone(),
        )
        .await?;
        let writer = look::writer(cx, &old.site)?;
        writer
            .set_robot_disabled(old.now.id, old.disabled)
            .await
            .map_err(fault::harbor)?;
        changes.push(different);
    }
    Ok(changes)
}

async fn policies(cx: &ReadContext<'_, Sites>) -> Result<Vec<OldPolicy>, StepError> {
    let mut all = Vec::new();
    for (site, object, document) in &cx.world.bindings.inherited.originals {
        let name = object
            .strip_prefix("policy ")
            .filter(|_| !document.is_null());
        let Some(name) = name else { continue };
        let original: Policy =
            serde_json::from_value(document.clone()).map_err(StepError::permanent)?;
        let reader = look::reader(cx, site)?;
        let now = reader.policy_named(name).await.map_err(fault::harbor)?.ok_or_else(|| {
            fault::wrong(format!(
                "site `{site}` has no replication policy `{name}` any more; make it again or mark the step done"
            ))
        })?;
        all.push(OldPolicy {
            site: site.clone(),
            now,
            original,
        });
    }
    all.sort_by_key(|old| old.original.enabled);
    Ok(all)
}

async fn robots(cx: &ReadContext<'_, Sites>) -> Result<Vec<OldRobot>, StepError> {
    let mut all = Vec::new();
    for (site, object, document) in &cx.world.bindings.inherited.originals {
        let name = object
            .strip_prefix("robot ")
            .filter(|_| !document.is_null());
        let Some(name) = name else { continue };
        let reader = look::reader(cx, site)?;
        // One that is gone has nothing to be switched; the endpoints that used it say so themselves.
        let Some(now) = reader.robot_named(name).await.map_err(fault::harbor)? else {
            continue;
        };
        // A robot that is enabled has no such key: Harbor leaves zero values out.
        let disabled = document["disable"].as_bool().unwrap_or(false);
        all.push(OldRobot {
            site: site.clone(),
            name: name.to_owned(),
            now,
            disabled,
        });
    }
    Ok(all)
}

impl OldPolicy {
    fn differences(&self, cx: &ReadContext<'_, Sites>) -> Vec<Change> {
        let object = policy_words(&self.site, &self.now.name);
        let switch = cx.seen(&object, "enabled", enabled(self.now.enabled));
        let wanted = enabled(self.original.enabled);
        let differs = switch != wanted;
        let switched = differs.then(|| change(&object, "enabled", switch, wanted));
        let others = self.now.differences(&self.original).into_iter();
        let others = others
            .filter(|field| field.field != "enabled")
            .map(|field| change(&object, &field.field, field.before, field.after));
        others.chain(switched).collect()
    }
}

impl OldRobot {
    fn difference(&self, cx: &ReadContext<'_, Sites>) -> Option<Change> {
        let object = robot_words(&self.site, &self.name);
        let switch = cx.seen(&object, "robot", enabled(!self.now.disabled));
        let wanted = enabled(!self.disabled);
        (switch != wanted).then(|| change(object, "robot", switch, wanted))
    }
}
