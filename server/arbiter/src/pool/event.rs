//! What the pool hears and what it asks for.

use std::fmt;
use std::time::Duration;

use podicorn_scoreboard::State;
use serde::{Deserialize, Serialize};

use super::Limits;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(number) => write!(f, "was killed by {}", signal_name(*number)),
        }
    }
}

/// Such as `SIGSEGV`, or `signal 34` where there is no name.
pub fn signal_name(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number)
        .map_or_else(|_| format!("signal {number}"), |signal| signal.to_string())
}

/// Why a boot failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeathCause {
    Exit(Exit),
    BootTimeout,
    ForkFailed,
    ForkserverGone,
    /// The fork server refused, with the exit code that the failure stands for.
    Refused {
        code: i32,
    },
    Shutdown,
}

impl DeathCause {
    /// The exit code of a failure that will not go away by trying again: 3 (the app's code raised) or 4 (no such app),
    /// and at the fork server also 1 (bad config).
    pub fn fatal_exit_code(self) -> Option<i32> {
        match self {
            Self::Exit(Exit::Code(code @ (3 | 4))) | Self::Refused { code } => Some(code),
            _ => None,
        }
    }
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(Exit::Code(3)) => {
                write!(f, "the worker could not import or start the app (exit code 3)")
            }
            Self::Exit(Exit::Code(4)) => {
                write!(f, "the app named does not exist or cannot be called (exit code 4)")
            }
            Self::Exit(exit) => write!(f, "the worker {exit} while it booted"),
            Self::BootTimeout => write!(f, "the app was not ready within boot_timeout"),
            Self::ForkFailed => write!(f, "the fork server could not fork"),
            Self::ForkserverGone => write!(f, "the fork server died"),
            Self::Refused { code } => write!(f, "the fork server could not start the app (exit code {code})"),
            Self::Shutdown => write!(f, "the server is shutting down"),
        }
    }
}

/// Why a worker is taken for hung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HangReason {
    /// No heartbeat for `timeout`.
    Silent,
    /// Not ready within `boot_timeout`.
    Boot,
}

/// Why a healthy worker is told to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetireReason {
    ScaledDown,
    /// A newer generation serves.
    Replaced,
    MaxRequests,
    /// It holds more memory than one worker may.
    MaxMemory,
    /// It holds the most memory, and the container is nearly full.
    MemoryPressure,
    RolledBack,
    Shutdown,
}

/// How a worker is to be recycled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It serves until its replacement is ready.
    ReplaceFirst,
    /// It is told to go, and its replacement starts at once.
    Now,
    /// It is told to go; its replacement starts when it has gone.
    StopFirst,
}

/// What the scoreboard says of a slot, already checked for sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub state: Option<State>,
    pub beat: u64,
    pub recycle: bool,
    pub in_flight: u32,
    pub parked: u32,
    pub connections: u32,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// So many workers are wanted (at least 1).
    Target(usize),
    Limits(Limits),
    /// The fork server of this generation can spawn.
    ForkserverUp {
        generation: u32,
    },
    /// It has died or could not be started; `failure` where that counts as a failed boot.
    ForkserverDown {
        generation: u32,
        failure: Option<DeathCause>,
    },
    /// A new generation's fork server is up: try a canary.
    Candidate {
        generation: u32,
    },
    Spawned {
        slot: u32,
        epoch: u32,
        pid: i32,
    },
    SpawnFailed {
        slot: u32,
        epoch: u32,
    },
    Reading {
        slot: u32,
        reading: Reading,
    },
    /// A ready worker is to be recycled for its memory.
    Recycle {
        slot: u32,
        epoch: u32,
        reason: RetireReason,
        order: Order,
    },
    Exited {
        slot: u32,
        exit: Exit,
    },
    Stop {
        graceful: bool,
    },
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Spawn {
        slot: u32,
        epoch: u32,
        generation: u32,
        age: u64,
    },
    /// SIGTERM: finish and go.
    Terminate {
        slot: u32,
        pid: i32,
        reason: RetireReason,
    },
    /// SIGTERM to one that boots: it goes at once, unless it serves already.
    GiveUp {
        slot: u32,
        pid: i32,
    },
    /// SIGQUIT: go at once.
    Quit {
        slot: u32,
        pid: i32,
    },
    DumpStacks {
        slot: u32,
        pid: i32,
        reason: HangReason,
    },
    /// SIGABRT.
    Abort {
        slot: u32,
        pid: i32,
    },
    /// SIGKILL.
    Kill {
        slot: u32,
        pid: i32,
    },
    /// A worker serves.
    Ready {
        slot: u32,
        pid: Option<i32>,
        boot: Duration,
    },
    /// The slot is empty again.
    Freed {
        slot: u32,
    },
    StartForkserver {
        generation: u32,
    },
    /// The canary is ready: this generation is the current one from now on.
    Committed {
        generation: u32,
    },
    /// The canary failed: the old generation stays.
    RolledBack {
        generation: u32,
        cause: DeathCause,
    },
    /// No worker of the generation is left.
    RetireForkserver {
        generation: u32,
    },
    BackingOff {
        cause: DeathCause,
        delay: Duration,
    },
    /// There is no point in going on.
    Halt {
        code: i32,
        cause: DeathCause,
    },
    /// Stopped, and the last worker is gone.
    Finished,
}
