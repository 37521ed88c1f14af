//! What can go wrong with one app.

use super::validate::Invalid;
use crate::api::reasons;

/// When it is worth another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Only people can mend it.
    AwaitChange,
    /// It may pass.
    BackOff,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Invalid(#[from] Invalid),

    #[error("{0}")]
    Malformed(String),

    #[error("cannot make an admin token: {0}")]
    Token(#[source] std::io::Error),

    #[error("there is a {kind} {name} already that belongs to something else; rename the app or remove it")]
    NameTaken { kind: &'static str, name: String },

    #[error("the {kind} {name} is being deleted; it comes back when it is gone")]
    BeingDeleted { kind: &'static str, name: String },

    #[error("cannot {verb} the {kind} {name}: {}", told(source))]
    Request {
        verb: &'static str,
        kind: &'static str,
        name: String,
        #[source]
        source: Box<kube::Error>,
    },

    #[error("cannot {verb} the {kind} {name}: no answer within {} seconds", super::requests::PATIENCE.as_secs())]
    NoAnswer { verb: &'static str, kind: &'static str, name: String },

    #[error("cannot write as JSON: {0}")]
    Encode(#[from] serde_json::Error),
}

impl Error {
    /// For conditions and events.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => reasons::INVALID_SPEC,
            Self::Malformed(_) => reasons::MALFORMED,
            Self::NameTaken { .. } => reasons::NAME_TAKEN,
            Self::Token(_)
            | Self::BeingDeleted { .. }
            | Self::Request { .. }
            | Self::NoAnswer { .. }
            | Self::Encode(_) => reasons::APPLY_FAILED,
        }
    }

    /// For metrics: few, and known beforehand.
    pub fn metric_label(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_spec",
            Self::Malformed(_) => "malformed",
            Self::Token(_) => "token",
            Self::NameTaken { .. } => "name_taken",
            Self::BeingDeleted { .. } => "being_deleted",
            Self::Request { source, .. } => match code(source) {
                Some(403) => "forbidden",
                Some(404) => "not_found",
                Some(409) => "conflict",
                Some(400 | 422) => "refused",
                Some(429) => "throttled",
                Some(_) => "server_error",
                None => "connection",
            },
            Self::NoAnswer { .. } => "no_answer",
            Self::Encode(_) => "encode",
        }
    }

    pub fn retry(&self) -> Retry {
        match self {
            Self::Invalid(_) | Self::Malformed(_) | Self::Encode(_) => Retry::AwaitChange,
            _ => Retry::BackOff,
        }
    }

    /// Whether it is told in a condition, after so many failures: what passes by itself is not.
    pub(crate) fn is_told(&self, failures: u32) -> bool {
        let passes = match self {
            Self::Request { source, .. } => !matches!(code(source), Some(400 | 403 | 404 | 422)),
            Self::BeingDeleted { .. } | Self::NoAnswer { .. } => true,
            _ => false,
        };
        !passes || failures >= PATIENT
    }
}

/// After so many failures in a row an error is no longer taken for one that passes by itself.
const PATIENT: u32 = 3;

/// The status code of the apiserver's answer; none: there was none.
pub(crate) fn code(error: &kube::Error) -> Option<u16> {
    if let kube::Error::Api(status) = error { Some(status.code) } else { None }
}

/// The apiserver's own words are enough.
fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// How long messages in events may be.
pub(crate) fn note(text: &str) -> String {
    text.chars().take(1000).collect()
}
