//! The run loop: hears signals, children, the doorbell, the admin API and the clock, asks the [`Pool`] what is to be
//! done, and does it.
//!
//! One file per kind of work: [`mod@run`] starts and ends it all, [`setup`] puts settings to work, [`generations`] brings fork servers up and down,
//! [`workers`] carries out the pool's actions, [`children`] takes the dead in, [`commands`] answers the admin API,
//! [`report`] fills its snapshot, [`boots`] and [`requests`] make spans, [`mod@memory`] watches what workers hold, [`autoscale`] follows the load, [`ending`] is the shutdown, [`succession`] the upgrade by USR2 and [`in_place`] that of PID 1, with [`packing`] before it and [`mod@resume`] after it.

mod admin_api;
mod autoscale;
mod boots;
mod children;
mod commands;
mod ending;
mod generations;
mod in_place;
mod memory;
mod packing;
mod report;
mod requests;
mod resume;
mod run;
mod setup;
mod statsd;
mod succession;
mod workers;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use nix::sys::signal::Signal;
use podicorn_scoreboard::{Ledger, Map};
use podicorn_settings::Settings;
use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use crate::admin::StackError;
use crate::drain::Watch;
use crate::forkserver::{Client, Interpreter, RequestError};
use crate::launch::{Blueprint, LaunchError, Shared};
use crate::memory::Look;
use crate::origin::Origin;
use crate::pidfile::Pidfile;
use crate::pool::{Exit, Pool, RetireReason};
use crate::scale::Scale;
use crate::stacks::StackReader;
use crate::status::{Death, LastError, Restarts, TargetChange};
use crate::systemd::Notifier;
use crate::telemetry::log::{LogHandle, Relay};
use crate::telemetry::statsd::Statsd;
use crate::telemetry::traces::Traces;

use admin_api::AdminApi;
use autoscale::Autoscale;
pub(crate) use autoscale::Saved as SavedAutoscale;
use boots::Boots;
pub(crate) use generations::reload_span;
use in_place::InPlace;
use memory::MemoryCare;
pub(crate) use memory::Saved as SavedMemory;
use requests::Harvesting;
pub use run::run;
use succession::Succession;

/// What background tasks tell the loop.
#[derive(Debug)]
enum Input {
    Launched {
        generation: u32,
        pid: i32,
        result: Result<Box<Launched>, LaunchError>,
    },
    Spawned {
        slot: u32,
        epoch: u32,
        generation: u32,
        result: Result<i32, RequestError>,
    },
    Stacks {
        who: Python,
        text: String,
    },
    /// The hook `pre_exec` has run.
    Prepared {
        error: Option<String>,
    },
    /// The admin API has given its last answer, before an upgrade in place.
    AdminClosed,
    /// The program on trial has not said anything in time.
    TrialOverdue {
        pid: i32,
    },
    HookFailed {
        hook: &'static str,
        error: String,
    },
    /// What the memory of the container and of its processes is.
    Looked {
        watch: Box<crate::memory::Watch>,
        look: Look,
    },
    /// A fork server did not answer in time.
    ForkserverHung {
        pid: i32,
        error: RequestError,
    },
}

/// A generation that has come up.
#[derive(Debug)]
struct Launched {
    blueprint: Blueprint,
    preloaded: bool,
    threads: Vec<String>,
    titled: bool,
    relay: Option<Arc<Relay>>,
}

/// A Python process that can be asked for its stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Python {
    Forkserver { pid: i32 },
    Worker { slot: u32, epoch: u32 },
}

/// The life of a fork server, as far as it has come.
#[derive(Debug)]
struct Forkserver {
    generation: u32,
    client: Client,
    /// Launching: no blueprint yet.
    ready: bool,
    /// Told to go.
    dismissed: bool,
    /// The way of the log's records into its Python, where they are wanted there.
    relay: Option<Arc<Relay>>,
    /// Dropped with the entry.
    stacks: Option<StackReader>,
}

impl Forkserver {
    /// Its process runs.
    fn launching(generation: u32, client: Client, stacks: StackReader) -> Self {
        Self { generation, client, ready: false, dismissed: false, relay: None, stacks: Some(stacks) }
    }
}

/// What the arbiter keeps of a worker beside the pool.
#[derive(Debug)]
struct Attendant {
    generation: u32,
    retired: Option<RetireReason>,
    /// Until it is ready.
    boot: Option<Span>,
    /// Since it was told to go.
    leaving: Option<Span>,
    /// When the slot's counters were last taken.
    observed: Instant,
    /// Requests that had run into `request_timeout` when last looked, and when that was last told.
    timed_out: u64,
    timeout_told: Option<Instant>,
    /// Slow requests from this number on have not been told, and when the last one was.
    slow_told: Option<(u64, Instant)>,
    /// Dropped with the entry.
    stacks: Option<StackReader>,
}

