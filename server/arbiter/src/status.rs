//! A snapshot of the pool as plain data.
//!
//! The run loop fills one [`Status`] on request; `/workers` serialises it, `/readyz` and `/startupz` judge it and
//! `/metrics` renders it. Nothing here reads a clock, a process or the scoreboard. Durations are seconds as `f64`,
//! counts are since the arbiter started, and JSON names are camelCase.

use std::collections::BTreeMap;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::scale::ScaleView;
use crate::telemetry::traces::Exported;

mod memory;

pub use memory::{CgroupMemory, MemoryStatus, OomKill, ProcessMemory, Stalls, Victim};

/// Everything the admin API tells about the pool.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub version: &'static str,
    /// The arbiter's own process id.
    pub pid: u32,
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: SystemTime,
    pub uptime_seconds: f64,
    pub phase: Phase,
    /// A worker has been ready once since the arbiter started; never goes back.
    pub startup_done: bool,
    /// The generation that new workers belong to; 1 at start, one more for each reload that succeeded.
    pub generation: u32,
    /// Target, base target, bounds, reason and lease.
    pub scale: ScaleView,
    pub reloads: Reloads,
    pub boot: Boot,
    pub fork_server: ForkServer,
    /// Adopted orphans that were reaped.
    pub strays_reaped: u64,
    /// Lines of the error log that were dropped because its reader did not keep up.
    pub log_lines_dropped: u64,
    /// Scoreboard reads that failed a bounds, UTF-8 or sequence check.
    pub scoreboard_corruptions: u64,
    /// Absent where no traces are exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces: Option<Exported>,
    pub memory: MemoryStatus,
    pub scaling: Scaling,
    /// One entry per slot in use, by slot.
    pub workers: Vec<WorkerStatus>,
    pub totals: Totals,
    /// Workers that ended without being asked to, the latest first.
    pub deaths: Vec<Death>,
    pub listeners: Vec<ListenerStatus>,
}

impl Status {
    /// Workers that can take a request now or when their present one is done.
    pub fn ready_workers(&self) -> usize {
        self.workers.iter().filter(|worker| worker.state.is_ready()).count()
    }

    /// Workers in the given state.
    pub fn workers_in(&self, state: WorkerState) -> usize {
        self.workers.iter().filter(|worker| worker.state == state).count()
    }
}

/// What scaling goes by, and what it has done, beside the present decision in [`Status::scale`].
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Moving mean of the time from the fork to readiness.
    pub boot_seconds: Option<f64>,
    /// Decisions by direction and reason; those that change nothing too.
    pub decisions: Vec<DecisionCount>,
    /// Absent where the container has no CPU quota.
    pub cpu: Option<CpuStatus>,
    /// The latest changes of the number of workers wanted, whoever wanted them; the newest first.
    pub changes: Vec<TargetChange>,
}

/// The target went from one number to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetChange {
    #[serde(serialize_with = "rfc3339", deserialize_with = "from_rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: SystemTime,
    pub from: u32,
    pub to: u32,
    /// As the log has it.
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionCount {
    pub direction: podicorn_policy::Direction,
    pub reason: podicorn_policy::Reason,
    pub count: u64,
}

/// The container's CPU time, since its cgroup began.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuStatus {
    pub quota_cores: f64,
    pub used_seconds: f64,
    /// Periods of the quota in which something ran.
    pub periods: u64,
    /// Those of them in which the quota was spent and somebody had to wait.
    pub throttled_periods: u64,
}

/// Where the arbiter is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// No worker has been ready yet.
    Starting,
    Running,
    /// TERM, INT or QUIT has come.
    Draining,
}

impl Phase {
    pub const ALL: [Self; 3] = [Self::Starting, Self::Running, Self::Draining];

    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
        }
    }
}

/// Reloads (HUP and `POST /reload`).
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reloads {
    /// Reloads that were begun.
    pub total: u64,
    /// Those of them that failed: the old generation went on.
    pub failed: u64,
    pub in_progress: bool,
    /// Why the latest failure happened; kept until a reload succeeds.
    pub last_error: Option<LastError>,
}

/// The latest error of its kind.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// One line.
    pub message: String,
    #[serde(serialize_with = "rfc3339", deserialize_with = "from_rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: SystemTime,
}

