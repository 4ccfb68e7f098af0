//! `harbor.compare`: what two sites hold, digest by digest.
//!
//! `Succeed` of a replication is no proof of a copy (seen on v2.9.5: a run that matched nothing says `Succeed`); this is.
//! Each comparison keeps the inventories that it saw, so that one exists when the site is gone.

use async_trait::async_trait;
use jiff::Timestamp;
use runbook_engine::event::About;
use runbook_engine::step::{Done, Finding, Probe, ReadContext, Step, StepError, WriteContext};
use runbook_replication::{Comparison, Inventory, Item, Scope, compare, take};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::look::{binding, policy};
use crate::world::Sites;
use crate::{fault, look, loss};

/// How many items are written into the journal and shown.
pub(crate) const SHOWN: usize = 200;

/// What the operator writes under `do:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HarborCompare {
    /// The site whose content counts.
    pub source: String,
    /// The site that should hold the same.
    pub target: String,
    /// The policy whose filters are the scope: `forward` or `reverse`.
    pub policy: String,
    /// What stops the run until a person decides.
    #[serde(default)]
    pub gate: Vec<Class>,
    /// Where the content of the source comes from.
    #[serde(default)]
    pub against: Against,
    /// A difference whose item at the target was once held by the source itself is no divergence: the source has
    /// replaced it since.
    #[serde(default)]
    pub both_ways: bool,
    /// An earlier comparison: what a person accepted there as extra is not asked again.
    #[serde(default)]
    pub decided_in: Option<String>,
    /// Nothing to look at while this step is owed: its site is left to `settle`.
    #[serde(default)]
    pub unless_owed: Option<String>,
    /// The step that fences the source: after it nothing is pushed there, so an inventory taken later leaves nothing
    /// unknown.
    #[serde(default)]
    pub fenced_by: Option<String>,
}

/// How an item can differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// At the source, absent at the target.
    Missing,
    /// At both, with different digests.
    Different,
    /// At the target only.
    Extra,
}

/// Where the content of the source comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// The source as it is now.
    #[default]
    Now,
    /// The source as the comparison of this step saw it: has it taken anything since?
    Step(String),
    /// The last inventory that was ever taken of the source, which is gone: the loss statement. The gate is the
    /// recovery point objective.
    LastInventory,
}

#[async_trait]
impl Step<Sites> for HarborCompare {
    fn summary(&self) -> String {
        match &self.against {
            Against::Now => format!("compare {} with {} by digest", self.source, self.target),
            Against::Step(_) => format!("has {} taken anything since?", self.source),
            Against::LastInventory => {
                format!("state what of {} is not on {}", self.source, self.target)
            }
        }
    }

    async fn check(&self, cx: &ReadContext<'_, Sites>) -> Result<Vec<Finding>, StepError> {
        let object = format!(
            "{} and {}",
            cx.world.bindings.site(&self.source),
            cx.world.bindings.site(&self.target)
        );
        Ok(match &self.against {
            Against::Now => {
                let (found, _) = self.compare_now(cx, false).await?;
                let text = found.words();
                vec![if found.is_equal() {
                    Finding::ok(object, text)
                } else {
                    Finding::warn(object, format!("now: {text}"))
                }]
            }
            Against::Step(_) => Vec::new(),
            Against::LastInventory => {
                let loss = loss::state(self, cx, false).await?;
                vec![if loss.is_none_known() {
                    Finding::ok(object, loss.words())
                } else {
                    Finding::warn(object, loss.words())
                }]
            }
        })
    }

