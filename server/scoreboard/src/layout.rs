//! Where each word lives. All offsets and sizes are in 64-bit words.

use crate::histogram::BUCKETS;

/// `PODICORN` in ASCII: the first word of the map.
pub const MAGIC: u64 = u64::from_be_bytes(*b"PODICORN");
/// Raised with every change of this file's numbers.
pub const VERSION: u64 = 8;

/// How many workers the map has room for. Pages that no worker touches cost nothing.
pub const MAX_SLOTS: u32 = 1024;

/// One cache line.
const LINE: usize = 8;

/// The header fills one page.
pub const HEADER: usize = 512;
/// Header words.
pub mod header {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 1;
    /// Once the arbiter has begun its shutdown: when it will kill, in nanoseconds of the monotonic clock. 0 before.
    pub const DRAINING: usize = 2;
    /// How many workers there are, those that boot and those that leave included.
    pub const WORKERS: usize = 3;
    /// How many slots, from the first, have ever been offered: workers look no further for each other.
    pub const SLOTS: usize = 4;
}

/// Words of a slot, from its start.
pub mod field {
    use super::{BUCKETS, LINE};

    /// `epoch << 32 | pid`; a line of its own because both sides exchange it.
    pub const CLAIM: usize = 0;

    pub const STATE: usize = LINE;
    pub const BEAT: usize = STATE + 1;
    pub const RECYCLE: usize = STATE + 2;
    pub const IN_FLIGHT: usize = STATE + 3;
    pub const PARKED: usize = STATE + 4;
    pub const CONNECTIONS: usize = STATE + 5;
    pub const ACCEPTED: usize = STATE + 6;
    pub const BUSY_NANOS: usize = STATE + 7;

    pub const LOG_DROPPED: usize = 2 * LINE;
    pub const RING_LOST: usize = LOG_DROPPED + 1;
    /// Requests by status class: other, 1xx … 5xx.
    pub const REQUESTS: usize = LOG_DROPPED + 2;
    pub const CLASSES: usize = 6;

    /// `BUCKETS` counts, then the sum in nanoseconds.
    pub const LATENCY: usize = 3 * LINE;
    pub const QUEUE: usize = LATENCY + 3 * LINE;
    const _: () = assert!(BUCKETS < 3 * LINE);

    /// How many ring entries have ever begun.
    pub const RING_HEAD: usize = QUEUE + 3 * LINE;
    /// Requests that were answered in the app's place because it took too long.
    pub const TIMED_OUT: usize = RING_HEAD + 1;
    /// Responses that the engine gave in the app's place.
    pub const REJECTED: usize = RING_HEAD + 2;
    /// Runs of Python's garbage collector by generation, the time they took, and the objects that they freed.
    pub const GC_RUNS: usize = RING_HEAD + 3;
    pub const GC_GENERATIONS: usize = 3;
    pub const GC_NANOS: usize = GC_RUNS + GC_GENERATIONS;
    pub const GC_FREED: usize = GC_NANOS + 1;
    const _: () = assert!(GC_FREED < RING_HEAD + LINE);

    /// How late heartbeats were: `BUCKETS` counts, then the sum in nanoseconds, then the last one.
    pub const LAG: usize = RING_HEAD + LINE;
    pub const LAST_LAG: usize = LAG + BUCKETS + 1;
    /// Records of the error log: critical, error, warning, and those with an exception.
    pub const LOGGED: usize = LAST_LAG + 1;
    pub const LOGGED_KINDS: usize = 4;
    /// Clients that were to speak TLS and did not.
    pub const TLS_FAILURES: usize = LOGGED + LOGGED_KINDS;
    pub const RING: usize = LAG + 3 * LINE;
    const _: () = assert!(TLS_FAILURES < RING);
}

/// Entries of a slot's request ring; a power of two. While traces are exported the arbiter has to come by for each half of
/// it: at 10,000 requests a second there are 12 ms for that.
pub const RING_ENTRIES: usize = 256;
/// Words of a ring entry (256 bytes).
pub const ENTRY: usize = 32;
/// Words of an entry that hold the start of the path.
pub const PATH_WORDS: usize = ENTRY - 10;

/// Words of a slot.
pub const SLOT: usize = field::RING + RING_ENTRIES * ENTRY;
const _: () = assert!(SLOT.is_multiple_of(LINE) && RING_ENTRIES.is_power_of_two());

/// Words of the map.
pub const WORDS: usize = HEADER + SLOT * MAX_SLOTS as usize;
/// Bytes of the map.
pub const BYTES: usize = WORDS * 8;

/// What a worker says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum State {
    /// Claimed; the app is being imported.
    Booting = 1,
    /// Serving.
    Ready = 2,
    /// Finishing what it has; accepts nothing new.
    Draining = 3,
    /// About to leave.
    Exiting = 4,
}

impl State {
    /// `None` for any number that no worker of ours writes.
    pub const fn from_word(word: u64) -> Option<Self> {
        match word {
            1 => Some(Self::Booting),
            2 => Some(Self::Ready),
            3 => Some(Self::Draining),
            4 => Some(Self::Exiting),
            _ => None,
        }
    }
}
