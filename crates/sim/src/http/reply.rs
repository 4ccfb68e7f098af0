//! Answers in Harbor's shape.

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, Response},
};
use serde_json::{Value, json};

const ERROR_TYPE: &str = "application/json; charset=utf-8";

/// An answer before it gets the headers that every answer has.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Bytes,
}

/// What a handler gives.
pub(crate) type Answer = Result<Reply, Reply>;

impl Reply {
    pub(crate) fn empty(status: u16) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// 201 with the address of what was made, and no body.
    pub(crate) fn created(location: String) -> Reply {
        Reply::empty(201).with("location", location)
    }

    pub(crate) fn json(value: &Value) -> Reply {
        Reply::typed(200, "application/json", format!("{value}\n"))
    }

    pub(crate) fn text(text: impl Into<String>) -> Reply {
        Reply::typed(200, "text/plain", text.into())
    }

    pub(crate) fn typed(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
        .with("content-type", content_type.to_owned())
    }

    pub(crate) fn error(status: u16, code: &str, message: impl Into<String>) -> Reply {
        let body = json!({ "errors": [{ "code": code, "message": message.into() }] });
        Reply::typed(status, ERROR_TYPE, format!("{body}\n"))
    }

    pub(crate) fn with(mut self, name: &'static str, value: String) -> Reply {
        self.headers.push((HeaderName::from_static(name), value));
        self
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = axum::http::StatusCode::from_u16(self.status)
            .unwrap_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

pub(crate) fn bad_request(message: impl Into<String>) -> Reply {
    Reply::error(400, "BAD_REQUEST", message)
}

pub(crate) fn unauthorized() -> Reply {
    Reply::error(401, "UNAUTHORIZED", "unauthorized")
}

pub(crate) fn forbidden(message: impl Into<String>) -> Reply {
    Reply::error(403, "FORBIDDEN", message)
}

pub(crate) fn read_only() -> Reply {
    Reply::error(
        403,
        "DENIED",
        "The system is in read only mode. Any modification is prohibited.",
    )
}

pub(crate) fn not_found(message: impl Into<String>) -> Reply {
    Reply::error(404, "NOT_FOUND", message)
}

pub(crate) fn conflict(message: impl Into<String>) -> Reply {
    Reply::error(409, "CONFLICT", message)
}

pub(crate) fn precondition(message: impl Into<String>) -> Reply {
    Reply::error(412, "PRECONDITION", message)
}

pub(crate) fn unprocessable(message: impl std::fmt::Display) -> Reply {
    Reply::error(
        422,
        "UNPROCESSABLE_ENTITY",
        format!("validation failure list:\n{message}"),
    )
}

pub(crate) fn internal() -> Reply {
    Reply::error(500, "UNKNOWN", "internal server error")
}
