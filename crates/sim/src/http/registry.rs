//! `/v2/`: the registry API.

use axum::{body::Bytes, http::header};
use serde_json::json;

use super::{
    artifacts::separator,
    auth,
    call::{Call, decode},
    reply::{Answer, Reply, not_found},
};
use crate::{
    content::{DOCKER_MANIFEST, digest},
    site::{Principal, Realm},
    store::{self, Refused},
};

const JSON: &str = "application/json; charset=utf-8";

/// Answers a request below `/v2/`.
pub(super) fn route(call: &Call) -> Answer {
    let rest = decode(call.path.trim_start_matches("/v2").trim_start_matches('/'));
    if rest.is_empty() {
        return base(call);
    }
    if rest == "_catalog" {
        return catalog(call);
    }
    let split = |marker: &str| {
        rest.rfind(marker)
            .map(|at| (rest[..at].to_owned(), rest[at + marker.len()..].to_owned()))
    };
    if let Some((repository, upload)) = split("/blobs/uploads/") {
        return uploads(call, &repository, &upload);
    }
    if let Some((repository, digest)) = split("/blobs/") {
        return blob(call, &repository, &digest);
    }
    if let Some((repository, reference)) = split("/manifests/") {
        return match call.method.as_str() {
            "GET" | "HEAD" => get_manifest(call, &repository, &reference),
            "PUT" => put_manifest(call, &repository, &reference),
            "DELETE" => delete_manifest(call, &repository, &reference),
            _ => Err(Reply::error(
                405,
                "METHOD_NOT_ALLOWED",
                "method not allowed",
            )),
        };
    }
    match rest.strip_suffix("/tags/list") {
        Some(repository) => tags(call, repository),
        None => Err(not_found("page not found")),
    }
}

fn base(call: &Call) -> Answer {
    let known = !call.principal.is_anonymous()
        || call
            .bearer()
            .is_some_and(|token| call.site.state().tokens.contains_key(token));
    if !known {
        return Err(challenge(call, "unauthorized: unauthorized", None));
    }
    Ok(ours(Reply::typed(200, JSON, "{}")))
}

fn catalog(call: &Call) -> Answer {
    match call.principal {
        Principal::Admin(_) => {}
        _ => return Err(challenge(call, "unauthorized: unauthorized", None)),
    }
    let names: Vec<String> = call.site.state().repositories.keys().cloned().collect();
    let (shown, link) = part(call, names, "/v2/_catalog");
    let reply = Reply::typed(200, JSON, json!({ "repositories": shown }).to_string());
    Ok(linked(reply, link))
}

fn tags(call: &Call, repository: &str) -> Answer {
    need(call, repository, "pull")?;
    let state = call.site.state();
    let found = state.repositories.get(repository);
    let found = found.ok_or_else(|| not_found(format!("repository {repository} not found")))?;
    let names = found.tags.keys().cloned().collect();
    let (shown, link) = part(call, names, &format!("/v2/{repository}/tags/list"));
    let reply = Reply::typed(
        200,
        JSON,
        json!({ "name": repository, "tags": shown }).to_string(),
    );
    Ok(linked(reply, link))
}

fn get_manifest(call: &Call, repository: &str, reference: &str) -> Answer {
    need(call, repository, "pull")?;
    let now = call.site.now();
    let mut state = call.site.state();
    let missing = || {
        not_found(format!(
            "artifact {repository}{}{reference} not found",
            separator(reference)
        ))
    };
    let found = state.repositories.get_mut(repository).ok_or_else(missing)?;
    let own = found.resolve(reference).ok_or_else(missing)?.digest.clone();
    if call.site.component_down("registry") {
        return Err(Reply::empty(502));
    }
    if call.method == "GET" {
        found.pull_count += 1;
    }
    let artifact = found.artifacts.get_mut(&own).ok_or_else(missing)?;
    if call.method == "GET" {
        artifact.pulled = Some(now);
    }
    let reply = Reply::typed(200, &artifact.media_type, artifact.manifest.clone());
    Ok(ours(
        reply
            .with("docker-content-digest", own.clone())
            .with("etag", format!("\"{own}\"")),
    ))
}

