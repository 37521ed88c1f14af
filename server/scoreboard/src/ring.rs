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
/// status | method length << 16 | path length << 24
const SHAPE: usize = 4;
const METHOD: usize = 5;
const TRACE: usize = 6;
const SPAN: usize = 8;
const PARENT: usize = 9;
const PATH: usize = 10;

/// How much of the path an entry keeps, in bytes.
pub const PATH_BYTES: usize = PATH_WORDS * 8;
/// How much of the method an entry keeps, in bytes.
pub const METHOD_BYTES: usize = 8;

/// What is known when a request begins.
#[derive(Debug, Clone, Copy)]
pub struct RequestStart<'a> {
    pub method: &'a [u8],
    pub path: &'a [u8],
    /// Nanoseconds since the Unix epoch.
    pub start_unix_nanos: u64,
    /// From the arrival of the first byte to now, in nanoseconds.
    pub queued_nanos: u64,
    /// W3C trace context; zero where there is none.
    pub trace_id: u128,
    pub span_id: u64,
    pub parent_id: u64,
}

/// Which entry a request got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// A copy of one entry.
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
    put(QUEUED, start.queued_nanos);
    let method = &start.method[..start.method.len().min(METHOD_BYTES)];
    let path = &start.path[..start.path.len().min(PATH_BYTES)];
    put(SHAPE, (method.len() as u64) << 16 | (path.len() as u64) << 24);
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
    Ticket(index)
}

/// Ends an entry; `false` if it has been overwritten since.
pub(crate) fn end(map: &Map, slot: usize, ticket: Ticket, status: u16, duration_nanos: u64) -> bool {
    let base = entry_base(slot, ticket.0);
    let sequence = map.word(base + SEQUENCE);
    if sequence.load(Ordering::Relaxed) != 2 * ticket.0 + 2 {
        return false;
    }
    sequence.store(2 * ticket.0 + 1, Ordering::Relaxed);
    fence(Ordering::Release);
    let shape = map.word(base + SHAPE);
    shape.store(shape.load(Ordering::Relaxed) & !0xffff | u64::from(status), Ordering::Relaxed);
    // A request that took no measurable time still ended: 0 means "running".
    map.word(base + DURATION).store(duration_nanos.max(1), Ordering::Relaxed);
    sequence.store(2 * ticket.0 + 2, Ordering::Release);
    true
}

/// Copies the newest entries, newest first, at most `most`. Entries that change while they are read, or that make no
/// sense, are left out.
pub(crate) fn read(map: &Map, slot: usize, most: usize) -> Vec<RingEntry> {
    let head = map.get(slot + field::RING_HEAD);
    let reach = (RING_ENTRIES as u64).min(head);
    (head - reach..head).rev().filter_map(|index| read_entry(map, slot, index)).take(most).collect()
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

fn read_entry(map: &Map, slot: usize, index: u64) -> Option<RingEntry> {
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
    let method_len = usize::from((shape >> 16) as u8);
    let path_len = usize::from((shape >> 24) as u8);
    if method_len > METHOD_BYTES || path_len > PATH_BYTES {
        return None;
    }
    Some(RingEntry {
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
    })
}

fn pack(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// Paths are the client's bytes: anything that is not printable text is replaced.
fn text(words: &[u64], length: usize) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).take(length).collect();
    String::from_utf8_lossy(&bytes).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
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
            queued_nanos: 7,
            trace_id: 1 << 100 | 9,
            span_id: 11,
            parent_id: 13,
        }
    }

    #[test]
    fn an_entry_is_read_back_while_running_and_after() {
        let (map, _fd) = Map::create().unwrap();
        let ticket = begin(&map, HEADER, &start(b"/orders/1"));
        let running = read(&map, HEADER, 10).remove(0);
        assert_eq!((running.method.as_str(), running.path.as_str()), ("GET", "/orders/1"));
        assert_eq!((running.status, running.duration_nanos), (0, None));
        assert_eq!((running.trace_id, running.span_id, running.parent_id), (1 << 100 | 9, 11, 13));
        assert!(end(&map, HEADER, ticket, 503, 0));
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
        end(&map, HEADER, second, 200, 7);
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
        assert!(!end(&map, HEADER, first, 200, 1), "the first entry is gone");
        let entries = read(&map, HEADER, usize::MAX);
        assert_eq!(entries.len(), RING_ENTRIES);
        assert_eq!(entries[0].path, format!("/{}", RING_ENTRIES - 1));
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
            assert!(end(&map, HEADER, ticket, 200, 1));
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
