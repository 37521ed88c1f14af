//! `Engine`: the reactor and a worker type in one Python object.
//!
//! `run` is the loop of the types in which the engine itself waits: wait for events without the GIL, let Python's signal
//! handlers run, beat, dispatch, have the complete requests answered, by this thread (sync, and gthread with one thread) or
//! by those that are in `work` (gthread with more). `fileno` and `turn` are for loops of others.

mod duties;
pub(crate) mod forks;
mod native;
mod turns;

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollEvent};
use nix::unistd::{Pid, getppid};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

pub(crate) use self::native::Core;
use crate::asgi::service::{Asgi, Attachment};
use crate::clock::{Nanos, monotonic};
use crate::error::EngineError;
use crate::green::Request;
use crate::gthread;
use crate::listener::{Listener, ServerAddress};
use crate::memory::keep_free_memory;
use crate::options::{Asgi as AsgiOptions, Options};
use crate::reactor::conn::Rules;
use crate::reactor::wake::Wake;
use crate::reactor::{EVENTS, Reactor};
use crate::slot::Slot;
use crate::stopping::{Progress, Stopping};
use crate::tls::entrance::{Context, Entrance};
use crate::wsgi::service::{Orders, Service, Shared};

/// `signal.set_wakeup_fd`; the descriptor that was set before.
fn set_wakeup_fd(py: Python<'_>, fd: RawFd) -> PyResult<RawFd> {
    let arguments = PyDict::new(py);
    arguments.set_item("warn_on_full_buffer", false)?;
    py.import("signal")?.call_method("set_wakeup_fd", (fd,), Some(&arguments))?.extract()
}

/// `Engine(slot, listeners, options, app, error_log)`. Takes the listeners' descriptors over. Make it in the worker: it
/// starts the access log's thread.
#[pyclass(frozen, module = "podicorn._engine")]
pub(crate) struct Engine {
    pub(crate) core: Arc<Core>,
    pub(crate) service: Arc<Service>,
    /// In a foreign loop, for an ASGI app.
    asgi: OnceLock<Arc<Asgi>>,
    asgi_options: AsgiOptions,
    addresses: Vec<ServerAddress>,
    /// Reused from turn to turn.
    events: Mutex<Vec<EpollEvent>>,
    /// The arbiter, or whoever else started this worker.
    parent: Pid,
    beat: Nanos,
    stopping: Arc<Stopping>,
    /// Threads that call the app; 0: the engine's own does.
    threads: usize,
    /// A late heartbeat means that the loop, the hub or the GIL was not to be had.
    measures_lag: bool,
    /// `None`: plain HTTP.
    tls: Option<Context>,
    entrance: Option<Arc<Entrance>>,
    /// For a request that comes back in a child that the app has forked, where requests are greenlets.
    back_in_child: Option<Py<PyAny>>,
    /// When a guest lets its host go on; 0: no request of this turn has begun.
    pub(crate) slice_until: AtomicU64,
    /// Between `poll` and `settle`.
    pub(crate) in_turn: AtomicBool,
}

impl Engine {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.stopping.progress()
    }

    pub(crate) fn epoll(&self) -> Result<Arc<Epoll>, EngineError> {
        self.core
            .with(|reactor| reactor.epoll())
            .ok_or(EngineError::Closed("run() has ended, or this process was forked by the app"))
    }

    pub(crate) fn back_in_child(&self, py: Python<'_>) -> PyResult<()> {
        self.back_in_child.as_ref().map_or(Ok(()), |call| call.call0(py).map(|_| ()))
    }

    /// Lets go of everything.
    fn let_go(&self, py: Python<'_>) {
        if let Some(mut reactor) = self.core.lock().take() {
            reactor.close_all();
        }
        self.core.work.notify_all();
        py.detach(|| {
            if let Some(entrance) = &self.entrance {
                entrance.finish();
            }
            self.service.finish_log();
        });
    }
}

