//! Changes that somebody else makes, past the API and its log.

use std::sync::Arc;

use crate::{
    content,
    faults::Mutation,
    http::policies,
    model::{Policy, State},
    replication,
    site::Site,
    store,
};

/// Makes the change. What it names and is not there is left alone; `false` then.
pub(crate) fn apply(site: &Arc<Site>, mutation: &Mutation) -> bool {
    let now = site.now();
    let edit = |state: &mut State, name: &str, change: &dyn Fn(&mut Policy)| match state
        .policies
        .values_mut()
        .find(|policy| policy.name == name)
    {
        Some(policy) => {
            change(policy);
            policy.updated = now;
            policy.revision += 1;
            true
        }
        None => false,
    };
    match mutation {
        Mutation::PolicyEnabled { policy, enabled } => edit(&mut site.state(), policy, &|policy| {
            policy.enabled = *enabled
        }),
        Mutation::PolicyDescription {
            policy,
            description,
        } => edit(&mut site.state(), policy, &|policy| {
            policy.description.clone_from(description)
        }),
        Mutation::PolicyDeleted { policy } => {
            let mut state = site.state();
            let Some(id) = state.policy_named(policy).map(|policy| policy.id) else {
                return false;
            };
            policies::remove(&mut state, id);
            true
        }
        Mutation::ReadOnly { read_only } => {
            site.state().read_only = *read_only;
            true
        }
        Mutation::ExecutionStarted { policy } => {
            let id = site.state().policy_named(policy).map(|policy| policy.id);
            id.and_then(|id| replication::start(site, id, "manual", None))
                .is_some()
        }
        Mutation::ExecutionsStopped { policy } => {
            let mut state = site.state();
            let Some(id) = state.policy_named(policy).map(|policy| policy.id) else {
                return false;
            };
            let runs: Vec<i64> = state
                .executions
                .values()
                .filter(|execution| execution.policy == id)
                .map(|execution| execution.id)
                .collect();
            for run in runs {
                replication::stop(&mut state, run, now);
            }
            true
        }
        Mutation::RobotDisabled { robot, disabled } => {
            let mut state = site.state();
            match state.robots.values_mut().find(|one| one.name == *robot) {
                Some(robot) => {
                    robot.disabled = *disabled;
                    robot.updated = now;
                    true
                }
                None => false,
            }
        }
        Mutation::TagPushed {
            repository,
            tag,
            seed,
        } => store::put_image(site, repository, Some(tag), &content::image(seed, "amd64")).is_ok(),
        Mutation::TagDeleted { repository, tag } => {
            store::delete_tag(site, repository, tag).is_some()
        }
    }
}
