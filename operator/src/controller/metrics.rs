//! Figures of the reconciler, for Prometheus.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

const BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByError {
    error: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWrite {
    kind: &'static str,
    verb: &'static str,
}

#[derive(Debug)]
pub struct Metrics {
    reconciles: Family<ByResult, Counter>,
    errors: Family<ByError, Counter>,
    duration: Histogram,
    writes: Family<ByWrite, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            reconciles: Family::default(),
            errors: Family::default(),
            duration: Histogram::new(BUCKETS),
            writes: Family::default(),
        }
    }
}

impl Metrics {
    /// Under names that begin with `podicorn_operator_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("podicorn_operator");
        registry.register("reconciles", "Reconciles of apps, by their result", self.reconciles.clone());
        registry.register(
            "reconcile_errors",
            "Reconciles that failed, by what went wrong",
            self.errors.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "Time that a reconcile took",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register("writes", "Requests of the reconciler that change something", self.writes.clone());
    }

    pub(super) fn reconciled(&self, error: Option<&'static str>, took: Duration) {
        let result = if error.is_some() { "error" } else { "ok" };
        self.reconciles.get_or_create(&ByResult { result }).inc();
        if let Some(error) = error {
            self.errors.get_or_create(&ByError { error }).inc();
        }
        self.duration.observe(took.as_secs_f64());
    }

    pub(crate) fn wrote(&self, kind: &'static str, verb: &'static str) {
        self.writes.get_or_create(&ByWrite { kind, verb }).inc();
    }
}
