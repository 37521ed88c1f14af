//! One request through a WSGI app, on the thread that calls [`Service::handle`]: environ, call, response, hooks, log.

pub(crate) mod account;

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use nix::sys::epoll::Epoll;
use podicorn_http::Reject;
use podicorn_http::response::RequestMethod;
use podicorn_scoreboard::RequestEnd;
use pyo3::exceptions::{PyException, PyOSError, PyStopIteration, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::body::send_body;
use super::client_socket::{ClientSocket, Giving};
use super::environ::{Constants, EnvironError, EnvironFactory};
use super::errors::Errors;
use super::file_wrapper::use_sendfile;
use super::hooks::{Answer, RequestHooks, RequestView};
use super::input::{Failure, Input, Source};
use super::response::{Broken, Common, Ended, OnItsWay, Question, Response};
use super::wait::Patience;
use crate::access_log::{AccessLog, Record};
use crate::clock::{Nanos, monotonic};
use crate::listener::ServerAddress;
use crate::log_trace::LogTrace;
use crate::options::Options;
use crate::reactor::Ready;
use crate::reactor::conn::Connection;
use crate::reactor::socket::Peer;
use crate::slot::{Known, SharedSlot};
use crate::trace::{RequestTrace, Tracer};

/// What all requests of an engine share.
pub(crate) struct Service {
    app: Py<PyAny>,
    error_log: Py<PyAny>,
    environs: EnvironFactory,
    hooks: RequestHooks,
    access_log: Option<AccessLog>,
    slot: Arc<SharedSlot>,
    common: Arc<Common>,
    tracer: Arc<Tracer>,
    log_trace: LogTrace,
    served: AtomicU64,
    max_requests: Option<u64>,
    replacement_asked: AtomicBool,
    /// Connections may carry more than one request.
    persistent: bool,
    orders: Orders,
}

/// What the worker was told, by signals say.
#[derive(Clone, Default)]
pub(crate) struct Orders {
    /// End when all that has begun is done.
    pub(crate) stop: Arc<AtomicBool>,
    /// End at once.
    pub(crate) quit: Arc<AtomicBool>,
}

/// What a service and its reactor have in common.
pub(crate) struct Shared {
    pub(crate) slot: Arc<SharedSlot>,
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) orders: Orders,
    pub(crate) epoll: Weak<Epoll>,
}

/// What a request looks like once it is over.
struct Outcome<'py> {
    environ: Bound<'py, PyDict>,
    error: Option<PyErr>,
}

impl Service {
    pub(crate) fn new(
        py: Python<'_>,
        shared: Shared,
        addresses: &[ServerAddress],
        options: Options,
        app: Py<PyAny>,
        error_log: Py<PyAny>,
    ) -> PyResult<Self> {
        let Shared { slot, tracer, orders, epoll } = shared;
        let errors = Bound::new(py, Errors::new(error_log.clone_ref(py)))?.into_any();
        use_sendfile(options.sendfile);
        let constants = Constants {
            multithread: options.multithread,
            multiprocess: options.multiprocess,
            errors: &errors,
        };
        let hooks = RequestHooks::new(options.hooks);
        let green = options.green.as_ref().map(|green| green.wait.clone_ref(py));
        let access_log =
            options.access_log.map(|(target, style)| AccessLog::start(target, style)).transpose()?;
        Ok(Self {
            app,
            error_log,
            environs: EnvironFactory::new(py, addresses, &constants)?,
            access_log,
            common: Common::new(
                Patience::new(Arc::clone(&slot), &options.limits, options.beat, green),
                Giving { factory: options.client_socket, epoll },
                Arc::clone(&orders.stop),
                Arc::clone(&slot),
                hooks.follow(),
            ),
            hooks,
            persistent: options.limits.keep_alive.is_some(),
            slot,
            tracer,
            log_trace: options.log_trace,
            served: AtomicU64::new(0),
            max_requests: options.max_requests,
            replacement_asked: AtomicBool::new(false),
            orders,
        })
    }