#[pymethods]
impl Engine {
    #[new]
    fn new(
        py: Python<'_>,
        slot: &Bound<'_, Slot>,
        listeners: &Bound<'_, PyList>,
        options: &Bound<'_, PyDict>,
        app: Py<PyAny>,
        error_log: Py<PyAny>,
    ) -> PyResult<Self> {
        keep_free_memory();
        let options = Options::read(options)?;
        let listeners = listeners
            .iter()
            .map(|pair| {
                let (fd, description): (RawFd, Bound<'_, PyDict>) = pair.extract()?;
                Listener::new(fd, &description)
            })
            .collect::<PyResult<Vec<_>>>()?;
        let tracer = Arc::clone(&slot.get().tracer);
        let slot = Arc::clone(&slot.get().shared);
        let wake = Arc::new(Wake::new()?);
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.address.clone()).collect();
        let rules = Rules {
            parser: options.parser.clone(),
            body_buffer: options.limits.body_buffer,
            http2: options.http2,
        };
        let peers = (options.trusted.clone(), options.proxies.clone());
        let stall = options.limits.stall_timeout;
        let entrance = options.tls.as_ref().map(|tls| tls.enter(py, stall, &wake)).transpose()?.map(Arc::new);
        let reactor = Reactor::new(
            listeners,
            rules,
            &options.limits,
            peers,
            Arc::clone(&slot),
            Arc::clone(&wake),
            entrance.clone(),
        )?;
        let core = Arc::new(Core {
            reactor: Mutex::new(Some(reactor)),
            wake,
            slot,
            work: Condvar::new(),
            orders: Orders::default(),
        });
        forks::register(&core);
        let beat = options.beat;
        let stopping = Stopping {
            core: Arc::clone(&core),
            progress: Mutex::default(),
            graceful_timeout: options.graceful_timeout,
            margin: options.end_margin,
        };
        let stopping = Arc::new(stopping);
        Stopping::watch(&stopping);
        let back_in_child = options.green.as_ref().map(|green| green.back_in_child.clone_ref(py));
        let epoll = core.with(|reactor| Arc::downgrade(&reactor.epoll())).unwrap_or_default();
        let threads = options.limits.threads;
        let measures_lag = options.limits.guest || threads > 0;
        let asgi_options = options.asgi.clone();
        let tls = options.tls.clone();
        Ok(Self {
            service: {
                let (slot, orders) = (Arc::clone(&core.slot), core.orders.clone());
                let shared = Shared { slot, tracer, orders, epoll };
                Arc::new(Service::new(py, shared, &addresses, options, app, error_log)?)
            },
            asgi: OnceLock::new(),
            asgi_options,
            addresses,
            events: Mutex::new(vec![EpollEvent::empty(); EVENTS]),
            core,
            parent: getppid(),
            beat,
            stopping,
            threads,
            measures_lag,
            tls,
            entrance,
            back_in_child,
            slice_until: AtomicU64::new(0),
            in_turn: AtomicBool::new(false),
        })
    }

