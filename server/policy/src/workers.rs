//! Layer 1: the number of workers in a pod.
//!
//! Each tick brings the integrals since the last one. With the target utilization ρ = 0.70:
//! - **up** by the fast window (4 s), when L is more than a tenth off: L/ρ workers, at most twice as many as before, and one more where requests wait
//!   longer than the objective for two ticks. A queue asks for no more than a quarter above what the demand needs
//!   ([`Config::overshoot`]): the demand is known from arrivals and service times, and where workers are all busy while
//!   the queue grows, they are a lower bound of it. So a backlog is worked off without running to the cap.
//! - **down** one at a time, if for a whole minute fewer would have been enough and one less would still be busy less
//!   than ρ − 0.10 over the slow window (30 s). An up soon after a down doubles that minute, up to eight of them, and that
//!   number is not tried again while the load is as it was.
//! - **vetoes** lower the cap or forbid any more: memory headroom and pressure, CPU throttling, no marginal gain, boots
//!   that fail.

mod gain;
mod limits;
mod words;

use std::time::Duration;

use crate::decision::{Cap, Decision, Direction, Inputs, Reason, Veto};
use crate::number::{ceil, floor, sound};
use crate::window::{Highest, Window};
use gain::Gain;
use limits::Limits;

/// The constants of the policy. The defaults are what `docs/scaling.md` describes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// How busy workers are to be: 0.70.
    pub utilization: f64,
    /// No more for a load up to this share above the target: 0.10. Traffic that comes at random is off by that much.
    pub tolerance: f64,
    /// Below utilization less this a worker may go: 0.10.
    pub band: f64,
    /// The most that is asked for above the demand's need, as a share: 0.25.
    pub overshoot: f64,
    pub fast: Duration,
    pub slow: Duration,
    /// Fewer workers must have been enough for so long.
    pub down_window: Duration,
    /// From one worker taken away to the next.
    pub down_interval: Duration,
    /// From one step up to the next.
    pub up_interval: Duration,
    /// How long a request may wait.
    pub objective: Duration,
    /// What new workers bring is judged over this time, and so is what was before.
    pub trial: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            utilization: 0.70,
            tolerance: 0.10,
            band: 0.10,
            overshoot: 0.25,
            fast: Duration::from_secs(4),
            slow: Duration::from_secs(30),
            down_window: Duration::from_secs(60),
            down_interval: Duration::from_secs(5),
            up_interval: Duration::from_millis(400),
            objective: Duration::from_millis(100),
            trial: Duration::from_secs(4),
        }
    }
}

impl Config {
    /// The same with another time that fewer workers must have been enough.
    #[must_use]
    pub fn with_down_window(self, down_window: Duration) -> Self {
        Self { down_window, down_interval: self.down_interval.min(down_window), ..self }
    }
}

/// How the pool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// Workers wanted at present.
    pub current: u32,
    /// Bounds, both included. A lower bound above the upper one counts as the upper one.
    pub min: u32,
    pub max: u32,
    /// Workers that serve: the only ones that count as capacity.
    pub ready: u32,
    pub starting: u32,
    /// Requests that one worker runs at a time.
    pub concurrency: u32,
    /// Boots fail, and the pool waits before it tries again.
    pub backing_off: bool,
    /// A lease is in force: the policy watches and does not decide.
    pub leased: bool,
}

/// What has happened since the last tick.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Observation {
    /// Mean number of busy workers: the integral of busy time over the time that has passed.
    pub busy: f64,
    /// Mean number of requests that waited.
    pub waiting: f64,
    /// Requests that wait now.
    pub backlog: f64,
    pub arrivals: f64,
    pub completions: f64,
    /// What the completed requests have taken of workers, in seconds.
    pub service: f64,
    /// How long they ran, in seconds: the same where a worker runs one at a time.
    pub duration: f64,
    pub memory: Option<Memory>,
    pub cpu: Option<Cpu>,
}

/// The container's memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Memory {
    pub limit: u64,
    /// In use and not reclaimable.
    pub working_set: u64,
    /// What one more worker takes: the 95th percentile of the private memory of those that serve.
    pub per_worker: Option<u64>,
    /// PSI `some avg10`: the share of the last 10 s in which somebody waited for memory, in percent.
    pub pressure: Option<f64>,
}

/// The container's CPU time since the last tick; only where there is a quota.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpu {
    pub quota_cores: f64,
    pub used_seconds: f64,
    pub periods: u64,
    pub throttled_periods: u64,
}