/// How booting workers goes.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Boot {
    /// Boots that failed since the last one that succeeded.
    pub consecutive_failures: u32,
    /// Boots that failed, in all.
    pub failures: u64,
    /// Seconds until the next try, if one is being waited for.
    pub backoff_seconds: Option<f64>,
    pub last_error: Option<LastError>,
}

/// The fork server of the current generation.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForkServer {
    pub state: ForkServerState,
    pub pid: Option<u32>,
    /// Fork servers that were started, in all.
    pub starts: u64,
    /// Fork servers that died without being asked to.
    pub deaths: u64,
    pub memory: Option<ProcessMemory>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForkServerState {
    /// Reading the configuration or importing the app.
    Starting,
    Ready,
    /// Dead; a new one is started after the back-off.
    Down,
}

impl ForkServerState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Down => "down",
        }
    }
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    Starting,
    Idle,
    Busy,
    /// Asked to stop; finishes what it has.
    Draining,
    /// Past serving: hooks and exit are running, or it was killed and is not reaped yet.
    Exiting,
}

impl WorkerState {
    pub const ALL: [Self; 5] = [Self::Starting, Self::Idle, Self::Busy, Self::Draining, Self::Exiting];

    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Exiting => "exiting",
        }
    }

    pub fn is_ready(self) -> bool {
        matches!(self, Self::Idle | Self::Busy)
    }
}

/// One worker.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    pub slot: u32,
    /// Absent until the fork server has replied.
    pub pid: Option<u32>,
    pub generation: u32,
    /// Counts workers since the arbiter began.
    pub age: u64,
    pub state: WorkerState,
    /// Seconds since the spawn was asked for.
    pub uptime_seconds: f64,
    /// Requests that this worker has finished.
    pub requests: u64,
    pub in_flight: u32,
    /// Complete requests that wait in the worker.
    pub queued: u32,
    /// Open connections: those of requests, idle ones, and those whose request is still on its way.
    pub connections: u32,
    /// Seconds with at least one request running.
    pub busy_seconds: f64,
    /// Absent until it was measured.
    pub memory: Option<ProcessMemory>,
    /// Seconds since the arbiter saw the heartbeat change.
    pub last_beat_seconds: Option<f64>,
    /// How late the last heartbeat was, for the event loop, the hub or the GIL. Absent on worker types that cannot tell.
    pub lag_seconds: Option<f64>,
    /// The request that has run longest, as far as the worker tells.
    pub current_request: Option<CurrentRequest>,
    /// Newest first.
    pub recent_requests: Vec<RecentRequest>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CurrentRequest {
    pub method: String,
    /// A prefix of the path, without the query.
    pub path: String,
    /// Seconds since it began.
    pub seconds: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecentRequest {
    pub method: String,
    /// A prefix of the path, without the query.
    pub path: String,
    /// The response's status; absent if none was sent.
    pub status: Option<u16>,
    #[serde(serialize_with = "rfc3339", deserialize_with = "from_rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: SystemTime,
    pub seconds: f64,
}

/// The flight recorder of a worker that has died: what it was doing.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Death {
    pub slot: u32,
    pub pid: u32,
    #[serde(serialize_with = "rfc3339", deserialize_with = "from_rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: SystemTime,
    /// Such as `was killed by signal 9`.
    pub how: String,
    /// Requests that ran, the longest first.
    pub running: Vec<CurrentRequest>,
    /// Newest first.
    pub recent_requests: Vec<RecentRequest>,
}

/// Sums over all workers, dead ones included: they never fall.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    pub requests: RequestsByClass,
    pub busy_seconds: f64,
    pub request_duration: Histogram,
    /// From the connection being readable to the app being called.
    pub request_queue: Histogram,
    pub restarts: Restarts,
    pub access_log_lines_dropped: u64,
    /// Requests that ran into `request_timeout`.
    pub request_timeouts: u64,
    /// Requests that the app was given, those that run included.
    pub arrivals: u64,
    pub connections_accepted: u64,
    /// Responses that the server gave in the app's place: malformed requests, time-outs, overload.
    pub rejected: u64,
    /// Clients that were to speak TLS and did not: handshakes that failed or were not finished, plain HTTP.
    pub tls_failures: u64,
    /// Records of the error log, of workers and of the arbiter.
    pub logged: Logged,
    pub python: PythonTotals,
}

