//! A request of a worker whose sockets belong to Python: what the engine would write about it into the scoreboard.

use std::sync::{Arc, Mutex, PoisonError};

use podicorn_scoreboard::{RequestEnd, RequestStart, Ticket};
use pyo3::prelude::*;

use crate::clock::{Nanos, monotonic, unix_at};
use crate::slot::{Known, SharedSlot};
use crate::trace::{RequestTrace, TraceContext, Tracer};

struct Running {
    ticket: Option<Ticket>,
    begun: Nanos,
}

/// One request, from `Slot.begin` to `end`. Forgotten without an end it counts as one without a response.
#[pyclass(frozen, module = "podicorn._engine")]
pub(crate) struct Entry {
    slot: Arc<SharedSlot>,
    trace: RequestTrace,
    /// `None` once it has ended.
    running: Mutex<Option<Running>>,
}

impl Entry {
    /// Method and target are text as Python has them of a request head: Latin-1.
    pub(crate) fn begin(
        slot: &Arc<SharedSlot>,
        tracer: &Tracer,
        method: &str,
        target: &str,
        traceparent: Option<&str>,
    ) -> Self {
        let begun = monotonic();
        let trace = tracer.begin(traceparent.and_then(|text| TraceContext::parse(&latin1(text))));
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let start = RequestStart {
            method: &latin1(method),
            path: &latin1(path),
            start_unix_nanos: unix_at(begun),
            // When its first byte came, only the owner of the socket knows.
            queued_nanos: None,
            is_https: false,
            trace_id: trace.trace_id,
            span_id: trace.span_id,
            parent_id: trace.parent_id,
            is_sampled: trace.is_sampled,
        };
        let ticket = slot.begin_request(&start, None);
        let running = Mutex::new(Some(Running { ticket, begun }));
        Self { slot: Arc::clone(slot), trace, running }
    }

    fn finish(&self, status: u16) {
        // Nothing of Python's is called while this is held.
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { ticket, begun }) = running else { return };
        let duration_nanos = monotonic().saturating_sub(begun);
        let end = RequestEnd { status, duration_nanos, is_timed_out: false };
        let known = if status == 0 { Known::Response } else { Known::Begin };
        self.slot.end_request(ticket, end, known);
    }
}

#[pymethods]
impl Entry {
    /// What the app is to find in `traceparent`; `None`: what the client has sent.
    #[getter]
    fn traceparent(&self) -> Option<String> {
        self.trace.traceparent().map(|text| String::from_utf8_lossy(&text).into_owned())
    }

    /// The trace begins here: a `tracestate` that the client has sent is not for the app.
    #[getter]
    fn begins_trace(&self) -> bool {
        self.trace.is_new()
    }

    /// The request is over; `status` 0: no response was sent. Only the first call counts.
    fn end(&self, status: u16) {
        self.finish(status);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.finish(0);
    }
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()
}
