//! The part of an engine that is not Python's, and what is done with its reactor under the lock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};

use crate::clock::{Nanos, monotonic};
use crate::reactor::conn::Connection;
use crate::reactor::table::Token;
use crate::reactor::wake::Wake;
use crate::reactor::{Reactor, Ready};
use crate::slot::SharedSlot;
use crate::wsgi::service::Orders;

/// What is not Python's: reachable from signal handlers, from other threads and from the after-fork hook.
pub(crate) struct Core {
    /// `None` after the end, and in a child that the app has forked.
    pub(super) reactor: Mutex<Option<Reactor>>,
    /// For threads in [`Self::wait_for_request`]: a request is ready, or there will be none any more.
    pub(super) work: Condvar,
    pub(super) wake: Arc<Wake>,
    pub(crate) slot: Arc<SharedSlot>,
    pub(super) orders: Orders,
}

/// Why [`Core::attend`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attention {
    /// Python is due: a signal, the heartbeat, something to be logged.
    Due,
    /// The reactor has panicked.
    Panicked,
}

impl Core {
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Reactor>> {
        // A panic half-way has become a Python exception; the connections are still told apart by their tokens.
        self.reactor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the reactor, if it is still there.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Reactor) -> T) -> Option<T> {
        self.lock().as_mut().map(act)
    }

    /// A complete request for the worker type. Its connection goes back by [`Self::answered`].
    pub(crate) fn next_request(&self, now: Nanos) -> Option<Ready> {
        self.with(|reactor| reactor.next_request(now)).flatten()
    }

    /// As [`Self::next_request`], but sleeps until there is one, and says when that was; `None`: the worker ends. Call it
    /// without the GIL.
    pub(crate) fn wait_for_request(&self) -> Option<(Ready, Nanos)> {
        let mut guard = self.lock();
        loop {
            let reactor = guard.as_mut().filter(|_| !self.is_quitting())?;
            let now = monotonic();
            if let Some(ready) = reactor.next_request(now) {
                return Some((ready, now));
            }
            reactor.sleepers += 1;
            guard = self.work.wait(guard).unwrap_or_else(PoisonError::into_inner);
            if let Some(reactor) = guard.as_mut() {
                reactor.sleepers -= 1;
            }
        }
    }

    /// [`Self::answered`], and then [`Self::next_request`] if the loop `goes_on`, under one lock.
    pub(crate) fn answered_and_next(&self, ready: Ready, now: Nanos, goes_on: bool) -> Option<Ready> {
        let mut guard = self.lock();
        let Some(reactor) = guard.as_mut() else {
            drop(guard);
            self.answered(ready.token, ready.connection, now);
            return None;
        };
        reactor.answered(ready.token, ready.connection, now);
        let next = if goes_on { reactor.next_request(now) } else { None };
        drop(guard);
        self.tell_if_stopping();
        next
    }

    /// An answered request may have been what the worker still waited for.
    fn tell_if_stopping(&self) {
        if self.orders.stop.load(Ordering::Relaxed) {
            self.wake.ring();
        }
    }

    /// Gives a connection back whose request has been answered; true: the reactor [wants a turn](Reactor::wants_turn).
    pub(crate) fn answered(&self, token: Token, connection: Box<Connection>, now: Nanos) -> bool {
        let mut connection = Some(connection);
        let wants_turn = self.with(|reactor| {
            if let Some(connection) = connection.take() {
                reactor.answered(token, connection, now);
            }
            reactor.wants_turn()
        });
        if let Some(connection) = connection {
            // The engine has ended meanwhile.
            connection.socket.shut_down();
        } else {
            self.tell_if_stopping();
        }
        wants_turn == Some(true)
    }

    /// Waits for events and dispatches them until Python is due, by `until` at the latest. Call it without the GIL, which
    /// the threads that run the app want.
    pub(crate) fn attend(
        &self,
        epoll: &Epoll,
        events: &mut [EpollEvent],
        until: Nanos,
    ) -> Result<Attention, Errno> {
        loop {
            let now = monotonic();
            let patience = self.with(|reactor| reactor.patience(now, until)).unwrap_or(0);
            let found = match epoll.wait(events, EpollTimeout::from(patience)) {
                Ok(found) => found,
                Err(Errno::EINTR) => return Ok(Attention::Due),
                Err(errno) => return Err(errno),
            };
            let now = monotonic();
            let dispatched = catch_unwind(AssertUnwindSafe(|| {
                self.with(|reactor| {
                    let woken = reactor.dispatch(&events[..found], now);
                    for _ in 0..reactor.waiting().min(reactor.sleepers) {
                        self.work.notify_one();
                    }
                    woken || reactor.has_notices()
                })
            }));
            match dispatched {
                Err(_) => return Ok(Attention::Panicked),
                Ok(None | Some(true)) => return Ok(Attention::Due),
                Ok(Some(false)) if now >= until => return Ok(Attention::Due),
                Ok(Some(false)) => {}
            }
        }
    }

    /// Ends the current or the next wait.
    pub(crate) fn wake(&self) {
        self.wake.ring();
    }

    /// Sleeps for so long; whether the engine has ended by then.
    pub(crate) fn has_ended_after(&self, pause: Duration) -> bool {
        let guard = self.lock();
        let ended = |reactor: &mut Option<Reactor>| reactor.is_some();
        let waited = self.work.wait_timeout_while(guard, pause, ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_none()
    }

    /// Whether the worker is to end at once.
    pub(crate) fn is_quitting(&self) -> bool {
        self.orders.quit.load(Ordering::Relaxed)
    }

    /// Whether this process is a child that the app has forked.
    pub(crate) fn is_disabled(&self) -> bool {
        self.slot.is_disabled()
    }

    /// In a child that the app has forked: let go of everything without touching what is the parent's. Closing the
    /// descriptors is safe; `EPOLL_CTL_DEL` or `shutdown` would act on the parent's epoll and connections.
    pub(super) fn disable(&self) {
        self.slot.disable();
        // Locked by a thread that does not exist here: then only the descriptors stay open.
        if let Ok(mut reactor) = self.reactor.try_lock() {
            *reactor = None;
        }
    }
}
