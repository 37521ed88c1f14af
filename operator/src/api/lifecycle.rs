//! How pods are probed, ended and replaced.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// When the kubelet asks podicorn's own endpoints.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Probes {
    /// `/startupz`: a worker has been ready once.
    #[serde(default = "startup")]
    #[schemars(schema_with = "schema::startup_probe")]
    pub startup: Probe,
    /// `/livez`: the arbiter's loop turns.
    #[serde(default = "liveness")]
    #[schemars(schema_with = "schema::liveness_probe")]
    pub liveness: Probe,
    /// `/readyz`: a worker is ready, and the pod does not drain.
    #[serde(default = "readiness")]
    #[schemars(schema_with = "schema::readiness_probe")]
    pub readiness: Probe,
}

impl Default for Probes {
    fn default() -> Self {
        Self { startup: startup(), liveness: liveness(), readiness: readiness() }
    }
}

/// The times of one probe. The schema has defaults of its own for each of the three.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    pub period_seconds: u32,
    pub failure_threshold: u32,
    pub timeout_seconds: u32,
}

/// A worker may take two minutes to boot.
pub(super) const STARTUP: Probe = Probe { period_seconds: 2, failure_threshold: 60, timeout_seconds: 2 };
/// Patient: a restart loses what the pod is doing.
pub(super) const LIVENESS: Probe = Probe { period_seconds: 10, failure_threshold: 3, timeout_seconds: 5 };
/// Quick: clients are sent elsewhere.
pub(super) const READINESS: Probe = Probe { period_seconds: 5, failure_threshold: 2, timeout_seconds: 2 };

/// How a pod ends.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("self.delaySeconds * 2 <= self.gracefulTimeoutSeconds")
        .message("drain.delaySeconds is part of drain.gracefulTimeoutSeconds, and no more than half of it"),
)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Go on accepting this long after TERM, so that load balancers notice.
    #[serde(default = "delay")]
    #[schemars(range(min = 0, max = 3600))]
    pub delay_seconds: u32,
    /// From TERM until the pod has ended.
    #[serde(default = "graceful")]
    #[schemars(range(min = 1, max = 86400))]
    pub graceful_timeout_seconds: u32,
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay_seconds: delay(), graceful_timeout_seconds: graceful() }
    }
}

/// How many pods may be missing while nodes are drained.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[x_kube(
    validation = Rule::new("!(has(self.minAvailable) && has(self.maxUnavailable))")
        .message("give podDisruptionBudget.minAvailable or maxUnavailable, not both"),
)]
#[serde(rename_all = "camelCase")]
pub struct Disruption {
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// A number or a percentage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count_or_percentage")]
    pub min_available: Option<IntOrString>,
    /// A number or a percentage; 1 where both are absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count_or_percentage")]
    pub max_unavailable: Option<IntOrString>,
}

/// A Job that must succeed before pods with a new image, command or environment are rolled out.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Migrations {
    /// Such as `[python, manage.py, migrate]`.
    #[schemars(schema_with = "schema::command")]
    pub command: Vec<String>,
    /// How often it is tried again.
    #[serde(default = "backoff_limit")]
    #[schemars(range(min = 0, max = 100))]
    pub backoff_limit: u32,
    /// How long all tries may take together.
    #[serde(default = "deadline")]
    #[schemars(range(min = 1, max = 86400))]
    pub active_deadline_seconds: u32,
}

fn startup() -> Probe {
    STARTUP
}

fn liveness() -> Probe {
    LIVENESS
}

fn readiness() -> Probe {
    READINESS
}

fn delay() -> u32 {
    5
}

fn graceful() -> u32 {
    30
}

fn enabled() -> bool {
    true
}

fn backoff_limit() -> u32 {
    3
}

fn deadline() -> u32 {
    600
}
