//! `originals`: keep what the run is going to change as it is now, before anything is written.

use async_trait::async_trait;
use runbook_engine::step::{Done, Probe, ReadContext, Step, StepError, WriteContext};
use runbook_harbor::Reader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::look::{DNS, FLAG, policy_object, robot_object};
use crate::world::Sites;
use crate::{fault, look};

/// What the operator writes under `do:`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Originals {
    /// Sites that may be silent: what cannot be read there is kept as unknown.
    #[serde(default)]
    pub may_be_silent: Vec<String>,
}

#[async_trait]
impl Step<Sites> for Originals {
    fn summary(&self) -> String {
        "save originals".into()
    }

    async fn probe(&self, cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        let saved = cx
            .run
            .originals
            .contains_key(&(DNS.to_owned(), "record".to_owned()));
        Ok(if saved {
            Probe::Done(Value::Null)
        } else {
            Probe::NotDone(Vec::new())
        })
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        let bindings = cx.world.bindings.clone();
        for site in [&bindings.active, &bindings.standby] {
            let reader = look::writer(cx, site)?.reader();
            let silent = self
                .may_be_silent
                .iter()
                .any(|role| bindings.site(role) == site);
            match of_site(reader, &bindings.robots).await {
                Ok(objects) => {
                    for (object, document) in objects {
                        cx.save_original(site, &object, document).await?;
                    }
                }
                Err(_) if silent => cx.save_original(site, FLAG, Value::Null).await?,
                Err(error) => return Err(error),
            }
        }
        // The record last: its presence says that all are there.
        let name =
            runbook_dns::Name::parse(&bindings.endpoint.name).map_err(StepError::permanent)?;
        let found = cx.world.dns.read(&name).await.map_err(fault::dns)?;
        let record = serde_json::to_value(&found).map_err(StepError::permanent)?;
        cx.save_original(DNS, "record", record).await?;
        Ok(Done::plain())
    }
}

async fn of_site(reader: &Reader, robots: &[String]) -> Result<Vec<(String, Value)>, StepError> {
    let mut objects = vec![(
        FLAG.to_owned(),
        json!(reader.read_only().await.map_err(fault::harbor)?),
    )];
    for policy in reader.policies().await.map_err(fault::harbor)? {
        objects.push((policy_object(&policy.name), policy.document));
    }
    for name in robots {
        if let Some(robot) = reader.robot_named(name).await.map_err(fault::harbor)? {
            objects.push((robot_object(name), robot.document));
        }
    }
    Ok(objects)
}
