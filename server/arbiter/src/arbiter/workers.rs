//! Carrying out the pool's actions, and reading the scoreboard for it.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use podicorn_scoreboard::RingEntry;
use serde_json::{Map, Value};
use tracing::Span;
use tracing::field::Empty;

use super::report::current_request;
use super::setup::stack_reader;
use super::{Arbiter, Attendant, Input, Python, share};
use crate::forkserver::RequestError;
use crate::forkserver::spawn::stack_pipe;
use crate::launch;
use crate::pool::{self, Action, Event, HangReason, Reading, RetireReason};
use crate::signals;

/// Stacks of one worker are not asked for more often, however many of its requests time out.
const TIMEOUT_QUIET: Duration = Duration::from_secs(5);

#[derive(Debug, serde::Deserialize)]
struct SpawnedReply {
    pid: i32,
}

impl Arbiter {
    /// Passes an event to the pool and does what it asks for.
    pub(super) fn tell_pool(&mut self, event: Event) {
        let actions = self.pool.handle(event, Instant::now());
        for action in actions {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn { slot, epoch, generation, age } => self.spawn_worker(slot, epoch, generation, age),
            Action::Terminate { slot, pid, reason } => {
                if let Some(attendant) = self.attendants.get_mut(&slot) {
                    attendant.retired = Some(reason);
                    attendant.leaving = Some(leaving_span(slot, pid, attendant.generation, reason));
                }
                tracing::debug!("Stopping worker (pid:{pid}): {}", retire_text(reason));
                kill(pid, Signal::SIGTERM);
            }
            Action::GiveUp { pid, .. } => kill(pid, Signal::SIGTERM),
            Action::Quit { pid, .. } => kill(pid, Signal::SIGQUIT),
            Action::DumpStacks { slot, pid, reason } => self.worker_hangs(slot, pid, reason),
            Action::Abort { pid, .. } => kill(pid, Signal::SIGABRT),
            Action::Kill { slot, pid } => {
                // One that hangs stays what it is until it is gone.
                let killed = |worker: &pool::Worker| matches!(worker.phase, pool::Phase::Killed { .. });
                let what = if self.pool.worker(slot).is_some_and(killed) {
                    "did not stop in time"
                } else {
                    "did not react to ABRT"
                };
                tracing::error!("Worker (pid:{pid}) {what}: killing it");
                kill(pid, Signal::SIGKILL);
            }
            Action::Ready { slot, pid, boot } => {
                let pid = pid.unwrap_or(0);
                self.boots.ready(pid);
                let boot_span = self.attendants.get_mut(&slot).and_then(|attendant| attendant.boot.take());
                if let Some(span) = boot_span {
                    span.record("podicorn.worker.pid", pid);
                }
                tracing::debug!(slot, "Worker (pid:{pid}) is ready after {:.3} s", boot.as_secs_f64());
                self.tally.last_boot_error = None;
                self.autoscale.booted(boot);
                self.memory.hurry(Instant::now());
                self.systemd.first_ready("Serving");
                self.reload_if_asked();
            }
            Action::Freed { slot } => self.free(slot),
            Action::StartForkserver { generation } => self.restart_forkserver(generation),
            Action::Committed { generation } => self.committed(generation),
            Action::RolledBack { generation, cause } => self.reload_failed(generation, cause.to_string()),
            Action::RetireForkserver { generation } => {
                self.blueprints.remove(&generation);
                self.dismiss_generation(generation);
            }
            Action::BackingOff { cause, delay } => {
                self.tally.last_boot_error = Some(Self::error_now(cause.to_string()));
                tracing::error!("Boot failed: {cause}; trying again in {:.1} s", delay.as_secs_f64());
            }
            Action::Halt { code, cause } => self.halt(code, cause),
            Action::Finished => self.finished = true,
        }
    }

