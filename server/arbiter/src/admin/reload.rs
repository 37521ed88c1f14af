//! `POST /reload`: what HUP does.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::ask::ask;
use super::scale::draining;
use super::{AdminState, Command, Refusal};
use crate::arbiter::reload_span;
use crate::problem::Problem;
use crate::telemetry::traces::follow_caller;

/// 202: the reload has begun. Its outcome is in `reloads` of `GET /workers`.
pub(super) async fn reload(State(state): State<AdminState>, headers: HeaderMap) -> Result<Response, Problem> {
    let span = reload_span();
    follow_caller(&span, &headers);
    match ask(&state, |reply| Command::Reload(span, reply)).await? {
        Ok(view) => Ok((StatusCode::ACCEPTED, Json(view)).into_response()),
        Err(Refusal::Draining) => Err(draining()),
    }
}
