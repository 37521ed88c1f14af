//! Random numbers that are the same everywhere: `SplitMix64` and the distributions that traces need.

#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Streams of the same seed are independent of each other.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0xa076_1d64_78bd_642f));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Above 0, up to 1.
    #[allow(clippy::cast_precision_loss)] // 53 bits fit
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform().ln()
    }

    /// By its mean and the deviation of its logarithm.
    pub(crate) fn lognormal(&mut self, mean: f64, sigma: f64) -> f64 {
        let normal = (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos();
        mean * (sigma * normal - sigma * sigma / 2.0).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_right_and_seeds_matter() {
        let mut random = Random::new(1, 0);
        let (mut exponential, mut lognormal, mut uniform) = (0.0, 0.0, 0.0);
        for _ in 0..100_000 {
            exponential += random.exponential(3.0) / 100_000.0;
            lognormal += random.lognormal(0.1, 0.8) / 100_000.0;
            uniform += random.uniform() / 100_000.0;
        }
        assert!((exponential - 3.0).abs() < 0.05, "{exponential}");
        assert!((lognormal - 0.1).abs() < 0.002, "{lognormal}");
        assert!((uniform - 0.5).abs() < 0.01, "{uniform}");
        assert_ne!(Random::new(1, 0).next(), Random::new(2, 0).next());
        assert_ne!(Random::new(1, 0).next(), Random::new(1, 1).next());
        assert_eq!(Random::new(7, 3).next(), Random::new(7, 3).next());
    }
}
