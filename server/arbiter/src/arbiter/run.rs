//! From the command line to the exit code.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::Signal;
use podicorn_scoreboard::{Ledger, MAX_SLOTS, Map, ScoreboardError};
use podicorn_settings::CommandLine;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::autoscale::Autoscale;
use super::boots::Boots;
use super::generations::relay_for;
use super::requests::Harvesting;
use super::resume::resume;
use super::setup::{
    FLUSH_TIME, announce, app_metrics, auto_start, configured_workers, limits, log_options, memory_limits,
    open_pidfile, stack_reader, start_telemetry, statsd,
};
use super::succession::Succession;
use super::{Arbiter, Ending, Forkserver, InPlace, Input, MemoryCare, Python, ReloadState, Tally, share};
use crate::admin::{self, Command};
use crate::forkserver::interpreter::{InterpreterError, Surroundings, find};
use crate::forkserver::spawn::spawn;
use crate::forkserver::{Client, SpawnError};
use crate::handover::{Inheritance, StateError};
use crate::kernel;
use crate::launch::{self, Blueprint, LaunchError, Occasion, Shared};
use crate::origin::{Origin, OriginError};
use crate::pidfile::PidfileError;
use crate::pool::{Event, Pool};
use crate::reaper;
use crate::scale::Scale;
use crate::signals::{SignalStream, Signals, become_subreaper, leave_to_main_thread};
use crate::stacks::StackReader;
use crate::systemd::Notifier;
use crate::telemetry::log::{LogError, LogHandle, Relay};
use crate::telemetry::statsd::Statsd;
use crate::telemetry::traces::Traces;
use crate::token::TokenError;

