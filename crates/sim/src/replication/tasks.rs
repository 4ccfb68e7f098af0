//! A task: one repository copied or deleted, tried up to three times.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use jiff::Timestamp;

use super::side::{Side, Trouble};
use crate::{
    clock,
    content::{self, References},
    faults::Fault,
    filters::Candidate,
    model::{State, Status, Task},
    site::{Site, lock},
    store::{self, Refused},
};

/// Runs of a task in all.
const RUNS: u64 = 3;
/// How long the job runner takes to look at its queue (seen: 0.5 to 4 s).
const PICK_UP: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(3800));
/// Waits between the attempts at one blob.
const BLOB_WAITS: [u64; 4] = [2, 4, 8, 16];
/// The first bytes of a blob that a speed limit does not count.
const FREE_BYTES: u64 = 1_024_000;
/// The longest wait before a refused status report is sent again.
const REPORT_WAIT_MAX: Duration = Duration::from_secs(64);

/// What a task does.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(super) operation: &'static str,
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) artifacts: Vec<Candidate>,
}

impl Job {
    pub(super) fn copy(repository: &str, artifacts: Vec<Candidate>) -> Job {
        Job {
            operation: "copy",
            source: repository.to_owned(),
            destination: String::new(),
            artifacts,
        }
    }

    /// Tags, and untagged digests.
    fn references(&self) -> Vec<String> {
        let mut references = Vec::new();
        for artifact in &self.artifacts {
            if artifact.tags.is_empty() {
                references.push(artifact.digest.clone());
            }
            references.extend(artifact.tags.iter().cloned());
        }
        references
    }
}

/// A task with all it needs to run.
pub(super) struct Work {
    /// Whose execution it is.
    pub(super) site: Arc<Site>,
    pub(super) source: Side,
    pub(super) destination: Side,
    pub(super) execution: i64,
    pub(super) task: i64,
    pub(super) overwrites: bool,
    pub(super) speed_kbps: i64,
    pub(super) job: Job,
}

/// Puts a task into the queue.
pub(super) fn add(state: &mut State, execution: i64, job: &Job, now: Timestamp) -> i64 {
    let id = state.next_id("task");
    state.tasks.insert(
        id,
        Task {
            id,
            execution,
            job: format!("{:024x}", u128::from(clock::unguessable())),
            operation: job.operation,
            source: job.source.clone(),
            destination: job.destination.clone(),
            items: job.references().len(),
            status: Status::Pending,
            started: now,
            ended: None,
            log: String::new(),
        },
    );
    id
}

/// Why a run of a task ended without success.
enum Broken {
    Stopped,
    Failed,
}

/// Runs a task to its end, retries included.
pub(super) async fn run(work: Work) {
    wait_in_queue(&work.site).await;
    for attempt in 1..=RUNS {
        if work.is_stopped() {
            return;
        }
        work.start();
        match work.attempt().await {
            Err(Broken::Stopped) => return,
            Ok(()) => return work.report_in_the_end(Status::Succeed).await,
            Err(Broken::Failed) if attempt == RUNS => {
                return work.report_in_the_end(Status::Failed).await;
            }
            // The retry does not wait for the report.
            Err(Broken::Failed) => work.report(Status::Failed),
        };
        // n^4 + 15 + random(0..29) x (n + 1) seconds, by the job runner's formula.
        let chance = work
            .site
            .between(Duration::ZERO, Duration::from_secs(29))
            .as_secs();
        let delay = attempt.pow(4) + 15 + chance * (attempt + 1);
        work.site.sleep(Duration::from_secs(delay)).await;
    }
}

async fn wait_in_queue(site: &Site) {
    site.sleep(site.between(PICK_UP.0, PICK_UP.1)).await;
    let slow = site.faults.find(|fault| match fault {
        Fault::SlowQueue { delay_ms } => Some(Duration::from_millis(*delay_ms)),
        _ => None,
    });
    if let Some(delay) = slow {
        site.sleep(delay).await;
    }
    while site
        .faults
        .find(|fault| matches!(fault, Fault::PausedQueue).then_some(()))
        .is_some()
    {
        site.sleep(Duration::from_secs(1)).await;
    }
}

