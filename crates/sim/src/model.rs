//! What one simulated Harbor holds in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::body::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// The whole state of one site. Nobody holds two of these at a time.
#[derive(Debug, Default)]
pub(crate) struct State {
    ids: HashMap<&'static str, i64>,
    pub(crate) read_only: bool,
    /// Settings that were changed, besides the read-only flag.
    pub(crate) settings: Map<String, Value>,
    pub(crate) users: Vec<User>,
    pub(crate) robots: BTreeMap<i64, Robot>,
    pub(crate) projects: BTreeMap<i64, Project>,
    /// By full name, `project/repository`.
    pub(crate) repositories: BTreeMap<String, Repository>,
    pub(crate) endpoints: BTreeMap<i64, Endpoint>,
    pub(crate) policies: BTreeMap<i64, Policy>,
    pub(crate) executions: BTreeMap<i64, Execution>,
    pub(crate) tasks: BTreeMap<i64, Task>,
    pub(crate) labels: BTreeMap<i64, Label>,
    /// Blob uploads under way: repository and what came so far, by upload id.
    pub(crate) uploads: HashMap<String, (String, Vec<u8>)>,
    /// Blob contents by digest; which repository has which stands in the repository.
    pub(crate) blobs: HashMap<String, Bytes>,
    /// Tokens of the token service, by their text.
    pub(crate) tokens: HashMap<String, Grant>,
}

impl State {
    /// Draws the next id of a kind.
    pub(crate) fn next_id(&mut self, kind: &'static str) -> i64 {
        let id = self.ids.entry(kind).or_insert(0);
        *id += 1;
        *id
    }

    pub(crate) fn project(&self, name: &str) -> Option<&Project> {
        self.projects.values().find(|project| project.name == name)
    }

    pub(crate) fn policy_named(&self, name: &str) -> Option<&Policy> {
        self.policies.values().find(|policy| policy.name == name)
    }

    /// The tasks of an execution, newest first.
    pub(crate) fn tasks_of(&self, execution: i64) -> impl Iterator<Item = &Task> {
        self.tasks
            .values()
            .rev()
            .filter(move |task| task.execution == execution)
    }

    /// Takes a repository, made when it is missing. The project must exist.
    pub(crate) fn repository_mut(&mut self, name: &str, now: Timestamp) -> Option<&mut Repository> {
        if !self.repositories.contains_key(name) {
            let project = self.project(name.split('/').next()?)?.id;
            let id = self.next_id("repository");
            let fresh = Repository::new(id, project, name, now);
            self.repositories.insert(name.to_owned(), fresh);
        }
        self.repositories.get_mut(name)
    }

