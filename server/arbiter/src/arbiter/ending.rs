//! The way out: still serve for a while, take the sockets out of service, stop the workers, run the last hook, let the fork
//! servers go, flush the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::generations::HookDone;
use super::setup::{FLUSH_TIME, limits};
use super::{Arbiter, Ending, Input};
use crate::drain::{Look, Watch};
use crate::forkserver::message::Hook;
use crate::kernel;
use crate::listeners::Listener;
use crate::pool::{DeathCause, Event, Limits};
use crate::signals;

/// What the hook `on_exit` may take.
const EXIT_HOOK_DEADLINE: Duration = Duration::from_secs(5);
/// What fork servers have to leave by themselves.
const FORKSERVER_TIME: Duration = Duration::from_secs(1);
/// What each of these has even if no time is left.
const SHORTEST: Duration = Duration::from_millis(50);

/// Of these two a pod has one each, less where `graceful_timeout` is short: the kubelet's clock has begun before ours, and
/// what comes after the last worker takes time too.
const SPARE: Duration = Duration::from_secs(1);

/// When things have to be over, counted from the signal, `drain_delay` included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Budget {
    /// Workers are killed then.
    workers: Duration,
    /// The server has left by then, where that matters.
    server: Option<Duration>,
}

impl Budget {
    fn new(graceful_timeout: Duration, in_pod: bool) -> Self {
        if !in_pod {
            return Self { workers: graceful_timeout, server: None };
        }
        let spare = SPARE.min(graceful_timeout / 4);
        let before = |spare| graceful_timeout.saturating_sub(spare);
        Self { workers: before(2 * spare), server: Some(before(spare)) }
    }

    /// `drain_delay`, but half of the time is left for requests.
    fn delay(&self, wanted: Duration) -> Duration {
        wanted.min(self.workers / 2)
    }
}

impl Arbiter {
    /// TERM (graceful) or INT, QUIT.
    pub(super) fn begin_shutdown(&mut self, graceful: bool) {
        // systemd goes by the pid of the one that stays.
        match self.successor() {
            Some(pid) => self.systemd.main_process(pid),
            None => self.systemd.stopping(),
        }
        let now = Instant::now();
        match self.ending {
            Ending::Not if graceful && self.pool.ready() > 0 => self.begin_to_drain(now),
            Ending::Not => self.stop_workers(graceful, now),
            // A second TERM does not make the first one shorter; INT and QUIT do.
            Ending::Lingering { began, .. } | Ending::Emptying { began, .. } if !graceful => {
                self.stop_workers(false, began);
            }
            Ending::Stopping if !graceful => self.tell_pool(Event::Stop { graceful: false }),
            Ending::Lingering { .. } | Ending::Emptying { .. } | Ending::Stopping => {}
        }
    }

    fn budget(&self) -> Budget {
        Budget::new(self.settings.graceful_timeout, self.settings.in_pod)
    }

    fn begin_to_drain(&mut self, now: Instant) {
        let wanted = self.settings.drain_delay;
        let delay = self.budget().delay(wanted);
        if delay < wanted {
            tracing::warn!(
                "drain_delay is cut to {:.1} s: half of graceful_timeout is left for requests; raise that one",
                delay.as_secs_f64()
            );
        }
        if delay.is_zero() {
            return self.keep_out_new(now);
        }
        tracing::info!("Draining: not ready from now on, still serving for {:.1} s", delay.as_secs_f64());
        self.ending = Ending::Lingering { stop_at: now + delay, began: now };
    }

    /// The next step, once its time has come.
    pub(super) fn proceed(&mut self, now: Instant) {
        match self.ending {
            Ending::Lingering { stop_at, began } if now >= stop_at => self.keep_out_new(began),
            Ending::Emptying { began, ref mut watch } if now >= watch.due() => {
                let waiting = self
                    .blueprints
                    .values()
                    .flat_map(|blueprint| &blueprint.listeners)
                    .any(|listener| !listener.is_shared() && listener.has_waiting());
                match watch.look(waiting, now) {
                    Look::Again => {}
                    Look::Empty => {
                        self.shut_down_listeners();
                        self.stop_workers(true, began);
                    }
                    // Workers that come back from the app before the end still take them.
                    Look::InVain => self.stop_workers(true, began),
                }
            }
            _ => {}
        }
    }

    /// When [`Self::proceed`] is next needed.
    pub(super) fn next_step(&self) -> Option<Instant> {
        match self.ending {
            Ending::Lingering { stop_at, .. } => Some(stop_at),
            Ending::Emptying { watch, .. } => Some(watch.due()),
            Ending::Not | Ending::Stopping => None,
        }
    }

    pub(super) fn listeners(&self) -> Vec<Arc<Listener>> {
        self.blueprints.values().flat_map(|blueprint| blueprint.listeners.iter().cloned()).collect()
    }

    /// Nobody new gets in; the workers take all who have, however busy they are, and say that responses are the last.
    fn keep_out_new(&mut self, began: Instant) {
        self.announce_end(began);
        let listeners = self.listeners();
        for listener in &listeners {
            listener.keep_out_new();
        }
        // Workers that have enough to do have stopped listening.
        for _ in self.pool.workers() {
            let _ = nix::unistd::write(&self.shared.nudge, &1_u64.to_ne_bytes());
        }
        let now = Instant::now();
        let left = self.budget().workers.saturating_sub(now.duration_since(began));
        self.ending = Ending::Emptying { began, watch: Watch::new(now, left / 2) };
    }

