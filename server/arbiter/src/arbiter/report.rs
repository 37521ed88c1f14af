//! The snapshot that the admin API shows.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use podicorn_scoreboard::{BOUNDS_SECONDS, BUCKETS, RingEntry};

use super::{Arbiter, Ending};
use crate::admin::Detail;
use crate::cgroup::Pressure;
use crate::pool::{self, Worker};
use crate::status::{
    Boot, CgroupMemory, CpuStatus, CurrentRequest, Death, DecisionCount, ForkServer, ForkServerState,
    Histogram, Logged, MemoryStatus, Phase, ProcessMemory, PythonTotals, RecentRequest, Reloads,
    RequestsByClass, Scaling, Stalls, Status, TargetChange, Totals, WorkerState, WorkerStatus,
};
use crate::telemetry::log_counts;
use crate::telemetry::traces::Traces;

/// How many of a worker's last requests `/workers` shows.
const RECENT: usize = 10;
/// How far back the one that runs is looked for.
const LOOK_BACK: usize = 64;
/// How many dead workers it shows.
const DEATHS: usize = 10;
/// How many changes of the target.
const CHANGES: usize = 10;

impl Arbiter {
    pub(super) fn status(&mut self, detail: Detail) -> Status {
        // Figures as of now, not as of the last beat.
        self.read_scoreboard();
        let now = Instant::now();
        let workers = self.pool.workers().map(|(slot, worker)| self.worker_status(slot, worker, detail, now));
        let workers = workers.collect();
        let generation = self.pool.generation();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started_at: self.started_at,
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            phase: match self.ending {
                Ending::Not if self.pool.first_ready() => Phase::Running,
                Ending::Not => Phase::Starting,
                Ending::Lingering { .. } | Ending::Emptying { .. } | Ending::Stopping => Phase::Draining,
            },
            startup_done: self.pool.first_ready(),
            generation,
            scale: self.scale_view(now),
            reloads: Reloads {
                total: self.reload.total,
                failed: self.reload.failed,
                in_progress: self.reload.under_way.is_some(),
                last_error: self.reload.last_error.clone(),
            },
            boot: Boot {
                consecutive_failures: self.pool.backoff().failures(),
                failures: self.pool.backoff().total(),
                backoff_seconds: self
                    .pool
                    .backoff()
                    .not_before()
                    .map(|at| at.saturating_duration_since(now).as_secs_f64()),
                last_error: self.tally.last_boot_error.clone(),
            },
            fork_server: self.forkserver_status(generation),
            strays_reaped: self.tally.strays,
            log_lines_dropped: self.log.dropped(),
            scoreboard_corruptions: self.ledger.totals().corruptions,
            traces: self.traces.as_ref().map(Traces::exported),
            memory: self.memory_status(),
            scaling: self.scaling(),
            workers,
            totals: self.totals(),
            deaths: match detail {
                Detail::Full => self.tally.deaths.iter().cloned().collect(),
                Detail::Summary => Vec::new(),
            },
            listeners: self
                .blueprints
                .get(&generation)
                .map(|blueprint| blueprint.listeners.iter().map(|listener| listener.status()).collect())
                .unwrap_or_default(),
        }
    }

    fn forkserver_status(&self, generation: u32) -> ForkServer {
        let current =
            self.forkservers.iter().find(|(_, server)| server.generation == generation && !server.dismissed);
        ForkServer {
            state: match current {
                Some((_, server)) if server.ready => ForkServerState::Ready,
                Some(_) => ForkServerState::Starting,
                None => ForkServerState::Down,
            },
            pid: current.and_then(|(pid, _)| u32::try_from(*pid).ok()),
            starts: self.tally.forkserver_starts,
            deaths: self.tally.forkserver_deaths,
            memory: current.and_then(|(pid, _)| self.held_by(*pid)),
        }
    }

    fn worker_status(&self, slot: u32, worker: &Worker, detail: Detail, now: Instant) -> WorkerStatus {
        let counters = self.ledger.slot(slot);
        let requests = match detail {
            Detail::Full => {
                self.map.reader(slot).map(|reader| reader.requests(LOOK_BACK)).unwrap_or_default()
            }
            Detail::Summary => Vec::new(),
        };
        let seconds_since = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
        WorkerStatus {
            slot,
            pid: worker.pid.and_then(|pid| u32::try_from(pid).ok()),
            generation: worker.generation,
            age: worker.age,
            state: match worker.phase {
                pool::Phase::Spawning { .. } | pool::Phase::Booting { .. } => WorkerState::Starting,
                pool::Phase::Ready { .. } if worker.load() > 0 => WorkerState::Busy,
                pool::Phase::Ready { .. } => WorkerState::Idle,
                pool::Phase::Stopping { .. } => WorkerState::Draining,
                pool::Phase::Aborting { .. } | pool::Phase::Killed { .. } => WorkerState::Exiting,
            },
            uptime_seconds: seconds_since(worker.spawned_at),
            requests: counters.requests.iter().fold(0, |sum, count| sum.saturating_add(*count)),
            in_flight: worker.in_flight,
            queued: worker.parked,
            connections: worker.connections,
            busy_seconds: seconds(counters.busy_nanos),
            memory: worker.pid.and_then(|pid| self.held_by(pid)),
            last_beat_seconds: worker.pid.map(|_| seconds_since(worker.beat_seen)),
            lag_seconds: self.lag_of(slot),
            current_request: requests
                .iter()
                .rev()
                .find(|entry| entry.duration_nanos.is_none() && worker.in_flight > 0)
                .map(current_request),
            recent_requests: requests
                .iter()
                .filter(|entry| entry.duration_nanos.is_some())
                .take(RECENT)
                .map(recent_request)
                .collect(),
        }
    }

    fn lag_of(&self, slot: u32) -> Option<f64> {
        let reading = self.map.reader(slot).ok()?.read();
        (reading.counters.lag.iter().any(|count| *count > 0)).then(|| seconds(reading.lag_nanos))
    }

    /// What a worker that has just died was doing.
    pub(super) fn record_death(&mut self, slot: u32, pid: i32, how: String) {
        let entries = self.map.reader(slot).map(|reader| reader.requests(usize::MAX)).unwrap_or_default();
        let running = entries.iter().rev().filter(|entry| entry.duration_nanos.is_none());
        let ended = entries.iter().filter(|entry| entry.duration_nanos.is_some());
        self.tally.deaths.push_front(Death {
            slot,
            pid: pid.unsigned_abs(),
            at: SystemTime::now(),
            how,
            running: running.map(current_request).take(RECENT).collect(),
            recent_requests: ended.map(recent_request).take(RECENT).collect(),
        });
        self.tally.deaths.truncate(DEATHS);
    }

    pub(super) fn record_change(&mut self, from: u32, to: u32, why: &str) {
        let change = TargetChange { at: SystemTime::now(), from, to, why: why.to_owned() };
        self.tally.changes.push_front(change);
        self.tally.changes.truncate(CHANGES);
    }

    fn held_by(&self, pid: i32) -> Option<ProcessMemory> {
        let rollup = self.memory.look.as_ref()?.processes.get(&pid)?;
        Some(ProcessMemory { rss_bytes: rollup.rss, pss_bytes: rollup.pss, uss_bytes: rollup.uss })
    }

    fn scaling(&self) -> Scaling {
        let decisions = self.autoscale.decisions.iter();
        Scaling {
            boot_seconds: self.autoscale.boot.map(|boot| boot.as_secs_f64()),
            decisions: decisions
                .map(|((direction, reason), count)| DecisionCount {
                    direction: *direction,
                    reason: *reason,
                    count: *count,
                })
                .collect(),
            cpu: self.autoscale.cpu().map(|cpu| CpuStatus {
                quota_cores: cpu.quota_cores,
                used_seconds: cpu.used_seconds,
                periods: cpu.periods,
                throttled_periods: cpu.throttled_periods,
            }),
            changes: self.tally.changes.iter().cloned().collect(),
        }
    }

    fn memory_status(&self) -> MemoryStatus {
        let look = self.memory.look.as_ref();
        let stalls = |pressure: Pressure| Stalls {
            some_seconds: pressure.some.total_seconds,
            full_seconds: pressure.full.total_seconds,
        };
        let cgroup = look.and_then(|look| {
            let memory = look.memory?;
            Some(CgroupMemory {
                version: self.memory.version()?,
                limit_bytes: memory.limit,
                current_bytes: memory.current,
                working_set_bytes: memory.working_set,
                unreclaimable_bytes: memory.unreclaimable,
                oom_events: look.oom.oom,
                oom_kills: look.oom.kills,
                kills_together: look.kills_together,
                pressure: look.memory_pressure.map(stalls),
            })
        });
        MemoryStatus {
            cgroup,
            cpu_pressure: look.and_then(|look| look.cpu_pressure).map(stalls),
            io_pressure: look.and_then(|look| look.io_pressure).map(stalls),
            fresh_worker_bytes: self.memory.fresh(),
            oom_kills: self.memory.kills,
            last_oom_kill: self.memory.last_kill.clone(),
        }
    }

    /// Of workers and of this process.
    pub(super) fn logged(&self) -> Logged {
        let [critical, error, warning, exception] = self.ledger.totals().counters.logged;
        let ours = log_counts::so_far();
        Logged {
            critical: critical.saturating_add(ours.critical),
            error: error.saturating_add(ours.error),
            warning: warning.saturating_add(ours.warning),
            exception,
        }
    }

    fn totals(&self) -> Totals {
        let counters = &self.ledger.totals().counters;
        let [_, informational, success, redirection, client_error, server_error] = counters.requests;
        Totals {
            requests: RequestsByClass { informational, success, redirection, client_error, server_error },
            busy_seconds: seconds(counters.busy_nanos),
            request_duration: histogram(&counters.latency, counters.latency_nanos),
            request_queue: histogram(&counters.queue, counters.queue_nanos),
            restarts: self.tally.restarts,
            access_log_lines_dropped: counters.log_dropped,
            request_timeouts: counters.timed_out,
            arrivals: counters.begun,
            connections_accepted: counters.accepted,
            rejected: counters.rejected,
            tls_failures: counters.tls_failures,
            logged: self.logged(),
            python: PythonTotals {
                gc_runs: counters.gc_runs,
                gc_seconds: seconds(counters.gc_nanos),
                gc_freed: counters.gc_freed,
                lag: histogram(&counters.lag, counters.lag_nanos),
            },
        }
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

fn histogram(counts: &[u64; BUCKETS], sum_nanos: u64) -> Histogram {
    Histogram { bounds: BOUNDS_SECONDS.to_vec(), counts: counts.to_vec(), sum_seconds: seconds(sum_nanos) }
}

fn start_of(entry: &RingEntry) -> SystemTime {
    // A scribbled time may be beyond what can be shown.
    let nanos = entry.start_unix_nanos.min(i64::MAX.unsigned_abs());
    UNIX_EPOCH + Duration::from_nanos(nanos)
}

pub(super) fn current_request(entry: &RingEntry) -> CurrentRequest {
    let since = SystemTime::now().duration_since(start_of(entry)).unwrap_or_default();
    CurrentRequest { method: entry.method.clone(), path: entry.path.clone(), seconds: since.as_secs_f64() }
}

fn recent_request(entry: &RingEntry) -> RecentRequest {
    RecentRequest {
        method: entry.method.clone(),
        path: entry.path.clone(),
        status: (entry.status != 0).then_some(entry.status),
        started_at: start_of(entry),
        seconds: seconds(entry.duration_nanos.unwrap_or_default()),
    }
}
