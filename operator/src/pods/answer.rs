//! What an answer means.

use std::io;
use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::exchange::Answer;

/// Why a pod did not do or say what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("the exchange failed: {0}")]
    Exchange(#[source] hyper::Error),
    /// Neither the token in force nor the one before.
    #[error("the pod refuses the token")]
    Unauthorized,
    /// Somebody with a later epoch has given orders.
    #[error("the pod has accepted epoch {current} before")]
    StaleEpoch { current: u64 },
    #[error("the pod is shutting down")]
    Draining,
    #[error("{status}: {detail}")]
    Refused { status: u16, detail: String },
    #[error("the answer is longer than any that makes sense")]
    TooLarge,
    #[error("the answer makes no sense: {0}")]
    Garbage(String),
}

impl PodError {
    /// For metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::TimedOut(_) => "timeout",
            Self::Exchange(_) => "exchange",
            Self::Unauthorized => "unauthorized",
            Self::StaleEpoch { .. } => "stale_epoch",
            Self::Draining => "draining",
            Self::Refused { .. } => "refused",
            Self::TooLarge | Self::Garbage(_) => "garbage",
        }
    }
}

/// The members of a problem (RFC 9457) that matter here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
    current_epoch: Option<u64>,
}

pub(super) fn view<T: DeserializeOwned>(answer: &Answer) -> Result<T, PodError> {
    if answer.status.is_success() {
        return serde_json::from_slice(&answer.body).map_err(|error| PodError::Garbage(error.to_string()));
    }
    if answer.unauthorized() {
        return Err(PodError::Unauthorized);
    }
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
    Err(match (answer.status, problem.current_epoch) {
        (StatusCode::CONFLICT, Some(current)) => PodError::StaleEpoch { current },
        (StatusCode::SERVICE_UNAVAILABLE, _) if problem.kind.ends_with("/draining") => PodError::Draining,
        (status, _) => {
            let said = if problem.detail.is_empty() { problem.title } else { problem.detail };
            let phrase = status.canonical_reason().unwrap_or("refused");
            let detail = if said.is_empty() { phrase.to_owned() } else { said };
            PodError::Refused { status: status.as_u16(), detail }
        }
    })
}