    fn spawn_worker(&mut self, slot: u32, epoch: u32, generation: u32, age: u64) {
        let failed = |error| Input::Spawned { slot, epoch, generation, result: Err(error) };
        let Ok(reader) = self.map.reader(slot) else { return };
        self.map.write_header(self.ends_at);
        reader.offer(epoch);
        let Some((_, client)) = self.client_of(generation) else {
            let _ = self.inputs.send(failed(RequestError::Gone));
            return;
        };
        let (stacks, stack_end) = match stack_pipe() {
            Ok(pipe) => pipe,
            Err(errno) => {
                let _ = self.inputs.send(failed(RequestError::Send { request: "spawn", errno }));
                return;
            }
        };
        let mut body = Map::new();
        body.insert("slot".into(), slot.into());
        body.insert("epoch".into(), epoch.into());
        body.insert("age".into(), Value::from(age));
        // The hook pre_fork runs in there, so the deadline is a hook's.
        let deadline = self.settings.boot_timeout.unwrap_or(launch::FOR_EVER);
        let answer = client.request::<SpawnedReply>("spawn", body, vec![share(stack_end)], deadline);
        let stacks = stack_reader(stacks, Python::Worker { slot, epoch }, &self.inputs).ok();
        let attendant = Attendant {
            generation,
            retired: None,
            boot: Some(self.boot_span(slot, generation, age)),
            leaving: None,
            observed: Instant::now(),
            timed_out: 0,
            timeout_told: None,
            slow_told: None,
            stacks,
        };
        self.attendants.insert(slot, attendant);
        if self.traces.is_some() {
            self.harvesting.begin(slot);
        }
        self.map.set_workers(self.attendants.len());
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let result = answer.await.map(|reply| reply.pid);
            let _ = inputs.send(Input::Spawned { slot, epoch, generation, result });
        });
    }

    /// Part of what made the worker necessary: an order, a reload, the start.
    fn boot_span(&self, slot: u32, generation: u32, age: u64) -> Span {
        let reload = self.reload.span.as_ref().filter(|_| self.reload.under_way == Some(generation));
        let boot = || {
            tracing::info_span!(
                "boot",
                podicorn.worker.slot = i64::from(slot),
                podicorn.worker.age = i64::try_from(age).unwrap_or(i64::MAX),
                podicorn.worker.pid = Empty,
                podicorn.generation = i64::from(generation),
                otel.status_description = Empty,
            )
        };
        match reload.or_else(|| self.boots.starting()) {
            Some(parent) => parent.in_scope(boot),
            None => boot(),
        }
    }

    pub(super) fn on_spawned(
        &mut self,
        slot: u32,
        epoch: u32,
        generation: u32,
        result: Result<i32, RequestError>,
    ) {
        let pid = match result {
            Ok(pid) => Some(pid),
            Err(error) => {
                let server = self.client_of(generation).map(|(pid, _)| pid);
                if let (RequestError::Deadline { .. }, Some(pid)) = (&error, server) {
                    self.on_hung_forkserver(pid, &error);
                } else {
                    tracing::error!("Cannot spawn a worker: {error}");
                }
                self.claimed_anyway(slot, epoch)
            }
        };
        match pid {
            Some(pid) => self.tell_pool(Event::Spawned { slot, epoch, pid }),
            None => self.tell_pool(Event::SpawnFailed { slot, epoch }),
        }
        self.match_deaths();
        // It may have rung the doorbell before its pid was known.
        self.read_scoreboard();
    }

    /// The fork server may have died between the fork and its reply. The map belongs to user code too, so a pid in it is
    /// believed only if that process is our child and not known otherwise.
    fn claimed_anyway(&self, slot: u32, epoch: u32) -> Option<i32> {
        let claimed = self.map.reader(slot).ok()?.withdraw(epoch).err()?;
        let pid = i32::try_from(claimed).ok().filter(|pid| *pid > 0)?;
        let known = self.pool.find(pid).is_some() || self.forkservers.contains_key(&pid);
        (!known && is_our_child(pid)).then_some(pid)
    }

    fn worker_hangs(&mut self, slot: u32, pid: i32, reason: HangReason) {
        let request = self.running_request(slot);
        let trace_id = request.as_ref().and_then(trace_text);
        let serving = request.map(|entry| format!(" while serving {}", request_text(&entry)));
        let serving = serving.unwrap_or_default();
        match reason {
            HangReason::Silent => {
                self.tally.restarts.timeout += 1;
                crate::critical!(trace_id, "WORKER TIMEOUT (pid:{pid}){serving}");
            }
            HangReason::Boot => {
                self.tally.restarts.boot_timeout += 1;
                crate::critical!("WORKER BOOT TIMEOUT (pid:{pid}): the app is not ready after boot_timeout");
            }
        }
        let _ = signals::send(pid, signals::stack_signal());
    }

    pub(super) fn on_stacks(&mut self, who: Python, text: &str) {
        match who {
            Python::Forkserver { pid } => tracing::error!("Stacks of the fork server (pid:{pid}):\n{text}"),
            Python::Worker { slot, epoch } => {
                let Some(worker) = self.pool.worker(slot).filter(|worker| worker.epoch == epoch) else {
                    return;
                };
                match self.stack_waiters.remove(&slot) {
                    Some(waiters) => {
                        for waiter in waiters {
                            let _ = waiter.send(Ok(text.to_owned()));
                        }
                    }
                    None => {
                        tracing::error!(slot, "Stacks of worker (pid:{}):\n{text}", worker.pid.unwrap_or(0));
                    }
                }
            }
        }
    }

    /// The slot's figures go into the totals, its stack pipe closes.
    fn free(&mut self, slot: u32) {
        self.observe(slot);
        self.ledger.forget(slot);
        if let Ok(reader) = self.map.reader(slot) {
            reader.vacate();
        }
        if let Some(metrics) = &self.shared.app_metrics {
            metrics.vacate(slot);
        }
        self.attendants.remove(&slot);
        self.map.set_workers(self.attendants.len());
        self.stack_waiters.remove(&slot);
    }

    /// Adds what a slot has counted to the totals.
    fn observe(&mut self, slot: u32) {
        let Some(attendant) = self.attendants.get_mut(&slot) else { return };
        let Ok(reader) = self.map.reader(slot) else { return };
        let now = Instant::now();
        let elapsed = now.duration_since(attendant.observed);
        attendant.observed = now;
        if !self.ledger.observe(slot, &reader.read().counters, elapsed) {
            tracing::warn!(
                slot,
                "The scoreboard says something that cannot be true: code in a worker overwrites memory"
            );
        }
    }

    /// Looks at every slot that has a worker.
    pub(super) fn read_scoreboard(&mut self) {
        self.harvest();
        let slots: Vec<u32> =
            self.pool.workers().filter(|(_, worker)| worker.pid.is_some()).map(|(slot, _)| slot).collect();
        let mut readings = Vec::with_capacity(slots.len());
        for slot in slots {
            self.observe(slot);
            let Ok(reader) = self.map.reader(slot) else { continue };
            let now = reader.read();
            self.tell_request_timeouts(slot, now.counters.timed_out);
            self.tell_slow_requests(slot, now.in_flight);
            let reading = Reading {
                state: now.state,
                beat: now.beat,
                recycle: now.recycle,
                in_flight: now.in_flight,
                parked: now.parked,
                connections: now.connections,
            };
            // All loads before any event: the first one may already make the pool choose whom to retire.
            self.pool.note_load(slot, reading);
            readings.push((slot, reading));
        }
        for (slot, reading) in readings {
            self.tell_pool(Event::Reading { slot, reading });
        }
    }

    /// Says which request ran into `request_timeout`, and has the worker say where it is in the app.
    fn tell_request_timeouts(&mut self, slot: u32, timed_out: u64) {
        let pid = self.pool.worker(slot).and_then(|worker| worker.pid);
        let Some(attendant) = self.attendants.get_mut(&slot) else { return };
        let more = timed_out > std::mem::replace(&mut attendant.timed_out, timed_out);
        let quiet = attendant.timeout_told.is_none_or(|told| told.elapsed() >= TIMEOUT_QUIET);
        let (true, true, Some(pid)) = (more, quiet, pid) else { return };
        attendant.timeout_told = Some(Instant::now());
        let request = self.running_request(slot);
        let trace_id = request.as_ref().and_then(trace_text);
        let serving = request.map(|entry| request_text(&entry));
        let serving = serving.unwrap_or_else(|| "a request that has ended meanwhile".to_owned());
        tracing::error!(slot, trace_id, "Request timeout in worker (pid:{pid}): {serving}");
        let _ = self.ask_worker(slot, pid);
    }

    /// Has a worker that goes on say where it is.
    pub(super) fn ask_worker(&self, slot: u32, pid: i32) -> nix::Result<()> {
        let reader = self.attendants.get(&slot).and_then(|attendant| attendant.stacks.as_ref());
        reader.map_or(Err(Errno::ESRCH), |reader| reader.ask(pid))
    }

    /// Says which request has run for longer than `slow_request`, once for each, and has the worker say where it is.
    fn tell_slow_requests(&mut self, slot: u32, in_flight: u32) {
        let Some(limit) = self.settings.slow_request.filter(|_| in_flight > 0) else { return };
        let Ok(reader) = self.map.reader(slot) else { return };
        let pid = self.pool.worker(slot).and_then(|worker| worker.pid);
        let (Some(attendant), Some(pid)) = (self.attendants.get_mut(&slot), pid) else { return };
        let (from, quiet) =
            attendant.slow_told.map_or((0, true), |(from, at)| (from, at.elapsed() >= TIMEOUT_QUIET));
        if !quiet {
            return;
        }
        let is_slow = |entry: &RingEntry| {
            entry.sequence >= from
                && entry.duration_nanos.is_none()
                && current_request(entry).seconds >= limit.as_secs_f64()
        };
        // The newest that is slow: what began before it is as slow, and told with it.
        let found: Vec<RingEntry> = reader.requests(usize::MAX).into_iter().filter(is_slow).collect();
        let Some(newest) = found.first() else { return };
        attendant.slow_told = Some((newest.sequence + 1, Instant::now()));
        for entry in &found {
            tracing::warn!(slot, "Slow request in worker (pid:{pid}): {}", request_text(entry));
        }
        let _ = self.ask_worker(slot, pid);
    }

    /// The request that a worker was serving when it was last heard of.
    pub(super) fn running_request(&self, slot: u32) -> Option<RingEntry> {
        let entries = self.map.reader(slot).ok()?.requests(16);
        entries.into_iter().rev().find(|entry| entry.duration_nanos.is_none())
    }

    pub(super) fn signal_workers(&self, signal: Signal) {
        for pid in self.pool.workers().filter_map(|(_, worker)| worker.pid) {
            kill(pid, signal);
        }
    }
}

