//! What a decision says of itself. These types are also those of the admin API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the number goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Up,
    Down,
    Hold,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Hold => "hold",
        }
    }

    pub(crate) fn from(current: u32, target: u32) -> Self {
        match target.cmp(&current) {
            std::cmp::Ordering::Greater => Self::Up,
            std::cmp::Ordering::Less => Self::Down,
            std::cmp::Ordering::Equal => Self::Hold,
        }
    }
}

/// The reason, as a word that metrics can count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DecisionReason")]
pub enum Reason {
    /// Workers have more to do than the target utilization.
    Load,
    /// Requests wait longer than the objective.
    Queue,
    /// One less would still not be busy enough.
    Idle,
    /// The number was outside the bounds.
    Bounds,
    /// The container is short of memory.
    MemoryPressure,
    /// What there is fits.
    Steady,
    /// Less is needed, but it has not been so for long enough.
    Settling,
    /// More is needed, and a veto is in force.
    Vetoed,
    /// Workers boot, and nothing is known yet of what one can do.
    Starting,
    /// Somebody else decides: a lease is in force.
    Leased,
    /// The app does not boot.
    BackingOff,
    /// Nothing is known yet, or no time has passed.
    NoData,
}

impl Reason {
    pub const ALL: [Self; 12] = [
        Self::Load,
        Self::Queue,
        Self::Idle,
        Self::Bounds,
        Self::MemoryPressure,
        Self::Steady,
        Self::Settling,
        Self::Vetoed,
        Self::Starting,
        Self::Leased,
        Self::BackingOff,
        Self::NoData,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Queue => "queue",
            Self::Idle => "idle",
            Self::Bounds => "bounds",
            Self::MemoryPressure => "memory_pressure",
            Self::Steady => "steady",
            Self::Settling => "settling",
            Self::Vetoed => "vetoed",
            Self::Starting => "starting",
            Self::Leased => "leased",
            Self::BackingOff => "backing_off",
            Self::NoData => "no_data",
        }
    }
}

/// What forbids more workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VetoKind {
    /// The next worker would not fit the memory limit.
    MemoryHeadroom,
    /// The kernel stalls on memory, or the limit is near.
    MemoryPressure,
    /// The container is throttled: more workers would share the same CPU time.
    CpuThrottled,
    /// The last workers added brought no more requests a second.
    MarginalGain,
    /// Workers die while they boot.
    CrashBackOff,
}

impl VetoKind {
    pub const ALL: [Self; 5] = [
        Self::MemoryHeadroom,
        Self::MemoryPressure,
        Self::CpuThrottled,
        Self::MarginalGain,
        Self::CrashBackOff,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::MemoryHeadroom => "memory_headroom",
            Self::MemoryPressure => "memory_pressure",
            Self::CpuThrottled => "cpu_throttled",
            Self::MarginalGain => "marginal_gain",
            Self::CrashBackOff => "crash_back_off",
        }
    }
}

/// A veto in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Veto {
    pub kind: VetoKind,
    /// With the figures, in one sentence.
    pub message: String,
}

/// The most workers that can be had now, and what says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cap {
    pub workers: u32,
    /// The veto that lowers it; absent: the upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<VetoKind>,
}

/// The figures that a decision went by. Loads are in workers, times in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// Mean of busy and waiting over the fast window (4 s).
    pub offered_fast: f64,
    /// The same over the slow window (30 s).
    pub offered_slow: f64,
    /// Mean of busy workers over the fast window.
    pub busy: f64,
    /// Mean of waiting requests over the fast window, in workers.
    pub waiting: f64,
    /// How long a request waits, by what waits and how much is served.
    pub wait_seconds: f64,
    pub arrivals_per_second: f64,
    pub completions_per_second: f64,
    /// Mean time that a request takes of a worker; absent while none has ended.
    pub service_seconds: Option<f64>,
    /// Arrival rate × service time: the workers that would be busy if nobody had to wait (erlangs).
    pub demand_erlangs: Option<f64>,
    /// Demand over what the workers at the cap could serve.
    pub capacity_utilization: Option<f64>,
    /// Workers that the fast window asks for.
    pub desired: u32,
    /// The most that a queue may ask for: a quarter above what the demand needs.
    pub ceiling: Option<u32>,
    /// Workers that serve.
    pub ready: u32,
    /// Workers that boot.
    pub starting: u32,
    /// Fewer workers must have been enough for so long before one is taken away.
    pub down_window_seconds: f64,
    /// Load is far above what is there: nothing is taken away.
    pub panic: bool,
}

/// How many workers, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Workers wanted.
    pub target: u32,
    /// Workers that were wanted before.
    pub current: u32,
    pub direction: Direction,
    pub reason: Reason,
    /// In one sentence.
    pub message: String,
    pub cap: Cap,
    pub vetoes: Vec<Veto>,
    pub inputs: Inputs,
}
