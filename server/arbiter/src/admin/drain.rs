//! `POST /drain`: what TERM does.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::ask::ask;
use super::{AdminState, Command};
use crate::problem::Problem;

/// 202: draining has begun; the server ends when its requests are answered.
pub(super) async fn drain(State(state): State<AdminState>) -> Result<Response, Problem> {
    let view = ask(&state, Command::Drain).await?;
    Ok((StatusCode::ACCEPTED, Json(view)).into_response())
}
