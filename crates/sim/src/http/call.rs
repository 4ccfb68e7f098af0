//! One request, taken apart.

use std::sync::{Arc, Mutex};

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use base64::Engine;
use serde_json::{Map, Value};

use super::reply::{Reply, bad_request, forbidden, unauthorized, unprocessable};
use crate::site::{Principal, Site, lock};

/// A request as the handlers see it.
pub(crate) struct Call {
    pub(crate) site: Arc<Site>,
    pub(crate) method: String,
    /// As sent, without the query.
    pub(crate) path: String,
    /// As sent, without the question mark.
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) principal: Principal,
    note: Mutex<Note>,
}

/// What the log says about a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    pub(crate) object: String,
    pub(crate) effect: String,
}

/// The Go types that a body's fields may have, as far as Harbor's messages name them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    Bool,
    Int8,
    Int32,
    Int64,
    Text,
    Object,
}

impl Call {
    pub(crate) fn new(site: Arc<Site>, parts: axum::http::request::Parts, body: Bytes) -> Call {
        Call {
            site,
            method: parts.method.as_str().to_owned(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body,
            principal: Principal::Anonymous,
            note: Mutex::default(),
        }
    }

    /// Says in the log what the request was about and what it changed.
    pub(crate) fn note(&self, object: impl Into<String>, effect: impl Into<String>) {
        *lock(&self.note) = Note {
            object: object.into(),
            effect: effect.into(),
        };
    }

    pub(crate) fn noted(&self) -> Note {
        lock(&self.note).clone()
    }

    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The name and the password of basic auth.
    pub(crate) fn basic(&self) -> Option<(String, String)> {
        let value = self.header(header::AUTHORIZATION)?;
        let (scheme, encoded) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(encoded.trim())
            .ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (name, password) = text.split_once(':')?;
        Some((name.to_owned(), password.to_owned()))
    }

    pub(crate) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header(header::AUTHORIZATION)?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    }

    pub(crate) fn is_safe(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }

    /// The query's pairs, decoded, in order.
    pub(crate) fn params(&self) -> Vec<(String, String)> {
        pairs(&self.query)
    }

    pub(crate) fn param(&self, name: &str) -> Option<String> {
        self.params()
            .into_iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// A number in the query; 422 when it is none.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Reply> {
        self.param(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    unprocessable(format!("{name} in query must be of type int64: {text:?}"))
                })
            })
            .transpose()
    }

    /// Refuses who may not do this in the system: 401 for nobody, 403 with the name for somebody.
    pub(crate) fn need_system(&self, resource: &str, action: &str) -> Result<(), Reply> {
        if self.principal.is_anonymous() {
            Err(unauthorized())
        } else if self.principal.may_in_system(resource, action) {
            Ok(())
        } else {
            Err(forbidden(self.principal.name()))
        }
    }

    /// Refuses everybody but an administrator.
    pub(crate) fn need_admin(&self) -> Result<(), Reply> {
        match &self.principal {
            Principal::Anonymous => Err(unauthorized()),
            Principal::Admin(_) => Ok(()),
            other => Err(forbidden(other.name())),
        }
    }

    /// Refuses who may not do this in a project.
    pub(crate) fn need_project(
        &self,
        project: &str,
        public: bool,
        resource: &str,
        action: &str,
    ) -> Result<(), Reply> {
        if self
            .principal
            .may_in_project(project, public, resource, action)
        {
            Ok(())
        } else if self.principal.is_anonymous() {
            Err(unauthorized())
        } else {
            Err(forbidden("forbidden"))
        }
    }

    /// Reads a JSON object out of the body with Harbor's checks. `name` and `model` are what its messages say.
    pub(crate) fn object(
        &self,
        name: &str,
        model: &str,
        fields: &[(&str, Field)],
    ) -> Result<Map<String, Value>, Reply> {
        if let Some(content_type) = self.header(header::CONTENT_TYPE) {
            let bare = content_type.split(';').next().unwrap_or_default().trim();
            if bare != "application/json" {
                return Err(unprocessable(format!(
                    "unsupported media type {bare:?}, only [application/json] are allowed"
                )));
            }
        }
        if self.body.is_empty() {
            return Err(unprocessable(format!("{name} in body is required")));
        }
        let refuse = |why: String| {
            unprocessable(format!(
                "parsing {name} body from \"\" failed, because {why}"
            ))
        };
        let value: Value = serde_json::from_slice(&self.body).map_err(|error| {
            refuse(if error.is_eof() {
                "unexpected EOF".to_owned()
            } else {
                "invalid character".to_owned()
            })
        })?;
        let object = match value {
            Value::Object(object) => object,
            Value::Null => Map::new(),
            other => {
                return Err(refuse(format!(
                    "json: cannot unmarshal {} into Go value of type models.{model}",
                    go_kind(&other)
                )));
            }
        };
        for (field, kind) in fields {
            let Some(value) = object.get(*field).filter(|value| !value.is_null()) else {
                continue;
            };
            let (fits, go_type) = match kind {
                Field::Bool => (value.is_boolean(), "bool"),
                Field::Int8 => (
                    value.as_i64().is_some_and(|n| i8::try_from(n).is_ok()),
                    "int8",
                ),
                Field::Int32 => (
                    value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
                    "int32",
                ),
                Field::Int64 => (value.is_i64(), "int64"),
                Field::Text => (value.is_string(), "string"),
                Field::Object => (value.is_object(), "struct"),
            };
            if !fits {
                return Err(refuse(format!(
                    "json: cannot unmarshal {} into Go struct field {model}.{field} of type {go_type}",
                    go_kind(value)
                )));
            }
        }
        Ok(object)
    }
}

/// Decodes percent signs, once.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        match (
            bytes[at],
            hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The decoded pairs of a query or form.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (
                decode(&key.replace('+', " ")),
                decode(&value.replace('+', " ")),
            )
        })
        .collect()
}

/// The id in a path; 422 when it is no number.
pub(crate) fn id_in_path(name: &str, text: &str) -> Result<i64, Reply> {
    text.parse()
        .map_err(|_| unprocessable(format!("{name} in path must be of type int64: {text:?}")))
}

/// A text field, empty when it is absent.
pub(crate) fn text(object: &Map<String, Value>, field: &str) -> String {
    object
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// A flag, false when it is absent.
pub(crate) fn flag(object: &Map<String, Value>, field: &str) -> bool {
    object.get(field).and_then(Value::as_bool).unwrap_or(false)
}

/// 400 unless the text is a name in Harbor's alphabet for robots and projects.
pub(crate) fn check_name(name: &str, message: &str) -> Result<(), Reply> {
    if crate::namespace::is_component(name) {
        Ok(())
    } else {
        Err(bad_request(message))
    }
}

fn go_kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) => format!("number {number}"),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}
