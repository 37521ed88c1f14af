//! What the autoscaler counts.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use podicorn_policy::{Direction, Reason};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::fleet::AppSeen;

/// Seconds of a tick: the default tick is 2.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabel {
    mode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OrderLabels {
    kind: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    direction: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AppLabels {
    namespace: String,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    object: &'static str,
    result: &'static str,
}

/// One for the process.
#[derive(Debug, Clone)]
pub struct Metrics {
    apps: Family<ModeLabel, Gauge>,
    pods: Family<StateLabel, Gauge>,
    ticks: Counter,
    tick_seconds: Histogram,
    orders: Family<OrderLabels, Counter>,
    decisions: Family<DecisionLabels, Counter>,
    writes: Family<WriteLabels, Counter>,
    utilization: Family<AppLabels, Gauge<f64, AtomicU64>>,
    workers_target: Family<AppLabels, Gauge>,
    workers_ready: Family<AppLabels, Gauge>,
}

/// Pods of all apps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PodCounts {
    pub(super) reachable: usize,
    pub(super) unreachable: usize,
    pub(super) not_ready: usize,
}

impl Metrics {
    /// `registry` gets the prefix of the operator's metrics from its owner.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            apps: Family::default(),
            pods: Family::default(),
            ticks: Counter::default(),
            tick_seconds: Histogram::new(BUCKETS),
            orders: Family::default(),
            decisions: Family::default(),
            writes: Family::default(),
            utilization: Family::default(),
            workers_target: Family::default(),
            workers_ready: Family::default(),
        };
        registry.register("autoscaled_apps", "Apps by mode of autoscaling", metrics.apps.clone());
        registry.register("autoscaled_pods", "Pods by whether their admin API answers", metrics.pods.clone());
        registry.register("autoscaler_ticks", "Looks at the load of all apps", metrics.ticks.clone());
        registry.register(
            "autoscaler_tick_seconds",
            "How long a look at all apps takes, orders included",
            metrics.tick_seconds.clone(),
        );
        registry.register("pod_orders", "Orders to pods by kind and result", metrics.orders.clone());
        registry.register(
            "worker_decisions",
            "Decisions about the workers of a pod by direction and reason",
            metrics.decisions.clone(),
        );
        registry.register(
            "autoscaler_writes",
            "Writes to the apiserver by object and result",
            metrics.writes.clone(),
        );
        registry.register(
            "app_capacity_utilization",
            "Demand of an app over what its pods can serve with as many workers as they may have: what pods are scaled by",
            metrics.utilization.clone(),
        );
        registry.register(
            "app_workers_target",
            "Workers wanted over all pods of an app",
            metrics.workers_target.clone(),
        );
        registry.register(
            "app_workers_ready",
            "Workers that serve, over all pods of an app",
            metrics.workers_ready.clone(),
        );
        metrics
    }

    pub(super) fn tick(&self, took: Duration, apps: &[(&'static str, usize)], pods: PodCounts) {
        self.ticks.inc();
        self.tick_seconds.observe(took.as_secs_f64());
        for (mode, number) in apps {
            self.apps.get_or_create(&ModeLabel { mode }).set(count(*number));
        }
        let states =
            [("reachable", pods.reachable), ("unreachable", pods.unreachable), ("not_ready", pods.not_ready)];
        for (state, number) in states {
            self.pods.get_or_create(&StateLabel { state }).set(count(number));
        }
    }

    pub(crate) fn order(&self, kind: &'static str, result: &'static str) {
        self.orders.get_or_create(&OrderLabels { kind, result }).inc();
    }

    pub(crate) fn decision(&self, direction: Direction, reason: Reason) {
        let labels = DecisionLabels { direction: direction.name(), reason: reason.name() };
        self.decisions.get_or_create(&labels).inc();
    }

    pub(super) fn write(&self, object: &'static str, result: &'static str) {
        self.writes.get_or_create(&WriteLabels { object, result }).inc();
    }

    pub(super) fn app(&self, app: &AppSeen, target: u32, ready: u32, utilization: Option<f64>) {
        let labels = labels(app);
        self.workers_target.get_or_create(&labels).set(i64::from(target));
        self.workers_ready.get_or_create(&labels).set(i64::from(ready));
        if let Some(utilization) = utilization {
            self.utilization.get_or_create(&labels).set(utilization);
        }
    }

    pub(super) fn forget(&self, namespace: &str, name: &str) {
        let labels = AppLabels { namespace: namespace.to_owned(), name: name.to_owned() };
        self.workers_target.remove(&labels);
        self.workers_ready.remove(&labels);
        self.utilization.remove(&labels);
    }
}

fn labels(app: &AppSeen) -> AppLabels {
    AppLabels { namespace: app.namespace.clone(), name: app.name.clone() }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
