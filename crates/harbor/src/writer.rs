//! Changing one Harbor.

use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;

use crate::endpoint::{BeforeWrite, Endpoint, RequestIds};
use crate::error::{ErrorKind, Result, Sort};
use crate::model::policy::{Policy, PolicyDocument};
use crate::model::registry::NewRegistry;
use crate::model::robot::{CreatedRobot, NewRobot, Robot};
use crate::oci;
use crate::reader::{Reader, repository_url};
use crate::wire::{Call, Wire, WriteWire};

/// Changes one Harbor. Each mutating request first asks the [`BeforeWrite`] it was made with.
#[derive(Clone)]
pub struct Writer {
    reader: Reader,
    wire: WriteWire,
}

impl Writer {
    /// Makes a client. Sends nothing yet; fails when the URL or the certificates are unusable.
    pub fn new(endpoint: Endpoint, before_write: BeforeWrite) -> Result<Writer> {
        Ok(Writer::on(Reader::new(endpoint)?, before_write))
    }

    /// Like [`Writer::new`], with the source of the request ids.
    pub fn with_request_ids(
        endpoint: Endpoint,
        before_write: BeforeWrite,
        ids: RequestIds,
    ) -> Result<Writer> {
        Ok(Writer::on(
            Reader::with_request_ids(endpoint, ids)?,
            before_write,
        ))
    }

    fn on(reader: Reader, before_write: BeforeWrite) -> Writer {
        let wire = WriteWire {
            wire: reader.wire().clone(),
            before_write,
        };
        Writer { reader, wire }
    }

    /// The reader of the same Harbor.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The `/v2/` side of the same Harbor, logging in with each request.
    pub fn oci(&self) -> oci::Writer {
        oci::Writer::on(self.wire.clone(), oci::Login::Basic)
    }

    /// Switches read-only mode: in effect at once, for administrators too. Other settings are left alone.
    /// The caller reads it back with [`Reader::read_only`].
    pub async fn set_read_only(&self, read_only: bool) -> Result<()> {
        let url = self.api().api(["configurations"]);
        self.wire
            .send(Call::write(Method::PUT, url).json(&json!({ "read_only": read_only })))
            .await?;
        Ok(())
    }

    /// Replaces a policy whole. Fails with [`ErrorKind::ChangedMeanwhile`], sending nothing, when the
    /// document expects an `update_time` ([`PolicyDocument::expecting`]) that is no longer there.
    pub async fn update_policy(&self, document: &PolicyDocument) -> Result<()> {
        let id = document.id().unwrap_or_default().to_string();
        let url = self.api().api(["replication", "policies", &id]);
        let Some(id) = document.id() else {
            let message = "the document names no policy id";
            return Err(self
                .api()
                .error(Method::PUT, url.path(), ErrorKind::NotSent, message));
        };
        if let Some(expected) = document.expected {
            let now = self.reader.policy(id).await?;
            if now.update_time != Some(expected) {
                let message = match now.update_time {
                    Some(time) => format!(
                        "policy `{}` was changed at {time}, not {expected}",
                        now.name
                    ),
                    None => format!("policy `{}` tells no time of change", now.name),
                };
                return Err(self.api().error(
                    Method::PUT,
                    url.path(),
                    ErrorKind::ChangedMeanwhile,
                    message,
                ));
            }
        }
        self.wire
            .send(Call::write(Method::PUT, url).json(&document.document))
            .await?;
        Ok(())
    }

    /// Switches a policy on or off and returns it as read back. Writes nothing when it is so already.
    ///
    /// Fails with [`ErrorKind::ChangedMeanwhile`] when the policy read back differs in anything else from
    /// the one read before: somebody else wrote in between, and one of the two writes is lost.
    pub async fn set_policy_enabled(&self, id: i64, enabled: bool) -> Result<Policy> {
        let before = self.reader.policy(id).await?;
        if before.enabled == enabled {
            return Ok(before);
        }
        self.update_policy(&before.to_document().with_id(id).with_enabled(enabled))
            .await?;
        let after = self.reader.policy(id).await?;
        let mut wanted = before.input_fields();
        wanted.enabled = enabled;
        let differences = wanted.differences(&after.input_fields());
        if differences.is_empty() {
            return Ok(after);
        }
        let fields: Vec<_> = differences
            .iter()
            .map(|d| format!("`{}` reads {} instead of {}", d.field, d.after, d.before))
            .collect();
        let url = self.api().api(["replication", "policies", &id.to_string()]);
        let message = format!("policy `{}`: {}", before.name, fields.join(", "));
        // The write was done, so another attempt begins with a look.
        Err(self
            .api()
            .error(
                Method::PUT,
                url.path(),
                ErrorKind::ChangedMeanwhile,
                message,
            )
            .with_sort(Sort::Unknown))
    }

