//! The beginning of a program that takes another one's place: everything is there and serves, so that nothing here may
//! end the process that could be done without.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use podicorn_scoreboard::{MAX_SLOTS, Map};
use podicorn_settings::{Bind, CommandLine, Settings};
use tokio::sync::mpsc;

use super::admin_api::AdminApi;
use super::autoscale::Autoscale;
use super::boots::Boots;
use super::requests::Harvesting;
use super::run::RunError;
use super::setup::{app_metrics, limits, log_options, memory_limits, stack_reader, start_telemetry, statsd};
use super::succession::Succession;
use super::{
    Arbiter, Attendant, Ending, Forkserver, InPlace, Input, MemoryCare, Python, ReloadState, Tally, share,
};
use crate::admin::{Command, Spare};
use crate::app_metrics::AppMetrics;
use crate::forkserver::Client;
use crate::forkserver::Interpreter;
use crate::forkserver::interpreter::{Surroundings, find};
use crate::handover::{self, Inheritance, State, StateError};
use crate::kernel;
use crate::launch::{Blueprint, Shared};
use crate::listeners::Listener;
use crate::moment::{Clock, system_time};
use crate::origin::Origin;
use crate::pidfile::Pidfile;
use crate::pool::Pool;
use crate::scale::Scale;
use crate::signals::{Signals, become_subreaper};
use crate::status::Restarts;
use crate::systemd::Notifier;
use crate::telemetry::log::{LogHandle, Relay, Target};
use crate::telemetry::log_counts;
use crate::telemetry::traces::Traces;

/// By the pid of the fork server that reads them.
type Relays = HashMap<i32, Arc<Relay>>;

pub(super) async fn resume(
    command_line: CommandLine,
    signals: Signals,
    inheritance: Inheritance,
) -> Result<i32, RunError> {
    let signals = signals.into_async()?;
    become_subreaper()?;
    kernel::keep_descriptors_to_ourselves();
    let state = inheritance.state;
    let clock = Clock::now();
    let origin = Arc::new(Origin::new(command_line)?);
    let blueprints = blueprints(&state, &origin)?;
    let generation = state.pool.generation();
    let Some(settings) = blueprints.get(&generation).map(|blueprint| Arc::clone(&blueprint.settings)) else {
        return Err(StateError::Malformed(format!("no generation {generation}")).into());
    };
    let no_directory = std::env::set_current_dir(&settings.chdir).err();

    let (map, doorbell, mut shared) = shared_with_workers(&state.descriptors)?;
    let (log, traces) = telemetry(&settings)?;
    log_counts::resume(state.logged);
    log.resume(state.log_lines_dropped);
    if let (Some(traces), Some(before)) = (&traces, state.traces) {
        traces.resume(before);
    }
    shared.tracing = traces.as_ref().map(Traces::sampling);
    if let Some(error) = no_directory {
        tracing::error!(
            "Cannot change to the directory {} (setting chdir): {error}",
            settings.chdir.display()
        );
    }
    shared.app_metrics = resume_app_metrics(state.app_metrics, &settings);

    let (command_tx, commands) = mpsc::channel(64);
    let admin = state.admin.and_then(|admin| resume_admin(admin, &settings, command_tx, &shared));
    let (inputs, inbox) = mpsc::unbounded_channel();
    let (forkservers, relays) = fork_servers(state.fork_servers, &inputs);
    let now = Instant::now();
    let mut harvesting = Harvesting::default();
    let attendants = attendants(state.attendants, &clock, &state.pool, &map, &mut harvesting, &inputs);
    let mut arbiter = Arbiter {
        python: interpreter(&origin, state.interpreter),
        origin,
        traces,
        boots: Boots::over(),
        harvesting,
        started: clock.instant(state.started),
        started_at: system_time(state.started_at),
        map,
        shared,
        inputs,
        pool: Pool::resume(limits(&settings), state.pool, &clock),
        scale: Scale::resume(&state.scale, MAX_SLOTS / 2, &clock),
        ledger: state.ledger,
        memory: MemoryCare::resume(memory_limits(&settings), state.memory, now),
        autoscale: Autoscale::resume(&settings, state.autoscale, now),
        statsd: statsd(&settings, now),
        systemd: Notifier::new(|name| std::env::var(name).ok(), now).resume(),
        attendants,
        forkservers,
        blueprints,
        newest_generation: state.newest_generation,
        unmatched: Vec::new(),
        stack_waiters: HashMap::new(),
        reload: ReloadState {
            total: state.reloads.total,
            failed: state.reloads.failed,
            last_error: state.reloads.last_error,
            ..ReloadState::default()
        },
        tally: Tally {
            restarts: Restarts::from_reasons(&state.tally.restarts),
            strays: state.tally.strays,
            forkserver_starts: state.tally.forkserver_starts,
            forkserver_deaths: state.tally.forkserver_deaths,
            last_boot_error: state.tally.last_boot_error,
            deaths: state.tally.deaths,
            changes: state.tally.changes,
        },
        ending: Ending::Not,
        ends_at: None,
        leave_by: None,
        exit_code: 0,
        finished: false,
        succession: Succession::default(),
        in_place: InPlace::default(),
        admin,
        pidfile: state.pidfile.map(Pidfile::resume),
        log,
        settings,
    };
    arbiter.take_up(&state.version, &relays);
    arbiter.serve(signals, kernel::watch(doorbell)?, inbox, commands).await
}

