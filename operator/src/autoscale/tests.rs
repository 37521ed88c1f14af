//! The shell: real HTTP to pods on loopback, and an apiserver that notes what it is asked.

use std::sync::Mutex;

use axum::extract::State;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::BodyExt;
use kube::client::Body;
use podicorn_admin_api::{LeaseView, Reason as Voice, ScaleRequest, ScaleView, StepView};
use podicorn_policy::{Cap, Decision, Direction, Inputs, Reason};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::api::{Commands, GunicornApp};
use crate::pods::{Token, Tokens};

/// A pod that takes orders as the arbiter does.
#[derive(Debug, Clone)]
struct Pod {
    base: u32,
    load: f64,
    accepted: Option<ScaleRequest>,
    steps: Vec<&'static str>,
    traces: Vec<String>,
}

type Shared = Arc<Mutex<Pod>>;

impl Pod {
    fn view(&self) -> ScaleView {
        let target = self.accepted.map_or(self.base, |request| request.workers);
        let inputs = Inputs {
            busy: self.load.min(f64::from(target)),
            offered_fast: self.load,
            arrivals_per_second: self.load * 10.0,
            completions_per_second: self.load.min(f64::from(target)) * 10.0,
            service_seconds: Some(0.1),
            ready: target,
            ..Inputs::default()
        };
        ScaleView {
            target,
            base: self.base,
            min: 1,
            max: 8,
            reason: Voice::Configuration,
            clamped: None,
            lease: self.accepted.map(|request| LeaseView { request, remaining_seconds: 14.0 }),
            last_epoch: self.accepted.map(|request| request.epoch),
            decision: Some(Decision {
                target,
                current: target,
                direction: Direction::Hold,
                reason: Reason::Leased,
                message: "A lease is in force.".to_owned(),
                cap: Cap { workers: 8, reason: None },
                vetoes: Vec::new(),
                inputs,
            }),
        }
    }
}

fn admitted(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == "Bearer open sesame")
}

async fn read(State(pod): State<Shared>, headers: HeaderMap) -> axum::response::Response {
    if !admitted(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(pod.lock().unwrap().view()).into_response()
}

async fn lease(
    State(pod): State<Shared>,
    headers: HeaderMap,
    Json(request): Json<ScaleRequest>,
) -> axum::response::Response {
    let mut pod = pod.lock().unwrap();
    let current = pod.accepted.map_or(0, |accepted| accepted.epoch);
    if request.epoch < current || (request.epoch == current && pod.accepted != Some(request)) {
        return (StatusCode::CONFLICT, Json(json!({"currentEpoch": current}))).into_response();
    }
    pod.accepted = Some(request);
    pod.traces.extend(headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned()));
    Json(pod.view()).into_response()
}

fn step(pod: &Shared, verb: &'static str) -> Json<StepView> {
    let mut pod = pod.lock().unwrap();
    pod.steps.push(verb);
    pod.base = if verb == "ttin" { pod.base + 1 } else { pod.base - 1 };
    Json(StepView { scale: pod.view(), changed: true, message: String::new() })
}

async fn serve(base: u32, load: f64) -> (SocketAddr, Shared) {
    let pod = Pod { base, load, accepted: None, steps: Vec::new(), traces: Vec::new() };
    let pod = Arc::new(Mutex::new(pod));
    let router = Router::new()
        .route("/scale", get(read).put(lease))
        .route("/scale/ttin", post(|State(pod): State<Shared>| async move { step(&pod, "ttin") }))
        .route("/scale/ttou", post(|State(pod): State<Shared>| async move { step(&pod, "ttou") }))
        .with_state(Arc::clone(&pod));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, pod)
}

/// What the apiserver was asked: method, path with query, body.
type Asked = Arc<Mutex<Vec<(String, String, Value)>>>;

/// Says yes to everything, unless it is down.
fn apiserver(down: Arc<Mutex<bool>>) -> (Client, Asked) {
    let asked: Asked = Arc::default();
    let notes = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (notes, down) = (Arc::clone(&notes), Arc::clone(&down));
        async move {
            let (head, body) = request.into_parts();
            let bytes = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
            let sent: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            notes.lock().unwrap().push((head.method.to_string(), head.uri.to_string(), sent.clone()));
            let (status, answer) = if *down.lock().unwrap() {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "reason": "InternalError", "message": "down"});
                (500, status)
            } else if head.uri.path().ends_with("/status") {
                (200, serde_json::to_value(app()).unwrap())
            } else {
                (200, sent)
            };
            let body = Body::from(serde_json::to_vec(&answer).map_err(std::io::Error::other)?);
            Ok::<_, std::io::Error>(Response::builder().status(status).body(body).unwrap())
        }
    });
    (Client::new(service, "default"), asked)
}

