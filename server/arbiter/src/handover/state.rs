//! What one program tells the next. Moments are stamps of [`crate::moment::Clock`], descriptors are numbers.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::PathBuf;

use podicorn_scoreboard::{Ledger, layout};
use serde::{Deserialize, Serialize};

use super::FORMAT;
use crate::admin::Watched;
use crate::arbiter::{SavedAutoscale, SavedMemory};
use crate::forkserver::Configured;
use crate::listeners::SocketFile;
use crate::pool::{self, RetireReason};
use crate::scale;
use crate::status::{Death, LastError, TargetChange};
use crate::telemetry::log_counts::Counts;
use crate::telemetry::traces::Exported;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error(
        "podicorn {version} hands over in format {format}, with layout {scoreboard} of the scoreboard; this is podicorn {}, \
         with format {FORMAT} and layout {}", env!("CARGO_PKG_VERSION"), layout::VERSION
    )]
    Other { version: String, format: u32, scoreboard: u64 },
    #[error("the state that was handed over makes no sense: {0}")]
    Malformed(String),
}

/// The first that is looked at: of another format nothing else may be there.
#[derive(Debug, Deserialize)]
struct Head {
    format: u32,
    scoreboard: u64,
    version: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) format: u32,
    pub(crate) scoreboard: u64,
    /// Of the program that hands over.
    pub(crate) version: String,
    /// The command line, the program's name first.
    pub(crate) arguments: Vec<OsString>,
    /// Signals that nobody has heard of yet: number and deliveries.
    pub(crate) signals: Vec<(i32, u32)>,
    pub(crate) started: u64,
    /// Nanoseconds of Unix time.
    pub(crate) started_at: u64,
    pub(crate) interpreter: Interpreter,
    pub(crate) descriptors: Descriptors,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) generations: Vec<Generation>,
    pub(crate) newest_generation: u32,
    pub(crate) fork_servers: Vec<ForkServer>,
    pub(crate) admin: Option<Admin>,
    pub(crate) pidfile: Option<PathBuf>,
    pub(crate) app_metrics: Option<Directory>,
    pub(crate) pool: pool::Saved,
    pub(crate) attendants: Vec<Attendant>,
    pub(crate) scale: scale::Saved,
    pub(crate) ledger: Ledger,
    pub(crate) memory: SavedMemory,
    pub(crate) autoscale: SavedAutoscale,
    pub(crate) reloads: Reloads,
    pub(crate) tally: Tally,
    pub(crate) logged: Counts,
    pub(crate) log_lines_dropped: u64,
    pub(crate) traces: Option<Exported>,
}

/// With what fork servers are run, if the search finds none any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Interpreter {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

