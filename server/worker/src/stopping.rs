//! A graceful stop: its plan in time, and who carries it out.
//!
//! It counts back from the moment at which the arbiter kills: some time before that everybody who has not been answered is
//! turned away, and a little later the worker leaves with whatever is left. The engine's thread does that where it can. On
//! sync, and under a blocked loop, it is inside the app when it matters; then a thread of its own does, without Python.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use podicorn_scoreboard::State;

use crate::clock::{MILLISECOND, Nanos, monotonic};
use crate::engine::Core;

/// The pace of a worker, and how far a stop has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) next_beat: Nanos,
    /// `None`: no stop has begun.
    pub(crate) end: Option<End>,
}

/// The steps of a graceful stop. The engine's thread takes them, and where the app has it, that of [`Stopping::watch`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// Whoever has not been answered by then is turned away.
    turn_away_at: Nanos,
    /// What is left then is cut off.
    leave_at: Nanos,
    begun: bool,
    turned_away: bool,
}

impl End {
    /// When there is something to do.
    pub(crate) fn next(&self) -> Nanos {
        if self.turned_away { self.leave_at } else { self.turn_away_at }
    }

    /// Nobody is waited for any more.
    pub(crate) fn is_over(&self, now: Nanos) -> bool {
        self.turned_away && now >= self.leave_at
    }
}

/// What the thread needs and more: it parses heads.
const STACK: usize = 256 * 1024;
/// What those who are turned away have to take their answer.
const FAREWELL: Nanos = 250 * MILLISECOND;

/// What a stop goes by, for the engine's thread and for the one that steps in for it.
pub(crate) struct Stopping {
    pub(crate) core: Arc<Core>,
    pub(crate) progress: Mutex<Progress>,
    pub(crate) graceful_timeout: Nanos,
    /// How long before the arbiter kills nobody is served any more.
    pub(crate) margin: Nanos,
}

impl Stopping {
    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The times are those of the arbiter, which kills who is left: at the end of its own shutdown, or `graceful_timeout`
    /// after its signal.
    fn plan(&self, now: Nanos) -> End {
        let end = self.core.slot.drain_end().unwrap_or(now.saturating_add(self.graceful_timeout));
        let left = end.saturating_sub(now);
        let margin = self.margin.min(left / 2);
        let turn_away_at = now + (left - margin);
        End {
            turn_away_at,
            leave_at: turn_away_at + FAREWELL.min(margin / 2),
            begun: false,
            turned_away: false,
        }
    }

    /// Takes the steps that are due; the plan as it is then.
    pub(crate) fn proceed(&self, now: Nanos) -> End {
        let mut progress = self.progress();
        let mut end = progress.end.unwrap_or_else(|| self.plan(now));
        if !std::mem::replace(&mut end.begun, true) {
            let whole_server = self.core.slot.draining();
            self.core.with(|reactor| {
                reactor.stop_accepting(whole_server);
                reactor.hurry_the_silent(now);
                reactor.shut_websockets(now);
                reactor.send_goaways(now);
            });
            if self.core.slot.state() != State::Draining {
                self.core.slot.set_state(State::Draining);
            }
        }
        if now >= end.turn_away_at && !std::mem::replace(&mut end.turned_away, true) {
            self.core.with(|reactor| reactor.turn_away(now));
        }
        progress.end = Some(end);
        end
    }

    /// Starts the thread that steps in for the engine's. A signal would not do: an app in a system call hears of none.
    pub(crate) fn watch(this: &Arc<Self>) {
        let Some(map) = this.core.slot.take_watched() else { return };
        let this = Arc::downgrade(this);
        let thread = thread::Builder::new().name("podicorn-end".to_owned()).stack_size(STACK);
        // Without it only those are lost whom a worker that does not come back from the app would have turned away.
        let _ = thread.spawn(move || {
            while map.draining().is_none() {
                map.wait_for_draining();
            }
            if let Some(this) = this.upgrade() {
                this.see_to_the_end();
            }
        });
    }

    /// Does in time what the engine's thread cannot while the app has it.
    fn see_to_the_end(&self) {
        /// The engine's thread comes first.
        const PRECEDENCE: Nanos = 50 * MILLISECOND;
        const PAUSE: Nanos = 10 * MILLISECOND;
        loop {
            let now = monotonic();
            let end = *self.progress().end.get_or_insert_with(|| self.plan(now));
            let (pause, ours) = if now < end.turn_away_at + PRECEDENCE {
                (end.turn_away_at + PRECEDENCE - now, false)
            } else {
                (PAUSE, true)
            };
            if ours {
                self.proceed(now);
                self.core.with(|reactor| reactor.see_off(now));
            }
            if now >= end.leave_at + PRECEDENCE || self.core.has_ended_after(Duration::from_nanos(pause)) {
                return;
            }
        }
    }
}
