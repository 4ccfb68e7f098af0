//! The closed catalogue of step kinds, as they stand under `do:`.

use runbook_engine::plan::{InDoubt, Plan};
use runbook_engine::step::Step;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::approval::Approval;
use crate::bindings::{BadBindings, Bindings};
use crate::check::Check;
use crate::dns_ttl::DnsTtl;
use crate::dns_upsert::DnsUpsert;
use crate::dns_verify::DnsVerify;
use crate::exec::Exec;
use crate::harbor_compare::HarborCompare;
use crate::harbor_health::HarborHealth;
use crate::harbor_policy::HarborPolicy;
use crate::harbor_read_only::HarborReadOnly;
use crate::harbor_robot::HarborRobot;
use crate::harbor_silence::HarborSilence;
use crate::harbor_sync::HarborSync;
use crate::http::Http;
use crate::notify::Notify;
use crate::originals::Originals;
use crate::registry_probe::RegistryProbe;
use crate::wait::Wait;
use crate::world::Sites;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:literal => $kind:ident, $in_doubt:ident, [$($role:expr),*];)*) => {
        /// What stands under `do:`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub enum Kind {
            $($(#[$doc])* #[serde(rename = $name)] $kind($kind),)*
        }

        impl Kind {
            /// Returns the name under which it stands.
            pub fn name(&self) -> &'static str {
                match self { $(Kind::$kind(_) => $name,)* }
            }

            /// Returns what is done with an attempt whose sender died, where the runbook does not say.
            pub fn in_doubt(&self) -> InDoubt {
                match self {
                    // What only looks has changed nothing and may look again.
                    Kind::HarborSilence(HarborSilence { verify: true, .. })
                    | Kind::HarborReadOnly(HarborReadOnly { verify: true, .. })
                    | Kind::HarborPolicy(HarborPolicy::Verify(_)) => InDoubt::Repeat,
                    $(Kind::$kind(_) => InDoubt::$in_doubt,)*
                }
            }

            /// Returns the roles and sites that it names.
            pub fn roles(&self) -> Vec<String> {
                match self {
                    $(Kind::$kind(it) => {
                        let _ = it;
                        let roles: Vec<String> = vec![$(($role)(it)),*];
                        roles
                    })*
                }
            }

            fn step(self) -> Box<dyn Step<Sites>> {
                match self { $(Kind::$kind(it) => Box::new(it),)* }
            }
        }
    };
}

kinds! {
    /// The checks of all steps.
    "check" => Check, Repeat, [];
    /// Is a site fit?
    "harbor.health" => HarborHealth, Repeat, [|it: &HarborHealth| it.site.clone()];
    /// A person's consent.
    "approval" => Approval, Repeat, [];
    /// Keep what will be changed as it is.
    "originals" => Originals, Repeat, [];
    /// Policies off, executions stopped.
    "harbor.silence" => HarborSilence, Probe, [|it: &HarborSilence| it.site.clone()];
    /// Fence or open.
    "harbor.read-only" => HarborReadOnly, Probe, [|it: &HarborReadOnly| it.site.clone()];
    /// Run a policy once.
    "harbor.sync" => HarborSync, Probe, [];
    /// Digest by digest.
    "harbor.compare" => HarborCompare, Repeat, [|it: &HarborCompare| it.source.clone(), |it: &HarborCompare| it.target.clone()];
    /// One policy, or all back.
    "harbor.policy" => HarborPolicy, Probe, [];
    /// Credentials at the receiver.
    "harbor.robot" => HarborRobot, Probe, [|it: &HarborRobot| it.site.clone()];
    /// The record's TTL.
    "dns.ttl" => DnsTtl, Probe, [];
    /// The cutover.
    "dns.upsert" => DnsUpsert, Probe, [|it: &DnsUpsert| it.to.clone()];
    /// Every vantage agrees.
    "dns.verify" => DnsVerify, Repeat, [|it: &DnsVerify| it.to.clone()];
    /// A client's work.
    "registry.probe" => RegistryProbe, Probe, [|it: &RegistryProbe| it.site.clone()];
    /// Let time pass.
    "wait" => Wait, Repeat, [];
    /// Tell people.
    "notify" => Notify, Repeat, [];
    /// One request to anything.
    "http" => Http, Ask, [];
    /// One process.
    "exec" => Exec, Ask, [];
}

/// Why the steps of a plan cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The bindings.
    #[error(transparent)]
    Bindings(#[from] BadBindings),
    /// An action that this version does not know.
    #[error("step `{step}` of the plan cannot be read")]
    Action {
        /// The step.
        step: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Makes the steps of a plan, in its order. They know sites by their names: a person at night should not have to
/// remember which one is the standby.
pub fn build(plan: &Plan) -> Result<Vec<Box<dyn Step<Sites>>>, BuildError> {
    let bindings = Bindings::of(plan)?;
    plan.steps
        .iter()
        .map(|planned| {
            let mut action = planned.action.clone();
            name_sites(&mut action, &bindings);
            let tagged = serde_json::json!({ &planned.kind: action });
            let kind: Kind =
                serde_json::from_value(tagged).map_err(|source| BuildError::Action {
                    step: planned.id.clone(),
                    source,
                })?;
            Ok(kind.step())
        })
        .collect()
}

/// Puts the names of sites where an action says `active` or `standby`.
fn name_sites(action: &mut Value, bindings: &Bindings) {
    match action {
        Value::String(text) if matches!(text.as_str(), "active" | "standby") => {
            *text = bindings.site(text).to_owned();
        }
        Value::Array(items) => items.iter_mut().for_each(|item| name_sites(item, bindings)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|item| name_sites(item, bindings)),
        _ => {}
    }
}
