//! `GET /metrics`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::ask::status;
use super::{AdminState, Detail};
use crate::problem::Problem;
use crate::telemetry::metrics::{CONTENT_TYPE as OPENMETRICS, render};

pub(super) async fn metrics(State(state): State<AdminState>) -> Result<Response, Problem> {
    let status = status(&state, Detail::Summary).await?;
    let text = render(&status).map_err(|error| {
        Problem::blank(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("The metrics could not be rendered: {error}."),
        )
    })?;
    Ok(([(CONTENT_TYPE, OPENMETRICS), (CACHE_CONTROL, "no-store")], text).into_response())
}