impl Work {
    fn is_stopped(&self) -> bool {
        let state = self.site.state();
        // Gone is as good as stopped.
        state
            .executions
            .get(&self.execution)
            .is_none_or(|execution| execution.stopped)
    }

    fn start(&self) {
        let now = self.site.now();
        let retried = self
            .site
            .state()
            .tasks
            .get(&self.task)
            .is_some_and(|task| task.ended.is_some());
        let reported = self.report(Status::InProgress);
        if let Some(task) = self.site.state().tasks.get_mut(&self.task) {
            if reported && retried {
                task.started = now;
            }
            task.log.clear();
        }
    }

    /// Writes the status of the task. A read-only Harbor refuses that to its own job runner: `false`.
    fn report(&self, status: Status) -> bool {
        if self.site.component_down("database") || !self.site.listening.is_up() {
            return false;
        }
        let now = self.site.now();
        let mut state = self.site.state();
        if state.read_only {
            return false;
        }
        if let Some(task) = state
            .tasks
            .get_mut(&self.task)
            .filter(|task| task.status != Status::Stopped)
        {
            task.status = status;
            task.ended = status.is_final().then_some(now);
        }
        true
    }

    /// Writes the last status, again and again until it is taken: while a Harbor is read-only its tasks do not
    /// move, and they end late after the flag was lifted (seen on v2.9.5: 68 s).
    async fn report_in_the_end(&self, status: Status) {
        let mut wait = Duration::from_secs(1);
        while !self.report(status) {
            self.site.sleep(wait).await;
            wait = (wait * 2).min(REPORT_WAIT_MAX);
        }
    }

    /// Stands still while the site itself is down: its job runner is down with it.
    async fn alive(&self) {
        while !self.site.listening.is_up() {
            self.site.sleep(Duration::from_secs(1)).await;
        }
    }

    async fn attempt(&self) -> Result<(), Broken> {
        let log = |what: String| self.log("INFO", &what);
        log(format!(
            "client for source registry [type: harbor, URL: {}, insecure: true] created",
            self.source.url
        ));
        log(format!(
            "client for destination registry [type: harbor, URL: {}, insecure: true] created",
            self.destination.url
        ));
        if self
            .site
            .faults
            .spend(|fault| matches!(fault, Fault::FailedTasks { .. }))
        {
            self.log(
                "ERROR",
                "got error during the whole transfer period, mark the job failure",
            );
            return Err(Broken::Failed);
        }
        match self.job.operation {
            "copy" => self.copy().await,
            _ => self.delete().await,
        }
    }

    async fn copy(&self) -> Result<(), Broken> {
        let (from, to) = (&self.job.source, &self.job.destination);
        let references = self.job.references().join(",");
        self.log("INFO", &format!("copying {from}:[{references}](source registry) to {to}:[{references}](destination registry)..."));
        let speed = *lock(&self.site.copy_speed);
        self.site.sleep(speed.per_task).await;
        let mut failed = false;
        for reference in self.job.references() {
            // One that fails does not hold up the others; the task fails at the end.
            match self.copy_one(&reference, true).await {
                Ok(()) => {}
                Err(Broken::Stopped) => return Err(Broken::Stopped),
                Err(Broken::Failed) => failed = true,
            }
        }
        if failed {
            self.log(
                "ERROR",
                "got error during the whole transfer period, mark the job failure",
            );
            return Err(Broken::Failed);
        }
        self.log("INFO", &format!("copy {from}:[{references}](source registry) to {to}:[{references}](destination registry) completed"));
        Ok(())
    }

