//! A snapshot with something in every field, for tests.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use podicorn_policy::{Config, Decision, Direction, Memory, Observation, Reason, Situation, WorkersPolicy};

use super::{
    AcceptQueue, Boot, CgroupMemory, CpuStatus, CurrentRequest, DecisionCount, ForkServer, ForkServerState,
    Histogram, LastError, ListenerStatus, Logged, MemoryStatus, OomKill, Phase, ProcessMemory, PythonTotals,
    RecentRequest, Reloads, RequestsByClass, Restarts, Scaling, Stalls, Status, TargetChange, Totals, Victim,
    WorkerState, WorkerStatus,
};
use crate::scale::{Scale, ScaleRequest, ScaleView, Workers};
use crate::telemetry::traces::Exported;

/// 2026-11-22 22:58:40 UTC.
pub(crate) fn birth() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_388_320)
}

pub(crate) fn worker(slot: u32, state: WorkerState) -> WorkerStatus {
    let busy = state == WorkerState::Busy;
    WorkerStatus {
        slot,
        pid: Some(4000 + slot),
        generation: 2,
        age: u64::from(slot) + 5,
        state,
        uptime_seconds: 61.5,
        requests: 120,
        in_flight: u32::from(busy),
        queued: 2 * u32::from(busy),
        connections: 3,
        busy_seconds: 12.25,
        memory: Some(ProcessMemory { rss_bytes: 50 << 20, pss_bytes: 30 << 20, uss_bytes: 20 << 20 }),
        last_beat_seconds: Some(0.5),
        lag_seconds: Some(0.002),
        current_request: busy.then(|| CurrentRequest {
            method: "POST".into(),
            path: "/upload".into(),
            seconds: 0.75,
        }),
        recent_requests: vec![RecentRequest {
            method: "GET".into(),
            path: "/".into(),
            status: Some(200),
            started_at: birth() + Duration::from_secs(60),
            seconds: 0.004,
        }],
    }
}

fn memory() -> MemoryStatus {
    MemoryStatus {
        cgroup: Some(CgroupMemory {
            version: 2,
            limit_bytes: Some(256 << 20),
            current_bytes: 200 << 20,
            working_set_bytes: 160 << 20,
            unreclaimable_bytes: 150 << 20,
            oom_events: Some(3),
            oom_kills: Some(2),
            kills_together: true,
            pressure: Some(Stalls { some_seconds: 2.5, full_seconds: 0.5 }),
        }),
        cpu_pressure: Some(Stalls { some_seconds: 7.5, full_seconds: 0.0 }),
        io_pressure: Some(Stalls { some_seconds: 3.25, full_seconds: 0.25 }),
        fresh_worker_bytes: Some(18 << 20),
        oom_kills: 1,
        last_oom_kill: Some(OomKill {
            at: birth(),
            victim: Victim::Worker,
            pid: 4001,
            uss_bytes: Some(90 << 20),
            request: Some(CurrentRequest { method: "GET".into(), path: "/grow".into(), seconds: 0.5 }),
        }),
    }
}

/// Under a lease, and with little memory left.
fn decision() -> Decision {
    let situation = Situation {
        current: 3,
        min: 1,
        max: 3,
        ready: 2,
        starting: 1,
        concurrency: 1,
        backing_off: false,
        leased: true,
    };
    let seen = Observation {
        busy: 1.5,
        arrivals: 20.0,
        completions: 20.0,
        service: 1.5,
        duration: 1.5,
        memory: Some(Memory {
            limit: 256 << 20,
            working_set: 200 << 20,
            per_worker: Some(40 << 20),
            pressure: None,
        }),
        ..Observation::default()
    };
    WorkersPolicy::new(Config::default()).tick(Duration::from_secs(1), situation, &seen)
}

fn scaling() -> Scaling {
    Scaling {
        boot_seconds: Some(0.25),
        decisions: vec![
            DecisionCount { direction: Direction::Up, reason: Reason::Load, count: 4 },
            DecisionCount { direction: Direction::Hold, reason: Reason::Leased, count: 31 },
        ],
        cpu: Some(CpuStatus { quota_cores: 1.5, used_seconds: 12.5, periods: 400, throttled_periods: 10 }),
        changes: vec![TargetChange {
            at: UNIX_EPOCH,
            from: 2,
            to: 3,
            why: "there is work for three".to_owned(),
        }],
    }
}

