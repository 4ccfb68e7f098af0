//! Repositories, artifacts and tags of the API.

use serde_json::{Value, json};

use super::{
    call::{Call, Field, text},
    listing, projects,
    reply::{Answer, Reply, conflict, not_found},
};
use crate::{
    clock,
    content::{DOCKER_LIST, OCI_INDEX},
    model::{Artifact, Repository, State},
    store,
};

pub(super) fn repository(call: &Call, project: &str, name: &str) -> Answer {
    let full = format!("{project}/{name}");
    let state = call.site.state();
    let repository = state
        .repositories
        .get(&full)
        .ok_or_else(|| not_found(format!("repository {full} not found")))?;
    need(call, &state, project, "repository", "read")?;
    Ok(Reply::json(&show_repository(repository)))
}

pub(super) fn delete_repository(call: &Call, project: &str, name: &str) -> Answer {
    let full = format!("{project}/{name}");
    need(call, &call.site.state(), project, "repository", "delete")?;
    if !store::delete_repository(&call.site, &full) {
        return Err(not_found(format!("repository {full} not found")));
    }
    call.note(format!("repository {full}"), "present -> deleted");
    Ok(Reply::empty(200))
}

/// An unknown repository, also of an unknown project, is an empty list (seen on v2.9.5).
pub(super) fn list(call: &Call, project: &str, name: &str) -> Answer {
    let state = call.site.state();
    let Some(repository) = state.repositories.get(&format!("{project}/{name}")) else {
        drop(state);
        return listing::page(call, &[]);
    };
    need(call, &state, project, "artifact", "list")?;
    let shown = Shown::of(call);
    let mut artifacts: Vec<&Artifact> = repository.top_level().collect();
    artifacts.sort_by_key(|artifact| std::cmp::Reverse((artifact.pushed, artifact.id)));
    let wants_tags = call.param("q").unwrap_or_default();
    let items = artifacts
        .into_iter()
        .filter(|artifact| {
            !wants_tags.contains("tags=*") || !repository.tags_of(&artifact.digest).is_empty()
        })
        .map(|artifact| show(&state, repository, artifact, shown))
        .collect();
    drop(state);
    listing::list(
        call,
        items,
        &[
            "id",
            "digest",
            "size",
            "push_time",
            "pull_time",
            "type",
            "media_type",
        ],
    )
}

pub(super) fn get(call: &Call, project: &str, name: &str, reference: &str) -> Answer {
    let state = call.site.state();
    let (repository, artifact) = find(&state, project, name, reference)?;
    need(call, &state, project, "artifact", "read")?;
    Ok(Reply::json(&show(
        &state,
        repository,
        artifact,
        Shown::of(call),
    )))
}

pub(super) fn delete(call: &Call, project: &str, name: &str, reference: &str) -> Answer {
    let digest = {
        let state = call.site.state();
        let digest = find(&state, project, name, reference)?.1.digest.clone();
        need(call, &state, project, "artifact", "delete")?;
        digest
    };
    let tags = store::delete_artifact(&call.site, &format!("{project}/{name}"), &digest);
    call.note(
        format!("artifact {project}/{name}@{digest}"),
        format!("present -> deleted with tags {tags:?}"),
    );
    Ok(Reply::empty(200))
}

pub(super) fn tags(call: &Call, project: &str, name: &str, reference: &str) -> Answer {
    let state = call.site.state();
    let (repository, artifact) = find(&state, project, name, reference)?;
    need(call, &state, project, "tag", "list")?;
    let items = show_tags(repository, artifact);
    drop(state);
    listing::list(call, items, &["id", "name", "push_time"])
}

