//! `GET /metrics`: `OpenMetrics`, or Prometheus' older text where the client asks for that.

use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::ask::status;
use super::{AdminState, Detail};
use crate::problem::Problem;
use crate::telemetry::exposition::{CLASSIC, Form, OPENMETRICS, classic};
use crate::telemetry::metrics::render;

/// The end mark of `OpenMetrics`.
const END: &str = "# EOF\n";

pub(super) async fn metrics(
    State(state): State<AdminState>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let status = status(&state, Detail::Summary).await?;
    let mut text = render(&status, state.watchers.watched()).map_err(|error| failed(&error.to_string()))?;
    if let Some(metrics) = state.app_metrics {
        let app = tokio::task::spawn_blocking(move || metrics.render()).await;
        let app = app.map_err(|error| failed(&error.to_string()))?;
        text.truncate(text.trim_end_matches(END).len());
        text.push_str(&app);
        text.push_str(END);
    }
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (form, text) = match Form::of(accepted) {
        Form::OpenMetrics => (OPENMETRICS, text),
        Form::Classic => (CLASSIC, classic(&text)),
    };
    Ok(([(CONTENT_TYPE, form), (CACHE_CONTROL, "no-store"), (VARY, "Accept")], text).into_response())
}

fn failed(why: &str) -> Problem {
    Problem::blank(StatusCode::INTERNAL_SERVER_ERROR, format!("The metrics could not be rendered: {why}."))
}