fn app() -> GunicornApp {
    let app = json!({
        "apiVersion": "podicorn.io/v1alpha1",
        "kind": "GunicornApp",
        "metadata": {"name": "shop", "namespace": "prod", "uid": "uid", "generation": 2},
        "spec": {"image": "shop:1", "app": "shop:app", "workers": {"min": 1, "max": 8}},
    });
    serde_json::from_value(app).unwrap()
}

fn seen(pods: &[SocketAddr]) -> AppSeen {
    let pods = pods.iter().enumerate().map(|(number, address)| PodSeen {
        name: format!("shop-{number}"),
        uid: format!("uid-{number}"),
        address: Some(*address),
        ready: true,
    });
    let pods: Vec<PodSeen> = pods.collect();
    AppSeen {
        replicas: u32::try_from(pods.len()).ok(),
        pods,
        tokens: Some(Arc::new(Tokens::new(Token::new("open sesame").unwrap(), None))),
        ..AppSeen::of(&app())
    }
}

struct Cluster(Arc<Mutex<Vec<AppSeen>>>);

impl Fleet for Cluster {
    fn apps(&self) -> Vec<AppSeen> {
        self.0.lock().unwrap().clone()
    }
}

struct Stage {
    autoscaler: Autoscaler<Cluster>,
    apps: Arc<Mutex<Vec<AppSeen>>>,
    asked: Asked,
    down: Arc<Mutex<bool>>,
    registry: Registry,
    snapshots: Arc<Snapshots>,
}

fn stage(apps: Vec<AppSeen>) -> Stage {
    let apps = Arc::new(Mutex::new(apps));
    let down = Arc::default();
    let (client, asked) = apiserver(Arc::clone(&down));
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let settings = AutoscaleSettings {
        tick: Duration::from_secs(2),
        epoch_base: 5 << 32,
        instance: "operator-0".to_owned(),
        traceparent: || Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    };
    let snapshots = Arc::new(Snapshots::default());
    let cluster = Cluster(Arc::clone(&apps));
    let autoscaler = Autoscaler::new(client, cluster, settings, metrics, Arc::clone(&snapshots));
    Stage { autoscaler, apps, asked, down, registry, snapshots }
}

impl Stage {
    /// So many ticks, each 2 s after the last by the policy's clock; what they write is waited for.
    async fn ticks(&mut self, number: usize) {
        for _ in 0..number {
            self.autoscaler.began -= Duration::from_secs(2);
            self.autoscaler.tick().await;
            for desk in self.autoscaler.desks.values_mut() {
                desk.written().await;
            }
        }
    }

    fn take(&self) -> Vec<(String, String, Value)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }
}

#[tokio::test]
async fn pods_get_leases_and_the_apiserver_is_told() {
    let (address, pod) = serve(1, 2.0).await;
    let mut stage = stage(vec![seen(&[address])]);
    stage.ticks(1).await;
    let first = stage.take();
    assert_eq!(first.len(), 1, "{first:?}");
    let (method, uri, body) = &first[0];
    assert_eq!(method, "PATCH");
    assert!(uri.starts_with("/apis/podicorn.io/v1alpha1/namespaces/prod/gunicornapps/shop/status?"), "{uri}");
    assert!(uri.contains("fieldManager=podicorn-autoscaler") && uri.contains("force=true"), "{uri}");
    assert_eq!(body["status"]["workers"], json!({"current": 1, "target": 1, "ready": 1, "text": "1/1"}));
    let fields: Vec<&String> = body["status"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["conditions", "scaling", "workers"]);

    stage.ticks(8).await;
    let request = pod.lock().unwrap().accepted.unwrap();
    assert_eq!((request.workers, request.ttl_seconds, request.epoch >> 32), (3, 15, 5));
    assert!(pod.lock().unwrap().traces.iter().all(|trace| trace.starts_with("00-4bf9")));
    let asked = stage.take();
    let events: Vec<&Value> = asked
        .iter()
        .filter(|(method, uri, _)| {
            method == "POST" && uri.starts_with("/apis/events.k8s.io/v1/namespaces/prod/events")
        })
        .map(|(_, _, body)| body)
        .collect();
    assert_eq!(events.len(), 2, "{asked:?}");
    assert_eq!(events[0]["reason"], "ScaledWorkers");
    assert!(events[0]["note"].as_str().unwrap().starts_with("1 to 2 workers in all. shop-0: 1 to 2: "));
    assert_eq!(events[0]["regarding"]["uid"], "uid");

    stage.ticks(20).await;
    let idle = stage.take();
    assert!(idle.is_empty(), "nothing has changed, and this was written: {idle:?}");
}

#[tokio::test]
async fn signals_are_sent_one_at_a_time_until_there_are_enough() {
    let (address, pod) = serve(2, 3.3).await;
    let mut app = seen(&[address]);
    app.wishes.commands = Commands::Signals;
    let mut stage = stage(vec![app]);
    stage.ticks(10).await;
    let pod = pod.lock().unwrap();
    assert_eq!((pod.base, pod.accepted), (5, None));
    assert_eq!(pod.steps, ["ttin"; 3]);
    let metrics = stage.metrics();
    assert!(metrics.contains("pod_orders_total{kind=\"ttin\",result=\"ok\"} 3"), "{metrics}");
}

