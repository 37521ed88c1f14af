//! `podicorn-operator run` and `sidecar`: puts the parts together.
//!
//! Contract: the port is bound first, so that probes are answered from the start; then comes the question who leads; only a
//! leader watches and writes. [`operator`] returns when it was told to end, with the Lease given back, or with the error
//! for which the process must end: without the Lease not another write is made.

mod fleet;
mod shutdown;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{Method, Request};
use kube::Client;
use kube::client::{Body, ClientBuilder};
use kube::runtime::events::{Recorder, Reporter};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::BoxError;
use tower::filter::FilterLayer;

use crate::autoscale::{self, AutoscaleSettings, Snapshots};
use crate::cli::{RunOptions, SidecarOptions};
use crate::controller::{self, Context, ControllerError, Scope, Stores};
use crate::lease::{Candidate, Fence, Leadership, LeaseError};
use crate::serve::{self, Health, Pages, Stage};
use crate::sidecar::{self, SidecarSettings};
use crate::telemetry;
use fleet::Watched;
use shutdown::{Shutdown, SignalError};

/// What was begun may take this long to end.
const LAST_WORDS: Duration = Duration::from_secs(8);
/// The name under which metrics and Events are found.
const PREFIX: &str = "podicorn_operator";
const CONTROLLER: &str = "podicorn-operator";

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen at {address}: {source}; --bind names another address")]
    Bind { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Signals(#[from] SignalError),
    #[error("no cluster is configured: {0}. Set KUBECONFIG, or run in a pod with a service account")]
    Configuration(#[from] kube::config::InferConfigError),
    #[error("cannot make a client of the cluster: {0}")]
    Client(#[from] kube::Error),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Controller(#[from] ControllerError),
    #[error("the autoscaler has ended")]
    AutoscalerEnded,
    #[error("the port {0} is not served any more: {1}")]
    Port(SocketAddr, String),
}

/// Runs the operator until TERM or INT, or until it must not go on.
pub async fn operator(options: RunOptions) -> Result<(), RunError> {
    let shutdown = Shutdown::on_signals()?;
    let mut registry = Registry::default();
    let reconciler = Arc::new(controller::Metrics::default());
    reconciler.register(&mut registry);
    let own = registry.sub_registry_with_prefix(PREFIX);
    let autoscaler = autoscale::Metrics::register(own);
    let leader = Gauge::<i64>::default();
    own.register("leader", "1 while this replica leads", leader.clone());
    let health = Arc::new(Health::default());
    let snapshots = Arc::new(Snapshots::default());
    let shown = Arc::clone(&snapshots);
    let pages = Pages {
        health: Arc::clone(&health),
        registry: Arc::new(registry),
        snapshots: Some(Arc::new(move |namespace, name| shown.yaml(namespace, name))),
    };
    let mut port = Port::open(options.bind, pages).await?;

    let configuration = kube::Config::infer().await?;
    let client = Client::try_from(configuration.clone())?;
    let leadership = tokio::select! {
        leadership = lead(&client, &options, &health) => leadership,
        () = shutdown.told() => return Ok(()),
        error = port.ended() => return Err(error),
    };
    leader.set(1);
    health.set(Stage::Reading);
    let epoch_base = leadership.as_ref().map_or(0, Leadership::transitions) << 32;
    let fence = leadership.as_ref().map_or_else(Fence::open, Leadership::fence);
    let acting = Acting {
        client: fenced(configuration, fence)?,
        reconciler,
        autoscaler,
        snapshots,
        settings: AutoscaleSettings {
            tick: options.tick,
            epoch_base,
            instance: options.identity.clone(),
            traceparent: telemetry::traceparent,
        },
        scope: if options.namespaces.is_empty() { Scope::All } else { Scope::Namespaces(options.namespaces) },
    };
    let mut held = leadership;
    let outcome = tokio::select! {
        outcome = acting.run(&health, &shutdown) => outcome,
        error = lost(&mut held) => Err(error.into()),
        error = port.ended() => Err(error),
    };
    leader.set(0);
    health.set(Stage::Stopping);
    // After a failure, too: another replica need not wait. Not after a loss: then it is not ours to give.
    if let Some(leadership) = held.filter(|_| !matches!(outcome, Err(RunError::Lease(_)))) {
        leadership.release().await;
    }
    outcome
}

/// A client whose writes pass the fence, if it is open.
fn fenced(configuration: kube::Config, fence: Fence) -> Result<Client, kube::Error> {
    let pass = move |request: Request<Body>| {
        if *request.method() != Method::GET {
            fence.check(Instant::now())?;
        }
        Ok::<_, BoxError>(request)
    };
    Ok(ClientBuilder::try_from(configuration)?.with_layer(&FilterLayer::new(pass)).build())
}

/// None: nobody else is asked.
async fn lead(client: &Client, options: &RunOptions, health: &Health) -> Option<Leadership> {
    let lease = options.lease.as_ref()?;
    let candidate = Candidate::new(client.clone(), &lease.namespace, &lease.name, &options.identity);
    Some(candidate.acquire(|| health.set(Stage::Waiting)).await)
}

/// Never returns where there is no Lease to lose.
async fn lost(leadership: &mut Option<Leadership>) -> LeaseError {
    match leadership {
        Some(leadership) => leadership.hold().await,
        None => std::future::pending().await,
    }
}

/// What a leader does.
struct Acting {
    client: Client,
    reconciler: Arc<controller::Metrics>,
    autoscaler: autoscale::Metrics,
    snapshots: Arc<Snapshots>,
    settings: AutoscaleSettings,
    scope: Scope,
}

impl Acting {
    async fn run(self, health: &Health, shutdown: &Shutdown) -> Result<(), RunError> {
        let Self { client, reconciler, autoscaler, snapshots, settings, scope } = self;
        let stores = Arc::new(Stores::default());
        let reporter =
            Reporter { controller: CONTROLLER.to_owned(), instance: Some(settings.instance.clone()) };
        let recorder = Recorder::new(client.clone(), reporter);
        let context = Arc::new(Context::new(client.clone(), recorder, reconciler, Arc::clone(&stores)));
        let mut controller =
            pin!(controller::run(context, scope, || health.set(Stage::Acting), shutdown.told()));
        // It acts on what is there, not on what has been read so far.
        let mut autoscaler = pin!(async {
            stores.synced().await;
            let fleet = Watched(Arc::clone(&stores));
            autoscale::run(client, fleet, settings, autoscaler, snapshots, shutdown.told()).await;
        });
        tokio::select! {
            ended = &mut controller => {
                ended?;
            }
            () = &mut autoscaler => {
                if !shutdown.was_told() {
                    return Err(RunError::AutoscalerEnded);
                }
                health.set(Stage::Stopping);
                if let Ok(ended) = tokio::time::timeout(LAST_WORDS, controller).await {
                    ended?;
                } else {
                    tracing::warn!("a reconcile took longer than {} s to end", LAST_WORDS.as_secs());
                }
            }
        }
        Ok(())
    }
}

/// Scales the server beside it until TERM or INT.
pub async fn beside_a_server(options: SidecarOptions) -> Result<(), RunError> {
    let shutdown = Shutdown::on_signals()?;
    let mut registry = Registry::default();
    let metrics = autoscale::Metrics::register(registry.sub_registry_with_prefix(PREFIX));
    let health = Arc::new(Health::default());
    let pages = Pages { health: Arc::clone(&health), registry: Arc::new(registry), snapshots: None };
    let mut port = Port::open(options.bind, pages).await?;
    let SidecarOptions { admin, token_file, min, max, tick, pid, bind: _ } = options;
    let settings =
        SidecarSettings { admin, token_file, min, max, tick, pid, traceparent: telemetry::traceparent };
    health.set(Stage::Acting);
    tokio::select! {
        () = sidecar::run(settings, metrics, shutdown.told()) => Ok(()),
        error = port.ended() => Err(error),
    }
}

/// The operator's own port, served until the end.
struct Port {
    address: SocketAddr,
    task: JoinHandle<io::Result<()>>,
}

impl Port {
    async fn open(address: SocketAddr, pages: Pages) -> Result<Self, RunError> {
        let listener =
            TcpListener::bind(address).await.map_err(|source| RunError::Bind { address, source })?;
        tracing::info!(%address, "serving /livez, /readyz and /metrics");
        // It ends with the process, no sooner: a probe is answered until then.
        Ok(Self { address, task: tokio::spawn(serve::serve(listener, pages, std::future::pending())) })
    }

    async fn ended(&mut self) -> RunError {
        let why = match (&mut self.task).await {
            Ok(Ok(())) => "it ended".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        RunError::Port(self.address, why)
    }
}