    async fn probe(&self, cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        // What it found stands in the journal until the run goes back over it: that is the proof. What would make it
        // stale (a write at the source) is guarded by the fence.
        let output = &cx.run.steps[cx.position].output;
        Ok(if output.is_null() {
            Probe::NotDone(Vec::new())
        } else {
            Probe::Done(output.clone())
        })
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        let read = cx.read();
        if look::is_owed(&read, self.unless_owed.as_deref()) {
            return Ok(Done::Owe {
                items: Vec::new(),
                reason: "left to settle".into(),
            });
        }
        match &self.against {
            Against::Now => self.run_now(&read).await,
            Against::Step(step) => self.run_since(&read, step).await,
            Against::LastInventory => loss::run(self, &read).await,
        }
    }
}

impl HarborCompare {
    pub(crate) async fn scope(&self, cx: &ReadContext<'_, Sites>) -> Result<Scope, StepError> {
        let bound = binding(cx, &self.policy)?;
        match policy(cx, &bound).await {
            Ok(policy) => Scope::of(&policy).map_err(StepError::permanent),
            // The policy lives at the site that is gone: then everything counts.
            Err(error) if error.unreachable && self.against == Against::LastInventory => {
                Ok(Scope::all())
            }
            Err(error) => Err(error),
        }
    }

    async fn take(
        &self,
        cx: &ReadContext<'_, Sites>,
        site: &str,
        scope: &Scope,
        of_run: bool,
    ) -> Result<Inventory, StepError> {
        let inventory = take(look::reader(cx, site)?, scope, cx.clock.now())
            .await
            .map_err(fault::harbor)?;
        let store = &cx.world.inventories;
        let kept = if of_run {
            store.keep_for_run(&inventory).await
        } else {
            store.keep(&inventory).await
        };
        kept.map_err(StepError::permanent)?;
        Ok(inventory)
    }

    pub(crate) async fn target(
        &self,
        cx: &ReadContext<'_, Sites>,
        scope: &Scope,
        of_run: bool,
    ) -> Result<Inventory, StepError> {
        let everything = Scope::all();
        self.take(
            cx,
            &self.target,
            if scope.keeps_names() {
                scope
            } else {
                &everything
            },
            of_run,
        )
        .await
    }

    async fn compare_now(
        &self,
        cx: &ReadContext<'_, Sites>,
        of_run: bool,
    ) -> Result<(Comparison, Timestamp), StepError> {
        let scope = self.scope(cx).await?;
        let (source, target) = futures_util::future::try_join(
            self.take(cx, &self.source, &scope, of_run),
            self.target(cx, &scope, of_run),
        )
        .await?;
        Ok((compare(&source, &target, &scope), source.taken_at))
    }

    /// Returns what of the differing items a person has to decide.
    async fn undecided(
        &self,
        cx: &ReadContext<'_, Sites>,
        items: &[Item],
        class: &str,
    ) -> Result<Vec<Item>, StepError> {
        // Only what is extra stays as it was decided. An item that was missing or different then is to be there now:
        // accepting it meant that the sync overwrites it, not that the sync may fail.
        let decided: Vec<Item> = self
            .decided_in
            .as_ref()
            .filter(|_| class == "extra")
            .and_then(|step| serde_json::from_value(cx.output(step)[class].clone()).ok())
            .unwrap_or_default();
        let same = |one: &Item, other: &Item| {
            (&one.repository, &one.reference, &one.target)
                == (&other.repository, &other.reference, &other.target)
        };
        let source = cx.world.bindings.site(&self.source);
        let mut open = Vec::new();
        for item in items {
            if decided.iter().any(|other| same(item, other)) {
                continue;
            }
            if self.both_ways && class == "different" {
                let digest = item.target.as_deref().unwrap_or_default();
                let held = cx
                    .world
                    .inventories
                    .ever_had(source, &item.repository, &item.reference, digest)
                    .await;
                if held.map_err(StepError::permanent)? {
                    continue;
                }
            }
            open.push(item.clone());
        }
        Ok(open)
    }

