//! `registry.probe`: a client's work through the service name: log in, pull by digest, push, pull it back, delete.
//!
//! "Done" means that a client can work. Since v2.14 the realm of a token follows the Host header, before that it is
//! the configured address, so a name that moved can break logins: the realm is looked at.

use std::net::SocketAddr;

use async_trait::async_trait;
use runbook_dns::Name;
use runbook_dns::verify::resolve_addresses;
use runbook_engine::event::Change;
use runbook_engine::step::{Done, Finding, Probe, ReadContext, Step, StepError, WriteContext};
use runbook_harbor::{ArtifactQuery, Reader, oci};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::world::{DNS_TIMEOUT, Sites, SitesReader};
use crate::{fault, look};

const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
/// The checkpoint that says whether the probe makes the repository of its canary.
const MADE: &str = "made-repository";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// What the operator writes under `do:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegistryProbe {
    /// The site that should answer at the service name.
    pub site: String,
}

#[async_trait]
impl Step<Sites> for RegistryProbe {
    fn summary(&self) -> String {
        "probe as a client through the service name".into()
    }

    /// The name's certificate and the realm of its tokens at the site that it does not point to yet.
    async fn check(&self, cx: &ReadContext<'_, Sites>) -> Result<Vec<Finding>, StepError> {
        let name = &cx.world.bindings.endpoint.name;
        let site = cx.world.bindings.site(&self.site);
        let object = format!("{site} as `{name}`");
        let at = match address_of_site(cx.world, site).await {
            Ok(at) => at,
            Err(error) => {
                return Ok(vec![Finding::warn(
                    object,
                    format!("its address cannot be found: {error}"),
                )]);
            }
        };
        let Some(endpoint) = cx.world.service(site, Some(at)) else {
            return Ok(vec![Finding::fail(object, "the endpoint's url is none")]);
        };
        let service = oci::Reader::new(endpoint, oci::Login::Token).map_err(fault::harbor)?;
        Ok(vec![match service.ping().await {
            Ok(oci::Ping::Token { realm, .. }) if realm.host_str() != Some(name) => Finding::warn(
                object,
                format!(
                    "hands out tokens at `{realm}`: clients must reach that host too, or set external_url to the service name"
                ),
            ),
            Ok(_) => Finding::ok(object, "answers under the service name"),
            Err(error) => Finding::fail(object, error.to_string()),
        }])
    }

    async fn probe(&self, _cx: &ReadContext<'_, Sites>) -> Result<Probe, StepError> {
        Ok(Probe::NotDone(Vec::new()))
    }

    async fn run(&self, cx: &WriteContext<'_, Sites>) -> Result<Done, StepError> {
        let read = cx.read();
        let bindings = cx.world.bindings.clone();
        let site = bindings.site(&self.site).to_owned();
        let at = address_by_name(read.world, &site).await?;
        let endpoint = read
            .world
            .service(&site, Some(at))
            .ok_or_else(|| fault::wrong("the endpoint's url is none"))?;
        let client = cx.world.registry(endpoint).map_err(fault::harbor)?;
        let harbor = look::writer(cx, &site)?;

        let pulled = pull_something(harbor.reader(), client.reader()).await?;
        let canary = Canary::new(
            &bindings.endpoint.probe.project,
            &bindings.endpoint.probe.repository,
            cx.token(),
        );
        cx.tell(&format!(
            "pushing and pulling the canary {}",
            canary.repository
        ));
        canary.remember_repository(cx, harbor.reader()).await?;
        canary.push(&client).await?;
        let back = client
            .reader()
            .manifest(&canary.repository, &canary.digest())
            .await
            .map_err(fault::harbor)?;
        if back.bytes != canary.manifest {
            return Err(fault::wrong(format!(
                "the canary {} came back with other bytes",
                canary.repository
            )));
        }
        canary.remove(cx, &site).await?;
        let output =
            json!({ "address": at.to_string(), "pulled": pulled, "pushed": canary.repository });
        Ok(Done::Done {
            output,
            changes: Vec::new(),
        })
    }

    async fn undo(&self, cx: &WriteContext<'_, Sites>) -> Result<Vec<Change>, StepError> {
        let probe = &cx.world.bindings.endpoint.probe;
        Canary::new(&probe.project, &probe.repository, cx.token())
            .remove(cx, &self.site)
            .await?;
        Ok(Vec::new())
    }
}

/// A tiny image whose content follows from the token, so that pushing it twice is pushing it once.
struct Canary {
    repository: String,
    project: String,
    in_project: String,
    config: Vec<u8>,
    layer: Vec<u8>,
    manifest: Vec<u8>,
}

