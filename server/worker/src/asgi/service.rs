//! What all requests of a loop share, and what a turn does for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podicorn_http::response::RequestMethod;
use podicorn_http::websocket::{DeflatePolicy, Handshake, is_upgrade, subprotocols};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict};

use super::awaitable::Done;
use super::call::Call;
use super::exchange::{Exchange, Intake};
use super::registry::{CallNumber, Party, Registry};
use super::response::Response;
use super::scope::{ScopeFactory, takes_trailers};
use super::step::TaskMaker;
use super::websocket::Session;
use crate::clock::{Nanos, monotonic};
use crate::engine::Core;
use crate::listener::ServerAddress;
use crate::options::Asgi as Options;
use crate::reactor::{Reactor, Ready};
use crate::slot::Known;
use crate::wsgi::hooks::RequestView;
use crate::wsgi::response::Question;
use crate::wsgi::service::Service;

/// The messages of `receive`.
pub(super) struct Messages {
    request: Py<PyDict>,
    disconnect: Py<PyDict>,
}

impl Messages {
    fn new(py: Python<'_>) -> PyResult<Self> {
        let request = PyDict::new(py);
        request.set_item(intern!(py, "type"), intern!(py, "http.request"))?;
        request.set_item(intern!(py, "body"), PyBytes::new(py, b""))?;
        request.set_item(intern!(py, "more_body"), false)?;
        let disconnect = PyDict::new(py);
        disconnect.set_item(intern!(py, "type"), intern!(py, "http.disconnect"))?;
        Ok(Self { request: request.unbind(), disconnect: disconnect.unbind() })
    }

    pub(super) fn request<'py>(&self, body: Bound<'py, PyBytes>, more: bool) -> PyResult<Bound<'py, PyAny>> {
        let py = body.py();
        let message = self.request.bind(py).copy()?;
        message.set_item(intern!(py, "body"), body)?;
        if more {
            message.set_item(intern!(py, "more_body"), true)?;
        }
        Ok(message.into_any())
    }

    pub(super) fn disconnect<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.disconnect.bind(py).copy()?.into_any())
    }
}

/// What the binding uses of the loop.
struct Loop {
    object: Py<PyAny>,
    tasks: TaskMaker,
    /// `engine.turn`, and the context in which it is called. `None` after the end: the engine holds this, and would never die.
    turn: Mutex<Option<Py<PyAny>>>,
    context: Py<PyAny>,
    cancelled_error: Py<PyAny>,
    /// Called when the worker is to end.
    finished: Py<PyAny>,
}

/// See the module's text.
pub(crate) struct Asgi {
    pub(super) core: Arc<Core>,
    pub(super) service: Arc<Service>,
    pub(super) messages: Messages,
    pub(super) done: Py<Done>,
    scopes: ScopeFactory,
    event_loop: Loop,
    grace: u64,
    pub(super) max_message_size: usize,
    deflate: Option<DeflatePolicy>,
    registry: Mutex<Registry>,
    /// A turn is on its way already.
    scheduled: AtomicBool,
    /// `finished` has been called.
    over: AtomicBool,
}

/// What Python gives for [`Asgi::new`].
pub(crate) struct Attachment<'a, 'py> {
    pub(crate) event_loop: &'a Bound<'py, PyAny>,
    pub(crate) turn: Bound<'py, PyAny>,
    pub(crate) state: Py<PyDict>,
    pub(crate) finished: Py<PyAny>,
}

impl Asgi {
    pub(crate) fn new(
        py: Python<'_>,
        core: Arc<Core>,
        service: Arc<Service>,
        listeners: &[ServerAddress],
        options: &Options,
        attachment: Attachment<'_, '_>,
    ) -> PyResult<Self> {
        let Attachment { event_loop, turn, state, finished } = attachment;
        Ok(Self {
            core,
            service,
            messages: Messages::new(py)?,
            done: Py::new(py, Done)?,
            scopes: ScopeFactory::new(py, listeners, &options.root_path, state, options.files)?,
            event_loop: Loop {
                object: event_loop.clone().unbind(),
                tasks: TaskMaker::new(event_loop, options.eager && py.version_info() >= (3, 12))?,
                turn: Mutex::new(Some(turn.unbind())),
                context: py.import("contextvars")?.call_method0("copy_context")?.unbind(),
                cancelled_error: py.import("asyncio")?.getattr("CancelledError")?.unbind(),
                finished,
            },
            grace: options.grace,
            max_message_size: options.max_message_size,
            deflate: options.deflate,
            registry: Mutex::default(),
            scheduled: AtomicBool::new(false),
            over: AtomicBool::new(false),
        })
    }