    /// Makes a policy and returns its id. A name that exists is [`ErrorKind::Conflict`].
    pub async fn create_policy(&self, document: &PolicyDocument) -> Result<i64> {
        let mut body = document.document.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.remove("id");
        }
        self.wire
            .create(self.api().api(["replication", "policies"]), &body)
            .await
    }

    /// Deletes a policy and all its executions. [`ErrorKind::Precondition`] while one is not final.
    pub async fn delete_policy(&self, id: i64) -> Result<()> {
        let url = self.api().api(["replication", "policies", &id.to_string()]);
        self.wire.send(Call::write(Method::DELETE, url)).await?;
        Ok(())
    }

    /// Makes a registry endpoint and returns its id. Harbor contacts it first: wrong credentials are
    /// [`ErrorKind::Invalid`], nothing listening is [`ErrorKind::Server`].
    pub async fn create_registry(&self, registry: &NewRegistry) -> Result<i64> {
        self.wire
            .create(self.api().api(["registries"]), &registry.document())
            .await
    }

    /// Starts a policy and returns the id of the execution. Not idempotent: each call makes a run. A
    /// disabled policy is [`ErrorKind::Precondition`]. Says nothing about the source being reachable.
    pub async fn start_execution(&self, policy_id: i64) -> Result<i64> {
        let url = self.api().api(["replication", "executions"]);
        self.wire
            .create(url, &json!({ "policy_id": policy_id }))
            .await
    }

    /// Stops an execution; one that is over stays as it is. The layer under way goes on being copied for
    /// as long as it takes. One that `Failed` keeps that status but is not tried again.
    pub async fn stop_execution(&self, id: i64) -> Result<()> {
        let url = self
            .api()
            .api(["replication", "executions", &id.to_string()]);
        self.wire.send(Call::write(Method::PUT, url)).await?;
        Ok(())
    }

    /// Makes a robot. Its secret is shown only here.
    pub async fn create_robot(&self, robot: &NewRobot) -> Result<CreatedRobot> {
        #[derive(serde::Deserialize)]
        struct Created {
            id: i64,
            name: String,
            secret: SecretString,
        }
        let url = self.api().api(["robots"]);
        let path = url.path().to_owned();
        let call = Call::write(Method::POST, url).json(&json!(robot));
        let answer = self.wire.send(call).await?;
        let Created { id, name, secret } =
            serde_json::from_slice(&answer.body).map_err(|error| {
                // Not shown: the answer may hold the secret.
                self.api()
                    .error(
                        Method::POST,
                        &path,
                        ErrorKind::Protocol,
                        "the answer does not tell the new robot",
                    )
                    .with_status(answer.status.as_u16(), true)
                    .with_source(error)
            })?;
        Ok(CreatedRobot { id, name, secret })
    }

    /// Switches a robot off or on and returns it as read back. Writes nothing when it is so already. A
    /// token issued before lives on for its lifetime.
    pub async fn set_robot_disabled(&self, id: i64, disabled: bool) -> Result<Robot> {
        let before = self.reader.robot(id).await?;
        if before.disabled == disabled {
            return Ok(before);
        }
        let url = self.api().api(["robots", &id.to_string()]);
        let path = url.path().to_owned();
        self.wire
            .send(Call::write(Method::PUT, url).json(&before.with_disabled(disabled)))
            .await?;
        let after = self.reader.robot(id).await?;
        if after.disabled == disabled
            && after.apart_from_the_switch() == before.apart_from_the_switch()
        {
            return Ok(after);
        }
        let message = format!(
            "robot `{}` does not read back as it was written",
            before.name
        );
        Err(self
            .api()
            .error(Method::PUT, &path, ErrorKind::ChangedMeanwhile, message)
            .with_sort(Sort::Unknown))
    }

    /// Takes a tag off an artifact, which stays. `repository` is the name within the project.
    pub async fn delete_tag(
        &self,
        project: &str,
        repository: &str,
        reference: &str,
        tag: &str,
    ) -> Result<()> {
        let url = repository_url(
            self.api(),
            project,
            repository,
            &["artifacts", reference, "tags", tag],
        );
        self.wire.send(Call::write(Method::DELETE, url)).await?;
        Ok(())
    }

    /// Deletes an artifact with all its tags. `repository` is the name within the project.
    pub async fn delete_artifact(
        &self,
        project: &str,
        repository: &str,
        reference: &str,
    ) -> Result<()> {
        let url = repository_url(self.api(), project, repository, &["artifacts", reference]);
        self.wire.send(Call::write(Method::DELETE, url)).await?;
        Ok(())
    }

    /// Deletes a repository with everything in it. `repository` is the name within the project.
    pub async fn delete_repository(&self, project: &str, repository: &str) -> Result<()> {
        let url = repository_url(self.api(), project, repository, &[]);
        self.wire.send(Call::write(Method::DELETE, url)).await?;
        Ok(())
    }

    fn api(&self) -> &Wire {
        &self.wire.wire
    }
}
