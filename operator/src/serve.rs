//! The operator's own port.
//!
//! Contract: plain HTTP, no state is changed here.
//! - `GET /livez`: 200 while the runtime turns and nothing that must run has ended.
//! - `GET /readyz`: 200 once the leadership question has been put and, where this replica leads, all watches have been
//!   read once; 503 before, and while it stops. With `?verbose` a line for each check, as kube-apiserver has it.
//! - `GET /metrics`: OpenMetrics text.
//! - `GET /snapshot/{namespace}/{name}`: what the autoscaler knows of one `GunicornApp`, as YAML for
//!   `podicorn-operator explain`; 404 for apps it does not know, and on a replica that does not lead.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How far this replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Has not reached the apiserver yet.
    Starting = 0,
    /// Another replica leads, and this one waits.
    Waiting = 1,
    /// Leads, and reads what there is.
    Reading = 2,
    /// Leads and acts.
    Acting = 3,
    /// Was told to end.
    Stopping = 4,
}

/// The stage, shared between what runs and what is asked.
#[derive(Debug, Default)]
pub struct Health {
    stage: AtomicU8,
}

impl Health {
    pub fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            1 => Stage::Waiting,
            2 => Stage::Reading,
            3 => Stage::Acting,
            4 => Stage::Stopping,
            _ => Stage::Starting,
        }
    }
}

/// Each check of `/readyz` with its verdict.
fn checks(stage: Stage) -> [(&'static str, bool); 3] {
    [
        ("apiserver", stage != Stage::Starting),
        ("watches", !matches!(stage, Stage::Starting | Stage::Reading)),
        ("running", stage != Stage::Stopping),
    ]
}

/// Gives the snapshot of an app by namespace and name.
pub type Snapshots = Arc<dyn Fn(&str, &str) -> Option<String> + Send + Sync>;

/// What is served.
#[derive(Clone)]
pub struct Pages {
    pub health: Arc<Health>,
    pub registry: Arc<Registry>,
    pub snapshots: Option<Snapshots>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pages").field("health", &self.health).finish_non_exhaustive()
    }
}

/// Serves until `shutdown`; connections in progress are finished.
pub async fn serve(
    listener: TcpListener,
    pages: Pages,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(pages)).with_graceful_shutdown(shutdown).await
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/snapshot/{namespace}/{name}", get(snapshot))
        .with_state(pages)
}

async fn readyz(State(pages): State<Pages>, RawQuery(query): RawQuery) -> Response {
    let stage = pages.health.stage();
    let checks = checks(stage);
    let ready = checks.iter().all(|(_, passed)| *passed);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
    let text = if verbose || !ready {
        let lines = checks.map(|(name, passed)| {
            let (sign, verdict) = if passed { ('+', "ok") } else { ('-', "failed") };
            format!("[{sign}]{name} {verdict}\n")
        });
        lines.concat() + &format!("stage: {stage:?}\n").to_lowercase()
    } else {
        "ok".to_owned()
    };
    (status, [(CACHE_CONTROL, "no-store")], text).into_response()
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &pages.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn snapshot(State(pages): State<Pages>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let found = pages.snapshots.as_ref().and_then(|snapshots| snapshots(&namespace, &name));
    found.map_or_else(
        || {
            let text = format!(
                "This replica has not looked at a GunicornApp {name} in {namespace}. Does it exist, and does this replica \
                 lead (podicorn_operator_leader in /metrics)?\n"
            );
            (StatusCode::NOT_FOUND, text).into_response()
        },
        |text| ([(CONTENT_TYPE, "application/yaml"), (CACHE_CONTROL, "no-store")], text).into_response(),
    )
}

#[cfg(test)]
mod tests;
