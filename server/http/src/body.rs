//! Taking the body of a request out of the bytes that follow its head.

use crate::chunked::ChunkedDecoder;
use crate::config::ParserConfig;
use crate::head::{BodyKind, Fields};
use crate::reject::{Reject, RejectReason};

/// What one call of a decoder did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Progress {
    /// Bytes of the input that were used; the rest has to be given again (after the end of the body it belongs
    /// to the next request).
    pub consumed: usize,
    /// The body is complete. Stays true.
    pub done: bool,
}

/// Decoder of a body of any [`BodyKind`]. Reuse one per connection with [`BodyDecoder::start`].
#[derive(Debug, Default)]
pub struct BodyDecoder {
    kind: BodyKind,
    /// Of a body with a length: bytes to come.
    remaining: u64,
    /// Made with the first chunked body: most connections never carry one.
    chunked: Option<Box<ChunkedDecoder>>,
}

impl BodyDecoder {
    pub fn new(kind: BodyKind, cfg: &ParserConfig) -> Self {
        let mut decoder = Self::default();
        decoder.start(kind, cfg);
        decoder
    }

    /// Begins the body of the next request.
    pub fn start(&mut self, kind: BodyKind, cfg: &ParserConfig) {
        self.kind = kind;
        self.remaining = match kind {
            BodyKind::Length(length) => length,
            BodyKind::None => 0,
            BodyKind::Chunked => {
                match &mut self.chunked {
                    Some(chunked) => chunked.start(cfg),
                    none => *none = Some(Box::new(ChunkedDecoder::new(cfg))),
                }
                0
            }
        };
    }

    /// Decodes from `input` and appends at most `max_out` bytes to `out`.
    ///
    /// Uses as much of `input` as it can; with `consumed < input.len()` either the body is done or `max_out` is
    /// reached. After an error the connection is out of step: every further call gives the same error.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>, max_out: usize) -> Result<Progress, Reject> {
        if self.kind == BodyKind::Chunked
            && let Some(chunked) = &mut self.chunked
        {
            return chunked.decode(input, out, max_out);
        }
        let most = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(max_out);
        let consumed = input.len().min(most);
        out.extend_from_slice(&input[..consumed]);
        self.remaining -= consumed as u64;
        Ok(Progress { consumed, done: self.remaining == 0 })
    }

    /// So many bytes of a body of known length were received straight to where [`Self::decode`] would have put them.
    pub fn received(&mut self, bytes: usize) {
        self.remaining = self.remaining.saturating_sub(bytes as u64);
    }

    pub fn is_done(&self) -> bool {
        self.present_chunked().map_or(self.remaining == 0, ChunkedDecoder::is_done)
    }

    /// The peer has ended its side: an error (400) if the body is not complete (RFC 9112 §8).
    pub fn end_of_input(&self) -> Result<(), Reject> {
        if self.is_done() { Ok(()) } else { Err(RejectReason::BodyTruncated.into()) }
    }

    /// Bytes still to come, where that is known: not for a chunked body that is not done.
    pub fn remaining(&self) -> Option<u64> {
        match self.present_chunked() {
            Some(chunked) => chunked.is_done().then_some(0),
            None => Some(self.remaining),
        }
    }

    /// The trailer fields of a chunked body that is done; none of any other body.
    pub fn trailers(&self) -> Fields<'_> {
        self.present_chunked().map(ChunkedDecoder::trailers).unwrap_or_default()
    }

    /// The decoder of the present body, if that is chunked.
    fn present_chunked(&self) -> Option<&ChunkedDecoder> {
        self.chunked.as_deref().filter(|_| self.kind == BodyKind::Chunked)
    }
}
