//! Trace contexts: the caller's, from the header `traceparent` (W3C Trace Context, §3.2), the ids of our own spans, and what
//! the app is told.
//!
//! Where traces are exported ([`Policy`]), each request gets a span, which the arbiter exports; here it is only named and
//! sampled. The app finds it in `traceparent`, so that its spans become children of ours and the decision whether to
//! record holds for them, too.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a caller has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace_id: u128,
    /// The caller's span.
    pub(crate) parent_id: u64,
    pub(crate) flags: u8,
}

/// The caller records this trace.
const SAMPLED: u8 = 1;
/// The trace's id is random (level 2 of the specification); to be passed on as it is.
const RANDOM: u8 = 2;

/// Bytes of a `traceparent` of ours.
pub(crate) const TRACEPARENT_BYTES: usize = 55;

/// Lower-case hexadecimal only, as the specification demands.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

impl TraceContext {
    /// `VERSION-TRACEID-PARENTID-FLAGS`; a later version may have more behind that. `None`: to be ignored.
    pub(crate) fn parse(header: &[u8]) -> Option<Self> {
        let version = hex(header.get(..2)?)?;
        let known = version == 0;
        if version == 0xff || header.len() < 55 || (known && header.len() != 55) {
            return None;
        }
        if header[2] != b'-'
            || header[35] != b'-'
            || header[52] != b'-'
            || header.get(55).is_some_and(|c| *c != b'-')
        {
            return None;
        }
        let trace_id = hex(&header[3..35])?;
        let parent_id = u64::try_from(hex(&header[36..52])?).ok()?;
        let flags = u8::try_from(hex(&header[53..55])?).ok()?;
        (trace_id != 0 && parent_id != 0).then_some(Self { trace_id, parent_id, flags })
    }

    /// The only field of this name; more than one is as good as none.
    pub(crate) fn of<'a>(mut fields: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let first = fields.next()?;
        Self::parse(first).filter(|_| fields.next().is_none())
    }
}

/// Which requests are recorded, by the arbiter's word.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Policy {
    /// A caller's decision holds.
    parent_based: bool,
    /// Traces whose low 64 bits are below it are taken, as in all SDKs; `None`: all.
    below: Option<u64>,
}

impl Policy {
    /// `ratio` is from 0 to 1.
    pub(crate) fn new(parent_based: bool, ratio: f64) -> Self {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates
        let below = (ratio * 2_f64.powi(64)) as u64;
        Self { parent_based, below: (ratio < 1.0).then_some(below) }
    }

    fn takes(self, trace_id: u128, caller: Option<TraceContext>) -> bool {
        match caller {
            Some(caller) if self.parent_based => caller.flags & SAMPLED != 0,
            _ => self.below.is_none_or(|below| (trace_id as u64) < below),
        }
    }
}

/// The trace of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RequestTrace {
    /// 0: there is none.
    pub(crate) trace_id: u128,
    /// Of the request's span; 0 where there is none.
    pub(crate) span_id: u64,
    /// The caller's span; 0 where there is none.
    pub(crate) parent_id: u64,
    pub(crate) is_sampled: bool,
    told: Told,
}

/// What of the context the app is to see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Told {
    /// What the client has sent.
    #[default]
    AsSent,
    /// Another `traceparent`.
    Replaced { span_id: u64, flags: u8 },
    /// The same, and no `tracestate`: that belongs to a trace that could not be read.
    Begun { span_id: u64, flags: u8 },
}

impl RequestTrace {
    /// What the app finds in `traceparent`; `None`: what the client has sent.
    pub(crate) fn traceparent(&self) -> Option<[u8; TRACEPARENT_BYTES]> {
        let (span_id, flags) = match self.told {
            Told::AsSent => return None,
            Told::Replaced { span_id, flags } | Told::Begun { span_id, flags } => (span_id, flags),
        };
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace_id.to_be_bytes(), &mut text[3..35]);
        write_hex(&span_id.to_be_bytes(), &mut text[36..52]);
        write_hex(&[flags], &mut text[53..55]);
        Some(text)
    }

    /// The trace begins here: what the client has sent in `tracestate` is of another one.
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.told, Told::Begun { .. })
    }

    /// For logs; `None` where there is no trace.
    pub(crate) fn trace_text(&self) -> Option<String> {
        (self.trace_id != 0).then(|| format!("{:032x}", self.trace_id))
    }

    /// For logs: the request's span, or the caller's where there is none of ours.
    pub(crate) fn span_text(&self) -> Option<String> {
        let span_id = if self.span_id == 0 { self.parent_id } else { self.span_id };
        (span_id != 0).then(|| format!("{span_id:016x}"))
    }
}

/// Two digits a byte.
fn write_hex(bytes: &[u8], place: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (digits, byte) in place.chunks_exact_mut(2).zip(bytes) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Names the spans of a worker.
#[derive(Debug)]
pub(crate) struct Tracer {
    ids: Ids,
    /// `None`: no traces are exported.
    policy: Option<Policy>,
}

impl Tracer {
    /// `seed` must come from the kernel's random numbers, in the worker: one of before the fork would give every worker
    /// the same ids.
    pub(crate) fn new(seed: u64, policy: Option<Policy>) -> Self {
        Self { ids: Ids { state: AtomicU64::new(seed) }, policy }
    }

    /// A request begins.
    pub(crate) fn begin(&self, caller: Option<TraceContext>) -> RequestTrace {
        let parent_id = caller.map_or(0, |caller| caller.parent_id);
        let Some(policy) = self.policy else {
            let trace_id = caller.map_or(0, |caller| caller.trace_id);
            return RequestTrace { trace_id, parent_id, ..RequestTrace::default() };
        };
        let trace_id = caller.map_or_else(
            || u128::from(self.ids.next()) << 64 | u128::from(self.ids.next()),
            |caller| caller.trace_id,
        );
        let is_sampled = policy.takes(trace_id, caller);
        let flags = caller.map_or(0, |caller| caller.flags & RANDOM) | u8::from(is_sampled);
        let span_id = if is_sampled { self.ids.next() } else { 0 };
        let told = match caller {
            None => Told::Begun { span_id: if is_sampled { span_id } else { self.ids.next() }, flags },
            Some(_) if is_sampled => Told::Replaced { span_id, flags },
            Some(caller) if caller.flags & SAMPLED == 0 => Told::AsSent,
            // The caller records it and we do not: its span stays the parent.
            Some(_) => Told::Replaced { span_id: parent_id, flags },
        };
        RequestTrace { trace_id, span_id, parent_id, is_sampled, told }
    }
}

/// Random ids.
#[derive(Debug)]
struct Ids {
    state: AtomicU64,
}

impl Ids {
    /// The next id; never 0. (`SplitMix64`: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.)
    fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).max(1)
    }
}

#[cfg(test)]
#[path = "trace/tests.rs"]
mod tests;
