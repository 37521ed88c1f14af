//! Which calls run, and for which connection.

use pyo3::prelude::*;

use super::awaitable::Purpose;
use super::exchange::{Exchange, Polled};
use super::scope::Ends;
use super::websocket::Session;
use crate::reactor::live::Event;
use crate::reactor::table::Token;

/// What a call of the app serves.
pub(super) enum Party {
    Http(Py<Exchange>),
    WebSocket(Py<Session>),
}

impl Party {
    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Http(exchange) => Self::Http(exchange.clone_ref(py)),
            Self::WebSocket(session) => Self::WebSocket(session.clone_ref(py)),
        }
    }

    /// News of its connection.
    pub(super) fn hear(&self, py: Python<'_>, event: Event) {
        match self {
            Self::Http(exchange) => Exchange::hear(exchange.bind(py), event),
            Self::WebSocket(session) => Session::hear(session.bind(py), event),
        }
    }

    /// Whether what one of its awaitables is for has come.
    pub(super) fn poll<'py>(&self, py: Python<'py>, purpose: Purpose) -> PyResult<Polled<'py>> {
        match self {
            Self::Http(exchange) => Exchange::poll(exchange.bind(py), purpose),
            Self::WebSocket(session) => Session::poll(session.bind(py), purpose),
        }
    }

    /// What has the methods `receive` and `send`.
    pub(super) fn object<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match self {
            Self::Http(exchange) => exchange.bind(py).clone().into_any(),
            Self::WebSocket(session) => session.bind(py).clone().into_any(),
        }
    }

    pub(super) fn set_number(&self, py: Python<'_>, number: CallNumber) -> PyResult<()> {
        match self {
            Self::Http(exchange) => exchange.bind(py).try_borrow_mut()?.set_number(number),
            Self::WebSocket(session) => session.bind(py).try_borrow_mut()?.set_number(number),
        }
        Ok(())
    }

    /// The call is over. The error is one that the task is to end with.
    pub(super) fn ended(&self, py: Python<'_>, outcome: PyResult<()>) -> PyResult<()> {
        match self {
            Self::Http(exchange) => Exchange::ended(exchange.bind(py), outcome),
            Self::WebSocket(session) => Session::ended(session.bind(py), outcome),
        }
    }
}

/// A call by its number, which is used again after its end.
pub(super) type CallNumber = usize;

/// A call that has not ended.
struct Running {
    party: Party,
    task: Option<Py<PyAny>>,
    /// The handle of the timer that cancels it.
    cancel: Option<Py<PyAny>>,
}

/// What is known of a connection.
struct Place {
    token: Token,
    ends: Ends,
    /// The call that its present request has, until the response is complete.
    call: Option<CallNumber>,
}

/// See the module's text.
#[derive(Default)]
pub(super) struct Registry {
    /// By the token's index.
    places: Vec<Option<Place>>,
    calls: Vec<Option<Running>>,
    free: Vec<CallNumber>,
}

impl Registry {
    /// Calls that have not ended.
    pub(super) fn running(&self) -> usize {
        self.calls.len() - self.free.len()
    }

    fn place(&mut self, token: Token) -> Option<&mut Place> {
        self.places.get_mut(token.index() as usize)?.as_mut().filter(|place| place.token == token)
    }

    /// What was last noted of this connection.
    pub(super) fn ends(&mut self, py: Python<'_>, token: Token) -> Option<Ends> {
        Some(self.place(token)?.ends.clone_ref(py))
    }

    /// A connection that is new here. What was known of an earlier one with its number comes back, to be dropped.
    #[must_use]
    pub(super) fn note(&mut self, token: Token, ends: Ends) -> impl Sized + use<> {
        let index = token.index() as usize;
        if self.places.len() <= index {
            self.places.resize_with(index + 1, || None);
        }
        self.places[index].replace(Place { token, ends, call: None })
    }

    /// A call begins.
    pub(super) fn enter(&mut self, token: Token, party: Party) -> CallNumber {
        let number = self.free.pop().unwrap_or_else(|| {
            self.calls.push(None);
            self.calls.len() - 1
        });
        self.calls[number] = Some(Running { party, task: None, cancel: None });
        if let Some(place) = self.place(token) {
            place.call = Some(number);
        }
        number
    }

    fn call(&mut self, number: CallNumber) -> Option<&mut Running> {
        self.calls.get_mut(number)?.as_mut()
    }

    /// The task of a call; if it is over already the task comes back.
    #[must_use]
    pub(super) fn set_task(&mut self, number: CallNumber, task: Py<PyAny>) -> Option<Py<PyAny>> {
        match self.call(number) {
            Some(running) => running.task.replace(task),
            None => Some(task),
        }
    }

    /// The timer of a call that has ended meanwhile comes back.
    #[must_use]
    pub(super) fn set_timer(&mut self, number: CallNumber, timer: Py<PyAny>) -> Option<Py<PyAny>> {
        match self.call(number) {
            Some(running) => running.cancel.replace(timer),
            None => Some(timer),
        }
    }

    /// The task of a call that has no timer yet.
    pub(super) fn untimed(&mut self, py: Python<'_>, number: CallNumber) -> Option<Py<PyAny>> {
        let running = self.call(number).filter(|running| running.cancel.is_none())?;
        running.task.as_ref().map(|task| task.clone_ref(py))
    }

    /// Whom news of a connection are for.
    pub(super) fn whose(&mut self, py: Python<'_>, token: Token) -> Option<Party> {
        let number = self.place(token)?.call?;
        Some(self.call(number)?.party.clone_ref(py))
    }

    /// The response of this call is complete, or its connection lost: news are no longer for it.
    pub(super) fn part(&mut self, token: Token, number: CallNumber) {
        if let Some(place) = self.place(token)
            && place.call == Some(number)
        {
            place.call = None;
        }
    }

    /// A call has ended: its timer, if it has one, and all else that was held for it.
    pub(super) fn leave(&mut self, number: CallNumber) -> (Option<Py<PyAny>>, impl Sized + use<>) {
        let running = self.calls.get_mut(number).and_then(Option::take);
        if running.is_some() {
            self.free.push(number);
        }
        match running {
            Some(Running { party, task, cancel }) => (cancel, Some((party, task))),
            None => (None, None),
        }
    }
}
