//! One request and its response, as the app sees them: the object whose methods are `receive` and `send`.

use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::awaitable::{Purpose, Waiting};
use super::message::Message;
use super::news::wake;
use super::registry::{CallNumber, Party};
use super::response::{Moment, Response};
use super::service::Asgi;
use crate::clock::monotonic;
use crate::date::date_field;
use crate::reactor::conn::Connection;
use crate::reactor::live::{Pull, Push};
use crate::reactor::outbound::Sent;
use crate::reactor::socket::Then;
use crate::reactor::table::Token;
use crate::slot::Known;
use crate::trace::RequestTrace;
use crate::wsgi::hooks::RequestView;
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
pub(super) enum Client {
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
#[allow(clippy::struct_excessive_bools)] // independent facts, not states
#[pyclass(module = "podicorn._engine", freelist = 64)]
pub(super) struct Exchange {
    pub(super) asgi: Arc<Asgi>,
    pub(super) token: Token,
    pub(super) number: CallNumber,
    intake: Intake,
    pub(super) client: Client,
    /// The app has been told that the client has left.
    pub(super) told: bool,
    /// Nothing may be sent until the client has taken more.
    pub(super) full: bool,
    pub(super) response: Response,
    /// Futures of those who wait in `receive` and in `send`.
    pub(super) receivers: Vec<Py<PyAny>>,
    pub(super) senders: Vec<Py<PyAny>>,
    /// `None`: the response is over, and counted.
    pub(super) account: Option<Account>,
    pub(super) trace: RequestTrace,
    /// Some of the response is on its way.
    pub(super) sent: bool,
    /// The logs know of the response.
    pub(super) logged: bool,
    pub(super) view: RequestView,
    /// For what is logged.
    pub(super) scope: Py<PyDict>,
}

/// The watchdog's answer.
pub(super) const GATEWAY_TIMEOUT: u16 = 504;

pub(super) fn client_is_gone() -> PyErr {
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
            trace: account.trace,
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
        // Only a pull brings something about that a turn has to tell.
        let pulls = purpose == Purpose::Message && matches!(exchange.intake, Intake::More);
        let asgi = pulls.then(|| Arc::clone(&exchange.asgi));
        let polled = match purpose {
            Purpose::Message => exchange.poll_message(py),
            Purpose::Room if exchange.client == Client::Gone => Err(client_is_gone()),
            Purpose::Room if exchange.full => Ok(None),
            Purpose::Room => Ok(Some(py.None().into_bound(py))),
        }?;
        let polled = match polled {
            Some(value) => Polled::Ready(value),
            None => exchange.wait(py, purpose)?,
        };
        drop(exchange);
        if let Some(asgi) = asgi {
            asgi.schedule(py);
        }
        Ok(polled)
    }

