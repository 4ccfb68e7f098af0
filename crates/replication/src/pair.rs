//! Finds the policies of a pair by looking at the Harbors, for a configuration that does not name them.

use runbook_harbor::{Policy, Reader};

/// A policy that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The site on which it lives.
    pub site: String,
    /// Its name.
    pub name: String,
}

/// Why a policy could not be found.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The Harbor could not be asked.
    #[error(transparent)]
    Harbor(#[from] runbook_harbor::Error),
    /// None fits.
    #[error("no policy on `{at}` copies {way}")]
    None {
        /// The site on which it would live.
        at: String,
        /// From where to where.
        way: String,
    },
    /// Several fit.
    #[error("{} policies on `{at}` copy {way}: {}; name one under `policies:`", names.len(), names.join(", "))]
    Several {
        /// The site on which they live.
        at: String,
        /// From where to where.
        way: String,
        /// Their names.
        names: Vec<String>,
    },
}

/// Finds the policy on `here` that pulls from the Harbor at `from`. `manual` tells whether it must be one that only a
/// person starts.
pub async fn find_pull(
    here: &Reader,
    from: &Reader,
    manual: Option<bool>,
) -> Result<Found, PairError> {
    find(here, from, true, manual).await
}

/// Finds the policy on `here` that pushes to the Harbor at `to`.
pub async fn find_push(here: &Reader, to: &Reader) -> Result<Found, PairError> {
    find(here, to, false, None).await
}

async fn find(
    here: &Reader,
    there: &Reader,
    pull: bool,
    manual: Option<bool>,
) -> Result<Found, PairError> {
    use runbook_harbor::Trigger;
    let fits = |policy: &Policy| {
        policy.is_pull() == pull
            && policy
                .remote()
                .is_some_and(|remote| same_address(&remote.url, there.url().as_str()))
            && manual.is_none_or(|manual| matches!(policy.trigger, Trigger::Manual) == manual)
    };
    let mut names: Vec<String> = here
        .policies()
        .await?
        .into_iter()
        .filter(fits)
        .map(|policy| policy.name)
        .collect();
    let at = here.site().to_owned();
    let way = if pull {
        format!("from `{}`", there.site())
    } else {
        format!("to `{}`", there.site())
    };
    match names.len() {
        0 => Err(PairError::None { at, way }),
        1 => Ok(Found {
            site: at,
            name: names.remove(0),
        }),
        _ => Err(PairError::Several { at, way, names }),
    }
}

/// Tells whether two URLs name the same Harbor, as people write them in endpoints.
pub fn same_address(one: &str, other: &str) -> bool {
    let bare = |url: &str| url.trim_end_matches('/').to_ascii_lowercase();
    bare(one) == bare(other)
}
