//! The life of one request: faults, hooks, the effect, the log and the answer.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderValue, Response, header},
};

use super::{
    api, auth,
    call::Call,
    listening::Connection,
    reply::{Reply, forbidden},
};
use crate::{
    faults::Fault,
    log::{Edge, LogEntry, RequestSeen, Verdict},
    site::{Site, World, lock},
};

const BODY_LIMIT: usize = 256 << 20;

/// Takes a request off a connection. It is carried out in a task of its own, so that it takes effect also
/// when the client has gone meanwhile, as it does with a real server.
pub(super) async fn handle(
    State(site): State<Arc<Site>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        connection.cut();
        return Response::default();
    };
    let request_id = parts.headers.get("x-request-id").cloned();
    let call = Call::new(site, parts, body);
    // A hook that panics must not look like an answer.
    let Ok(Some(reply)) = tokio::spawn(carry_out(call)).await else {
        connection.cut();
        return Response::default();
    };
    let mut response = reply.into_response();
    let fresh =
        || HeaderValue::from_str(&format!("{:032x}", u128::from(crate::clock::unguessable())));
    if let Some(id) = request_id.or_else(|| fresh().ok()) {
        response.headers_mut().insert("x-request-id", id);
    }
    let session = format!("sid={:016x}; Path=/; HttpOnly", crate::clock::unguessable());
    if let Ok(session) = HeaderValue::from_str(&session) {
        response.headers_mut().append(header::SET_COOKIE, session);
    }
    response
}

/// Carries a request out. `None` is no answer: the connection is closed.
async fn carry_out(mut call: Call) -> Option<Reply> {
    let site = call.site.clone();
    let world = site.world()?;
    let number = world.next_request();
    let (method, path) = (call.method.clone(), call.path.clone());
    let mut seen = RequestSeen {
        site: site.name.clone(),
        number,
        method: method.clone(),
        path: path.clone(),
        query: call.query.clone(),
        mutating: is_mutating(&method, &path),
        edge: Edge::Before,
        status: None,
    };

    hang(&site, &method, &path).await?;
    let delay = site.faults.take(&method, &path, |fault| match fault {
        Fault::Delay { delay_ms, .. } => Some(*delay_ms),
        _ => None,
    });
    if let Some(delay_ms) = delay {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
    for mutation in site.faults.interferences(&method, &path) {
        crate::mutate::apply(&site, &mutation);
    }

    let before = ask(&world, &seen);
    if before == Verdict::NotApplied {
        return None;
    }
    let broken = site.faults.take(&method, &path, |fault| match fault {
        Fault::Status { status, .. } => Some(*status),
        _ => None,
    });
    let refused = match before {
        Verdict::Answer(status) => Some(status),
        _ => broken,
    };
    let mut reply = match refused {
        Some(status) => Reply::empty(status),
        None => answer(&mut call).await,
    };

    seen.edge = Edge::After;
    seen.status = Some(reply.status);
    let lost = site
        .faults
        .take(&method, &path, |fault| {
            matches!(fault, Fault::LostReply { .. }).then_some(())
        })
        .is_some();
    // The log is written before the hook is called: what the hook kills has been recorded.
    let logged = seen.mutating.then(|| {
        let note = call.noted();
        let mut log = lock(&world.log);
        log.push(LogEntry {
            number,
            site: site.name.clone(),
            method,
            object: if note.object.is_empty() {
                path.clone()
            } else {
                note.object
            },
            path,
            effect: note.effect,
            status: reply.status,
            replied: true,
        });
        log.len() - 1
    });
    let after = ask(&world, &seen);
    if let Verdict::Answer(status) = after {
        reply = Reply::empty(status);
    }
    let answered = !lost
        && before != Verdict::NoReply
        && matches!(after, Verdict::Continue | Verdict::Answer(_));
    if let (false, Some(at)) = (answered, logged)
        && let Some(entry) = lock(&world.log)
            .get_mut(at)
            .filter(|entry| entry.number == number)
    {
        entry.replied = false;
    }
    answered.then_some(reply)
}

async fn answer(call: &mut Call) -> Reply {
    if let Err(refusal) = auth::authenticate(call).await {
        return refusal;
    }
    // A session cookie brings the check against forged requests with it, basic auth or not (seen on v2.9.5).
    if !call.is_safe()
        && call
            .header(header::COOKIE)
            .is_some_and(|cookies| cookies.contains("sid="))
    {
        return forbidden("CSRF token invalid").with(
            "x-harbor-csrf-token",
            format!("{:x}", crate::clock::unguessable()),
        );
    }
    match api::route(call).await {
        Ok(reply) | Err(reply) => reply,
    }
}

/// Waits while the site hangs for such requests; `None` when the site went away meanwhile.
async fn hang(site: &Site, method: &str, path: &str) -> Option<()> {
    while site
        .faults
        .take(method, path, |fault| {
            matches!(fault, Fault::Hang { .. }).then_some(())
        })
        .is_some()
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
        // What hung is never answered, also when the site works again.
        site.faults
            .find(|fault| matches!(fault, Fault::Hang { .. }).then_some(()))?;
        site.world()?;
    }
    Some(())
}

fn ask(world: &World, seen: &RequestSeen) -> Verdict {
    let hook = lock(&world.hook).clone();
    hook.map_or(Verdict::Continue, |hook| hook(seen))
}

/// Whether a request could change anything: pings and tokens do not.
fn is_mutating(method: &str, path: &str) -> bool {
    !matches!(method, "GET" | "HEAD" | "OPTIONS")
        && !path.ends_with("/registries/ping")
        && !path.starts_with("/service/token")
        && !path.starts_with("/c/")
}
