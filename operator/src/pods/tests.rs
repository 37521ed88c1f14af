use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use podicorn_admin_api::Reason;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn view() -> ScaleView {
    ScaleView {
        target: 2,
        base: 2,
        min: 1,
        max: 4,
        reason: Reason::Configuration,
        clamped: None,
        lease: None,
        last_epoch: None,
        decision: None,
    }
}

/// A server with these routes, and where it is.
async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn open(address: SocketAddr) -> Endpoint {
    Endpoint { address, tokens: None }
}

fn with_tokens(address: SocketAddr, current: &str, previous: Option<&str>) -> Endpoint {
    let previous = previous.map(|token| Token::new(token).unwrap());
    let tokens = Tokens::new(Token::new(current).unwrap(), previous);
    Endpoint { address, tokens: Some(Arc::new(tokens)) }
}

/// Wants `Bearer right`; tells what it was asked in the field `clamped`.
async fn guarded(request: Request) -> Response {
    let token = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    if token != Some("Bearer right") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let trace = request.headers().get("traceparent").map(|value| value.to_str().unwrap().to_owned());
    Json(ScaleView { clamped: trace, ..view() }).into_response()
}

#[tokio::test]
async fn the_token_before_opens_a_pod_that_has_not_heard_of_the_new_one() {
    let address = serve(Router::new().route("/scale", any(guarded))).await;
    let client = PodClient::default();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let seen = client.scale(&with_tokens(address, "new", Some("right")), Some(trace)).await.unwrap();
    assert_eq!(seen.clamped.as_deref(), Some(trace));
    assert_eq!(client.scale(&with_tokens(address, "right\n", None), None).await.unwrap(), view());
    let error = client.scale(&with_tokens(address, "new", Some("old")), None).await.unwrap_err();
    assert!(matches!(error, PodError::Unauthorized), "{error}");
    let error = client.scale(&open(address), None).await.unwrap_err();
    assert!(matches!(error, PodError::Unauthorized), "{error}");
}

#[tokio::test]
async fn orders_carry_their_body_and_steps_are_posted() {
    async fn put(Json(request): Json<ScaleRequest>) -> Json<ScaleView> {
        Json(ScaleView { target: request.workers, last_epoch: Some(request.epoch), ..view() })
    }
    async fn step(request: Request) -> Json<StepView> {
        let message = format!("{} {}", request.method(), request.uri());
        Json(StepView { scale: view(), changed: true, message })
    }
    let router = Router::new()
        .route("/scale", get(|| async { Json(view()) }).put(put))
        .route("/scale/ttin", any(step))
        .route("/scale/ttou", any(step));
    let pod = open(serve(router).await);
    let client = PodClient::default();
    let request = ScaleRequest { workers: 3, min: None, max: None, epoch: 1 << 33, ttl_seconds: 15 };
    let seen = client.put_scale(&pod, &request, None).await.unwrap();
    assert_eq!((seen.target, seen.last_epoch), (3, Some(1 << 33)));
    for (step, path) in [(Step::Ttin, "POST /scale/ttin"), (Step::Ttou, "POST /scale/ttou")] {
        assert_eq!(client.step(&pod, step, None).await.unwrap().message, path);
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let answers = [
        (
            409,
            json!({"type": "tag:podicorn.io,2026:problem/stale-epoch", "detail": "", "currentEpoch": 7}),
            "stale_epoch",
        ),
        (409, json!({"type": "tag:podicorn.io,2026:problem/epoch-reused", "currentEpoch": 9}), "stale_epoch"),
        (503, json!({"type": "tag:podicorn.io,2026:problem/draining"}), "draining"),
        (
            503,
            json!({"type": "tag:podicorn.io,2026:problem/loop-silent", "detail": "It is silent."}),
            "refused",
        ),
        (404, json!("nothing"), "refused"),
        (200, json!({"target": "many"}), "garbage"),
    ];
    for (status, body, kind) in answers {
        let router = Router::new()
            .route("/scale", get(move || async move { (StatusCode::from_u16(status).unwrap(), Json(body)) }));
        let error = PodClient::default().scale(&open(serve(router).await), None).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status} {error}");
    }
}

#[tokio::test]
async fn what_is_endless_or_silent_or_absent_is_an_error() {
    let endless = Router::new().route("/scale", get(|| async { Body::from(vec![b' '; 1 << 20]) }));
    let client = PodClient::new(Duration::from_millis(200));
    let error = client.scale(&open(serve(endless).await), None).await.unwrap_err();
    assert!(matches!(error, PodError::TooLarge), "{error}");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let error = client.scale(&open(address), None).await.unwrap_err();
    assert!(matches!(error, PodError::TimedOut(_)), "{error}");
    drop(silent);
    let error = client.scale(&open(address), None).await.unwrap_err();
    assert!(matches!(error, PodError::Connect(_)), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"220 mail.example.org ESMTP\r\n").await;
        }
    });
    let error = PodClient::default().scale(&open(address), None).await.unwrap_err();
    assert!(matches!(error, PodError::Exchange(_)), "{error}");
}

/// Counts connections.
async fn counting(limit: Option<u32>) -> (SocketAddr, Arc<AtomicU32>) {
    let connections = Arc::new(AtomicU32::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut answered = 0;
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let body = serde_json::to_string(&view()).unwrap();
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all((head + &body).as_bytes()).await.unwrap();
                    answered += 1;
                    if limit == Some(answered) {
                        return;
                    }
                }
            });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn connections_are_used_again_until_the_pod_is_gone() {
    let (address, connections) = counting(None).await;
    let client = PodClient::default();
    for _ in 0..5 {
        client.scale(&open(address), None).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    client.keep(&HashSet::from([address]));
    client.scale(&open(address), None).await.unwrap();
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    client.keep(&HashSet::new());
    client.scale(&open(address), None).await.unwrap();
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_that_the_pod_has_closed_is_replaced() {
    let (address, connections) = counting(Some(1)).await;
    let client = PodClient::default();
    for _ in 0..3 {
        client.scale(&open(address), None).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

async fn close(State(hits): State<Arc<AtomicU32>>) -> Response {
    hits.fetch_add(1, Ordering::SeqCst);
    ([("connection", "close")], Json(view())).into_response()
}

#[tokio::test]
async fn a_pod_that_says_goodbye_is_called_anew() {
    let hits = Arc::new(AtomicU32::new(0));
    let router = Router::new().route("/scale", get(close)).with_state(Arc::clone(&hits));
    let pod = open(serve(router).await);
    let client = PodClient::default();
    for _ in 0..2 {
        client.scale(&pod, None).await.unwrap();
    }
    assert!(client.idle().is_empty());
    assert_eq!(hits.load(Ordering::SeqCst), 2);
}

#[test]
fn tokens_are_not_shown() {
    let tokens = Tokens::new(Token::new("secret").unwrap(), Some(Token::new("older").unwrap()));
    let shown = format!("{tokens:?}");
    assert!(!shown.contains("secret") && !shown.contains("older"), "{shown}");
    assert!(Token::new("two\nlines").is_err());
}
