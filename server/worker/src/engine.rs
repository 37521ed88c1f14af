//! `Engine`: the reactor and a worker type in one Python object.
//!
//! `run` is the loop of the types in which the engine itself waits: wait for events without the GIL, let Python's signal
//! handlers run, beat, dispatch, have the complete requests answered, by this thread (sync, and gthread with one thread) or
//! by those that are in `work` (gthread with more). `fileno` and `turn` are for loops of others.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use nix::unistd::{Pid, getppid};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::asgi::service::{Asgi, Attachment};
use crate::clock::{Nanos, monotonic, synchronise};
use crate::error::EngineError;
use crate::green::Request;
use crate::listener::{Listener, ServerAddress};
use crate::memory::keep_free_memory;
use crate::options::{Asgi as AsgiOptions, Options};
use crate::reactor::conn::{Connection, Rules};
use crate::reactor::table::Token;
use crate::reactor::wake::Wake;
use crate::reactor::{EVENTS, Notice, Reactor, Ready};
use crate::slot::{self, SharedSlot, Slot};
use crate::stopping::{Progress, Stopping};
use crate::tls::entrance::{Context, Entrance};
use crate::tls::session::Failure;
use crate::wsgi::service::{Orders, Service, Shared};
use crate::{gthread, sync};

/// What is not Python's: reachable from signal handlers, from other threads and from the after-fork hook.
pub(crate) struct Core {
    /// `None` after the end, and in a child that the app has forked.
    reactor: Mutex<Option<Reactor>>,
    /// For threads in [`Self::wait_for_request`]: a request is ready, or there will be none any more.
    work: Condvar,
    wake: Arc<Wake>,
    pub(crate) slot: Arc<SharedSlot>,
    orders: Orders,
}

/// Why [`Core::attend`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attention {
    /// Python is due: a signal, the heartbeat, something to be logged.
    Due,
    /// The reactor has panicked.
    Panicked,
}

/// For the after-fork hook, which has no other way to the engines.
static ENGINES: Mutex<Vec<Weak<Core>>> = Mutex::new(Vec::new());

impl Core {
    fn lock(&self) -> MutexGuard<'_, Option<Reactor>> {
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
    fn disable(&self) {
        self.slot.disable();
        // Locked by a thread that does not exist here: then only the descriptors stay open.
        if let Ok(mut reactor) = self.reactor.try_lock() {
            *reactor = None;
        }
    }
}

/// The app has forked, so a child may hold copies of the connections' descriptors.
static HAS_FORKED: AtomicBool = AtomicBool::new(false);

/// Whether the app has ever forked. Programs that it starts do not count: descriptors are close-on-exec.
pub(crate) fn has_forked() -> bool {
    HAS_FORKED.load(Ordering::Relaxed)
}

/// The hook for `os.register_at_fork(before=…)`.
#[pyfunction]
pub(crate) fn _before_fork() {
    HAS_FORKED.store(true, Ordering::Relaxed);
    slot::forking(true);
}

/// The hook for `os.register_at_fork(after_in_parent=…)`; a fork that has failed ends here, too.
#[pyfunction]
pub(crate) fn _after_fork_in_parent() {
    slot::forking(false);
}

/// The hook for `os.register_at_fork(after_in_child=…)`.
#[pyfunction]
pub(crate) fn _after_fork_in_child(py: Python<'_>) -> PyResult<()> {
    let engines = ENGINES.try_lock().map(|engines| engines.clone()).unwrap_or_default();
    for core in engines.iter().filter_map(Weak::upgrade) {
        core.disable();
    }
    if slot::disable_all() {
        // The pipe is the parent's too: a signal to this child must not wake it.
        set_wakeup_fd(py, -1)?;
    }
    Ok(())
}

fn register(core: &Arc<Core>) {
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    engines.retain(|engine| engine.strong_count() > 0);
    engines.push(Arc::downgrade(core));
}

