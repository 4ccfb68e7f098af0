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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use runbook_harbor::{Endpoint, Writer};
    use runbook_sim::{Direction, Harbor, Sandbox, SandboxOptions};
    use secrecy::SecretString;

    use super::*;

    async fn sandbox(direction: Direction) -> (Sandbox, Writer, Writer) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = SandboxOptions {
            direction,
            ..SandboxOptions::default()
        };
        let sandbox = Sandbox::start(options).await.expect("a sandbox");
        let client = |site: &Harbor| {
            let endpoint = Endpoint {
                site: site.name().to_owned(),
                url: site.url().parse().expect("a URL"),
                user: "admin".into(),
                password: SecretString::from(site.admin_password().to_owned()),
                timeout: Duration::from_secs(5),
                connect_to: None,
                ca_pem: None,
            };
            Writer::new(endpoint, Arc::new(|| Ok(()))).expect("a client")
        };
        let (primary, dr) = (client(sandbox.primary()), client(sandbox.dr()));
        (sandbox, primary, dr)
    }

    fn names(found: Result<Found, PairError>) -> String {
        found.map_or_else(
            |error| error.to_string(),
            |found| format!("{} on {}", found.name, found.site),
        )
    }

    #[tokio::test]
    async fn the_policies_of_a_pull_pair_are_found_by_their_addresses() {
        let (_sandbox, primary, dr) = sandbox(Direction::Pull).await;
        let (primary, dr) = (primary.reader(), dr.reader());
        assert_eq!(
            names(find_pull(dr, primary, None).await),
            "dr-forward on dr"
        );
        assert_eq!(
            names(find_pull(primary, dr, None).await),
            "dr-reverse on primary"
        );
        assert_eq!(
            names(find_push(primary, dr).await),
            "no policy on `primary` copies to `dr`"
        );
        assert_eq!(
            names(find_pull(dr, primary, Some(true)).await),
            "no policy on `dr` copies from `primary`"
        );
    }

    #[tokio::test]
    async fn the_policies_of_a_push_pair_are_found_with_the_manual_pulls_beside_them() {
        let (_sandbox, primary, dr) = sandbox(Direction::Push).await;
        let (primary, dr) = (primary.reader(), dr.reader());
        assert_eq!(names(find_push(primary, dr).await), "dr-forward on primary");
        assert_eq!(names(find_push(dr, primary).await), "dr-reverse on dr");
        assert_eq!(
            names(find_pull(dr, primary, Some(true)).await),
            "dr-final-sync on dr"
        );
        assert_eq!(
            names(find_pull(dr, primary, Some(false)).await),
            "no policy on `dr` copies from `primary`"
        );
    }

    #[tokio::test]
    async fn two_that_fit_are_both_named() {
        let (_sandbox, primary, dr) = sandbox(Direction::Pull).await;
        let first = dr
            .reader()
            .policy_named("dr-forward")
            .await
            .expect("an answer")
            .expect("a policy");
        let mut fields = first.input_fields();
        fields.name = "second".into();
        dr.create_policy(&fields.into()).await.expect("a policy");
        let error = names(find_pull(dr.reader(), primary.reader(), None).await);
        assert!(
            error.starts_with("2 policies on `dr` copy from `primary`: "),
            "{error}"
        );
        assert!(
            error.contains("dr-forward") && error.contains("second"),
            "{error}"
        );
    }

    #[test]
    fn addresses_are_compared_as_people_write_them() {
        assert!(same_address(
            "https://Harbor.Example/",
            "https://harbor.example"
        ));
        assert!(!same_address(
            "https://harbor.example",
            "http://harbor.example"
        ));
        assert!(!same_address(
            "https://harbor.example:8443",
            "https://harbor.example"
        ));
    }
}
