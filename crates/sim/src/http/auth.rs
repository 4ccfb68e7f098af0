//! Who asks, and the token service.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    call::Call,
    reply::{Answer, Reply, internal},
};
use crate::{
    model::Grant,
    site::{Principal, Site},
};

/// How long Harbor lets a wrong password wait.
const WRONG_PASSWORD_DELAY: Duration = Duration::from_millis(1500);
const TOKEN_LIFETIME_SECONDS: i64 = 1800;

/// Finds out who asks. Wrong credentials do not end a request: it goes on as anonymous, after a delay.
pub(super) async fn authenticate(call: &mut Call) -> Result<(), Reply> {
    if call.site.component_down("redis") {
        // Sessions cannot be read: every call is slow (seen: 0.6 to 1.2 s).
        let delay = call
            .site
            .between(Duration::from_millis(600), Duration::from_millis(1200));
        call.site.sleep(delay).await;
    }
    if call.site.component_down("database") {
        // Nobody can be logged in. Reads end in 401, writes in 500, right credentials or not.
        let outside = call.path.starts_with("/c/");
        return if call.is_safe() || outside {
            Ok(())
        } else {
            Err(internal())
        };
    }
    let Some((name, password)) = call.basic() else {
        return Ok(());
    };
    call.principal = call.site.log_in(&name, &password);
    if call.principal.is_anonymous() {
        call.site.sleep(WRONG_PASSWORD_DELAY).await;
    }
    Ok(())
}

/// `/service/token`: always 200; the token allows what the caller may do, which may be nothing.
pub(super) fn token(call: &Call) -> Answer {
    let mut scopes: Vec<String> = call
        .params()
        .into_iter()
        .filter(|(key, _)| key == "scope")
        .map(|(_, value)| value)
        .collect();
    scopes.extend(
        super::call::pairs(&String::from_utf8_lossy(&call.body))
            .into_iter()
            .filter(|(key, _)| key == "scope")
            .map(|(_, value)| value),
    );
    let mut allowed = BTreeSet::new();
    for scope in scopes.iter().flat_map(|scope| scope.split(' ')) {
        // `repository:project/name:pull,push`; the name may hold no colon.
        let mut parts = scope.splitn(3, ':');
        if let (Some("repository"), Some(name), Some(actions)) =
            (parts.next(), parts.next(), parts.next())
        {
            for action in actions
                .split(',')
                .filter(|action| may(&call.site, &call.principal, name, action))
            {
                allowed.insert((name.to_owned(), action.to_owned()));
            }
        }
    }
    let now = Timestamp::now();
    let text = format!(
        "{:016x}{:016x}.{:016x}",
        crate::clock::unguessable(),
        crate::clock::unguessable(),
        crate::clock::unguessable()
    );
    let grant = Grant {
        allowed,
        expires: now + SignedDuration::from_secs(TOKEN_LIFETIME_SECONDS),
    };
    let mut state = call.site.state();
    state.tokens.retain(|_, grant| grant.expires > now);
    state.tokens.insert(text.clone(), grant);
    let issued = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let body = json!({ "token": text, "access_token": "", "expires_in": TOKEN_LIFETIME_SECONDS, "issued_at": issued });
    Ok(Reply::typed(
        200,
        "application/json; charset=utf-8",
        body.to_string(),
    ))
}

/// Whether somebody may pull, push or delete in a repository.
pub(crate) fn may(site: &Site, principal: &Principal, repository: &str, action: &str) -> bool {
    let project = repository.split('/').next().unwrap_or_default();
    let public = match site.state().project(project) {
        Some(project) => project.public,
        None => return false,
    };
    if matches!(principal, Principal::Robot(robot) if robot.mixes_kinds()) {
        return false;
    }
    match action {
        "*" => matches!(principal, Principal::Admin(_)),
        _ => principal.may_in_project(project, public, "repository", action),
    }
}
