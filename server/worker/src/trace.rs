//! Trace contexts: the caller's, from the header `traceparent` (W3C Trace Context, level 1, §3.2), and
//! the ids of our own spans.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a request's span is named by; all zero where the client sent no (valid) context.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace_id: u128,
    /// The caller's span.
    pub(crate) parent_id: u64,
}

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
        hex(&header[53..55])?;
        (trace_id != 0 && parent_id != 0).then_some(Self { trace_id, parent_id })
    }
}

/// Random ids of spans. Seeded in the worker, after the fork: a seed of before would give every worker the same ids.
#[derive(Debug)]
pub(crate) struct SpanIds {
    state: AtomicU64,
}

impl SpanIds {
    /// `seed` must come from the kernel's random numbers.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// The next id; never 0. (`SplitMix64`: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.)
    pub(crate) fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_specifications_example() {
        let context = TraceContext::parse(GOOD).unwrap();
        assert_eq!(context.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(context.parent_id, 0x00f0_67aa_0ba9_02b7);
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
}