/// Longest memory of what was desired: the down window at the highest penalty.
const MOST_PENALTY: f64 = 8.0;
/// An up within this time of a down is a flap.
const FLAP: Duration = Duration::from_secs(60);
/// The penalty begins to fade after so much time without a change.
const QUIET: Duration = Duration::from_secs(120);
/// A number that has just proved too small is not tried again for so long, unless the load has fallen below this share
/// of what it was.
const LESSON: Duration = Duration::from_secs(600);
const FALLEN: f64 = 0.8;
/// What is left of the penalty after a second of fading.
const FADE: f64 = 0.995;
/// Load of so many times what is there is a panic.
const PANIC: f64 = 1.5;
/// A step back of the time up to this is a tick that came late; more is a new clock.
const LATE: Duration = Duration::from_secs(5);
/// The share of ready workers from which they count as all busy.
const SATURATED: f64 = 0.95;

/// The machine. See the module's contract.
#[derive(Debug, Clone)]
pub struct WorkersPolicy {
    config: Config,
    began: Option<Duration>,
    last: Duration,
    busy: Window,
    waiting: Window,
    offered: Window,
    arrivals: Window,
    completions: Window,
    service: Window,
    duration: Window,
    desired: Highest,
    backlog: f64,
    /// Seconds of a worker that a request takes, as last known.
    service_seconds: Option<f64>,
    /// How long a request runs, likewise.
    run_seconds: f64,
    slow_ticks: u32,
    limits: Limits,
    gain: Gain,
    panic_until: Option<Duration>,
    penalty: f64,
    last_up: Option<Duration>,
    last_down: Option<Duration>,
    /// Load over the slow window at that moment.
    load_at_down: f64,
    last_change: Duration,
    /// So many workers were too few for this load, as was seen then.
    too_few: Option<(u32, f64, Duration)>,
    proposed: Option<u32>,
}

