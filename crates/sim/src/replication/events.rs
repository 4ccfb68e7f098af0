//! Pushes and deletions that start event-based policies.

use std::sync::Arc;

use super::tasks::Job;
use crate::{
    filters::{self, Candidate},
    model::Policy,
    site::Site,
};

/// Something that happened to a site's images.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A manifest was put, or a tag made.
    Pushed {
        repository: String,
        digest: String,
        tags: Vec<String>,
    },
    /// An artifact went with its tags.
    ArtifactDeleted {
        repository: String,
        digest: String,
        tags: Vec<String>,
    },
    /// A tag went; its artifact stays.
    TagDeleted { repository: String, tag: String },
}

impl Event {
    /// The task that carries the event to the destination.
    ///
    /// When anything of the event matches, all of it goes, unfiltered.
    pub(super) fn jobs(&self) -> Vec<Job> {
        let (operation, repository) = match self {
            Event::Pushed { repository, .. } => ("copy", repository),
            Event::ArtifactDeleted { repository, .. } => ("deletion", repository),
            Event::TagDeleted { repository, .. } => ("tag deletion", repository),
        };
        vec![Job {
            operation,
            source: repository.clone(),
            destination: String::new(),
            artifacts: vec![self.candidate()],
        }]
    }

    fn repository(&self) -> &str {
        match self {
            Event::Pushed { repository, .. }
            | Event::ArtifactDeleted { repository, .. }
            | Event::TagDeleted { repository, .. } => repository,
        }
    }

    fn candidate(&self) -> Candidate {
        let (digest, tags) = match self {
            Event::Pushed { digest, tags, .. } | Event::ArtifactDeleted { digest, tags, .. } => {
                (digest.clone(), tags.clone())
            }
            Event::TagDeleted { tag, .. } => (String::new(), vec![tag.clone()]),
        };
        // Labels are not looked up for events: a label filter never lets one through.
        Candidate {
            digest,
            tags,
            labels: Vec::new(),
            is_accessory: false,
            parent_tags: Vec::new(),
        }
    }

    fn concerns(&self, policy: &Policy) -> bool {
        let is_deletion = !matches!(self, Event::Pushed { .. });
        let event_based = policy
            .trigger
            .as_ref()
            .is_some_and(|trigger| trigger.kind == "event_based");
        policy.enabled
            && policy.source == 0
            && event_based
            && (policy.deletion || !is_deletion)
            && filters::keeps_repository(&policy.filters, self.repository()) == Ok(true)
            && filters::keep_artifacts(&policy.filters, &[self.candidate()])
                .is_ok_and(|kept| !kept.is_empty())
    }
}

/// Starts every policy that the event concerns. Events while a policy is disabled are lost.
pub(crate) fn fire(site: &Arc<Site>, event: &Event) {
    // The parts of an index are pushed by digest and travel with it.
    if matches!(event, Event::Pushed { tags, .. } if tags.is_empty()) {
        return;
    }
    let concerned: Vec<i64> = site
        .state()
        .policies
        .values()
        .filter(|policy| event.concerns(policy))
        .map(|policy| policy.id)
        .collect();
    for policy in concerned {
        super::start(site, policy, "event_based", Some(event.clone()));
    }
}
