//! What `--workers auto` begins with.

use crate::number::floor;

/// Gunicorn's rule of thumb, 2 × cores + 1, for a share of the CPU that need not be a whole number of cores.
pub fn seed_for_cores(cores: f64) -> u32 {
    floor((2.0 * crate::number::sound(cores)).min(1000.0)).saturating_add(1)
}

/// How many more workers of `per_worker` bytes fit in, if nine tenths of the limit may be used.
pub fn fits_in_memory(limit: u64, working_set: u64, per_worker: u64) -> u32 {
    let usable = limit / 10 * 9;
    let room = usable.saturating_sub(working_set) / per_worker.max(1);
    u32::try_from(room).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_cores_and_one() {
        for (cores, workers) in [(0.25, 1), (0.5, 2), (1.0, 3), (1.5, 4), (2.0, 5), (64.0, 129)] {
            assert_eq!(seed_for_cores(cores), workers, "{cores}");
        }
        for nonsense in [0.0, -3.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(seed_for_cores(nonsense), 1);
        }
    }

    #[test]
    fn nine_tenths_of_the_limit() {
        assert_eq!(fits_in_memory(1000, 300, 100), 6);
        assert_eq!(fits_in_memory(1000, 950, 100), 0);
        assert_eq!(fits_in_memory(1000, 0, 0), 900);
        assert_eq!(fits_in_memory(u64::MAX, 0, 1), u32::MAX);
    }
}