impl Arbiter {
    /// The first doings in another program's place: the dead are taken in, and new code is brought up as on HUP.
    fn take_up(&mut self, version: &str, relays: &Relays) {
        let server = self.client_of(self.pool.generation()).map(|(pid, _)| pid);
        self.log.relay_to(server.and_then(|pid| relays.get(&pid).cloned()));
        tracing::info!(
            "Upgraded in place: podicorn {} goes on where podicorn {version} was, with {} workers",
            env!("CARGO_PKG_VERSION"),
            self.pool.workers().count()
        );
        self.resume_statsd();
        self.map.set_workers(self.attendants.len());
        self.reap();
        self.read_scoreboard();
        // Refused only while shutting down.
        let _ = self.request_reload(None);
    }
}

/// The settings are made of what the config file said when it was read; it is read again by the reload that follows.
fn blueprints(state: &State, origin: &Origin) -> Result<BTreeMap<u32, Blueprint>, RunError> {
    let mut sockets: Vec<Option<Arc<Listener>>> = Vec::new();
    for listener in &state.listeners {
        let socket = kernel::take_inherited(listener.socket)?;
        let bind = Bind::parse(&listener.bind, 0)
            .map_err(|error| StateError::Malformed(format!("{}: {error}", listener.bind)))?;
        let listener = Listener::resume(&bind, socket, listener.secure, listener.file.clone());
        sockets.push(Some(Arc::new(listener.map_err(crate::launch::LaunchError::from)?)));
    }
    let blueprint = |generation: &handover::Generation| {
        let settings = origin.settings(&generation.configured).map_err(crate::launch::LaunchError::from)?;
        let places = generation.listeners.iter();
        let listeners = places.filter_map(|place| sockets.get(*place).cloned().flatten()).collect();
        Ok((generation.number, Blueprint::new(settings, generation.configured.clone(), listeners)))
    };
    state.generations.iter().map(blueprint).collect()
}

fn shared_with_workers(numbers: &handover::Descriptors) -> Result<(Map, OwnedFd, Shared), RunError> {
    let memfd = kernel::take_inherited(numbers.scoreboard)?;
    let map = Map::adopt(memfd.as_fd(), None)?;
    let doorbell = kernel::take_inherited(numbers.doorbell)?;
    let shared = Shared {
        memfd: share(memfd),
        doorbell: share(doorbell.try_clone()?),
        nudge: share(kernel::take_inherited(numbers.nudge)?),
        tracing: None,
        app_metrics: None,
    };
    Ok((map, doorbell, shared))
}

/// A log file that cannot be opened any more is no reason to end.
fn telemetry(settings: &Settings) -> Result<(LogHandle, Option<Traces>), RunError> {
    let (_, _, target) = log_options(settings);
    let (target, problem) = match target.check() {
        Ok(()) => (target, None),
        Err(error) => (Target::Stderr, Some(error)),
    };
    let started = start_telemetry(settings, target)?;
    if let Some(error) = problem {
        tracing::error!("{error}; the log goes to standard error");
    }
    Ok(started)
}

