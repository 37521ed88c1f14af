//! What is shown of `GET /workers` and `GET /scale`. Fields that a server of another version lacks are shown as unknown.

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pool {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) uptime_seconds: f64,
    pub(crate) phase: String,
    pub(crate) generation: u32,
    pub(crate) scale: Scale,
    pub(crate) reloads: Reloads,
    pub(crate) boot: Boot,
    pub(crate) memory: Memory,
    pub(crate) workers: Vec<Worker>,
    pub(crate) totals: Totals,
    #[serde(default)]
    pub(crate) listeners: Vec<Listener>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Scale {
    pub(crate) target: u32,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) reason: String,
    pub(crate) lease: Option<Lease>,
    pub(crate) last_epoch: Option<u64>,
    pub(crate) decision: Option<Decision>,
    pub(crate) clamped: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lease {
    pub(crate) remaining_seconds: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decision {
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) vetoes: Vec<Veto>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Veto {
    pub(crate) message: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reloads {
    pub(crate) in_progress: bool,
    pub(crate) last_error: Option<LastError>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Boot {
    pub(crate) consecutive_failures: u32,
    pub(crate) last_error: Option<LastError>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct LastError {
    pub(crate) message: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Memory {
    pub(crate) cgroup: Option<Cgroup>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cgroup {
    pub(crate) limit_bytes: Option<u64>,
    pub(crate) working_set_bytes: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Worker {
    pub(crate) slot: u32,
    pub(crate) pid: Option<u32>,
    pub(crate) state: String,
    pub(crate) uptime_seconds: f64,
    pub(crate) requests: u64,
    pub(crate) in_flight: u32,
    pub(crate) queued: u32,
    pub(crate) busy_seconds: f64,
    pub(crate) memory: Option<ProcessMemory>,
    pub(crate) current_request: Option<CurrentRequest>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessMemory {
    pub(crate) pss_bytes: Option<u64>,
    pub(crate) rss_bytes: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CurrentRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) seconds: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Totals {
    pub(crate) requests: RequestsByClass,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct RequestsByClass {
    #[serde(rename = "1xx")]
    informational: u64,
    #[serde(rename = "2xx")]
    success: u64,
    #[serde(rename = "3xx")]
    redirection: u64,
    #[serde(rename = "4xx")]
    client_error: u64,
    #[serde(rename = "5xx")]
    pub(crate) server_error: u64,
}

impl RequestsByClass {
    pub(crate) fn total(self) -> u64 {
        [self.informational, self.success, self.redirection, self.client_error, self.server_error]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listener {
    pub(crate) address: String,
    pub(crate) accept_queue: Option<AcceptQueue>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct AcceptQueue {
    pub(crate) length: u64,
    pub(crate) limit: u64,
}