    /// Bytes that a project's repositories hold, each blob once.
    pub(crate) fn storage_of(&self, project: i64) -> u64 {
        let mut blobs = BTreeSet::new();
        let mut total = 0;
        for repository in self
            .repositories
            .values()
            .filter(|repository| repository.project == project)
        {
            blobs.extend(repository.blobs.iter());
            total += repository
                .artifacts
                .values()
                .map(|artifact| artifact.manifest.len() as u64)
                .sum::<u64>();
        }
        total
            + blobs
                .iter()
                .filter_map(|digest| self.blobs.get(*digest))
                .map(|blob| blob.len() as u64)
                .sum::<u64>()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) admin: bool,
    pub(crate) created: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) struct Robot {
    pub(crate) id: i64,
    /// Without the prefix, with `project+` for project robots.
    pub(crate) name: String,
    pub(crate) secret: String,
    pub(crate) description: String,
    pub(crate) disabled: bool,
    pub(crate) duration_days: i64,
    /// Unix seconds, or -1.
    pub(crate) expires_at: i64,
    pub(crate) level: String,
    /// As given: `[{kind, namespace, access: [{resource, action}]}]`.
    pub(crate) permissions: Value,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

impl Robot {
    /// The name for basic auth.
    pub(crate) fn full_name(&self) -> String {
        format!("robot${}", self.name)
    }

    /// Whether one of the entries grants the right. `project` is `None` for rights of the system.
    pub(crate) fn may(&self, project: Option<&str>, resource: &str, action: &str) -> bool {
        let wanted_kind = if project.is_some() {
            "project"
        } else {
            "system"
        };
        self.permissions
            .as_array()
            .into_iter()
            .flatten()
            .any(|entry| {
                let namespace = entry["namespace"].as_str().unwrap_or_default();
                entry["kind"] == wanted_kind
                    && project.is_none_or(|project| namespace == "*" || namespace == project)
                    && entry["access"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .any(|access| access["resource"] == resource && access["action"] == action)
            })
    }

    /// A robot with both kinds of entries gets 401 on the registry API for everything (seen on v2.9.5).
    pub(crate) fn mixes_kinds(&self) -> bool {
        let has = |kind: &str| {
            self.permissions
                .as_array()
                .into_iter()
                .flatten()
                .any(|entry| entry["kind"] == kind)
        };
        has("project") && has("system")
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Project {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) public: bool,
    /// Bytes, or -1.
    pub(crate) quota: i64,
    pub(crate) created: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) struct Repository {
    pub(crate) id: i64,
    pub(crate) project: i64,
    pub(crate) name: String,
    /// By digest.
    pub(crate) artifacts: BTreeMap<String, Artifact>,
    /// By name.
    pub(crate) tags: BTreeMap<String, Tag>,
    pub(crate) blobs: BTreeSet<String>,
    pub(crate) pull_count: i64,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

impl Repository {
    fn new(id: i64, project: i64, name: &str, now: Timestamp) -> Repository {
        Repository {
            id,
            project,
            name: name.to_owned(),
            artifacts: BTreeMap::new(),
            tags: BTreeMap::new(),
            blobs: BTreeSet::new(),
            pull_count: 0,
            created: now,
            updated: now,
        }
    }

    /// The digest that a tag or digest stands for.
    pub(crate) fn resolve(&self, reference: &str) -> Option<&Artifact> {
        let digest = self
            .tags
            .get(reference)
            .map_or(reference, |tag| tag.digest.as_str());
        self.artifacts.get(digest)
    }

    /// The tags of an artifact, in order.
    pub(crate) fn tags_of(&self, digest: &str) -> Vec<&Tag> {
        self.tags
            .values()
            .filter(|tag| tag.digest == digest)
            .collect()
    }

    /// Artifacts that stand for themselves: no accessories, no untagged children of an index.
    pub(crate) fn top_level(&self) -> impl Iterator<Item = &Artifact> {
        let children: BTreeSet<&String> = self
            .artifacts
            .values()
            .flat_map(|artifact| artifact.children.iter())
            .collect();
        self.artifacts.values().filter(move |artifact| {
            artifact.subject.is_none()
                && (!children.contains(&artifact.digest)
                    || !self.tags_of(&artifact.digest).is_empty())
        })
    }

    /// The accessories of an artifact.
    pub(crate) fn accessories_of(&self, digest: &str) -> impl Iterator<Item = &Artifact> {
        self.artifacts
            .values()
            .filter(move |artifact| artifact.subject.as_deref() == Some(digest))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Artifact {
    pub(crate) id: i64,
    pub(crate) digest: String,
    pub(crate) media_type: String,
    pub(crate) manifest: Bytes,
    pub(crate) size: u64,
    pub(crate) children: Vec<String>,
    pub(crate) subject: Option<String>,
    pub(crate) labels: Vec<i64>,
    pub(crate) pushed: Timestamp,
    pub(crate) pulled: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) digest: String,
    pub(crate) pushed: Timestamp,
}

/// A registry endpoint: another Harbor with the credential for it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) kind: String,
    pub(crate) url: String,
    pub(crate) insecure: bool,
    pub(crate) access_key: String,
    pub(crate) access_secret: String,
    pub(crate) status: String,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) description: String,
    /// 0 is this Harbor.
    pub(crate) source: i64,
    /// 0 is this Harbor.
    pub(crate) destination: i64,
    pub(crate) dest_namespace: String,
    pub(crate) replace_count: i64,
    /// The type and its settings as given.
    pub(crate) trigger: Option<Trigger>,
    /// An array, or null.
    pub(crate) filters: Value,
    pub(crate) deletion: bool,
    pub(crate) overwrites: bool,
    pub(crate) enabled: bool,
    /// Kilobits per second; 0 is no limit.
    pub(crate) speed: i64,
    pub(crate) copy_by_chunk: bool,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    /// Counts the writes, so that the scheduler notices a new schedule.
    pub(crate) revision: u64,
}

impl Policy {
    pub(crate) fn cron(&self) -> Option<&str> {
        let trigger = self.trigger.as_ref()?;
        (trigger.kind == "scheduled").then_some(trigger.cron.as_str())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trigger {
    pub(crate) kind: String,
    pub(crate) cron: String,
}

/// Status of a task, and of an execution except for `Pending`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    InProgress,
    Succeed,
    Failed,
    Stopped,
}

impl Status {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Status::Pending => "Pending",
            Status::InProgress => "InProgress",
            Status::Succeed => "Succeed",
            Status::Failed => "Failed",
            Status::Stopped => "Stopped",
        }
    }

    pub(crate) fn is_final(self) -> bool {
        matches!(self, Status::Succeed | Status::Failed | Status::Stopped)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Execution {
    pub(crate) id: i64,
    pub(crate) policy: i64,
    pub(crate) status: Status,
    pub(crate) status_text: String,
    pub(crate) trigger: String,
    pub(crate) started: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    /// Somebody asked to stop it: no retries, no more tags.
    pub(crate) stopped: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) id: i64,
    pub(crate) execution: i64,
    pub(crate) job: String,
    pub(crate) operation: &'static str,
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) items: usize,
    pub(crate) status: Status,
    pub(crate) started: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    /// The lines of the last run only.
    pub(crate) log: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) color: String,
    /// `g` or `p`.
    pub(crate) scope: String,
    pub(crate) project: i64,
    pub(crate) created: Timestamp,
}

/// What a token of the token service allows.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    /// (repository, action).
    pub(crate) allowed: BTreeSet<(String, String)>,
    pub(crate) expires: Timestamp,
}

/// How an execution's own status follows from its tasks. `None` while there are none.
pub(crate) fn status_from<'a>(tasks: impl Iterator<Item = &'a Task>) -> Option<Status> {
    let statuses: Vec<Status> = tasks.map(|task| task.status).collect();
    if statuses.is_empty() {
        return None;
    }
    let any = |status| statuses.contains(&status);
    Some(if statuses.iter().any(|status| !status.is_final()) {
        Status::InProgress
    } else if any(Status::Failed) {
        Status::Failed
    } else if any(Status::Stopped) {
        Status::Stopped
    } else {
        Status::Succeed
    })
}