fn put_manifest(call: &Call, repository: &str, reference: &str) -> Answer {
    need(call, repository, "push")?;
    registry_up(call)?;
    let media_type = call
        .header(header::CONTENT_TYPE)
        .unwrap_or(DOCKER_MANIFEST)
        .to_owned();
    if reference.starts_with("sha256:") && reference != digest(&call.body) {
        return Err(Reply::error(
            400,
            "DIGEST_INVALID",
            "provided digest did not match uploaded content",
        ));
    }
    let before = call
        .site
        .state()
        .repositories
        .get(repository)
        .and_then(|found| found.tags.get(reference))
        .map(|tag| tag.digest.clone());
    call.note(
        format!("manifest {repository}{}{reference}", separator(reference)),
        "",
    );
    let own = store::put_manifest(
        &call.site,
        repository,
        reference,
        &media_type,
        call.body.clone(),
    )
    .map_err(|refused| refuse(call, refused))?;
    let before = before.unwrap_or_else(|| "absent".to_owned());
    call.note(
        format!("manifest {repository}{}{reference}", separator(reference)),
        format!("{before} -> {own}"),
    );
    let location = format!("{}/v2/{repository}/manifests/{own}", call.site.url);
    Ok(ours(
        Reply::empty(201)
            .with("location", location)
            .with("docker-content-digest", own),
    ))
}

/// Deletes by digest, with all its tags; a tag is no way to say what to delete (by source).
fn delete_manifest(call: &Call, repository: &str, reference: &str) -> Answer {
    need(call, repository, "delete")?;
    if !reference.starts_with("sha256:") {
        return Err(Reply::error(
            400,
            "UNSUPPORTED",
            format!("unsupported digest {reference}: invalid checksum digest format"),
        ));
    }
    let own = {
        let state = call.site.state();
        let found = state
            .repositories
            .get(repository)
            .and_then(|found| found.resolve(reference));
        let missing = || {
            not_found(format!(
                "artifact {repository}{}{reference} not found",
                separator(reference)
            ))
        };
        found.ok_or_else(missing)?.digest.clone()
    };
    let tags = store::delete_artifact(&call.site, repository, &own);
    call.note(
        format!("manifest {repository}{}{reference}", separator(reference)),
        format!("{own} -> absent, tags {tags:?}"),
    );
    Ok(ours(Reply::empty(202)))
}

fn blob(call: &Call, repository: &str, wanted: &str) -> Answer {
    match call.method.as_str() {
        "GET" | "HEAD" => {
            need(call, repository, "pull")?;
            registry_up(call)?;
            let state = call.site.state();
            let known = state
                .repositories
                .get(repository)
                .is_some_and(|found| found.blobs.contains(wanted));
            let bytes = state.blobs.get(wanted).filter(|_| known);
            let bytes = bytes.ok_or_else(|| {
                Reply::error(404, "NOT_FOUND", format!("blob {wanted} not found"))
            })?;
            let reply = Reply::typed(200, "application/octet-stream", bytes.clone());
            Ok(ours(reply.with("docker-content-digest", wanted.to_owned())))
        }
        "DELETE" => {
            need(call, repository, "delete")?;
            let mut state = call.site.state();
            let gone = state
                .repositories
                .get_mut(repository)
                .is_some_and(|found| found.blobs.remove(wanted));
            if !gone {
                return Err(Reply::error(
                    404,
                    "NOT_FOUND",
                    format!("blob {wanted} not found"),
                ));
            }
            call.note(format!("blob {repository}@{wanted}"), "present -> absent");
            Ok(ours(Reply::empty(202)))
        }
        _ => Err(Reply::error(
            405,
            "METHOD_NOT_ALLOWED",
            "method not allowed",
        )),
    }
}

