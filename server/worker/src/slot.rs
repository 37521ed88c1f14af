//! The worker's slot of the scoreboard, shared by Python (`Slot`) and the engine.
//!
//! The map is not inherited by children that the app forks (`MADV_DONTFORK`), so touching it there would be a
//! segmentation fault. [`SharedSlot::disable`] is called in such a child, and until then, from before the fork on, the
//! thread that forks writes nothing: other hooks of `os.register_at_fork` may come first, and collect garbage.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use podicorn_scoreboard::{Load, Map, RequestEnd, RequestStart, SlotWriter, State, Ticket};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::clock::{Nanos, synchronise};
use crate::collections::Collections;
use crate::descriptor::adopt;
use crate::engine::forks::hear_of_forks;
use crate::entry::Entry;
use crate::error::EngineError;
use crate::trace::{Policy, Tracer};
use crate::wsgi::service::random_seed;

thread_local! {
    /// Whether this thread is in the middle of a fork.
    static FORKS: Cell<bool> = const { Cell::new(false) };
}

/// To be called before a fork and, in the parent, after it, by the thread that forks.
pub(crate) fn forking(begins: bool) {
    FORKS.set(begins);
}

/// What the scoreboard has been told of a request before its end, each of which goes with the ones above it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    /// That it has begun.
    #[default]
    Begin,
    /// What its response is.
    Response,
    /// That the worker has no work with it any more.
    WorkDone,
}

/// The slot with the doorbell that makes the arbiter look.
pub(crate) struct SharedSlot {
    /// `None` in a child of the worker, which does not have the map.
    writer: Mutex<Option<SlotWriter>>,
    doorbell: OwnedFd,
    /// Shared by all workers.
    nudge: OwnedFd,
    /// A second mapping, for a thread that only waits for the shutdown; nobody else touches it.
    watched: Mutex<Option<Map>>,
    /// Set in a child of the worker: no word may be touched any more.
    disabled: AtomicBool,
}

impl SharedSlot {
    fn with<T>(&self, otherwise: T, act: impl FnOnce(&mut SlotWriter) -> T) -> T {
        if self.disabled.load(Ordering::Relaxed) || FORKS.get() {
            return otherwise;
        }
        // The writer keeps no invariant that a panic could break.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map_or(otherwise, act)
    }

    /// Whether this process is one that the app forked.
    pub(crate) fn is_disabled(&self) -> bool {
        self.disabled.load(Ordering::Relaxed)
    }

    /// For the child after a fork by the app.
    pub(crate) fn disable(&self) {
        self.disabled.store(true, Ordering::Relaxed);
        // The map is not mapped here: to drop it would unmap whatever has taken its place.
        if let Ok(mut writer) = self.writer.try_lock() {
            std::mem::forget(writer.take());
        }
        if let Ok(mut watched) = self.watched.try_lock() {
            std::mem::forget(watched.take());
        }
    }

    /// Wakes the arbiter. The counter cannot overflow in practice; were it full the arbiter would have to wake anyway.
    pub(crate) fn ring(&self) {
        if !self.is_disabled() {
            let _ = nix::unistd::write(&self.doorbell, &1_u64.to_ne_bytes());
        }
    }

    /// Publishes a state, and rings where the arbiter waits for it.
    pub(crate) fn set_state(&self, state: State) {
        self.with((), |writer| writer.set_state(state));
        if matches!(state, State::Ready | State::Draining | State::Exiting) {
            self.ring();
        }
    }

    pub(crate) fn state(&self) -> State {
        self.with(State::Exiting, |writer| writer.state())
    }

    /// Only right after the GIL was held.
    pub(crate) fn beat(&self) {
        self.with((), SlotWriter::beat);
    }

    /// Whether the whole server is stopping.
    pub(crate) fn draining(&self) -> bool {
        self.drain_end().is_some()
    }

    /// To wait for the shutdown with; only the first caller gets it.
    pub(crate) fn take_watched(&self) -> Option<Map> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// When the arbiter will kill, since it has begun its shutdown.
    pub(crate) fn drain_end(&self) -> Option<Nanos> {
        self.with(None, |writer| writer.draining())
    }

    /// Whether there is no other worker to leave connections to.
    pub(crate) fn is_alone(&self) -> bool {
        self.with(false, |writer| writer.is_alone())
    }

