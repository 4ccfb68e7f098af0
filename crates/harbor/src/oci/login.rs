//! Logging in: what a registry asks for, and the tokens that it gives.

use std::collections::HashMap;
use std::fmt;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use reqwest::Url;
use reqwest::header::WWW_AUTHENTICATE;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::challenge::Challenge;
use super::reader::Reader;
use crate::error::{ErrorKind, Result};
use crate::wire::{Answer, Auth, Call, header_text, read_body};

/// How long before its end a token is no longer used.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);

/// How requests log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// User and password with each request: one round trip. Harbor takes it.
    Basic,
    /// A token for each repository, as container clients do: what proves that they can.
    Token,
}

/// What was learned about a registry's tokens.
#[derive(Default)]
pub(super) struct Tokens {
    /// Realm and service, from the first challenge.
    service: Option<(Url, Option<String>)>,
    by_scope: HashMap<String, (SecretString, Instant)>,
}

/// What `GET /v2/` without credentials says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ping {
    /// Anybody may pull.
    Open,
    /// User and password are asked for.
    Basic,
    /// A token is asked for.
    Token {
        /// Where it is issued. A realm on another host than the one that clients use breaks logins.
        realm: Url,
        /// The name of the service, `harbor-registry`.
        service: Option<String>,
    },
}

/// A token, and who issued it.
#[derive(Clone)]
pub struct Token {
    /// What to log in with.
    pub secret: SecretString,
    /// Where it was issued: the host must be one that clients reach.
    pub realm: Url,
    /// The name of the service.
    pub service: Option<String>,
    /// What it was asked for. Harbor issues a token also to who has no right: it then grants nothing.
    pub scope: String,
    /// How long it lives. A robot that is disabled keeps its tokens for that long.
    pub lifetime: Duration,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    /// In seconds; 60 where it is not told, by the specification.
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Reader {
    /// Asks `/v2/` without credentials what it wants.
    pub async fn ping(&self) -> Result<Ping> {
        let url = self.wire().url(["v2", ""]);
        let mut call = Call::get(url);
        call.auth = Auth::Anonymous;
        let (blame, response) = self.wire().start(call, true).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_body(&blame, response).await?;
        if status.is_success() {
            return Ok(Ping::Open);
        }
        let refusal = blame.refusal(status, &headers, &body);
        if refusal.kind() != ErrorKind::Unauthorized {
            return Err(refusal);
        }
        match header_text(&headers, &WWW_AUTHENTICATE).and_then(Challenge::parse) {
            Some(Challenge::Bearer { realm, service, .. }) => {
                let realm = Url::parse(&realm).map_err(|error| {
                    blame
                        .error(
                            ErrorKind::Protocol,
                            format!("the token realm `{realm}` is no URL"),
                        )
                        .with_source(error)
                })?;
                Ok(Ping::Token { realm, service })
            }
            Some(Challenge::Basic) => Ok(Ping::Basic),
            // Harbor asks for nothing when it cannot check anything.
            None => Err(refusal),
        }
    }

    /// Has a token issued for `scope`, such as `repository:production/app:pull,push`, with the user's
    /// password. Wrong credentials get [`ErrorKind::Unauthorized`] or, from Harbor, a token that grants
    /// nothing: only its use tells.
    pub async fn token(&self, scope: &str) -> Result<Token> {
        let known = self
            .tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .service
            .clone();
        let (realm, service) = match known {
            Some(known) => known,
            None => match self.ping().await? {
                Ping::Token { realm, service } => {
                    let known = (realm, service);
                    self.tokens
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .service = Some(known.clone());
                    known
                }
                Ping::Open | Ping::Basic => {
                    return Err(self.error("/v2/", "the registry names no token service"));
                }
            },
        };
        // A password does not follow a registry into the clear.
        if self.wire().endpoint().url.scheme() == "https" && realm.scheme() != "https" {
            return Err(self.error("/v2/", format!("the token realm `{realm}` is not https")));
        }
        let mut url = self.wire().to_own_address(&realm);
        {
            let mut pairs = url.query_pairs_mut();
            if let Some(service) = &service {
                pairs.append_pair("service", service);
            }
            pairs.append_pair("scope", scope);
        }
        let path = url.path().to_owned();
        let answer = self.wire().send(Call::get(url)).await?;
        let TokenAnswer {
            token,
            access_token,
            expires_in,
        } = serde_json::from_slice(&answer.body).map_err(|error| {
            self.error(&path, "the answer holds no token")
                .with_source(error)
        })?;
        let secret = if token.is_empty() {
            access_token
        } else {
            token
        };
        if secret.is_empty() {
            return Err(self.error(&path, "the token is empty"));
        }
        let lifetime = Duration::from_secs(expires_in.unwrap_or(60));
        Ok(Token {
            secret: secret.into(),
            realm,
            service,
            scope: scope.to_owned(),
            lifetime,
        })
    }

    /// Has what [`Reader::send`] needs for `scope` at hand.
    pub(super) async fn prepare(&self, scope: &str) -> Result<()> {
        self.secret_for(scope).await.map(|_| ())
    }

    /// Sends a request with the login that was chosen.
    pub(super) async fn send<'a>(&self, call: Call<'a>, scope: &str) -> Result<Answer> {
        let token = self.secret_for(scope).await?;
        if let Some(token) = &token {
            let call = Call {
                auth: Auth::Bearer(token),
                ..call
            };
            let answer = self.wire().send_once(call).await;
            return self.forget_refused(answer, scope);
        }
        self.wire().send(call).await
    }

    /// The token for `scope`, or `None` when the login is by password.
    pub(super) async fn secret_for(&self, scope: &str) -> Result<Option<SecretString>> {
        if self.login == Login::Basic {
            return Ok(None);
        }
        let cached = {
            let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            tokens.by_scope.get(scope).cloned()
        };
        if let Some((secret, _)) = cached.filter(|(_, until)| Instant::now() < *until) {
            return Ok(Some(secret));
        }
        let token = self.token(scope).await?;
        let until = Instant::now() + token.lifetime.saturating_sub(TOKEN_MARGIN);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens
            .by_scope
            .insert(scope.to_owned(), (token.secret.clone(), until));
        Ok(Some(token.secret))
    }

    /// A token that is refused is not used again.
    pub(super) fn forget_refused<T>(&self, answer: Result<T>, scope: &str) -> Result<T> {
        if answer
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Unauthorized)
        {
            self.tokens
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .by_scope
                .remove(scope);
        }
        answer
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("realm", &self.realm.as_str())
            .field("service", &self.service)
            .field("scope", &self.scope)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Shows the token itself, for a client of the caller's own.
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }
}
