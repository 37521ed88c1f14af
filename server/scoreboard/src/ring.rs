//! The ring of a worker's last requests. It survives the worker: after a SIGKILL it says what was being served.
//!
//! An entry is written twice, when the request begins and when it ends, under a sequence number that is odd while the
//! words change (a seqlock), so a reader either gets a consistent copy or none.

use std::sync::atomic::{Ordering, fence};

use crate::layout::{ENTRY, PATH_WORDS, RING_ENTRIES, field};
use crate::map::Map;

const SEQUENCE: usize = 0;
const START: usize = 1;
const DURATION: usize = 2;
const QUEUED: usize = 3;
/// status | method length << 16 | path length << 24 | flags << 32
const SHAPE: usize = 4;
const METHOD: usize = 5;
const TRACE: usize = 6;
const SPAN: usize = 8;
const PARENT: usize = 9;
const PATH: usize = 10;

/// Flags of an entry, in the word `SHAPE`.
mod flag {
    pub(super) const SAMPLED: u64 = 1 << 32;
    pub(super) const TIMED_OUT: u64 = 1 << 33;
    pub(super) const HTTPS: u64 = 1 << 34;
    /// The time in the queue is known.
    pub(super) const QUEUED: u64 = 1 << 35;
    /// Not a request: how one has ended whose own entry was overwritten. `START` holds the sequence of that entry.
    pub(super) const END: u64 = 1 << 36;
}

/// How much of the path an entry keeps, in bytes.
pub const PATH_BYTES: usize = PATH_WORDS * 8;
/// How much of the method an entry keeps, in bytes.
pub const METHOD_BYTES: usize = 8;

/// An entry that is among so many of the newest when it ends is read before it is overwritten, if the reader comes when it
/// is called or soon after.
pub const SAFE_ENTRIES: u64 = RING_ENTRIES as u64 / 4;

/// What is known when a request begins.
#[derive(Debug, Clone, Copy)]
pub struct RequestStart<'a> {
    pub method: &'a [u8],
    pub path: &'a [u8],
    /// Nanoseconds since the Unix epoch.
    pub start_unix_nanos: u64,
    /// From the arrival of the first byte to now, in nanoseconds; `None` where nobody knows.
    pub queued_nanos: Option<u64>,
    pub is_https: bool,
    /// W3C trace context; zero where there is none.
    pub trace_id: u128,
    pub span_id: u64,
    pub parent_id: u64,
    /// The request's span is to be exported.
    pub is_sampled: bool,
}

/// Which entry a request got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    index: u64,
    is_sampled: bool,
}

impl Ticket {
    /// With this entry half of the ring is full.
    pub(crate) fn fills_half(self) -> bool {
        fills_half(self.index)
    }
}

/// Whether this entry is the last of one of the ring's halves.
pub(crate) fn fills_half(index: u64) -> bool {
    (index + 1).is_multiple_of(RING_ENTRIES as u64 / 2)
}

/// How a request's end was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its own entry had been overwritten.
    pub(crate) is_lost: bool,
    /// The entry that was written for it, if one was.
    pub(crate) apart: Option<u64>,
}

/// A copy of one entry.
#[allow(clippy::struct_excessive_bools)] // each is a flag of its own
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingEntry {
    /// Counts the slot's requests from 0.
    pub sequence: u64,
    pub method: String,
    pub path: String,
    pub start_unix_nanos: u64,
    pub queued_nanos: u64,
    /// `None` while the request is running, or for ever if the worker died.
    pub duration_nanos: Option<u64>,
    /// 0 while the request is running.
    pub status: u16,
    pub trace_id: u128,
    pub span_id: u64,
    pub parent_id: u64,
    pub is_sampled: bool,
    /// Its time was up before the app had answered.
    pub is_timed_out: bool,
    pub is_https: bool,
    /// `queued_nanos` means something.
    pub is_queue_known: bool,
}

/// What a ring says of requests, in the order in which they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RingNews {
    Request(RingEntry),
    /// The end of a request whose entry is gone.
    Ended(RingEnd),
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingEnd {
    /// That of its entry.
    pub sequence: u64,
    pub duration_nanos: u64,
    pub status: u16,
    pub is_timed_out: bool,
}

fn entry_base(slot: usize, index: u64) -> usize {
    let position = usize::try_from(index % RING_ENTRIES as u64).unwrap_or(0);
    slot + field::RING + position * ENTRY
}

