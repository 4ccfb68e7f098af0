//! What a site holds: every reference in scope, with the digest it stands for.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use runbook_harbor::filter::{BadFilter, Filters, Kept};
use runbook_harbor::{
    Artifact, ArtifactQuery, Error, Policy, Project, Reader, Repository, destination_repository,
};
use serde::{Deserialize, Serialize};

/// How many lists are asked for at once: Harbor's default database pool bears it.
const AT_ONCE: usize = 8;

/// What a site holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The site.
    pub site: String,
    /// When the listing began: a push after that may be missing.
    pub taken_at: Timestamp,
    /// By repository and reference. A reference is a tag, or a digest where there is none.
    pub entries: BTreeMap<(String, String), Entry>,
}

/// What a reference stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The digest of the manifest or index.
    pub digest: String,
    /// When it was pushed there. On a replica that is when it was copied.
    pub pushed_at: Option<Timestamp>,
}

/// Which of a source's content a policy copies, and where it lands.
#[derive(Debug)]
pub struct Scope {
    filters: Option<Filters>,
    dest_namespace: String,
    replace_count: i64,
}

impl Scope {
    /// Everything, under its own name.
    pub fn all() -> Scope {
        Scope {
            filters: None,
            dest_namespace: String::new(),
            replace_count: -1,
        }
    }

    /// What a policy copies. Fails for a filter that Harbor would fail at.
    pub fn of(policy: &Policy) -> Result<Scope, BadFilter> {
        Ok(Scope {
            filters: Some(Filters::from_policy(policy)?),
            dest_namespace: policy.dest_namespace.clone(),
            replace_count: policy.dest_namespace_replace_count,
        })
    }

    /// Returns where a repository of the source lands. None if it cannot land anywhere.
    pub fn destination(&self, repository: &str) -> Option<String> {
        destination_repository(repository, &self.dest_namespace, self.replace_count).ok()
    }

    /// Tells whether a repository is copied.
    pub fn has(&self, repository: &str) -> bool {
        self.filters
            .as_ref()
            .is_none_or(|filters| filters.keeps_repository(repository))
    }

    /// True if what lands has the name that it had.
    pub fn keeps_names(&self) -> bool {
        self.dest_namespace.is_empty()
    }
}

/// Lists what a site holds in scope. `taken_at` is the time before the first request.
pub async fn take(reader: &Reader, scope: &Scope, taken_at: Timestamp) -> Result<Inventory, Error> {
    let mut projects = reader.projects().await?;
    projects.retain(|project| !project.is_proxy_cache());
    let mut repositories: Vec<Repository> = stream::iter(projects)
        .map(|project| repositories(reader, project))
        .buffer_unordered(AT_ONCE)
        .try_concat()
        .await?;
    repositories.retain(|repository| scope.has(&repository.name));
    let entries = stream::iter(repositories)
        .map(|repository| contents(reader, repository, scope))
        .buffer_unordered(AT_ONCE)
        .try_concat()
        .await?;
    Ok(Inventory {
        site: reader.site().to_owned(),
        taken_at,
        entries: entries.into_iter().collect(),
    })
}

async fn repositories(reader: &Reader, project: Project) -> Result<Vec<Repository>, Error> {
    reader.repositories(&project.name).await
}

async fn contents(
    reader: &Reader,
    repository: Repository,
    scope: &Scope,
) -> Result<Vec<((String, String), Entry)>, Error> {
    let query = ArtifactQuery {
        with_label: scope.filters.as_ref().is_some_and(Filters::need_labels),
        with_accessory: true,
    };
    let artifacts = reader
        .artifacts(repository.project(), repository.name_in_project(), &query)
        .await?;
    Ok(entries(&repository.name, &artifacts, scope))
}