/// Shared with all workers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Descriptors {
    pub(crate) scoreboard: i32,
    pub(crate) doorbell: i32,
    pub(crate) nudge: i32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Listener {
    /// As in the setting.
    pub(crate) bind: String,
    pub(crate) socket: i32,
    pub(crate) secure: bool,
    pub(crate) file: Option<SocketFile>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Generation {
    pub(crate) number: u32,
    pub(crate) configured: Configured,
    /// Places in [`State::listeners`].
    pub(crate) listeners: Vec<usize>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ForkServer {
    pub(crate) pid: i32,
    pub(crate) generation: u32,
    /// Absent where it has been told to go, or no longer answers.
    pub(crate) control: Option<i32>,
    pub(crate) stacks: Option<i32>,
    /// Our end and its end of the way of log records into Python.
    pub(crate) relay: Option<[i32; 2]>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Admin {
    pub(crate) socket: i32,
    pub(crate) file: Option<(PathBuf, (u64, u64))>,
    pub(crate) watched: Watched,
}

/// Of the app's own metrics; the lock goes with the descriptor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) lock: i32,
}

/// What the arbiter keeps of a worker beside the pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attendant {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) retired: Option<RetireReason>,
    pub(crate) observed: u64,
    pub(crate) timed_out: u64,
    /// Slow requests before this one have been told.
    pub(crate) slow_told: Option<u64>,
    pub(crate) stacks: Option<i32>,
    /// How far the ring has been read for traces, and which requests ran then.
    pub(crate) ring: Option<(u64, Vec<u64>)>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Reloads {
    pub(crate) total: u64,
    pub(crate) failed: u64,
    pub(crate) last_error: Option<LastError>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// By reason.
    pub(crate) restarts: BTreeMap<String, u64>,
    pub(crate) strays: u64,
    pub(crate) forkserver_starts: u64,
    pub(crate) forkserver_deaths: u64,
    pub(crate) last_boot_error: Option<LastError>,
    pub(crate) deaths: VecDeque<Death>,
    pub(crate) changes: VecDeque<TargetChange>,
}

impl State {
    /// Takes a state in that another program has written.
    pub(crate) fn read(text: &str) -> Result<Self, StateError> {
        let malformed = |error: serde_json::Error| StateError::Malformed(error.to_string());
        let Head { format, scoreboard, version } = serde_json::from_str(text).map_err(malformed)?;
        if (format, scoreboard) != (FORMAT, layout::VERSION) {
            return Err(StateError::Other { version, format, scoreboard });
        }
        let state: Self = serde_json::from_str(text).map_err(malformed)?;
        state.check()?;
        Ok(state)
    }

    fn check(&self) -> Result<(), StateError> {
        let malformed = |what: String| Err(StateError::Malformed(what));
        let known = |number: u32| self.generations.iter().any(|generation| generation.number == number);
        if !known(self.pool.generation()) {
            return malformed(format!("nothing is said of generation {}", self.pool.generation()));
        }
        for generation in &self.generations {
            if let Some(place) = generation.listeners.iter().find(|place| **place >= self.listeners.len()) {
                return malformed(format!("generation {} has no listener {place}", generation.number));
            }
        }
        if let Some(slot) = self.pool.slots().find(|slot| *slot >= layout::MAX_SLOTS) {
            return malformed(format!("there is no slot {slot}"));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A server with one worker that has served.
    pub(crate) fn sample() -> Value {
        json!({
            "format": FORMAT, "scoreboard": layout::VERSION, "version": "0.0.1",
            "arguments": [OsString::from("podicorn"), OsString::from("shop:app")],
            "signals": [[21, 3]], "started": 17, "started_at": 18,
            "interpreter": {"program": "/usr/bin/python3", "arguments": ["-O"]},
            "descriptors": {"scoreboard": 10, "doorbell": 11, "nudge": 12},
            "listeners": [{"bind": "127.0.0.1:8000", "socket": 13, "secure": false, "file": null}],
            "generations": [{
                "number": 2, "listeners": [0],
                "configured": {"path": null, "values": {}, "python": [], "others": []},
            }],
            "newest_generation": 2,
            "fork_servers": [{"pid": 7, "generation": 2, "control": 14, "stacks": null, "relay": [15, 16]}],
            "admin": {"socket": 17, "file": null, "watched": {"open": 0, "opened": 1, "refused": 0}},
            "pidfile": "/run/server.pid", "app_metrics": null,
            "pool": {
                "target": 1, "generation": 2, "generations": [2], "source_up": true, "failed_boots": 0,
                "ages": 4, "epochs": 4,
                "workers": [{
                    "slot": 0, "generation": 2, "age": 4, "epoch": 4, "pid": 9, "phase": {"ready": {"since": 5}},
                    "recycle": null, "keeps_place": false, "beat": 3, "beat_seen": 6, "spawned_at": 4,
                }],
            },
            "attendants": [{
                "slot": 0, "generation": 2, "retired": null, "observed": 6, "timed_out": 0, "slow_told": null,
                "stacks": 18, "ring": null,
            }],
            "scale": {
                "configured": {"fixed": 1}, "base": 1, "reason": "configuration", "accepted": null, "deadline": null,
            },
            "ledger": Ledger::default(),
            "memory": {"learned": {"firsts": [], "met": {}}, "explained": null, "kills": 0, "last_kill": null},
            "autoscale": {"decisions": [["hold", "steady", 3]], "boot": null, "auto_start": null},
            "reloads": {"total": 1, "failed": 0, "last_error": null},
            "tally": {
                "restarts": {"reload": 2}, "strays": 1, "forkserver_starts": 2, "forkserver_deaths": 0,
                "last_boot_error": {"message": "no", "at": "2026-11-22T22:58:40.123Z"}, "deaths": [], "changes": [],
            },
            "logged": {"critical": 0, "error": 1, "warning": 2}, "log_lines_dropped": 0, "traces": null,
        })
    }

    #[test]
    fn what_is_written_is_read() {
        let state = State::read(&sample().to_string()).unwrap();
        assert_eq!(state.signals, [(21, 3)]);
        assert_eq!(serde_json::to_value(&state).unwrap(), sample());
    }

    #[test]
    fn another_format_is_refused_whatever_else_it_says() {
        for (field, value) in [("format", FORMAT + 1), ("scoreboard", 9_999)] {
            let mut head = json!({"format": FORMAT, "scoreboard": layout::VERSION, "version": "7.0"});
            head[field] = value.into();
            let error = State::read(&head.to_string()).unwrap_err();
            assert!(matches!(&error, StateError::Other { version, .. } if version == "7.0"), "{error}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let broken = |change: fn(&mut Value)| {
            let mut state = sample();
            change(&mut state);
            State::read(&state.to_string())
        };
        let changes: [fn(&mut Value); 6] = [
            |state| state["generations"][0]["listeners"] = json!([1]),
            |state| state["generations"][0]["number"] = json!(1),
            |state| state["pool"]["workers"][0]["slot"] = json!(layout::MAX_SLOTS),
            |state| state["pool"]["workers"][0]["phase"] = json!("asleep"),
            |state| state["descriptors"]["nudge"] = json!("three"),
            |state| drop(state.as_object_mut().unwrap().remove("scale")),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert!(matches!(broken(change), Err(StateError::Malformed(_))), "{number}");
        }
        for text in ["", "null", "{}", "garbage", "[1, 2]"] {
            assert!(matches!(State::read(text), Err(StateError::Malformed(_))), "{text}");
        }
    }
}
