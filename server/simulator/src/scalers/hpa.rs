//! Kubernetes' `HorizontalPodAutoscaler` on CPU, with its defaults and 70 % as the target.
//!
//! Every 15 s: pods × utilization / target, a tolerance of a tenth. Up at once, by at most as many pods as there are or
//! four in 15 s; down to the most that was recommended in 300 s. Pods that are not ready count as idle on the way up.
//! CPU is taken to be used while a worker is busy, so that utilization is that of the workers: an app that waits for a
//! database would look idler than it is, and fare worse.

use std::collections::VecDeque;

use super::{Limits, ceil, count};
use crate::engine::{Plan, PodView, Scaler};
use crate::trace::SECOND;

const INTERVAL: u64 = 15 * SECOND;
const TARGET: f64 = 0.7;
const TOLERANCE: f64 = 0.1;
const STABILIZATION: u64 = 300 * SECOND;

pub(super) struct Hpa {
    limits: Limits,
    pods: u32,
    recommended: VecDeque<(u64, u32)>,
}

impl Hpa {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, pods: limits.pods().0, recommended: VecDeque::new() }
    }

    fn recommend(&self, pods: &[PodView]) -> u32 {
        let ready: Vec<&PodView> = pods.iter().filter(|pod| pod.ready).collect();
        if ready.is_empty() {
            return self.pods;
        }
        let busy: f64 = ready.iter().map(|pod| pod.busy_seconds).sum();
        let seconds = crate::trace::seconds(INTERVAL) * f64::from(self.limits.per_pod);
        let ratio = |pods: usize| busy / (seconds * count(pods)) / TARGET;
        let mut now = ratio(ready.len());
        if (now - 1.0).abs() <= TOLERANCE {
            return self.pods;
        }
        if now > 1.0 && ready.len() < pods.len() {
            now = ratio(pods.len());
            if now <= 1.0 + TOLERANCE {
                return self.pods;
            }
            return ceil(now * count(pods.len()));
        }
        ceil(now * count(ready.len()))
    }
}

impl Scaler for Hpa {
    fn name(&self) -> String {
        "HPA on CPU".to_owned()
    }

    fn interval(&self) -> u64 {
        INTERVAL
    }

    fn start(&self) -> Plan {
        Plan::of(self.pods, self.limits.per_pod)
    }

    fn tick(&mut self, at: u64, pods: &[PodView]) -> Plan {
        let recommended = self.recommend(pods);
        self.recommended.push_back((at, recommended));
        while self.recommended.front().is_some_and(|(then, _)| then + STABILIZATION <= at) {
            self.recommended.pop_front();
        }
        let (min, max) = self.limits.pods();
        let lately = self.recommended.iter().map(|(_, pods)| *pods).max().unwrap_or(self.pods);
        // Before the window has passed once, the beginning counts as a recommendation.
        let lately = if at < STABILIZATION { lately.max(self.pods) } else { lately };
        let wanted = if recommended >= self.pods {
            recommended.min((self.pods * 2).max(self.pods + 4))
        } else {
            lately.min(self.pods)
        };
        self.pods = wanted.clamp(min, max);
        self.start()
    }
}
