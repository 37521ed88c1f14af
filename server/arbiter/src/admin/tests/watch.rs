//! The stream, as a client reads it.

use super::*;
use crate::admin::Watched;
use crate::admin::watch::{NDJSON, PLACES};

/// A router whose loop is ours to end.
fn server() -> (SharedPool, AdminState, Router) {
    let (pool, commands) = fake_loop();
    let state = AdminState::new(commands, Access::Trusted);
    (pool, state.clone(), router(state))
}

async fn open(router: &Router) -> Body {
    let response = router.clone().oneshot(request("GET", "/watch")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[CONTENT_TYPE], NDJSON);
    response.into_body()
}

async fn line(body: &mut Body) -> Option<Value> {
    let bytes = body.frame().await?.unwrap().into_data().unwrap();
    assert_eq!(bytes.iter().position(|byte| *byte == b'\n'), Some(bytes.len() - 1), "one line a frame");
    Some(serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_line_a_second_the_first_at_once() {
    let (pool, _, router) = server();
    let mut body = open(&router).await;
    let began = tokio::time::Instant::now();
    assert_eq!(line(&mut body).await.unwrap()["phase"], "running");
    assert_eq!(began.elapsed().as_secs(), 0);
    pool.lock().unwrap().status.phase = Phase::Draining;
    assert_eq!(line(&mut body).await.unwrap()["phase"], "draining");
    assert_eq!(began.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_later_gets_the_newest_at_once() {
    let (_pool, _, router) = server();
    let mut first = open(&router).await;
    line(&mut first).await.unwrap();
    let began = tokio::time::Instant::now();
    let mut second = open(&router).await;
    line(&mut second).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn places_are_bounded_counted_and_come_free() {
    let (_pool, state, router) = server();
    let mut bodies = Vec::new();
    for _ in 0..PLACES {
        let mut body = open(&router).await;
        line(&mut body).await.unwrap();
        bodies.push(body);
    }
    let refused = get(&router, "/watch").await;
    refused.problem(503);
    assert_eq!(refused.header("retry-after"), "5");
    let places = PLACES as u64;
    assert_eq!(state.watchers.watched(), Watched { open: places, opened: places, refused: 1 });
    drop(bodies);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(state.watchers.watched(), Watched { open: 0, opened: places, refused: 1 });
    line(&mut open(&router).await).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_loses_the_place() {
    let (_pool, state, router) = server();
    let body = open(&router).await;
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    assert_eq!(state.watchers.watched().open, 0);
    drop(body);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_after_a_quarter_of_an_hour() {
    let (_pool, _, router) = server();
    let mut body = open(&router).await;
    let mut lines = 0;
    while line(&mut body).await.is_some() {
        lines += 1;
    }
    assert!((890..=901).contains(&lines), "{lines}");
}

#[tokio::test]
async fn the_end_of_the_loop_completes_the_body() {
    let (commands, inbox) = mpsc::channel::<Command>(64);
    let state = AdminState::new(commands, Access::Trusted);
    let body = open(&router(state)).await;
    drop(inbox);
    assert!(body.collect().await.unwrap().to_bytes().is_empty());
}
