//! One question to the run loop, with a deadline.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::oneshot;

use super::{AdminState, Command, Detail};
use crate::problem::{Kind, Problem};
use crate::status::Status;

/// How long the loop may take. It answers from memory, so a second means that it stands still.
pub(super) const LOOP_DEADLINE: Duration = Duration::from_secs(1);

/// Sends a command and waits for its answer; no answer is a 503.
pub(super) async fn ask<T>(
    state: &AdminState,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, Problem> {
    ask_within(state, LOOP_DEADLINE, command).await.ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Kind::LoopSilent,
            format!("The arbiter's run loop did not answer within {} s.", LOOP_DEADLINE.as_secs()),
        )
    })
}

/// As [`ask`] with a deadline of its own; None is no answer.
pub(super) async fn ask_within<T>(
    state: &AdminState,
    deadline: Duration,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Option<T> {
    let exchange = async {
        let (reply, answer) = oneshot::channel();
        state.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    };
    tokio::time::timeout(deadline, exchange).await.ok().flatten()
}

pub(super) async fn status(state: &AdminState, detail: Detail) -> Result<Box<Status>, Problem> {
    ask(state, |reply| Command::Status(detail, reply)).await
}
