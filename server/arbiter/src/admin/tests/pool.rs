use super::*;

#[tokio::test]
async fn workers_shows_the_snapshot() {
    let (_pool, router) = api(Access::Trusted);
    let answer = get(&router, "/workers").await;
    assert_eq!(
        (answer.header("content-type"), answer.header("cache-control")),
        ("application/json", "no-store")
    );
    let json = answer.json();
    assert_eq!(json["startedAt"], "2026-11-22T22:58:40.000Z");
    assert_eq!((&json["phase"], &json["scale"]["target"]), (&"running".into(), &3.into()));
    assert_eq!(json["workers"].as_array().unwrap().len(), 3);
    let worker = &json["workers"][0];
    assert_eq!(
        (&worker["state"], &worker["inFlight"], &worker["pid"]),
        (&"busy".into(), &1.into(), &4000.into())
    );
    assert_eq!(worker["currentRequest"]["path"], "/upload");
    assert_eq!(worker["recentRequests"][0]["startedAt"], "2026-11-22T22:59:40.000Z");
    assert_eq!(json["totals"]["requests"]["2xx"], 100);
    assert_eq!(json["totals"]["restarts"]["bootTimeout"], 3);
    assert_eq!(json["listeners"][0]["acceptQueue"]["length"], 3);
    assert_eq!(json["reloads"]["lastError"]["message"], "SyntaxError: invalid syntax (app.py, line 3)");
}

#[tokio::test]
async fn stacks_of_a_worker() {
    let (_pool, router) = api(Access::Trusted);
    let answer = get(&router, "/workers/0/stack").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "text/plain; charset=utf-8"));
    assert!(answer.text().starts_with("Thread 0x1"));
    get(&router, "/workers/1/stack").await.problem(504);
    get(&router, "/workers/2/stack").await.problem(500);
    get(&router, "/workers/9/stack").await.problem(404);
    for slot in ["x", "-1", "4294967296", "%20"] {
        get(&router, &format!("/workers/{slot}/stack")).await.problem(404);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_nobody_answers_is_a_timeout() {
    let (commands, _inbox) = mpsc::channel(1);
    let router = router(AdminState::new(commands, Access::Trusted));
    get(&router, "/workers/0/stack").await.problem(504);
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let (_pool, router) = api(Access::HealthOnly);
    let answer = get(&router, "/metrics").await;
    assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.text().contains("\npodicorn_workers_target 3\n") && answer.text().ends_with("# EOF\n"));
}

#[tokio::test]
async fn config_is_what_the_loop_says() {
    let (_pool, router) = api(Access::Trusted);
    assert_eq!(get(&router, "/config").await.json()["workers"]["source"], "command line");
}

#[tokio::test]
async fn the_page_brings_everything_with_it() {
    let (_pool, router) = api(Access::Loopback);
    let answer = get(&router, "/").await;
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert!(answer.header("content-security-policy").contains("default-src 'none'"));
    assert_eq!(answer.header("x-frame-options"), "DENY");
    let page = answer.text();
    // The one address in it names the namespace of SVG.
    for (at, _) in page.match_indices("http") {
        assert!(
            page[at..].starts_with("http://www.w3.org/2000/svg"),
            "{}",
            &page[at..page.len().min(at + 60)]
        );
    }
    for external in ["src=", "@import", "innerHTML", "eval(", "EventSource"] {
        assert!(!page.contains(external), "{external}");
    }
}

#[tokio::test]
async fn a_reload_is_begun() {
    let (_pool, router) = api(Access::Trusted);
    let answer = send(&router, request("POST", "/reload")).await;
    assert_eq!((answer.status.as_u16(), answer.json()["generation"].as_u64()), (202, Some(3)));
}
