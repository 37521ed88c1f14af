//! The chunked coding (RFC 9112 §7.1), as a state machine that may stop at any byte.

use crate::body::Progress;
use crate::config::ParserConfig;
use crate::fields::{Facts, Section, Side, Step};
use crate::grammar::is_tchar;
use crate::head::Fields;
use crate::reject::{ChunkExtensionFault, ChunkSizeFault, Reject, RejectReason};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// At the first digit of a chunk size.
    #[default]
    SizeStart,
    Size,
    /// In the whitespace behind the size, which only an extension may follow.
    SizeSpace,
    /// Behind `;`.
    NameStart,
    Name,
    NameSpace,
    /// Behind `=`.
    ValueStart,
    Token,
    Quoted,
    Escaped,
    /// Behind the closing quote.
    QuotedEnd,
    ValueSpace,
    /// The CR of the size line was seen.
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// Decoder of one chunked body.
#[derive(Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    /// The size of the chunk as far as read, then its bytes to come.
    size: u64,
    line_len: usize,
    extensions_len: usize,
    decoded: u64,
    cfg: ParserConfig,
    /// The trailer section as received.
    trailer_bytes: Vec<u8>,
    trailer_pos: usize,
    trailers: Section,
    facts: Facts,
    failed: Option<Reject>,
}

impl ChunkedDecoder {
    pub fn new(cfg: &ParserConfig) -> Self {
        Self { cfg: cfg.clone(), ..Self::default() }
    }

    /// Begins another body; keeps the allocated memory.
    pub fn start(&mut self, cfg: &ParserConfig) {
        if self.cfg != *cfg {
            self.cfg = cfg.clone();
        }
        self.state = State::default();
        self.size = 0;
        self.line_len = 0;
        self.extensions_len = 0;
        self.decoded = 0;
        self.trailer_bytes.clear();
        self.trailer_pos = 0;
        self.trailers.clear();
        self.facts = Facts::default();
        self.failed = None;
    }

