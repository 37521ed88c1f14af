use std::path::PathBuf;

use axum::http::HeaderName;
use axum::http::header::AUTHORIZATION;

use super::*;
use crate::admin::TokenGate;
use crate::admin::routes::{ENDPOINTS, Openness};
use crate::token::TokenFile;

struct Secret(PathBuf);

impl Secret {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("podicorn-access-{}-{name}", std::process::id()));
        std::fs::write(&path, "sesame\n").unwrap();
        Self(path)
    }

    fn access(&self) -> Access {
        Access::Token(TokenGate::new(TokenFile::open(&self.0).unwrap()))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn with(method: &str, path: &str, fields: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = request(method, path);
    if fields.iter().any(|(name, _)| *name == "host") {
        request.headers_mut().remove(HOST);
    }
    for (name, value) in fields {
        request.headers_mut().append(HeaderName::from_static(name), value.parse().unwrap());
    }
    request
}

/// Every endpoint with a path that exists.
fn every_endpoint() -> impl Iterator<Item = (&'static str, String, Openness)> {
    ENDPOINTS.iter().map(|endpoint| {
        let method = match endpoint.verb.key() {
            "put" => "PUT",
            "post" => "POST",
            _ => "GET",
        };
        (method, endpoint.path.replace("{slot}", "0"), endpoint.openness)
    })
}

#[tokio::test]
async fn off_loopback_without_a_token_only_health_and_metrics() {
    let (pool, router) = api(Access::HealthOnly);
    for (method, path, openness) in every_endpoint() {
        let answer = send(&router, request(method, &path)).await;
        if openness == Openness::Open {
            assert_eq!(answer.status, 200, "{path}");
        } else {
            let problem = answer.problem(403);
            assert!(problem["detail"].as_str().unwrap().contains("--admin-token-file"), "{path}: {problem}");
        }
    }
    assert!(pool.lock().unwrap().heard.is_empty());
}

#[tokio::test]
async fn the_unix_socket_needs_nothing() {
    let (_pool, router) = api(Access::Trusted);
    for (method, path, _) in every_endpoint() {
        // Without the body: that of the stream has no end.
        let status = router.clone().oneshot(request(method, &path)).await.unwrap().status();
        assert!(status.is_success() || status == 415, "{method} {path}: {status}");
    }
}

#[tokio::test]
async fn with_a_token_file_every_guarded_route_wants_the_token() {
    let secret = Secret::new("every");
    let (pool, router) = api(secret.access());
    for (method, path, openness) in every_endpoint() {
        let answer = send(&router, request(method, &path)).await;
        if openness != Openness::Guarded {
            assert_eq!(answer.status, 200, "{path}");
            continue;
        }
        answer.problem(401);
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"podicorn\"", "{path}");
    }
    assert!(pool.lock().unwrap().heard.is_empty(), "nothing was done for strangers");
}

#[tokio::test]
async fn wrong_tokens_are_refused_and_the_right_one_is_not() {
    let secret = Secret::new("wrong");
    let (_pool, router) = api(secret.access());
    for field in ["Bearer sesam", "Bearer sesames", "Bearer SESAME", "Bearer sesame,", "Bearer x"] {
        let answer = send(&router, with("GET", "/workers", &[("authorization", field)])).await;
        answer.problem(401);
        assert!(answer.header("www-authenticate").contains("invalid_token"), "{field}");
    }
    for field in ["sesame", "Basic sesame", "Bearer", "Bearer ", "Bearersesame"] {
        let answer = send(&router, with("GET", "/workers", &[("authorization", field)])).await;
        answer.problem(401);
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"podicorn\"", "{field}");
    }
    let twice = [("authorization", "Bearer sesame"), ("authorization", "Bearer sesame")];
    send(&router, with("GET", "/workers", &twice)).await.problem(401);
    for field in ["Bearer sesame", "bearer sesame", "BEARER  sesame"] {
        // A foreign Host does no harm to who knows the token.
        let fields = [("authorization", field), ("host", "pod.example.org")];
        assert_eq!(send(&router, with("GET", "/workers", &fields)).await.status, 200, "{field}");
    }
}

#[tokio::test]
async fn a_rotated_token_counts_at_once_and_a_broken_file_keeps_the_last() {
    let secret = Secret::new("rotate");
    let (_pool, router) = api(secret.access());
    let status = async |token: &str| {
        let mut request = request("GET", "/workers");
        request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        send(&router, request).await.status.as_u16()
    };
    assert_eq!(status("sesame").await, 200);
    std::fs::write(&secret.0, "open-sesame\n").unwrap();
    assert_eq!((status("open-sesame").await, status("sesame").await), (200, 401));
    std::fs::write(&secret.0, "").unwrap();
    assert_eq!((status("open-sesame").await, status("").await), (200, 401));
    std::fs::remove_file(&secret.0).unwrap();
    assert_eq!(status("open-sesame").await, 200);
    std::fs::write(&secret.0, "third").unwrap();
    assert_eq!((status("third").await, status("open-sesame").await), (200, 401));
}

#[tokio::test]
async fn loopback_without_a_token_is_open_to_loopback_names_only() {
    let (pool, router) = api(Access::Loopback);
    for host in ["localhost", "localhost:9099", "127.0.0.1:9099", "[::1]:9099", "dev.localhost"] {
        assert_eq!(send(&router, with("GET", "/workers", &[("host", host)])).await.status, 200, "{host}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""] {
        let answer = send(&router, with("POST", "/reload", &[("host", host)])).await;
        let problem = answer.problem(421);
        assert!(problem["detail"].as_str().unwrap().contains("--admin-token-file"), "{host}");
    }
    send(&router, with("GET", "/workers", &[("host", "localhost"), ("host", "localhost")]))
        .await
        .problem(421);
    // The absolute form of the target names a host too.
    send(&router, request("GET", "http://evil.example/workers")).await.problem(421);
    let mut without = request("GET", "/workers");
    without.headers_mut().remove(HOST);
    send(&router, without).await.problem(421);
    // Health is open to any name.
    assert_eq!(send(&router, with("GET", "/readyz", &[("host", "pod.example")])).await.status, 200);
    assert!(pool.lock().unwrap().heard.is_empty());
}

#[tokio::test]
async fn web_pages_of_other_origins_give_no_orders() {
    let (pool, router) = api(Access::Loopback);
    for fields in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:1"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        send(&router, with("POST", "/reload", &[fields])).await.problem(403);
    }
    assert!(pool.lock().unwrap().heard.is_empty());
    let own = [("origin", "http://127.0.0.1:9099"), ("sec-fetch-site", "same-origin")];
    assert_eq!(send(&router, with("POST", "/reload", &own)).await.status, 202);
    assert_eq!(send(&router, request("POST", "/reload")).await.status, 202);
    assert_eq!(pool.lock().unwrap().heard, ["Reload", "Reload"]);
}
