//! The control port: what the handles do, for a sandbox in another process.

use std::sync::{Arc, Weak};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    faults::{Fault, Mutation},
    harbor::Harbor,
    log::LogEntry,
    sandbox::Inner,
    site::lock,
};

type Refusal = (StatusCode, Json<Value>);

/// Serves the control port until the task is aborted.
pub(crate) fn serve(listener: TcpListener, inner: &Arc<Inner>) -> JoinHandle<()> {
    let router = Router::new()
        .route("/state", get(state))
        .route("/log", get(log))
        .route("/fault", post(inject).delete(repair))
        .route("/push", post(push))
        .route("/read-only", post(set_read_only))
        .route("/change", post(change))
        .with_state(Arc::downgrade(inner));
    tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    })
}

#[derive(Deserialize)]
struct Broken {
    site: String,
    fault: Fault,
}

/// Without a site all of them, without a fault all faults.
#[derive(Deserialize, Default)]
struct Repaired {
    site: Option<String>,
    fault: Option<Fault>,
}

#[derive(Deserialize)]
struct Pushed {
    site: String,
    repository: String,
    tag: String,
    #[serde(default)]
    seed: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Flag {
    site: String,
    read_only: bool,
}

#[derive(Deserialize)]
struct Change {
    site: String,
    mutation: Mutation,
}

async fn state(State(inner): State<Weak<Inner>>) -> Result<Json<Value>, Refusal> {
    let inner = alive(&inner)?;
    let sites: Vec<Value> = [&inner.primary, &inner.dr]
        .map(|site| json!({ "name": site.name(), "url": site.url(), "faults": site.faults() }))
        .into();
    Ok(Json(json!({
        "sites": sites,
        "direction": inner.direction,
        "time-scale": inner.world.clock.scale(),
        "world": inner.snapshot(),
    })))
}

async fn log(State(inner): State<Weak<Inner>>) -> Result<Json<Vec<LogEntry>>, Refusal> {
    let inner = alive(&inner)?;
    let entries = lock(&inner.world.log).clone();
    Ok(Json(entries))
}

async fn inject(
    State(inner): State<Weak<Inner>>,
    Json(broken): Json<Broken>,
) -> Result<Json<Value>, Refusal> {
    let inner = alive(&inner)?;
    site(&inner, &broken.site)?.inject(broken.fault);
    Ok(Json(json!({})))
}

async fn repair(
    State(inner): State<Weak<Inner>>,
    body: Option<Json<Repaired>>,
) -> Result<Json<Value>, Refusal> {
    let inner = alive(&inner)?;
    let repaired = body.map(|Json(body)| body).unwrap_or_default();
    let sites = match &repaired.site {
        Some(name) => vec![site(&inner, name)?],
        None => vec![&inner.primary, &inner.dr],
    };
    for harbor in sites {
        let done = match &repaired.fault {
            Some(fault) => harbor.repair(fault).await,
            None => harbor.repair_all().await,
        };
        done.map_err(|error| refuse(StatusCode::CONFLICT, error.to_string()))?;
    }
    Ok(Json(json!({})))
}

async fn push(
    State(inner): State<Weak<Inner>>,
    Json(pushed): Json<Pushed>,
) -> Result<Json<Value>, Refusal> {
    let inner = alive(&inner)?;
    let seed = pushed
        .seed
        .unwrap_or_else(|| format!("{}:{}", pushed.repository, pushed.tag));
    let digest = site(&inner, &pushed.site)?.push_tag(&pushed.repository, &pushed.tag, &seed);
    let digest = digest.map_err(|error| refuse(StatusCode::CONFLICT, error.to_string()))?;
    Ok(Json(json!({ "digest": digest })))
}

async fn set_read_only(
    State(inner): State<Weak<Inner>>,
    Json(flag): Json<Flag>,
) -> Result<Json<Value>, Refusal> {
    let inner = alive(&inner)?;
    site(&inner, &flag.site)?.set_read_only(flag.read_only);
    Ok(Json(json!({})))
}

async fn change(
    State(inner): State<Weak<Inner>>,
    Json(change): Json<Change>,
) -> Result<Json<Value>, Refusal> {
    let inner = alive(&inner)?;
    let changed = site(&inner, &change.site)?.change(&change.mutation);
    changed.map_err(|error| refuse(StatusCode::NOT_FOUND, error.to_string()))?;
    Ok(Json(json!({})))
}

fn alive(inner: &Weak<Inner>) -> Result<Arc<Inner>, Refusal> {
    inner
        .upgrade()
        .ok_or_else(|| refuse(StatusCode::GONE, "the sandbox is gone".to_owned()))
}

fn site<'a>(inner: &'a Inner, name: &str) -> Result<&'a Harbor, Refusal> {
    inner.site(name).ok_or_else(|| {
        refuse(
            StatusCode::NOT_FOUND,
            format!("no site `{name}`: there are `primary` and `dr`"),
        )
    })
}

fn refuse(status: StatusCode, message: String) -> Refusal {
    (status, Json(json!({ "error": message })))
}
