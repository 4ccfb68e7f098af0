//! `http`: one request to something that this program does not know. An escape hatch.
//!
//! In doubt a person is asked: the world cannot be probed for it.

use std::time::Duration;

use async_trait::async_trait;
use runbook_engine::step::{Done, Probe, ReadContext, Step, StepError, WriteContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::fault;
use crate::world::Sites;

const LIMIT: Duration = Duration::from_secs(30);

/// What the operator writes under `do:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Http {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// Where.
    pub url: String,
    /// Sent as JSON.
    #[serde(default)]
    pub body: Option<Value>,
    /// The status that means success; any 2xx if left out.
    #[serde(default)]
    pub expect_status: Option<u16>,
}

#[async_trait]
impl Step<Sites> for Http {
    fn summary(&self) -> String {
        format!("{} {}", self.method, self.url)
    }

    async fn probe(&self, _cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        Ok(Probe::NotDone(Vec::new()))
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        (cx.world.before_write)().map_err(StepError::permanent)?;
        let method = self
            .method
            .parse()
            .map_err(|_| fault::wrong(format!("`{}` is no method", self.method)))?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(LIMIT)
            .build()
            .map_err(StepError::permanent)?;
        let mut request = client
            .request(method, &self.url)
            .header("x-request-id", cx.token());
        if let Some(body) = &self.body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| {
            if error.is_connect() {
                StepError::transient(error)
            } else {
                StepError::unknown(error)
            }
        })?;
        let status = answer.status();
        let good = self
            .expect_status
            .map_or(status.is_success(), |wanted| status.as_u16() == wanted);
        if good {
            Ok(Done::Done {
                output: json!({ "status": status.as_u16() }),
                changes: Vec::new(),
            })
        } else {
            Err(fault::wrong(format!(
                "{} {} answered {status}",
                self.method, self.url
            )))
        }
    }
}
