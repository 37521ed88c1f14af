//! The autoscaler: reads the load of all pods, decides, and tells pods how many workers and Deployments how many pods.
//!
//! Contract:
//! - Every tick all ready pods of all apps are asked at once, with a bound on how many; one that is slow or dead delays its own
//!   app by a second at most, and is asked less and less often.
//! - What is decided is the `policy` crate's [`Fleet`](podicorn_policy::Fleet); [`app`] makes a plan of it, without I/O.
//! - Orders are leases with an [`epoch`], or TTIN and TTOU one at a time. Nothing has to be undone when the operator goes:
//!   leases lapse, and pods go on from where they are by their own load.
//! - Reconcile knows nothing of this, and this writes only its own fields ([`mod@write`]).
//! - One trace for each look at an app: load samples, the decision, the orders; pods get the `traceparent`.

mod app;
mod desk;
mod epoch;
mod explain;
mod fleet;
mod history;
mod metrics;
mod notice;
mod order;
mod send;
mod visible;
mod wishes;
mod words;
mod write;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::{Timestamp, Unit};
use kube::Client;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::Instrument;

pub use explain::{ExplainError, explain};
pub use fleet::{AppSeen, Fleet, PodSeen};
pub use history::{Past, PodSnapshot, Snapshot, Snapshots};
pub use metrics::Metrics;
pub use wishes::Wishes;
pub use write::MANAGER;

use crate::api::Mode;
use crate::pods::PodClient;
use app::Moment;
use desk::{Desk, Office};
use epoch::Epochs;
use metrics::PodCounts;
use send::Sender;

/// Requests to pods at a time.
const LINES: usize = 256;

/// How it runs.
#[derive(Debug, Clone)]
pub struct AutoscaleSettings {
    pub tick: Duration,
    /// leaseTransitions · 2³².
    pub epoch_base: u64,
    /// This replica's name, in Events.
    pub instance: String,
    /// The W3C `traceparent` of the current span.
    pub traceparent: fn() -> Option<String>,
}

/// Runs until `shutdown`. Leases in force are left to lapse, so that a successor finds everything as it was.
pub async fn run(
    client: Client,
    fleet: impl Fleet,
    settings: AutoscaleSettings,
    metrics: Metrics,
    snapshots: Arc<Snapshots>,
    shutdown: impl Future<Output = ()>,
) {
    let mut autoscaler = Autoscaler::new(client, fleet, settings, metrics, snapshots);
    let mut ticks = tokio::time::interval(autoscaler.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = async {
        loop {
            ticks.tick().await;
            autoscaler.tick().await;
        }
    };
    tokio::pin!(work, shutdown);
    futures::future::select(shutdown, work).await;
}

struct Autoscaler<F> {
    fleet: F,
    office: Office,
    tick: Duration,
    began: Instant,
    /// By uid.
    desks: HashMap<String, Desk>,
    /// Namespace and name of those that had one.
    known: HashSet<(String, String)>,
    snapshots: Arc<Snapshots>,
}

impl<F: Fleet> Autoscaler<F> {
    fn new(
        client: Client,
        fleet: F,
        settings: AutoscaleSettings,
        metrics: Metrics,
        snapshots: Arc<Snapshots>,
    ) -> Self {
        let AutoscaleSettings { tick, epoch_base, instance, traceparent } = settings;
        let tick = tick.max(Duration::from_millis(100));
        let sender =
            Sender { client: PodClient::default(), epochs: Epochs::new(epoch_base), metrics, traceparent };
        let office = Office {
            sender,
            kube: client,
            instance,
            tick_seconds: tick.as_secs_f64(),
            lines: Semaphore::new(LINES),
        };
        Self {
            fleet,
            office,
            tick,
            began: Instant::now(),
            desks: HashMap::new(),
            known: HashSet::new(),
            snapshots,
        }
    }

    async fn tick(&mut self) {
        let begin = Instant::now();
        let apps = self.fleet.apps();
        let span = tracing::info_span!("tick", apps = apps.len());
        self.hold_on_to(&apps);
        let now = Timestamp::now();
        let moment = Moment {
            // A policy's clock does not begin at zero.
            at: begin.saturating_duration_since(self.began) + Duration::from_secs(1),
            now: now.round(Unit::Second).unwrap_or(now),
        };
        let deadline = begin + self.tick.mul_f64(0.8);
        let mut looks: FuturesUnordered<_> = apps
            .iter()
            .map(|seen| {
                let desk = self.desks.remove(&seen.uid);
                let (office, moment, span) = (&self.office, &moment, &span);
                async move {
                    let mut desk = desk.unwrap_or_else(|| Desk::new(seen, moment));
                    // A trace of its own: one for all apps would be unreadable.
                    let look = tracing::info_span!(parent: None, "scale app", app = seen.name, namespace = seen.namespace);
                    look.follows_from(span);
                    let counts = desk.look(office, seen, moment, deadline).instrument(look).await;
                    (seen, desk, counts)
                }
            })
            .collect();
        let mut counts = PodCounts::default();
        let mut desks = HashMap::with_capacity(apps.len());
        while let Some((seen, desk, of_app)) = looks.next().await {
            counts.reachable += of_app.reachable;
            counts.unreachable += of_app.unreachable;
            counts.not_ready += of_app.not_ready;
            self.snapshots.put(&seen.namespace, &seen.name, Arc::clone(&desk.snapshot));
            desks.insert(seen.uid.clone(), desk);
        }
        drop(looks);
        self.desks = desks;
        let modes = [Mode::Workers, Mode::Operator, Mode::External, Mode::Observe];
        let by_mode =
            modes.map(|mode| (mode.as_str(), apps.iter().filter(|app| app.wishes.mode == mode).count()));
        self.office.sender.metrics.tick(begin.elapsed(), &by_mode, counts);
    }

    /// Lets go of what belongs to apps and pods that are gone.
    fn hold_on_to(&mut self, apps: &[AppSeen]) {
        let addresses: HashSet<SocketAddr> =
            apps.iter().flat_map(|app| &app.pods).filter_map(|pod| pod.address).collect();
        self.office.sender.client.keep(&addresses);
        let there: HashSet<(&str, &str)> =
            apps.iter().map(|app| (app.namespace.as_str(), app.name.as_str())).collect();
        self.snapshots.keep(&there);
        let metrics = &self.office.sender.metrics;
        self.known.retain(|(namespace, name)| {
            let stays = there.contains(&(namespace.as_str(), name.as_str()));
            if !stays {
                metrics.forget(namespace, name);
            }
            stays
        });
        for (namespace, name) in there {
            if !self.known.contains(&(namespace.to_owned(), name.to_owned())) {
                self.known.insert((namespace.to_owned(), name.to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
