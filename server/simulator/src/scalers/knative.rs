//! Knative's pod autoscaler (KPA) with its defaults: 70 % of the container's concurrency, a stable window of 60 s, a panic
//! window of 6 s.
//!
//! Every 2 s: mean concurrency of a window / target. Twice the capacity in the panic window is a panic: then only up, by
//! that window, until a stable window has passed below. Never less than half of the ready pods. The concurrency
//! includes what waits, as the activator counts it.

use std::collections::VecDeque;

use super::{Limits, ceil, count};
use crate::engine::{Plan, PodView, Scaler};
use crate::trace::{SECOND, seconds};

const INTERVAL: u64 = 2 * SECOND;
const STABLE: u64 = 60 * SECOND;
const PANIC: u64 = 6 * SECOND;
const UTILIZATION: f64 = 0.7;
const PANIC_THRESHOLD: f64 = 2.0;

pub(super) struct Knative {
    limits: Limits,
    pods: u32,
    /// Mean concurrency of each interval.
    seen: VecDeque<f64>,
    panic_until: Option<u64>,
    most_in_panic: u32,
}

impl Knative {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, pods: limits.pods().0, seen: VecDeque::new(), panic_until: None, most_in_panic: 0 }
    }

    fn desired(&self, window: u64) -> f64 {
        let wanted = usize::try_from(window / INTERVAL).unwrap_or(1);
        let known = self.seen.len().min(wanted).max(1);
        let mean = self.seen.iter().rev().take(known).sum::<f64>() / count(known);
        mean / (UTILIZATION * f64::from(self.limits.per_pod))
    }
}

impl Scaler for Knative {
    fn name(&self) -> String {
        "Knative KPA".to_owned()
    }

    fn interval(&self) -> u64 {
        INTERVAL
    }

    fn start(&self) -> Plan {
        Plan::of(self.pods, self.limits.per_pod)
    }

    fn tick(&mut self, at: u64, pods: &[PodView]) -> Plan {
        let concurrency: f64 = pods.iter().map(|pod| pod.concurrency_seconds).sum();
        self.seen.push_back(concurrency / seconds(INTERVAL));
        if self.seen.len() > usize::try_from(STABLE / INTERVAL).unwrap_or(1) {
            self.seen.pop_front();
        }
        let ready = (pods.iter().filter(|pod| pod.ready).count() as u32).max(1);
        let (stable, panic) = (self.desired(STABLE), self.desired(PANIC));
        let over = panic / f64::from(ready) >= PANIC_THRESHOLD;
        if over {
            self.panic_until = Some(at + STABLE);
        }
        let wanted = if self.panic_until.is_some_and(|until| at < until) {
            self.most_in_panic = self.most_in_panic.max(ceil(panic)).max(self.pods);
            self.most_in_panic
        } else {
            (self.panic_until, self.most_in_panic) = (None, 0);
            ceil(stable)
        };
        let (min, max) = self.limits.pods();
        // At most halved at a time.
        self.pods = wanted.max(ready / 2).clamp(min, max);
        self.start()
    }
}
