//! Runs the reconciler.
//!
//! Contract: watches feed the caches ([`Stores`]), which the autoscaler shares, and name the apps that are to be looked at;
//! those are reconciled, a bounded number at a time and never one twice at once. An app that fails is tried again after a time
//! of its own, which grows; no app waits for another. [`run`] ends when it is told to, after what it has begun.

mod app_watch;
mod backoff;
mod batches;
mod child_watch;
mod facts;
mod follow;
mod hpa_watch;
mod installed;
mod key;
mod metrics;
mod optional;
mod pod_watch;
mod scope;
mod stores;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::Client;
use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::controller::{Action, Config, applier};
use kube::runtime::events::Recorder;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::api::GunicornApp;
use crate::reconcile::{self, Error, Kind, Memory, Retry};

pub use facts::{HpaFacts, HpaTarget, PodFacts, PodsSummary};
pub use key::AppKey;
pub use metrics::Metrics;
pub use scope::Scope;
pub use stores::Stores;

/// Apps that are reconciled at a time.
const CONCURRENCY: u16 = 8;
/// How often an app is looked at where nothing is heard of it.
const RESYNC: Duration = Duration::from_secs(300);

/// One app, readable or not.
type Guarded = DeserializeGuard<GunicornApp>;
/// Names the apps that are to be looked at.
type Queue = mpsc::UnboundedSender<ObjectRef<Guarded>>;

/// What all reconciles share.
pub struct Context {
    pub client: Client,
    /// One for the whole process: it knows which events are repeated.
    pub recorder: Recorder,
    pub metrics: Arc<Metrics>,
    pub stores: Arc<Stores>,
    memories: Mutex<HashMap<AppKey, Memory>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Context").field("stores", &self.stores).finish_non_exhaustive()
    }
}

impl Context {
    pub fn new(client: Client, recorder: Recorder, metrics: Arc<Metrics>, stores: Arc<Stores>) -> Self {
        Self { client, recorder, metrics, stores, memories: Mutex::default() }
    }

    /// An app is reconciled by one at a time, so that what is taken is missed by nobody.
    fn take(&self, key: &AppKey) -> Memory {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(key).unwrap_or_default()
    }

    fn put(&self, key: AppKey, memory: Memory) {
        // An app that has gone meanwhile is forgotten.
        if self.stores.has_app(&key) {
            self.memories.lock().unwrap_or_else(PoisonError::into_inner).insert(key, memory);
        }
    }

    fn forget(&self, key: &AppKey) {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn failures(&self, key: &AppKey) -> u32 {
        self.memories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .map_or(1, |memory| memory.failures)
    }
}

/// When to look at an app of which nothing is heard: not at all of them together.
pub(crate) fn resync() -> Duration {
    backoff::jittered(RESYNC, 1.0)
}

/// Why the controller has ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    #[error("the watch of {what} has ended")]
    WatchEnded { what: &'static str },
    #[error("the reconciler has ended")]
    ReconcilerEnded,
}

/// Reconciles all apps of the scope until `shutdown`. `ready` is called once, when everything has been read.
pub async fn run(
    context: Arc<Context>,
    scope: Scope,
    ready: impl FnOnce() + Send,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ControllerError> {
    let mut shutdown = std::pin::pin!(shutdown);
    tokio::select! {
        () = installed::wait(&context.client, &scope) => {}
        () = &mut shutdown => return Ok(()),
    }
    let (queue, names) = mpsc::unbounded_channel();
    let mut watches = watches(&context, &scope, &queue);
    let what_ends = |ended: Option<Result<&'static str, tokio::task::JoinError>>| match ended {
        Some(Ok(what)) => ControllerError::WatchEnded { what },
        _ => ControllerError::WatchEnded { what: "something" },
    };
    tokio::select! {
        () = context.stores.synced() => {}
        ended = watches.join_next() => return Err(what_ends(ended)),
        () = &mut shutdown => return Ok(()),
    }
    tracing::info!(apps = context.stores.apps().len(), "everything has been read");
    ready();

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let names = batches::of(names).take_until(async move {
        let _ = stopped.await;
    });
    let reconciles = applier(
        |object, context| Box::pin(attempt(object, context)),
        error_policy,
        Arc::clone(&context),
        context.stores.guarded(),
        names,
        Config::default().concurrency(CONCURRENCY),
    );
    let mut reconciles = std::pin::pin!(reconciles);
    let mut stop = Some(stop);
    loop {
        tokio::select! {
            // What has come of a reconcile was told where it happened.
            next = reconciles.next() => match (next, &stop) {
                (Some(_), _) => {}
                (None, None) => return Ok(()),
                (None, Some(_)) => return Err(ControllerError::ReconcilerEnded),
            },
            ended = watches.join_next(), if stop.is_some() => return Err(what_ends(ended)),
            () = &mut shutdown, if stop.is_some() => {
                tracing::info!("no reconcile begins any more");
                // The stream ends when those that run have ended.
                stop.take();
            }
        }
    }
}

fn watches(context: &Arc<Context>, scope: &Scope, queue: &Queue) -> JoinSet<&'static str> {
    let mut watches = JoinSet::new();
    watches.spawn(app_watch::run(Arc::clone(context), scope.clone(), queue.clone()));
    for kind in Kind::WATCHED {
        watches.spawn(child_watch::run(Arc::clone(context), scope.clone(), kind, queue.clone()));
    }
    watches.spawn(optional::run(Arc::clone(context), scope.clone(), queue.clone()));
    watches.spawn(pod_watch::run(Arc::clone(context), scope.clone(), queue.clone()));
    watches.spawn(hpa_watch::run(Arc::clone(context), scope.clone(), queue.clone()));
    watches
}

/// One reconcile, measured and told.
async fn attempt(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let key = AppKey::of(&*object);
    let span = tracing::info_span!("reconcile", namespace = key.namespace, app = key.name);
    async move {
        let begun = Instant::now();
        let mut memory = context.take(&key);
        let result = match &object.0 {
            Ok(app) => reconcile::reconcile(app, &context, &mut memory).await,
            Err(invalid) => reconcile::reconcile_malformed(invalid, &key, &context, &mut memory).await,
        };
        match &result {
            Ok(_) => memory.failures = 0,
            Err(error) => {
                memory.failures = memory.failures.saturating_add(1);
                tracing::warn!(failures = memory.failures, label = error.metric_label(), %error, "cannot reconcile");
            }
        }
        context.metrics.reconciled(result.as_ref().err().map(Error::metric_label), begun.elapsed());
        context.put(key, memory);
        result
    }
    .instrument(span)
    .await
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is the applier's")]
fn error_policy(object: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    match error.retry() {
        Retry::AwaitChange => Action::await_change(),
        Retry::BackOff => Action::requeue(backoff::delay(context.failures(&AppKey::of(&*object)))),
    }
}
