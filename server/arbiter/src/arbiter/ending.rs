//! The way out: drain, stop the workers, run the last hook, let the fork servers go, flush the log.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::generations::HookDone;
use super::setup::{FLUSH_TIME, limits};
use super::{Arbiter, Ending, Input};
use crate::forkserver::message::Hook;
use crate::pool::{DeathCause, Event, Limits};
use crate::signals;

/// What the hook `on_exit` may take.
const EXIT_HOOK_DEADLINE: Duration = Duration::from_secs(5);
/// What fork servers have to leave by themselves.
const FORKSERVER_TIME: Duration = Duration::from_secs(1);

impl Arbiter {
    /// TERM (graceful) or INT, QUIT.
    pub(super) fn begin_shutdown(&mut self, graceful: bool) {
        self.systemd.stopping();
        let now = Instant::now();
        match self.ending {
            Ending::Not if graceful && !self.settings.drain_delay.is_zero() && self.pool.ready() > 0 => {
                let stop_at = now + self.settings.drain_delay;
                tracing::info!(
                    "Draining: not ready from now on, still serving for {:.0} s",
                    self.settings.drain_delay.as_secs_f64()
                );
                self.ending = Ending::Lingering { stop_at, began: now };
            }
            Ending::Not => self.stop_workers(graceful, now),
            // A second TERM does not make the first one shorter; INT and QUIT do.
            Ending::Lingering { began, .. } if !graceful => self.stop_workers(false, began),
            Ending::Stopping if !graceful => self.tell_pool(Event::Stop { graceful: false }),
            Ending::Lingering { .. } | Ending::Stopping => {}
        }
    }

    /// `graceful_timeout` counts from the signal, `drain_delay` included.
    pub(super) fn stop_workers(&mut self, graceful: bool, began: Instant) {
        // First, so that it is true once it is told.
        self.map.set_draining(true);
        tracing::info!("Shutting down: Master");
        self.ending = Ending::Stopping;
        let configured = limits(&self.settings);
        let rest = configured.graceful_timeout.saturating_sub(began.elapsed());
        self.tell_pool(Event::Limits(Limits { graceful_timeout: rest, ..configured }));
        self.tell_pool(Event::Stop { graceful });
        self.kill_launching();
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
        let deadline = Instant::now() + FORKSERVER_TIME;
        while !self.forkservers.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.reap();
        }
        for pid in self.forkservers.keys() {
            let _ = signals::send(*pid, libc::SIGKILL);
        }
        self.log.flush(FLUSH_TIME);
    }

    async fn exit_hook(&mut self) {
        let generation = self.pool.generation();
        let Some((_, client)) = self.client_of(generation) else { return };
        if !self.hooks(generation, Hook::OnExit.name()) {
            return;
        }
        let answer = client.request::<HookDone>("hook", Hook::OnExit.body(), Vec::new(), EXIT_HOOK_DEADLINE);
        match answer.await {
            Ok(HookDone { error: None }) => {}
            Ok(HookDone { error: Some(error) }) => tracing::error!("Hook on_exit failed: {error}"),
            Err(error) => tracing::error!("Hook on_exit failed: {error}"),
        }
    }
}
