//! `harbor.robot`: cut or give back the credentials with which the other side writes to a site.
//!
//! This is the only fence against a site that does not answer: it is done at the receiver. Robots that can only read
//! are left alone: they overwrite nothing, and the way back needs them. A token issued before the cut may live on for
//! its lifetime.

use async_trait::async_trait;
use runbook_engine::event::Change;
use runbook_engine::step::{Done, Finding, Probe, ReadContext, Step, StepError, WriteContext};
use runbook_harbor::{Reader, Robot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::look::{change, enabled, robot_object, robot_words};
use crate::world::Sites;
use crate::{fault, look};

/// What the operator writes under `do:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HarborRobot {
    /// The receiving site: `active`, `standby` or a name.
    pub site: String,
    /// True cuts, false gives back.
    pub disabled: bool,
}

#[async_trait]
impl Step<Sites> for HarborRobot {
    fn summary(&self) -> String {
        if self.disabled {
            format!("cut the other side's credentials at {}", self.site)
        } else {
            format!("give the other side's credentials at {} back", self.site)
        }
    }

    async fn check(&self, cx: &ReadContext<'_, Sites>) -> Result<Vec<Finding>, StepError> {
        let site = cx.world.bindings.site(&self.site);
        let robots = self
            .robots(look::reader(cx, &self.site)?, &cx.world.bindings.robots)
            .await?;
        Ok(robots
            .iter()
            .map(|(name, _)| Finding::ok(robot_words(site, name), "can push here"))
            .collect())
    }

    async fn probe(&self, cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        let site = cx.world.bindings.site(&self.site);
        let mut changes = Vec::new();
        for (name, robot) in self
            .robots(look::reader(cx, &self.site)?, &cx.world.bindings.robots)
            .await?
        {
            let object = robot_words(site, &name);
            let seen = cx.seen(&object, "robot", enabled(!robot.disabled));
            if seen != enabled(!self.disabled) {
                changes.push(change(object, "robot", seen, enabled(!self.disabled)));
            }
        }
        Ok(if changes.is_empty() {
            Probe::Done(Value::Null)
        } else {
            Probe::NotDone(changes)
        })
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        let site = cx.world.bindings.site(&self.site).to_owned();
        let writer = look::writer(cx, &self.site)?;
        let mut changes = Vec::new();
        for (name, robot) in self
            .robots(writer.reader(), &cx.world.bindings.robots)
            .await?
        {
            if robot.disabled == self.disabled {
                continue;
            }
            cx.save_original(&site, &robot_object(&name), robot.document.clone())
                .await?;
            writer
                .set_robot_disabled(robot.id, self.disabled)
                .await
                .map_err(fault::harbor)?;
            changes.push(change(
                robot_words(&site, &name),
                "robot",
                enabled(!robot.disabled),
                enabled(!self.disabled),
            ));
        }
        Ok(Done::changed(changes))
    }

    async fn undo(&self, cx: &WriteContext<'_, Sites>) -> Result<Vec<Change>, StepError> {
        let site = cx.world.bindings.site(&self.site).to_owned();
        let writer = look::writer(cx, &self.site)?;
        let mut changes = Vec::new();
        for (name, robot) in self
            .robots(writer.reader(), &cx.world.bindings.robots)
            .await?
        {
            let original = cx
                .read()
                .original(&site, &robot_object(&name))
                .cloned()
                .filter(|document| !document.is_null());
            let Some(original) = original else { continue };
            let wanted = original["disable"].as_bool().unwrap_or(false);
            if robot.disabled != wanted {
                writer
                    .set_robot_disabled(robot.id, wanted)
                    .await
                    .map_err(fault::harbor)?;
                changes.push(change(
                    robot_words(&site, &name),
                    "robot",
                    enabled(!robot.disabled),
                    enabled(!wanted),
                ));
            }
        }
        Ok(changes)
    }
}

impl HarborRobot {
    /// Returns the robots of the pair that can write at the site.
    async fn robots(
        &self,
        reader: &Reader,
        names: &[String],
    ) -> Result<Vec<(String, Robot)>, StepError> {
        let mut robots = Vec::new();
        for name in names {
            let robot = reader.robot_named(name).await.map_err(fault::harbor)?;
            robots.extend(robot.filter(can_push).map(|robot| (name.clone(), robot)));
        }
        Ok(robots)
    }
}

fn can_push(robot: &Robot) -> bool {
    let mut access = robot
        .permissions
        .iter()
        .flat_map(|permission| &permission.access);
    access.any(|access| {
        access.resource == "repository" && matches!(access.action.as_str(), "push" | "*")
    })
}
