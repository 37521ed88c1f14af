//! The two halves of permessage-deflate (RFC 7692 §7.2).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::extension::DeflateConfig;
use super::violation::Violation;

/// What a compressed message ends with, which is left out on the wire: an empty stored block.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// zlib has no smaller window; a larger one than the peer uses does no harm when decompressing.
const SMALLEST_WINDOW: u8 = 9;
/// Room to decompress into, at least.
const ROOM: usize = 4096;
/// Below this the frame gets no smaller worth the work. Any message may go uncompressed (RFC 7692 §6).
const WORTH_COMPRESSING: usize = 64;

/// Decompressor of the messages of one connection. Has no memory before the first compressed message.
#[derive(Debug)]
pub(super) struct Inflater {
    stream: Option<Decompress>,
    window_bits: u8,
    keep_context: bool,
    /// The stream has just ended by a block with BFINAL set.
    ended: bool,
}

impl Inflater {
    pub(super) fn new(config: &DeflateConfig) -> Self {
        Self {
            stream: None,
            window_bits: config.client_max_window_bits.max(SMALLEST_WINDOW),
            keep_context: !config.client_no_context_takeover,
            ended: false,
        }
    }

    /// Decompresses a piece of a message and appends to `out`. Stops once `out` has more than `limit` bytes; the caller looks.
    pub(super) fn inflate(
        &mut self,
        mut input: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), Violation> {
        let bits = self.window_bits;
        let stream = self.stream.get_or_insert_with(|| Decompress::new_with_window_bits(false, bits));
        while out.len() <= limit {
            if out.len() == out.capacity() {
                let room = ROOM.max(input.len().saturating_mul(2));
                out.reserve(room.min((limit - out.len()).saturating_add(1)));
            }
            let before = (stream.total_in(), stream.total_out());
            let status = stream.decompress_vec(input, out, FlushDecompress::None);
            let consumed = (stream.total_in() - before.0) as usize;
            let stuck = before == (stream.total_in(), stream.total_out());
            input = &input[consumed..];
            self.ended = match status.map_err(|_| Violation::Compression)? {
                // What follows is another stream, from the next byte on (RFC 7692 §7.2.1).
                Status::StreamEnd => {
                    stream.reset(false);
                    true
                }
                Status::Ok | Status::BufError => self.ended && stuck,
            };
            if input.is_empty() && (self.ended || out.len() < out.capacity()) || stuck {
                break;
            }
        }
        Ok(())
    }

    /// Ends a message.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, limit: usize) -> Result<(), Violation> {
        // After a block with BFINAL the sender has to add an empty one, of which the tail is the end
        // (RFC 7692 §7.2.3.4). Where it did not, there is nothing to end.
        if !self.ended {
            self.inflate(&TAIL, out, limit)?;
        }
        self.ended = false;
        if !self.keep_context
            && let Some(stream) = &mut self.stream
        {
            stream.reset(false);
        }
        Ok(())
    }
}

/// Compressor of the messages of one connection. Has no memory before the first message worth it.
#[derive(Debug)]
pub(super) struct Deflater {
    stream: Option<Compress>,
    window_bits: u8,
    keep_context: bool,
    level: Compression,
}

impl Deflater {
    pub(super) fn new(config: &DeflateConfig) -> Self {
        Self {
            stream: None,
            window_bits: config.server_max_window_bits.max(SMALLEST_WINDOW),
            keep_context: !config.server_no_context_takeover,
            level: Compression::new(config.level),
        }
    }

    /// Appends the compressed form of a message; false, and nothing appended: send it as it is.
    pub(super) fn deflate(&mut self, message: &[u8], out: &mut Vec<u8>) -> bool {
        if message.len() < WORTH_COMPRESSING {
            return false;
        }
        let start = out.len();
        let (bits, level) = (self.window_bits, self.level);
        let stream = self.stream.get_or_insert_with(|| Compress::new_with_window_bits(level, false, bits));
        out.reserve(message.len() / 2 + ROOM);
        let mut input = message;
        loop {
            let before = stream.total_in();
            let status = stream.compress_vec(input, out, FlushCompress::Sync);
            input = &input[(stream.total_in() - before) as usize..];
            if !matches!(status, Ok(Status::Ok | Status::BufError)) {
                break;
            }
            // Room left over means that nothing more is waiting inside.
            if input.is_empty() && out.len() < out.capacity() {
                break;
            }
            out.reserve(ROOM);
        }
        if !(input.is_empty() && out[start..].ends_with(&TAIL)) {
            // The peer never sees what this stream has in its window; the next begins with an empty one.
            out.truncate(start);
            self.release();
            return false;
        }
        out.truncate(out.len() - TAIL.len());
        if !self.keep_context {
            stream.reset();
        }
        true
    }

    /// Gives the memory back. The next message begins with an empty window, which is always allowed.
    pub(super) fn release(&mut self) {
        self.stream = None;
    }
}