/// Uploads: begin (whole, mounted or to be continued), continue, end, look and give up.
fn uploads(call: &Call, repository: &str, upload: &str) -> Answer {
    need(call, repository, "push")?;
    registry_up(call)?;
    match (call.method.as_str(), upload) {
        ("POST", "") => begin(call, repository),
        ("PATCH", id) => {
            let mut state = call.site.state();
            let (_, so_far) = state.uploads.get_mut(id).ok_or_else(unknown_upload)?;
            so_far.extend_from_slice(&call.body);
            let length = so_far.len();
            call.note(
                format!("upload to {repository}"),
                format!("{length} bytes so far"),
            );
            Ok(under_way(call, repository, id, length, 202))
        }
        ("PUT", id) => {
            let (_, mut bytes) = call
                .site
                .state()
                .uploads
                .remove(id)
                .ok_or_else(unknown_upload)?;
            bytes.extend_from_slice(&call.body);
            finish(call, repository, Bytes::from(bytes))
        }
        ("GET", id) => {
            let state = call.site.state();
            let (_, so_far) = state.uploads.get(id).ok_or_else(unknown_upload)?;
            Ok(under_way(call, repository, id, so_far.len(), 204))
        }
        ("DELETE", id) => {
            call.site
                .state()
                .uploads
                .remove(id)
                .ok_or_else(unknown_upload)?;
            call.note(format!("upload to {repository}"), "given up");
            Ok(ours(Reply::empty(204)))
        }
        _ => Err(Reply::error(
            405,
            "METHOD_NOT_ALLOWED",
            "method not allowed",
        )),
    }
}

fn begin(call: &Call, repository: &str) -> Answer {
    if let Some(mounted) = call.param("mount") {
        let from = call.param("from").unwrap_or_default();
        let there = call
            .site
            .state()
            .repositories
            .get(&from)
            .is_some_and(|source| source.blobs.contains(&mounted));
        if there
            && auth::may(&call.site, &call.principal, &from, "pull")
            && store::mount_blob(&call.site, repository, &mounted)
        {
            call.note(
                format!("blob {repository}@{mounted}"),
                format!("mounted from {from}"),
            );
            return Ok(stored(call, repository, mounted));
        }
    }
    if call.param("digest").is_some() {
        return finish(call, repository, call.body.clone());
    }
    store::check_room(&call.site, repository, 0).map_err(|refused| refuse(call, refused))?;
    let id = format!(
        "{:016x}{:016x}",
        crate::clock::unguessable(),
        crate::clock::unguessable()
    );
    call.site
        .state()
        .uploads
        .insert(id.clone(), (repository.to_owned(), call.body.to_vec()));
    call.note(format!("upload to {repository}"), "begun");
    Ok(under_way(call, repository, &id, call.body.len(), 202))
}

fn finish(call: &Call, repository: &str, bytes: Bytes) -> Answer {
    let own = digest(&bytes);
    if call.param("digest").is_some_and(|wanted| wanted != own) {
        return Err(Reply::error(
            400,
            "DIGEST_INVALID",
            "provided digest did not match uploaded content",
        ));
    }
    store::put_blob(&call.site, repository, bytes).map_err(|refused| refuse(call, refused))?;
    call.note(format!("blob {repository}@{own}"), "stored");
    Ok(stored(call, repository, own))
}

fn stored(call: &Call, repository: &str, own: String) -> Reply {
    let location = format!("{}/v2/{repository}/blobs/{own}", call.site.url);
    ours(
        Reply::empty(201)
            .with("location", location)
            .with("docker-content-digest", own),
    )
}

fn under_way(call: &Call, repository: &str, id: &str, length: usize, status: u16) -> Reply {
    let location = format!(
        "{}/v2/{repository}/blobs/uploads/{id}?_state={id}",
        call.site.url
    );
    let range = format!("0-{}", length.saturating_sub(1));
    ours(
        Reply::empty(status)
            .with("location", location)
            .with("docker-upload-uuid", id.to_owned())
            .with("range", range),
    )
}

