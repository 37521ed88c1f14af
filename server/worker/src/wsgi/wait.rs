//! Waiting for a client while its request holds a Python thread or greenlet: others run meanwhile, and not for ever.
//!
//! A thread waits in `poll` without the GIL, with heartbeats. A greenlet must not hold its thread: it calls the worker
//! type's `wait`, which switches to the hub. So no lock and no borrow may be held around [`Patience::wait`].

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use pyo3::prelude::*;

use crate::clock::{MILLISECOND, Nanos, SECOND, monotonic};
use crate::options::Limits;
use crate::reactor::socket::{Readiness, Socket};
use crate::slot::SharedSlot;

/// A greenlet looks this often whether the watchdog has taken its request: a wait for a client's bytes does not notice.
const LOOK_EVERY: Nanos = 5 * SECOND;

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Ready,
    /// The client has not moved enough for a stall period.
    Enough,
}

/// What is the same for all waits of an engine.
struct Habits {
    slot: Arc<SharedSlot>,
    /// `None`: for ever.
    stall: Option<Nanos>,
    /// Bytes that must move in such a time.
    least: u64,
    /// How often the worker must say that it is alive.
    beat: Nanos,
    /// `wait(fd, writing, seconds) -> bool`, for greenlets.
    green: Option<Py<PyAny>>,
}

/// How long to wait for one client. Only time spent waiting counts, not the app's own.
#[derive(Clone)]
pub(crate) struct Patience {
    habits: Arc<Habits>,
    /// Of the present period: time waited, and what had moved at its beginning.
    waited: Nanos,
    mark: u64,
}

impl Patience {
    pub(crate) fn new(slot: Arc<SharedSlot>, limits: &Limits, beat: Nanos, green: Option<Py<PyAny>>) -> Self {
        let (stall, least) = (limits.stall_timeout, limits.least_per_stall());
        Self { habits: Arc::new(Habits { slot, stall, least, beat, green }), waited: 0, mark: 0 }
    }

    /// Whether this process is a child that the app has forked: the connection is the parent's.
    pub(crate) fn is_foreign(&self) -> bool {
        self.habits.slot.is_disabled()
    }

    /// Waits until the socket is ready. `moved` counts, modulo 2⁶⁴, the bytes that the client has sent or taken so far.
    /// What signal handlers raise, or what is thrown into the greenlet, ends the wait.
    pub(crate) fn wait(
        &mut self,
        py: Python<'_>,
        socket: &Arc<Socket>,
        what: Readiness,
        moved: impl Fn() -> u64,
    ) -> PyResult<Waited> {
        loop {
            if self.waited == 0 {
                self.mark = moved();
            }
            let begun = monotonic();
            let (ready, most) = match &self.habits.green {
                None => (self.wait_in_thread(py, socket, what)?, Nanos::MAX),
                Some(wait) => {
                    let left = self.habits.stall.map_or(LOOK_EVERY, |stall| stall - self.waited);
                    let step = left.min(LOOK_EVERY);
                    (wait_in_greenlet(wait.bind(py), socket, what, step)?, step)
                }
            };
            if self.is_foreign() {
                return Ok(Waited::Enough);
            }
            // Never 0 again before the period is over. What a busy hub takes to come back is not the client's fault.
            self.waited += (monotonic() - begun).clamp(1, most);
            if self.habits.stall.is_some_and(|stall| self.waited >= stall) {
                if moved().wrapping_sub(self.mark) < self.habits.least {
                    return Ok(Waited::Enough);
                }
                self.waited = 0;
            }
            if ready {
                return Ok(Waited::Ready);
            }
            if socket.is_timed_out() {
                return Ok(Waited::Enough);
            }
        }
    }

    fn wait_in_thread(&self, py: Python<'_>, socket: &Arc<Socket>, what: Readiness) -> PyResult<bool> {
        let step = u16::try_from(self.habits.beat / MILLISECOND).unwrap_or(u16::MAX).max(1);
        let ready = py.detach(|| socket.wait(what, step));
        self.habits.slot.beat();
        py.check_signals()?;
        Ok(ready)
    }
}

fn wait_in_greenlet(
    wait: &Bound<'_, PyAny>,
    socket: &Arc<Socket>,
    what: Readiness,
    most: Nanos,
) -> PyResult<bool> {
    #[allow(clippy::cast_precision_loss)] // a few seconds
    let seconds = most as f64 / SECOND as f64;
    wait.call1((socket.as_fd().as_raw_fd(), what == Readiness::Writable, seconds))?.extract()
}