#[derive(Debug, Default)]
struct ReloadState {
    total: u64,
    failed: u64,
    /// The generation being brought up.
    under_way: Option<u32>,
    /// From its beginning to its success or failure.
    span: Option<Span>,
    /// HUPs that came meanwhile.
    again: bool,
    last_error: Option<LastError>,
}

#[derive(Debug, Default)]
struct Tally {
    restarts: Restarts,
    strays: u64,
    forkserver_starts: u64,
    forkserver_deaths: u64,
    last_boot_error: Option<LastError>,
    /// The latest first.
    deaths: VecDeque<Death>,
    changes: VecDeque<TargetChange>,
}

/// Where the arbiter is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Not,
    /// Still serving, so that load balancers can notice.
    Lingering {
        stop_at: Instant,
        began: Instant,
    },
    /// Nobody new gets in, and those who wait are taken.
    Emptying {
        began: Instant,
        watch: Watch,
    },
    Stopping,
}

struct Arbiter {
    origin: Arc<Origin>,
    python: Interpreter,
    settings: Arc<Settings>,
    log: LogHandle,
    /// Where traces are exported.
    traces: Option<Traces>,
    boots: Boots,
    harvesting: Harvesting,
    started: Instant,
    started_at: SystemTime,

    map: Map,
    shared: Shared,
    inputs: mpsc::UnboundedSender<Input>,

    pool: Pool,
    scale: Scale,
    ledger: Ledger,
    memory: MemoryCare,
    autoscale: Autoscale,
    systemd: Notifier,
    /// Datagrams for `StatsD`, where they are wanted.
    statsd: Option<Statsd>,
    attendants: HashMap<u32, Attendant>,
    /// By pid.
    forkservers: HashMap<i32, Forkserver>,
    /// By generation.
    blueprints: BTreeMap<u32, Blueprint>,
    newest_generation: u32,
    /// Deaths that match no worker while a fork's reply is outstanding.
    unmatched: Vec<(i32, Exit)>,
    stack_waiters: HashMap<u32, Vec<oneshot::Sender<Result<String, StackError>>>>,

    reload: ReloadState,
    tally: Tally,
    ending: Ending,
    /// As the workers are told: when they are killed.
    ends_at: Option<u64>,
    /// When the server has to have left, if that matters.
    leave_by: Option<Instant>,
    exit_code: i32,
    finished: bool,
    succession: Succession,
    in_place: InPlace,
    admin: Option<AdminApi>,
    pidfile: Option<Pidfile>,
}

impl std::fmt::Debug for Arbiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arbiter")
            .field("pool", &self.pool)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

impl Arbiter {
    fn on_signal(&mut self, signal: Signal, count: u32) {
        let name = signal.as_str().trim_start_matches("SIG").to_lowercase();
        if !matches!(signal, Signal::SIGCHLD | Signal::SIGWINCH) {
            tracing::info!("Handling signal: {name}");
        }
        match signal {
            Signal::SIGCHLD => self.reap(),
            Signal::SIGTERM => self.begin_shutdown(true),
            Signal::SIGINT | Signal::SIGQUIT => self.begin_shutdown(false),
            Signal::SIGHUP => {
                tracing::info!("Hang up: Master");
                // Refused only while shutting down.
                let _ = self.request_reload(None);
            }
            Signal::SIGTTIN => self.step(i64::from(count)),
            Signal::SIGTTOU => self.step(-i64::from(count)),
            Signal::SIGUSR1 => self.reopen_logs(),
            Signal::SIGUSR2 => self.upgrade(),
            Signal::SIGWINCH => self.stop_for_successor(),
            _ => {}
        }
    }

    /// A worker's file descriptors are its own: it reopens its logs itself.
    fn reopen_logs(&mut self) {
        self.log.reopen();
        self.signal_workers(Signal::SIGUSR1);
    }

    fn client_of(&self, generation: u32) -> Option<(i32, &Client)> {
        self.forkservers
            .iter()
            .find(|(_, server)| server.generation == generation && server.ready && !server.dismissed)
            .map(|(pid, server)| (*pid, &server.client))
    }

    fn hooks(&self, generation: u32, hook: &str) -> bool {
        self.blueprints.get(&generation).is_some_and(|blueprint| blueprint.hooks.contains(hook))
    }

    /// The present error as `/readyz` and `/workers` show it.
    fn error_now(message: String) -> LastError {
        LastError { message, at: SystemTime::now() }
    }
}

/// A pipe or socket whose other end is handed out.
fn share(fd: OwnedFd) -> Arc<OwnedFd> {
    Arc::new(fd)
}
