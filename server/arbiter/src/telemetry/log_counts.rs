//! How many records of each level this process has logged: one process has one error log.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::log::Level;

static CRITICAL: AtomicU64 = AtomicU64::new(0);
static ERROR: AtomicU64 = AtomicU64::new(0);
static WARNING: AtomicU64 = AtomicU64::new(0);

/// By level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub critical: u64,
    pub error: u64,
    pub warning: u64,
}

pub(super) fn note(level: Level) {
    let counter = match level {
        Level::Critical => &CRITICAL,
        Level::Error => &ERROR,
        Level::Warning => &WARNING,
        Level::Debug | Level::Info => return,
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

pub fn so_far() -> Counts {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Counts { critical: get(&CRITICAL), error: get(&ERROR), warning: get(&WARNING) }
}

/// So many were logged by the program before this one.
pub fn resume(before: Counts) {
    CRITICAL.fetch_add(before.critical, Ordering::Relaxed);
    ERROR.fetch_add(before.error, Ordering::Relaxed);
    WARNING.fetch_add(before.warning, Ordering::Relaxed);
}
