use super::*;

const GOOD: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const PARENT: u64 = 0x00f0_67aa_0ba9_02b7;

fn caller(flags: u8) -> TraceContext {
    TraceContext { trace_id: TRACE, parent_id: PARENT, flags }
}

fn tracer(parent_based: bool, ratio: f64) -> Tracer {
    Tracer::new(7, Some(Policy::new(parent_based, ratio)))
}

fn told(trace: &RequestTrace) -> Option<String> {
    trace.traceparent().map(|text| String::from_utf8(text.to_vec()).unwrap())
}

#[test]
fn the_specifications_example() {
    let context = TraceContext::parse(GOOD).unwrap();
    assert_eq!((context.trace_id, context.parent_id, context.flags), (TRACE, PARENT, 1));
}

#[test]
fn a_later_version_may_say_more() {
    let later = [b"01", &GOOD[2..], b"-more"].concat();
    assert!(TraceContext::parse(&later).is_some());
    assert!(TraceContext::parse(&[GOOD, b"-more"].concat()).is_none());
}

#[test]
fn every_damaged_byte_is_noticed() {
    for at in 0..GOOD.len() {
        let mut bad = GOOD.to_vec();
        bad[at] = b'G';
        assert_eq!(TraceContext::parse(&bad), None, "byte {at}");
        assert_eq!(TraceContext::parse(&GOOD[..at]), None, "cut at {at}");
    }
    assert!(TraceContext::parse(&[&GOOD[..3], &[b'0'; 32][..], &GOOD[35..]].concat()).is_none());
    assert!(TraceContext::parse(&[&GOOD[..36], &[b'0'; 16][..], &GOOD[52..]].concat()).is_none());
    assert!(TraceContext::parse(&[b"ff", &GOOD[2..]].concat()).is_none());
}

#[test]
fn two_callers_are_none() {
    assert!(TraceContext::of([GOOD].into_iter()).is_some());
    assert!(TraceContext::of([GOOD, GOOD].into_iter()).is_none());
    assert!(TraceContext::of(std::iter::empty()).is_none());
}

#[test]
fn without_export_nothing_is_changed() {
    let tracer = Tracer::new(7, None);
    let trace = tracer.begin(Some(caller(1)));
    assert_eq!((trace.trace_id, trace.span_id, trace.parent_id), (TRACE, 0, PARENT));
    assert_eq!((trace.is_sampled, told(&trace)), (false, None));
    assert_eq!(trace.span_text().unwrap(), "00f067aa0ba902b7");
    assert_eq!(tracer.begin(None), RequestTrace::default());
}

#[test]
fn the_app_becomes_a_child_of_our_span() {
    let trace = tracer(true, 1.0).begin(Some(caller(1)));
    assert!(trace.is_sampled && trace.span_id != 0 && !trace.is_new());
    assert_eq!(told(&trace).unwrap(), format!("00-{TRACE:032x}-{:016x}-01", trace.span_id));
    assert_eq!(trace.trace_text().unwrap(), "4bf92f3577b34da6a3ce929d0e0e4736");
    let random = tracer(true, 1.0).begin(Some(caller(3)));
    assert!(told(&random).unwrap().ends_with("-03"), "the flag of level 2 is passed on, and no unknown one");
    assert!(told(&tracer(true, 1.0).begin(Some(caller(0xf9)))).unwrap().ends_with("-01"));
}

#[test]
fn without_a_caller_a_trace_begins() {
    let tracer = tracer(true, 1.0);
    let (first, second) = (tracer.begin(None), tracer.begin(None));
    assert!(first.is_sampled && first.is_new() && first.parent_id == 0);
    assert!(first.trace_id != second.trace_id && first.span_id != second.span_id);
    assert!(TraceContext::parse(&first.traceparent().unwrap()).is_some());
}

#[test]
fn a_callers_no_is_respected() {
    let trace = tracer(true, 1.0).begin(Some(caller(0)));
    assert_eq!((trace.is_sampled, trace.span_id, told(&trace)), (false, 0, None));
    assert!(tracer(false, 1.0).begin(Some(caller(0))).is_sampled, "unless the sampler does not ask it");
}

#[test]
fn our_no_is_told_to_the_app() {
    let trace = tracer(false, 0.0).begin(Some(caller(1)));
    assert!(!trace.is_sampled);
    assert_eq!(told(&trace).unwrap(), format!("00-{TRACE:032x}-{PARENT:016x}-00"));
    let begun = tracer(true, 0.0).begin(None);
    assert!(!begun.is_sampled && begun.trace_id != 0);
    let context = TraceContext::parse(&begun.traceparent().unwrap()).unwrap();
    assert_eq!((context.trace_id, context.flags), (begun.trace_id, 0));
}

#[test]
fn a_ratio_takes_its_share_by_the_traces_id() {
    let tracer = tracer(true, 0.25);
    let taken = (0..4000).filter(|_| tracer.begin(None).is_sampled).count();
    assert!((850..1150).contains(&taken), "{taken} of 4000");
    let policy = Policy::new(true, 0.25);
    assert!(policy.takes(1 << 61, None) && !policy.takes(1 << 62, None));
    assert!(policy.takes(u128::from(u64::MAX) << 64, None), "by the low half");
    assert!(Policy::new(true, 1.0).takes(u128::MAX, None) && !Policy::new(true, 0.0).takes(0, None));
}
