use std::pin::Pin;
use std::task::{Context, Poll};

use super::*;

const ORDER: &str = r#"{"workers":5,"min":1,"max":8,"epoch":4294967297,"ttlSeconds":30}"#;

async fn put(router: &Router, body: &str) -> Answer {
    send(router, put_json("/scale", body.to_owned())).await
}

#[tokio::test]
async fn an_absolute_target_is_taken_shown_and_renewed() {
    let (_pool, router) = api(Access::Trusted);
    let before = get(&router, "/scale").await.json();
    assert_eq!((&before["target"], &before["base"], &before["lease"]), (&2.into(), &2.into(), &Value::Null));
    let answer = put(&router, ORDER).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let view = get(&router, "/scale").await.json();
    for view in [answer.json(), view] {
        assert_eq!(
            (&view["target"], &view["reason"], &view["lastEpoch"]),
            (&5.into(), &"lease".into(), &4_294_967_297_u64.into())
        );
        assert_eq!((&view["lease"]["workers"], &view["lease"]["ttlSeconds"]), (&5.into(), &30.into()));
        assert!(view["lease"]["remainingSeconds"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(put(&router, ORDER).await.status, 200, "the same again renews");
}

#[tokio::test]
async fn epochs_conflict() {
    let (_pool, router) = api(Access::Trusted);
    assert_eq!(put(&router, ORDER).await.status, 200);
    let problem = put(&router, &ORDER.replace('5', "6")).await.problem(409);
    assert!(problem["type"].as_str().unwrap().ends_with("epoch-reused"), "{problem}");
    let problem = put(&router, &ORDER.replace("4294967297", "4294967296")).await.problem(409);
    assert!(problem["type"].as_str().unwrap().ends_with("stale-epoch"), "{problem}");
    assert_eq!(problem["currentEpoch"], 4_294_967_297_u64);
    assert_eq!(get(&router, "/scale").await.json()["target"], 5);
}

#[tokio::test]
async fn wrong_fields_are_all_named() {
    let (pool, router) = api(Access::Trusted);
    for (body, pointers) in [
        ("{}", vec!["/workers", "/epoch", "/ttlSeconds"]),
        (r#"{"workers":0,"epoch":1,"ttlSeconds":1}"#, vec!["/workers"]),
        (r#"{"workers":65,"epoch":1,"ttlSeconds":1}"#, vec!["/workers"]),
        (r#"{"workers":2,"min":3,"max":2,"epoch":1,"ttlSeconds":1}"#, vec!["/min"]),
        (r#"{"workers":2,"epoch":1,"ttlSeconds":0}"#, vec!["/ttlSeconds"]),
        (r#"{"workers":-1,"epoch":1.5,"ttlSeconds":"30"}"#, vec!["/workers", "/epoch", "/ttlSeconds"]),
        (
            r#"{"workers":null,"min":[],"epoch":true,"ttlSeconds":{}}"#,
            vec!["/workers", "/min", "/epoch", "/ttlSeconds"],
        ),
        (r#"{"workers":4294967296,"epoch":1,"ttlSeconds":1}"#, vec!["/workers"]),
        (r#"{"workers":1,"epoch":18446744073709551616,"ttlSeconds":1}"#, vec!["/epoch"]),
        (r#"{"workers":1,"epoch":1,"ttlSeconds":1,"wokers":2,"a/b~c":1}"#, vec!["/wokers", "/a~1b~0c"]),
        (r#"{"workers":1,"epoch":1,"ttlSeconds":1,"workers":2}"#, vec!["/workers"]),
        (r#"{"workers":1,"epoch":1,"ttl_seconds":1}"#, vec!["/ttlSeconds", "/ttl_seconds"]),
    ] {
        let problem = put(&router, body).await.problem(422);
        let found: Vec<&str> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["pointer"].as_str().unwrap())
            .collect();
        assert_eq!(found, pointers, "{body}: {problem}");
    }
    for body in ["[]", "7", "\"x\"", "null"] {
        put(&router, body).await.problem(422);
    }
    assert_eq!(pool.lock().unwrap().scale.target(), 2);
    let null_bounds =
        r#"{"workers":1,"min":null,"max":null,"epoch":18446744073709551615,"ttlSeconds":86400}"#;
    assert_eq!(put(&router, null_bounds).await.status, 200);
}

#[tokio::test]
async fn bodies_must_be_json_and_small() {
    let (_pool, router) = api(Access::Trusted);
    for body in ["", "{", "{'workers':1}", r#"{"workers":1,}"#, "{} x", "\u{feff}{}"] {
        put(&router, body).await.problem(400);
    }
    send(&router, put_json("/scale", vec![b'{', b'"', 0xff, b'"', b':', b'1', b'}'])).await.problem(400);
    // Nesting without end is refused, not followed.
    put(&router, &"[".repeat(10_000)).await.problem(400);
    let large = format!("{{\"workers\":1{}}}", " ".repeat(20_000));
    put(&router, &large).await.problem(413);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json", ""] {
        let mut request = put_json("/scale", ORDER);
        request.headers_mut().insert(CONTENT_TYPE, kind.parse().unwrap());
        let answer = send(&router, request).await;
        answer.problem(415);
        assert_eq!(answer.header("accept"), "application/json");
    }
    let mut request = put_json("/scale", ORDER);
    request.headers_mut().remove(CONTENT_TYPE);
    send(&router, request).await.problem(415);
    for kind in ["application/json; charset=utf-8", "Application/JSON"] {
        let mut request = put_json("/scale", ORDER);
        request.headers_mut().insert(CONTENT_TYPE, kind.parse().unwrap());
        assert_eq!(send(&router, request).await.status, 200, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_given_up() {
    let (_pool, router) = api(Access::Trusted);
    let mut request = put_json("/scale", "");
    *request.body_mut() = Body::new(Never);
    send(&router, request).await.problem(408);
}

/// A body of which nothing arrives.
struct Never;

impl axum::body::HttpBody for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn steps_say_what_they_did() {
    let (pool, router) = api(Access::Trusted);
    let view = send(&router, request("POST", "/scale/ttin")).await.json();
    assert_eq!((&view["target"], &view["changed"]), (&3.into(), &true.into()));
    assert_eq!(view["message"], "The target is now 3.");
    put(&router, ORDER).await;
    let view = send(&router, request("POST", "/scale/ttou")).await.json();
    assert_eq!((&view["target"], &view["base"]), (&5.into(), &2.into()));
    assert!(view["message"].as_str().unwrap().contains("A lease is in force"), "{view}");
    assert_eq!(pool.lock().unwrap().heard, ["Ttin", "Ttou"]);
}

#[tokio::test]
async fn a_server_that_shuts_down_takes_no_orders() {
    let (pool, router) = api(Access::Trusted);
    pool.lock().unwrap().status.phase = Phase::Draining;
    for request in [
        put_json("/scale", ORDER),
        request("POST", "/scale/ttin"),
        request("POST", "/scale/ttou"),
        request("POST", "/reload"),
    ] {
        let problem = send(&router, request).await.problem(503);
        assert!(problem["type"].as_str().unwrap().ends_with("draining"), "{problem}");
    }
    assert_eq!(get(&router, "/scale").await.status, 200);
}
