//! Waiting for a client while its request holds a Python thread: without the GIL, with heartbeats, and not for ever.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::clock::{MILLISECOND, Nanos, monotonic};
use crate::options::Limits;
use crate::reactor::socket::{Readiness, Socket};
use crate::slot::SharedSlot;

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Ready,
    /// The client has not moved enough for a stall period.
    Enough,
}

/// How long to wait for one client. Only time spent waiting counts, not the app's own.
#[derive(Clone)]
pub(crate) struct Patience {
    slot: Arc<SharedSlot>,
    /// `None`: for ever.
    stall: Option<Nanos>,
    /// Bytes that must move in such a time.
    least: u64,
    /// How often the worker must say that it is alive.
    beat: Nanos,
    /// Of the present period: time waited, and what had moved at its beginning.
    waited: Nanos,
    mark: u64,
}

impl Patience {
    pub(crate) fn new(slot: Arc<SharedSlot>, limits: &Limits, beat: Nanos) -> Self {
        let (stall, least) = (limits.stall_timeout, limits.least_per_stall());
        Self { slot, stall, least, beat, waited: 0, mark: 0 }
    }

    /// Whether this process is a child that the app has forked: the connection is the parent's.
    pub(crate) fn is_foreign(&self) -> bool {
        self.slot.is_disabled()
    }

    /// Waits until the socket is ready. `moved` counts, modulo 2⁶⁴, the bytes that the client has sent or taken so far.
    /// Signal handlers run; what they raise ends the wait.
    pub(crate) fn wait(
        &mut self,
        py: Python<'_>,
        socket: &Arc<Socket>,
        what: Readiness,
        moved: impl Fn() -> u64,
    ) -> PyResult<Waited> {
        loop {
            let step = u16::try_from(self.beat / MILLISECOND).unwrap_or(u16::MAX).max(1);
            let begun = monotonic();
            if self.waited == 0 {
                self.mark = moved();
            }
            let ready = py.detach(|| socket.wait(what, step));
            self.slot.beat();
            py.check_signals()?;
            // Never 0 again before the period is over.
            self.waited += (monotonic() - begun).max(1);
            if self.stall.is_some_and(|stall| self.waited >= stall) {
                if moved().wrapping_sub(self.mark) < self.least {
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
}