/// Starts an entry. One writer per slot.
pub(crate) fn begin(map: &Map, slot: usize, start: &RequestStart<'_>) -> Ticket {
    // Whatever user code has written there, the numbers below do not overflow.
    let index = map.word(slot + field::RING_HEAD).load(Ordering::Relaxed) & (u64::MAX >> 2);
    let base = entry_base(slot, index);
    map.word(base + SEQUENCE).store(2 * index + 1, Ordering::Relaxed);
    fence(Ordering::Release);
    let put = |word: usize, value: u64| map.word(base + word).store(value, Ordering::Relaxed);
    put(START, start.start_unix_nanos);
    put(DURATION, 0);
    put(QUEUED, start.queued_nanos.unwrap_or(0));
    let method = &start.method[..start.method.len().min(METHOD_BYTES)];
    let path = &start.path[..start.path.len().min(PATH_BYTES)];
    let flags = [
        (start.is_sampled, flag::SAMPLED),
        (start.is_https, flag::HTTPS),
        (start.queued_nanos.is_some(), flag::QUEUED),
    ];
    let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag);
    put(SHAPE, (method.len() as u64) << 16 | (path.len() as u64) << 24 | flags);
    put(METHOD, pack(method));
    put(TRACE, (start.trace_id >> 64) as u64);
    put(TRACE + 1, start.trace_id as u64);
    put(SPAN, start.span_id);
    put(PARENT, start.parent_id);
    for (position, chunk) in path.chunks(8).enumerate() {
        put(PATH + position, pack(chunk));
    }
    map.word(base + SEQUENCE).store(2 * index + 2, Ordering::Release);
    map.word(slot + field::RING_HEAD).store(index + 1, Ordering::Release);
    Ticket { index, is_sampled: start.is_sampled }
}

/// How a request ends.
#[derive(Debug, Clone, Copy)]
pub struct RequestEnd {
    /// 0 where no response was sent.
    pub status: u16,
    pub duration_nanos: u64,
    pub is_timed_out: bool,
}

/// Ends an entry, unless it has been overwritten. Where that has happened or is near, the end of a sampled request becomes
/// an entry of its own, too, for a reader that has seen the beginning.
pub(crate) fn end(map: &Map, slot: usize, ticket: Ticket, end: RequestEnd) -> Ended {
    let RequestEnd { status, duration_nanos, is_timed_out } = end;
    let timed_out = if is_timed_out { flag::TIMED_OUT } else { 0 };
    let Ticket { index, is_sampled } = ticket;
    let head = map.word(slot + field::RING_HEAD).load(Ordering::Relaxed) & (u64::MAX >> 2);
    let is_old = head.saturating_sub(index) > SAFE_ENTRIES;
    let mut ended = Ended { is_lost: false, apart: None };
    if is_sampled && is_old {
        end_apart(map, slot, head, index, u64::from(status) | timed_out | flag::END, duration_nanos);
        ended.apart = Some(head);
    }
    let base = entry_base(slot, index);
    let sequence = map.word(base + SEQUENCE);
    if sequence.load(Ordering::Relaxed) != 2 * index + 2 {
        ended.is_lost = true;
        return ended;
    }
    sequence.store(2 * index + 1, Ordering::Relaxed);
    fence(Ordering::Release);
    let shape = map.word(base + SHAPE);
    let begun = shape.load(Ordering::Relaxed) & !0xffff;
    shape.store(begun | u64::from(status) | timed_out, Ordering::Relaxed);
    // A request that took no measurable time still ended: 0 means "running".
    map.word(base + DURATION).store(duration_nanos.max(1), Ordering::Relaxed);
    sequence.store(2 * index + 2, Ordering::Release);
    ended
}

/// `of` is the entry that has ended.
fn end_apart(map: &Map, slot: usize, index: u64, of: u64, shape: u64, duration_nanos: u64) {
    let base = entry_base(slot, index);
    map.word(base + SEQUENCE).store(2 * index + 1, Ordering::Relaxed);
    fence(Ordering::Release);
    let put = |word: usize, value: u64| map.word(base + word).store(value, Ordering::Relaxed);
    put(START, of);
    put(DURATION, duration_nanos.max(1));
    put(SHAPE, shape);
    map.word(base + SEQUENCE).store(2 * index + 2, Ordering::Release);
    map.word(slot + field::RING_HEAD).store(index + 1, Ordering::Release);
}

/// How many entries have ever begun.
pub(crate) fn head(map: &Map, slot: usize) -> u64 {
    map.get(slot + field::RING_HEAD)
}

