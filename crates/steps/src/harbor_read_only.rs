//! `harbor.read-only`: fence a site, or open it; and take the mark after the fence.
//!
//! Read-only refuses everything but reads, logins and the configuration: also disabling policies and starting and
//! stopping executions (seen on v2.9.5). So policies are silenced first.

use async_trait::async_trait;
use runbook_engine::event::{Change, Owed};
use runbook_engine::step::{Done, Finding, Probe, ReadContext, Step, StepError, WriteContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::look::{FLAG, change, policy, sync_binding};
use crate::world::Sites;
use crate::{fault, look};

/// What the operator writes under `do:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HarborReadOnly {
    /// `active`, `standby` or the name of a site.
    pub site: String,
    /// True fences, false opens.
    pub value: bool,
    /// Take the mark of this policy after the flag was read back: the highest id of its executions. What began at or
    /// below it listed its source before the fence.
    #[serde(default)]
    pub mark: Option<String>,
    /// Only look: fail if it is not so.
    #[serde(default)]
    pub verify: bool,
    /// Owed, without a request, while this step is owed: its site is left to `settle`.
    #[serde(default)]
    pub unless_owed: Option<String>,
}

#[async_trait]
impl Step<Sites> for HarborReadOnly {
    fn summary(&self) -> String {
        match (self.verify, self.value) {
            (false, true) => format!("fence {}", self.site),
            (false, false) => format!("open {} for writes", self.site),
            (true, true) => format!("{} is fenced", self.site),
            (true, false) => format!("{} is open for writes", self.site),
        }
    }

    async fn check(&self, cx: &ReadContext<'_, Sites>) -> Result<Vec<Finding>, StepError> {
        if !self.verify {
            return Ok(Vec::new());
        }
        let site = cx.world.bindings.site(&self.site);
        let found = look::reader(cx, &self.site)?
            .read_only()
            .await
            .map_err(fault::harbor)?;
        Ok(vec![if found == self.value {
            Finding::ok(site, format!("{FLAG} is {found}"))
        } else {
            Finding::fail(
                site,
                format!("{FLAG} is {found}; it must be {}", self.value),
            )
        }])
    }

    async fn probe(&self, cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        let site = cx.world.bindings.site(&self.site);
        let found = look::reader(cx, &self.site)?
            .read_only()
            .await
            .map_err(fault::harbor)?;
        let seen = cx.seen(site, FLAG, found.to_string());
        if seen != self.value.to_string() {
            return Ok(Probe::NotDone(vec![change(site, FLAG, seen, self.value)]));
        }
        Ok(match (&self.mark, cx.checkpoint("mark")) {
            // The flag does not imply the mark: a crash between the two leaves the mark to be taken now.
            (Some(_), None) => Probe::NotDone(Vec::new()),
            (Some(_), Some(mark)) => Probe::Done(json!({ "mark": mark })),
            (None, _) => Probe::Done(Value::Null),
        })
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        let site = cx.world.bindings.site(&self.site).to_owned();
        if look::is_owed(&cx.read(), self.unless_owed.as_deref()) {
            return Ok(Done::Owe {
                items: self.owes(),
                reason: "left to settle".into(),
            });
        }
        let writer = look::writer(cx, &self.site)?;
        let mut changes = Vec::new();
        let found = writer.reader().read_only().await.map_err(fault::harbor)?;
        if self.verify {
            return if found == self.value {
                Ok(Done::plain())
            } else {
                Err(fault::wrong(format!(
                    "site `{site}`: {FLAG} is {found}; it must be {}",
                    self.value
                )))
            };
        }
        if found != self.value {
            cx.save_original(&site, FLAG, json!(found)).await?;
            writer
                .set_read_only(self.value)
                .await
                .map_err(fault::harbor)?;
            if writer.reader().read_only().await.map_err(fault::harbor)? != self.value {
                return Err(StepError::transient(format!(
                    "site `{site}` took {FLAG}={} and reads back otherwise",
                    self.value
                )));
            }
            changes.push(change(&site, FLAG, found, self.value));
        }
        let output = match &self.mark {
            None => Value::Null,
            Some(word) => json!({ "mark": self.take_mark(cx, word).await? }),
        };
        Ok(Done::Done { output, changes })
    }

    async fn undo(&self, cx: &WriteContext<'_, Sites>) -> Result<Vec<Change>, StepError> {
        let site = cx.world.bindings.site(&self.site).to_owned();
        let original = cx.read().original(&site, FLAG).and_then(Value::as_bool);
        let Some(original) = original.filter(|_| !self.verify) else {
            return Ok(Vec::new());
        };
        let writer = look::writer(cx, &self.site)?;
        let found = writer.reader().read_only().await.map_err(fault::harbor)?;
        if found == original {
            return Ok(Vec::new());
        }
        writer
            .set_read_only(original)
            .await
            .map_err(fault::harbor)?;
        Ok(vec![change(site, FLAG, found, original)])
    }

    fn owes(&self) -> Vec<Owed> {
        vec![Owed {
            site: self.site.clone(),
            what: "fence".into(),
        }]
    }
}

impl HarborReadOnly {
    /// Taken once per attempt group: a mark taken again after a crash could lie above the final sync itself.
    async fn take_mark(&self, cx: &WriteContext<'_, Sites>, word: &str) -> Result<i64, StepError> {
        let read = cx.read();
        if let Some(mark) = read.checkpoint("mark").and_then(Value::as_i64) {
            return Ok(mark);
        }
        let bound = sync_binding(&read, word)?;
        let id = policy(&read, &bound).await?.id;
        let mark = look::reader(&read, &bound.site)?
            .highest_execution(id)
            .await
            .map_err(fault::harbor)?;
        cx.save_checkpoint("mark", json!(mark)).await?;
        Ok(mark)
    }
}
