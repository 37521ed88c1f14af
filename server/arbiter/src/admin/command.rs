//! What the admin API asks of the run loop.
//!
//! The loop owns the pool; handlers own nothing. Each command carries the sender for its one answer. The loop answers
//! from memory, except [`Command::Stack`], which it may answer later from another task. A sender that is dropped
//! without an answer becomes a 503.

use tokio::sync::oneshot;
use tracing::Span;

use crate::scale::{ScaleError, ScaleRequest, ScaleView, StepView};
use crate::status::Status;

/// One question or order for the run loop.
#[derive(Debug)]
pub enum Command {
    /// Proves that the loop turns.
    Livez(oneshot::Sender<()>),
    Status(Detail, oneshot::Sender<Box<Status>>),
    /// The lease in force and the targets; `GET /scale`.
    ScaleView(oneshot::Sender<ScaleView>),
    /// With the span that the caller's trace goes on in, as for the orders below.
    Scale(ScaleRequest, Span, oneshot::Sender<Result<ScaleView, ScaleError>>),
    Step(Step, Span, oneshot::Sender<Result<StepView, Refusal>>),
    /// Begins a reload and answers at once; its outcome is in [`Status::reloads`].
    Reload(Span, oneshot::Sender<Result<ReloadView, Refusal>>),
    /// Begins to end the server, as TERM does, and answers at once.
    Drain(oneshot::Sender<DrainView>),
    /// The merged settings with the source of each, as the settings table renders them.
    Config(oneshot::Sender<serde_json::Value>),
    /// The stacks of the worker in this slot, as text.
    Stack(u32, oneshot::Sender<Result<String, StackError>>),
}

/// How much of [`Status`] is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// All but the requests: `current_request` and `recent_requests` stay empty. For probes and metrics.
    Summary,
    Full,
}

/// The relative verbs, as the signals of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Ttin,
    Ttou,
}

impl Step {
    pub fn delta(self) -> i64 {
        match self {
            Self::Ttin => 1,
            Self::Ttou => -1,
        }
    }

    /// As the log has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttin => "TTIN",
            Self::Ttou => "TTOU",
        }
    }
}

/// Why an order is not carried out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the server is shutting down")]
    Draining,
}

/// The answer to `POST /reload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReloadView {
    /// The generation that is being started; it serves once its first worker is ready.
    pub generation: u32,
    /// A reload was already running: this one follows it.
    pub queued: bool,
}

/// The answer to `POST /drain`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainView {
    /// The server had been told before: this changed nothing.
    pub already: bool,
    /// After so many seconds from the first order the server ends, answered or not.
    pub graceful_timeout_seconds: f64,
}

/// Why there is no stack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StackError {
    #[error("no worker in slot {0}")]
    NoWorker(u32),
    /// Neither Python nor faulthandler wrote anything in time.
    #[error("the worker did not answer within 2 s")]
    Silent,
    #[error("{0}")]
    Failed(String),
}
