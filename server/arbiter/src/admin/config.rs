//! `GET /config`: the merged settings, each with its source.

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};

use super::ask::ask;
use super::{AdminState, Command};
use crate::problem::Problem;

pub(super) async fn config(State(state): State<AdminState>) -> Result<Response, Problem> {
    let settings = ask(&state, Command::Config).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(settings)).into_response())
}
