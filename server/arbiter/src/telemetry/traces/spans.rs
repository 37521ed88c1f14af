//! Spans of the arbiter's own doings, and what they hang from.

use hyper::HeaderMap;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Makes a span the child of the one that the caller names in `traceparent`. Without one, or where no traces are made,
/// nothing changes.
pub fn follow_caller(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let mut fields = headers.get_all("traceparent").iter();
    // More than one is as good as none.
    let (Some(field), None) = (fields.next(), fields.next()) else { return };
    if let Some(caller) = field.to_str().ok().and_then(parse) {
        // A span that has begun keeps its parent; this one is new.
        let _ = span.set_parent(Context::new().with_remote_span_context(caller));
    }
}

/// W3C Trace Context, §3.2.2: `VERSION-TRACEID-PARENTID-FLAGS`; a later version may say more behind that.
fn parse(text: &str) -> Option<SpanContext> {
    let lower = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = text.splitn(5, '-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed = lower(version, 2) && lower(trace, 32) && lower(span, 16) && lower(flags, 2);
    if !well_formed || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(flags & TraceFlags::SAMPLED.to_u8()),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_specifications_example() {
        let context = parse(CALLER).unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        assert!(!parse(&CALLER.replace("-01", "-00")).unwrap().is_sampled());
        assert!(parse(&CALLER.replacen("00-", "01-", 1).replace("-01", "-01-more")).is_some());
    }

    #[test]
    fn what_is_damaged_is_left_out() {
        assert!(parse(&format!("{CALLER}-more")).is_none());
        assert!(parse(&CALLER.to_uppercase()).is_none());
        assert!(parse(&CALLER.replacen("00-", "ff-", 1)).is_none());
        assert!(parse(&format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32))).is_none());
        for cut in 0..CALLER.len() {
            assert!(parse(&CALLER[..cut]).is_none(), "cut at {cut}");
        }
    }
}
