//! How the app's call for a [`Session`] ends: by a return, or by an exception that is the app's fault or its client's doing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use podicorn_http::websocket::CloseCode;
use pyo3::exceptions::{PyException, PyOSError};
use pyo3::intern;
use pyo3::prelude::*;

use super::{Session, Stage};
use crate::asgi::ending::caused_by_us;
use crate::asgi::exchange::Client;
use crate::slot::Known;

impl Session {
    /// The app's call is over. The error is one that the task is to end with.
    pub(in crate::asgi) fn ended(this: &Bound<'_, Self>, outcome: PyResult<()>) -> PyResult<()> {
        let py = this.py();
        let mut session = this.try_borrow_mut()?;
        let outcome = match outcome {
            Ok(()) => {
                session.returned(py);
                Ok(())
            }
            Err(error) => session.raised(py, error),
        };
        session.request.close_account(py, Known::Response);
        outcome
    }

    fn returned(&mut self, py: Python<'_>) {
        match self.stage {
            Stage::Over => {}
            Stage::Open => self.close(py, CloseCode::NORMAL, ""),
            Stage::Handshake | Stage::Denying => {
                if self.request.client == Client::Here {
                    let text = format!("ASGI application returned without answering {}", self.shown(py));
                    self.request.asgi.service.log(py, "error", &text);
                }
                self.request.break_off(py, true);
            }
        }
    }

    fn raised(&mut self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        let asgi = Arc::clone(&self.request.asgi);
        let orders = asgi.service.orders();
        let stopping = orders.stop.load(Ordering::Relaxed);
        if orders.quit.load(Ordering::Relaxed) && !error.is_instance_of::<PyException>(py) {
            // The worker ends at once: no fault of the app.
            self.request.break_off(py, false);
            return Err(error);
        }
        let cancelled = asgi.is_cancellation(py, &error);
        let excused = match self.end {
            Some(_) if !self.by_app => cancelled || is_about_the_client(py, &error),
            _ => cancelled && stopping,
        };
        if excused {
            let text = format!("The client has left {}: {error}", self.shown(py));
            asgi.service.log(py, "debug", &text);
        } else {
            let text = format!("Error handling {}", self.shown(py));
            asgi.service.log_exception_of(py, &self.request.trace, &text, &error);
        }
        match self.stage {
            Stage::Over => {}
            Stage::Open if excused => self.close(py, CloseCode::GOING_AWAY, ""),
            Stage::Open => self.close(py, CloseCode::INTERNAL_ERROR, ""),
            Stage::Handshake | Stage::Denying => self.request.break_off(py, !excused),
        }
        if cancelled { Err(error) } else { Ok(()) }
    }

    fn shown(&self, py: Python<'_>) -> String {
        let path = self.request.scope.bind(py).get_item(intern!(py, "path")).ok().flatten();
        format!("WebSocket {}", path.map(|path| path.to_string()).unwrap_or_default())
    }
}

/// Whether an exception is how apps and frameworks end when the client has gone: our own `OSError`, what was made of it, or
/// a `WebSocketDisconnect`, by which Starlette, Litestar and others pass on the event.
fn is_about_the_client(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyOSError>(py)
        || caused_by_us(py, error)
        || error.get_type(py).name().is_ok_and(|name| name == "WebSocketDisconnect")
}
