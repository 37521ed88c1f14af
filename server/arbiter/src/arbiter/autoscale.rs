//! Scaling by load: samples for the policy, and its decisions put to work.
//!
//! Ranges follow the policy; of a fixed number, and while a lease is in force, it only tells. Samples come four times a
//! second, decisions once or twice (`podicorn_policy::Meter`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::unistd::{SysconfVar, sysconf};
use podicorn_policy::{
    Config, Cpu, Decision, Direction, Memory, Meter, Reason, SAMPLE_INTERVAL, Sample, Situation, TICK,
    WorkersPolicy, fits_in_memory,
};
use podicorn_settings::{Settings, WorkerClass};
use serde::{Deserialize, Serialize};

use super::{Arbiter, Ending};
use crate::cgroup::{self, CpuGroup};
use crate::load::{LoadReader, TotalFigures, WorkerFigures};
use crate::pool::Phase;
use crate::scale::ScaleView;

/// How much of a new boot time goes into the mean.
const NEWEST: f64 = 0.3;

/// What the arbiter keeps for it.
#[derive(Debug)]
pub(super) struct Autoscale {
    /// Zero of the policy's clock.
    began: Instant,
    next: Instant,
    policy: WorkersPolicy,
    meter: Meter,
    load: LoadReader,
    cpu: Option<CpuGroup>,
    cpu_before: Option<cgroup::Cpu>,
    pub(super) decision: Option<Decision>,
    pub(super) decisions: BTreeMap<(Direction, Reason), u64>,
    /// Moving mean of the time that workers take to boot.
    pub(super) boot: Option<Duration>,
    /// `--workers auto`: begin with as many as fit, once it is known what a worker takes.
    auto_start: Option<u32>,
}

/// What the next program has to know of it. The policy's own windows begin anew, as on a reload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Saved {
    decisions: Vec<(Direction, Reason, u64)>,
    boot: Option<Duration>,
    auto_start: Option<u32>,
}

impl Autoscale {
    pub(super) fn save(&self) -> Saved {
        let decisions = self.decisions.iter();
        Saved {
            decisions: decisions.map(|((direction, reason), count)| (*direction, *reason, *count)).collect(),
            boot: self.boot,
            auto_start: self.auto_start,
        }
    }

    pub(super) fn resume(settings: &Settings, saved: Saved, now: Instant) -> Self {
        let decisions = saved.decisions.into_iter();
        Self {
            decisions: decisions.map(|(direction, reason, count)| ((direction, reason), count)).collect(),
            boot: saved.boot,
            ..Self::new(settings, saved.auto_start, now)
        }
    }

    pub(super) fn new(settings: &Settings, auto_start: Option<u32>, now: Instant) -> Self {
        Self {
            // A tick at time zero has nothing behind it.
            began: now,
            next: now + TICK,
            policy: WorkersPolicy::new(config(settings)),
            meter: Meter::default(),
            load: LoadReader::default(),
            cpu: CpuGroup::of_this_process(),
            cpu_before: None,
            decision: None,
            decisions: BTreeMap::new(),
            boot: None,
            auto_start,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.next
    }

    /// A worker took so long to boot.
    pub(super) fn booted(&mut self, boot: Duration) {
        let mean = self.boot.map_or(boot, |mean| mean.mul_f64(1.0 - NEWEST) + boot.mul_f64(NEWEST));
        self.boot = Some(mean);
    }

    /// The settings are others now. What was observed is about the app before.
    pub(super) fn reconfigure(&mut self, settings: &Settings) {
        self.policy = WorkersPolicy::new(config(settings));
    }

    /// `--workers auto` is new: as at the start.
    pub(super) fn begin_with(&mut self, auto_start: Option<u32>) {
        self.auto_start = auto_start;
    }

    fn cpu_since(&mut self) -> Option<Cpu> {
        let now = self.cpu.as_ref()?.usage()?;
        let before = self.cpu_before.replace(now).unwrap_or(now);
        Some(Cpu {
            quota_cores: now.quota_cores,
            used_seconds: now.used_seconds - before.used_seconds,
            periods: now.periods.saturating_sub(before.periods),
            throttled_periods: now.throttled_periods.saturating_sub(before.throttled_periods),
        })
    }

    pub(super) fn cpu(&self) -> Option<cgroup::Cpu> {
        self.cpu.as_ref()?.usage()
    }
}

fn config(settings: &Settings) -> Config {
    Config::default().with_down_window(settings.scale_down_delay)
}

/// How many requests a worker runs at a time, as far as its type says.
fn concurrency(settings: &Settings) -> u32 {
    match settings.worker_class {
        WorkerClass::Sync => 1,
        WorkerClass::Gthread => settings.threads,
        _ => settings.worker_connections,
    }
    .max(1)
}

impl Arbiter {
    /// Takes a sample if one is due, and decides if enough of them have come.
    pub(super) fn autoscale(&mut self, now: Instant) {
        if now < self.autoscale.next || self.ending != Ending::Not {
            return;
        }
        // Nobody waits for the figures of a fixed number.
        self.autoscale.next = now + if self.scale.follows_load() { SAMPLE_INTERVAL } else { TICK };
        self.read_scoreboard();
        let at = now.saturating_duration_since(self.autoscale.began);
        let sample = self.sample(at);
        self.begin_auto(&sample);
        let Some(seen) = self.autoscale.meter.add(at, &sample) else { return };
        let situation = self.situation(now);
        let decision = self.autoscale.policy.tick(at, situation, &seen);
        *self.autoscale.decisions.entry((decision.direction, decision.reason)).or_default() += 1;
        if self.scale.follow(decision.target, now) {
            self.retarget(decision.message.trim_end_matches('.'));
        }
        self.autoscale.decision = Some(decision);
    }