#[tokio::test]
async fn a_dead_pod_and_a_silent_one_keep_nobody_from_being_served() {
    let (address, pod) = serve(1, 2.0).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [dead.local_addr().unwrap(), silent.local_addr().unwrap(), address];
    drop(dead);
    let mut stage = stage(vec![seen(&addresses)]);
    stage.ticks(8).await;
    assert_eq!(pod.lock().unwrap().accepted.map(|request| request.workers), Some(3));
    let last = stage.take().into_iter().rev().find(|(_, uri, _)| uri.contains("/status?")).unwrap().2;
    let reachable = &last["status"]["conditions"][1];
    assert_eq!(reachable["reason"], "SomePodsDoNotAnswer");
    let message = reachable["message"].as_str().unwrap();
    assert!(message.contains("shop-0: cannot be connected to; shop-1: does not answer in time"), "{message}");
    let metrics = stage.metrics();
    for line in [
        "autoscaled_pods{state=\"reachable\"} 1",
        "autoscaled_pods{state=\"unreachable\"} 2",
        "autoscaled_apps{mode=\"Workers\"} 1",
        "autoscaler_ticks_total 8",
        "app_workers_target{namespace=\"prod\",name=\"shop\"} 3",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn without_an_apiserver_pods_are_served_and_what_could_not_be_written_is_written_later() {
    let (address, pod) = serve(1, 2.0).await;
    let mut stage = stage(vec![seen(&[address])]);
    *stage.down.lock().unwrap() = true;
    stage.ticks(10).await;
    assert_eq!(pod.lock().unwrap().accepted.map(|request| request.workers), Some(3));
    *stage.down.lock().unwrap() = false;
    stage.take();
    stage.ticks(40).await;
    let asked = stage.take();
    let status: Vec<&Value> =
        asked.iter().filter(|(_, uri, _)| uri.contains("/status?")).map(|(_, _, body)| body).collect();
    assert_eq!(status.len(), 1, "{asked:?}");
    assert_eq!(status[0]["status"]["workers"]["text"], "3/3");
}

#[tokio::test]
async fn pods_are_asked_of_the_scale_subresource() {
    let (address, _pod) = serve(8, 7.9).await;
    let mut app = seen(&[address]);
    app.wishes.mode = Mode::Operator;
    app.wishes.max_pods = Some(5);
    let mut stage = stage(vec![app]);
    stage.ticks(8).await;
    let asked = stage.take();
    let scales: Vec<&(String, String, Value)> =
        asked.iter().filter(|(_, uri, _)| uri.contains("/deployments/shop/scale?")).collect();
    assert_eq!(scales[0].0, "PATCH");
    assert!(scales[0].1.starts_with("/apis/apps/v1/namespaces/prod/"), "{scales:?}");
    assert!(scales[0].1.contains("fieldManager=podicorn-autoscaler"), "{scales:?}");
    assert_eq!(scales[0].2["spec"], json!({"replicas": 1}));
    let more = scales.iter().find(|(_, _, body)| body["spec"]["replicas"] != 1).unwrap();
    assert_eq!(more.2["spec"], json!({"replicas": 2}));
    assert_eq!(more.2["kind"], "Scale");
}

#[tokio::test]
async fn what_is_known_can_be_asked_for_until_the_app_is_gone() {
    let (address, _pod) = serve(1, 2.0).await;
    let mut stage = stage(vec![seen(&[address])]);
    stage.ticks(5).await;
    let yaml = stage.snapshots.yaml("prod", "shop").unwrap();
    let text = explain(&yaml).unwrap();
    assert!(text.contains("it was told: ") || text.contains("lease of "), "{text}");
    assert!(stage.snapshots.yaml("prod", "else").is_none());
    stage.apps.lock().unwrap().clear();
    stage.ticks(1).await;
    assert!(stage.snapshots.yaml("prod", "shop").is_none());
    assert!(!stage.metrics().contains("app_workers_target{"), "{}", stage.metrics());
}

#[tokio::test]
async fn it_ends_when_it_is_told_to() {
    let (client, _) = apiserver(Arc::default());
    let metrics = Metrics::register(&mut Registry::default());
    let settings = AutoscaleSettings {
        tick: Duration::from_secs(1),
        epoch_base: 0,
        instance: "operator-0".to_owned(),
        traceparent: || None,
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let cluster = Cluster(Arc::default());
    let running = tokio::spawn(run(client, cluster, settings, metrics, Arc::default(), async {
        let _ = stopped.await;
    }));
    stop.send(()).unwrap();
    running.await.unwrap();
}
