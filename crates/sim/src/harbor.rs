//! A site as a test in the same process holds it.

use std::{io, net::SocketAddr, sync::Arc};

use serde_json::Value;

use crate::{
    clock, content,
    faults::{Fault, Mutation},
    model::Status,
    mutate, replication,
    site::{CopySpeed, Site, lock},
    snapshot::SiteSnapshot,
    store::{self, Refused},
};

/// What a change names is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{site}` has nothing that `{change}` names")]
pub struct Absent {
    site: String,
    change: String,
}

/// Why a push was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The site is read-only.
    #[error("`{0}` is read-only")]
    ReadOnly(String),
    /// The project does not exist, or has no room left.
    #[error("`{site}` refuses a push into `{repository}`: {why}")]
    Refused {
        /// The site.
        site: String,
        /// The repository.
        repository: String,
        /// The reason.
        why: String,
    },
}

/// One simulated Harbor. Cloning gives another handle to the same site.
#[derive(Clone)]
pub struct Harbor {
    pub(crate) site: Arc<Site>,
}

impl Harbor {
    /// `primary` or `dr`.
    pub fn name(&self) -> &str {
        &self.site.name
    }

    /// Its address, such as `http://127.3.4.1:40123`.
    pub fn url(&self) -> &str {
        &self.site.url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.site.address
    }

    /// The password of the user `admin`.
    pub fn admin_password(&self) -> &str {
        &self.site.admin_password
    }

    /// The secret of a robot, by its name without the prefix.
    pub fn robot_secret(&self, robot: &str) -> Option<String> {
        self.site
            .state()
            .robots
            .values()
            .find(|one| one.name == robot)
            .map(|one| one.secret.clone())
    }

    /// Everything it holds, as data.
    pub fn snapshot(&self) -> SiteSnapshot {
        SiteSnapshot::of(&self.site)
    }

    /// Pushes an image as a client would, events included. Equal seeds give equal digests. Gives the digest.
    ///
    /// # Errors
    /// A read-only site, an unknown project and a full quota refuse it.
    pub fn push_tag(&self, repository: &str, tag: &str, seed: &str) -> Result<String, PushError> {
        if self.site.state().read_only {
            return Err(PushError::ReadOnly(self.site.name.clone()));
        }
        store::put_image(
            &self.site,
            repository,
            Some(tag),
            &content::image(seed, "amd64"),
        )
        .map_err(|refused| PushError::Refused {
            site: self.site.name.clone(),
            repository: repository.to_owned(),
            why: match refused {
                Refused::Quota(project) => format!("project `{project}` is full"),
                Refused::NoProject(project) => format!("project `{project}` does not exist"),
                other => format!("{other:?}"),
            },
        })
    }

    /// Deletes a tag as a client would, events included; its artifact stays.
    ///
    /// # Errors
    /// The tag is not there.
    pub fn delete_tag(&self, repository: &str, tag: &str) -> Result<(), Absent> {
        self.change(&Mutation::TagDeleted {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
        })
    }

    /// The digest that a tag points to.
    pub fn digest(&self, repository: &str, tag: &str) -> Option<String> {
        self.site
            .state()
            .repositories
            .get(repository)?
            .tags
            .get(tag)
            .map(|tag| tag.digest.clone())
    }

    /// Lets somebody else change something, past the API and its log.
    ///
    /// # Errors
    /// What the change names is not there.
    pub fn change(&self, mutation: &Mutation) -> Result<(), Absent> {
        if mutate::apply(&self.site, mutation) {
            Ok(())
        } else {
            Err(Absent {
                site: self.site.name.clone(),
                change: format!("{mutation:?}"),
            })
        }
    }

    /// The read-only flag.
    pub fn is_read_only(&self) -> bool {
        self.site.state().read_only
    }

    /// Sets the read-only flag, past the API.
    pub fn set_read_only(&self, read_only: bool) {
        self.site.state().read_only = read_only;
    }

    /// Whether a policy is enabled; `None` when there is no such policy.
    pub fn is_policy_enabled(&self, policy: &str) -> Option<bool> {
        self.site
            .state()
            .policy_named(policy)
            .map(|policy| policy.enabled)
    }

    /// A policy as the API shows it; `None` when there is no such policy.
    pub fn policy(&self, policy: &str) -> Option<Value> {
        let state = self.site.state();
        let policy = state.policy_named(policy)?;
        Some(crate::http::policies::show(&self.site, &state, policy))
    }

    /// The executions of a policy, oldest first: id, status as shown, trigger.
    pub fn executions(&self, policy: &str) -> Vec<(i64, String, String)> {
        let state = self.site.state();
        let Some(id) = state.policy_named(policy).map(|policy| policy.id) else {
            return Vec::new();
        };
        let of_policy = state
            .executions
            .values()
            .filter(|execution| execution.policy == id);
        of_policy
            .map(|one| (one.id, one.status.text().to_owned(), one.trigger.clone()))
            .collect()
    }

    /// When the last task of an execution ended, as Harbor shows times; `None` while one runs or when there is none.
    pub fn last_task_ended(&self, execution: i64) -> Option<String> {
        let state = self.site.state();
        let ends: Option<Vec<_>> = state.tasks_of(execution).map(|task| task.ended).collect();
        ends?.into_iter().max().map(clock::show)
    }

    /// Whether any task runs or waits.
    pub fn is_copying(&self) -> bool {
        let state = self.site.state();
        state
            .tasks
            .values()
            .any(|task| matches!(task.status, Status::Pending | Status::InProgress))
    }

    /// Lets the timer that refreshes the status of executions run now.
    pub fn refresh_status(&self) {
        replication::refresh(&mut self.site.state());
    }

    /// Lets the timer that keeps the newest 50 executions of each policy run now.
    pub fn sweep_executions(&self) {
        replication::sweep(&mut self.site.state());
    }

    /// Lets `/health` probe anew at the next request rather than after 10 s.
    pub fn refresh_health(&self) {
        *lock(&self.site.health) = crate::http::health::Seen::default();
    }

    /// Sets how fast it copies.
    pub fn set_copy_speed(&self, speed: CopySpeed) {
        *lock(&self.site.copy_speed) = speed;
    }

    /// Breaks something. Must be called inside the runtime.
    pub fn inject(&self, fault: Fault) {
        if fault == Fault::Down {
            self.site.listening.stop();
        }
        self.site.faults.arm(fault);
    }

    /// The faults in force.
    pub fn faults(&self) -> Vec<Fault> {
        self.site.faults.list()
    }

    /// Repairs one thing: the faults equal to this one.
    ///
    /// # Errors
    /// The address is taken when a site that was down is to listen again.
    pub async fn repair(&self, fault: &Fault) -> io::Result<()> {
        self.site.faults.disarm(fault);
        match fault {
            Fault::Down => {
                self.site
                    .listening
                    .restart(self.site.address, self.site.clone())
                    .await
            }
            _ => Ok(()),
        }
    }

    /// Repairs everything.
    ///
    /// # Errors
    /// The address is taken when a site that was down is to listen again.
    pub async fn repair_all(&self) -> io::Result<()> {
        self.site.faults.clear();
        self.site
            .listening
            .restart(self.site.address, self.site.clone())
            .await
    }
}