fn resume_app_metrics(before: Option<handover::Directory>, settings: &Settings) -> Option<Arc<AppMetrics>> {
    let Some(handover::Directory { path, lock }) = before else { return app_metrics(settings) };
    let lock = kernel::take_inherited(lock).map_err(std::io::Error::from);
    match lock.and_then(|lock| AppMetrics::resume(path, lock)) {
        Ok(metrics) => Some(Arc::new(metrics)),
        Err(error) => {
            tracing::error!("The app's prometheus_client metrics are not shown any more: {error}");
            None
        }
    }
}

fn resume_admin(
    admin: handover::Admin,
    settings: &Settings,
    commands: mpsc::Sender<Command>,
    shared: &Shared,
) -> Option<AdminApi> {
    let socket = kernel::take_inherited(admin.socket).map_err(RunError::from);
    let opened = socket.and_then(|socket| {
        let spare = Spare { socket, file: admin.file };
        AdminApi::resume(settings, spare, commands, shared.app_metrics.clone(), admin.watched)
    });
    opened.map_err(|error| crate::critical!("The admin API has stopped: {error}")).ok()
}

/// The old interpreter, where the search finds none any more: a reload says so.
fn interpreter(origin: &Origin, before: handover::Interpreter) -> Interpreter {
    find(origin.python().as_deref(), &Surroundings::of_process()).unwrap_or_else(|error| {
        tracing::error!("{error}");
        let handover::Interpreter { program, arguments } = before;
        Interpreter { program, arguments, origin: "used before the upgrade" }
    })
}

fn fork_servers(
    before: Vec<handover::ForkServer>,
    inputs: &mpsc::UnboundedSender<Input>,
) -> (HashMap<i32, Forkserver>, Relays) {
    let (mut servers, mut relays) = (HashMap::new(), Relays::new());
    for handover::ForkServer { pid, generation, control, stacks, relay } in before {
        let client = control.and_then(|number| Client::new(kernel::take_inherited(number).ok()?).ok());
        let stacks = stacks.and_then(|number| {
            stack_reader(kernel::take_inherited(number).ok()?, Python::Forkserver { pid }, inputs).ok()
        });
        let relay = relay.and_then(|[ours, theirs]| {
            let (ours, theirs) = (kernel::take_inherited(ours).ok()?, kernel::take_inherited(theirs).ok()?);
            Some(Arc::new(Relay::resume(ours, theirs)))
        });
        relays.extend(relay.clone().map(|relay| (pid, relay)));
        let server = Forkserver {
            generation,
            ready: true,
            dismissed: client.is_none(),
            client: client.unwrap_or_else(Client::closed),
            relay,
            stacks,
        };
        servers.insert(pid, server);
    }
    (servers, relays)
}

fn attendants(
    before: Vec<handover::Attendant>,
    clock: &Clock,
    pool: &crate::pool::Saved,
    map: &Map,
    harvesting: &mut Harvesting,
    inputs: &mpsc::UnboundedSender<Input>,
) -> HashMap<u32, Attendant> {
    let resumed = before.into_iter().map(|saved| {
        let slot = saved.slot;
        let epoch = pool.epoch(slot).unwrap_or(0);
        let stacks = saved.stacks.and_then(|number| {
            stack_reader(kernel::take_inherited(number).ok()?, Python::Worker { slot, epoch }, inputs).ok()
        });
        if let (Some((next, running)), Ok(reader)) = (saved.ring, map.reader(slot)) {
            harvesting.resume(slot, next, &running, |sequence| reader.ring_entry(sequence));
        }
        let attendant = Attendant {
            generation: saved.generation,
            retired: saved.retired,
            boot: None,
            leaving: None,
            observed: clock.instant(saved.observed),
            timed_out: saved.timed_out,
            timeout_told: None,
            slow_told: saved.slow_told.map(|from| (from, Instant::now())),
            stacks,
        };
        (slot, attendant)
    });
    resumed.collect()
}