    async fn copy_one(&self, reference: &str, is_top: bool) -> Result<(), Broken> {
        let (from, to) = (&self.job.source, &self.job.destination);
        self.alive().await;
        if self.is_stopped() {
            return Err(Broken::Stopped);
        }
        self.log(
            "INFO",
            &format!("pulling the manifest of artifact {from}:{reference} ..."),
        );
        let (media_type, manifest) = self.pull_manifest(reference)?;
        let digest = content::digest(&manifest);
        let there = self.digest_at_destination(reference)?;
        if there.as_deref() == Some(&digest) {
            self.log(
                "INFO",
                &format!(
                    "the image {to}:{reference} already exists on the destination registry, skip"
                ),
            );
            return Ok(());
        }
        if is_top && there.is_some() && !self.overwrites {
            self.log("WARNING", &format!("the same name image {to}:{reference} exists on the destination registry, but the \"override\" is set to false, skip"));
            return Ok(());
        }
        let references = content::references(&manifest).unwrap_or_default();
        for child in &references.children {
            Box::pin(self.copy_one(child, false)).await?;
        }
        self.copy_blobs(&references).await?;
        self.alive().await;
        // The layer under way was finished; a stop counts before the manifest.
        if self.is_stopped() {
            return Err(Broken::Stopped);
        }
        self.log(
            "INFO",
            &format!("pushing the manifest of artifact {to}:{reference} ..."),
        );
        let pushed = self.may_push().and_then(|()| {
            store::put_manifest(&self.destination.site, to, reference, &media_type, manifest)
                .map_err(refusal)
        });
        pushed
            .map(|_| {
                self.log(
                    "INFO",
                    &format!("the manifest of artifact {to}:{reference} pushed"),
                )
            })
            .map_err(|trouble| self.fail(&trouble, &self.destination))
    }

    async fn copy_blobs(&self, references: &References) -> Result<(), Broken> {
        for (blob, _) in &references.blobs {
            if self.is_stopped() {
                return Err(Broken::Stopped);
            }
            let mut waits = BLOB_WAITS.iter();
            let mut nth = 1;
            loop {
                self.log(
                    "INFO",
                    &format!("copying the blob {blob}(the {nth}th running)..."),
                );
                let Err(trouble) = self.copy_blob(blob).await else {
                    break;
                };
                self.log(
                    "ERROR",
                    &format!(
                        "failed to copy the blob {blob}: {}",
                        trouble.in_log(&self.destination)
                    ),
                );
                let Some(seconds) = waits.next() else {
                    return Err(Broken::Failed);
                };
                self.log("INFO", &format!("will retry {seconds}s later"));
                self.site.sleep(Duration::from_secs(*seconds)).await;
                nth += 1;
            }
            self.log("INFO", &format!("copy the blob {blob} completed"));
        }
        Ok(())
    }

    async fn copy_blob(&self, blob: &str) -> Result<(), Trouble> {
        let to = &self.job.destination;
        self.destination.need_registry(to, "pull")?;
        {
            let state = self.destination.site.state();
            if state
                .repositories
                .get(to)
                .is_some_and(|repository| repository.blobs.contains(blob))
            {
                return Ok(());
            }
        }
        self.may_push()?;
        if store::mount_blob(&self.destination.site, to, blob) {
            return Ok(());
        }
        self.source.need_registry(&self.job.source, "pull")?;
        let bytes: Option<Bytes> = self.source.site.state().blobs.get(blob).cloned();
        let bytes = bytes.ok_or_else(|| Trouble::error(404, "NOT_FOUND", "blob not found"))?;
        self.site.sleep(self.duration_of(bytes.len() as u64)).await;
        self.alive().await;
        // Either side may have gone, or been fenced, while the bytes were under way.
        self.source.need_registry(&self.job.source, "pull")?;
        self.may_push()?;
        store::put_blob(&self.destination.site, to, bytes)
            .map(|_| ())
            .map_err(refusal)
    }