    /// Answers one request, which begins to be served now, at `begun`. What the socket does not take is left in the
    /// connection. The error is one that is no `Exception` (`SystemExit`, say): the request is over, and the caller decides
    /// whether the worker is.
    pub(crate) fn handle(&self, py: Python<'_>, ready: &mut Ready, begun: Nanos) -> PyResult<()> {
        let account = self.open_account(ready, begun);
        let trace = account.trace;
        let connection = &mut *ready.connection;
        let (input, on_its_way, residue) = self.input(py, connection);
        let input = Bound::new(py, input)?;
        let head = &connection.head;
        let question = Question {
            version: head.version(),
            method: RequestMethod::of(head.method(&connection.raw)),
            keep_alive: self.persistent && head.keep_alive(),
            upgrade: head.upgrade(&connection.raw).is_some(),
        };
        let response = Response::new(
            Arc::clone(&self.common),
            Arc::clone(&connection.socket),
            question,
            on_its_way,
            residue,
        );
        let response = Bound::new(py, response)?;
        let view = RequestView::new(&self.hooks, connection);
        let logged = self.log_trace.enter(py, &trace);
        let outcome = self.call(py, connection, &trace, &input, &response, &view);
        let error =
            outcome.error.map(|error| self.settle_error(py, error, connection, &trace, &input, &response));
        if self.slot.is_disabled() {
            return Ok(());
        }
        let ended = take_back(connection, &input, &response);
        let duration = monotonic().saturating_sub(begun);
        let told = ended
            .as_ref()
            .map_err(|error| error.clone_ref(py))
            .and_then(|ended| self.tell(&outcome.environ, connection, &trace, ended, &view, duration));
        if let Err(error) = told {
            self.log_exception(py, "Error after a request", &error);
        }
        drop(logged);
        let (status, timed_out, known) = ended
            .as_ref()
            .map_or((0, false, Known::Begin), |ended| (ended.status_sent(), ended.timed_out, ended.known));
        let end = RequestEnd { status, duration_nanos: duration, is_timed_out: timed_out };
        if let Ok(ended) = ended {
            ended.recycle();
        }
        self.close_account(py, &account, end, known);
        match error.flatten() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The body; where the rest of it is still to come, how that stands; and what follows the request.
    fn input(&self, py: Python<'_>, connection: &mut Connection) -> (Input, Option<OnItsWay>, Vec<u8>) {
        let behind = connection.raw.len() > connection.head.len();
        if connection.body_complete {
            let input = Input::whole(PyBytes::new(py, &connection.body).unbind());
            connection.release_body();
            let residue = if behind { connection.raw.split_off(connection.head.len()) } else { Vec::new() };
            return (input, None, residue);
        }
        let on_its_way = OnItsWay::default();
        on_its_way.continue_due.store(std::mem::take(&mut connection.continue_due), Ordering::Relaxed);
        let source = Source {
            socket: Arc::clone(&connection.socket),
            raw: connection.raw.split_off(connection.head.len()),
            decoder: std::mem::take(&mut connection.decoder),
            patience: self.common.patience(),
            received: 0,
            on_its_way: on_its_way.clone(),
        };
        (Input::streaming(std::mem::take(&mut connection.body), source), Some(on_its_way), Vec::new())
    }

    /// From environ to the last byte that the app gives.
    fn call<'py>(
        &self,
        py: Python<'py>,
        connection: &Connection,
        trace: &RequestTrace,
        input: &Bound<'py, Input>,
        response: &Bound<'py, Response>,
        view: &RequestView,
    ) -> Outcome<'py> {
        let environ = match self.environs.make(py, connection, trace) {
            Ok(environ) => environ,
            Err(EnvironError::Python(error)) => {
                return Outcome { environ: PyDict::new(py), error: Some(error) };
            }
            Err(EnvironError::ScriptName { path, script_name }) => {
                let text = format!("Request path {path:?} does not start with SCRIPT_NAME {script_name:?}");
                return Outcome { environ: PyDict::new(py), error: Some(PyValueError::new_err(text)) };
            }
        };
        let error = self.call_app(&environ, connection, input, response, view).err();
        Outcome { environ, error }
    }

    fn call_app<'py>(
        &self,
        environ: &Bound<'py, PyDict>,
        connection: &Connection,
        input: &Bound<'py, Input>,
        response: &Bound<'py, Response>,
        view: &RequestView,
    ) -> PyResult<()> {
        let py = environ.py();
        environ.set_item(intern!(py, "wsgi.input"), input)?;
        environ.set_item(intern!(py, "wsgi.early_hints"), response.getattr(intern!(py, "early_hints"))?)?;
        if connection.socket.is_stream() {
            // Gunicorn's names.
            environ.set_item(intern!(py, "HTTP_VERSION"), intern!(py, "2"))?;
            let send_trailers = response.getattr(intern!(py, "send_trailers"))?;
            environ.set_item(intern!(py, "gunicorn.http2.send_trailers"), send_trailers)?;
        }
        let socket = ClientSocket::new(response.clone().unbind());
        environ.set_item(intern!(py, "gunicorn.socket"), Bound::new(py, socket)?)?;
        self.hooks.before(py, view)?;
        let start_response = response.getattr(intern!(py, "start_response"))?;
        let iterable = self.app.bind(py).call1((environ, start_response))?;
        send_body(response, &iterable)
    }

    /// Turns an error of the app into a response or an end, and into a log entry. Gives back what is no `Exception`.
    fn settle_error(
        &self,
        py: Python<'_>,
        error: PyErr,
        connection: &Connection,
        trace: &RequestTrace,
        input: &Bound<'_, Input>,
        response: &Bound<'_, Response>,
    ) -> Option<PyErr> {
        if self.slot.is_disabled() {
            return None;
        }
        let Ok(mut answer) = response.try_borrow_mut() else { return Some(error) };
        if self.orders.quit.load(Ordering::Relaxed) && !error.is_instance_of::<PyException>(py) {
            // The SystemExit by which INT, QUIT or ABRT ends the worker: no fault of the app. The connection just ends.
            answer.abandon();
            return Some(error);
        }
        if answer.is_given_away() || (error.is_instance_of::<PyStopIteration>(py) && !answer.is_head_sent()) {
            // The way in which apps on gunicorn.socket say that there is no response.
            answer.abandon();
            drop(answer);
            self.log(py, "debug", &format!("Closing connection. {error}"));
            return None;
        }
        let failure = input.try_borrow().ok().and_then(|input| input.failure().cloned());
        let ours = error.is_instance_of::<PyOSError>(py) || error.is_instance_of::<PyValueError>(py);
        match (failure, answer.broken()) {
            // The client's doing: nothing that the app's owner should read about.
            (_, Some(Broken::Client)) if ours => return None,
            (Some(Failure::Gone), _) if ours => {
                answer.abandon();
                return None;
            }
            (Some(Failure::Stalled), _) if ours => {
                answer.fail(408, "");
                return None;
            }
            (Some(Failure::Refused(reject)), _) if ours => {
                answer.fail(reject.status, &reject.to_string());
                drop(answer);
                self.tell_refused(py, connection.peer, &reject);
                return None;
            }
            _ => {}
        }
        let sent = answer.is_head_sent();
        answer.fail(500, "");
        drop(answer);
        let (head, raw) = (&connection.head, connection.raw.as_slice());
        let text = if sent {
            "Error handling request".to_owned()
        } else {
            format!(
                "Error handling request {} {}",
                String::from_utf8_lossy(head.method(raw)),
                String::from_utf8_lossy(head.target(raw))
            )
        };
        self.log_exception_of(py, trace, &text, &error);
        (!error.is_instance_of::<PyException>(py)).then_some(error)
    }

    /// Logs a request that is over, and calls the hooks. They may run code of the app's, so nothing is borrowed.
    fn tell(
        &self,
        environ: &Bound<'_, PyDict>,
        connection: &Connection,
        trace: &RequestTrace,
        ended: &Ended,
        view: &RequestView,
        duration: Nanos,
    ) -> PyResult<()> {
        let py = environ.py();
        if ended.dropped_body {
            let text = format!(
                "WSGI app sent body bytes on a no-body response (method={} status={}); dropping per RFC 9110.",
                String::from_utf8_lossy(connection.head.method(&connection.raw)),
                ended.head.status(),
            );
            self.log(py, "warning", &text);
        }
        if let Some(log) = &self.access_log
            && ended.head_sent
            && environ.contains(intern!(py, "RAW_URI"))?
        {
            log.log(&Record {
                environ: Some(environ),
                peer: connection.peer,
                asked: &connection.head,
                raw: &connection.raw,
                head: &ended.head,
                body_bytes: ended.body_bytes,
                duration,
                trace,
            });
        }
        if self.hooks.logs_access() && ended.head_sent && environ.contains(intern!(py, "RAW_URI"))? {
            let answer = || Answer::of(ended).object(py);
            if let Err(error) = self.hooks.log_access(py, view, environ, duration, answer) {
                self.log_exception(py, "Exception in the logger's access()", &error);
            }
        }
        let answer = || Answer::of(ended).object(py);
        if let Err(error) = self.hooks.after(py, view, environ, answer) {
            self.log_exception(py, "Exception in post_request hook", &error);
        }
        Ok(())
    }

    fn count_towards_replacement(&self, py: Python<'_>) {
        let reached = self.max_requests.is_some_and(|most| self.requests() >= most);
        if reached && !self.replacement_asked.swap(true, Ordering::Relaxed) {
            self.log(
                py,
                "info",
                "Autorestarting worker: max_requests is reached; it serves until its replacement is ready",
            );
            self.slot.ask_for_replacement();
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    pub(crate) fn tell_refused(&self, py: Python<'_>, peer: Peer, reject: &Reject) {
        self.tell_offence(py, "Invalid request", peer, reject);
    }

    /// A client has broken a protocol.
    pub(crate) fn tell_offence(&self, py: Python<'_>, what: &str, peer: Peer, reason: &dyn Display) {
        self.tell_of(py, "warning", what, peer, reason);
    }

    /// Something that a client has done.
    pub(crate) fn tell_of(&self, py: Python<'_>, level: &str, what: &str, peer: Peer, reason: &dyn Display) {
        let ip = match peer {
            Peer::Internet(address) => address.ip().to_string(),
            Peer::Local => String::new(),
        };
        self.log(py, level, &format!("{what} from ip={ip}: {reason}"));
    }

    /// A line for the error log.
    pub(crate) fn log(&self, py: Python<'_>, level: &str, text: &str) {
        // The text goes in as an argument, so that no % in it is taken for a format.
        if let Err(error) = self.error_log.bind(py).call_method1(level, ("%s", text)) {
            error.write_unraisable(py, None);
        }
    }

    pub(crate) fn log_exception(&self, py: Python<'_>, text: &str, error: &PyErr) {
        self.log_exception_of(py, &RequestTrace::default(), text, error);
    }

    /// An exception while a request was answered: the record carries the ids of its trace, for formatters.
    pub(crate) fn log_exception_of(&self, py: Python<'_>, trace: &RequestTrace, text: &str, error: &PyErr) {
        let logged = (|| {
            let arguments = PyDict::new(py);
            if let (Some(trace_id), Some(span_id)) = (trace.trace_text(), trace.span_text()) {
                let extra = PyDict::new(py);
                extra.set_item("trace_id", trace_id)?;
                extra.set_item("span_id", span_id)?;
                arguments.set_item("extra", extra)?;
            }
            let exc_info = (error.get_type(py), error.value(py), error.traceback(py));
            arguments.set_item("exc_info", exc_info)?;
            self.error_log.bind(py).call_method("error", ("%s", text), Some(&arguments))
        })();
        if let Err(error) = logged {
            error.write_unraisable(py, None);
        }
    }

    /// The scoreboard's copy of the log's drop count.
    pub(crate) fn publish_log_drops(&self) {
        if let Some(log) = &self.access_log {
            self.slot.set_log_dropped(log.writer().dropped());
        }
    }

    pub(crate) fn reopen_log(&self) {
        if let Some(log) = &self.access_log {
            log.writer().reopen();
        }
    }

    /// Writes what is queued.
    pub(crate) fn finish_log(&self) {
        if let Some(log) = &self.access_log {
            log.writer().finish();
        }
    }
}

/// Takes the connection back from Python. An error: the app still holds the response, and the connection ends.
fn take_back(
    connection: &mut Connection,
    input: &Bound<'_, Input>,
    response: &Bound<'_, Response>,
) -> PyResult<Ended> {
    let mut ended = response.try_borrow_mut()?.end();
    connection.outbound = std::mem::take(&mut ended.outbound);
    connection.given_away = ended.given_away;
    connection.raw.append(&mut ended.residue);
    if let Ok(mut input) = input.try_borrow_mut() {
        let failed = input.failure().is_some();
        if let Some(mut source) = input.end() {
            connection.body_complete = source.decoder.is_done();
            connection.raw.append(&mut source.raw);
            connection.drained = false;
        } else if failed {
            connection.body_complete = false;
        }
    } else {
        connection.body_complete = false;
    }
    connection.persists = ended.persists && connection.body_complete;
    Ok(ended)
}

/// The fields of W3C Trace Context.
pub(crate) fn is_traceparent(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"traceparent")
}

pub(crate) fn is_tracestate(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"tracestate")
}

/// From the kernel, and so not shared with the workers forked from the same process.
pub(crate) fn random_seed(py: Python<'_>) -> PyResult<u64> {
    let bytes: [u8; 8] = py.import("os")?.call_method1("urandom", (8,))?.extract()?;
    Ok(u64::from_ne_bytes(bytes))
}
