//! `GET /workers` and `GET /workers/{slot}/stack`.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::ask::{ask_within, status};
use super::{AdminState, Command, Detail, StackError};
use crate::problem::{Kind, Problem};

/// The run loop gives a worker 2 s; this is for the answer to arrive.
const STACK_DEADLINE: Duration = Duration::from_secs(3);

pub(super) async fn workers(State(state): State<AdminState>) -> Result<Response, Problem> {
    let status = status(&state, Detail::Full).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(status)).into_response())
}

pub(super) async fn stack(
    State(state): State<AdminState>,
    Path(slot): Path<String>,
) -> Result<Response, Problem> {
    let Ok(slot) = slot.parse::<u32>() else {
        return Err(Problem::blank(
            StatusCode::NOT_FOUND,
            "The slot must be a number; GET /workers lists the slots.",
        ));
    };
    let answer = ask_within(&state, STACK_DEADLINE, |reply| Command::Stack(slot, reply)).await;
    match answer.unwrap_or(Err(StackError::Silent)) {
        Ok(text) => {
            let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")];
            Ok((headers, text).into_response())
        }
        Err(StackError::NoWorker(slot)) => Err(Problem::blank(
            StatusCode::NOT_FOUND,
            format!("There is no worker in slot {slot}; GET /workers lists the slots."),
        )),
        Err(StackError::Silent) => Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            Kind::WorkerSilent,
            format!("The worker in slot {slot} wrote no stack within 2 s."),
        )),
        Err(StackError::Failed(why)) => Err(Problem::blank(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("No stack from slot {slot}: {why}."),
        )),
    }
}
