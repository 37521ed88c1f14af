//! A WebSocket as the app sees it: the object whose methods are `receive` and `send`.
//!
//! Until the app has decided about the handshake it is a request like others, with an [`Exchange`]: it can be refused by a
//! response, lost, or answered by the watchdog. From `websocket.accept` on the reactor has the connection, and this is where
//! its messages are turned into Python's.

mod ending;
mod message;

use std::collections::VecDeque;
use std::sync::Arc;

use podicorn_http::websocket::{CloseCode, Connection as Codec, Handshake, Kind, add_field, may_send};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyDict, PyString};

use self::message::Message;
use super::awaitable::{Purpose, Waiting};
use super::exchange::{Client, Exchange, Polled, client_is_gone};
use super::message::each_header;
use super::news::{News, wake};
use super::registry::{CallNumber, Party};
use super::response::Response;
use crate::clock::{Nanos, monotonic};
use crate::date::date_field;
use crate::reactor::live::{Asked, Event, Push};
use crate::reactor::outbound::SharedBytes;
use crate::reactor::websocket::{BY_REFERENCE, Message as Received, Next, Outgoing};
use crate::slot::Known;

/// How far a WebSocket has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The app has not answered the handshake.
    Handshake,
    /// It refuses it by a response of its own.
    Denying,
    Open,
    /// Closed, refused or lost.
    Over,
}

/// See the module's text.
#[pyclass(module = "podicorn._engine", freelist = 64)]
pub(super) struct Session {
    /// The handshake, and what is logged of it all.
    request: Exchange,
    handshake: Handshake,
    /// Subprotocols that the client offers.
    offered: Vec<Vec<u8>>,
    stage: Stage,
    /// The app has got `websocket.connect`.
    greeted: bool,
    /// Code and reason of `websocket.disconnect`, once it is due.
    end: Option<(u16, String)>,
    /// It is over by the app's own doing.
    by_app: bool,
    /// What the client has sent before the end.
    inbox: VecDeque<Received>,
    begun: Nanos,
}

/// Bytes of Python's that wait to be sent.
struct Binary(PyBackedBytes);

struct Text(PyBackedStr);

impl AsRef<[u8]> for Binary {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Session {
    pub(super) fn new(request: Exchange, handshake: Handshake, offered: Vec<Vec<u8>>, begun: Nanos) -> Self {
        Self {
            request,
            handshake,
            offered,
            stage: Stage::Handshake,
            greeted: false,
            end: None,
            by_app: false,
            inbox: VecDeque::new(),
            begun,
        }
    }

    pub(super) fn set_number(&mut self, number: CallNumber) {
        self.request.set_number(number);
    }

    // ---- receive ----

