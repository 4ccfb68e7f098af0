//! What a policy copies: Harbor's filters, as pure code.
//!
//! Name filters look at repositories, tag and label filters at artifacts; all of them have to agree. A
//! resource filter changes nothing where the source is a Harbor. The code was checked against answers of
//! Harbor's own, which the tests hold.

mod pattern;
mod specific;

use thiserror::Error;

use crate::model::policy::{Filter, Policy};

pub use pattern::{BadPattern, Pattern};
pub use specific::specific_paths;

/// The filters of one policy, compiled.
#[derive(Clone, Debug)]
pub struct Filters {
    names: Vec<Pattern>,
    artifacts: Vec<ArtifactFilter>,
}

#[derive(Clone, Debug)]
enum ArtifactFilter {
    Tag { pattern: Pattern, excludes: bool },
    Label { labels: Vec<String>, excludes: bool },
}

/// A filter that cannot be carried out. Harbor stores such a policy, and each run of it fails.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadFilter {
    /// The pattern is malformed.
    #[error("the {kind} filter `{pattern}` is malformed")]
    Pattern {
        /// `name` or `tag`.
        kind: &'static str,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: BadPattern,
    },
    /// This version does not know such a filter, so it cannot say what it keeps.
    #[error("unknown filter {document}")]
    Unknown {
        /// The filter, as JSON.
        document: String,
    },
}

/// What filters see of an artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArtifactView<'a> {
    /// Its tags.
    pub tags: Vec<&'a str>,
    /// The names of its labels.
    pub labels: Vec<&'a str>,
    /// For an accessory (a signature, an SBOM): the tags of the artifact that it belongs to. Tag filters
    /// look at these instead of its own.
    pub subject_tags: Option<Vec<&'a str>>,
}

/// What is copied of one artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept<'a> {
    /// Nothing.
    Nothing,
    /// These tags. Other tags of the same digest are not.
    Tags(Vec<&'a str>),
    /// The artifact, which has no tag.
    Untagged,
}

impl Filters {
    /// Compiles the filters of `policy`.
    pub fn from_policy(policy: &Policy) -> Result<Filters, BadFilter> {
        Filters::new(&policy.filters)
    }

    /// Compiles `filters`. None keep everything.
    pub fn new(filters: &[Filter]) -> Result<Filters, BadFilter> {
        let parse = |kind, pattern: &str| {
            Pattern::parse(pattern).map_err(|source| BadFilter::Pattern {
                kind,
                pattern: pattern.to_owned(),
                source,
            })
        };
        let mut compiled = Filters {
            names: Vec::new(),
            artifacts: Vec::new(),
        };
        for filter in filters {
            match filter {
                Filter::Name(pattern) => compiled.names.push(parse("name", pattern)?),
                Filter::Tag { pattern, .. } if pattern.is_empty() => {}
                Filter::Tag { pattern, excludes } => {
                    let pattern = parse("tag", pattern)?;
                    compiled.artifacts.push(ArtifactFilter::Tag {
                        pattern,
                        excludes: *excludes,
                    });
                }
                Filter::Label { labels, .. } if labels.is_empty() => {}
                Filter::Label { labels, excludes } => {
                    let labels = labels.clone();
                    compiled.artifacts.push(ArtifactFilter::Label {
                        labels,
                        excludes: *excludes,
                    });
                }
                Filter::Resource(_) => {}
                Filter::Other(document) => {
                    return Err(BadFilter::Unknown {
                        document: document.clone(),
                    });
                }
            }
        }
        Ok(compiled)
    }

    /// Whether the repository with this full name is looked at.
    pub fn keeps_repository(&self, name: &str) -> bool {
        self.names.iter().all(|pattern| pattern.matches(name))
    }

    /// What is copied of an artifact in a repository that is looked at.
    pub fn kept_tags<'a>(&self, artifact: &ArtifactView<'a>) -> Kept<'a> {
        let mut tags = artifact.tags.clone();
        for filter in &self.artifacts {
            let keeps = match filter {
                ArtifactFilter::Label { labels, excludes } => {
                    labels
                        .iter()
                        .all(|label| artifact.labels.contains(&label.as_str()))
                        != *excludes
                }
                ArtifactFilter::Tag { pattern, excludes } => {
                    let passes = |tag: &str| pattern.matches(tag) != *excludes;
                    match &artifact.subject_tags {
                        Some(subject) if subject.is_empty() => passes(""),
                        Some(subject) => subject.iter().any(|tag| passes(tag)),
                        // An untagged artifact is tried as the empty string.
                        None if tags.is_empty() => passes(""),
                        None => {
                            tags.retain(|tag| passes(tag));
                            !tags.is_empty()
                        }
                    }
                }
            };
            if !keeps {
                return Kept::Nothing;
            }
        }
        if tags.is_empty() {
            Kept::Untagged
        } else {
            Kept::Tags(tags)
        }
    }

    /// Whether an answer depends on labels, which Harbor tells only when asked.
    pub fn need_labels(&self) -> bool {
        self.artifacts
            .iter()
            .any(|filter| matches!(filter, ArtifactFilter::Label { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(pattern: &str, excludes: bool) -> Filter {
        Filter::Tag {
            pattern: pattern.into(),
            excludes,
        }
    }

    #[test]
    fn only_matching_tags_of_an_artifact_are_kept() {
        let filters = Filters::new(&[tag("v*", true)]).expect("filters");
        let artifact = ArtifactView {
            tags: vec!["v1", "latest"],
            ..ArtifactView::default()
        };
        assert_eq!(filters.kept_tags(&artifact), Kept::Tags(vec!["latest"]));
    }

    #[test]
    fn an_untagged_artifact_is_tried_as_the_empty_string() {
        let untagged = ArtifactView::default();
        for (filter, kept) in [
            (tag("*", false), Kept::Untagged),
            (tag("v*", false), Kept::Nothing),
            (tag("v*", true), Kept::Untagged),
            (tag("", true), Kept::Untagged),
        ] {
            let filters = Filters::new(std::slice::from_ref(&filter)).expect("filters");
            assert_eq!(filters.kept_tags(&untagged), kept, "{filter:?}");
        }
    }

    #[test]
    fn a_filter_of_another_version_is_an_error_not_a_guess() {
        let unknown = Filter::Other("{}".into());
        assert!(matches!(
            Filters::new(&[unknown]),
            Err(BadFilter::Unknown { .. })
        ));
        assert!(matches!(
            Filters::new(&[tag("[", false)]),
            Err(BadFilter::Pattern { .. })
        ));
    }
}
