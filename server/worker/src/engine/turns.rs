//! One turn of each kind of loop: the engine's own without and beside threads that call the app, and a foreign one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollTimeout};
use pyo3::prelude::*;

use super::Engine;
use super::native::Attention;
use crate::asgi::service::Asgi;
use crate::clock::monotonic;
use crate::error::EngineError;
use crate::reactor::EVENTS;
use crate::sync;

impl Engine {
    /// One turn; true when the worker is to end.
    pub(super) fn turn_once(&self, py: Python<'_>, events: &mut [EpollEvent], block: bool) -> PyResult<bool> {
        let epoll = self.epoll()?;
        let patience = if block { self.patience() } else { EpollTimeout::ZERO };
        let found = if patience == EpollTimeout::ZERO {
            epoll.wait(events, patience)
        } else {
            py.detach(|| epoll.wait(events, patience))
        };
        // A child that the app forks must be able to close it.
        drop(epoll);
        let found = match found {
            Ok(found) => found,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(EngineError::System { what: "epoll_wait", errno }.into()),
        };
        // Python's handlers run here, if a signal has come; one may raise, to end the worker at once.
        py.check_signals()?;
        self.dispatch(py, &events[..found]);
        sync::serve(py, &self.core, &self.service)?;
        if self.core.is_disabled() {
            return Ok(true);
        }
        self.core.with(|reactor| reactor.publish_load());
        self.tell_notices(py);
        Ok(self.is_done(0))
    }

    /// The heartbeat, and what a wait has brought.
    pub(crate) fn dispatch(&self, py: Python<'_>, events: &[EpollEvent]) {
        let now = monotonic();
        self.keep_alive(py, now);
        let dispatched =
            catch_unwind(AssertUnwindSafe(|| self.core.with(|reactor| reactor.dispatch(events, now))));
        if dispatched.is_err() {
            self.tell_panic(py);
        }
    }

    /// One turn in which the app is called by other threads; true when the worker is to end.
    pub(super) fn turn_beside_threads(&self, py: Python<'_>, events: &mut [EpollEvent]) -> PyResult<bool> {
        let epoll = self.epoll()?;
        let until = self.next_duty();
        let attention = py.detach(|| self.core.attend(&epoll, events, until));
        drop(epoll);
        if attention.map_err(|errno| EngineError::System { what: "epoll_wait", errno })?
            == Attention::Panicked
        {
            self.tell_panic(py);
        }
        py.check_signals()?;
        self.keep_alive(py, monotonic());
        self.tell_notices(py);
        Ok(self.is_done(0))
    }

    /// One turn in a foreign loop, for an ASGI app; true when the worker is to end.
    pub(super) fn turn_in_loop(&self, py: Python<'_>, asgi: &Arc<Asgi>) -> PyResult<bool> {
        let Ok(epoll) = self.epoll() else {
            asgi.finish(py)?;
            return Ok(true);
        };
        let mut events = std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner));
        events.resize(EVENTS, EpollEvent::empty());
        let found = epoll.wait(&mut events, EpollTimeout::ZERO);
        // A child that the app forks must be able to close it.
        drop(epoll);
        let found = match found {
            Ok(found) => found,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(EngineError::System { what: "epoll_wait", errno }.into()),
        };
        let now = monotonic();
        self.keep_alive(py, now);
        let dispatched = catch_unwind(AssertUnwindSafe(|| {
            self.core.with(|reactor| reactor.dispatch(&events[..found], now));
        }));
        *self.events.lock().unwrap_or_else(PoisonError::into_inner) = events;
        if dispatched.is_err() {
            self.tell_panic(py);
        }
        Asgi::work(asgi, py);
        if self.core.is_disabled() {
            asgi.finish(py)?;
            return Ok(true);
        }
        self.tell_notices(py);
        let done = self.is_done(asgi.running(py));
        let at_most = self.next_duty();
        self.core.with(|reactor| {
            reactor.publish_load();
            reactor.set_alarm(monotonic(), at_most);
        });
        if done {
            asgi.finish(py)?;
        }
        Ok(done)
    }

    fn tell_panic(&self, py: Python<'_>) {
        self.service.log(py, "error", "internal error: the reactor has panicked; the worker goes on");
    }
}