    /// The types that own their sockets take one that is shut down for an error; they close it themselves, and it goes with
    /// the server.
    fn shut_down_listeners(&self) {
        if self.blueprints.values().all(|blueprint| blueprint.settings.worker_class.is_engine_type()) {
            self.listeners().iter().for_each(|listener| listener.shut_down());
        }
    }

    /// Tells the workers, those to come too, by when they have to be through.
    fn announce_end(&mut self, began: Instant) {
        let at = kernel::monotonic(began + self.budget().workers);
        self.ends_at = Some(at);
        self.map.set_draining(Some(at));
    }

    /// `graceful_timeout` counts from the signal, `drain_delay` included.
    fn stop_workers(&mut self, graceful: bool, began: Instant) {
        // First, so that it is true once it is told.
        self.announce_end(began);
        tracing::info!("Shutting down: Master");
        self.ending = Ending::Stopping;
        let budget = self.budget();
        self.leave_by = budget.server.map(|time| began + time);
        let rest = budget.workers.saturating_sub(began.elapsed());
        self.tell_pool(Event::Limits(Limits { graceful_timeout: rest, ..limits(&self.settings) }));
        self.tell_pool(Event::Stop { graceful });
        self.kill_launching();
    }

    /// So long, but not beyond the time that the server has.
    fn at_most(&self, time: Duration) -> Duration {
        let left = self.leave_by.map(|at| at.saturating_duration_since(Instant::now()));
        left.map_or(time, |left| time.min(left.max(SHORTEST)))
    }

    /// There is no point in going on: Gunicorn's words and codes.
    pub(super) fn halt(&mut self, code: i32, cause: DeathCause) {
        if self.ending == Ending::Stopping {
            return;
        }
        let reason = match code {
            4 => "App failed to load.",
            3 => "Worker failed to boot.",
            _ => "The server cannot start.",
        };
        self.exit_code = code;
        self.systemd.stopping();
        let detail =
            self.tally.last_boot_error.take().map_or_else(|| cause.to_string(), |error| error.message);
        self.boots.failed(&detail);
        crate::critical!("{reason} {detail}");
        self.stop_workers(false, Instant::now());
    }

    /// Fork servers that still import something have nothing to finish.
    fn kill_launching(&mut self) {
        for (pid, server) in &mut self.forkservers {
            if !server.ready {
                server.dismissed = true;
                let _ = signals::send(*pid, libc::SIGKILL);
            }
        }
    }

    /// The workers are gone.
    pub(super) async fn finish(&mut self, inbox: &mut mpsc::UnboundedReceiver<Input>) {
        self.exit_hook().await;
        while let Ok(input) = inbox.try_recv() {
            if let Input::HookFailed { hook, error } = input {
                tracing::error!("Hook {hook} failed: {error}");
            }
        }
        let generations: Vec<u32> = self.forkservers.values().map(|server| server.generation).collect();
        for generation in generations {
            self.dismiss_generation(generation);
        }
        let deadline = Instant::now() + self.at_most(FORKSERVER_TIME);
        while !self.forkservers.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.reap();
        }
        for pid in self.forkservers.keys() {
            let _ = signals::send(*pid, libc::SIGKILL);
        }
        for relay in self.forkservers.values().filter_map(|server| server.relay.as_ref()) {
            self.log.relay_ended(relay);
        }
        if let Some(traces) = &self.traces {
            self.attendants.clear();
            traces.finish(self.at_most(FLUSH_TIME));
        }
        if let Some(metrics) = &self.shared.app_metrics {
            metrics.remove();
        }
        self.log.flush(self.at_most(FLUSH_TIME));
    }

    async fn exit_hook(&mut self) {
        let generation = self.pool.generation();
        let Some((_, client)) = self.client_of(generation) else { return };
        if !self.hooks(generation, Hook::OnExit.name()) {
            return;
        }
        let deadline = self.at_most(EXIT_HOOK_DEADLINE);
        let answer = client.request::<HookDone>("hook", Hook::OnExit.body(), Vec::new(), deadline);
        match answer.await {
            Ok(HookDone { error: None }) => {}
            Ok(HookDone { error: Some(error) }) => tracing::error!("Hook on_exit failed: {error}"),
            Err(error) => tracing::error!("Hook on_exit failed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_pod_ends_before_its_time() {
        assert_eq!(Budget::new(seconds(30), false), Budget { workers: seconds(30), server: None });
        assert_eq!(
            Budget::new(seconds(30), true),
            Budget { workers: seconds(28), server: Some(seconds(29)) }
        );
        let short = Budget::new(seconds(2), true);
        assert_eq!(short, Budget { workers: seconds(1), server: Some(Duration::from_millis(1500)) });
        assert_eq!(Budget::new(Duration::ZERO, true).workers, Duration::ZERO);
    }

    #[test]
    fn a_delay_leaves_time_for_requests() {
        let budget = Budget::new(seconds(30), true);
        assert_eq!(budget.delay(seconds(5)), seconds(5));
        assert_eq!(budget.delay(seconds(60)), seconds(14));
    }
}