    async fn run_now(&self, cx: &ReadContext<'_, Sites>) -> Result<Done, StepError> {
        let (found, taken_at) = self.compare_now(cx, true).await?;
        let output = output(&found, taken_at);
        let mut open = Vec::new();
        for class in &self.gate {
            let (word, items) = match class {
                Class::Missing => ("missing", &found.missing),
                Class::Different => ("different", &found.different),
                Class::Extra => ("extra", &found.extra),
            };
            open.push((word, self.undecided(cx, items, word).await?));
        }
        if open.iter().all(|(_, items)| items.is_empty()) {
            return Ok(Done::Done {
                output,
                changes: Vec::new(),
            });
        }
        let (source, target) = (
            cx.world.bindings.site(&self.source),
            cx.world.bindings.site(&self.target),
        );
        let classes: Vec<(&str, &Vec<Item>)> =
            open.iter().map(|(word, items)| (*word, items)).collect();
        let choice = if self.both_ways {
            format!(
                "accepted, what differs at `{target}` is overwritten and what is extra there stays; to keep one, copy it from there to `{source}`, under another tag if it differs, and try again\n"
            )
        } else {
            String::new()
        };
        let reason = format!(
            "`{target}` does not hold what `{source}` holds: {}\n{}{choice}",
            found.words(),
            lines(&classes)
        );
        Ok(Done::Back { reason, output })
    }

    async fn run_since(&self, cx: &ReadContext<'_, Sites>, step: &str) -> Result<Done, StepError> {
        let before: Option<Timestamp> =
            serde_json::from_value(cx.output(step)["source_taken_at"].clone()).ok();
        let source = cx.world.bindings.site(&self.source);
        let before = match before {
            Some(at) => cx
                .world
                .inventories
                .taken(source, at)
                .await
                .map_err(StepError::permanent)?,
            None => None,
        };
        let Some(before) = before else {
            let note = format!("step `{step}` kept no inventory to compare with");
            let output = json!({ "divergence": [], "note": note });
            if self.gate.is_empty() {
                return Ok(Done::Done {
                    output,
                    changes: Vec::new(),
                });
            }
            let question = format!(
                "{note}: what `{source}` took since is unknown, and what follows overwrites it"
            );
            return Ok(Done::Ask {
                about: About::Gate,
                question,
                output,
            });
        };
        let scope = self.scope(cx).await?;
        let now = self.take(cx, &self.source, &scope, true).await?;
        let found = compare(&now, &before, &Scope::all());
        let divergence: Vec<Item> = [found.missing, found.different, found.extra].concat();
        let output = json!({ "divergence": shown(&divergence), "count": divergence.len() });
        if divergence.is_empty() || self.gate.is_empty() {
            return Ok(Done::Done {
                output,
                changes: Vec::new(),
            });
        }
        let question = format!(
            "`{source}` took these after its last comparison; what follows overwrites them:\n{}",
            lines(&[("changed", &divergence)])
        );
        Ok(Done::Ask {
            about: About::Gate,
            question,
            output,
        })
    }
}

fn output(found: &Comparison, taken_at: Timestamp) -> Value {
    json!({
        "source_taken_at": taken_at,
        "compared": found.compared,
        "missing": shown(&found.missing),
        "different": shown(&found.different),
        "extra": shown(&found.extra),
        "counts": { "missing": found.missing.len(), "different": found.different.len(), "extra": found.extra.len() },
    })
}

fn shown(items: &[Item]) -> Value {
    json!(items.iter().take(SHOWN).collect::<Vec<_>>())
}

fn lines(classes: &[(&str, &Vec<Item>)]) -> String {
    let mut text = String::new();
    for (class, items) in classes {
        for item in items.iter().take(20) {
            let pushed = item
                .pushed_at
                .map_or_else(String::new, |at| format!(", pushed {at}"));
            text.push_str(&format!(
                "  {class:9} {}:{}{pushed}\n",
                item.repository, item.reference
            ));
        }
        if items.len() > 20 {
            text.push_str(&format!("  {class:9} and {} more\n", items.len() - 20));
        }
    }
    text
}
