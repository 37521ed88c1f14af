//! Putting messages together from the payload of their frames.

use super::deflate::Inflater;
use super::frame::{FrameHead, Kind};
use super::utf8::Utf8;
use super::violation::Violation;

/// Memory that is kept from one message to the next.
const KEPT: usize = 64 * 1024;

/// The message that is being received.
#[derive(Debug)]
pub(super) struct Assembler {
    limit: usize,
    kind: Kind,
    compressed: bool,
    begun: bool,
    data: Vec<u8>,
    utf8: Utf8,
}

impl Assembler {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            kind: Kind::Binary,
            compressed: false,
            begun: false,
            data: Vec::new(),
            utf8: Utf8::default(),
        }
    }

    /// A fragmented message has begun and not ended.
    pub(super) fn in_message(&self) -> bool {
        self.begun
    }

    /// The message that was completed last, until the next frame begins.
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Gives the message that was completed last away.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        (!self.begun && !self.data.is_empty()).then(|| std::mem::take(&mut self.data))
    }

    /// Forgets the message that was completed last.
    pub(super) fn recycle(&mut self) {
        if !self.begun && !self.data.is_empty() {
            self.data.clear();
            self.data.shrink_to(KEPT);
        }
    }

    /// Judges the length of a frame with data, before its payload is there.
    pub(super) fn check_size(&self, head: &FrameHead) -> Result<(), Violation> {
        let compressed = if self.begun { self.compressed } else { head.compressed };
        let most = if compressed {
            // What a compressor may add to data that it cannot make smaller.
            self.limit.saturating_add(self.limit / 8).saturating_add(1024)
        } else {
            self.limit - if self.begun { self.data.len() } else { 0 }
        };
        if head.len > most as u64 { Err(Violation::TooLarge { limit: self.limit }) } else { Ok(()) }
    }

    pub(super) fn begin(&mut self, kind: Kind, compressed: bool) {
        self.recycle();
        self.kind = kind;
        self.compressed = compressed;
        self.begun = true;
    }

    /// Takes unmasked payload.
    pub(super) fn push(&mut self, payload: &[u8], inflater: Option<&mut Inflater>) -> Result<(), Violation> {
        let start = self.data.len();
        let Some(inflater) = inflater.filter(|_| self.compressed) else {
            self.data.extend_from_slice(payload);
            return self.check(start);
        };
        let result = inflater.inflate(payload, &mut self.data, self.limit);
        self.check_inflated(start, result)
    }

    /// Ends the message. See [`Assembler::data`].
    pub(super) fn finish(&mut self, inflater: Option<&mut Inflater>) -> Result<Kind, Violation> {
        if let Some(inflater) = inflater.filter(|_| self.compressed) {
            let start = self.data.len();
            let result = inflater.finish(&mut self.data, self.limit);
            self.check_inflated(start, result)?;
        }
        self.begun = false;
        if self.utf8.finish() { Ok(self.kind) } else { Err(Violation::NotUtf8) }
    }

    /// Judges what was decompressed in the order of its bytes, whatever their number: first the text up to the limit,
    /// then the limit, then what stopped the decompressor.
    fn check_inflated(&mut self, start: usize, result: Result<(), Violation>) -> Result<(), Violation> {
        let too_large = self.data.len() > self.limit;
        self.data.truncate(self.limit);
        self.check(start)?;
        if too_large { Err(Violation::TooLarge { limit: self.limit }) } else { result }
    }

    /// Checks the text from `start` on.
    fn check(&mut self, start: usize) -> Result<(), Violation> {
        if self.kind == Kind::Binary || self.utf8.push(&self.data[start..]) {
            Ok(())
        } else {
            Err(Violation::NotUtf8)
        }
    }
}
