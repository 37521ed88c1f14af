use std::sync::Mutex;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use podicorn_policy::{Cap, Decision, Inputs};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use super::*;

/// A server with so many workers and so much to do.
fn view(workers: u32, load: f64) -> ScaleView {
    let busy = load.min(f64::from(workers));
    let inputs = Inputs {
        busy,
        waiting: load - busy,
        wait_seconds: (load - busy) / 10.0,
        offered_fast: load,
        arrivals_per_second: load * 10.0,
        completions_per_second: busy * 10.0,
        service_seconds: Some(0.1),
        ready: workers,
        ..Inputs::default()
    };
    let decision = Decision {
        target: workers,
        current: workers,
        direction: Direction::Hold,
        reason: podicorn_policy::Reason::Steady,
        message: "2 workers and work for 1.0: that fits.".to_owned(),
        cap: Cap { workers, reason: None },
        vetoes: Vec::new(),
        inputs,
    };
    ScaleView {
        target: workers,
        base: workers,
        min: 1,
        max: 64,
        reason: Reason::Configuration,
        clamped: None,
        lease: None,
        last_epoch: None,
        decision: Some(decision),
    }
}

type Server = Arc<Mutex<ScaleView>>;

async fn answer(State(server): State<Server>, headers: HeaderMap) -> Response {
    if headers.get("authorization").is_none_or(|value| value != "Bearer open sesame") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(server.lock().unwrap().clone()).into_response()
}

/// The sidecar of a server that hears signals, and what it has heard.
async fn beside(
    first: ScaleView,
    deaf: bool,
) -> (Sidecar<impl FnMut(Step) -> Result<(), SignalError>>, Server, Arc<Mutex<Vec<Step>>>, tempfile::TempDir)
{
    let server: Server = Arc::new(Mutex::new(first));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = listener.local_addr().unwrap();
    let router = Router::new().route("/scale", get(answer)).with_state(Arc::clone(&server));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let directory = tempfile::tempdir().unwrap();
    let token_file = directory.path().join("token");
    std::fs::write(&token_file, "open sesame\n").unwrap();
    let settings = SidecarSettings {
        admin,
        token_file: Some(token_file),
        min: 1,
        max: 6,
        tick: Duration::from_secs(1),
        pid: None,
        traceparent: || None,
    };
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (ears, of_server) = (Arc::clone(&heard), Arc::clone(&server));
    let signal = move |step| {
        ears.lock().unwrap().push(step);
        if !deaf {
            let mut server = of_server.lock().unwrap();
            let load = server.decision.as_ref().unwrap().inputs.offered_fast;
            let workers = if step == Step::Ttin { server.base + 1 } else { server.base - 1 };
            *server = view(workers, load);
        }
        Ok(())
    };
    let metrics = Metrics::register(&mut Registry::default());
    (Sidecar::new(settings, metrics, signal), server, heard, directory)
}

/// Ticks, each a second after the last.
async fn seconds<S: FnMut(Step) -> Result<(), SignalError>>(sidecar: &mut Sidecar<S>, number: u64) {
    for _ in 0..number {
        sidecar.began -= Duration::from_secs(1);
        sidecar.tick().await;
    }
}

#[tokio::test]
async fn a_busy_server_hears_ttin_until_there_are_enough_and_ttou_when_there_are_too_many() {
    let (mut sidecar, server, heard, _directory) = beside(view(2, 3.3), false).await;
    seconds(&mut sidecar, 10).await;
    assert_eq!(server.lock().unwrap().base, 5);
    assert_eq!(*heard.lock().unwrap(), [Step::Ttin; 3]);
    assert_eq!(sidecar.condition, Some(Condition::Scaling));
    let calm = view(5, 0.2);
    *server.lock().unwrap() = calm;
    seconds(&mut sidecar, 200).await;
    assert_eq!(server.lock().unwrap().base, 1);
    assert_eq!(heard.lock().unwrap()[3..], [Step::Ttou; 4]);
}

#[tokio::test]
async fn the_upper_bound_holds() {
    let (mut sidecar, server, _, _directory) = beside(view(2, 10.0), false).await;
    seconds(&mut sidecar, 20).await;
    assert_eq!(server.lock().unwrap().base, 6);
}

#[tokio::test]
async fn the_next_signal_waits_until_the_last_was_heard() {
    let (mut sidecar, server, heard, _directory) = beside(view(2, 3.3), true).await;
    seconds(&mut sidecar, 5).await;
    assert_eq!(server.lock().unwrap().base, 2);
    assert_eq!(heard.lock().unwrap().len(), 1, "one try in a tick, and one tick that wants more");
    assert!(matches!(sidecar.condition, Some(Condition::NotHeard(_))), "{:?}", sidecar.condition);
}

#[tokio::test]
async fn who_scales_by_itself_or_for_another_is_left_alone() {
    let by_itself = ScaleView { reason: Reason::Policy, ..view(2, 10.0) };
    let (mut sidecar, server, heard, _directory) = beside(by_itself, false).await;
    seconds(&mut sidecar, 10).await;
    assert!(matches!(sidecar.condition, Some(Condition::LeftAlone(_))));
    let mut leased = serde_json::to_value(view(2, 10.0)).unwrap();
    leased["lease"] =
        serde_json::json!({"workers": 2, "epoch": 5, "ttlSeconds": 15, "remainingSeconds": 4.0});
    *server.lock().unwrap() = serde_json::from_value(leased).unwrap();
    seconds(&mut sidecar, 10).await;
    assert!(matches!(sidecar.condition, Some(Condition::LeftAlone(_))));
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_of_and_a_new_one_is_read() {
    let (mut sidecar, _, _, directory) = beside(view(2, 1.0), false).await;
    std::fs::write(directory.path().join("token"), "wrong").unwrap();
    seconds(&mut sidecar, 1).await;
    assert_eq!(sidecar.condition, Some(Condition::Silent("unauthorized")));
    std::fs::write(directory.path().join("token"), "open sesame").unwrap();
    seconds(&mut sidecar, 1).await;
    assert_eq!(sidecar.condition, Some(Condition::Scaling));
}
