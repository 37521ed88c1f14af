//! Who scales what, and how a pod is told.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who scales what.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    #[default]
    Workers,
    Operator,
    External,
    Observe,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Workers => "Workers",
            Self::Operator => "Operator",
            Self::External => "External",
            Self::Observe => "Observe",
        }
    }
}

#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("self.mode == 'Operator' ? has(self.maxPods) : true")
        .message("autoscaling.mode: Operator needs autoscaling.maxPods, the most pods it may ask for")
        .field_path(".maxPods"),
    validation = Rule::new("has(self.maxPods) ? (has(self.minPods) ? self.minPods : 1) <= self.maxPods : true")
        .message("autoscaling.minPods is greater than autoscaling.maxPods"),
)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Workers: the workers of each pod; the pods stay `replicas`. Operator: workers and pods. External: workers; pods are
    /// left to another autoscaler. Observe: nothing is changed, and the status says what would be.
    #[serde(default)]
    pub mode: Mode,
    /// The fewest pods; 1 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub min_pods: Option<u32>,
    /// The most pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_pods: Option<u32>,
    /// How busy workers should be, in percent.
    #[serde(default = "target")]
    #[schemars(range(min = 10, max = 95))]
    pub target: u32,
    #[serde(default)]
    pub behavior: Behavior,
}

impl Default for Autoscaling {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            min_pods: None,
            max_pods: None,
            target: target(),
            behavior: Behavior::default(),
        }
    }
}

impl Autoscaling {
    pub fn fewest_pods(&self) -> u32 {
        self.min_pods.unwrap_or(1)
    }

    /// The most pods; where none is given, the fewest.
    pub fn most_pods(&self) -> u32 {
        self.max_pods.unwrap_or_default().max(self.fewest_pods())
    }
}

/// How long fewer must have been enough before there are fewer.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Behavior {
    /// Of pods.
    #[serde(default = "pods_down")]
    pub scale_down: Stabilization,
    /// Of workers.
    #[serde(default = "workers_down")]
    pub workers_scale_down: Stabilization,
}

impl Default for Behavior {
    fn default() -> Self {
        Self { scale_down: pods_down(), workers_scale_down: workers_down() }
    }
}

#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Stabilization {
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_seconds: u32,
}

/// How pods are told how many workers to have.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Commands {
    #[default]
    Absolute,
    Signals,
}

#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Absolute: targets that lapse when the operator is gone. Signals: TTIN and TTOU, one at a time, as Gunicorn has them.
    #[serde(default)]
    pub commands: Commands,
}

fn target() -> u32 {
    70
}

fn pods_down() -> Stabilization {
    Stabilization { stabilization_seconds: 300 }
}

fn workers_down() -> Stabilization {
    Stabilization { stabilization_seconds: 60 }
}