    /// The worker has served its `max_requests`.
    pub(crate) fn ask_for_replacement(&self) {
        self.with((), SlotWriter::set_recycle);
        self.ring();
    }

    pub(crate) fn accepted(&self, connections: u32) {
        self.with((), |writer| {
            writer.add_accepted();
            writer.set_connections(connections);
        });
    }

    pub(crate) fn set_load(&self, parked: u32, connections: u32) {
        self.with((), |writer| {
            writer.set_parked(parked);
            writer.set_connections(connections);
        });
    }

    pub(crate) fn set_log_dropped(&self, lines: u64) {
        self.with((), |writer| writer.set_log_dropped(lines));
    }

    /// A request begins. `parked`: how many more wait for the app, where nobody else says that at the same time.
    pub(crate) fn begin_request(&self, start: &RequestStart<'_>, parked: Option<u32>) -> Option<Ticket> {
        let (ticket, calls_reader) = self.with(None, |writer| {
            if let Some(parked) = parked {
                writer.set_parked(parked);
            }
            Some(writer.begin_request(start))
        })?;
        if calls_reader {
            self.ring();
        }
        Some(ticket)
    }

    /// A request has ended, which held a Python thread for its duration.
    pub(crate) fn end_request(&self, ticket: Option<Ticket>, end: RequestEnd, known: Known) {
        let Some(ticket) = ticket else { return };
        let calls_reader = self.with(false, |writer| {
            if known < Known::Response {
                writer.count_response(end.status);
            }
            if known < Known::WorkDone {
                writer.end_work();
            }
            writer.end_request(ticket, end)
        });
        if calls_reader {
            self.ring();
        }
    }

    /// A request ran into `request_timeout`; the arbiter tells people where the app was.
    pub(crate) fn tell_timed_out(&self) {
        self.with((), |writer| writer.add_timed_out());
        self.ring();
    }

    /// Wakes one other worker that is idle: connections wait that this one leaves to it. Were the counter full, every
    /// worker would have been woken already.
    pub(crate) fn nudge(&self) {
        if !self.is_disabled() {
            let _ = nix::unistd::write(&self.nudge, &1_u64.to_ne_bytes());
        }
    }

    /// To be watched for nudges of other workers.
    pub(crate) fn nudged(&self) -> BorrowedFd<'_> {
        self.nudge.as_fd()
    }

    /// Asks something of the other workers that serve, each of which is given with its slot. In a child of the worker: no.
    pub(crate) fn among_others(
        &self,
        ask: impl FnOnce(&mut dyn Iterator<Item = (usize, Load)>) -> bool,
    ) -> bool {
        self.with(false, |writer| ask(&mut writer.others()))
    }

    /// A response of the app, before [`Self::end_request`], which is to hear of it. `done`: the app has nothing to do
    /// behind it.
    pub(crate) fn tell_response(&self, status: u16, done: bool) -> Known {
        self.with((), |writer| {
            writer.count_response(status);
            if done {
                writer.end_work();
            }
        });
        if done { Known::WorkDone } else { Known::Response }
    }

    /// A response that the engine gave in the app's place.
    pub(crate) fn count_rejection(&self, status: u16) {
        self.with((), |writer| writer.count_rejection(status));
    }

    /// A client that was to speak TLS did not.
    pub(crate) fn count_tls_failure(&self) {
        self.with((), |writer| writer.count_tls_failure());
    }

    /// Python's garbage collector has run.
    pub(crate) fn collected(&self, generation: usize, nanos: Nanos, freed: u64) {
        self.with((), |writer| writer.add_collection(generation, nanos, freed));
    }

    /// A record went to the error log.
    pub(crate) fn logged(&self, kind: usize) {
        self.with((), |writer| writer.add_logged(kind));
    }

    /// A heartbeat was so late.
    pub(crate) fn late(&self, nanos: Nanos) {
        self.with((), |writer| writer.add_lag(nanos));
    }
}

/// For the after-fork hook: a worker has one, tests may make more.
static SLOTS: Mutex<Vec<Weak<SharedSlot>>> = Mutex::new(Vec::new());

/// In a child that the app has forked; whether there was a slot at all.
pub(crate) fn disable_all() -> bool {
    let slots = SLOTS.try_lock().map(|slots| slots.clone()).unwrap_or_default();
    let live: Vec<_> = slots.iter().filter_map(Weak::upgrade).collect();
    for slot in &live {
        slot.disable();
    }
    !live.is_empty()
}

