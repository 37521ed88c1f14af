//! Layer 2: the number of pods of an app.
//!
//! A pod's demand is D = S · (λ + Q / T): its mean service time, its arrival rate, and its queue spread over the drain
//! time T = 20 s, so that a backlog cannot wind the number up. Its capacity C is what its workers *at their cap* can do.
//! With u = ΣD / ΣC the app needs n · u / ρ pods. Within a tenth of the target nothing changes. Up goes at once, at most
//! to max(2n, n + 4); down goes to the most that was needed in five minutes.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::{Direction, Reason};
use crate::number::{ceil, percent, sound};
use crate::window::Highest;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PodsConfig {
    pub utilization: f64,
    /// No change while utilization over its target is within 1 ± this.
    pub tolerance: f64,
    pub drain: Duration,
    pub down_window: Duration,
}

impl Default for PodsConfig {
    fn default() -> Self {
        Self {
            utilization: 0.70,
            tolerance: 0.1,
            drain: Duration::from_secs(20),
            down_window: Duration::from_secs(300),
        }
    }
}

/// What one pod tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodReading {
    /// Mean time that a request takes of a worker.
    pub service_seconds: f64,
    pub arrivals_per_second: f64,
    /// Requests that wait.
    pub waiting: f64,
    /// Workers at the cap, vetoes included.
    pub capacity: u32,
}

impl PodReading {
    /// Workers that would be busy if nobody had to wait and the queue went within the drain time.
    pub fn demand(&self, drain: Duration) -> f64 {
        let drain = drain.as_secs_f64().max(1.0);
        sound(self.service_seconds) * (sound(self.arrivals_per_second) + sound(self.waiting) / drain)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodsInputs {
    pub demand_erlangs: f64,
    /// Of all pods, those counted in that are not ready yet.
    pub capacity_workers: f64,
    pub capacity_utilization: f64,
    /// Pods that the demand asks for.
    pub desired: u32,
    /// The most that was desired in the down window.
    pub desired_lately: u32,
    /// Pods that have told their figures.
    pub reporting: u32,
}

/// How many pods, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodsDecision {
    pub target: u32,
    pub current: u32,
    pub direction: Direction,
    pub reason: Reason,
    pub message: String,
    pub inputs: PodsInputs,
}

#[derive(Debug, Clone)]
pub struct PodsPolicy {
    config: PodsConfig,
    began: Option<Duration>,
    last: Duration,
    desired: Highest,
}

impl PodsPolicy {
    pub fn new(config: PodsConfig) -> Self {
        Self { config, began: None, last: Duration::ZERO, desired: Highest::new(config.down_window) }
    }

    /// `current` is the number wanted so far: pods that are not ready yet count as capacity to come, so that nothing is
    /// added twice. `readings` are those of the pods that could be asked.
    pub fn tick(
        &mut self,
        at: Duration,
        current: u32,
        bounds: (u32, u32),
        readings: &[PodReading],
    ) -> PodsDecision {
        let max = bounds.1.max(1);
        let min = bounds.0.clamp(1, max);
        if at < self.last {
            *self = Self::new(self.config);
        }
        self.last = at;
        let began = *self.began.get_or_insert(at);
        let current_pods = f64::from(current.max(1));

        let reporting = u32::try_from(readings.len()).unwrap_or(u32::MAX);
        let capacity: f64 = readings.iter().map(|pod| f64::from(pod.capacity)).sum();
        if readings.is_empty() || capacity <= 0.0 {
            let inputs = PodsInputs { reporting, ..PodsInputs::default() };
            let message = "No pod has told its load: the number stays.".to_owned();
            return Self::answer(current, current.clamp(min, max), Reason::NoData, message, inputs);
        }
        let demand: f64 = readings.iter().map(|pod| pod.demand(self.config.drain)).sum();
        // Pods that are on their way are as large as those that are here.
        let coming = (current_pods - f64::from(reporting)).max(0.0);
        let capacity = capacity + coming * capacity / f64::from(reporting);
        let utilization = demand / capacity;
        let off = utilization / self.config.utilization;
        let pods = current_pods.max(f64::from(reporting));
        let desired = ceil(if (off - 1.0).abs() > self.config.tolerance { pods * off } else { pods }).max(1);
        self.desired.push(at, f64::from(desired));
        let lately = ceil(self.desired.over(at, self.config.down_window));
        let watched = at.saturating_sub(began) >= self.config.down_window;
        let inputs = PodsInputs {
            demand_erlangs: demand,
            capacity_workers: capacity,
            capacity_utilization: utilization,
            desired,
            desired_lately: lately,
            reporting,
        };
        let busy = format!("{demand:.1} of {capacity:.0} workers are needed ({})", percent(utilization));
        if !(min..=max).contains(&current) {
            let message = format!("The bounds are {min} and {max}.");
            return Self::answer(current, current.clamp(min, max), Reason::Bounds, message, inputs);
        }
        let most = current.saturating_mul(2).max(current.saturating_add(4)).min(max);
        if desired > current {
            let target = desired.min(most);
            let reason = if target > current { Reason::Load } else { Reason::Steady };
            let message =
                format!("{busy}: {desired} pods would be {} busy.", percent(self.config.utilization));
            return Self::answer(current, target, reason, message, inputs);
        }
        let fewer = lately.clamp(min, max);
        if fewer < current && watched {
            let message = format!(
                "{busy}: at most {lately} pods were needed for {} s.",
                self.config.down_window.as_secs()
            );
            return Self::answer(current, fewer, Reason::Idle, message, inputs);
        }
        let reason = if desired < current { Reason::Settling } else { Reason::Steady };
        Self::answer(current, current, reason, format!("{busy}."), inputs)
    }

    fn answer(
        current: u32,
        target: u32,
        reason: Reason,
        message: String,
        inputs: PodsInputs,
    ) -> PodsDecision {
        PodsDecision { target, current, direction: Direction::from(current, target), reason, message, inputs }
    }
}
