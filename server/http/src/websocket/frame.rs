//! Frames (RFC 6455 §5.2): reading a head, undoing the mask, writing heads and control frames.

use super::violation::Violation;

/// Most bytes that a control frame may carry (RFC 6455 §5.5).
pub(super) const MAX_CONTROL: usize = 125;
/// Most bytes of a head that a server writes.
pub(super) const MAX_HEAD: usize = 10;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// The two kinds of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Binary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Message(Kind),
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn read(bits: u8) -> Result<Self, Violation> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Message(Kind::Text),
            2 => Self::Message(Kind::Binary),
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return Err(Violation::ReservedOpcode(bits)),
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Message(Kind::Text) => 1,
            Self::Message(Kind::Binary) => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// What may come next on a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// permessage-deflate was negotiated: the first frame of a message may have RSV1 set.
    pub(super) deflate: bool,
    /// A fragmented message has begun.
    pub(super) in_message: bool,
}

/// The head of a frame from the client.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameHead {
    pub(super) fin: bool,
    pub(super) compressed: bool,
    pub(super) opcode: Opcode,
    /// Bytes of payload.
    pub(super) len: u64,
    pub(super) mask: [u8; 4],
    /// Bytes that the head itself takes.
    pub(super) size: usize,
}

impl FrameHead {
    /// Reads a head from the start of `buf`; `None`: more bytes are needed. Each byte is judged as soon as it is
    /// there.
    pub(super) fn read(buf: &[u8], expected: Expected) -> Result<Option<Self>, Violation> {
        let [first, rest @ ..] = buf else { return Ok(None) };
        let opcode = first_byte(*first, expected)?;
        let [second, rest @ ..] = rest else { return Ok(None) };
        if second & MASKED == 0 {
            return Err(Violation::Unmasked);
        }
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL {
            return Err(Violation::LongControl);
        }
        let (len, rest) = match short {
            126 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from_be_bytes(*len), rest),
                None => return Ok(None),
            },
            _ => (u64::from(short), rest),
        };
        if len >> 63 != 0 {
            return Err(Violation::LengthTooLarge);
        }
        if short == 126 && len < 126 || short == 127 && len < 1 << 16 {
            return Err(Violation::LengthNotMinimal);
        }
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some(Self {
            fin: first & FIN != 0,
            compressed: first & RSV1 != 0,
            opcode,
            len,
            mask: *mask,
            size: buf.len() - rest.len(),
        }))
    }
}

fn first_byte(first: u8, expected: Expected) -> Result<Opcode, Violation> {
    let opcode = Opcode::read(first & 0x0f)?;
    let reserved = first & RESERVED;
    let compressed = reserved == RSV1 && expected.deflate && matches!(opcode, Opcode::Message(_));
    if reserved != 0 && !compressed {
        return Err(Violation::ReservedBits);
    }
    match (opcode, expected.in_message) {
        _ if opcode.is_control() && first & FIN == 0 => Err(Violation::FragmentedControl),
        (Opcode::Continuation, false) => Err(Violation::NothingToContinue),
        (Opcode::Message(_), true) => Err(Violation::MessageInMessage),
        _ => Ok(opcode),
    }
}

/// Masks or unmasks `data`, which begins `offset` bytes into the payload (RFC 6455 §5.3).
pub(super) fn unmask(data: &mut [u8], mut mask: [u8; 4], offset: u64) {
    mask.rotate_left((offset % 4) as usize);
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= key;
    }
}

/// The head of an unfragmented frame from the server, never masked: bytes and how many of them.
pub(super) fn head(opcode: Opcode, compressed: bool, len: usize) -> ([u8; MAX_HEAD], usize) {
    let mut head = [0; MAX_HEAD];
    head[0] = FIN | if compressed { RSV1 } else { 0 } | opcode.bits();
    let size = match len {
        0..=125 => {
            head[1] = len as u8;
            2
        }
        126..=0xffff => {
            head[1] = 126;
            head[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            4
        }
        _ => {
            head[1] = 127;
            head[2..].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    (head, size)
}

/// Appends a whole frame.
pub(super) fn write(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let (head, size) = head(opcode, false, payload.len());
    out.reserve(size + payload.len());
    out.extend_from_slice(&head[..size]);
    out.extend_from_slice(payload);
}
