//! The scoreboard: one sealed memfd through which workers tell the arbiter what they are doing.
//!
//! Contract:
//! - The arbiter creates the map ([`Map::create`]), a worker attaches to it ([`Map::attach`]). The layout is the
//!   same build's on both sides; a version word guards against a mix.
//! - Every word is an atomic `u64` with one writer: the worker that holds the slot, except the claim word (exchanged
//!   by both sides) and the header (arbiter).
//! - Worker code shares its process with user code, so the arbiter trusts nothing it reads: every accessor here
//!   bounds, checks and copies, and [`Ledger`] keeps the totals in the arbiter's own memory so that counters never
//!   fall whatever the map says.
//! - Reads and writes never block and never allocate, except for the copies a reader asks for.

pub mod error;
pub mod histogram;
pub mod layout;
pub mod ledger;
mod map;
pub mod ring;
pub mod slot;

pub use error::ScoreboardError;
pub use histogram::{BOUNDS_SECONDS, BUCKETS};
pub use layout::{MAX_SLOTS, RING_ENTRIES, State};
pub use ledger::{Ledger, Totals};
pub use map::Map;
pub use ring::{RequestEnd, RequestStart, RingEnd, RingEntry, RingNews, SAFE_ENTRIES, Ticket};
pub use slot::{Claim, Counters, Load, SlotReader, SlotReading, SlotWriter};