/// From now on a child that the app forks lets go of the slot and of the engines.
pub(crate) fn hear_of_forks(py: Python<'_>) -> PyResult<()> {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        let hook = wrap_pyfunction!(_after_fork_in_child, py)?;
        let arguments = PyDict::new(py);
        arguments.set_item("before", wrap_pyfunction!(_before_fork, py)?)?;
        arguments.set_item("after_in_parent", wrap_pyfunction!(_after_fork_in_parent, py)?)?;
        arguments.set_item("after_in_child", hook)?;
        py.import("os")?.call_method("register_at_fork", (), Some(&arguments))?;
    }
    Ok(())
}

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

    /// One turn; true when the worker is to end.
    fn turn_once(&self, py: Python<'_>, events: &mut [EpollEvent], block: bool) -> PyResult<bool> {
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
    fn turn_beside_threads(&self, py: Python<'_>, events: &mut [EpollEvent]) -> PyResult<bool> {
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
    fn turn_in_loop(&self, py: Python<'_>, asgi: &Arc<Asgi>) -> PyResult<bool> {
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

    /// When Python is due at the latest.
    pub(crate) fn next_duty(&self) -> Nanos {
        let progress = self.progress();
        progress.end.map_or(progress.next_beat, |end| end.next().min(progress.next_beat))
    }

    fn patience(&self) -> EpollTimeout {
        let now = monotonic();
        let at_most = self.next_duty();
        EpollTimeout::from(self.core.with(|reactor| reactor.patience(now, at_most)).unwrap_or(0))
    }

    /// The heartbeat, and what is looked after at the same pace. The GIL is held, and was free to be lost before.
    fn keep_alive(&self, py: Python<'_>, now: Nanos) {
        {
            let mut progress = self.progress();
            if now < progress.next_beat {
                return;
            }
            // The first beat is due at once. Where requests run inside the turn, a late one says how long they are.
            if progress.next_beat != 0 && self.measures_lag {
                self.core.slot.late(now - progress.next_beat);
            }
            progress.next_beat = now + self.beat;
        }
        self.core.slot.beat();
        synchronise();
        self.service.publish_log_drops();
        self.core.with(Reactor::requeue_listeners);
        self.follow_certificates(py);
        if getppid() != self.parent && !self.core.orders.stop.swap(true, Ordering::Relaxed) {
            self.service.log(py, "info", "Parent changed, shutting down: the arbiter has died");
        }
    }

    /// Certificates are replaced while the server runs, by the kubelet for one.
    fn follow_certificates(&self, py: Python<'_>) {
        match self.tls.as_ref().and_then(|tls| tls.refresh(py)) {
            None => {}
            Some(Ok(())) => {
                self.service.log(py, "info", "TLS: the certificate's files have changed and are in use");
            }
            Some(Err(error)) => {
                let text =
                    format!("TLS: the files have changed, and what was read before stays in use: {error}");
                self.service.log(py, "error", &text);
            }
        }
    }

    /// Begins a stop that was asked for; true when nothing is left to do. `calls`: those that run without a connection, too.
    pub(crate) fn is_done(&self, calls: usize) -> bool {
        if self.core.is_quitting() {
            return true;
        }
        if !self.core.orders.stop.load(Ordering::Relaxed) {
            return false;
        }
        let now = monotonic();
        let end = self.stopping.proceed(now);
        let idle = calls == 0 && self.core.with(|reactor| reactor.is_idle()).unwrap_or(true);
        idle || end.is_over(now)
    }

    pub(crate) fn tell_notices(&self, py: Python<'_>) {
        for notice in self.core.with(Reactor::take_notices).unwrap_or_default() {
            match notice {
                Notice::Refused { peer, reject } => self.service.tell_refused(py, peer, &reject),
                Notice::WebSocketFailed { peer, violation } => {
                    self.service.tell_offence(py, "Invalid WebSocket data", peer, &violation);
                }
                Notice::TlsFailed { peer, failure: Failure::Plain } => {
                    self.service.tell_offence(py, "Invalid request", peer, &Failure::Plain);
                }
                // Whoever looks for open ports makes many.
                Notice::TlsFailed { peer, failure } => {
                    self.service.tell_of(py, "debug", "No TLS session", peer, &failure);
                }
                Notice::AcceptFailed(errno) => {
                    let text = format!(
                        "cannot accept connections: {errno}; raise the limit of open files, or lower worker_connections"
                    );
                    self.service.log(py, "error", &text);
                }
            }
        }
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
        register(&core);
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