/// When the newest request began, in nanoseconds since the Unix epoch; 0: none has, or the ring does not say.
pub(crate) fn last_start(map: &Map, slot: usize) -> u64 {
    head(map, slot).checked_sub(1).map_or(0, |index| map.get(entry_base(slot, index) + START))
}

/// Copies the newest entries, newest first, at most `most`. Entries that change while they are read, or that make no
/// sense, are left out.
pub(crate) fn read(map: &Map, slot: usize, most: usize) -> Vec<RingEntry> {
    let head = head(map, slot);
    let reach = (RING_ENTRIES as u64).min(head);
    let request = |index| match read_entry(map, slot, index)? {
        RingNews::Request(entry) => Some(entry),
        RingNews::Ended(_) => None,
    };
    (head - reach..head).rev().filter_map(request).take(most).collect()
}

/// How long the newest `most` requests that have not ended have run, summed up. Cheaper than copying them.
pub(crate) fn running_nanos(map: &Map, slot: usize, most: usize, now_unix_nanos: u64) -> u64 {
    let head = map.get(slot + field::RING_HEAD);
    let reach = (RING_ENTRIES as u64).min(head);
    (head - reach..head)
        .rev()
        .filter_map(|index| running_since(map, slot, index))
        .take(most)
        .fold(0, |sum, start| sum.saturating_add(now_unix_nanos.saturating_sub(start)))
}

/// When the request of an entry began, if it runs.
fn running_since(map: &Map, slot: usize, index: u64) -> Option<u64> {
    let base = entry_base(slot, index);
    let settled = index.checked_mul(2)?.checked_add(2)?;
    if map.get(base + SEQUENCE) != settled {
        return None;
    }
    let load = |word: usize| map.word(base + word).load(Ordering::Relaxed);
    let (start, duration) = (load(START), load(DURATION));
    fence(Ordering::Acquire);
    (load(SEQUENCE) == settled && duration == 0).then_some(start)
}

/// Copies one entry. `None` if it has been overwritten, is being written or makes no sense.
pub(crate) fn read_entry(map: &Map, slot: usize, index: u64) -> Option<RingNews> {
    let base = entry_base(slot, index);
    let settled = index.checked_mul(2)?.checked_add(2)?;
    if map.get(base + SEQUENCE) != settled {
        return None;
    }
    let words: [u64; ENTRY] = std::array::from_fn(|word| map.word(base + word).load(Ordering::Relaxed));
    fence(Ordering::Acquire);
    if map.word(base + SEQUENCE).load(Ordering::Relaxed) != settled {
        return None;
    }
    let shape = words[SHAPE];
    let has = |flag: u64| shape & flag != 0;
    if has(flag::END) {
        return Some(RingNews::Ended(RingEnd {
            sequence: words[START],
            duration_nanos: words[DURATION],
            status: shape as u16,
            is_timed_out: has(flag::TIMED_OUT),
        }));
    }
    let method_len = usize::from((shape >> 16) as u8);
    let path_len = usize::from((shape >> 24) as u8);
    if method_len > METHOD_BYTES || path_len > PATH_BYTES {
        return None;
    }
    Some(RingNews::Request(RingEntry {
        sequence: index,
        method: text(&words[METHOD..=METHOD], method_len),
        path: text(&words[PATH..], path_len),
        start_unix_nanos: words[START],
        queued_nanos: words[QUEUED],
        duration_nanos: (words[DURATION] != 0).then_some(words[DURATION]),
        status: shape as u16,
        trace_id: u128::from(words[TRACE]) << 64 | u128::from(words[TRACE + 1]),
        span_id: words[SPAN],
        parent_id: words[PARENT],
        is_sampled: has(flag::SAMPLED),
        is_timed_out: has(flag::TIMED_OUT),
        is_https: has(flag::HTTPS),
        is_queue_known: has(flag::QUEUED),
    }))
}