pub(super) fn create_tag(call: &Call, project: &str, name: &str, reference: &str) -> Answer {
    let body = call.object("tag", "Tag", &[("name", Field::Text)])?;
    let tag = text(&body, "name");
    let full = format!("{project}/{name}");
    let digest = {
        let state = call.site.state();
        let digest = find(&state, project, name, reference)?.1.digest.clone();
        need(call, &state, project, "tag", "create")?;
        if state
            .repositories
            .get(&full)
            .is_some_and(|repository| repository.tags.contains_key(&tag))
        {
            return Err(conflict(format!("tag {tag} already exists")));
        }
        digest
    };
    store::put_tag(&call.site, &full, &tag, &digest);
    call.note(format!("tag {full}:{tag}"), format!("absent -> {digest}"));
    Ok(Reply::created(format!("{}/{tag}", call.path)))
}

pub(super) fn delete_tag(
    call: &Call,
    project: &str,
    name: &str,
    reference: &str,
    tag: &str,
) -> Answer {
    let full = format!("{project}/{name}");
    {
        let state = call.site.state();
        find(&state, project, name, reference)?;
        need(call, &state, project, "tag", "delete")?;
    }
    match store::delete_tag(&call.site, &full, tag) {
        Some(digest) => call.note(format!("tag {full}:{tag}"), format!("{digest} -> absent")),
        None => {
            return Err(not_found(format!(
                "tag {tag} attached to artifact not found"
            )));
        }
    }
    Ok(Reply::empty(200))
}

pub(super) fn add_label(call: &Call, project: &str, name: &str, reference: &str) -> Answer {
    let body = call.object("label", "Label", &[("id", Field::Int64)])?;
    let id = body.get("id").and_then(Value::as_i64).unwrap_or(0);
    let mut state = call.site.state();
    need(call, &state, project, "artifact-label", "create")?;
    let digest = find(&state, project, name, reference)?.1.digest.clone();
    let label = state.labels.get(&id).map(|label| label.name.clone());
    let label = label.ok_or_else(|| not_found(format!("label {id} not found")))?;
    let full = format!("{project}/{name}");
    let artifact = state
        .repositories
        .get_mut(&full)
        .and_then(|repository| repository.artifacts.get_mut(&digest));
    if let Some(artifact) = artifact {
        if artifact.labels.contains(&id) {
            return Err(conflict(format!(
                "label {id} is already added to the artifact"
            )));
        }
        artifact.labels.push(id);
    }
    call.note(
        format!("artifact {full}@{digest}"),
        format!("labelled {label}"),
    );
    Ok(Reply::empty(200))
}

pub(super) fn show_repository(repository: &Repository) -> Value {
    json!({
        "id": repository.id, "project_id": repository.project, "name": repository.name,
        "artifact_count": repository.top_level().count(), "pull_count": repository.pull_count,
        "creation_time": clock::show(repository.created), "update_time": clock::show(repository.updated),
    })
}

/// Which parts of an artifact are asked for.
#[derive(Clone, Copy)]
struct Shown {
    tags: bool,
    labels: bool,
    accessories: bool,
}

impl Shown {
    fn of(call: &Call) -> Shown {
        let asked =
            |name: &str, default: bool| call.param(name).map_or(default, |value| value == "true");
        Shown {
            tags: asked("with_tag", true),
            labels: asked("with_label", false),
            accessories: asked("with_accessory", false),
        }
    }
}

