//! What an [`Exchange`] hears of its connection, and what it tells the logs when that is over.

use std::sync::Arc;

use podicorn_http::Head;
use podicorn_http::target::percent_decode;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::exchange::{Client, Exchange, GATEWAY_TIMEOUT};
use crate::access_log::Record;
use crate::clock::{Nanos, monotonic};
use crate::reactor::conn::Connection;
use crate::reactor::live::{Asked, Event};
use crate::reactor::socket::Peer;
use crate::slot::Known;
use crate::wsgi::hooks::Answer;
use crate::wsgi::text::native;

/// What [`Exchange::learn`] has come to.
pub(super) struct News {
    /// Those who are to look again.
    pub(super) waiting: Vec<Py<PyAny>>,
    /// The client has gone, or may have.
    pub(super) gone: bool,
}

impl Exchange {
    /// News of the connection.
    pub(super) fn hear(this: &Bound<'_, Self>, event: Event) {
        let py = this.py();
        let Ok(mut exchange) = this.try_borrow_mut() else { return };
        let News { waiting, gone } = exchange.learn(py, event);
        let (asgi, number) = (Arc::clone(&exchange.asgi), exchange.number);
        drop(exchange);
        wake(py, waiting);
        if gone {
            asgi.cancel_in_time(py, number);
        }
    }

    pub(super) fn learn(&mut self, py: Python<'_>, event: Event) -> News {
        let mut waiting = Vec::new();
        let mut gone = false;
        match event {
            Event::Body | Event::Message => waiting.append(&mut self.receivers),
            Event::Room => {
                self.full = false;
                waiting.append(&mut self.senders);
            }
            Event::Left => {
                self.client = Client::Left;
                waiting.append(&mut self.receivers);
                gone = true;
            }
            Event::Over { status, asked } => {
                self.over(py, status, *asked);
                gone = true;
            }
            // Not of the http scope.
            Event::Shut(_) => {}
        }
        News { waiting, gone }
    }

    /// The connection is no longer this call's; those who wait for it.
    pub(super) fn let_go(&mut self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.client = Client::Gone;
        self.asgi.registry(py).part(self.token, self.number);
        let mut waiting = std::mem::take(&mut self.receivers);
        waiting.append(&mut self.senders);
        waiting
    }

    /// The connection is lost; what the reactor has to tell of that, if it is new.
    pub(super) fn lose(&mut self, py: Python<'_>) {
        self.response.parcel.clear();
        self.client = Client::Gone;
        let (asgi, token) = (Arc::clone(&self.asgi), self.token);
        if let Some((status, asked)) = asgi.core.with(|reactor| reactor.take_over(token)).flatten() {
            self.over(py, status, *asked);
            asgi.cancel_in_time(py, self.number);
        }
    }

    /// What the reactor tells of a request that has lost its connection.
    pub(super) fn over(&mut self, py: Python<'_>, status: u16, asked: Asked) {
        self.client = Client::Gone;
        if status == GATEWAY_TIMEOUT {
            self.note_timeout();
        }
        // The watchdog may have come when the response had begun.
        let status = if status == GATEWAY_TIMEOUT && self.sent { 0 } else { status };
        if status != 0 {
            self.response.replace(status);
        }
        let Asked { peer, head, raw } = asked;
        self.tell(py, peer, &head, &raw);
        // What was too slow is in the scoreboard for as long as the app is at it.
        if status != GATEWAY_TIMEOUT {
            self.close_account(py, if status == 0 { Known::Begin } else { Known::Response });
        }
        self.asgi.registry(py).part(self.token, self.number);
        let receivers = std::mem::take(&mut self.receivers);
        let senders = std::mem::take(&mut self.senders);
        wake(py, receivers);
        wake(py, senders);
    }

    /// The response is over: counts and logs it.
    pub(super) fn settle(&mut self, py: Python<'_>, connection: &Connection, known: Known) {
        self.tell(py, connection.peer, &connection.head, &connection.raw);
        self.close_account(py, known);
    }