    /// Decodes from `input` and appends at most `max_out` bytes to `out`. See [`crate::BodyDecoder::decode`].
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>, max_out: usize) -> Result<Progress, Reject> {
        if let Some(reject) = &self.failed {
            return Err(reject.clone());
        }
        let result = self.advance(input, out, max_out);
        if let Err(reject) = &result {
            self.failed = Some(reject.clone());
        }
        result
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decoded bytes so far.
    pub fn decoded(&self) -> u64 {
        self.decoded
    }

    /// The trailer fields, once the body is done. They are kept apart from the header fields (RFC 9110 §6.5.1).
    pub fn trailers(&self) -> Fields<'_> {
        self.trailers.fields(&self.trailer_bytes)
    }

    fn advance(&mut self, input: &[u8], out: &mut Vec<u8>, max_out: usize) -> Result<Progress, Reject> {
        let mut pos = 0;
        let mut room = max_out;
        while pos < input.len() {
            match self.state {
                State::Done => break,
                State::Data => {
                    let rest = &input[pos..];
                    let take = rest.len().min(room).min(usize::try_from(self.size).unwrap_or(usize::MAX));
                    if take == 0 {
                        break;
                    }
                    out.extend_from_slice(&rest[..take]);
                    pos += take;
                    room -= take;
                    self.size -= take as u64;
                    self.decoded += take as u64;
                    if self.size == 0 {
                        self.state = State::DataCr;
                    }
                }
                State::DataCr => {
                    expect(input[pos], b'\r')?;
                    pos += 1;
                    self.state = State::DataLf;
                }
                State::DataLf => {
                    expect(input[pos], b'\n')?;
                    pos += 1;
                    self.state = State::SizeStart;
                    self.line_len = 0;
                }
                State::Trailers => pos += self.take_trailers(&input[pos..])?,
                _ => {
                    self.size_line_byte(input[pos])?;
                    pos += 1;
                }
            }
        }
        Ok(Progress { consumed: pos, done: self.state == State::Done })
    }

    /// One byte of `chunk-size [ chunk-ext ] CRLF`.
    fn size_line_byte(&mut self, byte: u8) -> Result<(), Reject> {
        let state = match self.state {
            State::SizeStart => {
                self.size = 0;
                if matches!(byte, b'\r' | b';') {
                    return Err(RejectReason::ChunkSize(ChunkSizeFault::Empty).into());
                }
                self.size_digit(byte)?;
                State::Size
            }
            State::Size => match byte {
                b'\r' => State::SizeLf,
                b';' => State::NameStart,
                b' ' | b'\t' => State::SizeSpace,
                _ => {
                    self.size_digit(byte)?;
                    State::Size
                }
            },
            State::SizeSpace => match byte {
                b' ' | b'\t' => State::SizeSpace,
                b';' => State::NameStart,
                _ => return Err(RejectReason::ChunkSize(ChunkSizeFault::Byte(byte)).into()),
            },
            State::SizeLf => {
                if byte != b'\n' {
                    return Err(RejectReason::ChunkSize(ChunkSizeFault::Byte(byte)).into());
                }
                return self.size_line_end();
            }
            state => extension_byte(state, byte)
                .ok_or(RejectReason::ChunkExtension(ChunkExtensionFault::Byte(byte)))?,
        };
        self.state = state;
        if state == State::SizeLf {
            return Ok(());
        }
        self.line_len += 1;
        let limit = self.cfg.limits.field_size;
        if self.line_len > limit {
            return Err(RejectReason::ChunkSize(ChunkSizeFault::LineTooLong(limit)).into());
        }
        self.extensions_len += usize::from(state != State::Size);
        let limit = self.cfg.limits.chunk_extensions;
        if self.extensions_len > limit {
            return Err(RejectReason::ChunkExtension(ChunkExtensionFault::TooMany(limit)).into());
        }
        Ok(())
    }

    fn size_digit(&mut self, byte: u8) -> Result<(), Reject> {
        let digit =
            char::from(byte).to_digit(16).ok_or(RejectReason::ChunkSize(ChunkSizeFault::Byte(byte)))?;
        if self.size >> 60 != 0 {
            return Err(RejectReason::ChunkSize(ChunkSizeFault::Overflow).into());
        }
        self.size = self.size << 4 | u64::from(digit);
        Ok(())
    }

    fn size_line_end(&mut self) -> Result<(), Reject> {
        if self.size == 0 {
            self.state = State::Trailers;
            return Ok(());
        }
        let total = self.decoded.checked_add(self.size);
        let total = total.ok_or(RejectReason::ChunkSize(ChunkSizeFault::Overflow))?;
        if let Some(limit) = self.cfg.limits.body.filter(|&limit| total > limit) {
            return Err(RejectReason::BodyTooLarge { limit }.into());
        }
        self.state = State::Data;
        Ok(())
    }

    /// Takes input up to the next end of a line of the trailer section; says how much.
    fn take_trailers(&mut self, input: &[u8]) -> Result<usize, Reject> {
        let take = memchr::memchr(b'\n', input).map_or(input.len(), |lf| lf + 1);
        // A line longer than the limits is refused whatever follows, so no more of it is kept than shows that.
        let room = self.trailer_pos + self.cfg.limits.field_size.max(2) - self.trailer_bytes.len();
        let take = take.min(room.max(1));
        self.trailer_bytes.extend_from_slice(&input[..take]);
        loop {
            let facts = &mut self.facts;
            let buf = &self.trailer_bytes;
            match self.trailers.step(buf, &mut self.trailer_pos, &self.cfg, Side::Trailer, facts)? {
                Step::More => return Ok(take),
                Step::Field => {}
                Step::End => {
                    self.state = State::Done;
                    return Ok(take);
                }
            }
        }
    }
}

fn expect(byte: u8, wanted: u8) -> Result<(), Reject> {
    if byte == wanted { Ok(()) } else { Err(RejectReason::ChunkTerminator(byte).into()) }
}

/// The state after one byte of `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`, where the
/// machine is behind the first `;` (RFC 9112 §7.1.1). `None`: the byte does not fit.
fn extension_byte(state: State, byte: u8) -> Option<State> {
    let space = matches!(byte, b' ' | b'\t');
    Some(match (state, byte) {
        (State::NameStart | State::NameSpace | State::ValueStart | State::ValueSpace, _) if space => state,
        (State::NameStart | State::Name, _) if is_tchar(byte) => State::Name,
        (State::Name, _) if space => State::NameSpace,
        (State::Name | State::NameSpace, b'=') => State::ValueStart,
        (State::ValueStart, b'"') => State::Quoted,
        (State::ValueStart | State::Token, _) if is_tchar(byte) => State::Token,
        (State::Token | State::QuotedEnd, _) if space => State::ValueSpace,
        (State::Quoted, b'\\') => State::Escaped,
        (State::Quoted, b'"') => State::QuotedEnd,
        (State::Quoted | State::Escaped, b'\t' | 0x20..=0x7e | 0x80..) => State::Quoted,
        (State::Name | State::NameSpace | State::Token | State::QuotedEnd | State::ValueSpace, b';') => {
            State::NameStart
        }
        (State::Name | State::Token | State::QuotedEnd, b'\r') => State::SizeLf,
        _ => return None,
    })
}
