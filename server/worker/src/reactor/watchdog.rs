//! `--request-timeout`: a thread that answers 504 where the app does not.
//!
//! It is a thread of its own because on a sync worker the engine's thread is inside the app when it matters. It never
//! touches Python. All requests have the same time, so it sleeps until the oldest one is due, and a request that begins
//! later need not wake it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use podicorn_http::response::write_error;

use super::SERVER;
use super::socket::{Socket, TimeOut};
use super::table::Token;
use super::wake::Wake;
use crate::clock::{Nanos, SECOND, monotonic};
use crate::date::date_field;
use crate::error::EngineError;
use crate::slot::SharedSlot;

/// How much longer a request may run after its 504 before the worker asks to be replaced.
const GRACE: Nanos = 5 * SECOND;

/// The number of a watched request.
#[derive(Debug)]
pub(crate) struct Watch(usize);

struct Watched {
    token: Token,
    socket: Arc<Socket>,
    head_only: bool,
    /// When the next step is due: the 504, then the replacement.
    due: Option<Nanos>,
    answered: bool,
}

#[derive(Default)]
struct Entries {
    watched: Vec<Option<Watched>>,
    free: Vec<usize>,
    /// Whose time has been up since [`Watchdog::overdue`] was last called.
    overdue: Vec<(Token, TimeOut)>,
    over: bool,
}

struct Shared {
    entries: Mutex<Entries>,
    ended: Condvar,
    timeout: Nanos,
    slot: Arc<SharedSlot>,
    /// Tells a loop that is not stuck.
    wake: Arc<Wake>,
    any_overdue: AtomicBool,
}

/// The watchdog of a worker. Dropping it ends its thread.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
}

impl Watchdog {
    pub(crate) fn start(timeout: Nanos, slot: Arc<SharedSlot>, wake: Arc<Wake>) -> Result<Self, EngineError> {
        let (entries, ended) = (Mutex::default(), Condvar::new());
        let any_overdue = AtomicBool::new(false);
        let shared = Arc::new(Shared { entries, ended, timeout, slot, wake, any_overdue });
        let thread = Arc::clone(&shared);
        thread::Builder::new().name("podicorn-watch".to_owned()).spawn(move || thread.run()).map_err(
            |error| EngineError::System {
                what: "starting the watchdog thread",
                errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
            },
        )?;
        Ok(Self { shared })
    }

    /// A request is complete; its time runs from `now`.
    pub(super) fn enter(&self, token: Token, socket: &Arc<Socket>, head_only: bool, now: Nanos) -> Watch {
        let watched = Watched {
            token,
            socket: Arc::clone(socket),
            head_only,
            due: Some(now.saturating_add(self.shared.timeout)),
            answered: false,
        };
        let mut entries = self.shared.lock();
        let number = entries.free.pop().unwrap_or_else(|| {
            entries.watched.push(None);
            entries.watched.len() - 1
        });
        entries.watched[number] = Some(watched);
        Watch(number)
    }

    /// Whose time has been up since the last call. No lock is taken where there is nobody.
    pub(super) fn overdue(&self) -> Vec<(Token, TimeOut)> {
        if self.shared.any_overdue.swap(false, Ordering::Relaxed) {
            std::mem::take(&mut self.shared.lock().overdue)
        } else {
            Vec::new()
        }
    }

    /// The request is over.
    pub(super) fn leave(&self, watch: &Watch) {
        let mut entries = self.shared.lock();
        if entries.watched.get_mut(watch.0).and_then(Option::take).is_some() {
            entries.free.push(watch.0);
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // In a child that the app has forked the thread does not exist, and the lock may be held for ever.
        if let Ok(mut entries) = self.shared.entries.try_lock() {
            entries.over = true;
        }
        self.shared.ended.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut entries = self.lock();
        while !entries.over {
            let now = monotonic();
            let mut next = now.saturating_add(self.timeout.min(SECOND));
            let mut overdue = Vec::new();
            for watched in entries.watched.iter_mut().flatten() {
                if watched.due.is_some_and(|due| due <= now)
                    && let Some(found) = self.act(watched, now)
                {
                    overdue.push((watched.token, found));
                }
                next = watched.due.map_or(next, |due| due.min(next));
            }
            if !overdue.is_empty() {
                entries.overdue.append(&mut overdue);
                self.any_overdue.store(true, Ordering::Relaxed);
                self.wake.ring();
            }
            let patience = Duration::from_nanos(next - now);
            entries = self.ended.wait_timeout(entries, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What was taken from the app.
    fn act(&self, watched: &mut Watched, now: Nanos) -> Option<TimeOut> {
        if watched.answered {
            watched.due = None;
            if watched.socket.is_with_app() {
                self.slot.ask_for_replacement();
            }
            return None;
        }
        watched.answered = true;
        watched.due = Some(now.saturating_add(GRACE.min(self.timeout)));
        let found = watched.socket.time_out();
        match found {
            TimeOut::Unanswered => {
                let mut answer = Vec::new();
                write_error(&mut answer, 504, "", SERVER, &date_field(), watched.head_only);
                // Nothing else was sent for this request, so a few hundred bytes fit.
                watched.socket.send_in_passing(&answer);
                watched.socket.finish_sending();
                self.slot.count_rejection(504);
            }
            TimeOut::Begun => watched.socket.shut_down(),
            TimeOut::Given => {
                watched.due = None;
                return None;
            }
        }
        self.slot.tell_timed_out();
        Some(found)
    }
}