/// Records of the error log, by Gunicorn's names for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Logged {
    pub critical: u64,
    pub error: u64,
    pub warning: u64,
    /// With an exception of the app.
    pub exception: u64,
}

impl Logged {
    pub fn by_level(&self) -> [(&'static str, u64); 4] {
        [
            ("critical", self.critical),
            ("error", self.error),
            ("warning", self.warning),
            ("exception", self.exception),
        ]
    }
}

/// What the interpreters of all workers have been busy with beside the app.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PythonTotals {
    /// Runs of the garbage collector, by generation.
    pub gc_runs: [u64; 3],
    pub gc_seconds: f64,
    pub gc_freed: u64,
    /// How late heartbeats were: for the event loop, the hub or the GIL.
    pub lag: Histogram,
}

/// Finished requests by the class of their status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RequestsByClass {
    #[serde(rename = "1xx")]
    pub informational: u64,
    #[serde(rename = "2xx")]
    pub success: u64,
    #[serde(rename = "3xx")]
    pub redirection: u64,
    #[serde(rename = "4xx")]
    pub client_error: u64,
    #[serde(rename = "5xx")]
    pub server_error: u64,
}

impl RequestsByClass {
    pub fn by_class(&self) -> [(&'static str, u64); 5] {
        [
            ("1xx", self.informational),
            ("2xx", self.success),
            ("3xx", self.redirection),
            ("4xx", self.client_error),
            ("5xx", self.server_error),
        ]
    }

    pub fn total(&self) -> u64 {
        self.by_class().iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

/// A histogram of durations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Histogram {
    /// Upper bounds in seconds, rising, without the last one (infinity).
    pub bounds: Vec<f64>,
    /// Observations per bucket, not cumulative: one more than bounds, the last is above them all.
    pub counts: Vec<u64>,
    pub sum_seconds: f64,
}

impl Histogram {
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// Workers that ended and why; boot failures are in [`Boot`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restarts {
    pub max_requests: u64,
    /// The heartbeat stopped.
    pub timeout: u64,
    /// Not ready within the boot deadline.
    pub boot_timeout: u64,
    /// Replaced for the memory that the worker held.
    pub max_memory: u64,
    /// Replaced because the container was nearly out of memory.
    pub memory_pressure: u64,
    /// Killed by the kernel, for certain, because the container was out of memory.
    pub oom: u64,
    /// Died by a signal or an exit code that nobody asked for.
    pub crash: u64,
    /// The target went down.
    pub scale: u64,
    pub reload: u64,
}

impl Restarts {
    /// The inverse of [`Self::by_reason`]; reasons that this program does not know are left out.
    pub fn from_reasons(counts: &BTreeMap<String, u64>) -> Self {
        let count = |reason: &str| counts.get(reason).copied().unwrap_or_default();
        Self {
            max_requests: count("max_requests"),
            timeout: count("timeout"),
            boot_timeout: count("boot_timeout"),
            max_memory: count("max_memory"),
            memory_pressure: count("memory_pressure"),
            oom: count("oom"),
            crash: count("crash"),
            scale: count("scale"),
            reload: count("reload"),
        }
    }

    pub fn by_reason(&self) -> [(&'static str, u64); 9] {
        [
            ("max_requests", self.max_requests),
            ("max_memory", self.max_memory),
            ("memory_pressure", self.memory_pressure),
            ("oom", self.oom),
            ("timeout", self.timeout),
            ("boot_timeout", self.boot_timeout),
            ("crash", self.crash),
            ("scale", self.scale),
            ("reload", self.reload),
        ]
    }
}

/// A socket that serves the app.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// As logged, for example `http://127.0.0.1:8000` or `unix:/run/app.sock`.
    pub address: String,
    pub accept_queue: Option<AcceptQueue>,
}

/// Connections that the kernel holds and no worker has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptQueue {
    pub length: u32,
    pub limit: u32,
}

fn rfc3339<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let timestamp = jiff::Timestamp::try_from(*at).map_err(serde::ser::Error::custom)?;
    serializer.collect_str(&format_args!("{timestamp:.3}"))
}

fn from_rfc3339<'d, D: Deserializer<'d>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<jiff::Timestamp>().map(Into::into).map_err(serde::de::Error::custom)
}

#[cfg(test)]
pub(crate) mod sample;
