//! Changes to a site's images, with the events that they fire.
//!
//! Whoever calls has checked the rights. Events start event-based policies, so these functions are the only
//! ones that change images.

use axum::body::Bytes;

use crate::{
    content::{self, Image},
    faults::Fault,
    model::{Artifact, Tag},
    replication::{self, Event},
    site::Site,
};

/// Why a push is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The project has no room left; its name.
    Quota(String),
    /// There is no such project.
    NoProject(String),
    /// The manifest refers to something that the repository does not have.
    MissingBlob(String),
    /// The bytes are no manifest.
    NotAManifest,
}

/// Whether a push into a repository is refused from the start.
pub(crate) fn check_room(site: &Site, repository: &str, more: u64) -> Result<(), Refused> {
    let project = repository.split('/').next().unwrap_or_default().to_owned();
    let full = site.faults.find(|fault| match fault {
        Fault::QuotaFull { project: only } => only
            .as_ref()
            .is_none_or(|only| *only == project)
            .then_some(()),
        _ => None,
    });
    let state = site.state();
    let found = state
        .project(&project)
        .ok_or_else(|| Refused::NoProject(project.clone()))?;
    let over = found.quota >= 0 && state.storage_of(found.id) + more > found.quota as u64;
    if full.is_some() || over {
        Err(Refused::Quota(project))
    } else {
        Ok(())
    }
}

/// Stores a blob in a repository.
pub(crate) fn put_blob(site: &Site, repository: &str, bytes: Bytes) -> Result<String, Refused> {
    check_room(site, repository, bytes.len() as u64)?;
    let digest = content::digest(&bytes);
    let now = site.now();
    let mut state = site.state();
    let target = state
        .repository_mut(repository, now)
        .ok_or_else(|| Refused::NoProject(repository.to_owned()))?;
    target.blobs.insert(digest.clone());
    state.blobs.insert(digest.clone(), bytes);
    Ok(digest)
}

/// Makes a blob that the site has anyway part of a repository.
pub(crate) fn mount_blob(site: &Site, repository: &str, digest: &str) -> bool {
    let now = site.now();
    let mut state = site.state();
    if !state.blobs.contains_key(digest) {
        return false;
    }
    match state.repository_mut(repository, now) {
        Some(target) => {
            target.blobs.insert(digest.to_owned());
            true
        }
        None => false,
    }
}

/// Stores a manifest, under a tag when `reference` is none of its digests. Gives its digest.
pub(crate) fn put_manifest(
    site: &std::sync::Arc<Site>,
    repository: &str,
    reference: &str,
    media_type: &str,
    bytes: Bytes,
) -> Result<String, Refused> {
    check_room(site, repository, bytes.len() as u64)?;
    let references = content::references(&bytes).ok_or(Refused::NotAManifest)?;
    let digest = content::digest(&bytes);
    let now = site.now();
    let is_tag = !reference.starts_with("sha256:");
    {
        let mut state = site.state();
        let artifact_id = state.next_id("artifact");
        let tag_id = state.next_id("tag");
        let target = state
            .repository_mut(repository, now)
            .ok_or_else(|| Refused::NoProject(repository.to_owned()))?;
        let missing = references
            .blobs
            .iter()
            .map(|(digest, _)| digest)
            .find(|digest| !target.blobs.contains(*digest))
            .or_else(|| {
                references
                    .children
                    .iter()
                    .find(|digest| !target.artifacts.contains_key(*digest))
            });
        if let Some(missing) = missing {
            return Err(Refused::MissingBlob(missing.clone()));
        }
        target.updated = now;
        let size = content::total_size(&bytes, &references);
        target
            .artifacts
            .entry(digest.clone())
            .or_insert_with(|| Artifact {
                id: artifact_id,
                digest: digest.clone(),
                media_type: media_type.to_owned(),
                manifest: bytes,
                size,
                children: references.children,
                subject: references.subject,
                labels: Vec::new(),
                pushed: now,
                pulled: None,
            });
        if is_tag {
            let tag = Tag {
                id: tag_id,
                name: reference.to_owned(),
                digest: digest.clone(),
                pushed: now,
            };
            match target.tags.get_mut(reference) {
                // Pushing what is there already changes nothing but is an event all the same.
                Some(existing) if existing.digest == digest => {}
                _ => {
                    target.tags.insert(reference.to_owned(), tag);
                }
            }
        }
    }
    let tags = if is_tag {
        vec![reference.to_owned()]
    } else {
        Vec::new()
    };
    replication::fire(
        site,
        &Event::Pushed {
            repository: repository.to_owned(),
            digest: digest.clone(),
            tags,
        },
    );
    Ok(digest)
}

