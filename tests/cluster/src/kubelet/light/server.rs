//! The admin API's `/scale` over a simulation.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use podicorn_admin_api::{ScaleRequest, ScaleView};
use podicorn_arbiter::scale::ScaleError;
use serde_json::json;
use tokio::net::TcpListener;

use super::Behaviour;
use super::simulation::Simulation;

type Shared = State<(Arc<Mutex<Simulation>>, Behaviour)>;

pub(super) async fn run(listener: TcpListener, simulation: Arc<Mutex<Simulation>>, behaviour: Behaviour) {
    let routes = Router::new()
        .route("/scale", get(view).put(put))
        .route("/scale/ttin", post(ttin))
        .route("/scale/ttou", post(ttou))
        .layer(middleware::from_fn_with_state(behaviour, misbehave))
        .with_state((simulation, behaviour));
    // It serves until its task is aborted.
    let _ = axum::serve(listener, routes).await;
}

async fn misbehave(State(behaviour): State<Behaviour>, request: Request, next: Next) -> Response {
    if !request.headers().contains_key(AUTHORIZATION) {
        return (StatusCode::UNAUTHORIZED, "no token").into_response();
    }
    match behaviour {
        Behaviour::Honest | Behaviour::Lying => {}
        Behaviour::Garbled => return "<html>no pod of ours</html>".into_response(),
        Behaviour::Slow => tokio::time::sleep(Duration::from_secs(20)).await,
        Behaviour::Silent => std::future::pending().await,
    }
    next.run(request).await
}

async fn view(State((simulation, behaviour)): Shared) -> Json<ScaleView> {
    Json(told(held(&simulation).view(), behaviour))
}

async fn put(State((simulation, behaviour)): Shared, Json(request): Json<ScaleRequest>) -> Response {
    match held(&simulation).apply(request) {
        Ok(view) => Json(told(view, behaviour)).into_response(),
        Err(error) => {
            let (status, current) = match error {
                ScaleError::OlderEpoch { current, .. } => (StatusCode::CONFLICT, Some(current)),
                ScaleError::EpochReused { epoch } => (StatusCode::CONFLICT, Some(epoch)),
                ScaleError::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, None),
                ScaleError::Draining => (StatusCode::SERVICE_UNAVAILABLE, None),
            };
            let problem = json!({"title": "refused", "detail": error.to_string(), "currentEpoch": current});
            (status, Json(problem)).into_response()
        }
    }
}

async fn ttin(State((simulation, _)): Shared) -> Response {
    Json(held(&simulation).move_by(1)).into_response()
}

async fn ttou(State((simulation, _)): Shared) -> Response {
    Json(held(&simulation).move_by(-1)).into_response()
}

fn told(mut view: ScaleView, behaviour: Behaviour) -> ScaleView {
    if behaviour == Behaviour::Lying
        && let Some(decision) = &mut view.decision
    {
        decision.inputs.busy = 1e300;
        decision.inputs.waiting = -4e12;
        decision.inputs.offered_fast = 1e300;
        decision.inputs.offered_slow = 1e300;
        decision.inputs.arrivals_per_second = 1e300;
        decision.inputs.service_seconds = Some(1e300);
        decision.inputs.demand_erlangs = Some(1e300);
        decision.target = u32::MAX;
        decision.inputs.desired = u32::MAX;
    }
    view
}

fn held(simulation: &Mutex<Simulation>) -> MutexGuard<'_, Simulation> {
    simulation.lock().unwrap_or_else(PoisonError::into_inner)
}