    /// A future that is done when there may be news.
    pub(super) fn wait<'py>(&mut self, py: Python<'py>, purpose: Purpose) -> PyResult<Polled<'py>> {
        let future = self.asgi.future(py)?;
        let waiting = match purpose {
            Purpose::Message => &mut self.receivers,
            Purpose::Room => &mut self.senders,
        };
        waiting.push(future.clone().unbind());
        Ok(Polled::Wait(future))
    }

    /// The next message of `receive`, if it is there.
    fn poll_message<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.response.is_complete() || self.client == Client::Gone {
            self.told = true;
            return self.asgi.messages.disconnect(py).map(Some);
        }
        match std::mem::replace(&mut self.intake, Intake::Given) {
            Intake::First { bytes, last } => {
                self.intake = if last { Intake::Given } else { Intake::More };
                return self.asgi.messages.request(bytes.into_bound(py), !last).map(Some);
            }
            Intake::More => {
                self.intake = Intake::More;
                let mut data = Vec::new();
                let token = self.token;
                let pull = self.asgi.core.with(|reactor| reactor.pull(token, &mut data, monotonic()));
                match pull {
                    Some(Pull::Data { last }) => {
                        self.intake = if last { Intake::Given } else { Intake::More };
                        return self.asgi.messages.request(PyBytes::new(py, &data), !last).map(Some);
                    }
                    Some(Pull::Wait) => return Ok(None),
                    Some(Pull::Over) | None => {
                        self.lose(py);
                        self.told = true;
                        return self.asgi.messages.disconnect(py).map(Some);
                    }
                }
            }
            Intake::Given => {}
        }
        if self.client == Client::Left {
            self.told = true;
            return self.asgi.messages.disconnect(py).map(Some);
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
        let exchange = &mut *exchange;
        let response = &mut exchange.response;
        match Message::read(message)? {
            Message::Start { status, headers, trailers } => {
                response.start(status, headers.as_ref(), trailers)?;
                return Ok(false);
            }
            Message::Body { body, more } => {
                exchange.with_moment(|response, moment| response.body(&body, more, moment))?;
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
                    exchange.asgi.core.with(|reactor| reactor.continued(token));
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

    pub(super) fn with_moment<T>(
        &mut self,
        act: impl FnOnce(&mut Response, &Moment<'_>) -> PyResult<T>,
    ) -> PyResult<T> {
        let body_read = matches!(self.intake, Intake::Given | Intake::First { last: true, .. });
        let persistent = body_read && self.asgi.service.is_persistent();
        act(&mut self.response, &Moment { persistent, date: &date_field() })
    }

    /// Sends what is ready; true: the app is to wait.
    pub(super) fn push(&mut self, py: Python<'_>) -> PyResult<bool> {
        let (token, answers) = (self.token, self.response.has_begun());
        let parcel = &mut self.response.parcel;
        let push = self.asgi.core.with(|reactor| reactor.push(token, parcel, answers, monotonic()));
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
    pub(super) fn finish(&mut self, py: Python<'_>) -> PyResult<()> {
        let token = self.token;
        let Some(mut connection) = self.asgi.core.with(|reactor| reactor.lend_live(token)).flatten() else {
            self.lose(py);
            return Err(client_is_gone());
        };
        let timed_out = !connection.socket.answer();
        let persists = self.response.persists() && connection.body_complete;
        let (sent, known) = match persists {
            _ if timed_out => (Sent::All, self.was_answered_instead()),
            true => (connection.transmit(&mut self.response.parcel, Then::More), Known::Begin),
            false => self.send_last(&mut connection),
        };
        let lost = timed_out || matches!(sent, Sent::Failed(_));
        if lost {
            self.response.parcel.clear();
            self.client = Client::Gone;
            connection.abandon();
        } else {
            connection.persists = persists;
        }
        self.settle(py, &connection, known);
        self.part(py, connection);
        if lost { Err(client_is_gone()) } else { Ok(()) }
    }

    /// Sends what ends the response and the connection. What is told of it before is for [`Self::settle`].
    pub(super) fn send_last(&mut self, connection: &mut Connection) -> (Sent, Known) {
        // Who has seen the connection end may look at the metrics, or kill the worker.
        let known = self.asgi.service.tell_response(self.response.status());
        (connection.transmit(&mut self.response.parcel, Then::End), known)
    }

    /// The watchdog has taken the request, and has answered it where nothing was sent.
    pub(super) fn was_answered_instead(&mut self) -> Known {
        self.note_timeout();
        if self.sent {
            return Known::Begin;
        }
        self.response.replace(GATEWAY_TIMEOUT);
        Known::Response
    }

    /// Gives the connection back: the exchange is over.
    pub(super) fn part(&mut self, py: Python<'_>, connection: Box<Connection>) {
        self.asgi.registry(py).part(self.token, self.number);
        let wants_turn = self.asgi.core.answered(self.token, connection, monotonic());
        self.response.recycle();
        let receivers = std::mem::take(&mut self.receivers);
        wake(py, receivers);
        if wants_turn {
            self.asgi.schedule(py);
        }
    }
}

#[pymethods]
impl Exchange {
    /// The next event of the http scope.
    fn receive(this: Py<Self>) -> Waiting {
        Waiting::new(Party::Http(this), Purpose::Message)
    }

    /// A message of the app.
    #[pyo3(signature = (message, /))]
    fn send<'py>(this: &Bound<'py, Self>, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        if Self::take(this, message)? {
            let party = Party::Http(this.clone().unbind());
            Ok(Bound::new(py, Waiting::new(party, Purpose::Room))?.into_any())
        } else {
            let exchange = this.try_borrow().map_err(|_| PyRuntimeError::new_err("send() calls itself"))?;
            Ok(exchange.asgi.done.bind(py).clone().into_any())
        }
    }
}
