//! The numbers that put orders in an order.
//!
//! epoch = leaseTransitions · 2³² + counter. A pod takes an order only if its epoch is higher than all before, or that of the
//! order in force and the order the same. So orders of a former leader come to nothing.

use std::sync::atomic::{AtomicU64, Ordering};

/// The low half.
const COUNTER: u64 = u32::MAX as u64;

/// Hands out epochs of one leadership.
#[derive(Debug)]
pub(super) struct Epochs {
    base: u64,
    last: AtomicU64,
}

impl Epochs {
    /// `base` is leaseTransitions · 2³²; what it has in its low half is passed over.
    pub(super) fn new(base: u64) -> Self {
        let base = base & !COUNTER;
        Self { base, last: AtomicU64::new(base) }
    }

    /// Higher than all that was handed out or seen before.
    pub(super) fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// A pod has accepted this one.
    pub(super) fn saw(&self, epoch: u64) {
        if self.ours(epoch) {
            self.last.fetch_max(epoch, Ordering::Relaxed);
        }
    }

    /// Of this leadership.
    pub(super) fn ours(&self, epoch: u64) -> bool {
        epoch & !COUNTER == self.base
    }

    /// Of a later one: this leadership is over, whether it knows or not.
    pub(super) fn later(&self, epoch: u64) -> bool {
        epoch & !COUNTER > self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_higher_than_all_that_was_seen() {
        let epochs = Epochs::new((3 << 32) + 17);
        assert_eq!(epochs.next(), (3 << 32) + 1);
        epochs.saw((3 << 32) + 40);
        epochs.saw((3 << 32) + 20);
        epochs.saw((2 << 32) + 99);
        epochs.saw((4 << 32) + 99);
        assert_eq!(epochs.next(), (3 << 32) + 41);
    }

    #[test]
    fn leaderships_are_told_apart() {
        let epochs = Epochs::new(3 << 32);
        assert!(epochs.ours((3 << 32) + 5) && !epochs.ours(5) && !epochs.ours(4 << 32));
        assert!(epochs.later(4 << 32) && !epochs.later((3 << 32) + 5) && !epochs.later(u64::from(u32::MAX)));
    }
}
