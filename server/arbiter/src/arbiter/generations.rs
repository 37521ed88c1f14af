//! Generations: a fork server, its settings and its sockets; starting, reloading, replacing and retiring them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use podicorn_settings::Settings;
use tracing::Span;
use tracing::field::Empty;

use super::setup::{auto_start, configured_workers, limits, log_options, memory_limits, stack_reader};
use super::{Arbiter, Ending, Forkserver, Input, Launched, Python};
use crate::admin::{Refusal, ReloadView};
use crate::forkserver::message::Hook;
use crate::forkserver::spawn::spawn;
use crate::forkserver::{Client, RequestError, Started};
use crate::launch::{self, Blueprint, LaunchError, Occasion};
use crate::pool::{DeathCause, Event};
use crate::signals;
use crate::telemetry::log::Relay;
use crate::title;

/// The longest that a Python-side hook may take.
pub(super) const HOOK_DEADLINE: Duration = Duration::from_secs(30);
/// What a fork server has for its stacks before it is killed.
const DUMP_TIME: Duration = Duration::from_millis(300);

impl Arbiter {
    /// Runs the interpreter for a generation, and brings it up beside the loop.
    fn launch(&mut self, generation: u32, occasion: Occasion) -> Result<i32, LaunchStartError> {
        let process = spawn(&self.python, self.origin.directory())?;
        let pid = process.pid;
        let client = Client::new(process.control)?;
        let stacks = stack_reader(process.stacks, Python::Forkserver { pid }, &self.inputs)?;
        let server = Forkserver::launching(generation, client.clone(), stacks);
        self.forkservers.insert(pid, server);
        self.tally.forkserver_starts += 1;
        let present = self.client_of(self.pool.generation()).map(|(pid, _)| pid);
        let preloads = self.settings.preload_app;
        // A fork server that died comes back with the settings and sockets that its workers have.
        let keep = self.blueprints.get(&self.pool.generation()).cloned();
        let (origin, shared, inputs) = (Arc::clone(&self.origin), self.shared.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let bring_up = async {
                let (settings, configured) = launch::configure(&client, &origin).await?;
                let existing = keep.as_ref().map(|kept| kept.listeners.clone()).unwrap_or_default();
                let blueprint = if let (Occasion::Restart, Some(kept)) = (occasion, keep) {
                    Blueprint { hooks: configured.python.into_iter().collect(), ..kept }
                } else {
                    if let Some(present) = present.filter(|_| preloads && settings.preload_app) {
                        let check = tokio::task::spawn_blocking(move || launch::check_headroom(present));
                        check.await.unwrap_or(Ok(()))?;
                    }
                    let listeners = launch::listen(&settings, &origin, &existing).await?;
                    Blueprint::new(settings, configured, listeners)
                };
                let relay = relay_for(&blueprint.settings);
                let start =
                    launch::start(&client, &blueprint, generation, occasion, &shared, relay.as_deref());
                let Started { preloaded, threads, titled } = start.await?;
                Ok(Box::new(Launched { blueprint, preloaded, threads, titled, relay }))
            };
            let result = bring_up.await;
            let _ = inputs.send(Input::Launched { generation, pid, result });
        });
        Ok(pid)
    }

    /// The rest of the first launch: its process runs, and its settings are known.
    pub(super) fn start_generation(
        &mut self,
        generation: u32,
        pid: i32,
        blueprint: Blueprint,
        occasion: Occasion,
    ) {
        let Some(server) = self.forkservers.get(&pid) else { return };
        let (client, shared, inputs) = (server.client.clone(), self.shared.clone(), self.inputs.clone());
        let relay = server.relay.clone();
        tokio::spawn(async move {
            let start = launch::start(&client, &blueprint, generation, occasion, &shared, relay.as_deref());
            let result = start.await.map(|Started { preloaded, threads, titled }| {
                Box::new(Launched { blueprint, preloaded, threads, titled, relay })
            });
            let _ = inputs.send(Input::Launched { generation, pid, result });
        });
    }

    pub(super) fn on_launched(
        &mut self,
        generation: u32,
        pid: i32,
        result: Result<Box<Launched>, LaunchError>,
    ) {
        match result {
            Ok(launched) if self.forkservers.contains_key(&pid) => self.launched(generation, pid, *launched),
            // It died right after its answer; `on_forkserver_death` has seen to it.
            Ok(_) => {}
            // `on_forkserver_death` knows how, and does the rest.
            Err(error) if error.is_death() && self.forkservers.contains_key(&pid) => {
                tracing::debug!("The fork server (pid:{pid}) closed its control socket");
                let _ = signals::send(pid, libc::SIGKILL);
            }
            Err(error) if error.is_death() => {}
            Err(error) => self.launch_failed(generation, pid, &error),
        }
    }

    fn launched(&mut self, generation: u32, pid: i32, launched: Launched) {
        let Launched { blueprint, preloaded, threads, titled, relay } = launched;
        if let Some(server) = self.forkservers.get_mut(&pid) {
            server.ready = true;
            server.relay.clone_from(&relay);
        }
        if self.reload.under_way != Some(generation) {
            self.log.relay_to(relay);
        }
        if !threads.is_empty() {
            tracing::warn!(
                "Threads were started while the app was preloaded, and workers will not have them: {}; \
                 start them in the post_fork hook instead",
                threads.join(", ")
            );
        }
        let first = generation == 1 && !self.pool.first_ready() && self.tally.forkserver_starts == 1;
        if first {
            for listener in &blueprint.listeners {
                tracing::info!("Listening at: {listener} ({})", std::process::id());
            }
            tracing::info!("Using worker: {}", blueprint.settings.worker_name());
        }
        if preloaded {
            tracing::info!("The app is preloaded in the fork server (pid:{pid})");
        }
        if titled
            && let Err(error) = title::set(&format!("podicorn: master [{}]", blueprint.settings.proc_name))
        {
            tracing::debug!("The arbiter keeps its command line in process lists: {error}");
        }
        self.blueprints.insert(generation, blueprint);
        if self.ending != Ending::Not {
            return;
        }
        if first {
            self.run_hook(generation, Hook::WhenReady);
            self.run_hook(generation, Hook::WorkersChanged { new: self.scale.target(), old: None });
        }
        let event = if self.reload.under_way == Some(generation) {
            // As in Gunicorn also where the number is the same: hooks keep what they need on the new `server`.
            let old = u32::try_from(self.pool.target()).ok();
            self.run_hook(generation, Hook::WorkersChanged { new: self.wanted(), old });
            Event::Candidate { generation }
        } else {
            Event::ForkserverUp { generation }
        };
        self.tell_pool(event);
    }

    /// The fork server said no, or nothing in time.
    fn launch_failed(&mut self, generation: u32, pid: i32, error: &LaunchError) {
        if let Some(traceback) = error.traceback() {
            tracing::error!("{}", traceback.trim_end());
        }
        if let LaunchError::Request(deadline @ RequestError::Deadline { .. }) = error {
            // Its death, which follows, is the failure.
            self.on_hung_forkserver(pid, deadline);
            return;
        }
        if self.reload.under_way != Some(generation) {
            tracing::error!("{error}");
        }
        self.dismiss(pid);
        self.generation_failed(
            generation,
            DeathCause::Refused { code: error.exit_code() },
            error.to_string(),
        );
    }

    /// A generation did not come up, or lost its fork server while it did.
    pub(super) fn generation_failed(&mut self, generation: u32, cause: DeathCause, message: String) {
        if self.reload.under_way == Some(generation) {
            if self.pool.candidate() == Some(generation) {
                // The pool takes the canary back and answers with `RolledBack`.
                self.reload.last_error = Some(Self::error_now(message));
                self.tell_pool(Event::ForkserverDown { generation, failure: Some(cause) });
            } else {
                self.reload_failed(generation, message);
            }
            return;
        }
        self.tally.last_boot_error = Some(Self::error_now(message));
        self.tell_pool(Event::ForkserverDown { generation, failure: Some(cause) });
    }

    /// HUP or `POST /reload`, with that one's span.
    pub(super) fn request_reload(&mut self, span: Option<Span>) -> Result<ReloadView, Refusal> {
        if self.ending != Ending::Not {
            return Err(Refusal::Draining);
        }
        self.come_back("HUP");
        if let Some(generation) = self.reload.under_way {
            self.reload.again = true;
            tracing::info!("A reload is under way: another one follows it");
            return Ok(ReloadView { generation: generation + 1, queued: true });
        }
        if !self.pool.first_ready() {
            // There is nothing to go back to yet: the boot reads the config anew anyway when it is tried again.
            tracing::warn!("HUP while the first worker boots: the reload follows when it is ready");
            self.reload.again = true;
            return Ok(ReloadView { generation: self.newest_generation + 1, queued: true });
        }
        Ok(self.begin_reload(span))
    }

    fn begin_reload(&mut self, span: Option<Span>) -> ReloadView {
        self.newest_generation += 1;
        let generation = self.newest_generation;
        let span = span.unwrap_or_else(reload_span);
        span.record("podicorn.generation", i64::from(generation));
        let entered = span.clone();
        let _entered = entered.enter();
        self.reload.span = Some(span);
        self.reload.total += 1;
        self.reload.again = false;
        self.reload.under_way = Some(generation);
        self.systemd.reloading();
        tracing::info!("Reloading: generation {generation} is being started");
        if let Err(error) = self.launch(generation, Occasion::Reload) {
            self.reload_failed(generation, error.to_string());
        }
        ReloadView { generation, queued: false }
    }

    /// A reload that was asked for while it could not begin.
    pub(super) fn reload_if_asked(&mut self) {
        if self.reload.again && self.reload.under_way.is_none() && self.ending == Ending::Not {
            self.begin_reload(None);
        }
    }

    pub(super) fn reload_failed(&mut self, generation: u32, message: String) {
        self.reload.failed += 1;
        self.reload.under_way = None;
        let span = self.reload.span.take();
        let _entered = span.as_ref().map(|span| {
            span.record("otel.status_description", message.as_str());
            span.enter()
        });
        tracing::error!("Reload failed, generation {} keeps serving: {message}", self.pool.generation());
        self.reload.last_error = Some(Self::error_now(message));
        self.blueprints.remove(&generation);
        self.dismiss_generation(generation);
        self.systemd.ready("The last reload has failed; the old code serves");
        self.reload_if_asked();
    }

    /// The canary is ready: the new settings are the arbiter's from now on.
    pub(super) fn committed(&mut self, generation: u32) {
        self.reload.under_way = None;
        let span = self.reload.span.take();
        let _entered = span.as_ref().map(Span::enter);
        self.reload.last_error = None;
        let Some(blueprint) = self.blueprints.get(&generation) else { return };
        let new = Arc::clone(&blueprint.settings);
        let addresses: Vec<String> = blueprint.listeners.iter().map(ToString::to_string).collect();
        tracing::info!("Generation {generation} is ready at {}: replacing the workers", addresses.join(", "));
        let server = self.client_of(generation).and_then(|(pid, _)| self.forkservers.get(&pid));
        self.log.relay_to(server.and_then(|server| server.relay.clone()));
        let old = std::mem::replace(&mut self.settings, Arc::clone(&new));
        self.adopt_settings(&old, &new);
        self.systemd.ready(&format!("Serving, generation {generation}"));
        self.reload_if_asked();
    }

    fn adopt_settings(&mut self, old: &Settings, new: &Settings) {
        let (level, format, target) = log_options(new);
        self.log.reconfigure(level, format, target);
        self.log.reopen();
        for notice in new.notices() {
            tracing::warn!("{notice}");
        }
        if (&old.admin_bind, &old.admin_token_file) != (&new.admin_bind, &new.admin_token_file) {
            tracing::warn!(
                "A changed admin_bind or admin_token_file takes effect at the next start, not on reload"
            );
        }
        // A target set at run time survives; a changed setting is a new word.
        if old.workers != new.workers {
            self.scale.reconfigure(configured_workers(new), Instant::now());
            self.autoscale.begin_with(auto_start(new));
            self.retarget("the configuration has changed");
        }
        self.memory.reconfigure(memory_limits(new));
        self.autoscale.reconfigure(new);
        self.tell_pool(Event::Limits(limits(new)));
    }

    /// The pool wants its fork server back.
    pub(super) fn restart_forkserver(&mut self, generation: u32) {
        let occasion = if self.pool.first_ready() { Occasion::Restart } else { Occasion::First };
        if let Err(error) = self.launch(generation, occasion) {
            tracing::error!("{error}");
            self.generation_failed(generation, DeathCause::ForkserverGone, error.to_string());
        }
    }

    /// Closes the control socket when the last request is answered; the fork server leaves by itself.
    pub(super) fn dismiss_generation(&mut self, generation: u32) {
        let pids: Vec<i32> = self
            .forkservers
            .iter()
            .filter(|(_, server)| server.generation == generation)
            .map(|(pid, _)| *pid)
            .collect();
        for pid in pids {
            self.dismiss(pid);
        }
    }

    fn dismiss(&mut self, pid: i32) {
        if let Some(server) = self.forkservers.get_mut(&pid) {
            server.dismissed = true;
            // The queue stays open for requests that are in it, and closes with this last handle.
            server.client = Client::closed();
        }
    }

    /// Stacks first, then KILL: the death is dealt with as any other.
    pub(super) fn on_hung_forkserver(&mut self, pid: i32, error: &RequestError) {
        if !self.forkservers.contains_key(&pid) {
            return;
        }
        tracing::error!("{error}: killing the fork server (pid:{pid}); its stacks follow");
        let _ = signals::send(pid, signals::stack_signal());
        tokio::spawn(async move {
            tokio::time::sleep(DUMP_TIME).await;
            let _ = signals::send(pid, libc::SIGKILL);
        });
    }

    /// Runs a hook of the config file, if it is defined there, in the fork server of its generation.
    pub(super) fn run_hook(&self, generation: u32, hook: Hook) {
        if !self.hooks(generation, hook.name()) {
            return;
        }
        let Some((pid, client)) = self.client_of(generation) else {
            tracing::warn!("Hook {hook} is left out: generation {generation} has no fork server");
            return;
        };
        let answer = client.request::<HookDone>("hook", hook.body(), Vec::new(), HOOK_DEADLINE);
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let failed = |error| Input::HookFailed { hook: hook.name(), error };
            let _ = match answer.await {
                Ok(HookDone { error: Some(error) }) => inputs.send(failed(error)),
                Ok(_) => Ok(()),
                Err(error @ RequestError::Deadline { .. }) => {
                    inputs.send(Input::ForkserverHung { pid, error })
                }
                Err(error) => inputs.send(failed(error.to_string())),
            };
        });
    }
}

/// The way of the log's records into Python, if the settings want them there.
pub(super) fn relay_for(settings: &Settings) -> Option<Arc<Relay>> {
    let relay = settings.python_logging().then(Relay::new)?;
    let relay = relay.map_err(|errno| {
        tracing::error!("The arbiter's log records go to errorlog and not to Python's logging: {errno}");
    });
    relay.ok().map(Arc::new)
}

/// The span of a reload; its caller's child by [`crate::telemetry::traces::follow_caller`].
pub(crate) fn reload_span() -> Span {
    tracing::info_span!("reload", podicorn.generation = Empty, otel.status_description = Empty)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct HookDone {
    #[serde(default)]
    pub(super) error: Option<String>,
}

/// The process could not even be started.
#[derive(Debug, thiserror::Error)]
enum LaunchStartError {
    #[error(transparent)]
    Spawn(#[from] crate::forkserver::SpawnError),
    #[error("cannot talk to the fork server: {0}")]
    Io(#[from] std::io::Error),
}
