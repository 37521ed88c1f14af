//! Fixed buckets for latency and queue time, the same on both sides and in the metrics.

/// Upper bounds of the buckets, in seconds; the last bucket (+Inf) has none.
pub const BOUNDS_SECONDS: [f64; BUCKETS - 1] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

const BOUNDS_NANOS: [u64; BUCKETS - 1] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// How many buckets there are, +Inf included.
pub const BUCKETS: usize = 16;

/// The bucket that a duration falls into; a bound belongs to its bucket (`le`, as in `OpenMetrics`).
pub fn bucket(nanos: u64) -> usize {
    BOUNDS_NANOS.partition_point(|bound| *bound < nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_agree() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(500_000), 0);
        assert_eq!(bucket(500_001), 1);
        assert_eq!(bucket(30_000_000_000), BUCKETS - 2);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        for (seconds, nanos) in BOUNDS_SECONDS.iter().zip(BOUNDS_NANOS) {
            #[allow(clippy::cast_precision_loss)]
            let expected = nanos as f64 / 1e9;
            assert!((seconds - expected).abs() < 1e-12);
        }
    }
}