impl Canary {
    fn new(project: &str, in_project: &str, token: &str) -> Canary {
        let layer = format!("canary {token}\n").into_bytes();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [oci::digest(&layer)] },
        });
        let config = config.to_string().into_bytes();
        let blob = |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "size": bytes.len(), "digest": oci::digest(bytes) });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": blob(CONFIG_TYPE, &config),
            "layers": [blob(LAYER_TYPE, &layer)],
        });
        Canary {
            repository: format!("{project}/{in_project}"),
            project: project.to_owned(),
            in_project: in_project.to_owned(),
            config,
            layer,
            manifest: manifest.to_string().into_bytes(),
        }
    }

    fn digest(&self) -> String {
        oci::digest(&self.manifest)
    }

    async fn push(&self, client: &oci::Writer) -> Result<(), StepError> {
        for blob in [&self.config, &self.layer] {
            client
                .push_blob(&self.repository, blob.clone())
                .await
                .map_err(fault::harbor)?;
        }
        client
            .push_manifest(
                &self.repository,
                "canary",
                MANIFEST_TYPE,
                self.manifest.clone(),
            )
            .await
            .map_err(fault::harbor)?;
        Ok(())
    }

    /// Notes whether the repository is there already, before the first push makes it.
    async fn remember_repository(
        &self,
        cx: &WriteContext<'_, Sites>,
        harbor: &Reader,
    ) -> Result<(), StepError> {
        if cx.read().checkpoint(MADE).is_some() {
            return Ok(());
        }
        let all = harbor
            .repositories(&self.project)
            .await
            .map_err(fault::harbor)?;
        let there = all.iter().any(|one| one.name == self.repository);
        cx.save_checkpoint(MADE, json!(!there)).await
    }

    /// Deletes the canary, and its repository if the probe made it and nobody else has pushed there since.
    async fn remove(&self, cx: &WriteContext<'_, Sites>, site: &str) -> Result<(), StepError> {
        let harbor = look::writer(cx, site)?;
        absent(
            harbor
                .delete_artifact(&self.project, &self.in_project, &self.digest())
                .await,
        )?;
        if cx.read().checkpoint(MADE) != Some(&json!(true)) {
            return Ok(());
        }
        let query = ArtifactQuery::default();
        let left = harbor
            .reader()
            .artifacts(&self.project, &self.in_project, &query)
            .await
            .map_err(fault::harbor)?;
        if left.is_empty() {
            absent(
                harbor
                    .delete_repository(&self.project, &self.in_project)
                    .await,
            )?;
        }
        Ok(())
    }
}

/// What is gone already needs no deleting.
fn absent(deleted: Result<(), runbook_harbor::Error>) -> Result<(), StepError> {
    match deleted {
        Err(error) if !error.is_not_found() => Err(fault::harbor(error)),
        _ => Ok(()),
    }
}

/// Pulls some image that the site has, byte by byte, as a client would. Returns its name; none if the site is empty.
async fn pull_something(harbor: &Reader, client: &oci::Reader) -> Result<Value, StepError> {
    let query = ArtifactQuery {
        with_label: false,
        with_accessory: false,
    };
    for project in harbor.projects().await.map_err(fault::harbor)? {
        if project.is_proxy_cache() {
            continue;
        }
        for repository in harbor
            .repositories(&project.name)
            .await
            .map_err(fault::harbor)?
        {
            let name = repository.name_in_project();
            let (artifacts, _) = harbor
                .artifacts_page(&project.name, name, &query, 1)
                .await
                .map_err(fault::harbor)?;
            if let Some(artifact) = artifacts.first() {
                let manifest = client
                    .manifest(&repository.name, &artifact.digest)
                    .await
                    .map_err(fault::harbor)?;
                return Ok(json!(format!("{}@{}", repository.name, manifest.digest)));
            }
        }
    }
    Ok(Value::Null)
}

/// Where a client would connect now: what the name resolves to.
async fn address_by_name(reader: &SitesReader, site: &str) -> Result<SocketAddr, StepError> {
    let endpoint = &reader.bindings.endpoint;
    if let Some(at) = endpoint.connect_to.get(site) {
        return Ok(*at);
    }
    address(reader, &endpoint.name).await
}

/// Where a client would connect once the name points to the site.
async fn address_of_site(reader: &SitesReader, site: &str) -> Result<SocketAddr, StepError> {
    let endpoint = &reader.bindings.endpoint;
    if let Some(at) = endpoint.connect_to.get(site) {
        return Ok(*at);
    }
    let target = endpoint
        .targets
        .get(site)
        .and_then(|value| value.split_whitespace().next());
    address(
        reader,
        target.ok_or_else(|| fault::wrong(format!("site `{site}` has no target")))?,
    )
    .await
}

async fn address(reader: &SitesReader, host: &str) -> Result<SocketAddr, StepError> {
    let url: reqwest::Url = reader
        .bindings
        .endpoint
        .url
        .parse()
        .map_err(StepError::permanent)?;
    let port = url.port_or_known_default().unwrap_or(443);
    if let Ok(ip) = host.parse::<std::net::IpAddr>() {
        return Ok((ip, port).into());
    }
    let name = Name::parse(host).map_err(StepError::permanent)?;
    let found = resolve_addresses(&reader.resolver(), &name, DNS_TIMEOUT)
        .await
        .map_err(fault::look)?;
    found
        .first()
        .map(|ip| (*ip, port).into())
        .ok_or_else(|| fault::wrong(format!("`{host}` has no address")))
}