/// Why the arbiter could not begin, or could not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error(transparent)]
    Origin(#[from] OriginError),
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(
        "the Python interpreter {} ({origin}) {how} before it had read the config; what it printed is above. Is podicorn \
         installed for it? Install it there with pip, or name another interpreter with --python", program.display()
    )]
    NoForkserver { program: std::path::PathBuf, origin: &'static str, how: String },
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Scoreboard(#[from] ScoreboardError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Admin(#[from] admin::BindError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Pidfile(#[from] PidfileError),
    #[error(transparent)]
    Handover(#[from] StateError),
    #[error("cannot change to the directory {} (setting chdir): {source}", path.display())]
    Chdir { path: std::path::PathBuf, source: std::io::Error },
    #[error("cannot set up the event loop: {0}")]
    Loop(#[from] std::io::Error),
    #[error("cannot set up the event loop: {0}")]
    System(#[from] nix::Error),
}

impl RunError {
    pub(super) fn exit_code(&self) -> i32 {
        match self {
            Self::Origin(OriginError::Settings(error)) => error.exit_code(),
            Self::Launch(error) => error.exit_code(),
            _ => 1,
        }
    }
}

/// Serves until told to stop, from the beginning or in another program's place; the process's exit code.
pub fn run(command_line: CommandLine, signals: Signals, inheritance: Option<Inheritance>) -> i32 {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().on_thread_start(leave_to_main_thread).build();
    let result = match runtime {
        Ok(runtime) => {
            let code = match inheritance {
                Some(inheritance) => runtime.block_on(resume(command_line, signals, inheritance)),
                None => runtime.block_on(begin(command_line, signals)),
            };
            // Name look-ups and file reads that hang must not hold up the exit.
            runtime.shutdown_background();
            code
        }
        Err(error) => Err(error.into()),
    };
    result.unwrap_or_else(|error| {
        complain(&error);
        error.exit_code()
    })
}

/// Before there is a log, errors go to stderr as Gunicorn's do.
fn complain(error: &RunError) {
    let mut text = String::new();
    if let RunError::Launch(launch) = error
        && let Some(traceback) = launch.traceback()
    {
        text.push_str(traceback.trim_end());
        text.push('\n');
    }
    let _ = writeln!(std::io::stderr(), "\n{text}Error: {error}");
}

async fn begin(command_line: CommandLine, signals: Signals) -> Result<i32, RunError> {
    let mut signals = signals.into_async()?;
    become_subreaper()?;
    kernel::keep_descriptors_to_ourselves();
    let origin = Arc::new(Origin::new(command_line)?);
    let python = find(origin.python().as_deref(), &Surroundings::of_process())?;

    let process = spawn(&python, origin.directory())?;
    let client = Client::new(process.control)?;
    let pid = process.pid;
    let configuring = launch::configure(&client, &origin);
    let Some(configured) = unless_stopped(&mut signals, configuring).await? else { return Ok(0) };
    let (settings, configured) = match configured {
        Err(error) if error.is_death() => {
            let how = death_of(pid).await;
            return Err(RunError::NoForkserver { program: python.program, origin: python.origin, how });
        }
        other => other?,
    };
    std::env::set_current_dir(&settings.chdir)
        .map_err(|source| RunError::Chdir { path: settings.chdir.clone(), source })?;

    let (map, doorbell, mut shared) = shared_with_workers()?;
    let mut blueprint = Blueprint::new(Arc::clone(&settings), configured, Vec::new());

    if settings.print_config || settings.check_config {
        return check(&client, &blueprint, &shared, &mut signals).await;
    }

    let (log, traces) = start_telemetry(&settings, log_options(&settings).2)?;
    let relay = relay_for(&settings);
    log.relay_to(relay.clone());
    shared.tracing = traces.as_ref().map(Traces::sampling);
    announce(&settings);
    if origin.activated() > 0 {
        tracing::info!("Serving on {} socket(s) from systemd instead of bind", origin.activated());
    }
    let pidfile = open_pidfile(&settings, origin.predecessor().is_some())?;
    let Some(listeners) = unless_stopped(&mut signals, launch::listen(&settings, &origin, &[])).await? else {
        return Ok(0);
    };
    blueprint.listeners = match listeners {
        Ok(listeners) => listeners,
        Err(error) => return Ok(give_up(&log, relay.as_ref(), &error, error.exit_code())),
    };

    let (command_tx, commands) = mpsc::channel(64);
    shared.app_metrics = app_metrics(&settings);
    let (succession, admin) =
        match Succession::begin(&settings, origin.predecessor(), command_tx, shared.app_metrics.clone()) {
            Ok(begun) => begun,
            Err(error) => return Ok(give_up(&log, relay.as_ref(), &error, error.exit_code())),
        };
    let (inputs, inbox) = mpsc::unbounded_channel();
    let stacks = stack_reader(process.stacks, Python::Forkserver { pid }, &inputs)?;
    let now = Instant::now();
    let scale = Scale::new(configured_workers(&settings), MAX_SLOTS / 2);
    let target = scale.target() as usize;
    let memory = MemoryCare::new(memory_limits(&settings), now);
    memory.announce();
    let mut arbiter = Arbiter {
        origin,
        python,
        log,
        traces,
        boots: Boots::begin(),
        harvesting: Harvesting::default(),
        started: now,
        started_at: SystemTime::now(),
        map,
        shared,
        inputs,
        pool: Pool::new(limits(&settings), target, 1),
        scale,
        ledger: Ledger::default(),
        memory,
        autoscale: Autoscale::new(&settings, auto_start(&settings), now),
        statsd: statsd(&settings, now),
        systemd: Notifier::new(|name| std::env::var(name).ok(), now),
        attendants: HashMap::new(),
        forkservers: HashMap::new(),
        blueprints: BTreeMap::from([(1, blueprint.clone())]),
        newest_generation: 1,
        unmatched: Vec::new(),
        stack_waiters: HashMap::new(),
        reload: ReloadState::default(),
        tally: Tally { forkserver_starts: 1, ..Tally::default() },
        ending: Ending::Not,
        ends_at: None,
        leave_by: None,
        exit_code: 0,
        finished: false,
        succession,
        in_place: InPlace::default(),
        admin,
        settings,
        pidfile,
    };
    arbiter.first_generation(pid, client, stacks, relay, blueprint);
    let code = arbiter.serve(signals, kernel::watch(doorbell.into())?, inbox, commands).await?;
    Ok(code)
}

/// Says why the server does not start, where its log is already the place for it.
fn give_up(log: &LogHandle, relay: Option<&Arc<Relay>>, error: &dyn std::fmt::Display, code: i32) -> i32 {
    if let Some(relay) = relay {
        log.relay_ended(relay);
    }
    crate::critical!("{error}");
    log.flush(FLUSH_TIME);
    code
}

/// The scoreboard, the eventfd by which workers wake the arbiter, and what is handed to every fork server.
fn shared_with_workers() -> Result<(Map, EventFd, Shared), RunError> {
    let (map, memfd) = Map::create()?;
    let doorbell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let nudge = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let shared = Shared {
        memfd: share(memfd),
        doorbell: share(doorbell.as_fd().try_clone_to_owned()?),
        nudge: share(nudge.into()),
        tracing: None,
        app_metrics: None,
    };
    Ok((map, doorbell, shared))
}

/// Runs `work` unless TERM, INT or QUIT comes first.
async fn unless_stopped<T>(
    signals: &mut SignalStream,
    work: impl Future<Output = T>,
) -> std::io::Result<Option<T>> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            arrived = signals.next() => {
                let stops = |signal: Signal| matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT);
                if arrived?.into_iter().any(|(signal, _)| stops(signal)) {
                    return Ok(None);
                }
            }
            done = &mut work => return Ok(Some(done)),
        }
    }
}