    pub(super) fn app<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.service.app().bind(py)
    }

    pub(super) fn registry(&self, py: Python<'_>) -> MutexGuard<'_, Registry> {
        self.registry.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// A future of the loop.
    pub(super) fn future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.event_loop.object.bind(py).call_method0(intern!(py, "create_future"))
    }

    pub(super) fn is_cancellation(&self, py: Python<'_>, error: &PyErr) -> bool {
        error.matches(py, self.event_loop.cancelled_error.bind(py)).unwrap_or(false)
    }

    // ---- turns ----

    /// Calls that have not ended.
    pub(crate) fn running(&self, py: Python<'_>) -> usize {
        self.registry(py).running()
    }

    /// Begins the requests that are complete, and tells the calls what the reactor has to tell.
    pub(crate) fn work(this: &Arc<Self>, py: Python<'_>) {
        this.scheduled.store(false, Ordering::Relaxed);
        loop {
            let happenings = this.core.with(Reactor::take_happenings).unwrap_or_default();
            for happening in happenings {
                let party = this.registry(py).whose(py, happening.token);
                if let Some(party) = party {
                    party.hear(py, happening.event);
                }
            }
            while !this.core.is_quitting() {
                let now = monotonic();
                let Some(ready) = this.core.next_request(now) else { break };
                Self::begin(this, py, ready, now);
                if this.core.is_disabled() {
                    return;
                }
            }
            if this.core.with(|reactor| reactor.wants_turn()) != Some(true) || this.core.is_quitting() {
                return;
            }
        }
    }

    /// Has the loop call `turn` again if the reactor has something that no event will announce.
    pub(super) fn schedule(&self, py: Python<'_>) {
        if self.core.with(|reactor| reactor.wants_turn()) == Some(true)
            && !self.scheduled.swap(true, Ordering::Relaxed)
        {
            let scheduled = (|| {
                let keywords = PyDict::new(py);
                keywords.set_item(intern!(py, "context"), &self.event_loop.context)?;
                let event_loop = self.event_loop.object.bind(py);
                let turn = self.turn(py).as_ref().map(|turn| turn.clone_ref(py));
                event_loop.call_method(intern!(py, "call_soon"), (turn,), Some(&keywords))
            })();
            if let Err(error) = scheduled {
                error.write_unraisable(py, None);
            }
        }
    }

    fn turn(&self, py: Python<'_>) -> MutexGuard<'_, Option<Py<PyAny>>> {
        self.event_loop.turn.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the engine. The reactor has gone, so that nobody wants a turn any more.
    pub(crate) fn let_go(&self, py: Python<'_>) {
        let turn = self.turn(py).take();
        drop(turn);
    }

    /// The worker is to end.
    pub(crate) fn finish(&self, py: Python<'_>) -> PyResult<()> {
        if !self.over.swap(true, Ordering::Relaxed) {
            self.event_loop.finished.bind(py).call0()?;
        }
        Ok(())
    }

    // ---- calls ----

    /// A request is complete: a task for it.
    fn begin(this: &Arc<Self>, py: Python<'_>, ready: Ready, begun: Nanos) {
        let account = this.service.open_account(&ready, begun);
        let Ready { token, mut connection, .. } = ready;
        let handshake = is_upgrade(&connection.head, &connection.raw)
            .then(|| Handshake::read(&connection.head, &connection.raw, this.deflate));
        let prepared = (|| {
            let known = this.registry(py).ends(py, token);
            let ends = if let Some(ends) = known {
                ends
            } else {
                let ends = this.scopes.ends(py, &connection)?;
                drop(this.registry(py).note(token, ends.clone_ref(py)));
                ends
            };
            let view = RequestView::new(this.service.hooks(), &connection);
            let scope = if handshake.is_some() {
                this.scopes.make_websocket(py, &connection, ends, &account.trace)?
            } else {
                this.scopes.make(py, &connection, ends, &account.trace)?
            };
            let body = PyBytes::new(py, &connection.body).unbind();
            Ok::<_, PyErr>((scope, body, view))
        })();
        let (scope, bytes, view) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                this.service.log_exception(py, "Error before a request", &error);
                this.service.close_account(py, &account, account.end(0), Known::Begin);
                connection.abandon();
                this.core.answered(token, connection, begun);
                return;
            }
        };
        let last = connection.body_complete;
        connection.release_body();
        let head = &connection.head;
        let question = Question {
            version: head.version(),
            method: RequestMethod::of(head.method(&connection.raw)),
            keep_alive: head.keep_alive(),
            upgrade: head.upgrade(&connection.raw).is_some(),
        };
        let offered = match &handshake {
            Some(Ok(_)) => subprotocols(head, &connection.raw).map(<[u8]>::to_vec).collect(),
            _ => Vec::new(),
        };
        let response = Response::new(question, takes_trailers(&connection));
        // The task copies the context that it is made in.
        let _logged = this.service.log_trace().enter(py, &account.trace);
        let hooked = this.service.hooks().before(py, &view);
        let intake = Intake::First { bytes, last };
        let asgi = Arc::clone(this);
        let peer = connection.peer;
        let mut exchange =
            Exchange::new(asgi, token, intake, response, account, view, scope.clone().unbind());
        this.core.with(|reactor| reactor.host(token, connection));
        let served = match handshake {
            None => Bound::new(py, exchange).map(|exchange| Party::Http(exchange.unbind())),
            Some(Ok(handshake)) => Bound::new(py, Session::new(exchange, handshake, offered, begun))
                .map(|session| Party::WebSocket(session.unbind())),
            Some(Err(refusal)) => {
                this.service.tell_offence(py, "Invalid WebSocket handshake", peer, &refusal);
                return exchange.conclude(
                    py,
                    Some(|response: &mut Response, date: &[u8]| response.refuse(refusal, date)),
                );
            }
        };
        let started = served.and_then(|party| match hooked {
            Ok(()) => Self::start(this, py, token, &party, scope),
            Err(error) => party.ended(py, Err(error)),
        });
        if let Err(error) = started {
            this.service.log_exception(py, "Error before a request", &error);
            // Nobody will answer it.
            if let Some(mut connection) = this.core.with(|reactor| reactor.lend_live(token)).flatten() {
                connection.abandon();
                this.core.answered(token, connection, begun);
            }
        }
    }

    fn start(
        this: &Arc<Self>,
        py: Python<'_>,
        token: crate::reactor::table::Token,
        party: &Party,
        scope: Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let object = party.object(py);
        let receive = object.getattr(intern!(py, "receive"))?;
        let send = object.getattr(intern!(py, "send"))?;
        let number = this.registry(py).enter(token, party.clone_ref(py));
        party.set_number(py, number)?;
        let asgi = Arc::clone(this);
        let call =
            Call::new(asgi, number, party.clone_ref(py), scope.unbind(), receive.unbind(), send.unbind());
        let made = Bound::new(py, call).and_then(|call| this.event_loop.tasks.make(call.as_any()));
        match made {
            Ok(task) => {
                let over = this.registry(py).set_task(number, task.unbind());
                drop(over);
                Ok(())
            }
            Err(error) => {
                this.leave(py, number);
                Err(error)
            }
        }
    }

    /// A call is over.
    pub(super) fn leave(&self, py: Python<'_>, number: CallNumber) {
        let (timer, rest) = self.registry(py).leave(number);
        if let Some(timer) = timer
            && let Err(error) = timer.bind(py).call_method0(intern!(py, "cancel"))
        {
            error.write_unraisable(py, None);
        }
        drop(rest);
        if self.service.orders().stop.load(Ordering::Relaxed) {
            // It may have been what the worker still waited for.
            self.core.wake();
        }
    }

    /// The client of a call has left: after the grace period the call is cancelled, if it has not ended.
    pub(super) fn cancel_in_time(&self, py: Python<'_>, number: CallNumber) {
        let task = self.registry(py).untimed(py, number);
        let Some(task) = task else { return };
        let timer = (|| {
            let cancel = task.bind(py).getattr(intern!(py, "cancel"))?;
            if self.grace == 0 {
                cancel.call0()?;
                return Ok(None);
            }
            let event_loop = self.event_loop.object.bind(py);
            event_loop.call_method1(intern!(py, "call_later"), (self.grace, cancel)).map(Some)
        })();
        match timer {
            Ok(Some(timer)) => {
                let late = self.registry(py).set_timer(number, timer.unbind());
                drop(late);
            }
            Ok(None) => {}
            Err(error) => error.write_unraisable(py, None),
        }
    }
}
