//! One request and its response, as the app sees them: the object whose methods are `receive` and `send`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use podicorn_http::Head;
use pyo3::exceptions::{PyException, PyOSError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::awaitable::{Purpose, Waiting};
use super::message::Message;
use super::registry::CallNumber;
use super::response::{Moment, Response, Stage};
use super::service::Asgi;
use crate::access_log::Record;
use crate::clock::{SECOND, monotonic, unix};
use crate::reactor::conn::Connection;
use crate::reactor::live::{Asked, Event, Pull, Push};
use crate::reactor::outbound::Sent;
use crate::reactor::socket::Peer;
use crate::reactor::table::Token;
use crate::wsgi::hooks::{Answer, RequestView};
use crate::wsgi::service::account::Account;

/// What is left of the request's body.
pub(super) enum Intake {
    /// What was there when the call began, all of it if `last`.
    First { bytes: Py<PyBytes>, last: bool },
    /// The rest is to be pulled.
    More,
    /// The app has it all.
    Given,
}

/// Where the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Here,
    /// It has finished sending, so it may have gone. What the app gives is sent nevertheless.
    Left,
    /// The request has lost its connection.
    Gone,
}

/// What [`Exchange::poll`] has found.
pub(super) enum Polled<'py> {
    Ready(Bound<'py, PyAny>),
    /// This future of the loop is done when there may be news.
    Wait(Bound<'py, PyAny>),
}

/// See the module's text.
#[pyclass(module = "podicorn._engine", freelist = 64)]
pub(super) struct Exchange {
    asgi: Arc<Asgi>,
    token: Token,
    number: CallNumber,
    intake: Intake,
    client: Client,
    /// The app has been told that the client has left.
    told: bool,
    /// Nothing may be sent until the client has taken more.
    full: bool,
    response: Response,
    /// Futures of those who wait in `receive` and in `send`.
    receivers: Vec<Py<PyAny>>,
    senders: Vec<Py<PyAny>>,
    /// `None`: the response is over, and counted.
    account: Option<Account>,
    /// Some of the response is on its way.
    sent: bool,
    /// The logs know of the response.
    logged: bool,
    view: RequestView,
    /// For what is logged.
    scope: Py<PyDict>,
}

/// The watchdog's answer.
const GATEWAY_TIMEOUT: u16 = 504;

fn client_is_gone() -> PyErr {
    PyOSError::new_err((libc::EPIPE, "the client has gone"))
}

impl Exchange {
    pub(super) fn new(
        asgi: Arc<Asgi>,
        token: Token,
        intake: Intake,
        response: Response,
        account: Account,
        view: RequestView,
        scope: Py<PyDict>,
    ) -> Self {
        Self {
            asgi,
            token,
            number: 0,
            intake,
            client: Client::Here,
            told: false,
            full: false,
            response,
            receivers: Vec::new(),
            senders: Vec::new(),
            account: Some(account),
            sent: false,
            logged: false,
            view,
            scope,
        }
    }

    pub(super) fn set_number(&mut self, number: CallNumber) {
        self.number = number;
    }

    // ---- receive ----

    /// Whether what an awaitable is for has come.
    pub(super) fn poll<'py>(this: &Bound<'py, Self>, purpose: Purpose) -> PyResult<Polled<'py>> {
        let py = this.py();
        let mut exchange = this.try_borrow_mut()?;
        let asgi = Arc::clone(&exchange.asgi);
        let polled = match purpose {
            Purpose::Message => exchange.poll_message(py),
            Purpose::Room if exchange.client == Client::Gone => Err(client_is_gone()),
            Purpose::Room if exchange.full => Ok(None),
            Purpose::Room => Ok(Some(py.None().into_bound(py))),
        }?;
        let polled = if let Some(value) = polled {
            Polled::Ready(value)
        } else {
            let future = asgi.future(py)?;
            let waiting = match purpose {
                Purpose::Message => &mut exchange.receivers,
                Purpose::Room => &mut exchange.senders,
            };
            waiting.push(future.clone().unbind());
            Polled::Wait(future)
        };
        drop(exchange);
        asgi.schedule(py);
        Ok(polled)
    }

    /// The next message of `receive`, if it is there.
    fn poll_message<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let asgi = Arc::clone(&self.asgi);
        if self.response.is_complete() || self.client == Client::Gone {
            self.told = true;
            return asgi.messages.disconnect(py).map(Some);
        }
        match std::mem::replace(&mut self.intake, Intake::Given) {
            Intake::First { bytes, last } => {
                self.intake = if last { Intake::Given } else { Intake::More };
                return asgi.messages.request(bytes.into_bound(py), !last).map(Some);
            }
            Intake::More => {
                self.intake = Intake::More;
                let mut data = Vec::new();
                let token = self.token;
                let pull = asgi.core.with(|reactor| reactor.pull(token, &mut data, monotonic()));
                match pull {
                    Some(Pull::Data { last }) => {
                        self.intake = if last { Intake::Given } else { Intake::More };
                        return asgi.messages.request(PyBytes::new(py, &data), !last).map(Some);
                    }
                    Some(Pull::Wait) => return Ok(None),
                    Some(Pull::Over) | None => {
                        self.lose(py);
                        self.told = true;
                        return asgi.messages.disconnect(py).map(Some);
                    }
                }
            }
            Intake::Given => {}
        }
        if self.client == Client::Left {
            self.told = true;
            return asgi.messages.disconnect(py).map(Some);
        }
        Ok(None)
    }

    // ---- send ----

    /// Takes a message of the app; true: it is to wait before it sends another one.
    fn take(this: &Bound<'_, Self>, message: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = this.py();
        let mut exchange = this.try_borrow_mut()?;
        if exchange.client == Client::Gone {
            return Err(client_is_gone());
        }
        let asgi = Arc::clone(&exchange.asgi);
        let exchange = &mut *exchange;
        let response = &mut exchange.response;
        match Message::read(message)? {
            Message::Start { status, headers, trailers } => {
                response.start(status, headers.as_ref(), trailers)?;
                return Ok(false);
            }
            Message::Body { body, more } => {
                exchange.with_moment(|response, moment| response.body(&body, more, moment))?
            }
            Message::Path(path) => exchange.with_moment(|response, moment| response.file(&path, moment))?,
            Message::Trailers { headers, more } => {
                if !response.add_trailers(headers.as_ref(), more)? {
                    return Ok(false);
                }
            }
            Message::Interim { status, headers } => {
                if !response.interim(status, headers.as_ref())? {
                    return Ok(false);
                }
                if status == 100 {
                    let token = exchange.token;
                    asgi.core.with(|reactor| reactor.continued(token));
                }
            }
            Message::Hints(links) => {
                if !response.hints(&links)? {
                    return Ok(false);
                }
            }
        }
        if exchange.response.is_complete() {
            return exchange.finish(py).map(|()| false);
        }
        exchange.push(py)
    }

    fn with_moment<T>(&mut self, act: impl FnOnce(&mut Response, &Moment<'_>) -> PyResult<T>) -> PyResult<T> {
        let asgi = Arc::clone(&self.asgi);
        let body_read = matches!(self.intake, Intake::Given | Intake::First { last: true, .. });
        let persistent = body_read && asgi.service.is_persistent();
        let mut date = asgi.date();
        act(&mut self.response, &Moment { persistent, date: date.at(unix() / SECOND) })
    }

    /// Sends what is ready; true: the app is to wait.
    fn push(&mut self, py: Python<'_>) -> PyResult<bool> {
        let asgi = Arc::clone(&self.asgi);
        let (token, answers) = (self.token, self.response.has_begun());
        let parcel = &mut self.response.parcel;
        let push = asgi.core.with(|reactor| reactor.push(token, parcel, answers, monotonic()));
        match push {
            Some(Push::Taken) => {
                self.sent |= answers;
                Ok(false)
            }
            Some(Push::Full) => {
                self.sent |= answers;
                self.full = true;
                Ok(true)
            }
            Some(Push::TimedOut) => {
                self.response.parcel.clear();
                Err(client_is_gone())
            }
            Some(Push::Over) | None => {
                self.lose(py);
                Err(client_is_gone())
            }
        }
    }

    /// The response is complete: gives the connection back with what the socket does not take now.
    fn finish(&mut self, py: Python<'_>) -> PyResult<()> {
        let asgi = Arc::clone(&self.asgi);
        let token = self.token;
        let Some(mut connection) = asgi.core.with(|reactor| reactor.lend_live(token)).flatten() else {
            self.lose(py);
            return Err(client_is_gone());
        };
        let timed_out = !connection.socket.answer();
        let sent = if timed_out { Sent::All } else { connection.transmit(&mut self.response.parcel) };
        let lost = timed_out || matches!(sent, Sent::Failed(_));
        if lost {
            self.response.parcel.clear();
            self.client = Client::Gone;
            connection.abandon();
        } else {
            connection.persists = self.response.persists() && connection.body_complete;
        }
        let counted = timed_out && self.was_answered_instead();
        self.settle(py, &connection, counted);
        self.part(py, connection);
        if lost { Err(client_is_gone()) } else { Ok(()) }
    }

    /// The watchdog has taken the request: whether it has answered, too.
    fn was_answered_instead(&mut self) -> bool {
        if !self.sent {
            self.response.replace(GATEWAY_TIMEOUT);
        }
        !self.sent
    }

    /// The connection is lost; what the reactor has to tell of that, if it is new.
    fn lose(&mut self, py: Python<'_>) {
        self.response.parcel.clear();
        self.client = Client::Gone;
        let (asgi, token) = (Arc::clone(&self.asgi), self.token);
        if let Some((status, asked)) = asgi.core.with(|reactor| reactor.take_over(token)).flatten() {
            self.over(py, status, *asked);
            asgi.cancel_in_time(py, self.number);
        }
    }

    /// What the reactor tells of a request that has lost its connection.
    fn over(&mut self, py: Python<'_>, status: u16, asked: Asked) {
        self.client = Client::Gone;
        if status != 0 {
            self.response.replace(status);
        }
        let Asked { peer, head, raw } = asked;
        self.tell(py, peer, &head, &raw);
        // What was too slow is in the scoreboard for as long as the app is at it.
        if status != GATEWAY_TIMEOUT {
            self.close_account(py, status != 0);
        }
        self.asgi.registry(py).part(self.token, self.number);
        let receivers = std::mem::take(&mut self.receivers);
        let senders = std::mem::take(&mut self.senders);
        wake(py, receivers);
        wake(py, senders);
    }

    /// Gives the connection back: the exchange is over.
    fn part(&mut self, py: Python<'_>, connection: Box<Connection>) {
        let asgi = Arc::clone(&self.asgi);
        asgi.registry(py).part(self.token, self.number);
        asgi.core.answered(self.token, connection, monotonic());
        asgi.recycle(self.response.take_parts());
        let receivers = std::mem::take(&mut self.receivers);
        wake(py, receivers);
        asgi.schedule(py);
    }

    /// The response is over: counts and logs it. `counted`: the scoreboard knows of it already.
    fn settle(&mut self, py: Python<'_>, connection: &Connection, counted: bool) {
        self.tell(py, connection.peer, &connection.head, &connection.raw);
        self.close_account(py, counted);
    }

    fn close_account(&mut self, py: Python<'_>, counted: bool) {
        if let Some(mut account) = self.account.take() {
            self.asgi.service.close_account(py, &mut account, self.response.status(), counted);
        }
    }

    /// Tells the logs and the hook of the response.
    fn tell(&mut self, py: Python<'_>, peer: Peer, asked: &Head, raw: &[u8]) {
        let Some(account) = self.account.as_ref().filter(|_| !self.logged) else { return };
        self.logged = true;
        let service = &self.asgi.service;
        let status = self.response.status();
        let duration = account.duration();
        if self.response.dropped_body && !asked.method(raw).eq(b"HEAD") {
            let text = format!(
                "ASGI app sent body bytes on a no-body response (method={} status={status}); dropping per RFC 9110.",
                String::from_utf8_lossy(asked.method(raw)),
            );
            service.log(py, "warning", &text);
        }
        if self.response.has_begun() && service.access_log().is_some() {
            service.log_access(&Record {
                environ: None,
                peer,
                asked,
                raw,
                head: &self.response.head,
                body_bytes: self.response.body_bytes,
                duration,
            });
        }
        if service.hooks().has_after() {
            let answer = Answer {
                head: &self.response.head,
                head_sent: self.response.has_begun(),
                body_bytes: self.response.body_bytes,
            };
            let told = self
                .asgi
                .hook_environ(py, peer, asked, raw)
                .and_then(|environ| service.hooks().after(py, &self.view, &environ, &answer));
            if let Err(error) = told {
                service.log_exception(py, "Exception in post_request hook", &error);
            }
        }
    }

    // ---- news ----

    /// News of the connection.
    pub(super) fn hear(this: &Bound<'_, Self>, event: Event) {
        let py = this.py();
        let Ok(mut exchange) = this.try_borrow_mut() else { return };
        let asgi = Arc::clone(&exchange.asgi);
        let (mut receivers, mut senders) = (Vec::new(), Vec::new());
        let mut gone = false;
        match event {
            Event::Body => receivers = std::mem::take(&mut exchange.receivers),
            Event::Room => {
                exchange.full = false;
                senders = std::mem::take(&mut exchange.senders);
            }
            Event::Left => {
                exchange.client = Client::Left;
                receivers = std::mem::take(&mut exchange.receivers);
                gone = true;
            }
            Event::Over { status, asked } => {
                exchange.over(py, status, *asked);
                gone = true;
            }
        }
        let number = exchange.number;
        drop(exchange);
        wake(py, receivers);
        wake(py, senders);
        if gone {
            asgi.cancel_in_time(py, number);
        }
    }

    // ---- the end of the call ----

    /// The app's call is over. The error is one that the task is to end with.
    pub(super) fn ended(this: &Bound<'_, Self>, outcome: PyResult<()>) -> PyResult<()> {
        let py = this.py();
        let mut exchange = this.try_borrow_mut()?;
        let outcome = match outcome {
            Ok(()) => {
                exchange.returned(py);
                Ok(())
            }
            Err(error) => exchange.raised(py, error),
        };
        exchange.close_account(py, true);
        outcome
    }

    fn returned(&mut self, py: Python<'_>) {
        if self.response.is_complete() || self.client == Client::Gone {
            return;
        }
        let text = if self.response.stage == Stage::Fresh {
            "ASGI application returned without starting its response"
        } else {
            "ASGI application returned without completing the response; closing the connection"
        };
        if self.client == Client::Here {
            let text = format!("{text} ({})", self.asgi.shown(self.scope.bind(py)));
            self.asgi.service.log(py, "error", &text);
        }
        self.break_off(py, true);
    }

    fn raised(&mut self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        let service = Arc::clone(&self.asgi.service);
        let quitting = service.orders().quit.load(Ordering::Relaxed);
        let cancelled = self.asgi.is_cancellation(py, &error);
        if quitting && !error.is_instance_of::<PyException>(py) {
            // The worker ends at once: no fault of the app.
            self.break_off(py, false);
            return Err(error);
        }
        // Most likely the app's way to say that its client has left, where it knows.
        let excused = match self.client {
            Client::Here => false,
            Client::Left => cancelled || self.told,
            Client::Gone => {
                cancelled || self.told || error.is_instance_of::<PyOSError>(py) || caused_by_us(py, &error)
            }
        };
        if excused || (cancelled && service.orders().stop.load(Ordering::Relaxed)) {
            service.log(
                py,
                "debug",
                &format!("The client has left {}: {error}", self.asgi.shown(self.scope.bind(py))),
            );
            self.break_off(py, false);
        } else {
            let text = if self.response.has_begun() {
                "Error handling request".to_owned()
            } else {
                format!("Error handling request {}", self.asgi.shown(self.scope.bind(py)))
            };
            service.log_exception(py, &text, &error);
            self.break_off(py, true);
        }
        if cancelled { Err(error) } else { Ok(()) }
    }

    /// Ends a response that will not be completed: by 500 where nothing was sent and `tell`, else by the end of the
    /// connection, so that the client sees that it is incomplete.
    fn break_off(&mut self, py: Python<'_>, tell: bool) {
        if self.response.is_complete() || self.client == Client::Gone {
            return;
        }
        let asgi = Arc::clone(&self.asgi);
        let token = self.token;
        let Some(mut connection) = asgi.core.with(|reactor| reactor.lend_live(token)).flatten() else {
            return;
        };
        let timed_out = !connection.socket.answer();
        if timed_out {
            connection.abandon();
        } else if tell && !self.response.has_begun() {
            let mut date = asgi.date();
            self.response.fail(500, date.at(unix() / SECOND));
            drop(date);
            if matches!(connection.transmit(&mut self.response.parcel), Sent::Failed(_)) {
                connection.abandon();
            }
        } else {
            connection.abandon();
        }
        let counted = timed_out && self.was_answered_instead();
        self.settle(py, &connection, counted);
        self.client = Client::Gone;
        self.part(py, connection);
    }
}