/// From the order to go until the worker has gone.
fn leaving_span(slot: u32, pid: i32, generation: u32, reason: RetireReason) -> Span {
    let why = retire_text(reason);
    match reason {
        RetireReason::MaxRequests | RetireReason::MaxMemory | RetireReason::MemoryPressure => {
            tracing::info_span!(
                "recycle",
                podicorn.worker.slot = i64::from(slot),
                podicorn.worker.pid = pid,
                podicorn.generation = i64::from(generation),
                podicorn.reason = why,
            )
        }
        _ => tracing::info_span!(
            "stop",
            podicorn.worker.slot = i64::from(slot),
            podicorn.worker.pid = pid,
            podicorn.generation = i64::from(generation),
            podicorn.reason = why,
        ),
    }
}

fn kill(pid: i32, signal: Signal) {
    // It may have died a moment ago; the reaper says so.
    let _ = signals::send(pid, signal as i32);
}

fn retire_text(reason: RetireReason) -> &'static str {
    match reason {
        RetireReason::ScaledDown => "fewer workers are wanted",
        RetireReason::Replaced => "a newer generation serves",
        RetireReason::MaxRequests => "it has served max_requests",
        RetireReason::MaxMemory => "it holds more memory than a worker may",
        RetireReason::MemoryPressure => "the container is nearly out of memory",
        RetireReason::RolledBack => "its generation was taken back",
        RetireReason::Shutdown => "the server is shutting down",
    }
}

pub(super) fn request_text(entry: &RingEntry) -> String {
    let request = current_request(entry);
    format!("{} {} for {:.1} s", request.method, request.path, request.seconds)
}

/// For JSON logs; `None` where the request belongs to no trace.
pub(super) fn trace_text(entry: &RingEntry) -> Option<String> {
    (entry.trace_id != 0).then(|| format!("{:032x}", entry.trace_id))
}

fn is_our_child(pid: i32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.and_then(|parent| parent.trim().parse().ok()) == Some(std::process::id())
}
