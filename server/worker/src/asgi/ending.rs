//! How the app's call for an [`Exchange`] ends: by a return, or by an exception that is the app's fault or its client's doing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;

use super::exchange::{Client, Exchange};
use super::news::shown;
use super::response::{Response, Stage};
use crate::date::date_field;
use crate::reactor::outbound::Sent;
use crate::slot::Known;

impl Exchange {
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
        exchange.close_account(py, Known::Response);
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
            let text = format!("{text} ({})", shown(self.scope.bind(py)));
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
            service.log(py, "debug", &format!("The client has left {}: {error}", shown(self.scope.bind(py))));
            self.break_off(py, false);
        } else {
            let text = if self.response.has_begun() {
                "Error handling request".to_owned()
            } else {
                format!("Error handling request {}", shown(self.scope.bind(py)))
            };
            service.log_exception_of(py, &self.trace, &text, &error);
            self.break_off(py, true);
        }
        if cancelled { Err(error) } else { Ok(()) }
    }

    /// Ends a response that will not be completed: by 500 where nothing was sent and `tell`, else by the end of the
    /// connection, so that the client sees that it is incomplete.
    pub(super) fn break_off(&mut self, py: Python<'_>, tell: bool) {
        self.conclude(py, tell.then_some(|response: &mut Response, date: &[u8]| response.fail(500, date)));
    }

    /// As [`Self::break_off`], with an answer of the server's.
    pub(super) fn conclude(&mut self, py: Python<'_>, answer: Option<impl FnOnce(&mut Response, &[u8])>) {
        if self.response.is_complete() || self.client == Client::Gone {
            return;
        }
        let token = self.token;
        let Some(mut connection) = self.asgi.core.with(|reactor| reactor.lend_live(token)).flatten() else {
            return;
        };
        let mut known = Known::Begin;
        if !connection.socket.answer() {
            connection.abandon();
            known = self.was_answered_instead();
        } else if let Some(answer) = answer.filter(|_| !self.response.has_begun()) {
            answer(&mut self.response, &date_field());
            let sent;
            (sent, known) = self.send_last(&mut connection);
            if matches!(sent, Sent::Failed(_)) {
                connection.abandon();
            }
        } else {
            connection.abandon();
        }
        self.settle(py, &connection, known);
        self.client = Client::Gone;
        self.part(py, connection);
    }
}

/// Whether an `OSError` is behind this exception, which frameworks turn into one of their own.
pub(super) fn caused_by_us(py: Python<'_>, error: &PyErr) -> bool {
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
