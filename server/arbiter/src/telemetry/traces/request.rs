//! The span of a request, from what a worker's ring says of it (OpenTelemetry, "Semantic Conventions for HTTP Spans").

use std::sync::Arc;

use opentelemetry_proto::tonic::trace::v1::SpanFlags;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use podicorn_scoreboard::RingEntry;

use super::wire::{Message, Value};

/// Fields of `Span`.
mod field {
    pub(super) const TRACE_ID: u8 = 1;
    pub(super) const SPAN_ID: u8 = 2;
    pub(super) const PARENT_SPAN_ID: u8 = 4;
    pub(super) const NAME: u8 = 5;
    pub(super) const KIND: u8 = 6;
    pub(super) const START: u8 = 7;
    pub(super) const END: u8 = 8;
    pub(super) const ATTRIBUTES: u8 = 9;
    pub(super) const EVENTS: u8 = 11;
    pub(super) const STATUS: u8 = 15;
}

/// Methods that may be told as they are; others would make the attribute's values countless.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// With a response, or without one (status 0).
    Answered,
    /// Its worker died, at this Unix time, of this.
    Crashed { at: u64, how: String },
}

/// A request that is over.
#[derive(Debug, Clone)]
pub struct RequestSpan {
    pub entry: RingEntry,
    pub end: Ending,
    /// Whose worker.
    pub slot: u32,
    pub pid: i32,
    pub generation: u32,
    pub worker_type: Arc<str>,
}

impl RequestSpan {
    /// The message that travels. The span begins when the first byte of the request came: the time in the queue is part
    /// of what the client waits for.
    pub(super) fn write(&self, span: &mut Message) {
        let Self { entry, end, slot, pid, generation, worker_type } = self;
        let begun = entry.start_unix_nanos;
        let arrived = begun.saturating_sub(entry.queued_nanos);
        let ended = match end {
            Ending::Answered => begun.saturating_add(entry.duration_nanos.unwrap_or(0)),
            Ending::Crashed { at, .. } => (*at).max(begun),
        };
        let known = METHODS.contains(&entry.method.as_str());
        span.bytes(field::TRACE_ID, &entry.trace_id.to_be_bytes());
        span.bytes(field::SPAN_ID, &entry.span_id.to_be_bytes());
        if entry.parent_id != 0 {
            span.bytes(field::PARENT_SPAN_ID, &entry.parent_id.to_be_bytes());
        }
        // There is no route that the name could say, and a path would make names countless.
        span.text(field::NAME, if known { &entry.method } else { "HTTP" });
        span.number(field::KIND, SpanKind::Server as u64);
        span.fixed_64(field::START, arrived);
        span.fixed_64(field::END, ended.max(arrived));
        let mut attribute = |name, value| span.attribute(field::ATTRIBUTES, name, value);
        attribute("http.request.method", Value::Text(if known { &entry.method } else { "_OTHER" }));
        attribute("url.path", Value::Text(&entry.path));
        attribute("url.scheme", Value::Text(if entry.is_https { "https" } else { "http" }));
        attribute("podicorn.worker.slot", Value::Number(i64::from(*slot)));
        attribute("podicorn.worker.type", Value::Text(worker_type));
        attribute("podicorn.worker.pid", Value::Number(i64::from(*pid)));
        attribute("podicorn.generation", Value::Number(i64::from(*generation)));
        if !known {
            attribute("http.request.method_original", Value::Text(&entry.method));
        }
        if entry.is_queue_known {
            attribute("podicorn.queue.duration", Value::Double(seconds(entry.queued_nanos)));
        }
        if entry.status != 0 {
            attribute("http.response.status_code", Value::Number(i64::from(entry.status)));
        }
        self.write_error(span, ended);
        span.flags(flags(entry.parent_id != 0));
    }

    /// What has gone wrong, if anything has: events, the attribute `error.type` and the status.
    fn write_error(&self, span: &mut Message, at: u64) {
        let status = self.entry.status;
        let mut error = match status {
            0 => Some(("no_response".to_owned(), "no response was sent".to_owned())),
            500.. => Some((status.to_string(), String::new())),
            _ => None,
        };
        if self.entry.is_timed_out {
            event(span, "podicorn.request_timeout", at, None);
            error = Some(("timeout".to_owned(), "the app did not answer within request_timeout".to_owned()));
        }
        if let Ending::Crashed { how, .. } = &self.end {
            event(span, "podicorn.worker_crash", at, Some(("podicorn.worker.exit", how)));
            error = Some(("worker_crash".to_owned(), format!("the worker {how}")));
        }
        let Some((kind, message)) = error else { return };
        span.attribute(field::ATTRIBUTES, "error.type", Value::Text(&kind));
        // Status: message = 2, code = 3.
        let mut status = Message::default();
        if !message.is_empty() {
            status.text(2, &message);
        }
        status.number(3, StatusCode::Error as u64);
        span.message(field::STATUS, &status);
    }
}

/// `Event`: `time_unix_nano` = 1, `name` = 2, `attributes` = 3.
fn event(span: &mut Message, name: &str, at: u64, attribute: Option<(&str, &str)>) {
    let mut event = Message::default();
    event.fixed_64(1, at);
    event.text(2, name);
    if let Some((key, value)) = attribute {
        event.attribute(3, key, Value::Text(value));
    }
    span.message(field::EVENTS, &event);
}

/// Sampled; and whether the parent is another process's.
fn flags(has_parent: bool) -> u32 {
    let remote = if has_parent { SpanFlags::ContextIsRemoteMask as u32 } else { 0 };
    1 | SpanFlags::ContextHasIsRemoteMask as u32 | remote
}

#[allow(clippy::cast_precision_loss)] // beyond 104 days
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
#[path = "request/tests.rs"]
pub(super) mod tests;
