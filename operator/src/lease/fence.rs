//! Keeps a process that has slept through the end of its Lease from writing.
//!
//! A process that was stopped, or starved, for longer than the Lease lasts wakes in the middle of what it did, before it
//! has had time to ask whether it still leads. So every write looks at the clock first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Until when writes may pass. Clones share it.
#[derive(Debug, Clone)]
pub struct Fence {
    began: Instant,
    /// In milliseconds since it began.
    open_until: Arc<AtomicU64>,
}

#[derive(Debug, thiserror::Error)]
#[error("not written: the Lease was not renewed in time, another replica may lead")]
pub struct Closed;

impl Fence {
    /// Always open: nobody else is asked.
    pub fn open() -> Self {
        Self { began: Instant::now(), open_until: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Closed until it is told otherwise.
    pub(super) fn closed() -> Self {
        Self { began: Instant::now(), open_until: Arc::default() }
    }

    pub(super) fn open_for(&self, time: Duration, now: Instant) {
        let until = now.saturating_duration_since(self.began) + time;
        self.open_until.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Whether a write may be made now.
    pub fn check(&self, now: Instant) -> Result<(), Closed> {
        let now = now.saturating_duration_since(self.began).as_millis();
        let open = now < u128::from(self.open_until.load(Ordering::Acquire));
        if open { Ok(()) } else { Err(Closed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_for_a_time_and_closes_by_itself() {
        let (fence, now) = (Fence::closed(), Instant::now());
        assert!(fence.check(now).is_err());
        let shared = fence.clone();
        fence.open_for(Duration::from_secs(10), now);
        assert!(shared.check(now + Duration::from_secs(9)).is_ok());
        assert!(shared.check(now + Duration::from_secs(11)).is_err());
        assert!(Fence::open().check(now + Duration::from_secs(1 << 30)).is_ok());
    }
}