impl WorkersPolicy {
    pub fn new(config: Config) -> Self {
        let fast = || Window::new(config.fast);
        let slow = || Window::new(config.slow.max(config.fast));
        Self {
            config,
            began: None,
            last: Duration::ZERO,
            busy: fast(),
            waiting: fast(),
            offered: slow(),
            arrivals: fast(),
            completions: slow(),
            service: slow(),
            duration: slow(),
            desired: Highest::new(config.down_window.mul_f64(MOST_PENALTY)),
            backlog: 0.0,
            service_seconds: None,
            run_seconds: 0.0,
            slow_ticks: 0,
            limits: Limits::default(),
            gain: Gain::default(),
            panic_until: None,
            penalty: 1.0,
            last_up: None,
            last_down: None,
            load_at_down: 0.0,
            last_change: Duration::ZERO,
            too_few: None,
            proposed: None,
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        let windows = [
            &self.busy,
            &self.waiting,
            &self.offered,
            &self.arrivals,
            &self.completions,
            &self.service,
            &self.duration,
        ];
        windows.iter().map(|window| window.held()).sum::<usize>() + self.desired.held()
    }

    /// Forgets all that was observed, as after the clock or the app has become another one.
    pub fn restart(&mut self) {
        *self = Self { penalty: self.penalty, ..Self::new(self.config) };
    }

    /// Takes in what has happened up to `at`, and says how many workers are wanted. Once a second, and sooner where
    /// requests wait.
    pub fn tick(&mut self, at: Duration, situation: Situation, seen: &Observation) -> Decision {
        if self.began.is_some() && at + LATE < self.last {
            self.restart();
        }
        let situation = Situation {
            max: situation.max.max(1),
            min: situation.min.clamp(1, situation.max.max(1)),
            concurrency: situation.concurrency.max(1),
            ..situation
        };
        let span = match self.began {
            // The first tick says what is now; how long it has been so nobody knows.
            None => Duration::from_secs(1).min(at),
            Some(_) => at.saturating_sub(self.last),
        };
        if span.is_zero() {
            return self.hold(situation, Inputs::default(), Reason::NoData);
        }
        self.began.get_or_insert(at.saturating_sub(span));
        self.last = at;
        let inputs = self.observe(span, situation, seen);
        let decision = self.decide(situation, inputs);
        self.note(&decision);
        decision
    }

    fn observe(&mut self, span: Duration, situation: Situation, seen: &Observation) -> Inputs {
        let Config { fast, slow, utilization, .. } = self.config;
        let (at, seconds) = (self.last, span.as_secs_f64());
        let concurrency = f64::from(situation.concurrency);
        let (busy, waiting) = (sound(seen.busy), sound(seen.waiting));
        self.busy.push(at, span, busy);
        self.waiting.push(at, span, waiting / concurrency);
        self.offered.push(at, span, busy + waiting / concurrency);
        self.arrivals.push(at, span, sound(seen.arrivals) / seconds);
        self.completions.push(at, span, sound(seen.completions) / seconds);
        self.service.push(at, span, sound(seen.service) / seconds);
        self.duration.push(at, span, sound(seen.duration) / seconds);
        self.limits.observe(at, span, seen);

        let completed = self.completions.integral(at, slow).0;
        if completed > 0.0 {
            self.service_seconds = Some(self.service.integral(at, slow).0 / completed);
            self.run_seconds = self.duration.integral(at, slow).0 / completed;
        }
        let arrivals = self.arrivals.mean(at, fast);
        let completions = self.completions.mean(at, fast);
        let offered_fast = self.offered.mean(at, fast);
        let waiting_fast = self.waiting.mean(at, fast);
        // Little's law, over the last tick: the window would go on complaining after the queue has gone.
        let served = sound(seen.completions) / seconds;
        let wait = if waiting > 0.0 { waiting / served.max(1.0 / fast.as_secs_f64()) } else { 0.0 };
        let late = wait > self.config.objective.as_secs_f64();
        self.slow_ticks = if late { self.slow_ticks.saturating_add(1) } else { 0 };

        let demand = self.service_seconds.map(|service| service * arrivals);
        let backlog = sound(seen.backlog);
        let grows = backlog > 0.0 && backlog >= self.backlog;
        self.backlog = backlog;
        let ready = f64::from(situation.ready);
        let known = if grows && busy >= SATURATED * ready { ready } else { 0.0 };
        let ceiling = demand.map(|demand| {
            let need = ceil(demand.max(known) / utilization).max(1);
            floor(f64::from(need) * (1.0 + self.config.overshoot)).max(need.saturating_add(1))
        });
        let desired = ceil(offered_fast / utilization).max(1);
        if f64::from(desired) >= PANIC * f64::from(situation.current) {
            self.panic_until = Some(at + slow);
        }
        // Somebody else has moved the number: that was for a reason, too.
        let moved = self.proposed.is_some_and(|proposed| proposed != situation.current);
        let floor_desired = if moved { situation.current } else { 0 };
        let remembered = ceiling.map_or(desired, |ceiling| desired.min(ceiling)).max(floor_desired);
        self.desired.push(at, f64::from(remembered));
        if at.saturating_sub(self.last_change) > QUIET {
            self.penalty = (self.penalty * FADE.powf(seconds)).max(1.0);
        }
        self.gain.observe(
            at,
            span,
            gain::Seen {
                ready: situation.ready,
                rate: completions,
                rate_now: served,
                offered: offered_fast,
                offered_now: busy + waiting / concurrency,
            },
            Duration::from_secs_f64(self.run_seconds.min(30.0)),
            self.config.trial,
        );
        Inputs {
            offered_fast,
            offered_slow: self.offered.mean(at, slow),
            busy: self.busy.mean(at, fast),
            waiting: waiting_fast,
            wait_seconds: wait,
            arrivals_per_second: arrivals,
            completions_per_second: completions,
            service_seconds: self.service_seconds,
            demand_erlangs: demand,
            capacity_utilization: None,
            desired,
            ceiling,
            ready: situation.ready,
            starting: situation.starting,
            down_window_seconds: self.down_window().as_secs_f64(),
            panic: self.panics(),
        }
    }

    fn down_window(&self) -> Duration {
        self.config.down_window.mul_f64(self.penalty)
    }

    fn panics(&self) -> bool {
        self.panic_until.is_some_and(|until| self.last < until)
    }

    fn decide(&self, situation: Situation, inputs: Inputs) -> Decision {
        let Situation { current, min, max, .. } = situation;
        if situation.leased {
            return self.hold(situation, inputs, Reason::Leased);
        }
        if !(min..=max).contains(&current) {
            return self.answer(situation, inputs, current.clamp(min, max), Reason::Bounds);
        }
        if situation.backing_off {
            return self.hold(situation, inputs, Reason::BackingOff);
        }
        if self.limits.squeezed() && self.may_step_down() && current > min {
            return self.answer(situation, inputs, current - 1, Reason::MemoryPressure);
        }
        let queue = self.slow_ticks >= 2;
        let fits = self.config.utilization * (1.0 + self.config.tolerance) * f64::from(current);
        let more = if inputs.offered_fast > fits { inputs.desired } else { 0 };
        let asked = more.max(if queue { current.saturating_add(1) } else { 0 });
        let limited = asked.min(inputs.ceiling.unwrap_or(u32::MAX)).min(current.saturating_mul(2)).min(max);
        // A queue before the first answer says how many wait, not how many workers they need.
        let unknown = situation.ready == 0 || (inputs.ceiling.is_none() && situation.starting > 0);
        if limited > current && unknown {
            return self.hold(situation, inputs, Reason::Starting);
        }
        if limited > current {
            let (cap, vetoes) = self.cap(situation);
            let allowed = limited.min(cap.workers);
            if allowed <= current {
                let reason = if vetoes.is_empty() { Reason::Steady } else { Reason::Vetoed };
                return self.hold(situation, inputs, reason);
            }
            if !self.may_step_up() {
                return self.hold(situation, inputs, Reason::Steady);
            }
            let reason = if more > current { Reason::Load } else { Reason::Queue };
            return self.answer(situation, inputs, allowed, reason);
        }
        if current > min && self.fewer_would_do(current, &inputs) {
            if self.may_go_down(current) {
                return self.answer(situation, inputs, current - 1, Reason::Idle);
            }
            return self.hold(situation, inputs, Reason::Settling);
        }
        self.hold(situation, inputs, Reason::Steady)
    }

    fn fewer_would_do(&self, current: u32, inputs: &Inputs) -> bool {
        let rest = f64::from(current.saturating_sub(1));
        let tried = self.too_few.is_some_and(|(workers, load, when)| {
            current <= workers.saturating_add(1)
                && self.last.saturating_sub(when) < LESSON
                && inputs.offered_slow > FALLEN * load
        });
        !tried
            && inputs.desired < current
            && inputs.offered_slow < (self.config.utilization - self.config.band) * rest
    }

    fn may_go_down(&self, current: u32) -> bool {
        let window = self.down_window();
        let watched = self.began.is_some_and(|began| self.last.saturating_sub(began) >= window);
        watched
            && !self.panics()
            && self.may_step_down()
            && self.desired.over(self.last, window) < f64::from(current)
    }

    fn may_step_down(&self) -> bool {
        self.last_down.is_none_or(|down| self.last.saturating_sub(down) >= self.config.down_interval)
    }

    fn may_step_up(&self) -> bool {
        self.last_up.is_none_or(|up| self.last.saturating_sub(up) >= self.config.up_interval)
    }

    /// The most workers that can be had now. What is there already is not questioned.
    fn cap(&self, situation: Situation) -> (Cap, Vec<Veto>) {
        let mut vetoes = self.limits.vetoes(situation);
        vetoes.extend(self.gain.veto(self.last, situation.current));
        if situation.backing_off {
            vetoes.push((situation.current, words::backing_off()));
        }
        let tightest = vetoes.iter().min_by_key(|(workers, _)| *workers);
        let cap = match tightest {
            Some((workers, veto)) if *workers < situation.max => {
                Cap { workers: (*workers).max(situation.min), reason: Some(veto.kind) }
            }
            _ => Cap { workers: situation.max, reason: None },
        };
        // Headroom for more than the upper bound forbids nothing. Of a fixed number somebody else may want more, by TTIN.
        let fixed = situation.min == situation.max;
        let vetoes = vetoes
            .into_iter()
            .filter(|(workers, _)| *workers < situation.max || (fixed && *workers == situation.max));
        (cap, vetoes.map(|(_, veto)| veto).collect())
    }

    fn hold(&self, situation: Situation, inputs: Inputs, reason: Reason) -> Decision {
        let target = if situation.leased {
            situation.current
        } else {
            situation.current.clamp(situation.min, situation.max)
        };
        self.answer(situation, inputs, target, reason)
    }

    fn answer(&self, situation: Situation, mut inputs: Inputs, target: u32, reason: Reason) -> Decision {
        let (cap, vetoes) = self.cap(situation);
        inputs.capacity_utilization =
            inputs.demand_erlangs.map(|demand| demand / f64::from(cap.workers.max(1)));
        let current = situation.current;
        let direction = Direction::from(current, target);
        let message = words::message(&self.config, situation, &inputs, target, reason, &vetoes);
        Decision { target, current, direction, reason, message, cap, vetoes, inputs }
    }

    fn note(&mut self, decision: &Decision) {
        let at = self.last;
        self.proposed = Some(decision.target);
        match decision.direction {
            Direction::Hold => return,
            Direction::Up => {
                if self.last_down.is_some_and(|down| at.saturating_sub(down) < FLAP) {
                    self.penalty = (self.penalty * 2.0).min(MOST_PENALTY);
                    let load = decision.inputs.offered_slow.min(self.load_at_down);
                    self.too_few = Some((decision.current, load, at));
                }
                self.last_up = Some(at);
                self.slow_ticks = 0;
                // What was decided was needed.
                self.desired.push(at, f64::from(decision.target));
                let Inputs { completions_per_second, ready, .. } = decision.inputs;
                self.gain.begin(completions_per_second, ready, decision.target);
            }
            Direction::Down => {
                self.last_down = Some(at);
                self.load_at_down = decision.inputs.offered_slow;
                self.gain.forget();
            }
        }
        self.last_change = at;
    }
}
