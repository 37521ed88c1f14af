//! A connection after the handshake: what comes in, what goes out, and how it ends.

use std::ops::Range;

use super::close::{self, CloseCode};
use super::deflate::{Compressor, Deflater, Inflater};
use super::extension::DeflateConfig;
use super::frame::{self, Expected, FrameHead, Kind, MAX_CONTROL, MAX_HEAD, Opcode};
use super::message::Assembler;
use super::violation::Violation;

/// What came from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    /// The Pong is in the output already.
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// The client's half of the closing handshake; the server's is in the output, if it was not sent before. Nothing
    /// comes or goes after it: write the output and close the connection. No code: [`CloseCode::NONE`].
    Close {
        code: CloseCode,
        reason: &'a str,
    },
    /// The client broke the protocol; a Close frame that says so is in the output, unless one was sent before. Write
    /// the output and close the connection.
    Failed(Violation),
}

/// What one call of [`Connection::receive`] did.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Received<'a> {
    /// Bytes of the input that were used; the rest has to be given again, with more behind it if there is no event.
    pub consumed: usize,
    /// `None`: more bytes are needed. At most 130 were not consumed then.
    pub event: Option<Event<'a>>,
}

/// What an application must not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the WebSocket connection is closed")]
    Closed,
    #[error("invalid close code {0}: 1000 to 1003, 1007 to 1014 and 3000 to 4999 may be sent")]
    CloseCode(u16),
    #[error("the payload of a control frame has more than 125 bytes")]
    LongControl,
}

/// A frame with data whose payload has not come whole.
#[derive(Debug)]
struct Partial {
    remaining: u64,
    /// Payload so far.
    offset: u64,
    mask: [u8; 4],
    fin: bool,
}

/// Where the content of an event lies.
enum Found {
    Message(Kind, Range<usize>),
    Assembled(Kind),
    Control(Opcode, Range<usize>),
}

/// The server's end of a WebSocket connection.
#[derive(Debug)]
pub struct Connection {
    assembler: Assembler,
    partial: Option<Partial>,
    inflater: Option<Inflater>,
    deflater: Option<Deflater>,
    close_sent: bool,
    /// A Close frame came, or the connection failed: nothing more is read.
    ended: bool,
}

impl Connection {
    /// `max_message_size` bounds a message in bytes, decompressed.
    pub fn new(max_message_size: usize, deflate: Option<&DeflateConfig>) -> Self {
        Self {
            assembler: Assembler::new(max_message_size),
            partial: None,
            inflater: deflate.map(Inflater::new),
            deflater: deflate.map(Deflater::new),
            close_sent: false,
            ended: false,
        }
    }

    /// A Close frame was sent: nothing but Pongs goes out.
    pub fn is_closing(&self) -> bool {
        self.close_sent
    }

    /// The closing handshake is done, or the connection failed: close it once the output is written.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Bytes of an unfinished message that are held.
    pub fn buffered(&self) -> usize {
        if self.assembler.in_message() { self.assembler.data().len() } else { 0 }
    }

    /// Takes the next event out of `input`, whose payloads are unmasked in place. Call it again with the rest of the
    /// input until there is no event. Once a Close frame was sent, messages are read and dropped.
    pub fn receive<'a>(&'a mut self, input: &'a mut [u8], out: &mut Vec<u8>) -> Received<'a> {
        let len = input.len();
        if self.ended {
            return Received { consumed: len, event: None };
        }
        self.assembler.recycle();
        let mut pos = 0;
        let event = match self.advance(input, &mut pos) {
            Ok(None) => return Received { consumed: pos, event: None },
            Ok(Some(Found::Message(kind, range))) => message_event(kind, &input[range]),
            Ok(Some(Found::Assembled(kind))) => message_event(kind, self.assembler.data()),
            Ok(Some(Found::Control(opcode, range))) => control_event(opcode, &input[range]),
            Err(violation) => Err(violation),
        };
        let event = event.unwrap_or_else(Event::Failed);
        match event {
            Event::Ping(payload) => frame::write(out, Opcode::Pong, payload),
            Event::Close { code, .. } => {
                // The code is echoed, the reason is not (RFC 6455 §5.5.1).
                end(out, &mut self.close_sent, Some(code).filter(|code| *code != CloseCode::NONE), "");
                self.ended = true;
            }
            Event::Failed(violation) => {
                end(out, &mut self.close_sent, Some(violation.code()), &violation.to_string());
                self.ended = true;
            }
            Event::Text(_) | Event::Binary(_) | Event::Pong(_) => {}
        }
        Received { consumed: if self.ended { len } else { pos }, event: Some(event) }
    }

