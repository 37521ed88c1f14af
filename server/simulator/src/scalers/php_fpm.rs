//! php-fpm's `pm = dynamic`: as many idle workers as are spare.
//!
//! Every second: with fewer idle than `min_spare` (a tenth of the maximum, at least 1) workers are started, 1, 2, 4 … up to 32 at a
//! time while it stays so; with more than `max_spare` (three tenths, at least 3) one idle worker is stopped. It goes by
//! the state at that moment.

use super::Limits;
use crate::engine::{Plan, PodView, Scaler};
use crate::trace::SECOND;

const MOST_AT_ONCE: u32 = 32;

pub(super) struct Dynamic {
    limits: Limits,
    workers: u32,
    rate: u32,
}

impl Dynamic {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, workers: limits.min, rate: 1 }
    }

    fn spare(&self) -> (u32, u32) {
        ((self.limits.max / 10).max(1), (self.limits.max * 3 / 10).max(3))
    }
}

impl Scaler for Dynamic {
    fn name(&self) -> String {
        "php-fpm dynamic".to_owned()
    }

    fn interval(&self) -> u64 {
        SECOND
    }

    fn start(&self) -> Plan {
        Plan::of(1, self.workers)
    }

    fn tick(&mut self, _: u64, pods: &[PodView]) -> Plan {
        let (min_spare, max_spare) = self.spare();
        let idle: u32 = pods
            .iter()
            .map(|pod| (pod.ready_workers + pod.booting_workers).saturating_sub(pod.busy_workers))
            .sum();
        if idle > max_spare {
            self.workers -= 1;
            self.rate = 1;
        } else if idle < min_spare {
            self.workers += self.rate.min(min_spare - idle).max(self.rate);
            self.rate = (self.rate * 2).min(MOST_AT_ONCE);
        } else {
            self.rate = 1;
        }
        self.workers = self.workers.clamp(self.limits.min, self.limits.max);
        self.start()
    }
}