    fn sample(&mut self, at: Duration) -> Sample {
        let concurrency = concurrency(&self.settings);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let unix = u64::try_from(unix).unwrap_or(0);
        let serving = self.pool.workers().filter(|(_, worker)| worker.is_ready());
        let figures: Vec<WorkerFigures> = serving
            .map(|(slot, worker)| {
                let running =
                    self.map.reader(slot).map_or(0, |reader| reader.running_nanos(worker.in_flight, unix));
                let ended = self.ledger.slot(slot).busy_nanos;
                WorkerFigures {
                    slot,
                    epoch: worker.epoch,
                    held: Duration::from_nanos(ended.saturating_add(running)),
                    cpu: worker.pid.filter(|_| concurrency > 1).and_then(cpu_time),
                    in_flight: worker.in_flight,
                    parked: worker.parked,
                }
            })
            .collect();
        let counters = &self.ledger.totals().counters;
        let totals = TotalFigures {
            completions: counters.latency.iter().fold(0, |sum, count| sum.saturating_add(*count)),
            duration: Duration::from_nanos(counters.latency_nanos),
        };
        let queued = self.accept_queue();
        Sample {
            memory: self.memory_for_policy(),
            cpu: self.autoscale.cpu_since(),
            ..self.autoscale.load.look(at, concurrency, &figures, totals, queued)
        }
    }

    /// Connections that no worker has taken, on all listeners.
    fn accept_queue(&self) -> u32 {
        let Some(blueprint) = self.blueprints.get(&self.pool.generation()) else { return 0 };
        let queues = blueprint.listeners.iter().filter_map(|listener| listener.status().accept_queue);
        queues.fold(0, |sum, queue| sum.saturating_add(queue.length))
    }

    fn memory_for_policy(&self) -> Option<Memory> {
        let look = self.memory.look.as_ref()?;
        let memory = look.memory?;
        let workers = self.pool.workers().filter(|(_, worker)| worker.is_ready());
        let mut own: Vec<u64> = workers
            .filter_map(|(_, worker)| look.processes.get(&worker.pid?))
            .map(|rollup| rollup.uss)
            .collect();
        own.sort_unstable();
        // Nearest rank.
        let per_worker =
            (own.len() * 95).div_ceil(100).checked_sub(1).and_then(|rank| own.get(rank)).copied();
        Some(Memory {
            limit: memory.limit?,
            working_set: memory.working_set,
            per_worker,
            pressure: look.memory_pressure.map(|pressure| pressure.some.percent_of_10s),
        })
    }

    fn situation(&self, now: Instant) -> Situation {
        let view = self.scale.view(now);
        let follows = self.scale.follows_load();
        let (min, max) = if follows { (view.min, view.max) } else { (view.target, view.target) };
        let starting = self
            .pool
            .workers()
            .filter(|(_, worker)| matches!(worker.phase, Phase::Spawning { .. } | Phase::Booting { .. }))
            .count();
        Situation {
            current: view.target,
            min,
            max,
            ready: u32::try_from(self.pool.ready()).unwrap_or(u32::MAX),
            starting: u32::try_from(starting).unwrap_or(u32::MAX),
            concurrency: concurrency(&self.settings),
            backing_off: self.pool.backoff().failures() > 0,
            leased: view.lease.is_some(),
        }
    }

    /// Once a worker serves and has been measured, `auto` goes to as many as there are to be at first.
    fn begin_auto(&mut self, sample: &Sample) {
        let Some(wanted) = self.autoscale.auto_start.filter(|_| self.pool.ready() > 0) else { return };
        let ready = u32::try_from(self.pool.ready()).unwrap_or(u32::MAX);
        if self.memory.look.is_none() {
            return;
        }
        let fit = match sample.memory {
            None => wanted,
            // The last look was before it served.
            Some(Memory { per_worker: None, .. }) => return,
            Some(Memory { limit, working_set, per_worker: Some(own), .. }) => {
                ready.saturating_add(fits_in_memory(limit, working_set, own))
            }
        };
        self.autoscale.auto_start = None;
        if self.scale.follow(wanted.min(fit), Instant::now()) {
            let why = if fit < wanted { ", as many as fit the memory limit" } else { "" };
            self.retarget(&format!("auto begins with 2 × cores + 1{why}"));
        }
    }

    /// `GET /scale`.
    pub(super) fn scale_view(&self, now: Instant) -> ScaleView {
        ScaleView { decision: self.autoscale.decision.clone(), ..self.scale.view(now) }
    }
}

/// User and system time of a process, in all its threads.
fn cpu_time(pid: i32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = cpu_ticks(&stat)?;
    let per_second =
        sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok())?;
    Some(Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / per_second.max(1))))
}

/// The name, in parentheses, may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_whatever_the_process_is_called() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (x"), None);
        assert!(cpu_time(i32::try_from(std::process::id()).unwrap()).is_some());
        assert_eq!(cpu_time(-1), None);
    }
}
