//! Projects, repositories, artifacts, and the space that they take.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::filter::ArtifactView;

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// The id.
    #[serde(rename = "project_id")]
    pub id: i64,
    /// The name: the first part of its repositories' names.
    pub name: String,
    /// How many repositories it has.
    #[serde(default)]
    pub repo_count: i64,
    /// The registry that a proxy-cache project caches; 0 for ordinary projects. Replication into a
    /// proxy-cache project is skipped silently.
    #[serde(default)]
    pub registry_id: i64,
    /// Settings. Booleans are the texts `true` and `false`.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub metadata: BTreeMap<String, String>,
}

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// The id.
    #[serde(default)]
    pub id: i64,
    /// The full name, `project/path`.
    pub name: String,
    /// How many artifacts it has, accessories included.
    #[serde(default)]
    pub artifact_count: i64,
    /// When something in it last changed.
    #[serde(default, deserialize_with = "super::optional_time")]
    pub update_time: Option<Timestamp>,
}

/// An artifact: one manifest, with its tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The id.
    #[serde(default)]
    pub id: i64,
    /// The digest of the manifest, `sha256:...`.
    pub digest: String,
    /// `IMAGE`, `CHART`, `CNAB` ...
    #[serde(default, rename = "type")]
    pub kind: String,
    /// In bytes, of all that it refers to.
    #[serde(default)]
    pub size: i64,
    /// The media type of the manifest.
    #[serde(default)]
    pub manifest_media_type: String,
    /// When it was pushed here; at the destination of a replication that is the time of the copy.
    #[serde(default, deserialize_with = "super::optional_time")]
    pub push_time: Option<Timestamp>,
    /// Its tags; empty for an untagged one.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub tags: Vec<Tag>,
    /// Its labels, if they were asked for.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub labels: Vec<Label>,
    /// Signatures, SBOMs and the like, if they were asked for.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub accessories: Vec<Accessory>,
    /// The manifests of an index.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub references: Vec<Reference>,
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// The name.
    pub name: String,
    /// When it was put on this artifact.
    #[serde(default, deserialize_with = "super::optional_time")]
    pub push_time: Option<Timestamp>,
    /// Whether a rule forbids to move it.
    #[serde(default)]
    pub immutable: bool,
}

/// A label of Harbor (not one of the image).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The id.
    #[serde(default)]
    pub id: i64,
    /// The name, which filters compare literally.
    pub name: String,
}

/// An artifact that hangs on another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accessory {
    /// The digest of its manifest.
    pub digest: String,
    /// Such as `signature.cosign`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// In bytes.
    #[serde(default)]
    pub size: i64,
}

/// One manifest of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its digest.
    pub child_digest: String,
}

/// The space of a project, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The limit; -1 is none.
    pub limit: i64,
    /// What is used.
    pub used: i64,
}

/// The space of a file system, in bytes. Meaningless on object storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Volume {
    /// All of it.
    #[serde(default)]
    pub total: u64,
    /// What is free.
    #[serde(default)]
    pub free: u64,
}

#[derive(Deserialize)]
pub(crate) struct QuotaDocument {
    #[serde(default, deserialize_with = "super::null_as_default")]
    hard: BTreeMap<String, i64>,
    #[serde(default, deserialize_with = "super::null_as_default")]
    used: BTreeMap<String, i64>,
}

#[derive(Deserialize)]
pub(crate) struct Volumes {
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub(crate) storage: Vec<Volume>,
}

impl Project {
    /// Whether anybody may pull from it.
    pub fn is_public(&self) -> bool {
        self.metadata
            .get("public")
            .is_some_and(|word| word == "true")
    }

    /// Whether it caches another registry.
    pub fn is_proxy_cache(&self) -> bool {
        self.registry_id > 0
    }
}

impl Repository {
    /// The name within its project: what [`Reader::artifacts`](crate::Reader::artifacts) takes.
    pub fn name_in_project(&self) -> &str {
        self.name
            .split_once('/')
            .map_or(self.name.as_str(), |(_, rest)| rest)
    }

    /// The project.
    pub fn project(&self) -> &str {
        self.name.split_once('/').map_or("", |(project, _)| project)
    }
}

impl Artifact {
    /// What filters look at.
    pub fn view(&self) -> ArtifactView<'_> {
        ArtifactView {
            tags: self.tags.iter().map(|tag| tag.name.as_str()).collect(),
            labels: self
                .labels
                .iter()
                .map(|label| label.name.as_str())
                .collect(),
            subject_tags: None,
        }
    }
}

impl From<QuotaDocument> for Quota {
    fn from(document: QuotaDocument) -> Quota {
        Quota {
            limit: document.hard.get("storage").copied().unwrap_or(-1),
            used: document.used.get("storage").copied().unwrap_or(0),
        }
    }
}
