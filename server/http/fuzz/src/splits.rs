//! Where an input is cut in two.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Up to this length an input is cut everywhere.
const EVERYWHERE: usize = 160;
/// Of a longer input: cuts at either end, and in between.
const ENDS: usize = 16;
const SAMPLES: u64 = 48;

/// The points at which to cut `input`, both ends included, in order: all of a short input; of a long one its ends,
/// the places around line ends and some more. The same input is always cut the same way.
pub fn points(input: &[u8]) -> BTreeSet<usize> {
    let len = input.len();
    if len <= EVERYWHERE {
        return (0..=len).collect();
    }
    let lines = input.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).take(ENDS);
    let mut points: BTreeSet<usize> = lines.flat_map(|at| [at, at + 1, at + 2]).collect();
    points.extend((0..ENDS).flat_map(|near| [near, len - near]));
    points.extend((0..SAMPLES).map(|sample| {
        let mut hasher = DefaultHasher::new();
        (input, sample).hash(&mut hasher);
        usize::try_from(hasher.finish() % len as u64).expect("below a length")
    }));
    points.retain(|&at| at <= len);
    points
}