    async fn delete(&self) -> Result<(), Broken> {
        let to = &self.job.destination;
        let project = to.split('/').next().unwrap_or_default();
        let tag_only = self.job.operation == "tag deletion";
        for reference in self.job.references() {
            let resource = if tag_only {
                ("tag", "delete")
            } else {
                ("repository", "delete")
            };
            let allowed = self
                .destination
                .need(project, resource.0, resource.1)
                .and_then(|()| self.destination.need_writable());
            allowed.map_err(|trouble| self.fail(&trouble, &self.destination))?;
            if tag_only {
                store::delete_tag(&self.destination.site, to, &reference);
            } else {
                // By what the reference points to there, now.
                let digest = {
                    let state = self.destination.site.state();
                    let found = state
                        .repositories
                        .get(to)
                        .and_then(|repository| repository.resolve(&reference));
                    found.map(|artifact| artifact.digest.clone())
                };
                if let Some(digest) = digest {
                    store::delete_artifact(&self.destination.site, to, &digest);
                }
            }
            self.log(
                "INFO",
                &format!("deleted {to}:{reference} on the destination registry"),
            );
        }
        Ok(())
    }

    fn pull_manifest(&self, reference: &str) -> Result<(String, Bytes), Broken> {
        let from = &self.job.source;
        self.source
            .need_registry(from, "pull")
            .map_err(|trouble| self.fail(&trouble, &self.source))?;
        let state = self.source.site.state();
        let found = state
            .repositories
            .get(from)
            .and_then(|repository| repository.resolve(reference));
        let found = found.map(|artifact| (artifact.media_type.clone(), artifact.manifest.clone()));
        drop(state);
        found.ok_or_else(|| {
            self.fail(
                &Trouble::error(404, "NOT_FOUND", "artifact not found"),
                &self.source,
            )
        })
    }

    fn digest_at_destination(&self, reference: &str) -> Result<Option<String>, Broken> {
        let to = &self.job.destination;
        self.destination
            .need_registry(to, "pull")
            .map_err(|trouble| self.fail(&trouble, &self.destination))?;
        let state = self.destination.site.state();
        let found = state
            .repositories
            .get(to)
            .and_then(|repository| repository.resolve(reference));
        Ok(found.map(|artifact| artifact.digest.clone()))
    }

    fn may_push(&self) -> Result<(), Trouble> {
        self.destination
            .need_registry(&self.job.destination, "push")?;
        self.destination.need_writable()
    }

    fn duration_of(&self, bytes: u64) -> Duration {
        let speed = *lock(&self.site.copy_speed);
        let free = Duration::from_secs_f64(bytes as f64 / speed.bytes_per_second.max(1) as f64);
        if self.speed_kbps <= 0 {
            return free;
        }
        let limited = bytes.saturating_sub(FREE_BYTES) as f64 / (self.speed_kbps as f64 * 128.0);
        free.max(Duration::from_secs_f64(limited))
    }

    fn fail(&self, trouble: &Trouble, side: &Side) -> Broken {
        self.log("ERROR", &trouble.in_log(side));
        Broken::Failed
    }

    fn log(&self, level: &str, what: &str) {
        let at = self.site.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        if let Some(task) = self.site.state().tasks.get_mut(&self.task) {
            task.log.push_str(&format!(
                "{at} [{level}] [/controller/replication/transfer/image/transfer.go]: {what}\n"
            ));
        }
    }
}

fn refusal(refused: Refused) -> Trouble {
    match refused {
        Refused::Quota(project) => Trouble::error(
            403,
            "DENIED",
            &format!("project {project} is out of storage quota"),
        ),
        Refused::NoProject(project) => {
            Trouble::error(401, "UNAUTHORIZED", &format!("project {project} not found"))
        }
        Refused::MissingBlob(blob) => Trouble::error(404, "MANIFEST_BLOB_UNKNOWN", &blob),
        Refused::NotAManifest => Trouble::error(400, "MANIFEST_INVALID", "manifest invalid"),
    }
}