/// Whether an `OSError` is behind this exception, which frameworks turn into one of their own.
fn caused_by_us(py: Python<'_>, error: &PyErr) -> bool {
    let mut error = error.value(py).clone().into_any();
    for _ in 0..8 {
        let before = ["__cause__", "__context__"].into_iter().find_map(|name| {
            let before = error.getattr(name).ok()?;
            (!before.is_none()).then_some(before)
        });
        match before {
            Some(before) if before.is_instance_of::<PyOSError>() => return true,
            Some(before) => error = before,
            None => return false,
        }
    }
    false
}

/// Lets those who wait look again.
fn wake(py: Python<'_>, futures: Vec<Py<PyAny>>) {
    for future in futures {
        let future = future.bind(py);
        let woken = (|| {
            if !future.call_method0(intern!(py, "done"))?.is_truthy()? {
                future.call_method1(intern!(py, "set_result"), (py.None(),))?;
            }
            Ok::<_, PyErr>(())
        })();
        if let Err(error) = woken {
            error.write_unraisable(py, Some(future));
        }
    }
}

#[pymethods]
impl Exchange {
    /// The next event of the http scope.
    fn receive(this: Py<Self>) -> Waiting {
        Waiting::new(this, Purpose::Message)
    }

    /// A message of the app.
    #[pyo3(signature = (message, /))]
    fn send<'py>(this: &Bound<'py, Self>, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        if Self::take(this, message)? {
            Ok(Bound::new(py, Waiting::new(this.clone().unbind(), Purpose::Room))?.into_any())
        } else {
            let exchange = this.try_borrow().map_err(|_| PyRuntimeError::new_err("send() calls itself"))?;
            Ok(exchange.asgi.done.bind(py).clone().into_any())
        }
    }
}
