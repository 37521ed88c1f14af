//! What an app's spec says about scaling, and nothing else.

use std::time::Duration;

use podicorn_policy::{FleetBounds, FleetConfig, PodsBounds, PodsConfig};
use podicorn_settings::WorkerClass;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{Commands, GunicornAppSpec, Mode};

/// Connections of a worker that is asynchronous, where nothing else is set.
const WORKER_CONNECTIONS: u32 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wishes {
    pub mode: Mode,
    pub commands: Commands,
    pub min_workers: u32,
    /// Absent: each pod knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_workers: Option<u32>,
    /// Requests that a worker runs at a time.
    pub concurrency: u32,
    pub min_pods: u32,
    /// Absent: nobody has said how many there may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pods: Option<u32>,
    /// How busy workers are to be, in percent.
    pub target: u32,
    pub workers_down_seconds: u32,
    pub pods_down_seconds: u32,
}

impl Wishes {
    pub fn of(spec: &GunicornAppSpec) -> Self {
        let scaling = &spec.autoscaling;
        Self {
            mode: scaling.mode,
            commands: spec.scaling.commands,
            min_workers: spec.workers.fewest(),
            max_workers: spec.workers.most(),
            concurrency: concurrency(spec),
            min_pods: scaling.fewest_pods(),
            max_pods: scaling.max_pods.map(|_| scaling.most_pods()),
            target: scaling.target,
            workers_down_seconds: scaling.behavior.workers_scale_down.stabilization_seconds,
            pods_down_seconds: scaling.behavior.scale_down.stabilization_seconds,
        }
    }

    pub fn config(&self) -> FleetConfig {
        let config = FleetConfig::for_utilization(f64::from(self.target) / 100.0);
        let seconds = |seconds| Duration::from_secs(u64::from(seconds));
        FleetConfig {
            workers: config.workers.with_down_window(seconds(self.workers_down_seconds)),
            pods: PodsConfig { down_window: seconds(self.pods_down_seconds), ..config.pods },
        }
    }

    /// The number of pods is decided in any mode, since the figures behind it are wanted in all of them.
    pub fn bounds(&self, replicas: Option<u32>) -> FleetBounds {
        FleetBounds {
            min: self.min_workers,
            max: self.max_workers.unwrap_or(u32::MAX),
            concurrency: self.concurrency,
            pods: replicas.map(|current| PodsBounds {
                current,
                min: self.min_pods,
                max: self.max_pods.unwrap_or(u32::MAX),
            }),
        }
    }

    /// Pods get orders.
    pub fn acts(&self) -> bool {
        self.mode != Mode::Observe
    }
}

fn concurrency(spec: &GunicornAppSpec) -> u32 {
    let setting = |name| {
        let value = spec.settings.get(name)?;
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_u64(),
        };
        number.and_then(|number: u64| u32::try_from(number).ok())
    };
    let threads = spec.threads.or_else(|| setting("threads")).unwrap_or(1).max(1);
    match WorkerClass::try_from(spec.worker_class.clone()) {
        // As Gunicorn has it: sync with threads is gthread.
        Ok(WorkerClass::Sync | WorkerClass::Gthread) => threads,
        _ => setting("worker_connections").unwrap_or(WORKER_CONNECTIONS).max(1),
    }
}
