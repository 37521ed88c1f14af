//! The worker types **gevent** and **eventlet**: the engine is a guest of their hub, and each request is a greenlet.
//!
//! The hub watches the engine's descriptor. When it is readable, Python calls [`Engine::poll`], starts a greenlet on each
//! [`Request`] that [`Engine::take`] gives, and calls [`Engine::settle`]. All that is Python's affair: nothing here
//! switches greenlets, except that it calls Python.
//!
//! What a switch asks of Rust code. A greenlet that is switched out has its piece of the C stack copied away, and others
//! run on the same addresses and on the same thread. So
//!
//! - nothing that outlives a call into Python may point into the stack: the reactor and the watchdog have the connection
//!   by `Box` and the socket by `Arc`;
//! - a lock held across a call into Python would wait for a greenlet that cannot run; none is held across the app's code,
//!   its iterables, hooks, logs, or a wait for the client ([`crate::wsgi::wait`]);
//! - calls of different greenlets end in any order. `PyO3` counts a thread's calls up and down, which needs no order; what
//!   it saves and restores around `detach` does, and nothing switches in there, since no Python runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollTimeout};
use pyo3::prelude::*;

use crate::clock::{Nanos, monotonic};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::reactor::{EVENTS, Ready};
use crate::sync::SLICE;

/// A complete request. Call it once, in a greenlet of its own: it answers.
#[pyclass(frozen, module = "podicorn._engine")]
pub(crate) struct Request {
    engine: Py<Engine>,
    /// And when it was taken.
    ready: Mutex<Option<(Ready, Nanos)>>,
}

impl Request {
    fn ready(&self) -> Option<(Ready, Nanos)> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[pymethods]
impl Request {
    /// An error is one that ends the worker.
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.ready().map_or(Ok(()), |(ready, begun)| self.engine.get().answer(py, ready, begun))
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // Nobody has called it.
        if let Some((mut ready, _)) = self.ready() {
            ready.connection.abandon();
            self.engine.get().give_back(ready);
        }
    }
}

impl Engine {
    /// One turn that does not wait and answers nothing: how many requests are there to [`Self::take`].
    pub(crate) fn poll_once(&self, py: Python<'_>) -> PyResult<usize> {
        let Ok(epoll) = self.epoll() else { return Ok(0) };
        let mut events = [EpollEvent::empty(); EVENTS];
        let found = match epoll.wait(&mut events, EpollTimeout::ZERO) {
            Ok(found) => found,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(EngineError::System { what: "epoll_wait", errno }.into()),
        };
        // A child that the app forks must be able to close it.
        drop(epoll);
        self.slice_until.store(0, Ordering::Relaxed);
        self.in_turn.store(true, Ordering::Relaxed);
        py.check_signals()?;
        self.dispatch(py, &events[..found]);
        Ok(self.core.with(|reactor| reactor.waiting()).unwrap_or(0))
    }

    /// The request that has waited longest. With slow requests one may get none before all are taken: the hub has others
    /// to run, and comes back at once.
    pub(crate) fn take_request(slf: &Bound<'_, Self>) -> Option<Request> {
        let now = monotonic();
        let until = &slf.get().slice_until;
        match until.load(Ordering::Relaxed) {
            0 => until.store(now + SLICE, Ordering::Relaxed),
            until if now >= until => return None,
            _ => {}
        }
        let ready = slf.get().core.next_request(now)?;
        Some(Request { engine: slf.clone().unbind(), ready: Mutex::new(Some((ready, now))) })
    }

    /// What is to be done when all greenlets of a turn have been started; true when the worker is to end. A child that the
    /// app has forked comes by here too, in the copy of a turn, and its end is not the engine's affair.
    pub(crate) fn settle_turn(&self, py: Python<'_>) -> bool {
        self.in_turn.store(false, Ordering::Relaxed);
        if self.core.is_disabled() {
            return false;
        }
        self.core.with(|reactor| reactor.publish_load());
        self.tell_notices(py);
        let done = self.is_done(0);
        self.set_alarm(monotonic());
        done
    }

    fn answer(&self, py: Python<'_>, mut ready: Ready, begun: Nanos) -> PyResult<()> {
        // A panic of ours costs this connection, not the worker.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.service.handle(py, &mut ready, begun)));
        let outcome = outcome.unwrap_or_else(|_| {
            self.service.log(py, "error", "internal error: a request has panicked; its connection is closed");
            ready.connection.abandon();
            Ok(())
        });
        if self.core.is_disabled() {
            // The app has forked, and this is the child: the connection is the parent's, and so is the hub.
            return self.back_in_child(py);
        }
        self.give_back(ready);
        match outcome {
            Err(error) if self.core.is_quitting() => Err(error),
            // The app's own SystemExit or KeyboardInterrupt is logged and ends the request only, as in Gunicorn.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn give_back(&self, ready: Ready) {
        if !self.core.is_disabled() {
            let now = monotonic();
            self.core.answered(ready.token, ready.connection, now);
            // A turn does it once, in the end.
            if !self.in_turn.load(Ordering::Relaxed) {
                self.set_alarm(now);
            }
        }
    }

    /// The epoll becomes ready when something is due or a request waits.
    fn set_alarm(&self, now: Nanos) {
        let duty = self.next_duty();
        self.core.with(|reactor| reactor.set_alarm(now, duty));
    }
}