/// `Slot(memfd, slot, epoch, doorbell, nudge, tracing)`: claims the slot for this process. Takes the descriptors over. Raises
/// `SlotLost` if the arbiter has given the slot up.
#[pyclass(frozen, module = "podicorn._engine")]
pub(crate) struct Slot {
    pub(crate) shared: Arc<SharedSlot>,
    pub(crate) tracer: Arc<Tracer>,
}

#[pymethods]
impl Slot {
    /// `tracing`: whether a caller's decision holds, and the share of the other requests that are recorded.
    #[new]
    #[pyo3(signature = (memfd, slot, epoch, doorbell, nudge, tracing=None))]
    fn new(
        py: Python<'_>,
        memfd: RawFd,
        slot: u32,
        epoch: u32,
        doorbell: RawFd,
        nudge: RawFd,
        tracing: Option<(bool, f64)>,
    ) -> PyResult<Self> {
        let memfd = adopt(memfd)?;
        let doorbell = adopt(doorbell)?;
        let nudge = adopt(nudge)?;
        let again = memfd.try_clone()?;
        let map = Map::attach(memfd).map_err(EngineError::from)?;
        let watched = Mutex::new(Some(Map::attach(again).map_err(EngineError::from)?));
        let writer = map.claim(slot, epoch, std::process::id()).map_err(EngineError::from)?;
        let writer = Mutex::new(Some(writer));
        let disabled = AtomicBool::new(false);
        let shared = Arc::new(SharedSlot { writer, doorbell, nudge, watched, disabled });
        hear_of_forks(py)?;
        {
            let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
            slots.retain(|slot| slot.strong_count() > 0);
            slots.push(Arc::downgrade(&shared));
        }
        let policy = tracing.map(|(parent_based, ratio)| Policy::new(parent_based, ratio));
        let tracer = Arc::new(Tracer::new(random_seed(py)?, policy));
        Ok(Self { shared, tracer })
    }

    /// Publishes `BOOTING`, `READY`, `DRAINING` or `EXITING`; rings the doorbell for all but the first.
    fn set_state(&self, state: u64) -> PyResult<()> {
        let state = State::from_word(state).ok_or_else(|| {
            PyValueError::new_err(format!("{state} is not a state; use BOOTING, READY, DRAINING or EXITING"))
        })?;
        self.shared.set_state(state);
        Ok(())
    }

    /// "Alive". Call it at least every second.
    fn beat(&self) {
        self.shared.beat();
        synchronise();
    }

    /// The heartbeat was so many seconds late.
    fn late(&self, seconds: f64) {
        self.shared.late(Duration::try_from_secs_f64(seconds).map_or(0, nanos_of));
    }

    /// A record went to the error log: 0 critical, 1 error, 2 warning, 3 one with an exception.
    fn logged(&self, kind: usize) {
        self.shared.logged(kind);
    }

    /// A function for `gc.callbacks` that counts what the garbage collector does.
    fn collections(&self) -> Collections {
        Collections::new(&self.shared)
    }

    /// A request begins that Python serves by itself, by its method and target.
    #[pyo3(signature = (method, target, traceparent=None))]
    fn begin(&self, method: &str, target: &str, traceparent: Option<&str>) -> Entry {
        Entry::begin(&self.shared, &self.tracer, method, target, traceparent)
    }

    /// A connection was accepted; so many are open now.
    fn accepted(&self, connections: u32) {
        self.shared.accepted(connections);
    }

    /// So many connections are open.
    fn set_connections(&self, connections: u32) {
        self.shared.set_load(0, connections);
    }

    /// The worker would like to be replaced; it goes on until it is told to stop.
    fn ask_for_replacement(&self) {
        self.shared.ask_for_replacement();
    }

    /// Whether the arbiter has begun its shutdown.
    #[getter]
    fn draining(&self) -> bool {
        self.shared.draining()
    }

    /// When it will kill then, by `time.monotonic()`.
    #[getter]
    fn drain_end(&self) -> Option<f64> {
        self.shared.drain_end().map(|at| Duration::from_nanos(at).as_secs_f64())
    }
}

fn nanos_of(duration: Duration) -> Nanos {
    duration.as_nanos().try_into().unwrap_or(Nanos::MAX)
}
