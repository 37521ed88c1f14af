//! The span of a request, from what a worker's ring says of it (OpenTelemetry, "Semantic Conventions for HTTP Spans").

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags, Status};
use podicorn_scoreboard::RingEntry;

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
    pub(super) fn message(self) -> Span {
        let Self { entry, end, slot, pid, generation, worker_type } = self;
        let begun = entry.start_unix_nanos;
        let arrived = begun.saturating_sub(entry.queued_nanos);
        let ended = match &end {
            Ending::Answered => begun.saturating_add(entry.duration_nanos.unwrap_or(0)),
            Ending::Crashed { at, .. } => (*at).max(begun),
        };
        let known = METHODS.contains(&entry.method.as_str());
        let method = if known { entry.method.as_str() } else { "_OTHER" };
        let mut attributes = vec![
            text("http.request.method", method),
            text("url.path", &entry.path),
            text("url.scheme", if entry.is_https { "https" } else { "http" }),
            number("podicorn.worker.slot", i64::from(slot)),
            text("podicorn.worker.type", &worker_type),
            number("podicorn.worker.pid", i64::from(pid)),
            number("podicorn.generation", i64::from(generation)),
        ];
        if !known {
            attributes.push(text("http.request.method_original", &entry.method));
        }
        if entry.is_queue_known {
            attributes.push(double("podicorn.queue.duration", seconds(entry.queued_nanos)));
        }
        if entry.status != 0 {
            attributes.push(number("http.response.status_code", i64::from(entry.status)));
        }
        let mut events = Vec::new();
        let mut error = match entry.status {
            0 => Some(("no_response".to_owned(), "no response was sent".to_owned())),
            500.. => Some((entry.status.to_string(), String::new())),
            _ => None,
        };
        if entry.is_timed_out {
            events.push(event("podicorn.request_timeout", ended, Vec::new()));
            error = Some(("timeout".to_owned(), "the app did not answer within request_timeout".to_owned()));
        }
        if let Ending::Crashed { how, .. } = end {
            events.push(event("podicorn.worker_crash", ended, vec![text("podicorn.worker.exit", &how)]));
            error = Some(("worker_crash".to_owned(), format!("the worker {how}")));
        }
        let status = error.map(|(kind, message)| {
            attributes.push(text("error.type", &kind));
            Status { code: StatusCode::Error.into(), message }
        });
        Span {
            trace_id: entry.trace_id.to_be_bytes().to_vec(),
            span_id: entry.span_id.to_be_bytes().to_vec(),
            parent_span_id: if entry.parent_id == 0 {
                Vec::new()
            } else {
                entry.parent_id.to_be_bytes().to_vec()
            },
            flags: flags(entry.parent_id != 0),
            // There is no route that the name could say, and a path would make names countless.
            name: if known { entry.method } else { "HTTP".to_owned() },
            kind: SpanKind::Server.into(),
            start_time_unix_nano: arrived,
            end_time_unix_nano: ended.max(arrived),
            attributes,
            events,
            status,
            ..Span::default()
        }
    }
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

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn double(key: &str, value: f64) -> KeyValue {
    attribute(key, Value::DoubleValue(value))
}

fn event(name: &str, at: u64, attributes: Vec<KeyValue>) -> Event {
    Event { time_unix_nano: at, name: name.to_owned(), attributes, ..Event::default() }
}

#[cfg(test)]
#[path = "request/tests.rs"]
pub(super) mod tests;