fn pack(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// Paths are the client's bytes: anything that is not printable text is replaced.
fn text(words: &[u64], length: usize) -> String {
    let mut bytes = [0; PATH_BYTES];
    for (place, word) in bytes.chunks_exact_mut(8).zip(&words[..length.div_ceil(8)]) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let bytes = &bytes[..length];
    match std::str::from_utf8(bytes) {
        // Nearly all are.
        Ok(text) if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) => text.to_owned(),
        _ => {
            let text = String::from_utf8_lossy(bytes);
            text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::HEADER;

    fn start(path: &[u8]) -> RequestStart<'_> {
        RequestStart {
            method: b"GET",
            path,
            start_unix_nanos: 5,
            queued_nanos: Some(7),
            is_https: true,
            trace_id: 1 << 100 | 9,
            span_id: 11,
            parent_id: 13,
            is_sampled: true,
        }
    }

    fn ended(status: u16, duration_nanos: u64) -> RequestEnd {
        RequestEnd { status, duration_nanos, is_timed_out: status == 504 }
    }

    #[test]
    fn an_entry_is_read_back_while_running_and_after() {
        let (map, _fd) = Map::create().unwrap();
        let ticket = begin(&map, HEADER, &start(b"/orders/1"));
        let running = read(&map, HEADER, 10).remove(0);
        assert_eq!((running.method.as_str(), running.path.as_str()), ("GET", "/orders/1"));
        assert_eq!((running.status, running.duration_nanos), (0, None));
        assert!(running.is_sampled && running.is_https && running.is_queue_known && !running.is_timed_out);
        assert_eq!((running.trace_id, running.span_id, running.parent_id), (1 << 100 | 9, 11, 13));
        let end = end(&map, HEADER, ticket, ended(503, 0));
        assert_eq!(end, Ended { is_lost: false, apart: None });
        let ended = read(&map, HEADER, 10).remove(0);
        assert_eq!((ended.status, ended.duration_nanos), (503, Some(1)));
    }

    #[test]
    fn only_requests_that_run_add_to_the_running_time() {
        let (map, _fd) = Map::create().unwrap();
        let began = |nanos| RequestStart { start_unix_nanos: nanos, ..start(b"/") };
        assert_eq!(running_nanos(&map, HEADER, 9, 1000), 0);
        begin(&map, HEADER, &began(100));
        let second = begin(&map, HEADER, &began(300));
        begin(&map, HEADER, &began(2000));
        assert_eq!(running_nanos(&map, HEADER, 9, 1000), 900 + 700, "one that begins later has not run");
        assert_eq!(running_nanos(&map, HEADER, 2, 1000), 700, "the newest count");
        end(&map, HEADER, second, ended(200, 7));
        assert_eq!(running_nanos(&map, HEADER, 9, 1000), 900);
        for word in 0..crate::layout::SLOT {
            map.set(HEADER + word, u64::MAX);
        }
        assert_eq!(running_nanos(&map, HEADER, 9, 1000), 0);
    }

    #[test]
    fn the_ring_keeps_the_newest_and_cuts_long_paths() {
        let (map, _fd) = Map::create().unwrap();
        let first = begin(&map, HEADER, &start(&[b'a'; 1000]));
        assert_eq!(read(&map, HEADER, 1)[0].path.len(), PATH_BYTES);
        for number in 0..RING_ENTRIES {
            begin(&map, HEADER, &start(format!("/{number}").as_bytes()));
        }
        let entries = read(&map, HEADER, usize::MAX);
        assert_eq!(entries.len(), RING_ENTRIES);
        assert_eq!(entries[0].path, format!("/{}", RING_ENTRIES - 1));
        let late = end(&map, HEADER, first, ended(504, 1));
        assert!(late.is_lost, "the first entry is gone");
        let last = head(&map, HEADER) - 1;
        let told = RingEnd { sequence: 0, duration_nanos: 1, status: 504, is_timed_out: true };
        assert_eq!(read_entry(&map, HEADER, last), Some(RingNews::Ended(told)));
        let entries = read(&map, HEADER, usize::MAX);
        assert_eq!(entries.len(), RING_ENTRIES - 1, "an end is no request");
        assert!(entries.windows(2).all(|pair| pair[0].sequence == pair[1].sequence + 1));
    }

    #[test]
    fn scribbled_entries_are_left_out_or_harmless() {
        let (map, _fd) = Map::create().unwrap();
        for fill in [u64::MAX, 0, 0x4141_4141_4141_4141, 1 << 63] {
            for word in 0..crate::layout::SLOT {
                map.set(HEADER + word, fill);
            }
            for entry in read(&map, HEADER, usize::MAX) {
                assert!(entry.path.len() <= PATH_BYTES * 3);
            }
            let ticket = begin(&map, HEADER, &start(b"/after"));
            assert!(!end(&map, HEADER, ticket, ended(200, 1)).is_lost);
            assert_eq!(read(&map, HEADER, 1)[0].path, "/after");
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_replaced() {
        let (map, _fd) = Map::create().unwrap();
        begin(&map, HEADER, &start(b"/\xff\n\x1b[31m"));
        assert_eq!(read(&map, HEADER, 1)[0].path, "/\u{fffd}\u{fffd}\u{fffd}[31m");
    }
}
