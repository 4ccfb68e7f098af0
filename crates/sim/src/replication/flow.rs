//! From a started execution to its tasks: listing, filters, names, destination projects.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    events::Event,
    finish,
    side::{Side, Trouble},
    tasks::{self, Job, Work},
};
use crate::{
    faults::Fault,
    filters::{self, BadPattern, Candidate},
    http,
    model::{Policy, Repository, State, Status},
    namespace,
    site::Site,
};

/// How long listing takes before the tasks are there (seen: 0.1 to 0.3 s).
const LISTING: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(250));
/// How long an execution that is about to fail reads `Stopped`.
const STOPPED_FLASH: Duration = Duration::from_millis(10);
const NOTHING: &str = "no resources need to be replicated";

/// Takes an execution to its tasks and starts those, or ends it without any.
pub(super) async fn run(site: Arc<Site>, id: i64, policy: Policy, event: Option<Event>) {
    let sides = Side::both(&site, &policy);
    if sides.is_ok() {
        site.sleep(site.between(LISTING.0, LISTING.1)).await;
    }
    let planned = sides.and_then(|(source, destination)| {
        let planned = plan(&site, &policy, &source, &destination, event.as_ref())?;
        Ok((source, destination, planned))
    });
    let planned = planned.and_then(|planned| queue_works(&site).map(|()| planned));
    let (source, destination, mut jobs) = match planned {
        Ok(planned) => planned,
        Err(text) => return end(&site, id, Status::Failed, &text).await,
    };
    if site
        .faults
        .spend(|fault| matches!(fault, Fault::CopiesNothing { .. }))
    {
        jobs.clear();
    }
    if jobs.is_empty() {
        return end(&site, id, Status::Succeed, NOTHING).await;
    }
    let now = site.now();
    let mut state = site.state();
    // Stopped while listing: no tasks are made.
    if state
        .executions
        .get(&id)
        .is_none_or(|execution| execution.stopped)
    {
        return;
    }
    let queued: Vec<(i64, Job)> = jobs
        .into_iter()
        .map(|job| (tasks::add(&mut state, id, &job, now), job))
        .collect();
    drop(state);
    for (task, job) in queued {
        let work = Work {
            site: site.clone(),
            source: source.clone(),
            destination: destination.clone(),
            execution: id,
            task,
            overwrites: policy.overwrites,
            speed_kbps: policy.speed,
            job,
        };
        tokio::spawn(tasks::run(work));
    }
}

fn plan(
    site: &Site,
    policy: &Policy,
    source: &Side,
    destination: &Side,
    event: Option<&Event>,
) -> Result<Vec<Job>, String> {
    let mut jobs = match event {
        Some(event) => event.jobs(),
        None => list(policy, source)?,
    };
    for job in &mut jobs {
        job.destination =
            namespace::destination(&job.source, &policy.dest_namespace, policy.replace_count)?;
    }
    // Two repositories may end at one place; the last one wins there.
    prepare(site, source, destination, &jobs)?;
    Ok(jobs)
}

/// Lists the source as it shows itself to the credential.
fn list(policy: &Policy, source: &Side) -> Result<Vec<Job>, String> {
    let fetch =
        |trouble: Trouble| format!("failed to fetch artifacts: {}", trouble.in_status(source));
    let pattern = |_: BadPattern| "failed to fetch artifacts: syntax error in pattern".to_owned();
    let principal = source.principal().map_err(fetch)?;
    let visible: Vec<String> = {
        let state = source.site.state();
        let seen = state
            .projects
            .values()
            .filter(|project| http::sees(&principal, project));
        seen.map(|project| project.name.clone()).collect()
    };
    let named = filters::named_projects(&policy.filters).unwrap_or_default();
    let chosen: Vec<String> = visible
        .iter()
        .filter(|name| named.contains(name))
        .cloned()
        .collect();
    // With wildcards, or when none of the named ones is there, all visible projects are listed.
    let projects = if chosen.is_empty() { visible } else { chosen };
    let mut jobs = Vec::new();
    // A broken pattern is an error even when there is nothing to match.
    filters::keeps_repository(&policy.filters, "-").map_err(pattern)?;
    for project in projects {
        source.need(&project, "repository", "list").map_err(fetch)?;
        let names: Vec<String> = {
            let state = source.site.state();
            let id = state.project(&project).map_or(0, |project| project.id);
            state
                .repositories
                .values()
                .filter(|repository| repository.project == id)
                .map(|repository| repository.name.clone())
                .collect()
        };
        for name in names {
            if !filters::keeps_repository(&policy.filters, &name).map_err(pattern)? {
                continue;
            }
            source.need(&project, "artifact", "list").map_err(fetch)?;
            let candidates = {
                let state = source.site.state();
                state
                    .repositories
                    .get(&name)
                    .map(|repository| candidates(&state, repository))
                    .unwrap_or_default()
            };
            if candidates.iter().any(|candidate| candidate.is_accessory) {
                source.need(&project, "artifact", "read").map_err(fetch)?;
            }
            let kept = filters::keep_artifacts(&policy.filters, &candidates).map_err(pattern)?;
            if !kept.is_empty() {
                jobs.push(Job::copy(&name, kept));
            }
        }
    }
    Ok(jobs)
}

