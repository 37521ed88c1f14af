//! `GET|PUT /scale` and `POST /scale/ttin|ttou`.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tracing::Span;
use tracing::field::Empty;

use super::ask::ask;
use super::body::{JsonObject, read_object};
use super::{AdminState, Command, Refusal, Step};
use crate::problem::{FieldError, Kind, Problem};
use crate::scale::{ScaleError, ScaleRequest};
use crate::telemetry::traces::follow_caller;

pub(super) async fn get(State(state): State<AdminState>) -> Result<Response, Problem> {
    let view = ask(&state, Command::ScaleView).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

pub(super) async fn put(State(state): State<AdminState>, request: Request) -> Result<Response, Problem> {
    let span = order_span(request.headers());
    let order = parse(read_object(request).await?)?;
    match ask(&state, |reply| Command::Scale(order, span, reply)).await? {
        Ok(view) => Ok(Json(view).into_response()),
        Err(error) => Err(refused(error)),
    }
}

pub(super) async fn ttin(State(state): State<AdminState>, headers: HeaderMap) -> Result<Response, Problem> {
    step(&state, Step::Ttin, &headers).await
}

pub(super) async fn ttou(State(state): State<AdminState>, headers: HeaderMap) -> Result<Response, Problem> {
    step(&state, Step::Ttou, &headers).await
}

async fn step(state: &AdminState, step: Step, headers: &HeaderMap) -> Result<Response, Problem> {
    let span = order_span(headers);
    match ask(state, |reply| Command::Step(step, span, reply)).await? {
        Ok(view) => Ok(Json(view).into_response()),
        Err(Refusal::Draining) => Err(draining()),
    }
}

/// The span of an order about the worker count, a child of the caller's. The run loop fills it in.
fn order_span(headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        "scale",
        otel.kind = "server",
        podicorn.scale.target = Empty,
        podicorn.scale.previous = Empty,
        podicorn.scale.reason = Empty,
        podicorn.scale.epoch = Empty,
        podicorn.scale.clamped = Empty,
        otel.status_description = Empty,
    );
    follow_caller(&span, headers);
    span
}

pub(super) fn draining() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Kind::Draining,
        "The server is shutting down and takes no orders.",
    )
}

/// Bounds that need the number of slots are the machine's to check; here it is names and types.
fn parse(mut object: JsonObject) -> Result<ScaleRequest, Problem> {
    let workers = object.required("workers");
    let min = object.optional("min");
    let max = object.optional("max");
    let epoch = object.required("epoch");
    let ttl_seconds = object.required("ttlSeconds");
    object.finish()?;
    let (Some(workers), Some(epoch), Some(ttl_seconds)) = (workers, epoch, ttl_seconds) else {
        return Err(Problem::blank(StatusCode::UNPROCESSABLE_ENTITY, "A field is missing."));
    };
    Ok(ScaleRequest { workers, min, max, epoch, ttl_seconds })
}

fn refused(error: ScaleError) -> Problem {
    let detail = format!("{error}.");
    match error {
        ScaleError::OlderEpoch { current, .. } => {
            Problem::new(StatusCode::CONFLICT, Kind::StaleEpoch, detail).with_member("currentEpoch", current)
        }
        ScaleError::EpochReused { epoch } => {
            Problem::new(StatusCode::CONFLICT, Kind::EpochReused, detail).with_member("currentEpoch", epoch)
        }
        ScaleError::Invalid { field, message } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, Kind::InvalidBody, detail)
                .with_errors(vec![FieldError::new(field, message)])
        }
        ScaleError::Draining => draining(),
    }
}
