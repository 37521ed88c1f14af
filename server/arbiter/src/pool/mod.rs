//! The pool: which workers there are, and what is to be done about it. Pure: events and the time go in, actions come
//! out; no system calls, no clock, no randomness.
//!
//! Invariants, whatever the order of events (`tests.rs` holds them under random ones):
//! - while it runs, a pool whose boots succeed ends up with exactly `target` ready workers of the current generation;
//! - at most one worker more than `target` is ready or booting, except for those on their way out; none more where
//!   `max_unavailable` says that some may be missing;
//! - a ready worker is only retired when enough others are ready, or when there are more than `target`; enough is `target`, or
//!   `max_unavailable` less, but never 0;
//! - a generation that has not had a ready worker replaces nobody;
//! - after [`Event::Stop`] nothing is spawned, and [`Action::Finished`] comes once, when the last worker has gone.

mod backoff;
mod event;
mod reconcile;
mod saved;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub use backoff::{Backoff, Verdict};
pub use event::{Action, DeathCause, Event, Exit, HangReason, Order, Reading, RetireReason, signal_name};
pub use saved::Saved;
pub use worker::{Phase, Worker};

use podicorn_scoreboard::State;

/// How many workers above the target may live while one replaces another.
const SURGE: usize = 1;
/// From the stack dump to ABRT: what Python needs to write its stacks.
const DUMP_TIME: Duration = Duration::from_millis(300);
/// From ABRT to KILL.
const ABORT_TIME: Duration = Duration::from_secs(2);
/// From QUIT to KILL, as in Gunicorn.
const QUIT_TIME: Duration = Duration::from_secs(2);
/// A process that does not go after KILL sits in the kernel; the pool stops waiting for it.
const KILL_TIME: Duration = Duration::from_secs(10);
/// A worker that dies sooner than this after it became ready is slowed down.
const STEADY: Duration = Duration::from_secs(1);

/// The settings that the pool goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the spawn to readiness.
    pub boot_timeout: Duration,
    /// Longest silence of a ready worker; `None` turns the detection off.
    pub timeout: Option<Duration>,
    /// From TERM to KILL.
    pub graceful_timeout: Duration,
    /// How many workers may be missing while others replace them; 0: none, so there is one more meanwhile.
    pub max_unavailable: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Running,
    Stopping { finished: bool },
}

/// The state of the fork server of the current generation, as far as spawning goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Up,
    /// To be started again, at the latest when the back-off allows.
    Down,
    Starting,
}

/// See the module's contract.
#[derive(Debug)]
pub struct Pool {
    limits: Limits,
    target: usize,
    workers: BTreeMap<u32, Worker>,
    generation: u32,
    candidate: Option<u32>,
    /// Generations whose fork server has not been told to go yet.
    generations: Vec<u32>,
    source: Source,
    backoff: Backoff,
    mode: Mode,
    ages: u64,
    epochs: u32,
    first_ready: bool,
}

impl Pool {
    /// A pool without workers, whose fork server is being started.
    pub fn new(limits: Limits, target: usize, generation: u32) -> Self {
        Self {
            limits,
            target,
            workers: BTreeMap::new(),
            generation,
            candidate: None,
            generations: vec![generation],
            source: Source::Starting,
            backoff: Backoff::default(),
            mode: Mode::Running,
            ages: 0,
            epochs: 0,
            first_ready: false,
        }
    }

    pub fn workers(&self) -> impl Iterator<Item = (u32, &Worker)> {
        self.workers.iter().map(|(slot, worker)| (*slot, worker))
    }

    pub fn worker(&self, slot: u32) -> Option<&Worker> {
        self.workers.get(&slot)
    }

    /// The worker with this pid.
    pub fn find(&self, pid: i32) -> Option<u32> {
        self.workers().find_map(|(slot, worker)| (worker.pid == Some(pid)).then_some(slot))
    }

    /// Whether a fork has been asked for whose pid is not known yet.
    pub fn awaits_pids(&self) -> bool {
        self.workers.values().any(|worker| worker.pid.is_none())
    }

