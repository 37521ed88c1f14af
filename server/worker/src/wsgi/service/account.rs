//! What is counted and told of a request, for bindings in which it is not answered within one call ([`crate::asgi`]).

use std::sync::atomic::Ordering;

use podicorn_scoreboard::{RequestEnd, Ticket};
use pyo3::prelude::*;

use super::{Orders, Service, describe};
use crate::access_log::{AccessLog, Record};
use crate::clock::{Nanos, monotonic};
use crate::log_trace::LogTrace;
use crate::reactor::Ready;
use crate::trace::RequestTrace;
use crate::wsgi::hooks::RequestHooks;

/// A request that has begun and is to be counted when it ends.
pub(crate) struct Account {
    pub(crate) begun: Nanos,
    ticket: Option<Ticket>,
    pub(crate) trace: RequestTrace,
    /// The watchdog has taken the request.
    pub(crate) is_timed_out: bool,
}

impl Service {
    /// A request begins.
    pub(crate) fn open_account(&self, ready: &Ready, begun: Nanos) -> Account {
        let trace = self.begin_trace(&ready.connection);
        let ticket = self.slot.begin_request(&describe(&ready.connection, begun, &trace), ready.waiting);
        self.served.fetch_add(1, Ordering::Relaxed);
        Account { begun, ticket, trace, is_timed_out: false }
    }

    /// It has ended. `counted`: its response has been counted already.
    pub(crate) fn close_account(&self, py: Python<'_>, account: &mut Account, status: u16, counted: bool) {
        let duration_nanos = monotonic().saturating_sub(account.begun);
        let end = RequestEnd { status, duration_nanos, is_timed_out: account.is_timed_out };
        self.slot.end_request(account.ticket.take(), end, !counted);
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