/// How a process ended whose control socket has just closed.
async fn death_of(pid: i32) -> String {
    for _ in 0..100 {
        if let Some((_, exit)) = reaper::reap().into_iter().find(|(dead, _)| *dead == pid) {
            return exit.to_string();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    "closed its control socket".into()
}

/// `--check-config` and `--print-config`: the app is imported, then we leave.
async fn check(
    client: &Client,
    blueprint: &Blueprint,
    shared: &Shared,
    signals: &mut SignalStream,
) -> Result<i32, RunError> {
    if blueprint.settings.print_config {
        let _ = write!(std::io::stdout(), "{}", blueprint.settings.print_config());
    }
    let starting = launch::start(client, blueprint, 1, Occasion::Check, shared, None);
    match unless_stopped(signals, starting).await? {
        Some(Err(error)) => {
            complain(&error.into());
            Ok(1)
        }
        Some(Ok(_)) | None => Ok(0),
    }
}

impl Arbiter {
    /// Takes in the fork server that has read the config.
    fn first_generation(
        &mut self,
        pid: i32,
        client: Client,
        stacks: StackReader,
        relay: Option<Arc<Relay>>,
        blueprint: Blueprint,
    ) {
        let server = Forkserver { relay, ..Forkserver::launching(1, client, stacks) };
        self.forkservers.insert(pid, server);
        self.start_generation(1, pid, blueprint, Occasion::First);
    }

    pub(super) async fn serve(
        &mut self,
        signals: SignalStream,
        doorbell: AsyncFd<OwnedFd>,
        mut inbox: mpsc::UnboundedReceiver<Input>,
        mut commands: mpsc::Receiver<Command>,
    ) -> Result<i32, RunError> {
        let mut beat = tokio::time::interval(self.reading_interval());
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.finished {
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                arrived = signals.next() => {
                    for (signal, count) in arrived? {
                        self.on_signal(signal, count);
                    }
                }
                rung = doorbell.readable() => {
                    let mut rung = rung?;
                    kernel::quiet(&doorbell);
                    rung.clear_ready();
                    self.read_scoreboard();
                }
                Some(input) = inbox.recv() => self.on_input(input),
                Some(command) = commands.recv() => self.on_command(command),
                _ = beat.tick() => {
                    self.look_for_promotion();
                    self.read_scoreboard();
                }
                () = tokio::time::sleep_until(deadline.into()) => self.on_deadline(),
            }
            self.go_on_upgrading(inbox.is_empty());
        }
        // Nobody answers any more: those who ask and those who watch are to know.
        drop(commands);
        self.finish(&mut inbox).await;
        Ok(self.exit_code)
    }

    /// Often enough to notice a missed heartbeat soon after `timeout`.
    fn reading_interval(&self) -> Duration {
        let quarter = self.settings.timeout.unwrap_or(Duration::from_secs(4)) / 4;
        quarter.clamp(Duration::from_millis(100), Duration::from_secs(1))
    }

    /// Far away when nothing is due.
    fn next_deadline(&self) -> Instant {
        // While the server ends nothing is scaled, and a sample that is due would stay due.
        let sample = (self.ending == Ending::Not).then(|| self.autoscale.deadline());
        let soonest = [
            self.pool.next_deadline(),
            self.scale.deadline(),
            self.memory.deadline(),
            sample,
            self.next_step(),
            self.systemd.deadline(),
            self.harvesting.deadline(),
            self.statsd.as_ref().map(Statsd::deadline),
        ];
        let soonest = soonest.into_iter().flatten().min();
        soonest.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    fn on_deadline(&mut self) {
        let now = Instant::now();
        if self.scale.expire(now) {
            self.retarget("the lease on the worker count has expired");
        }
        self.proceed(now);
        if self.harvesting.deadline().is_some_and(|due| now >= due) {
            self.harvest();
        }
        self.look_at_memory(now);
        self.autoscale(now);
        self.systemd.keep_alive(now);
        self.tell_statsd(now);
        self.tell_pool(Event::Tick);
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Launched { generation, pid, result } => self.on_launched(generation, pid, result),
            Input::Spawned { slot, epoch, generation, result } => {
                self.on_spawned(slot, epoch, generation, result);
            }
            Input::Stacks { who, text } => self.on_stacks(who, &text),
            Input::AdminClosed => self.admin_closed(),
            Input::TrialOverdue { pid } => self.trial_is_overdue(pid),
            Input::Prepared { error } => self.start_successor(error),
            Input::HookFailed { hook, error } => tracing::error!("Hook {hook} failed: {error}"),
            Input::Looked { watch, look } => self.on_look(watch, look),
            Input::ForkserverHung { pid, error } => self.on_hung_forkserver(pid, &error),
        }
    }
}
