//! Responses: checking what the application wants to send, deciding the framing, and writing it.
//!
//! The order of use: [`ResponseHead::set_status`] and [`ResponseHead::add_header`] check and collect;
//! [`decide_framing`] says how the body is delimited and whether the connection can persist;
//! [`ResponseHead::write`] puts the head into a buffer. A chunked body is then written by [`write_chunk`] (or
//! [`write_chunk_size`], the data and [`CRLF`]) and ended by [`LAST_CHUNK`].

mod error;
mod framing;
mod head;
mod interim;

pub use error::{reason_phrase, write_error};
pub use framing::{Decision, Exchange, Framing, RequestMethod, decide_framing};
pub use head::{InvalidResponse, ResponseHead};
pub use interim::{CONTINUE, write_early_hints};

/// Ends a chunk.
pub const CRLF: &[u8] = b"\r\n";

/// Ends a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes the size line of a chunk of `len` bytes. `len` must not be 0: that would end the body.
pub fn write_chunk_size(out: &mut Vec<u8>, len: usize) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    debug_assert!(len > 0, "an empty chunk ends the body");
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for i in (0..digits).rev() {
        out.push(DIGITS[len >> (i * 4) & 15]);
    }
    out.extend_from_slice(CRLF);
}

/// Writes `data` as one chunk; nothing if it is empty.
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        write_chunk_size(out, data.len());
        out.extend_from_slice(data);
        out.extend_from_slice(CRLF);
    }
}
