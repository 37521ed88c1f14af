use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;

async fn ask(pages: &Pages, target: &str) -> (StatusCode, String) {
    let request = Request::get(target).body(Body::empty()).unwrap();
    let response = router(pages.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn pages() -> Pages {
    let snapshots: Snapshots =
        Arc::new(|namespace, name| (name == "shop").then(|| format!("app: {namespace}/{name}\n")));
    Pages {
        health: Arc::default(),
        registry: Arc::new(Registry::with_prefix("podicorn_operator")),
        snapshots: Some(snapshots),
    }
}

#[tokio::test]
async fn ready_follows_the_stage_and_live_does_not() {
    let pages = pages();
    for (stage, expected) in [
        (Stage::Starting, 503),
        (Stage::Waiting, 200),
        (Stage::Reading, 503),
        (Stage::Acting, 200),
        (Stage::Stopping, 503),
    ] {
        pages.health.set(stage);
        assert_eq!(ask(&pages, "/readyz").await.0, expected, "{stage:?}");
        assert_eq!(ask(&pages, "/livez").await, (StatusCode::OK, "ok".to_owned()));
    }
}

#[tokio::test]
async fn verbose_names_the_checks() {
    let pages = pages();
    pages.health.set(Stage::Reading);
    let (_, text) = ask(&pages, "/readyz?verbose").await;
    assert_eq!(text, "[+]apiserver ok\n[-]watches failed\n[+]running ok\nstage: reading\n");
}

#[tokio::test]
async fn metrics_end_as_openmetrics_does() {
    let (status, text) = ask(&pages(), "/metrics").await;
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn snapshots_of_known_apps() {
    let pages = pages();
    assert_eq!(ask(&pages, "/snapshot/a/shop").await, (StatusCode::OK, "app: a/shop\n".to_owned()));
    let (status, text) = ask(&pages, "/snapshot/a/none").await;
    assert_eq!(status, 404);
    assert!(text.contains("none in a"), "{text}");
}
