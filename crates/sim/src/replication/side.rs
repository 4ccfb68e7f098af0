//! One end of a copy: this Harbor itself, or another one across the network with a credential.

use std::sync::Arc;

use crate::{
    http,
    model::{Endpoint, Policy},
    site::{Principal, Site},
};

/// Where a copy reads from or writes to.
#[derive(Clone)]
pub(super) struct Side {
    pub(super) site: Arc<Site>,
    credential: Option<(String, String)>,
    pub(super) url: String,
}

/// What the other side answered instead of doing it.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// Nothing listens.
    Refused,
    /// A status with its body.
    Http(u16, String),
}

impl Trouble {
    pub(super) fn error(status: u16, code: &str, message: &str) -> Trouble {
        Trouble::Http(
            status,
            format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"{message}\"}}]}}"),
        )
    }

    /// As it stands in the log of a task.
    pub(super) fn in_log(&self, side: &Side) -> String {
        match self {
            Trouble::Refused => {
                format!("dial tcp {}: connect: connection refused", side.authority())
            }
            Trouble::Http(status, body) => format!("http status code: {status}, body: {body}"),
        }
    }

    /// As it stands in the status text of an execution.
    pub(super) fn in_status(&self, side: &Side) -> String {
        match self {
            Trouble::Refused => {
                format!("dial tcp {}: connect: connection refused", side.authority())
            }
            Trouble::Http(status, body) => format!("http error: code {status}, message {body}\n"),
        }
    }
}

impl Side {
    /// The source and the destination of a policy; the text of the failure when one is not there.
    pub(super) fn both(site: &Arc<Site>, policy: &Policy) -> Result<(Side, Side), String> {
        let of = |id: i64, word: &str| match id {
            0 => Ok(Side {
                site: site.clone(),
                credential: None,
                url: site.url.clone(),
            }),
            id => {
                let endpoint = site.state().endpoints.get(&id).cloned();
                Side::remote(
                    site,
                    endpoint.ok_or_else(|| format!("registry {id} not found"))?,
                    word,
                )
            }
        };
        Ok((
            of(policy.source, "source")?,
            of(policy.destination, "destination")?,
        ))
    }

    fn remote(site: &Arc<Site>, endpoint: Endpoint, word: &str) -> Result<Side, String> {
        let url = endpoint.url.clone();
        let peer = http::peer(site, &endpoint).ok_or_else(|| {
            let authority = url.split("://").last().unwrap_or_default();
            format!(
                "failed to create adapter for {word} registry {url}: Get \"{url}/api/version\": dial tcp {authority}: connect: connection refused"
            )
        })?;
        Ok(Side {
            site: peer,
            credential: Some((endpoint.access_key, endpoint.access_secret)),
            url,
        })
    }

    /// Who the other side takes us for, now. A revoked credential counts from here on.
    pub(super) fn principal(&self) -> Result<Principal, Trouble> {
        let Some((name, secret)) = &self.credential else {
            return Ok(Principal::Admin(1));
        };
        if !self.site.is_reachable() {
            return Err(Trouble::Refused);
        }
        if self.site.component_down("database") {
            return Err(Trouble::error(500, "UNKNOWN", "internal server error"));
        }
        Ok(self.site.log_in(name, secret))
    }

    /// Whether a right in a project is there; 403 for somebody without it, 401 for nobody.
    pub(super) fn need(&self, project: &str, resource: &str, action: &str) -> Result<(), Trouble> {
        let principal = self.principal()?;
        let public = self
            .site
            .state()
            .project(project)
            .is_some_and(|project| project.public);
        if principal.may_in_project(project, public, resource, action) {
            Ok(())
        } else if principal.is_anonymous() {
            Err(Trouble::error(401, "UNAUTHORIZED", "unauthorized"))
        } else {
            Err(Trouble::error(403, "FORBIDDEN", "forbidden"))
        }
    }

    /// Whether the registry API lets us do this with a repository.
    pub(super) fn need_registry(&self, repository: &str, action: &str) -> Result<(), Trouble> {
        let principal = self.principal()?;
        if self.site.component_down("registry") {
            return Err(Trouble::Http(502, String::new()));
        }
        if http::may(&self.site, &principal, repository, action) {
            return Ok(());
        }
        let why = format!("unauthorized to access repository: {repository}, action: {action}");
        Err(Trouble::error(
            401,
            "UNAUTHORIZED",
            &format!("{why}: {why}"),
        ))
    }

    /// Whether the other side takes a write at all.
    pub(super) fn need_writable(&self) -> Result<(), Trouble> {
        if self.site.state().read_only {
            let message = "The system is in read only mode. Any modification is prohibited.";
            return Err(Trouble::error(403, "DENIED", message));
        }
        Ok(())
    }

    fn authority(&self) -> &str {
        self.url.split("://").last().unwrap_or_default()
    }
}
