//! WebSocket as RFC 6455 §5 has it, read in the most plain way: the whole input at once, no extensions.

use podicorn_http::websocket::{CloseCode, Connection, Event};

use crate::bytes::Bytes;

/// What a client has said, as an event or as the close code that it gets for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Text(Bytes),
    Binary(Bytes),
    Ping(Bytes),
    Pong(Bytes),
    Close(u16, Bytes),
    Failed(u16),
}

impl Told {
    pub fn of(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(Bytes::of(text.as_bytes())),
            Event::Binary(data) => Self::Binary(Bytes::of(data)),
            Event::Ping(payload) => Self::Ping(Bytes::of(payload)),
            Event::Pong(payload) => Self::Pong(Bytes::of(payload)),
            Event::Close { code: CloseCode(code), reason } => Self::Close(code, Bytes::of(reason.as_bytes())),
            Event::Failed(violation) => Self::Failed(violation.code().0),
        }
    }

    pub fn ends(&self) -> bool {
        matches!(self, Self::Close(..) | Self::Failed(_))
    }
}

/// Gives the connection the parts one after the other; what it made of them, and what it answered.
pub fn receive<'a>(
    connection: &mut Connection,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Told>, Bytes) {
    let (mut told, mut out, mut buf) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        buf.extend_from_slice(part);
        loop {
            let received = connection.receive(&mut buf, &mut out);
            let consumed = received.consumed;
            let event = received.event.map(Told::of);
            buf.drain(..consumed);
            let Some(event) = event else { break };
            told.push(event);
        }
        assert!(buf.len() < 131, "{} bytes are kept without need", buf.len());
    }
    (told, Bytes(out))
}

/// What a server without extensions has to make of `input`.
pub fn read(input: &[u8], limit: usize) -> Vec<Told> {
    let mut told = Vec::new();
    let mut reader = Reader { rest: input, message: None, limit };
    loop {
        match reader.frame() {
            Ok(Step::Event(event)) => {
                let ends = event.ends();
                told.push(event);
                if ends {
                    return told;
                }
            }
            Ok(Step::Fragment) => {}
            Ok(Step::End) => return told,
            Err(code) => {
                told.push(Told::Failed(code));
                return told;
            }
        }
    }
}

/// What a frame is.
enum Step {
    Event(Told),
    /// Part of a message.
    Fragment,
    /// The input ends before it does.
    End,
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Whether it is text, and what there is of it.
    message: Option<(bool, Vec<u8>)>,
    limit: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn frame(&mut self) -> Result<Step, u16> {
        let Some(&[first]) = self.take(1) else { return Ok(Step::End) };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let inside = self.message.is_some();
        match opcode {
            _ if first & 0x70 != 0 => return Err(1002),
            0 if inside => {}
            1 | 2 if !inside => {}
            8..=10 if fin => {}
            _ => return Err(1002),
        }
        let Some(&[second]) = self.take(1) else { return Ok(Step::End) };
        if second & 0x80 == 0 || opcode >= 8 && second & 0x7f > 125 {
            return Err(1002);
        }
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(bytes) = self.take(length_bytes) else { return Ok(Step::End) };
        let long = bytes.iter().fold(0, |length: u64, byte| length << 8 | u64::from(*byte));
        let length = if length_bytes == 0 { u64::from(second & 0x7f) } else { long };
        let least = [0, 126, 65536][[0, 2, 8].iter().position(|count| *count == length_bytes).unwrap_or(0)];
        if length < least || length > i64::MAX.unsigned_abs() {
            return Err(1002);
        }
        let Some(&[a, b, c, d]) = self.take(4) else { return Ok(Step::End) };
        let held = self.message.as_ref().map_or(0, |(_, data)| data.len());
        if opcode < 8 && length > (self.limit - held) as u64 {
            return Err(1009);
        }
        let there = self.rest.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let whole = there as u64 == length;
        let payload: Vec<u8> =
            self.rest[..there].iter().zip([a, b, c, d].iter().cycle()).map(|(x, y)| x ^ y).collect();
        if opcode >= 8 {
            self.rest = &self.rest[there..];
            return if whole { control(opcode, &payload).map(Step::Event) } else { Ok(Step::End) };
        }
        self.rest = &self.rest[there..];
        let (text, data) = self.message.get_or_insert_with(|| (opcode == 1, Vec::new()));
        data.extend_from_slice(&payload);
        let wrong = std::str::from_utf8(data).err();
        let over = whole && fin;
        if *text && wrong.is_some_and(|wrong| over || wrong.error_len().is_some()) {
            return Err(1007);
        }
        if !whole {
            return Ok(Step::End);
        }
        if !fin {
            return Ok(Step::Fragment);
        }
        let (text, data) = self.message.take().expect("it was put there");
        Ok(Step::Event(if text { Told::Text(Bytes(data)) } else { Told::Binary(Bytes(data)) }))
    }
}

fn control(opcode: u8, payload: &[u8]) -> Result<Told, u16> {
    Ok(match (opcode, payload) {
        (9, _) => Told::Ping(Bytes::of(payload)),
        (10, _) => Told::Pong(Bytes::of(payload)),
        (_, []) => Told::Close(1005, Bytes::default()),
        (_, [_]) => return Err(1002),
        (_, [a, b, reason @ ..]) => {
            let code = u16::from(*a) << 8 | u16::from(*b);
            // IANA's registry of close codes, without those that are for nobody or never sent.
            let registered = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
            if !registered.contains(&code) && !(3000..5000).contains(&code) {
                return Err(1002);
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(1007);
            }
            Told::Close(code, Bytes::of(reason))
        }
    })
}