fn entries(
    repository: &str,
    artifacts: &[Artifact],
    scope: &Scope,
) -> Vec<((String, String), Entry)> {
    let mut all = Vec::new();
    for artifact in artifacts {
        let view = artifact.view();
        let kept = match &scope.filters {
            Some(filters) => filters.kept_tags(&view),
            None if view.tags.is_empty() => Kept::Untagged,
            None => Kept::Tags(view.tags.clone()),
        };
        let mut add = |reference: &str, digest: &str, pushed_at| {
            all.push((
                (repository.to_owned(), reference.to_owned()),
                Entry {
                    digest: digest.to_owned(),
                    pushed_at,
                },
            ));
        };
        match kept {
            Kept::Nothing => continue,
            Kept::Untagged => add(&artifact.digest, &artifact.digest, artifact.push_time),
            Kept::Tags(tags) => {
                for tag in artifact
                    .tags
                    .iter()
                    .filter(|tag| tags.contains(&tag.name.as_str()))
                {
                    add(
                        &tag.name,
                        &artifact.digest,
                        tag.push_time.or(artifact.push_time),
                    );
                }
            }
        }
        // A signature or an SBOM goes with its subject (FACTS 3.10).
        for accessory in &artifact.accessories {
            add(&accessory.digest, &accessory.digest, artifact.push_time);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn scope(fields: Value) -> Scope {
        let mut document = json!({ "name": "p", "src_registry": { "id": 1 } });
        for (key, value) in fields.as_object().expect("an object") {
            document[key] = value.clone();
        }
        let policy: Policy = serde_json::from_value(document).expect("a policy");
        Scope::of(&policy).expect("filters")
    }

    fn artifacts() -> Vec<Artifact> {
        let all = json!([
            {
                "digest": "sha256:1", "push_time": "2026-01-02T03:04:05.000Z",
                "tags": [
                    { "name": "v1", "push_time": "2026-01-03T00:00:00.000Z" },
                    { "name": "dev" },
                ],
                "accessories": [{ "digest": "sha256:signature", "type": "signature.cosign" }],
            },
            { "digest": "sha256:2", "push_time": "2026-01-02T03:04:05.000Z", "tags": null },
        ]);
        serde_json::from_value(all).expect("artifacts")
    }

    fn references(scope: &Scope) -> Vec<String> {
        let found = entries("p/a", &artifacts(), scope);
        found
            .into_iter()
            .map(|((_, reference), entry)| format!("{reference}={}", entry.digest))
            .collect()
    }

    #[test]
    fn every_reference_is_listed_with_accessories_and_untagged_ones() {
        let signature = "sha256:signature=sha256:signature";
        let all = [
            "v1=sha256:1",
            "dev=sha256:1",
            signature,
            "sha256:2=sha256:2",
        ];
        assert_eq!(references(&Scope::all()), all);
        assert_eq!(references(&scope(json!({ "filters": [] }))), all);
    }

    /// A tag filter drops the tags that it does not name and what has none; an accessory goes with its subject.
    #[test]
    fn a_tag_filter_keeps_its_tags_and_their_accessories() {
        let only =
            |pattern: &str| scope(json!({ "filters": [{ "type": "tag", "value": pattern }] }));
        assert_eq!(
            references(&only("v*")),
            ["v1=sha256:1", "sha256:signature=sha256:signature"]
        );
        assert_eq!(references(&only("w*")), [""; 0]);
    }

    #[test]
    fn a_tag_was_pushed_when_it_was_put_on_not_when_its_artifact_came() {
        let found = entries("p/a", &artifacts(), &Scope::all());
        let when = |tag: &str| {
            let entry = found
                .iter()
                .find(|((_, reference), _)| reference == tag)
                .map(|(_, entry)| entry);
            entry
                .and_then(|entry| entry.pushed_at)
                .map(|at| at.to_string())
        };
        assert_eq!(when("v1").as_deref(), Some("2026-01-03T00:00:00Z"));
        assert_eq!(
            when("dev").as_deref(),
            Some("2026-01-02T03:04:05Z"),
            "where the tag has no time"
        );
    }

    #[test]
    fn a_name_filter_decides_over_repositories() {
        let scope =
            scope(json!({ "filters": [{ "type": "name", "value": "{production,library}/**" }] }));
        assert!(scope.has("production/team/tool"));
        assert!(scope.has("library/base"));
        assert!(!scope.has("private/base"));
    }

    #[test]
    fn a_repository_lands_where_the_namespace_rule_says() {
        let cases = [
            // Nothing is replaced.
            (json!({}), Some("p/a/b")),
            // All but the last part.
            (
                json!({ "dest_namespace": "copy", "dest_namespace_replace_count": -1 }),
                Some("copy/b"),
            ),
            (
                json!({ "dest_namespace": "copy", "dest_namespace_replace_count": 0 }),
                Some("copy/p/a/b"),
            ),
            (
                json!({ "dest_namespace": "copy", "dest_namespace_replace_count": 1 }),
                Some("copy/a/b"),
            ),
            // More parts than there are: it lands nowhere.
            (
                json!({ "dest_namespace": "copy", "dest_namespace_replace_count": 3 }),
                None,
            ),
        ];
        for (fields, lands) in cases {
            let scope = scope(fields.clone());
            assert_eq!(scope.destination("p/a/b").as_deref(), lands, "{fields}");
            assert_eq!(scope.keeps_names(), fields == json!({}), "{fields}");
        }
    }
}
