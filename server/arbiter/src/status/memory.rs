//! Memory, as the snapshot tells it. Bytes throughout.

use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CurrentRequest, from_rfc3339, rfc3339};

/// Memory of the container.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStatus {
    /// Absent where there is no cgroup to read.
    pub cgroup: Option<CgroupMemory>,
    pub cpu_pressure: Option<Stalls>,
    pub io_pressure: Option<Stalls>,
    /// What a worker of its own holds when it has just become ready.
    pub fresh_worker_bytes: Option<u64>,
    /// Workers, fork servers and orphans that the kernel has killed for want of memory.
    pub oom_kills: u64,
    pub last_oom_kill: Option<OomKill>,
}

/// What the kernel says of the container's memory.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CgroupMemory {
    /// 1 or 2.
    pub version: u8,
    /// Absent: no limit.
    pub limit_bytes: Option<u64>,
    pub current_bytes: u64,
    /// Without inactive file cache.
    pub working_set_bytes: u64,
    /// Without any file cache.
    pub unreclaimable_bytes: u64,
    /// How often the limit was hit and nothing could be reclaimed (v2).
    pub oom_events: Option<u64>,
    /// Processes that the kernel killed for it, grandchildren included.
    pub oom_kills: Option<u64>,
    /// `memory.oom.group` is 1: the kernel kills the whole container at once.
    pub kills_together: bool,
    pub pressure: Option<Stalls>,
}

/// Time in which work waited for a resource.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stalls {
    /// At least one task waited.
    pub some_seconds: f64,
    /// All tasks waited.
    pub full_seconds: f64,
}

/// Memory of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessMemory {
    pub rss_bytes: u64,
    /// What it shares counted by its share.
    pub pss_bytes: u64,
    /// What nobody else has.
    pub uss_bytes: u64,
}

/// A process that the kernel has killed because the container was out of memory.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OomKill {
    #[serde(serialize_with = "rfc3339", deserialize_with = "from_rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: SystemTime,
    pub victim: Victim,
    pub pid: u32,
    /// When last measured.
    pub uss_bytes: Option<u64>,
    /// What it was serving.
    pub request: Option<CurrentRequest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Victim {
    Worker,
    ForkServer,
    /// A process that the app had started and left behind.
    Stray,
}
