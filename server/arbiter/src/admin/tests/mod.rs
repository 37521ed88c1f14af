//! The router driven in process, with a task in place of the run loop.

mod access;
mod health;
mod pool;
mod routes;
mod scale;
mod server;
mod watch;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::{Access, AdminState, Command, DrainView, Refusal, ReloadView, StackError, router};
use crate::problem::PROBLEM_JSON;
use crate::scale::{Scale, ScaleError, Workers};
use crate::status::{Phase, Status, sample};

/// The pool behind the fake loop; tests change it as they like.
#[derive(Debug)]
struct Pool {
    status: Status,
    scale: Scale,
    /// What orders have come.
    heard: Vec<String>,
}

type SharedPool = Arc<Mutex<Pool>>;

/// Starts a fake loop and returns its pool and the way to it.
fn fake_loop() -> (SharedPool, mpsc::Sender<Command>) {
    let pool = Arc::new(Mutex::new(Pool {
        status: sample::status(),
        scale: Scale::new(Workers::Fixed(2), 64),
        heard: Vec::new(),
    }));
    let (commands, mut inbox) = mpsc::channel(64);
    let shared = Arc::clone(&pool);
    tokio::spawn(async move {
        while let Some(command) = inbox.recv().await {
            answer(&mut shared.lock().unwrap(), command);
        }
    });
    (pool, commands)
}

fn answer(pool: &mut Pool, command: Command) {
    let now = Instant::now();
    let draining = pool.status.phase == Phase::Draining;
    match command {
        Command::Livez(reply) => drop(reply.send(())),
        Command::Status(_, reply) => drop(reply.send(Box::new(pool.status.clone()))),
        Command::ScaleView(reply) => drop(reply.send(pool.scale.view(now))),
        Command::Scale(request, _, reply) => {
            let result = if draining { Err(ScaleError::Draining) } else { pool.scale.apply(request, now) };
            let _ = reply.send(result);
        }
        Command::Step(step, _, reply) => {
            pool.heard.push(format!("{step:?}"));
            let result =
                if draining { Err(Refusal::Draining) } else { Ok(pool.scale.step(step.delta(), now)) };
            let _ = reply.send(result);
        }
        Command::Drain(reply) => {
            let _ = reply.send(DrainView { already: false, graceful_timeout_seconds: 30.0 });
        }
        Command::Reload(_, reply) => {
            pool.heard.push("Reload".to_owned());
            let view = ReloadView { generation: 3, queued: false };
            let _ = reply.send(if draining { Err(Refusal::Draining) } else { Ok(view) });
        }
        Command::Config(reply) => {
            let _ = reply.send(serde_json::json!({"workers": {"value": 2, "source": "command line"}}));
        }
        Command::Stack(slot, reply) => {
            let _ = reply.send(match slot {
                0 => Ok("Thread 0x1 (most recent call first):\n".to_owned()),
                1 => Err(StackError::Silent),
                2 => Err(StackError::Failed("broken pipe".to_owned())),
                slot => Err(StackError::NoWorker(slot)),
            });
        }
    }
}

/// A router with a fake loop behind it.
fn api(access: Access) -> (SharedPool, Router) {
    let (pool, commands) = fake_loop();
    (pool, router(AdminState::new(commands, access)))
}

/// A whole answer.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The answer is a problem with this status, complete and consistent; returns its members.
    #[track_caller]
    fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), PROBLEM_JSON);
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
        }
        problem
    }
}

fn request(method: &str, path: &str) -> Request<Body> {
    let method: Method = method.parse().unwrap();
    Request::builder().method(method).uri(path).header(HOST, "127.0.0.1:9099").body(Body::empty()).unwrap()
}

fn put_json(path: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = request("PUT", path);
    *request.body_mut() = body.into();
    request.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    request
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

async fn get(router: &Router, path: &str) -> Answer {
    send(router, request("GET", path)).await
}
