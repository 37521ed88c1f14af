//! Frames that cost work and ask for nothing, counted as they come: `h2` itself bounds what it keeps, and header blocks that
//! do not end, but not how often a client may ask for an answer to a PING.

use crate::clock::{Nanos, SECOND};

/// As Gunicorn's: a client that takes requests back (CVE-2023-44487), and one that sends PING, SETTINGS or empty DATA.
const RESETS: u32 = 200;
const IDLE_FRAMES: u32 = 1000;
const WINDOW: Nanos = 10 * SECOND;

/// The length of a frame's header (RFC 9113 §4.1).
const HEADER: usize = 9;

/// How many there were in the present ten seconds.
#[derive(Debug, Default)]
struct Rate {
    since: Nanos,
    count: u32,
}

impl Rate {
    /// One more; true: that is too many.
    fn exceeds(&mut self, most: u32, now: Nanos) -> bool {
        if self.count == 0 || now.saturating_sub(self.since) > WINDOW {
            *self = Self { since: now, count: 0 };
        }
        self.count += 1;
        self.count > most
    }
}

/// Counts the frames of one client.
#[derive(Debug)]
pub(super) struct Toll {
    /// Bytes that are of no interest: of the preface, then of payloads.
    skip: usize,
    /// A frame's header, and the first byte of its payload.
    head: [u8; HEADER + 1],
    have: usize,
    resets: Rate,
    idle: Rate,
}

impl Toll {
    /// `skip`: bytes before the first frame.
    pub(super) fn new(skip: usize) -> Self {
        Self { skip, head: [0; HEADER + 1], have: 0, resets: Rate::default(), idle: Rate::default() }
    }

    /// Whether the client goes on as it may, with these bytes.
    pub(super) fn bears(&mut self, mut bytes: &[u8], now: Nanos) -> bool {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            while let Some((first, rest)) = bytes.split_first()
                && self.skip == 0
            {
                self.head[self.have] = *first;
                self.have += 1;
                bytes = rest;
                if self.have >= HEADER && !self.frame(now) {
                    return false;
                }
            }
        }
        true
    }

    /// A header is there, perhaps with the first byte of the payload.
    fn frame(&mut self, now: Nanos) -> bool {
        let [a, b, c, kind, flags, ..] = self.head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let data = kind == 0 && flags & 1 == 0;
        let padded = data && flags & 8 != 0 && length > 0;
        if padded && self.have == HEADER {
            return true;
        }
        let padding = if padded { usize::from(self.head[HEADER]) + 1 } else { 0 };
        self.skip = length - usize::from(self.have > HEADER);
        self.have = 0;
        match kind {
            // DATA that is not the last.
            0 => !data || length > padding || !self.idle.exceeds(IDLE_FRAMES, now),
            3 => !self.resets.exceeds(RESETS, now),
            // SETTINGS and PING that ask for an answer.
            4 | 6 => flags & 1 != 0 || !self.idle.exceeds(IDLE_FRAMES, now),
            // HEADERS, PUSH_PROMISE, GOAWAY, WINDOW_UPDATE, CONTINUATION: `h2` sees to them.
            1 | 5 | 7 | 8 | 9 => true,
            // PRIORITY, and what nobody knows.
            _ => !self.idle.exceeds(IDLE_FRAMES, now),
        }
    }
}