/// What the listing shows of a repository: top-level artifacts and their accessories, newest first.
fn candidates(state: &State, repository: &Repository) -> Vec<Candidate> {
    let labels = |ids: &[i64]| {
        ids.iter()
            .filter_map(|id| state.labels.get(id))
            .map(|label| label.name.clone())
            .collect()
    };
    let tags = |digest: &str| {
        repository
            .tags_of(digest)
            .into_iter()
            .map(|tag| tag.name.clone())
            .collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    let mut top: Vec<_> = repository.top_level().collect();
    top.sort_by_key(|artifact| std::cmp::Reverse((artifact.pushed, artifact.id)));
    for artifact in top {
        found.push(Candidate {
            digest: artifact.digest.clone(),
            tags: tags(&artifact.digest),
            labels: labels(&artifact.labels),
            is_accessory: false,
            parent_tags: Vec::new(),
        });
        for accessory in repository.accessories_of(&artifact.digest) {
            found.push(Candidate {
                digest: accessory.digest.clone(),
                tags: tags(&accessory.digest),
                labels: labels(&artifact.labels),
                is_accessory: true,
                parent_tags: tags(&artifact.digest),
            });
        }
    }
    found
}

/// Makes the destination projects that are missing, public only if all their sources are.
fn prepare(site: &Site, source: &Side, destination: &Side, jobs: &[Job]) -> Result<(), String> {
    let project_of = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    let mut wanted: BTreeMap<String, bool> = BTreeMap::new();
    for job in jobs.iter().filter(|job| job.operation == "copy") {
        let public = source
            .site
            .state()
            .project(&project_of(&job.source))
            .is_some_and(|project| project.public);
        *wanted.entry(project_of(&job.destination)).or_insert(true) &= public;
    }
    for (project, public) in wanted {
        if destination.site.state().project(&project).is_some() {
            continue;
        }
        let refuse = |trouble: Trouble| {
            format!(
                "failed to prepare for pushing: {}",
                trouble.in_status(destination)
            )
        };
        if destination.principal().map_err(refuse)?.is_anonymous() {
            return Err(refuse(Trouble::error(401, "UNAUTHORIZED", "unauthorized")));
        }
        destination.need_writable().map_err(refuse)?;
        http::make_project(&mut destination.site.state(), &project, public, site.now());
    }
    Ok(())
}

/// Tasks need the job runner and redis behind it.
fn queue_works(site: &Site) -> Result<(), String> {
    let host = site.address.ip();
    if site.component_down("jobservice") {
        return Err(format!(
            "Post \"http://{host}:8888/api/v1/jobs\": dial tcp {host}:8888: connect: connection refused"
        ));
    }
    if site.component_down("redis") {
        return Err(format!(
            "http error: code 500, message {{\"code\":10003,\"message\":\"launch job failed with error\",\"details\":\"dial tcp {host}:6379: connect: connection refused\"}}"
        ));
    }
    Ok(())
}

/// Ends an execution without tasks. A failing one first reads `Stopped` for a moment (seen on v2.9.5).
async fn end(site: &Site, id: i64, status: Status, text: &str) {
    let write = |status: Status, text: &str| {
        let now = site.now();
        let mut state = site.state();
        if let Some(execution) = state
            .executions
            .get_mut(&id)
            .filter(|execution| !execution.stopped)
        {
            execution.status_text = text.to_owned();
            finish(execution, status, now);
        }
    };
    if status == Status::Failed {
        write(Status::Stopped, "");
        let flash = site.faults.find(|fault| match fault {
            Fault::StoppedFlash { delay_ms } => Some(Duration::from_millis(*delay_ms)),
            _ => None,
        });
        match flash {
            Some(real) => tokio::time::sleep(real).await,
            None => site.sleep(STOPPED_FLASH).await,
        }
    }
    write(status, text);
}
