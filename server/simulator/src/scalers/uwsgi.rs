//! uWSGI's cheaper busyness, with its defaults: a cycle of 3 s, more above 50 % busy, one less below 25 % for 10 cycles.
//!
//! A spawn soon after a stop lengthens that to 12, 14 … cycles. A backlog of more than 33 requests starts emergency
//! workers, one a second.

use super::Limits;
use crate::engine::{Plan, PodView, Scaler};
use crate::trace::SECOND;

const TICK: u64 = SECOND;
/// Ticks in a cycle.
const CYCLE: u32 = 3;
const MOST: f64 = 0.50;
const LEAST: f64 = 0.25;
const MULTIPLIER: u32 = 10;
const PENALTY: u32 = 2;
const BACKLOG_ALERT: u32 = 33;

pub(super) struct Busyness {
    limits: Limits,
    workers: u32,
    ticks: u32,
    busy_seconds: f64,
    calm: u32,
    multiplier: u32,
    /// Cycles since a worker was stopped.
    since_stop: u32,
}

impl Busyness {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            workers: limits.min,
            ticks: 0,
            busy_seconds: 0.0,
            calm: 0,
            multiplier: MULTIPLIER,
            since_stop: u32::MAX,
        }
    }

    fn cycle(&mut self, busyness: f64) {
        self.since_stop = self.since_stop.saturating_add(1);
        if busyness > MOST {
            if self.since_stop <= self.multiplier {
                self.multiplier += PENALTY;
            }
            self.calm = 0;
            self.workers += 1;
        } else if busyness < LEAST {
            self.calm += 1;
            if self.calm >= self.multiplier {
                self.calm = 0;
                self.workers = self.workers.saturating_sub(1);
                self.since_stop = 0;
            }
        } else {
            self.calm = 0;
            if self.since_stop > 3 {
                self.multiplier = MULTIPLIER.max(self.multiplier - 1);
            }
        }
    }
}

impl Scaler for Busyness {
    fn name(&self) -> String {
        "uWSGI busyness".to_owned()
    }

    fn interval(&self) -> u64 {
        TICK
    }

    fn start(&self) -> Plan {
        Plan::of(1, self.workers)
    }

    fn tick(&mut self, _: u64, pods: &[PodView]) -> Plan {
        let (min, max) = (self.limits.min, self.limits.max);
        let backlog: u32 = pods.iter().map(|pod| pod.backlog).sum();
        self.busy_seconds += pods.iter().map(|pod| pod.busy_seconds).sum::<f64>();
        self.ticks += 1;
        if backlog > BACKLOG_ALERT {
            self.workers += 1;
        }
        if self.ticks == CYCLE {
            let ready = pods.iter().map(|pod| pod.ready_workers).sum::<u32>().max(1);
            let busyness = self.busy_seconds / f64::from(CYCLE * ready);
            (self.ticks, self.busy_seconds) = (0, 0.0);
            self.cycle(busyness);
        }
        self.workers = self.workers.clamp(min, max);
        self.start()
    }
}
