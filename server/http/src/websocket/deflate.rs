//! The two halves of permessage-deflate (RFC 7692 §7.2).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::extension::DeflateConfig;
use super::violation::Violation;

/// What a compressed message ends with, which is left out on the wire: an empty stored block.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// zlib has no smaller window; a larger one than the peer uses does no harm when decompressing.
const SMALLEST_WINDOW: u8 = 9;
const LARGEST_WINDOW: u8 = 15;
/// Bytes of earlier messages that a message may refer to.
const HISTORY: usize = 1024;
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

/// What compresses the messages of all connections of a thread: a stream takes more than 200 KiB.
///
/// No connection has one of its own. What is kept for each is the end of what it has sent, from which the next message
/// begins: 1 KiB of it makes messages of the usual kind as small as all that the window could hold.
#[derive(Debug, Default)]
pub struct Compressor {
    /// By the size of the window.
    streams: [Option<Compress>; (LARGEST_WINDOW - SMALLEST_WINDOW + 1) as usize],
}

impl Compressor {
    pub fn new() -> Self {
        Self::default()
    }

    fn stream(&mut self, window_bits: u8, level: Compression) -> &mut Compress {
        let bits = window_bits.clamp(SMALLEST_WINDOW, LARGEST_WINDOW);
        let stream = &mut self.streams[usize::from(bits - SMALLEST_WINDOW)];
        stream.get_or_insert_with(|| Compress::new_with_window_bits(level, false, bits))
    }
}

/// The server's half of permessage-deflate on one connection.
#[derive(Debug)]
pub(super) struct Deflater {
    window_bits: u8,
    keep_context: bool,
    level: Compression,
    /// The end of what the peer has in its window.
    history: Vec<u8>,
}

impl Deflater {
    pub(super) fn new(config: &DeflateConfig) -> Self {
        Self {
            window_bits: config.server_max_window_bits,
            keep_context: !config.server_no_context_takeover,
            level: Compression::new(config.level),
            history: Vec::new(),
        }
    }

    /// Appends the compressed form of a message; false, and nothing appended: send it as it is.
    pub(super) fn deflate(&mut self, message: &[u8], out: &mut Vec<u8>, compressor: &mut Compressor) -> bool {
        if message.len() < WORTH_COMPRESSING {
            return false;
        }
        let start = out.len();
        let stream = compressor.stream(self.window_bits, self.level);
        stream.reset();
        if !self.history.is_empty() && stream.set_dictionary(&self.history).is_err() {
            return false;
        }
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
            out.truncate(start);
            return false;
        }
        out.truncate(out.len() - TAIL.len());
        if self.keep_context {
            self.remember(message);
        }
        true
    }

    fn remember(&mut self, message: &[u8]) {
        let new = &message[message.len().saturating_sub(HISTORY)..];
        let kept = self.history.len().min(HISTORY - new.len());
        self.history.drain(..self.history.len() - kept);
        self.history.extend_from_slice(new);
    }
}
