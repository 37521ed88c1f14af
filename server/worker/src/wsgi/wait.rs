//! Waiting for a client while its request holds the worker: without the GIL, with heartbeats, and not for ever.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::clock::{MILLISECOND, Nanos, monotonic};
use crate::reactor::socket::{Readiness, Socket};
use crate::slot::SharedSlot;

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Ready,
    /// The client has not moved for the stall limit.
    Enough,
}

/// How long to wait for one client.
#[derive(Clone)]
pub(crate) struct Patience {
    slot: Arc<SharedSlot>,
    /// How long a client may stand still.
    stall: Nanos,
    /// How often the worker must say that it is alive.
    beat: Nanos,
    since: Nanos,
}

impl Patience {
    pub(crate) fn new(slot: Arc<SharedSlot>, stall: Nanos, beat: Nanos) -> Self {
        Self { slot, stall, beat, since: 0 }
    }

    /// The client has moved, or a new wait begins.
    pub(crate) fn renew(&mut self) {
        self.since = 0;
    }

    /// Whether this process is a child that the app has forked: the connection is the parent's.
    pub(crate) fn is_foreign(&self) -> bool {
        self.slot.is_disabled()
    }

    /// Waits until the socket is ready. Signal handlers run; what they raise ends the wait.
    pub(crate) fn wait(&mut self, py: Python<'_>, socket: &Arc<Socket>, what: Readiness) -> PyResult<Waited> {
        let begun = monotonic();
        if self.since == 0 {
            self.since = begun;
        }
        loop {
            let step = u16::try_from(self.beat / MILLISECOND).unwrap_or(u16::MAX).max(1);
            let ready = py.detach(|| socket.wait(what, step));
            self.slot.beat();
            py.check_signals()?;
            if ready {
                self.since = 0;
                return Ok(Waited::Ready);
            }
            if monotonic() - self.since >= self.stall {
                return Ok(Waited::Enough);
            }
        }
    }
}
