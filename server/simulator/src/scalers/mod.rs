//! The policies that are compared. All may have as many workers as the others, at least and at most.

mod fixed;
#[cfg(test)]
mod fleet;
mod hpa;
mod knative;
mod php_fpm;
mod podicorn;
mod uwsgi;

use crate::engine::Scaler;

/// What all have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Workers, in all pods together.
    pub(crate) min: u32,
    pub(crate) max: u32,
    /// Workers of a pod where the policy scales pods.
    pub(crate) per_pod: u32,
}

impl Limits {
    /// Pods for those that scale pods of a fixed size.
    fn pods(&self) -> (u32, u32) {
        (self.min.div_ceil(self.per_pod).max(1), (self.max / self.per_pod).max(1))
    }
}

/// Every policy, each at its own beginning.
pub(crate) fn all(limits: Limits) -> Vec<Box<dyn Scaler>> {
    let middle = (limits.min + limits.max).div_ceil(2);
    let mut fixed: Vec<u32> = vec![limits.min, middle, limits.max];
    fixed.dedup();
    let mut scalers: Vec<Box<dyn Scaler>> =
        vec![Box::new(podicorn::Workers::new(limits)), Box::new(podicorn::Operator::new(limits))];
    scalers.extend(fixed.into_iter().map(|count| Box::new(fixed::Fixed(count)) as Box<dyn Scaler>));
    scalers.extend([
        Box::new(hpa::Hpa::new(limits)) as Box<dyn Scaler>,
        Box::new(knative::Knative::new(limits)),
        Box::new(uwsgi::Busyness::new(limits)),
        Box::new(php_fpm::Dynamic::new(limits)),
    ]);
    scalers
}

/// So many pods or samples, for a mean.
#[allow(clippy::cast_precision_loss)] // there are few
fn count(number: usize) -> f64 {
    number as f64
}

/// Whole pods for a load.
#[allow(clippy::cast_sign_loss)] // loads are not negative
fn ceil(value: f64) -> u32 {
    (value - 1e-9).ceil() as u32
}