fn show(state: &State, repository: &Repository, artifact: &Artifact, shown: Shown) -> Value {
    let (_, name) = repository
        .name
        .split_once('/')
        .unwrap_or(("", &repository.name));
    let project = state
        .projects
        .get(&repository.project)
        .map_or("", |project| project.name.as_str());
    let base = format!(
        "/api/v2.0/projects/{project}/repositories/{}/artifacts/{}",
        name.replace('/', "%252F"),
        artifact.digest
    );
    let manifest: Value = serde_json::from_slice(&artifact.manifest).unwrap_or(Value::Null);
    let is_index = matches!(artifact.media_type.as_str(), OCI_INDEX | DOCKER_LIST);
    let references: Vec<Value> = manifest["manifests"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|child| {
            json!({
                "parent_id": artifact.id, "child_id": repository.artifacts.get(child["digest"].as_str().unwrap_or_default()).map_or(0, |child| child.id),
                "child_digest": child["digest"], "platform": child["platform"], "annotations": null, "urls": null,
            })
        })
        .collect();
    let mut value = json!({
        "id": artifact.id, "type": "IMAGE", "digest": artifact.digest, "size": artifact.size,
        "project_id": repository.project, "repository_id": repository.id,
        "media_type": manifest["config"]["mediaType"].as_str().unwrap_or(&artifact.media_type),
        "manifest_media_type": artifact.media_type,
        "push_time": clock::show(artifact.pushed), "pull_time": clock::show_or_zero(artifact.pulled),
        "icon": "sha256:0048162a053eef4d4ce3fe7518615bef084403614f8bca43b40ae2e762e11e06",
        "labels": null, "accessories": null, "tags": null,
        "references": if references.is_empty() { Value::Null } else { Value::Array(references) },
        "addition_links": {}, "extra_attrs": extra(state, &manifest),
    });
    if !is_index {
        value["addition_links"] = json!({ "build_history": { "absolute": false, "href": format!("{base}/additions/build_history") } });
    }
    let tags = show_tags(repository, artifact);
    if shown.tags && !tags.is_empty() {
        value["tags"] = Value::Array(tags);
    }
    if shown.labels && !artifact.labels.is_empty() {
        let labels = artifact
            .labels
            .iter()
            .filter_map(|id| state.labels.get(id))
            .map(projects::show_label);
        value["labels"] = Value::Array(labels.collect());
    }
    let accessories: Vec<Value> = repository
        .accessories_of(&artifact.digest)
        .map(|accessory| {
            json!({
                "id": accessory.id, "artifact_id": accessory.id, "digest": accessory.digest, "size": accessory.size,
                "subject_artifact_id": artifact.id, "subject_artifact_digest": artifact.digest,
                "subject_artifact_repo": repository.name, "type": "signature.cosign", "icon": "",
                "creation_time": clock::show(accessory.pushed),
            })
        })
        .collect();
    if shown.accessories && !accessories.is_empty() {
        value["accessories"] = Value::Array(accessories);
    }
    value
}

fn show_tags(repository: &Repository, artifact: &Artifact) -> Vec<Value> {
    repository
        .tags_of(&artifact.digest)
        .into_iter()
        .map(|tag| {
            json!({
                "id": tag.id, "name": tag.name, "artifact_id": artifact.id, "repository_id": repository.id,
                "immutable": false, "push_time": clock::show(tag.pushed), "pull_time": clock::show_or_zero(artifact.pulled),
            })
        })
        .collect()
}

fn extra(state: &State, manifest: &Value) -> Value {
    let config = manifest["config"]["digest"]
        .as_str()
        .and_then(|digest| state.blobs.get(digest));
    let config: Value = config
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or(Value::Null);
    if !config["architecture"].is_string() {
        return json!({});
    }
    json!({
        "architecture": config["architecture"], "os": config["os"], "author": "",
        "config": config["config"], "created": config["created"],
    })
}

fn find<'a>(
    state: &'a State,
    project: &str,
    name: &str,
    reference: &str,
) -> Result<(&'a Repository, &'a Artifact), Reply> {
    let full = format!("{project}/{name}");
    let missing = || {
        not_found(format!(
            "artifact {full}{}{reference} not found",
            separator(reference)
        ))
    };
    let repository = state.repositories.get(&full).ok_or_else(missing)?;
    Ok((
        repository,
        repository.resolve(reference).ok_or_else(missing)?,
    ))
}

/// What stands between a repository and a reference in messages.
pub(super) fn separator(reference: &str) -> char {
    if reference.starts_with("sha256:") {
        '@'
    } else {
        ':'
    }
}

fn need(
    call: &Call,
    state: &State,
    project: &str,
    resource: &str,
    action: &str,
) -> Result<(), Reply> {
    let public = state.project(project).is_some_and(|project| project.public);
    call.need_project(project, public, resource, action)
}
