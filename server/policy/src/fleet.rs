//! The operator's view: the workers of all pods of one app, and their number.
//!
//! Contract:
//! - **By the pods' figures.** Each pod has a [`WorkersPolicy`] here that goes by what the pod says it has observed. A pod
//!   under a lease only watches, so its own verdict counts for nothing, its vetoes do.
//! - **Together.** Load balancers spread what comes. So besides its own need a pod gets what the mean of all pods needs (the
//!   level): a new pod does not start cold, and one that has idled for a moment is not cut down. Caps come first.
//! - **Nobody is dragged along.** Pods that say nothing, or nonsense, or far more than the others, do not count in the mean, and
//!   nothing is decided for those that say nonsense.
//! - **Nothing jumps.** Until a pod has been watched for [`WARM`] its number stays, whatever its figures; then the level
//!   may raise it if it has been watched for as long. So a restart of the operator moves no worker.
//! - **Number of pods.** Every [`PODS_TICK`], by [`PodsPolicy`]; at once where there is more to do than all pods can.
//! - **Explained.** Each verdict carries a [`Decision`].

mod load;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::{Cap, Decision, Direction, Inputs, Reason, VetoKind};
use crate::pods::{PodReading, PodsConfig, PodsDecision, PodsPolicy};
use crate::workers::{Config, Situation, WorkersPolicy};

pub use load::PodLoad;
use load::{mean, observation, typical};

/// A pod's figures are means over so long, so that before this they say less than they seem to.
pub const WARM: Duration = Duration::from_secs(4);
/// From one decision about the number of pods to the next.
pub const PODS_TICK: Duration = Duration::from_secs(5);
/// The same where it presses.
const URGENT: Duration = Duration::from_secs(2);
/// After a silence as long as this what was known of a pod is of another time.
const GAP: Duration = Duration::from_secs(10);
/// So many pods have a mean that says anything of one of them.
const SIBLINGS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FleetConfig {
    pub workers: Config,
    pub pods: PodsConfig,
}

impl FleetConfig {
    /// For workers that are busy so much of their time. The bands keep their proportions.
    #[must_use]
    pub fn for_utilization(utilization: f64) -> Self {
        let (workers, pods) = (Config::default(), PodsConfig::default());
        let band = workers.band * utilization / workers.utilization;
        // The figures are means over four seconds already.
        let fast = Duration::from_secs(2);
        Self {
            workers: Config { utilization, band, fast, ..workers },
            pods: PodsConfig { utilization, ..pods },
        }
    }
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self::for_utilization(Config::default().utilization)
    }
}

/// What the app allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetBounds {
    /// Workers of a pod, both ends included. The pod's own bounds hold, too.
    pub min: u32,
    pub max: u32,
    /// Requests that a worker runs at a time.
    pub concurrency: u32,
    /// Where the number of pods is to be decided.
    pub pods: Option<PodsBounds>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodsBounds {
    /// Pods wanted at present.
    pub current: u32,
    pub min: u32,
    pub max: u32,
}