/// Stores a whole image with everything it needs.
pub(crate) fn put_image(
    site: &std::sync::Arc<Site>,
    repository: &str,
    tag: Option<&str>,
    image: &Image,
) -> Result<String, Refused> {
    for blob in &image.blobs {
        put_blob(site, repository, blob.clone())?;
    }
    for child in &image.children {
        put_image(site, repository, None, child)?;
    }
    let digest = image.digest();
    put_manifest(
        site,
        repository,
        tag.unwrap_or(&digest),
        &image.media_type,
        image.manifest.clone(),
    )
}

/// Points a new tag at an artifact that is there.
pub(crate) fn put_tag(site: &std::sync::Arc<Site>, repository: &str, tag: &str, digest: &str) {
    let now = site.now();
    {
        let mut state = site.state();
        let id = state.next_id("tag");
        if let Some(target) = state.repositories.get_mut(repository) {
            let fresh = Tag {
                id,
                name: tag.to_owned(),
                digest: digest.to_owned(),
                pushed: now,
            };
            target.tags.insert(tag.to_owned(), fresh);
            target.updated = now;
        }
    }
    let (repository, digest, tags) = (
        repository.to_owned(),
        digest.to_owned(),
        vec![tag.to_owned()],
    );
    replication::fire(
        site,
        &Event::Pushed {
            repository,
            digest,
            tags,
        },
    );
}

/// Deletes a tag; its artifact stays. Gives the digest it pointed to.
pub(crate) fn delete_tag(
    site: &std::sync::Arc<Site>,
    repository: &str,
    tag: &str,
) -> Option<String> {
    let removed = site
        .state()
        .repositories
        .get_mut(repository)?
        .tags
        .remove(tag)?;
    replication::fire(
        site,
        &Event::TagDeleted {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
        },
    );
    Some(removed.digest)
}

/// Deletes an artifact with its tags and accessories. Gives the tags.
pub(crate) fn delete_artifact(
    site: &std::sync::Arc<Site>,
    repository: &str,
    digest: &str,
) -> Vec<String> {
    let tags: Vec<String> = {
        let mut state = site.state();
        let Some(target) = state.repositories.get_mut(repository) else {
            return Vec::new();
        };
        let tags: Vec<String> = target
            .tags_of(digest)
            .into_iter()
            .map(|tag| tag.name.clone())
            .collect();
        target.tags.retain(|_, tag| tag.digest != digest);
        target
            .artifacts
            .retain(|own, artifact| own != digest && artifact.subject.as_deref() != Some(digest));
        tags
    };
    let event = Event::ArtifactDeleted {
        repository: repository.to_owned(),
        digest: digest.to_owned(),
        tags: tags.clone(),
    };
    replication::fire(site, &event);
    tags
}

/// Deletes a repository with everything in it.
pub(crate) fn delete_repository(site: &std::sync::Arc<Site>, repository: &str) -> bool {
    let digests: Vec<String> = match site.state().repositories.get(repository) {
        Some(target) => target
            .top_level()
            .map(|artifact| artifact.digest.clone())
            .collect(),
        None => return false,
    };
    for digest in digests {
        delete_artifact(site, repository, &digest);
    }
    site.state().repositories.remove(repository);
    true
}
