use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::*;

/// As the collector reads it.
fn sent(request: &RequestSpan) -> Span {
    let mut message = Message::default();
    request.write(&mut message);
    let span = Span::decode(message.as_slice()).unwrap();
    // Another writer makes as many bytes of it: nothing is there twice, nothing is unknown.
    assert_eq!(span.encoded_len(), message.as_slice().len());
    span
}

pub(in crate::telemetry::traces) fn a_request() -> RequestSpan {
    let entry = RingEntry {
        sequence: 1,
        method: "GET".into(),
        path: "/orders/1".into(),
        start_unix_nanos: 1_000_000,
        queued_nanos: 400_000,
        duration_nanos: Some(50_000),
        status: 200,
        trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
        span_id: 0x00f0_67aa_0ba9_02b7,
        parent_id: 3,
        is_sampled: true,
        is_timed_out: false,
        is_https: false,
        is_queue_known: true,
    };
    RequestSpan {
        entry,
        end: Ending::Answered,
        slot: 2,
        pid: 77,
        generation: 1,
        worker_type: "gthread".into(),
    }
}

fn attributes(span: &Span) -> Vec<(String, Value)> {
    span.attributes
        .iter()
        .map(|pair| (pair.key.clone(), pair.value.clone().unwrap().value.unwrap()))
        .collect()
}

fn has(span: &Span, key: &str, value: &Value) -> bool {
    attributes(span).iter().any(|(known, held)| known == key && held == value)
}

fn said(text: &str) -> Value {
    Value::StringValue(text.into())
}

#[test]
fn a_request_becomes_a_server_span() {
    let span = sent(&a_request());
    assert_eq!(span.name, "GET");
    assert_eq!(span.kind, SpanKind::Server as i32);
    assert_eq!(span.trace_id.len(), 16);
    assert_eq!(span.span_id, [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
    assert_eq!(span.parent_span_id, [0, 0, 0, 0, 0, 0, 0, 3]);
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (600_000, 1_050_000));
    assert!(has(&span, "http.request.method", &said("GET")));
    assert!(has(&span, "url.path", &said("/orders/1")));
    assert!(has(&span, "url.scheme", &said("http")));
    assert!(has(&span, "http.response.status_code", &Value::IntValue(200)));
    assert!(has(&span, "podicorn.queue.duration", &Value::DoubleValue(0.0004)));
    assert!(has(&span, "podicorn.worker.slot", &Value::IntValue(2)));
    assert!(has(&span, "podicorn.worker.type", &said("gthread")));
    assert_eq!((span.status, span.events.len()), (None, 0));
    assert_eq!(span.flags, 0x301, "sampled, and the parent is known to be remote");
}

#[test]
fn a_request_without_a_caller_is_a_root() {
    let mut request = a_request();
    request.entry.parent_id = 0;
    request.entry.is_queue_known = false;
    let span = sent(&request);
    assert!(span.parent_span_id.is_empty());
    assert_eq!(span.flags, 0x101);
    assert!(!attributes(&span).iter().any(|(key, _)| key == "podicorn.queue.duration"));
}

#[test]
fn odd_methods_do_not_make_names() {
    let mut request = a_request();
    request.entry.method = "BREW".into();
    let span = sent(&request);
    assert_eq!(span.name, "HTTP");
    assert!(has(&span, "http.request.method", &said("_OTHER")));
    assert!(has(&span, "http.request.method_original", &said("BREW")));
}

#[test]
fn only_the_servers_errors_are_errors() {
    for (status, error) in [(404, None), (500, Some("500")), (503, Some("503")), (0, Some("no_response"))] {
        let mut request = a_request();
        request.entry.status = status;
        let span = sent(&request);
        assert_eq!(span.status.as_ref().map(|status| status.code), error.map(|_| StatusCode::Error as i32));
        if let Some(error) = error {
            assert!(has(&span, "error.type", &said(error)), "{status}");
        }
    }
}

#[test]
fn deadlines_and_crashes_are_events() {
    let mut request = a_request();
    (request.entry.status, request.entry.is_timed_out) = (504, true);
    let span = sent(&request);
    assert_eq!(span.events[0].name, "podicorn.request_timeout");
    assert!(has(&span, "error.type", &said("timeout")));

    let mut request = a_request();
    (request.entry.status, request.entry.duration_nanos) = (0, None);
    request.end = Ending::Crashed { at: 9_000_000, how: "was sent SIGKILL".into() };
    let span = sent(&request);
    assert_eq!(span.events[0].name, "podicorn.worker_crash");
    assert_eq!((span.events[0].time_unix_nano, span.end_time_unix_nano), (9_000_000, 9_000_000));
    assert!(has(&span, "error.type", &said("worker_crash")));
    assert_eq!(span.status.unwrap().message, "the worker was sent SIGKILL");
}

#[test]
fn times_that_make_no_sense_do_no_harm() {
    let mut request = a_request();
    (request.entry.start_unix_nanos, request.entry.queued_nanos) = (u64::MAX, u64::MAX);
    let span = sent(&request);
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    let mut request = a_request();
    request.entry.start_unix_nanos = 0;
    assert_eq!(sent(&request).start_time_unix_nano, 0);
}