    fn advance(&mut self, input: &mut [u8], pos: &mut usize) -> Result<Option<Found>, Violation> {
        loop {
            if let Some(partial) = &mut self.partial {
                let rest = &mut input[*pos..];
                let take = rest.len().min(usize::try_from(partial.remaining).unwrap_or(usize::MAX));
                let payload = &mut rest[..take];
                frame::unmask(payload, partial.mask, partial.offset);
                *pos += take;
                partial.remaining -= take as u64;
                partial.offset += take as u64;
                let (complete, fin) = (partial.remaining == 0, partial.fin);
                self.assembler.push(payload, self.inflater.as_mut())?;
                if !complete {
                    return Ok(None);
                }
                self.partial = None;
                if fin {
                    let kind = self.assembler.finish(self.inflater.as_mut())?;
                    if !self.close_sent {
                        return Ok(Some(Found::Assembled(kind)));
                    }
                }
            }
            let expected =
                Expected { deflate: self.inflater.is_some(), in_message: self.assembler.in_message() };
            let Some(head) = FrameHead::read(&input[*pos..], expected)? else { return Ok(None) };
            let start = *pos + head.size;
            let whole = usize::try_from(head.len).ok().filter(|len| *len <= input.len() - start);
            let range = whole.map(|len| start..start + len);
            if let Opcode::Close | Opcode::Ping | Opcode::Pong = head.opcode {
                let Some(range) = range else { return Ok(None) };
                frame::unmask(&mut input[range.clone()], head.mask, 0);
                *pos = range.end;
                return Ok(Some(Found::Control(head.opcode, range)));
            }
            self.assembler.check_size(&head)?;
            if let (Opcode::Message(kind), Some(range), true, false) =
                (head.opcode, range, head.fin && !self.close_sent, head.compressed)
            {
                frame::unmask(&mut input[range.clone()], head.mask, 0);
                *pos = range.end;
                return Ok(Some(Found::Message(kind, range)));
            }
            *pos = start;
            if let Opcode::Message(kind) = head.opcode {
                self.assembler.begin(kind, head.compressed);
            }
            self.partial = Some(Partial { remaining: head.len, offset: 0, mask: head.mask, fin: head.fin });
        }
    }

    /// Takes the memory of the message that the last call of [`Self::receive`] told of, if the message lies here: it
    /// came in several pieces, or compressed. Otherwise it ends where the consumed part of the input ends.
    pub fn take_assembled(&mut self) -> Option<Vec<u8>> {
        self.assembler.take()
    }

    /// Appends a text message as one frame.
    pub fn send_text(
        &mut self,
        out: &mut Vec<u8>,
        text: &str,
        compressor: &mut Compressor,
    ) -> Result<(), SendError> {
        self.send(out, Kind::Text, text.as_bytes(), compressor)
    }

    /// Appends a binary message as one frame.
    pub fn send_binary(
        &mut self,
        out: &mut Vec<u8>,
        data: &[u8],
        compressor: &mut Compressor,
    ) -> Result<(), SendError> {
        self.send(out, Kind::Binary, data, compressor)
    }

    /// Appends the head of a message of `len` bytes, which the caller sends behind it from where they are; false, and
    /// nothing appended: such messages are compressed here, so use the other methods.
    pub fn send_head(&mut self, out: &mut Vec<u8>, kind: Kind, len: usize) -> Result<bool, SendError> {
        self.check_open()?;
        if self.deflater.is_some() {
            return Ok(false);
        }
        let (head, size) = frame::head(Opcode::Message(kind), false, len);
        out.extend_from_slice(&head[..size]);
        Ok(true)
    }

    fn send(
        &mut self,
        out: &mut Vec<u8>,
        kind: Kind,
        data: &[u8],
        compressor: &mut Compressor,
    ) -> Result<(), SendError> {
        self.check_open()?;
        if let Some(deflater) = &mut self.deflater {
            // The length is known only afterwards, so room is left for the longest head.
            let start = out.len();
            out.extend_from_slice(&[0; MAX_HEAD]);
            if deflater.deflate(data, out, compressor) {
                let len = out.len() - start - MAX_HEAD;
                let (head, size) = frame::head(Opcode::Message(kind), true, len);
                out.copy_within(start + MAX_HEAD.., start + size);
                out[start..start + size].copy_from_slice(&head[..size]);
                out.truncate(start + size + len);
                return Ok(());
            }
            out.truncate(start);
        }
        frame::write(out, Opcode::Message(kind), data);
        Ok(())
    }

    /// Appends a Ping.
    pub fn ping(&mut self, out: &mut Vec<u8>, payload: &[u8]) -> Result<(), SendError> {
        self.control(out, Opcode::Ping, payload)
    }

    /// Appends a Pong that nobody asked for. Pings are answered without it.
    pub fn pong(&mut self, out: &mut Vec<u8>, payload: &[u8]) -> Result<(), SendError> {
        self.control(out, Opcode::Pong, payload)
    }

    fn control(&mut self, out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) -> Result<(), SendError> {
        self.check_open()?;
        if payload.len() > MAX_CONTROL {
            return Err(SendError::LongControl);
        }
        frame::write(out, opcode, payload);
        Ok(())
    }

    /// Appends a Close frame: the server's half of the closing handshake. A reason that is too long is cut.
    pub fn close(&mut self, out: &mut Vec<u8>, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.check_open()?;
        if !close::may_send(code.0) {
            return Err(SendError::CloseCode(code.0));
        }
        end(out, &mut self.close_sent, Some(code), reason);
        Ok(())
    }

    fn check_open(&self) -> Result<(), SendError> {
        if self.close_sent { Err(SendError::Closed) } else { Ok(()) }
    }
}

fn message_event(kind: Kind, data: &[u8]) -> Result<Event<'_>, Violation> {
    Ok(match kind {
        Kind::Text => Event::Text(std::str::from_utf8(data).map_err(|_| Violation::NotUtf8)?),
        Kind::Binary => Event::Binary(data),
    })
}

fn control_event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, Violation> {
    Ok(match opcode {
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        _ => {
            let (code, reason) = close::read(payload)?;
            Event::Close { code: code.unwrap_or(CloseCode::NONE), reason }
        }
    })
}

/// Appends a Close frame unless one was sent before.
fn end(out: &mut Vec<u8>, sent: &mut bool, code: Option<CloseCode>, reason: &str) {
    if std::mem::replace(sent, true) {
        return;
    }
    let mut payload = Vec::with_capacity(MAX_CONTROL);
    if let Some(code) = code {
        payload.extend_from_slice(&code.0.to_be_bytes());
        payload.extend_from_slice(close::fitting(reason).as_bytes());
    }
    frame::write(out, Opcode::Close, &payload);
}