    /// The request's time was up.
    pub(super) fn note_timeout(&mut self) {
        if let Some(account) = self.account.as_mut() {
            account.is_timed_out = true;
        }
    }

    pub(super) fn close_account(&mut self, py: Python<'_>, known: Known) {
        if let Some(account) = self.account.take() {
            let end = account.end(self.response.status());
            self.asgi.service.close_account(py, &account, end, known);
        }
    }

    /// Tells the logs and the hook of the response, once.
    pub(super) fn tell(&mut self, py: Python<'_>, peer: Peer, asked: &Head, raw: &[u8]) {
        let Some(account) = self.account.as_ref().filter(|_| !self.logged) else { return };
        self.logged = true;
        let begun = account.begun;
        self.report(py, peer, asked, raw, begun);
    }

    pub(super) fn report(&self, py: Python<'_>, peer: Peer, asked: &Head, raw: &[u8], begun: Nanos) {
        let service = &self.asgi.service;
        let status = self.response.status();
        if self.response.dropped_body && !asked.method(raw).eq(b"HEAD") {
            let text = format!(
                "ASGI app sent body bytes on a no-body response (method={} status={status}); dropping per RFC 9110.",
                String::from_utf8_lossy(asked.method(raw)),
            );
            service.log(py, "warning", &text);
        }
        let hooks = service.hooks();
        let logs = service.access_log().is_some() && self.response.has_begun();
        let logs_access = hooks.logs_access() && self.response.has_begun();
        let calls_hooks = logs_access || hooks.has_after();
        if !logs && !calls_hooks {
            return;
        }
        let duration = monotonic().saturating_sub(begun);
        if logs {
            service.log_access(&Record {
                environ: None,
                peer,
                asked,
                raw,
                head: &self.response.head,
                body_bytes: self.response.body_bytes,
                duration,
                trace: &self.trace,
            });
        }
        if !calls_hooks {
            return;
        }
        let answer = Answer {
            head: &self.response.head,
            head_sent: self.response.has_begun(),
            body_bytes: self.response.body_bytes,
        };
        let environ = match hook_environ(py, peer, asked, raw) {
            Ok(environ) => environ,
            Err(error) => return service.log_exception(py, "Error after a request", &error),
        };
        if logs_access
            && let Err(error) = hooks.log_access(py, &self.view, &environ, duration, || answer.object(py))
        {
            service.log_exception(py, "Exception in the logger's access()", &error);
        }
        if let Err(error) = hooks.after(py, &self.view, &environ, || answer.object(py)) {
            service.log_exception(py, "Exception in post_request hook", &error);
        }
    }
}

/// Lets those who wait look again.
pub(super) fn wake(py: Python<'_>, futures: Vec<Py<PyAny>>) {
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

/// A request in a line of the log.
pub(super) fn shown(scope: &Bound<'_, PyDict>) -> String {
    let part =
        |key: &str| scope.get_item(key).ok().flatten().map(|value| value.to_string()).unwrap_or_default();
    format!("{} {}", part("method"), part("path"))
}

/// What `post_request` gets for an environ: the variables that Gunicorn's ASGI worker gives.
fn hook_environ<'py>(py: Python<'py>, peer: Peer, asked: &Head, raw: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let environ = PyDict::new(py);
    environ.set_item("REQUEST_METHOD", native(py, asked.method(raw)))?;
    environ.set_item("RAW_URI", native(py, asked.target(raw)))?;
    let mut path = Vec::new();
    percent_decode(asked.path(raw), &mut path);
    environ.set_item("PATH_INFO", native(py, &path))?;
    environ.set_item("QUERY_STRING", native(py, asked.query(raw)))?;
    environ.set_item("SERVER_PROTOCOL", asked.version().to_string())?;
    let address = match peer {
        Peer::Internet(address) => address.ip().to_string(),
        Peer::Local => String::new(),
    };
    environ.set_item("REMOTE_ADDR", address)?;
    for (_, name, value) in asked.fields(raw) {
        let name = String::from_utf8_lossy(name).to_uppercase().replace('-', "_");
        environ.set_item(format!("HTTP_{name}"), native(py, value))?;
    }
    Ok(environ)
}