    /// Serves until stopped. Call it in the main thread: it makes its pipe the target of `signal.set_wakeup_fd` for as
    /// long as it runs, so that no signal waits for the end of a wait. What a signal handler raises comes out of it.
    fn run(&self, py: Python<'_>) -> PyResult<()> {
        // Refused outside the main thread, which then has no signals to wait for either.
        let before = set_wakeup_fd(py, self.core.wake.writing_end()).ok();
        let mut events = vec![EpollEvent::empty(); EVENTS];
        let outcome = loop {
            let turn = if self.threads > 0 {
                self.turn_beside_threads(py, &mut events)
            } else {
                self.turn_once(py, &mut events, true)
            };
            match turn {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if self.core.is_disabled() {
            return outcome;
        }
        if let Some(before) = before {
            let _ = set_wakeup_fd(py, before);
        }
        self.let_go(py);
        outcome
    }

    /// One turn that does not wait: how many requests there are to `take`. Call it when `fileno` is readable.
    fn poll(&self, py: Python<'_>) -> PyResult<usize> {
        self.poll_once(py)
    }

    /// The request that has waited longest.
    fn take(slf: &Bound<'_, Self>) -> Option<Request> {
        Self::take_request(slf)
    }

    /// Ends a turn; true when the worker is to end.
    fn settle(&self, py: Python<'_>) -> bool {
        self.settle_turn(py)
    }

    /// Lets go of everything, as `run` does in the end. Requests that still run come to nothing.
    fn close(&self, py: Python<'_>) {
        // The calls of an ASGI app are cancelled after this, in good order.
        if self.asgi.get().is_none() {
            self.core.orders.quit.store(true, Ordering::Relaxed);
        }
        if self.core.is_disabled() {
            return;
        }
        self.let_go(py);
        if let Some(asgi) = self.asgi.get() {
            asgi.let_go(py);
        }
    }

    /// Graceful: takes no more connections (all that wait, if the whole server stops), finishes what has begun, then
    /// `run` returns. For signal handlers too.
    fn stop(&self) {
        self.core.orders.stop.store(true, Ordering::Relaxed);
        self.core.wake.ring();
    }

    /// `run` returns as soon as it can.
    fn quit(&self) {
        self.core.orders.quit.store(true, Ordering::Relaxed);
        self.core.wake.ring();
    }

    /// How many threads are to call `work`; 0: `run` calls the app itself.
    #[getter]
    fn threads(&self) -> usize {
        self.threads
    }

    /// Answers requests on the calling thread, until the worker ends; `run` goes on beside it.
    fn work(&self, py: Python<'_>) {
        gthread::work(py, &self.core, &self.service);
    }

    /// Beats beside `run`, for a worker whose only thread may be in the app for longer than `timeout`; returns when the
    /// worker ends.
    fn beat_beside(&self, py: Python<'_>) {
        let pause = Duration::from_nanos(self.beat);
        loop {
            let due = monotonic() + self.beat;
            if self.core.is_disabled() || py.detach(|| self.core.has_ended_after(pause)) {
                return;
            }
            self.core.slot.late(monotonic().saturating_sub(due));
            self.core.slot.beat();
        }
    }

    /// Opens the access log's file again.
    fn reopen_logs(&self) {
        self.service.reopen_log();
    }

    /// Readable when `turn` has something to do.
    fn fileno(&self) -> PyResult<RawFd> {
        Ok(self.epoll()?.0.as_fd().as_raw_fd())
    }

    /// One turn that does not wait; true when the worker is to end. Call it when `fileno` is readable, and at least every
    /// second.
    fn turn(&self, py: Python<'_>) -> PyResult<bool> {
        if let Some(asgi) = self.asgi.get() {
            return self.turn_in_loop(py, asgi);
        }
        let mut events = vec![EpollEvent::empty(); EVENTS];
        self.turn_once(py, &mut events, false)
    }

    /// Serves an ASGI app in this event loop, which is to call `turn` when `fileno` is readable. `state`: of the lifespan.
    /// `finished` is called once, when the worker is to end; then call `close`.
    #[pyo3(signature = (event_loop, *, state, finished))]
    fn attach(
        slf: &Bound<'_, Self>,
        event_loop: &Bound<'_, PyAny>,
        state: Py<PyDict>,
        finished: Py<PyAny>,
    ) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let turn = slf.getattr("turn")?;
        let attachment = Attachment { event_loop, turn, state, finished };
        let (core, service) = (Arc::clone(&this.core), Arc::clone(&this.service));
        let asgi = Asgi::new(py, core, service, &this.addresses, &this.asgi_options, attachment)?;
        this.asgi.set(Arc::new(asgi)).map_err(|_| EngineError::Closed("it has a loop already").into())
    }

    /// For `signal.set_wakeup_fd`, where the loop has no such descriptor of its own.
    fn wakeup_fileno(&self) -> RawFd {
        self.core.wake.writing_end()
    }

    /// How many requests have been given to the app.
    #[getter]
    fn requests(&self) -> u64 {
        self.service.requests()
    }
}
