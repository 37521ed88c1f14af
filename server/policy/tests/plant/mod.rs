//! A pool of workers as a fluid: what the property tests drive the policy with. No randomness, no queueing noise: what
//! the policy does here it does by itself.

#![allow(clippy::expect_used)] // tests
#![allow(dead_code)] // each suite uses its part

use std::time::Duration;

use podicorn_policy::{Config, Decision, Direction, Observation, Situation, WorkersPolicy};

/// Half of the shortest request, so that the flow is stable.
const STEP: f64 = 0.0125;

#[derive(Debug, Clone)]
pub(crate) struct Plant {
    pub(crate) policy: WorkersPolicy,
    pub(crate) now: f64,
    pub(crate) target: u32,
    pub(crate) ready: u32,
    /// When each worker that boots will be ready.
    booting: Vec<f64>,
    boot: f64,
    pub(crate) bounds: (u32, u32),
    /// Seconds that a request takes.
    service: f64,
    /// Requests in the system, running or waiting.
    pub(crate) inside: f64,
    seen: Observation,
    since: f64,
    /// Added to each observation.
    pub(crate) extra: Observation,
    pub(crate) history: Vec<(f64, u32)>,
    pub(crate) decisions: Vec<Decision>,
}

impl Plant {
    pub(crate) fn new(config: Config, bounds: (u32, u32), start: u32, service: f64, boot: f64) -> Self {
        Self {
            policy: WorkersPolicy::new(config),
            now: 0.0,
            target: start,
            ready: start,
            booting: Vec::new(),
            boot,
            bounds,
            service,
            inside: 0.0,
            seen: Observation::default(),
            since: 0.0,
            extra: Observation::default(),
            history: Vec::new(),
            decisions: Vec::new(),
        }
    }

    pub(crate) fn waiting(&self) -> f64 {
        (self.inside - f64::from(self.ready)).max(0.0)
    }

    /// `load` erlangs are offered for `seconds`.
    pub(crate) fn run(&mut self, seconds: f64, load: f64) {
        let end = self.now + seconds;
        while self.now < end {
            self.now += STEP;
            self.flow(load);
            let since = self.now - self.since;
            if since >= 1.0 - 1e-9 || (since >= 0.5 - 1e-9 && self.waiting() > 1.0) {
                self.tick();
            }
        }
    }

    /// The same while somebody else decides.
    pub(crate) fn run_leased(&mut self, seconds: f64, load: f64) {
        let end = self.now + seconds;
        while self.now + STEP / 2.0 < end {
            self.now += STEP;
            self.flow(load);
            let since = self.now - self.since;
            if since >= 1.0 - 1e-9 || (since >= 0.5 - 1e-9 && self.waiting() > 1.0) {
                let situation = Situation { leased: true, ..self.situation() };
                let seen = self.observation();
                let decision = self.policy.tick(Duration::from_secs_f64(self.now), situation, &seen);
                self.decisions.push(decision);
            }
        }
    }

    fn flow(&mut self, load: f64) {
        let (ready, now) = (self.booting.iter().filter(|at| **at <= self.now).count(), self.now);
        self.booting.retain(|at| *at > now);
        self.ready += ready as u32;
        let busy = self.inside.min(f64::from(self.ready));
        let (came, went) = (load / self.service * STEP, busy / self.service * STEP);
        let went = went.min(self.inside + came);
        self.seen.busy += busy * STEP;
        self.seen.waiting += (self.inside - busy) * STEP;
        self.inside += came - went;
        self.seen.arrivals += came;
        self.seen.completions += went;
        self.seen.service += went * self.service;
        self.seen.duration += went * self.service;
    }

    pub(crate) fn situation(&self) -> Situation {
        Situation {
            current: self.target,
            min: self.bounds.0,
            max: self.bounds.1,
            ready: self.ready,
            starting: self.booting.len() as u32,
            concurrency: 1,
            backing_off: false,
            leased: false,
        }
    }

    /// What the policy would be told now.
    pub(crate) fn observation(&mut self) -> Observation {
        let span = self.now - self.since;
        self.since = self.now;
        let seen = std::mem::take(&mut self.seen);
        Observation {
            busy: seen.busy / span,
            waiting: seen.waiting / span,
            backlog: self.waiting(),
            memory: self.extra.memory,
            cpu: self.extra.cpu,
            ..seen
        }
    }

    pub(crate) fn tick(&mut self) {
        let (situation, seen) = (self.situation(), self.observation());
        let decision = self.policy.tick(Duration::from_secs_f64(self.now), situation, &seen);
        self.apply(decision);
    }

    pub(crate) fn apply(&mut self, decision: Decision) {
        if decision.direction != Direction::Hold {
            self.history.push((self.now, decision.target));
        }
        self.target = decision.target;
        self.decisions.push(decision);
        self.resize();
    }

    /// Boots or ends workers until there are as many as wanted.
    pub(crate) fn resize(&mut self) {
        let mut there = self.ready + self.booting.len() as u32;
        while there < self.target {
            self.booting.push(self.now + self.boot);
            there += 1;
        }
        while there > self.target {
            if self.booting.pop().is_none() {
                self.ready -= 1;
            }
            there -= 1;
        }
    }

    pub(crate) fn last(&self) -> &Decision {
        self.decisions.last().expect("it has run")
    }

    /// How often the direction changed.
    pub(crate) fn reversals(&self, start: u32) -> usize {
        let mut before = start;
        let ups: Vec<bool> = self
            .history
            .iter()
            .map(|(_, target)| {
                let up = *target > before;
                before = *target;
                up
            })
            .collect();
        ups.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    pub(crate) fn peak(&self) -> u32 {
        self.history.iter().map(|(_, target)| *target).max().unwrap_or(self.target)
    }
}