    pub fn target(&self) -> usize {
        self.target
    }

    pub fn generation(&self) -> u32 {
        self.generation
    }

    pub fn candidate(&self) -> Option<u32> {
        self.candidate
    }

    pub fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// A worker has been ready once since the start.
    pub fn first_ready(&self) -> bool {
        self.first_ready
    }

    /// Workers that serve, those on their way out not counted.
    pub fn ready(&self) -> usize {
        self.workers.values().filter(|worker| worker.is_ready()).count()
    }

    /// When [`Event::Tick`] is next needed.
    pub fn next_deadline(&self) -> Option<Instant> {
        let workers = self.workers.values().filter_map(|worker| worker.deadline(&self.limits));
        let stuck = self.workers.values().filter_map(|worker| match worker.phase {
            Phase::Killed { since } if self.mode != Mode::Running => Some(since + KILL_TIME),
            _ => None,
        });
        let retry = self.backoff.not_before().filter(|_| self.mode == Mode::Running);
        workers.chain(stuck).chain(retry).min()
    }

    /// Takes a worker's present load in without deciding anything.
    pub fn note_load(&mut self, slot: u32, reading: Reading) {
        if let Some(worker) = self.workers.get_mut(&slot) {
            worker.in_flight = reading.in_flight;
            worker.parked = reading.parked;
            worker.connections = reading.connections;
        }
    }