    /// Whether what an awaitable is for has come.
    pub(super) fn poll<'py>(this: &Bound<'py, Self>, purpose: Purpose) -> PyResult<Polled<'py>> {
        let py = this.py();
        let mut session = this.try_borrow_mut()?;
        let asgi = Arc::clone(&session.request.asgi);
        let polled = match purpose {
            Purpose::Message => session.next_event(py),
            Purpose::Room if session.request.client == Client::Gone => Err(client_is_gone()),
            Purpose::Room if session.request.full => Ok(None),
            Purpose::Room => Ok(Some(py.None().into_bound(py))),
        }?;
        let polled = match polled {
            Some(value) => Polled::Ready(value),
            None => session.request.wait(py, purpose)?,
        };
        drop(session);
        asgi.schedule(py);
        Ok(polled)
    }

    /// The next event of `receive`, if it is there.
    fn next_event<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let event = |kind: &Bound<'py, PyString>| {
            let event = PyDict::new(py);
            event.set_item(intern!(py, "type"), kind).map(|()| event)
        };
        if !self.greeted {
            self.greeted = true;
            return Ok(Some(event(intern!(py, "websocket.connect"))?.into_any()));
        }
        let mut received = self.inbox.pop_front();
        if received.is_none() && self.end.is_none() && self.stage == Stage::Open {
            let token = self.request.token;
            received = match self.request.asgi.core.with(|reactor| reactor.next_message(token, monotonic())) {
                Some(Next::Message(message)) => Some(message),
                // The event that tells why is on its way.
                Some(Next::Wait | Next::Over) => return Ok(None),
                None => {
                    self.end = Some((CloseCode::ABNORMAL.0, String::new()));
                    None
                }
            };
        }
        if let Some(Received { kind: what, data }) = received {
            let event = event(intern!(py, "websocket.receive"))?;
            match what {
                Kind::Text => event.set_item(intern!(py, "text"), PyString::from_bytes(py, &data)?)?,
                Kind::Binary => event.set_item(intern!(py, "bytes"), PyBytes::new(py, &data))?,
            }
            return Ok(Some(event.into_any()));
        }
        let Some((code, reason)) = &self.end else { return Ok(None) };
        let event = event(intern!(py, "websocket.disconnect"))?;
        event.set_item(intern!(py, "code"), *code)?;
        event.set_item(intern!(py, "reason"), reason)?;
        Ok(Some(event.into_any()))
    }

    // ---- send ----

    /// Takes a message of the app; true: it is to wait before it sends another one.
    fn take(&mut self, py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<bool> {
        let message = Message::read(message)?;
        match (self.stage, message) {
            (Stage::Open, Message::Text(text)) => self.send_text(py, &text),
            (Stage::Open, Message::Binary(data)) => self.send_binary(py, &data),
            (Stage::Open, Message::Close { code, reason }) => {
                if !may_send(code) {
                    return Err(PyValueError::new_err(format!(
                        "{code} is no close code that may be sent: those are 1000 to 1003, 1007 to 1014 and 3000 to 4999"
                    )));
                }
                let reason = reason.as_ref().map_or(Ok(""), |reason| reason.to_str())?;
                self.close(py, CloseCode(code), reason);
                Ok(false)
            }
            // A close that comes too late is what a cleanup does: no reason to complain.
            (Stage::Over, Message::Close { .. }) if !self.by_app => Ok(false),
            (Stage::Over, _) if !self.by_app => Err(client_is_gone()),
            (Stage::Handshake | Stage::Denying, _) if self.request.client != Client::Here => {
                Err(client_is_gone())
            }
            (Stage::Handshake, Message::Accept { subprotocol, headers }) => {
                self.accept(py, subprotocol.as_ref(), headers.as_ref()).map(|()| false)
            }
            (Stage::Handshake, Message::Close { .. }) => {
                self.request
                    .conclude(py, Some(|response: &mut Response, date: &[u8]| response.fail(403, date)));
                self.refused();
                Ok(false)
            }
            (Stage::Handshake, Message::DenialStart { status, headers }) => {
                self.request.response.be_last();
                self.request.response.start(status, headers.as_ref(), false)?;
                self.stage = Stage::Denying;
                Ok(false)
            }
            (Stage::Denying, Message::DenialBody { body, more }) => {
                self.request.with_moment(|response, moment| response.body(&body, more, moment))?;
                if !self.request.response.is_complete() {
                    return self.request.push(py);
                }
                self.refused();
                self.request.finish(py).map(|()| false)
            }
            (stage, message) => {
                let when = match stage {
                    Stage::Handshake => "before websocket.accept",
                    Stage::Denying => "after websocket.http.response.start",
                    Stage::Open => "after websocket.accept",
                    Stage::Over => "after the app has closed the WebSocket",
                };
                Err(PyRuntimeError::new_err(format!("{} is sent {when}", message.name())))
            }
        }
    }

    fn refused(&mut self) {
        self.stage = Stage::Over;
        self.by_app = true;
        self.end = Some((CloseCode::ABNORMAL.0, String::new()));
    }

    fn accept(
        &mut self,
        py: Python<'_>,
        subprotocol: Option<&Bound<'_, PyString>>,
        headers: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let subprotocol = subprotocol.map_or(Ok(""), |subprotocol| subprotocol.to_str())?;
        if !subprotocol.is_empty() && !self.offered.iter().any(|offered| offered == subprotocol.as_bytes()) {
            return Err(PyValueError::new_err(format!(
                "the client has not offered the subprotocol {subprotocol:?}"
            )));
        }
        let asgi = Arc::clone(&self.request.asgi);
        let response = &mut self.request.response;
        let chosen = Some(subprotocol.as_bytes()).filter(|name| !name.is_empty());
        let filled = self
            .handshake
            .accept(&mut response.head, chosen)
            .map_err(|error| PyValueError::new_err(error.to_string()))
            .and_then(|()| each_header(headers, |name, value| add_field(&mut response.head, name, value)));
        if let Err(error) = filled {
            response.head.clear();
            return Err(error);
        }
        response.switch(&date_field());
        let codec = Codec::new(asgi.max_message_size, self.handshake.deflate());
        let (token, parcel) = (self.request.token, &mut response.parcel);
        let upgraded = asgi.core.with(|reactor| reactor.upgrade(token, codec, parcel, monotonic()));
        if upgraded != Some(true) {
            response.unsay();
            self.request.lose(py);
            asgi.schedule(py);
            return Err(client_is_gone());
        }
        self.stage = Stage::Open;
        self.request.close_account(py, Known::Begin);
        asgi.schedule(py);
        Ok(())
    }

    fn send_text(&mut self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<bool> {
        let content = text.to_str()?;
        let shared = if content.len() < BY_REFERENCE {
            None
        } else {
            Some(Box::new(Text(PyBackedStr::try_from(text.clone())?)) as SharedBytes)
        };
        self.send_message(py, Outgoing::Text(content), shared)
    }

    fn send_binary(&mut self, py: Python<'_>, data: &Bound<'_, PyBytes>) -> PyResult<bool> {
        let content = data.as_bytes();
        let shared = (content.len() >= BY_REFERENCE)
            .then(|| Box::new(Binary(PyBackedBytes::from(data.clone()))) as SharedBytes);
        self.send_message(py, Outgoing::Binary(content), shared)
    }

    fn send_message(
        &mut self,
        py: Python<'_>,
        message: Outgoing<'_>,
        shared: Option<SharedBytes>,
    ) -> PyResult<bool> {
        let token = self.request.token;
        let push =
            self.request.asgi.core.with(|reactor| reactor.send_message(token, message, shared, monotonic()));
        match push {
            Some(Push::Taken | Push::Full) => {
                self.request.response.body_bytes += message.len() as u64;
                self.request.full = push == Some(Push::Full);
                Ok(self.request.full)
            }
            Some(Push::Over | Push::TimedOut) | None => {
                self.request.asgi.schedule(py);
                Err(client_is_gone())
            }
        }
    }

    /// Closes an open WebSocket, in the app's name.
    fn close(&mut self, py: Python<'_>, code: CloseCode, reason: &str) {
        let asgi = Arc::clone(&self.request.asgi);
        let token = self.request.token;
        let asked = asgi.core.with(|reactor| {
            let asked = reactor.asked(token);
            reactor.close_websocket(token, code, reason, monotonic());
            asked
        });
        self.stage = Stage::Over;
        self.by_app = true;
        self.end = Some((code.0, reason.to_owned()));
        if let Some(asked) = asked.flatten() {
            self.report(py, &asked);
        }
        let waiting = self.request.let_go(py);
        wake(py, waiting);
        asgi.schedule(py);
    }

    fn report(&self, py: Python<'_>, Asked { peer, head, raw }: &Asked) {
        self.request.report(py, *peer, head, raw, self.begun);
    }

    // ---- news ----

    /// News of the connection.
    pub(super) fn hear(this: &Bound<'_, Self>, event: Event) {
        let py = this.py();
        let Ok(mut session) = this.try_borrow_mut() else { return };
        let waiting = match event {
            Event::Shut(shut) => {
                session.stage = Stage::Over;
                session.end = Some((shut.code, shut.reason));
                session.inbox = shut.inbox;
                session.report(py, &shut.asked);
                session.request.let_go(py)
            }
            event => {
                let News { waiting, gone } = session.request.learn(py, event);
                if gone {
                    session.end = Some((CloseCode::ABNORMAL.0, String::new()));
                }
                waiting
            }
        };
        drop(session);
        wake(py, waiting);
    }
}

#[pymethods]
impl Session {
    /// The next event of the websocket scope.
    fn receive(this: Py<Self>) -> Waiting {
        Waiting::new(Party::WebSocket(this), Purpose::Message)
    }

    /// A message of the app.
    #[pyo3(signature = (message, /))]
    fn send<'py>(this: &Bound<'py, Self>, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let mut session =
            this.try_borrow_mut().map_err(|_| PyRuntimeError::new_err("send() calls itself"))?;
        if session.take(py, message)? {
            drop(session);
            let party = Party::WebSocket(this.clone().unbind());
            Ok(Bound::new(py, Waiting::new(party, Purpose::Room))?.into_any())
        } else {
            Ok(session.request.asgi.done.bind(py).clone().into_any())
        }
    }
}
