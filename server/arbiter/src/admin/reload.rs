//! `POST /reload`: what HUP does.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::ask::ask;
use super::scale::draining;
use super::{AdminState, Command, Refusal};
use crate::problem::Problem;

/// 202: the reload has begun. Its outcome is in `reloads` of `GET /workers`.
pub(super) async fn reload(State(state): State<AdminState>) -> Result<Response, Problem> {
    match ask(&state, Command::Reload).await? {
        Ok(view) => Ok((StatusCode::ACCEPTED, Json(view)).into_response()),
        Err(Refusal::Draining) => Err(draining()),
    }
}