/// Refuses who may not do this with a repository: 401 here, also for somebody without rights.
fn need(call: &Call, repository: &str, action: &str) -> Result<(), Reply> {
    let project = repository.split('/').next().unwrap_or_default();
    if call.site.component_down("database") {
        return Err(challenge(
            call,
            "failed to connect to `database=registry`: connect: connection refused",
            Some(""),
        ));
    }
    let granted = call.bearer().is_some_and(|token| {
        let state = call.site.state();
        let wanted = (repository.to_owned(), action.to_owned());
        state.tokens.get(token).is_some_and(|grant| {
            grant.expires > jiff::Timestamp::now() && grant.allowed.contains(&wanted)
        })
    });
    if granted || auth::may(&call.site, &call.principal, repository, action) {
        return Ok(());
    }
    if !call.principal.is_anonymous() && call.site.state().project(project).is_none() {
        let message = format!("project {project} not found: project {project} not found");
        return Err(challenge(call, &message, Some("")));
    }
    let why = format!("unauthorized to access repository: {repository}, action: {action}");
    Err(scoped(call, &format!("{why}: {why}"), repository, action))
}

fn scoped(call: &Call, message: &str, repository: &str, action: &str) -> Reply {
    if call.basic().is_some() {
        return challenge(call, message, None);
    }
    let actions = if action == "push" {
        "pull,push"
    } else {
        action
    };
    let scope = format!(",scope=\"repository:{repository}:{actions}\"");
    let value = format!(
        "Bearer realm=\"{}\",service=\"harbor-registry\"{scope}",
        realm(call)
    );
    challenge(call, message, Some(&value))
}

/// A 401 with the way to log in: basic for who tried basic, else a token.
fn challenge(call: &Call, message: &str, value: Option<&str>) -> Reply {
    let value = match value {
        Some(value) => value.to_owned(),
        None if call.basic().is_some() => "Basic realm=\"harbor\"".to_owned(),
        None => format!(
            "Bearer realm=\"{}\",service=\"harbor-registry\"",
            realm(call)
        ),
    };
    ours(Reply::error(401, "UNAUTHORIZED", message).with("www-authenticate", value))
}

fn realm(call: &Call) -> String {
    let follows = call
        .site
        .world()
        .is_some_and(|world| world.realm == Realm::FollowsHost);
    match call.header(header::HOST).filter(|_| follows) {
        Some(host) => format!("http://{host}/service/token"),
        None => format!("{}/service/token", call.site.url),
    }
}

fn registry_up(call: &Call) -> Result<(), Reply> {
    if call.site.component_down("registry") {
        Err(Reply::empty(502))
    } else {
        Ok(())
    }
}

fn refuse(call: &Call, refused: Refused) -> Reply {
    match refused {
        Refused::Quota(project) => Reply::error(
            403,
            "DENIED",
            format!(
                "adding the artifact to project {project} will exceed the configured upper limit of storage quota"
            ),
        ),
        Refused::NoProject(project) => challenge(
            call,
            &format!("project {project} not found: project {project} not found"),
            Some(""),
        ),
        Refused::MissingBlob(digest) => Reply::error(
            404,
            "MANIFEST_BLOB_UNKNOWN",
            format!("blob unknown to registry: {digest}"),
        ),
        Refused::NotAManifest => Reply::error(400, "MANIFEST_INVALID", "manifest invalid"),
    }
}

fn unknown_upload() -> Reply {
    Reply::error(
        404,
        "BLOB_UPLOAD_UNKNOWN",
        "blob upload unknown to registry",
    )
}

/// The names after `last`, at most `n`, and the link to the rest.
fn part(call: &Call, names: Vec<String>, path: &str) -> (Vec<String>, Option<String>) {
    let limit = call.param("n").and_then(|n| n.parse::<usize>().ok());
    let last = call.param("last").unwrap_or_default();
    let after: Vec<String> = names.into_iter().filter(|name| *name > last).collect();
    match limit {
        Some(limit) if after.len() > limit => {
            let shown = after[..limit].to_vec();
            let last = shown
                .last()
                .map(|last| last.replace('/', "%2F"))
                .unwrap_or_default();
            (
                shown,
                Some(format!("<{path}?last={last}&n={limit}>; rel=\"next\"")),
            )
        }
        _ => (after, None),
    }
}

fn linked(reply: Reply, link: Option<String>) -> Reply {
    match link {
        Some(link) => reply.with("link", link),
        None => reply,
    }
}

fn ours(reply: Reply) -> Reply {
    reply.with("docker-distribution-api-version", "registry/2.0".to_owned())
}
