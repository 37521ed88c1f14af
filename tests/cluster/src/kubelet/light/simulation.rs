//! A pod's queue, its workers and what decides their number: the arbiter's own lease machine and the policy's layer 1.

use std::time::{Duration, Instant};

use podicorn_admin_api::{ScaleRequest, ScaleView, StepView};
use podicorn_arbiter::scale::{Scale, ScaleError, Workers};
use podicorn_policy::{Config, Decision, Observation, Situation, WorkersPolicy};

use super::load::{Figures, PodLoad};

/// Worker slots of the simulated server.
const CAPACITY: u32 = 256;

#[derive(Debug)]
pub(super) struct Simulation {
    scale: Scale,
    policy: WorkersPolicy,
    decision: Option<Decision>,
    began: Instant,
    last: Duration,
    /// Workers that serve: those that were wanted a step ago, for boots take a moment.
    ready: u32,
    queue: f64,
}

impl Simulation {
    pub(super) fn new(workers: Workers) -> Self {
        let scale = Scale::new(workers, CAPACITY);
        let ready = scale.target();
        Self {
            scale,
            policy: WorkersPolicy::new(Config::default()),
            decision: None,
            began: Instant::now(),
            last: Duration::ZERO,
            ready,
            queue: 0.0,
        }
    }

    /// Lets the time since the last step pass under the load.
    pub(super) fn step(&mut self, load: PodLoad) -> Figures {
        let now = Instant::now();
        let at = now.saturating_duration_since(self.began);
        let seconds = at.saturating_sub(self.last).as_secs_f64();
        self.last = at;
        if seconds > 0.0 {
            let seen = self.serve(load, seconds);
            self.decide(now, at, &seen);
        }
        Figures { target: self.scale.target(), queue: self.queue }
    }

    /// A fluid: requests come evenly and are served as fast as the workers can.
    fn serve(&mut self, load: PodLoad, seconds: f64) -> Observation {
        let arrivals = load.requests_per_second * seconds;
        let capacity = if load.service_seconds > 0.0 {
            f64::from(self.ready) * seconds / load.service_seconds
        } else {
            f64::INFINITY
        };
        let before = self.queue;
        let completions = (before + arrivals).min(capacity);
        self.queue = before + arrivals - completions;
        let service = completions * load.service_seconds;
        Observation {
            busy: service / seconds,
            waiting: f64::midpoint(before, self.queue),
            backlog: self.queue,
            arrivals,
            completions,
            service,
            duration: service,
            memory: None,
            cpu: None,
        }
    }

    fn decide(&mut self, now: Instant, at: Duration, seen: &Observation) {
        self.scale.expire(now);
        let view = self.scale.view(now);
        let situation = Situation {
            current: view.target,
            min: view.min,
            max: view.max,
            ready: self.ready,
            starting: view.target.saturating_sub(self.ready),
            concurrency: 1,
            backing_off: false,
            leased: view.lease.is_some(),
        };
        self.ready = view.target;
        let decision = self.policy.tick(at, situation, seen);
        self.scale.follow(decision.target, now);
        self.decision = Some(decision);
    }

    pub(super) fn view(&mut self) -> ScaleView {
        let now = Instant::now();
        self.scale.expire(now);
        ScaleView { decision: self.decision.clone(), ..self.scale.view(now) }
    }

    pub(super) fn apply(&mut self, request: ScaleRequest) -> Result<ScaleView, ScaleError> {
        let view = self.scale.apply(request, Instant::now())?;
        Ok(ScaleView { decision: self.decision.clone(), ..view })
    }

    pub(super) fn move_by(&mut self, delta: i64) -> StepView {
        let mut view = self.scale.step(delta, Instant::now());
        view.scale.decision.clone_from(&self.decision);
        view
    }
}