/// Two ready workers of three; a lease in force.
#[expect(clippy::too_many_lines, reason = "every field has a value that tests can recognise")]
pub(crate) fn status() -> Status {
    let now = Instant::now();
    let mut scale = Scale::new(Workers::Range { min: 1, max: 4 }, 64);
    let order =
        ScaleRequest { workers: 9, min: Some(1), max: Some(3), epoch: (2 << 32) + 7, ttl_seconds: 30 };
    scale.apply(order, now).unwrap();
    Status {
        version: "0.1.0",
        pid: 1,
        started_at: birth(),
        uptime_seconds: 3600.0,
        phase: Phase::Running,
        startup_done: true,
        generation: 2,
        scale: ScaleView { decision: Some(decision()), ..scale.view(now) },
        reloads: Reloads {
            total: 3,
            failed: 1,
            in_progress: true,
            last_error: Some(LastError {
                message: "SyntaxError: invalid syntax (app.py, line 3)".into(),
                at: birth(),
            }),
        },
        boot: Boot {
            consecutive_failures: 2,
            failures: 4,
            backoff_seconds: Some(1.5),
            last_error: Some(LastError { message: "worker died by SIGSEGV".into(), at: birth() }),
        },
        fork_server: ForkServer {
            state: ForkServerState::Ready,
            pid: Some(7),
            starts: 2,
            deaths: 1,
            memory: Some(ProcessMemory { rss_bytes: 40 << 20, pss_bytes: 15 << 20, uss_bytes: 5 << 20 }),
        },
        strays_reaped: 11,
        log_lines_dropped: 13,
        scoreboard_corruptions: 17,
        traces: Some(Exported {
            sent: 21,
            full: 22,
            undelivered: 23,
            overrun: 24,
            failed_attempts: 25,
            waiting: 26,
        }),
        memory: memory(),
        scaling: scaling(),
        workers: vec![
            worker(0, WorkerState::Busy),
            worker(1, WorkerState::Idle),
            WorkerStatus {
                last_beat_seconds: None,
                lag_seconds: None,
                pid: None,
                memory: None,
                ..worker(2, WorkerState::Starting)
            },
        ],
        totals: Totals {
            requests: RequestsByClass {
                informational: 0,
                success: 100,
                redirection: 10,
                client_error: 7,
                server_error: 3,
            },
            busy_seconds: 36.75,
            request_duration: Histogram {
                bounds: vec![0.001, 0.01, 0.1, 1.0],
                counts: vec![10, 80, 20, 8, 2],
                sum_seconds: 14.5,
            },
            request_queue: Histogram {
                bounds: vec![0.001, 0.01],
                counts: vec![118, 2, 0],
                sum_seconds: 0.25,
            },
            restarts: Restarts {
                max_requests: 1,
                timeout: 2,
                boot_timeout: 3,
                max_memory: 7,
                memory_pressure: 8,
                oom: 9,
                crash: 4,
                scale: 5,
                reload: 6,
            },
            access_log_lines_dropped: 19,
            request_timeouts: 20,
            arrivals: 121,
            connections_accepted: 30,
            rejected: 2,
            tls_failures: 1,
            logged: Logged { critical: 1, error: 2, warning: 3, exception: 4 },
            python: python(),
        },
        deaths: Vec::new(),
        listeners: vec![
            ListenerStatus {
                address: "http://127.0.0.1:8000".into(),
                accept_queue: Some(AcceptQueue { length: 3, limit: 2048 }),
            },
            ListenerStatus { address: "unix:/run/a \"b\\.sock".into(), accept_queue: None },
        ],
    }
}

fn python() -> PythonTotals {
    PythonTotals {
        gc_runs: [40, 4, 1],
        gc_seconds: 0.25,
        gc_freed: 1234,
        lag: Histogram { bounds: vec![0.001, 0.01], counts: vec![7, 2, 1], sum_seconds: 0.5 },
    }
}