    /// Takes an event in and says what is to be done.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        self.backoff.expire(now);
        match event {
            Event::Tick => {}
            Event::Target(target) => self.target = target,
            Event::Limits(limits) => self.limits = limits,
            Event::ForkserverUp { generation } => {
                if generation == self.generation {
                    self.source = Source::Up;
                }
            }
            Event::ForkserverDown { generation, failure } => {
                self.forkserver_down(generation, failure, now, &mut actions);
            }
            Event::Candidate { generation } => {
                self.candidate = Some(generation);
                self.generations.push(generation);
            }
            Event::Spawned { slot, epoch, pid } => self.spawned(slot, epoch, pid, now, &mut actions),
            Event::SpawnFailed { slot, epoch } => self.spawn_failed(slot, epoch, now, &mut actions),
            Event::Reading { slot, reading } => self.reading(slot, reading, now, &mut actions),
            Event::Recycle { slot, epoch, reason, order } => {
                self.recycle(slot, epoch, reason, order, now, &mut actions);
            }
            Event::Exited { slot, exit } => self.exited(slot, exit, now, &mut actions),
            Event::Stop { graceful } => self.stop(graceful, now, &mut actions),
        }
        self.enforce_deadlines(now, &mut actions);
        self.reconcile(now, &mut actions);
        actions
    }

    fn forkserver_down(
        &mut self,
        generation: u32,
        failure: Option<DeathCause>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        if self.candidate == Some(generation) {
            let cause = failure.unwrap_or(DeathCause::ForkserverGone);
            self.roll_back(cause, now, actions);
        } else if generation == self.generation && self.mode == Mode::Running {
            self.source = Source::Down;
            if let Some(cause) = failure {
                self.boot_failed(cause, now, actions);
            }
        }
    }

    fn spawned(&mut self, slot: u32, epoch: u32, pid: i32, now: Instant, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(&slot).filter(|worker| worker.epoch == epoch) else { return };
        worker.pid = Some(pid);
        match worker.phase {
            Phase::Spawning { since } => worker.phase = Phase::Booting { since },
            // It was retired before it had a pid.
            Phase::Stopping { .. } => actions.push(worker.give_up(slot, pid, &self.limits, now)),
            _ => {}
        }
    }

    fn spawn_failed(&mut self, slot: u32, epoch: u32, now: Instant, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get(&slot).filter(|worker| worker.epoch == epoch) else { return };
        let counts = matches!(worker.phase, Phase::Spawning { .. });
        let generation = worker.generation;
        self.workers.remove(&slot);
        actions.push(Action::Freed { slot });
        if counts {
            self.boot_death(generation, DeathCause::ForkFailed, now, actions);
        }
    }

    fn reading(&mut self, slot: u32, reading: Reading, now: Instant, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(&slot) else { return };
        worker.observe(reading, now);
        if matches!(reading.state, Some(State::Ready | State::Draining)) {
            worker.let_finish();
        }
        let Phase::Booting { since } = worker.phase else { return };
        if reading.state != Some(State::Ready) {
            return;
        }
        worker.phase = Phase::Ready { since: now };
        let (generation, pid) = (worker.generation, worker.pid);
        actions.push(Action::Ready { slot, pid, boot: now.duration_since(since) });
        self.first_ready = true;
        if self.candidate == Some(generation) {
            self.candidate = None;
            self.generation = generation;
            self.source = Source::Up;
            self.backoff.reset();
            actions.push(Action::Committed { generation });
        } else if generation == self.generation {
            self.backoff.booted();
        }
    }

    fn recycle(
        &mut self,
        slot: u32,
        epoch: u32,
        reason: RetireReason,
        order: Order,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let wanted = |worker: &&mut Worker| worker.epoch == epoch && worker.is_ready();
        let Some(worker) = self.workers.get_mut(&slot).filter(wanted) else { return };
        match order {
            Order::ReplaceFirst => {
                worker.recycle.get_or_insert(reason);
            }
            Order::Now => self.retire(slot, reason, now, actions),
            Order::StopFirst => {
                worker.keeps_place = true;
                self.retire(slot, reason, now, actions);
            }
        }
    }

    fn exited(&mut self, slot: u32, exit: Exit, now: Instant, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.remove(&slot) else { return };
        actions.push(Action::Freed { slot });
        let cause = DeathCause::Exit(exit);
        match worker.phase {
            Phase::Spawning { .. } | Phase::Booting { .. } => {
                self.boot_death(worker.generation, cause, now, actions);
            }
            Phase::Ready { since } => {
                if now.duration_since(since) < STEADY {
                    self.backoff.slow_down(now);
                } else {
                    self.backoff.steady();
                }
            }
            Phase::Aborting { .. } | Phase::Stopping { .. } | Phase::Killed { .. } => {}
        }
    }

    /// A worker did not live to be ready.
    fn boot_death(&mut self, generation: u32, cause: DeathCause, now: Instant, actions: &mut Vec<Action>) {
        if self.candidate == Some(generation) {
            self.roll_back(cause, now, actions);
        } else if generation == self.generation && self.mode == Mode::Running {
            self.boot_failed(cause, now, actions);
        }
    }

    fn boot_failed(&mut self, cause: DeathCause, now: Instant, actions: &mut Vec<Action>) {
        if let Some(code) = cause.fatal_exit_code().filter(|_| !self.first_ready) {
            self.halt(code, cause, actions);
            return;
        }
        let verdict = self.backoff.boot_failed(cause, now);
        if self.ready() == 0 && verdict == Verdict::Exhausted {
            self.halt(cause.fatal_exit_code().unwrap_or(3), cause, actions);
        } else if let Some(at) = self.backoff.not_before() {
            actions.push(Action::BackingOff { cause, delay: at.saturating_duration_since(now) });
        }
    }

    /// Nothing is spawned from here on; [`Event::Stop`] is expected next.
    fn halt(&mut self, code: i32, cause: DeathCause, actions: &mut Vec<Action>) {
        self.mode = Mode::Stopping { finished: false };
        actions.push(Action::Halt { code, cause });
    }

    fn roll_back(&mut self, cause: DeathCause, now: Instant, actions: &mut Vec<Action>) {
        let Some(generation) = self.candidate.take() else { return };
        let canaries: Vec<u32> = self.slots(|worker| worker.generation == generation && !worker.is_leaving());
        for slot in canaries {
            self.retire(slot, RetireReason::RolledBack, now, actions);
        }
        actions.push(Action::RolledBack { generation, cause });
    }

    fn stop(&mut self, graceful: bool, now: Instant, actions: &mut Vec<Action>) {
        if let Some(generation) = self.candidate.take() {
            actions.push(Action::RolledBack { generation, cause: DeathCause::Shutdown });
        }
        if self.mode == Mode::Running {
            self.mode = Mode::Stopping { finished: false };
        }
        for slot in self.slots(|_| true) {
            let Some(worker) = self.workers.get_mut(&slot) else { continue };
            match (worker.phase, worker.pid) {
                (Phase::Stopping { deadline }, Some(pid)) if !graceful => {
                    worker.may_finish_until = None;
                    worker.phase = Phase::Stopping { deadline: deadline.min(now + QUIT_TIME) };
                    actions.push(Action::Quit { slot, pid });
                }
                // Already on its way, one way or another.
                (Phase::Stopping { .. } | Phase::Killed { .. } | Phase::Aborting { .. }, _) => {}
                (_, Some(pid)) if !graceful => {
                    worker.phase = Phase::Stopping { deadline: now + QUIT_TIME };
                    actions.push(Action::Quit { slot, pid });
                }
                _ => self.retire(slot, RetireReason::Shutdown, now, actions),
            }
        }
    }

    /// Asks a worker to go. Nobody waits for one that boots, unless it turns out to serve.
    fn retire(&mut self, slot: u32, reason: RetireReason, now: Instant, actions: &mut Vec<Action>) {
        let graceful = now + self.limits.graceful_timeout;
        let Some(worker) = self.workers.get_mut(&slot) else { return };
        match (worker.phase, worker.pid) {
            (Phase::Ready { .. }, Some(pid)) => {
                worker.phase = Phase::Stopping { deadline: graceful };
                actions.push(Action::Terminate { slot, pid, reason });
            }
            (Phase::Booting { .. }, Some(pid)) => actions.push(worker.give_up(slot, pid, &self.limits, now)),
            // Without a pid there is nobody to signal: `spawned` does it.
            (Phase::Spawning { .. }, _) => {
                worker.phase = Phase::Stopping { deadline: now + self.limits.boot_timeout };
            }
            _ => {}
        }
    }

    fn enforce_deadlines(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let mut failed_boots = Vec::new();
        for (slot, worker) in &mut self.workers {
            if worker.deadline(&self.limits).is_none_or(|deadline| now < deadline) {
                continue;
            }
            let Some(pid) = worker.pid else { continue };
            let slot = *slot;
            worker.phase = match worker.phase {
                Phase::Booting { .. } | Phase::Ready { .. } => {
                    let reason = if worker.is_ready() { HangReason::Silent } else { HangReason::Boot };
                    actions.push(Action::DumpStacks { slot, pid, reason });
                    // It counts now and not at its death, or its replacement would start without the back-off.
                    failed_boots.extend((reason == HangReason::Boot).then_some(worker.generation));
                    Phase::Aborting { reason, aborted: false, next: now + DUMP_TIME }
                }
                Phase::Aborting { reason, aborted: false, .. } => {
                    actions.push(Action::Abort { slot, pid });
                    Phase::Aborting { reason, aborted: true, next: now + ABORT_TIME }
                }
                Phase::Aborting { .. } => {
                    actions.push(Action::Kill { slot, pid });
                    // The reason stays for the post-mortem in `exited`.
                    Phase::Aborting { reason: worker.hang_reason(), aborted: true, next: now + KILL_TIME }
                }
                Phase::Stopping { .. } => {
                    actions.push(Action::Kill { slot, pid });
                    Phase::Killed { since: now }
                }
                Phase::Spawning { .. } | Phase::Killed { .. } => worker.phase,
            };
        }
        for generation in failed_boots {
            self.boot_death(generation, DeathCause::BootTimeout, now, actions);
        }
        if self.mode != Mode::Running {
            let stuck = self
                .slots(|worker| matches!(worker.phase, Phase::Killed { since } if now >= since + KILL_TIME));
            for slot in stuck {
                self.workers.remove(&slot);
            }
        }
    }
}
