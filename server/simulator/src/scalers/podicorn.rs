//! Podicorn's own policies: workers in one pod, and workers in pods whose number the operator decides.

use std::collections::BTreeMap;
use std::time::Duration;

use podicorn_policy::{
    Config, Meter, PodReading, PodsConfig, PodsPolicy, SAMPLE_INTERVAL, Sample, Situation, WorkersPolicy,
};

use super::Limits;
use crate::engine::{Plan, PodView, Scaler};
use crate::trace::SECOND;

/// What the arbiter does in a pod.
struct Arbiter {
    meter: Meter,
    policy: WorkersPolicy,
    /// As last decided: what the operator asks for.
    reading: Option<PodReading>,
}

impl Arbiter {
    fn new() -> Self {
        Self { meter: Meter::default(), policy: WorkersPolicy::new(Config::default()), reading: None }
    }

    fn tick(&mut self, at: Duration, pod: &PodView, min: u32, max: u32) -> u32 {
        let Some(seen) = self.meter.add(at, &sample(pod)) else { return pod.wanted };
        let situation = situation(pod, min, max, false);
        let decision = self.policy.tick(at, situation, &seen);
        self.reading = Some(PodReading {
            service_seconds: decision.inputs.service_seconds.unwrap_or(0.0),
            arrivals_per_second: decision.inputs.arrivals_per_second,
            waiting: seen.backlog,
            capacity: decision.cap.workers,
        });
        decision.target
    }
}

/// What a pod's arbiter sees of it.
pub(super) fn sample(pod: &PodView) -> Sample {
    Sample {
        busy_seconds: pod.busy_seconds,
        backlog: f64::from(pod.backlog),
        arrivals: f64::from(pod.arrivals),
        completions: f64::from(pod.completions),
        service: pod.service_seconds,
        duration: pod.service_seconds,
        memory: None,
        cpu: None,
    }
}

/// How its pool stands.
pub(super) fn situation(pod: &PodView, min: u32, max: u32, leased: bool) -> Situation {
    Situation {
        current: pod.wanted,
        min,
        max,
        ready: pod.ready_workers,
        starting: pod.booting_workers,
        concurrency: 1,
        backing_off: false,
        leased,
    }
}

fn interval() -> u64 {
    crate::trace::micros(SAMPLE_INTERVAL.as_secs_f64())
}

/// `--workers MIN..MAX` in one pod.
pub(super) struct Workers {
    limits: Limits,
    arbiter: Arbiter,
}

impl Workers {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, arbiter: Arbiter::new() }
    }
}

impl Scaler for Workers {
    fn name(&self) -> String {
        "podicorn".to_owned()
    }

    fn interval(&self) -> u64 {
        interval()
    }

    fn start(&self) -> Plan {
        Plan::of(1, self.limits.min)
    }

    fn tick(&mut self, at: u64, pods: &[PodView]) -> Plan {
        let Limits { min, max, .. } = self.limits;
        let at = Duration::from_micros(at);
        let workers = pods.first().map_or(min, |pod| self.arbiter.tick(at, pod, min, max));
        Plan::of(1, workers)
    }
}

/// `--workers 1..N` in each of several pods, and the operator's policy for their number.
pub(super) struct Operator {
    limits: Limits,
    arbiters: BTreeMap<u32, Arbiter>,
    policy: PodsPolicy,
    wanted: u32,
    next_look: u64,
}

/// From one look of the operator to the next.
const LOOK: u64 = 5 * SECOND;

impl Operator {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            arbiters: BTreeMap::new(),
            policy: PodsPolicy::new(PodsConfig::default()),
            wanted: limits.pods().0,
            next_look: LOOK,
        }
    }
}

impl Scaler for Operator {
    fn name(&self) -> String {
        "podicorn, pods".to_owned()
    }

    fn interval(&self) -> u64 {
        interval()
    }

    fn start(&self) -> Plan {
        Plan::of(self.wanted, self.limits.min.min(self.limits.per_pod))
    }

    fn tick(&mut self, at: u64, pods: &[PodView]) -> Plan {
        let min = self.limits.min.min(self.limits.per_pod);
        let now = Duration::from_micros(at);
        let mut plan = Plan::of(self.wanted, min);
        self.arbiters.retain(|id, _| pods.iter().any(|pod| pod.id == *id));
        for pod in pods.iter().filter(|pod| pod.ready) {
            let arbiter = self.arbiters.entry(pod.id).or_insert_with(Arbiter::new);
            plan.by_pod.insert(pod.id, arbiter.tick(now, pod, min, self.limits.per_pod));
        }
        if at >= self.next_look {
            self.next_look = at + LOOK;
            let readings: Vec<PodReading> =
                self.arbiters.values().filter_map(|arbiter| arbiter.reading).collect();
            self.wanted = self.policy.tick(now, self.wanted, self.limits.pods(), &readings).target;
        }
        plan.pods = self.wanted;
        plan
    }
}
