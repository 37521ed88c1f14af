//! What an engine has to do between requests: beat, follow certificates, tell what the reactor has noticed, come to its end.

use std::sync::atomic::Ordering;

use nix::sys::epoll::EpollTimeout;
use nix::unistd::getppid;
use pyo3::prelude::*;

use super::Engine;
use crate::clock::{Nanos, monotonic, synchronise};
use crate::reactor::{Notice, Reactor};
use crate::tls::session::Failure;

impl Engine {
    /// When Python is due at the latest.
    pub(crate) fn next_duty(&self) -> Nanos {
        let progress = self.progress();
        progress.end.map_or(progress.next_beat, |end| end.next().min(progress.next_beat))
    }

    pub(super) fn patience(&self) -> EpollTimeout {
        let now = monotonic();
        let at_most = self.next_duty();
        EpollTimeout::from(self.core.with(|reactor| reactor.patience(now, at_most)).unwrap_or(0))
    }

    /// The heartbeat, and what is looked after at the same pace. The GIL is held, and was free to be lost before.
    pub(super) fn keep_alive(&self, py: Python<'_>, now: Nanos) {
        {
            let mut progress = self.progress();
            if now < progress.next_beat {
                return;
            }
            // The first beat is due at once. Where requests run inside the turn, a late one says how long they are.
            if progress.next_beat != 0 && self.measures_lag {
                self.core.slot.late(now - progress.next_beat);
            }
            progress.next_beat = now + self.beat;
        }
        self.core.slot.beat();
        synchronise();
        self.service.publish_log_drops();
        self.core.with(Reactor::requeue_listeners);
        self.follow_certificates(py);
        if getppid() != self.parent && !self.core.orders.stop.swap(true, Ordering::Relaxed) {
            self.service.log(py, "info", "Parent changed, shutting down: the arbiter has died");
        }
    }

    /// Certificates are replaced while the server runs, by the kubelet for one.
    fn follow_certificates(&self, py: Python<'_>) {
        match self.tls.as_ref().and_then(|tls| tls.refresh(py)) {
            None => {}
            Some(Ok(())) => {
                self.service.log(py, "info", "TLS: the certificate's files have changed and are in use");
            }
            Some(Err(error)) => {
                let text =
                    format!("TLS: the files have changed, and what was read before stays in use: {error}");
                self.service.log(py, "error", &text);
            }
        }
    }

    /// Begins a stop that was asked for; true when nothing is left to do. `calls`: those that run without a connection, too.
    pub(crate) fn is_done(&self, calls: usize) -> bool {
        if self.core.is_quitting() {
            return true;
        }
        if !self.core.orders.stop.load(Ordering::Relaxed) {
            return false;
        }
        let now = monotonic();
        let end = self.stopping.proceed(now);
        let idle = calls == 0 && self.core.with(|reactor| reactor.is_idle()).unwrap_or(true);
        idle || end.is_over(now)
    }

    pub(crate) fn tell_notices(&self, py: Python<'_>) {
        for notice in self.core.with(Reactor::take_notices).unwrap_or_default() {
            match notice {
                Notice::Refused { peer, reject } => self.service.tell_refused(py, peer, &reject),
                Notice::WebSocketFailed { peer, violation } => {
                    self.service.tell_offence(py, "Invalid WebSocket data", peer, &violation);
                }
                Notice::TlsFailed { peer, failure: Failure::Plain } => {
                    self.service.tell_offence(py, "Invalid request", peer, &Failure::Plain);
                }
                // Whoever looks for open ports makes many.
                Notice::TlsFailed { peer, failure } => {
                    self.service.tell_of(py, "debug", "No TLS session", peer, &failure);
                }
                Notice::AcceptFailed(errno) => {
                    let text = format!(
                        "cannot accept connections: {errno}; raise the limit of open files, or lower worker_connections"
                    );
                    self.service.log(py, "error", &text);
                }
            }
        }
    }
}
