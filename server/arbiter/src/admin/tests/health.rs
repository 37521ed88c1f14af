use super::*;
use crate::status::{Boot, WorkerState};

#[tokio::test]
async fn a_healthy_pool_is_live_started_and_ready() {
    let (_pool, router) = api(Access::HealthOnly);
    for path in ["/livez", "/startupz", "/readyz"] {
        let answer = get(&router, path).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok\n"), "{path}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let verbose = get(&router, "/readyz?verbose").await;
    assert_eq!(verbose.text(), "[+]run-loop ok\n[+]not-draining ok\n[+]workers ok\nreadyz check passed\n");
    assert_eq!(get(&router, "/livez?a=b&verbose=1").await.text(), "[+]run-loop ok\nlivez check passed\n");
}

#[tokio::test]
async fn a_busy_pool_is_ready() {
    let (pool, router) = api(Access::HealthOnly);
    pool.lock().unwrap().status.workers = vec![sample::worker(0, WorkerState::Busy)];
    assert_eq!(get(&router, "/readyz").await.status, 200);
}

#[tokio::test]
async fn draining_is_live_but_not_ready() {
    let (pool, router) = api(Access::HealthOnly);
    pool.lock().unwrap().status.phase = Phase::Draining;
    let answer = get(&router, "/readyz").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (503, "not-draining: the server is shutting down\n"));
    assert_eq!(get(&router, "/livez").await.status, 200);
    assert_eq!(get(&router, "/startupz").await.status, 200);
}

#[tokio::test]
async fn without_a_ready_worker_the_reason_is_told() {
    let (pool, router) = api(Access::HealthOnly);
    {
        let status = &mut pool.lock().unwrap().status;
        status.workers = [WorkerState::Starting, WorkerState::Draining, WorkerState::Exiting]
            .into_iter()
            .zip(0..)
            .map(|(state, slot)| sample::worker(slot, state))
            .collect();
        status.startup_done = false;
    }
    let answer = get(&router, "/readyz?verbose").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.text(),
        "[+]run-loop ok\n[+]not-draining ok\n\
         [-]workers failed: no worker is ready (3 of 3 exist); the last boot failed: worker died by SIGSEGV\n\
         readyz check failed\n"
    );
    let answer = get(&router, "/startupz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.text(),
        "startup: no worker has been ready yet; the last boot failed: worker died by SIGSEGV; next try in 1.5 s\n"
    );
    pool.lock().unwrap().status.boot = Boot::default();
    assert_eq!(get(&router, "/startupz").await.text(), "startup: no worker has been ready yet\n");
}

/// The clock is tokio's, stopped: the deadline passes as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_loop_that_stands_still_is_not_live() {
    let (commands, inbox) = mpsc::channel(1);
    let router = router(AdminState::new(commands, Access::Trusted));
    for path in ["/livez", "/readyz", "/startupz"] {
        let answer = get(&router, path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.text(), "run-loop: The arbiter's run loop did not answer within 1 s.\n");
    }
    for path in ["/metrics", "/workers", "/scale", "/config"] {
        let problem = get(&router, path).await.problem(503);
        assert!(problem["type"].as_str().unwrap().ends_with("loop-silent"), "{path}");
    }
    drop(inbox);
    assert_eq!(get(&router, "/livez").await.status, 503);
}
