//! The world as data, to be compared and shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    clock,
    dns::RecordSet,
    model::{Policy, State, Status},
    site::Site,
};

/// Both sites and the zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorldSnapshot {
    /// By site name.
    pub sites: BTreeMap<String, SiteSnapshot>,
    /// What the primary DNS server holds, the SOA left out.
    pub dns: Vec<RecordSet>,
}

impl WorldSnapshot {
    /// Without what differs between two runs that end in the same world: times and counts of executions.
    pub fn without_history(mut self) -> WorldSnapshot {
        for site in self.sites.values_mut() {
            site.forget_history();
        }
        self
    }
}

/// One site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteSnapshot {
    /// The read-only flag.
    pub read_only: bool,
    /// By name.
    pub projects: BTreeMap<String, ProjectSnapshot>,
    /// By full name.
    pub repositories: BTreeMap<String, RepositorySnapshot>,
    /// The input fields of each policy, by name.
    pub policies: BTreeMap<String, Value>,
    /// Whether it is disabled, by robot name without the prefix.
    pub robots: BTreeMap<String, bool>,
    /// How many executions each policy has had, by policy name (history).
    pub executions: BTreeMap<String, usize>,
    /// Executions that are not over, or that failed and may be tried again, by policy name (history).
    pub unsettled: BTreeMap<String, usize>,
}

/// One project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectSnapshot {
    /// Whether everybody may read it.
    pub public: bool,
}

/// One repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RepositorySnapshot {
    /// Digest by tag.
    pub tags: BTreeMap<String, String>,
    /// All manifests, also those without a tag.
    pub manifests: BTreeSet<String>,
    /// All blobs.
    pub blobs: BTreeSet<String>,
    /// When each tag was pushed, by this site's clock (history).
    pub push_times: BTreeMap<String, String>,
}

impl SiteSnapshot {
    pub(crate) fn of(site: &Site) -> SiteSnapshot {
        let state = site.state();
        let repositories = state.repositories.values().map(|repository| {
            let tags = repository.tags.values();
            let snapshot = RepositorySnapshot {
                tags: tags
                    .clone()
                    .map(|tag| (tag.name.clone(), tag.digest.clone()))
                    .collect(),
                manifests: repository.artifacts.keys().cloned().collect(),
                blobs: repository.blobs.clone(),
                push_times: tags
                    .map(|tag| (tag.name.clone(), clock::show(tag.pushed)))
                    .collect(),
            };
            (repository.name.clone(), snapshot)
        });
        let count = |policy: &Policy, unsettled_only: bool| {
            let of_policy = state
                .executions
                .values()
                .filter(|execution| execution.policy == policy.id);
            of_policy
                .filter(|execution| {
                    let retries = execution.status == Status::Failed
                        && state.tasks_of(execution.id).next().is_some();
                    !unsettled_only
                        || !execution.status.is_final()
                        || (retries && !execution.stopped)
                })
                .count()
        };
        let by_policy = |unsettled_only: bool| {
            let policies = state.policies.values();
            policies
                .map(|policy| (policy.name.clone(), count(policy, unsettled_only)))
                .collect()
        };
        SiteSnapshot {
            read_only: state.read_only,
            projects: state
                .projects
                .values()
                .map(|project| {
                    (
                        project.name.clone(),
                        ProjectSnapshot {
                            public: project.public,
                        },
                    )
                })
                .collect(),
            repositories: repositories.collect(),
            policies: state
                .policies
                .values()
                .map(|policy| (policy.name.clone(), input_fields(&state, policy)))
                .collect(),
            robots: state
                .robots
                .values()
                .map(|robot| (robot.name.clone(), robot.disabled))
                .collect(),
            executions: by_policy(false),
            unsettled: by_policy(true),
        }
    }

    fn forget_history(&mut self) {
        self.executions.clear();
        self.unsettled.clear();
        for repository in self.repositories.values_mut() {
            repository.push_times.clear();
        }
    }
}

fn input_fields(state: &State, policy: &Policy) -> Value {
    let side = |id: i64| {
        state
            .endpoints
            .get(&id)
            .map(|endpoint| endpoint.name.clone())
    };
    json!({
        "description": policy.description, "source": side(policy.source), "destination": side(policy.destination),
        "dest_namespace": policy.dest_namespace, "dest_namespace_replace_count": policy.replace_count,
        "trigger": policy.trigger.as_ref().map(|trigger| json!({ "type": trigger.kind, "cron": trigger.cron })),
        "filters": policy.filters, "deletion": policy.deletion, "override": policy.overwrites,
        "enabled": policy.enabled, "speed": policy.speed, "copy_by_chunk": policy.copy_by_chunk,
    })
}
