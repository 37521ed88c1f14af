//! `/livez`, `/startupz`, `/readyz`: for the kubelet, in plain text.
//!
//! 200 `ok`, or 503 with one line per failed check. With `?verbose` every check has a line. A busy pool is ready: the
//! questions are whether the loop turns and whether somebody is there to serve, not whether they are idle.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::ask::{ask, status};
use super::{AdminState, Command, Detail};
use crate::status::{Phase, Status};

/// One question and its answer: None is yes, Some says why not.
struct Check {
    name: &'static str,
    failure: Option<String>,
}

impl Check {
    fn new(name: &'static str, failure: Option<String>) -> Self {
        Self { name, failure }
    }
}

pub(super) async fn livez(State(state): State<AdminState>, RawQuery(query): RawQuery) -> Response {
    let turns = ask(&state, Command::Livez).await;
    report("livez", &[run_loop(turns.err())], query.as_deref())
}

pub(super) async fn startupz(State(state): State<AdminState>, RawQuery(query): RawQuery) -> Response {
    let checks = match status(&state, Detail::Summary).await {
        Ok(status) => vec![run_loop(None), startup(&status)],
        Err(problem) => vec![run_loop(Some(problem))],
    };
    report("startupz", &checks, query.as_deref())
}

pub(super) async fn readyz(State(state): State<AdminState>, RawQuery(query): RawQuery) -> Response {
    let checks = match status(&state, Detail::Summary).await {
        Ok(status) => vec![run_loop(None), not_draining(&status), workers(&status)],
        Err(problem) => vec![run_loop(Some(problem))],
    };
    report("readyz", &checks, query.as_deref())
}

fn run_loop(problem: Option<crate::problem::Problem>) -> Check {
    Check::new("run-loop", problem.map(|problem| problem.detail().to_owned()))
}

fn startup(status: &Status) -> Check {
    let failure = (!status.startup_done).then(|| {
        let mut reason = "no worker has been ready yet".to_owned();
        if let Some(error) = &status.boot.last_error {
            reason = format!("{reason}; the last boot failed: {}", first_line(&error.message));
        }
        if let Some(seconds) = status.boot.backoff_seconds {
            reason = format!("{reason}; next try in {seconds:.1} s");
        }
        reason
    });
    Check::new("startup", failure)
}

fn not_draining(status: &Status) -> Check {
    Check::new(
        "not-draining",
        (status.phase == Phase::Draining).then(|| "the server is shutting down".to_owned()),
    )
}

fn workers(status: &Status) -> Check {
    let failure = (status.ready_workers() == 0).then(|| {
        let (all, target) = (status.workers.len(), status.scale.target);
        match &status.boot.last_error {
            Some(error) if status.boot.consecutive_failures > 0 => format!(
                "no worker is ready ({all} of {target} exist); the last boot failed: {}",
                first_line(&error.message)
            ),
            _ => format!("no worker is ready ({all} of {target} exist)"),
        }
    });
    Check::new("workers", failure)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn is_verbose(query: Option<&str>) -> bool {
    query.is_some_and(|query| {
        query.split('&').any(|pair| pair.split_once('=').map_or(pair, |(name, _)| name) == "verbose")
    })
}

fn report(name: &str, checks: &[Check], query: Option<&str>) -> Response {
    let passed = checks.iter().all(|check| check.failure.is_none());
    let body = if is_verbose(query) {
        verbose(name, checks, passed)
    } else if passed {
        "ok\n".to_owned()
    } else {
        checks
            .iter()
            .filter_map(|check| Some(format!("{}: {}\n", check.name, check.failure.as_ref()?)))
            .collect()
    };
    let status = if passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

fn verbose(name: &str, checks: &[Check], passed: bool) -> String {
    let lines = checks.iter().map(|check| match &check.failure {
        None => format!("[+]{} ok\n", check.name),
        Some(why) => format!("[-]{} failed: {why}\n", check.name),
    });
    let verdict = if passed { "passed" } else { "failed" };
    lines.chain([format!("{name} check {verdict}\n")]).collect()
}