/// What can be done about a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Its number is decided.
    Steered,
    /// Not watched for long enough: it keeps its number.
    Watched,
    /// Has observed nothing yet.
    Silent,
    /// Says what cannot be.
    Unsound,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodVerdict {
    pub pod: String,
    pub standing: Standing,
    pub decision: Decision,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetDecision {
    /// Workers that the mean of the pods needs; absent while that is not known, or where there is one pod.
    pub level: Option<u32>,
    /// In the order of the loads.
    pub pods: Vec<PodVerdict>,
    /// The number of pods, on ticks that decide it.
    pub number: Option<PodsDecision>,
}

#[derive(Debug, Clone)]
struct Pod {
    policy: WorkersPolicy,
    since: Duration,
    last: Duration,
    /// What it said last, for the number of pods.
    reading: PodReading,
}

/// Workers that the mean pod needs.
#[derive(Debug, Clone)]
struct Level {
    policy: WorkersPolicy,
    workers: u32,
    since: Duration,
    last: Duration,
}

/// The machine. See the module's contract.
#[derive(Debug, Clone)]
pub struct Fleet {
    config: FleetConfig,
    last: Duration,
    pods: BTreeMap<String, Pod>,
    level: Option<Level>,
    number: PodsPolicy,
    number_at: Option<Duration>,
}

impl Fleet {
    pub fn new(config: FleetConfig) -> Self {
        Self {
            config,
            last: Duration::ZERO,
            pods: BTreeMap::new(),
            level: None,
            number: PodsPolicy::new(config.pods),
            number_at: None,
        }
    }

    pub fn config(&self) -> &FleetConfig {
        &self.config
    }

    /// Takes in what the pods that could be asked have said, and decides.
    pub fn tick(&mut self, at: Duration, bounds: &FleetBounds, loads: &[PodLoad<'_>]) -> FleetDecision {
        if at < self.last {
            *self = Self::new(self.config);
        }
        self.last = at;
        self.pods.retain(|_, pod| at.saturating_sub(pod.last) < GAP);
        let max = bounds.max.max(1);
        let bounds = FleetBounds {
            max,
            min: bounds.min.clamp(1, max),
            concurrency: bounds.concurrency.max(1),
            ..*bounds
        };
        let figures: Vec<Option<&Inputs>> =
            loads.iter().map(|load| load.figures(bounds.max).unwrap_or_default()).collect();
        let level = self.level(at, &bounds, &figures);
        let pods = loads.iter().map(|load| self.pod(at, &bounds, level, load)).collect();
        let number = bounds.pods.and_then(|pods| self.number(at, pods));
        FleetDecision { level, pods, number }
    }

    fn level(&mut self, at: Duration, bounds: &FleetBounds, figures: &[Option<&Inputs>]) -> Option<u32> {
        let counted = typical(figures.iter().flatten().copied());
        if counted.len() < SIBLINGS {
            self.level = None;
            return None;
        }
        let inputs = mean(&counted);
        let level = self.level.get_or_insert_with(|| Level {
            policy: WorkersPolicy::new(self.config.workers),
            workers: bounds.min,
            since: at,
            last: at,
        });
        let span = span_since(level.since, level.last, at);
        let situation = Situation {
            current: level.workers.clamp(bounds.min, bounds.max),
            min: bounds.min,
            max: bounds.max,
            ready: inputs.ready,
            starting: inputs.starting,
            concurrency: bounds.concurrency,
            backing_off: false,
            leased: false,
        };
        let seen = observation(&inputs, span, bounds.concurrency);
        level.workers = level.policy.tick(at, situation, &seen).target;
        level.last = at;
        (at.saturating_sub(level.since) >= WARM).then_some(level.workers)
    }

    fn pod(
        &mut self,
        at: Duration,
        bounds: &FleetBounds,
        level: Option<u32>,
        load: &PodLoad<'_>,
    ) -> PodVerdict {
        let verdict = |standing, decision| PodVerdict { pod: load.pod.to_owned(), standing, decision };
        let (min, max) = load.bounds(bounds.min, bounds.max);
        let inputs = match load.figures(bounds.max) {
            Ok(Some(inputs)) => *inputs,
            Ok(None) => {
                // A pod that is new is as large as its siblings before the first request comes.
                if let Some(level) =
                    level.map(|level| level.clamp(min, max)).filter(|level| *level > load.current)
                {
                    let unknown = kept(load, max, String::new(), Inputs::default());
                    return verdict(Standing::Steered, raised(load, unknown, level, min, max));
                }
                let message = "The pod has not observed anything yet.".to_owned();
                return verdict(Standing::Silent, kept(load, max, message, Inputs::default()));
            }
            Err(why) => {
                self.pods.remove(load.pod);
                let message = format!("The pod says what cannot be, so nothing is done about it: {why}.");
                return verdict(Standing::Unsound, kept(load, max, message, Inputs::default()));
            }
        };
        let cap = load.cap().map_or(max, |cap| cap.workers.clamp(min, max));
        let most = if load.current <= max { cap.max(load.current) } else { max };
        let backing_off = load.vetoed(VetoKind::CrashBackOff);
        let floor = level.filter(|_| !backing_off).map_or(min, |level| level.clamp(min, cap));

        let config = self.config;
        let pod = match self.pods.get_mut(load.pod) {
            Some(pod) => pod,
            None => self.pods.entry(load.pod.to_owned()).or_insert_with(|| Pod::new(config.workers, at)),
        };
        let span = span_since(pod.since, pod.last, at);
        pod.last = at;
        pod.reading = reading(&inputs, bounds.concurrency, cap);
        let warm = at.saturating_sub(pod.since) >= WARM;
        let watches = !warm && (floor..=max).contains(&load.current);
        let situation = Situation {
            current: load.current,
            min: floor,
            max: most,
            ready: inputs.ready,
            starting: inputs.starting,
            concurrency: bounds.concurrency,
            backing_off,
            leased: watches,
        };
        let decision = pod.policy.tick(at, situation, &observation(&inputs, span, bounds.concurrency));
        if load.current < floor {
            return verdict(Standing::Steered, raised(load, decision, floor, min, max));
        }
        if watches {
            let message = "The pod has not been watched for long enough.".to_owned();
            return verdict(Standing::Watched, kept(load, most, message, decision.inputs));
        }
        verdict(Standing::Steered, with_vetoes(load, decision, cap, max))
    }

    fn number(&mut self, at: Duration, pods: PodsBounds) -> Option<PodsDecision> {
        let before = *self.number_at.get_or_insert(at);
        let warm = |pod: &Pod| at.saturating_sub(pod.since) >= WARM;
        let mut readings: Vec<PodReading> = Vec::new();
        let reporting = || self.pods.values().filter(|pod| pod.last == at);
        let some_are_warm = reporting().any(warm);
        for pod in reporting() {
            // What a new pod gets is what its siblings got, and their figures, means over some seconds, still hold it:
            // counted twice it would call for yet more pods.
            let arrivals = if some_are_warm && !warm(pod) { 0.0 } else { pod.reading.arrivals_per_second };
            readings.push(PodReading { arrivals_per_second: arrivals, ..pod.reading });
        }
        let demand: f64 = readings.iter().map(|reading| reading.demand(self.config.pods.drain)).sum();
        let capacity: f64 = readings.iter().map(|reading| f64::from(reading.capacity)).sum();
        let passed = at.saturating_sub(before);
        // A pod takes long enough to come without waiting for the time to ask for it.
        let pressing = demand > capacity && passed >= URGENT;
        if passed < PODS_TICK && !pressing {
            return None;
        }
        self.number_at = Some(at);
        Some(self.number.tick(at, pods.current, (pods.min, pods.max), &readings))
    }

    /// Bytes that it holds, about.
    #[cfg(test)]
    fn footprint(&self) -> usize {
        let pods = self.pods.values().map(|pod| size_of::<Pod>() + pod.policy.held());
        let level = self.level.as_ref().map_or(0, |level| level.policy.held());
        size_of::<Self>() + pods.sum::<usize>() + level
    }
}

impl Pod {
    fn new(config: Config, at: Duration) -> Self {
        let reading =
            PodReading { service_seconds: 0.0, arrivals_per_second: 0.0, waiting: 0.0, capacity: 1 };
        Self { policy: WorkersPolicy::new(config), since: at, last: at, reading }
    }
}

fn reading(inputs: &Inputs, concurrency: u32, capacity: u32) -> PodReading {
    let Some(service_seconds) = inputs.service_seconds else {
        // No request has ended yet: what runs and waits is what is known of the demand.
        let arrivals_per_second = inputs.offered_fast;
        return PodReading { service_seconds: 1.0, arrivals_per_second, waiting: 0.0, capacity };
    };
    let waiting = inputs.waiting * f64::from(concurrency);
    PodReading { service_seconds, arrivals_per_second: inputs.arrivals_per_second, waiting, capacity }
}

/// As [`WorkersPolicy::tick`] takes it: the first tick stands for a second.
fn span_since(since: Duration, last: Duration, at: Duration) -> Duration {
    if since == at { Duration::from_secs(1).min(at) } else { at.saturating_sub(last) }
}

fn kept(load: &PodLoad<'_>, most: u32, message: String, inputs: Inputs) -> Decision {
    Decision {
        target: load.current,
        current: load.current,
        direction: Direction::Hold,
        reason: Reason::NoData,
        message,
        cap: load.cap().unwrap_or(Cap { workers: most, reason: None }),
        vetoes: Vec::new(),
        inputs,
    }
}

/// Below what its bounds or its siblings ask for.
fn raised(load: &PodLoad<'_>, decision: Decision, floor: u32, min: u32, max: u32) -> Decision {
    let current = load.current;
    let target = decision.target.max(floor);
    let (reason, message) = if floor > min {
        let message = format!(
            "{current} to {target}: the app's pods need {floor} workers each on average, and what comes is spread over them."
        );
        (Reason::Load, message)
    } else {
        (Reason::Bounds, format!("{current} to {target}: the bounds are {min} and {max}."))
    };
    Decision { target, direction: Direction::from(current, target), reason, message, ..decision }
}

/// Says by whose veto it stays.
fn with_vetoes(load: &PodLoad<'_>, mut decision: Decision, cap: u32, max: u32) -> Decision {
    let vetoes = load.vetoes();
    if cap >= max || vetoes.is_empty() {
        return decision;
    }
    if decision.cap.reason.is_none() || decision.cap.workers > cap {
        decision.cap = Cap { workers: cap, reason: load.cap().and_then(|cap| cap.reason) };
    }
    let wanted = decision.inputs.desired;
    if decision.reason == Reason::Steady && wanted > decision.current && decision.current >= cap {
        decision.reason = Reason::Vetoed;
        let why = &vetoes[0].message;
        decision.message =
            format!("{wanted} workers would be enough, but it stays at {}: {why}", decision.current);
    }
    decision.vetoes.extend(vetoes.iter().cloned());
    decision
}

#[cfg(test)]
mod tests;
