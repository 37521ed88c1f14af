//! Error answers of the admin API: problem details (RFC 9457).

use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

/// The media type of problem details (RFC 9457 §6.1).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What sets one kind of problem apart from others with the same status (RFC 9457 §3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `about:blank`: the status says it all.
    Blank,
    StaleEpoch,
    EpochReused,
    InvalidBody,
    Draining,
    LoopSilent,
    AccessNotConfigured,
    ForeignHost,
    ForeignOrigin,
    WorkerSilent,
}

impl Kind {
    fn uri(self) -> &'static str {
        match self {
            Self::Blank => "about:blank",
            Self::StaleEpoch => "tag:podicorn.io,2026:problem/stale-epoch",
            Self::EpochReused => "tag:podicorn.io,2026:problem/epoch-reused",
            Self::InvalidBody => "tag:podicorn.io,2026:problem/invalid-body",
            Self::Draining => "tag:podicorn.io,2026:problem/draining",
            Self::LoopSilent => "tag:podicorn.io,2026:problem/loop-silent",
            Self::AccessNotConfigured => "tag:podicorn.io,2026:problem/access-not-configured",
            Self::ForeignHost => "tag:podicorn.io,2026:problem/foreign-host",
            Self::ForeignOrigin => "tag:podicorn.io,2026:problem/foreign-origin",
            Self::WorkerSilent => "tag:podicorn.io,2026:problem/worker-silent",
        }
    }

    /// The same for every occurrence; `about:blank` takes the status phrase (RFC 9457 §4.2.1).
    fn title(self, status: StatusCode) -> &'static str {
        match self {
            Self::Blank => status.canonical_reason().unwrap_or("Error"),
            Self::StaleEpoch => "The epoch is older than one accepted before",
            Self::EpochReused => "The epoch was used with another body",
            Self::InvalidBody => "The body has invalid fields",
            Self::Draining => "The server is shutting down",
            Self::LoopSilent => "The run loop did not answer",
            Self::AccessNotConfigured => "Only health and metrics are served here",
            Self::ForeignHost => "The Host is not a loopback name",
            Self::ForeignOrigin => "The request comes from another origin",
            Self::WorkerSilent => "The worker did not answer",
        }
    }
}

/// One invalid field of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct FieldError {
    /// JSON pointer to the field (RFC 6901).
    pub pointer: String,
    pub detail: String,
}

impl FieldError {
    pub fn new(field: &str, detail: impl Into<String>) -> Self {
        let escaped = field.replace('~', "~0").replace('/', "~1");
        Self { pointer: format!("/{escaped}"), detail: detail.into() }
    }
}

/// An error answer. Boxed, because it travels in results.
#[derive(Debug, Clone)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    headers: HeaderMap,
}

/// The members on the wire.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct ProblemBody {
    /// A URI that names the kind of problem.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    /// What happened this time and what to do.
    detail: String,
    /// Every invalid field of the body.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    errors: Vec<FieldError>,
    /// Members of this kind of problem.
    #[serde(flatten)]
    #[schemars(skip)]
    members: Map<String, Value>,
}

impl Problem {
    pub fn new(status: StatusCode, kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            status,
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            members: Map::new(),
            headers: HeaderMap::new(),
        }))
    }

    /// A problem whose status says it all.
    pub fn blank(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::new(status, Kind::Blank, detail)
    }

    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// Adds an extension member (RFC 9457 §3.2).
    #[must_use]
    pub fn with_member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Parts { status, kind, detail, errors, members, headers } = *self.0;
        let body = ProblemBody {
            kind: kind.uri(),
            title: kind.title(status),
            status: status.as_u16(),
            detail,
            errors,
            members,
        };
        let mut response = (status, headers, Json(body)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
