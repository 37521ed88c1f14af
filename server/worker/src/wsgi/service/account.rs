//! What is counted and told of a request, also for bindings in which it is not answered within one call ([`crate::asgi`]).

use std::sync::atomic::Ordering;

use podicorn_http::Scheme;
use podicorn_scoreboard::{RequestEnd, RequestStart, Ticket};
use pyo3::prelude::*;

use super::{Orders, Service, is_traceparent};
use crate::access_log::{AccessLog, Record};
use crate::clock::{Nanos, monotonic, unix_at};
use crate::log_trace::LogTrace;
use crate::reactor::Ready;
use crate::reactor::conn::Connection;
use crate::slot::Known;
use crate::trace::{RequestTrace, TraceContext};
use crate::wsgi::hooks::RequestHooks;

/// A request that has begun and is to be counted when it ends.
pub(crate) struct Account {
    pub(crate) begun: Nanos,
    ticket: Option<Ticket>,
    pub(crate) trace: RequestTrace,
    /// The watchdog has taken the request.
    pub(crate) is_timed_out: bool,
}

impl Account {
    /// How the request ends now, if it does.
    pub(crate) fn end(&self, status: u16) -> RequestEnd {
        let duration_nanos = monotonic().saturating_sub(self.begun);
        RequestEnd { status, duration_nanos, is_timed_out: self.is_timed_out }
    }
}

impl Service {
    /// A request begins.
    pub(crate) fn open_account(&self, ready: &Ready, begun: Nanos) -> Account {
        let trace = self.begin_trace(&ready.connection);
        let ticket = self.slot.begin_request(&describe(&ready.connection, begun, &trace), ready.waiting);
        self.served.fetch_add(1, Ordering::Relaxed);
        Account { begun, ticket, trace, is_timed_out: false }
    }

    fn begin_trace(&self, connection: &Connection) -> RequestTrace {
        let fields = connection.head.fields(&connection.raw);
        let named = fields.filter(|(_, name, _)| is_traceparent(name)).map(|(_, _, value)| value);
        self.tracer.begin(TraceContext::of(named))
    }

    /// All of its response is about to be sent, and with that it ends. The result is for [`Self::close_account`].
    pub(crate) fn tell_response(&self, status: u16) -> Known {
        self.slot.tell_response(status, !self.hooks.follow())
    }

    /// It has ended.
    pub(crate) fn close_account(&self, py: Python<'_>, account: &Account, end: RequestEnd, known: Known) {
        self.slot.end_request(account.ticket, end, known);
        self.count_towards_replacement(py);
    }

    /// A line of the access log.
    pub(crate) fn log_access(&self, record: &Record<'_, '_>) {
        if let Some(log) = &self.access_log {
            log.log(record);
        }
    }

    pub(crate) fn access_log(&self) -> Option<&AccessLog> {
        self.access_log.as_ref()
    }

    pub(crate) fn hooks(&self) -> &RequestHooks {
        &self.hooks
    }

    pub(crate) fn app(&self) -> &Py<PyAny> {
        &self.app
    }

    pub(crate) fn log_trace(&self) -> &LogTrace {
        &self.log_trace
    }

    pub(crate) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Whether connections may carry more than one request, now.
    pub(crate) fn is_persistent(&self) -> bool {
        self.persistent && !self.orders.stop.load(Ordering::Relaxed) && !self.slot.draining()
    }
}

/// What the scoreboard is told when a request begins.
fn describe<'a>(connection: &'a Connection, begun: Nanos, trace: &RequestTrace) -> RequestStart<'a> {
    let (head, raw) = (&connection.head, connection.raw.as_slice());
    RequestStart {
        method: head.method(raw),
        path: head.path(raw),
        start_unix_nanos: unix_at(begun),
        queued_nanos: Some(begun.saturating_sub(connection.arrived)),
        is_https: connection.scheme() == Scheme::Https,
        trace_id: trace.trace_id,
        span_id: trace.span_id,
        parent_id: trace.parent_id,
        is_sampled: trace.is_sampled,
    }
}
