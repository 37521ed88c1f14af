//! The client's end of a WebSocket connection, for tests: frames as a client writes them, and what the server made of
//! them.
#![allow(dead_code, unreachable_pub)] // each test binary uses a part of it
#![allow(clippy::unwrap_used)] // in the helpers of tests, which clippy does not see as tests

use podicorn_http::websocket::{CloseCode, Connection, DeflateConfig, Event, Violation};

pub const LIMIT: usize = 1 << 20;
pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
pub const FIN: u8 = 0x80;
pub const RSV1: u8 = 0x40;

/// A masked frame whose first byte is given whole.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    frame_masked_by(first, payload, MASK)
}

pub fn frame_masked_by(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = frame_head(first, payload.len() as u64);
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// The head of a masked frame up to the mask, its length in the fewest bytes.
pub fn frame_head(first: u8, len: u64) -> Vec<u8> {
    match len {
        0..126 => vec![first, 0x80 | len as u8],
        126..0x1_0000 => [&[first, 0xfe], &(len as u16).to_be_bytes()[..]].concat(),
        _ => [&[first, 0xff], &len.to_be_bytes()[..]].concat(),
    }
}

/// The payload of a Close frame.
pub fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason].concat()
}

/// An event that owns its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
    Failed(Violation),
}

impl Told {
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    fn of(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::text(text),
            Event::Binary(data) => Self::Binary(data.to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close { code: CloseCode(code), reason } => Self::Close(code, reason.to_owned()),
            Event::Failed(violation) => Self::Failed(violation),
        }
    }
}

/// What came of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub events: Vec<Told>,
    /// What the server answered.
    pub out: Vec<u8>,
    /// Bytes at the end that were not used.
    pub left: usize,
}

/// Gives `input` to the connection in parts of these sizes in turn.
pub fn receive_in_parts(connection: &mut Connection, input: &[u8], sizes: &[usize]) -> Outcome {
    let mut outcome = Outcome { events: Vec::new(), out: Vec::new(), left: 0 };
    let mut sizes = sizes.iter().cycle();
    let (mut buf, mut given) = (Vec::new(), 0);
    while given < input.len() {
        let size = sizes.next().copied().unwrap_or(1).max(1).min(input.len() - given);
        buf.extend_from_slice(&input[given..given + size]);
        given += size;
        loop {
            let received = connection.receive(&mut buf, &mut outcome.out);
            let consumed = received.consumed;
            let event = received.event.map(Told::of);
            buf.drain(..consumed);
            let Some(event) = event else { break };
            outcome.events.push(event);
        }
        assert!(buf.len() < 131, "{} bytes were left without need", buf.len());
    }
    outcome.left = buf.len();
    outcome
}

pub fn receive(connection: &mut Connection, input: &[u8]) -> Outcome {
    receive_in_parts(connection, input, &[usize::MAX])
}

pub fn plain() -> Connection {
    Connection::new(LIMIT, None)
}

pub fn compressing(config: &DeflateConfig) -> Connection {
    Connection::new(LIMIT, Some(config))
}

/// What a new connection without extensions makes of `input`.
pub fn outcome(input: &[u8]) -> Outcome {
    receive(&mut plain(), input)
}

/// Asserts that the connection fails after these events, and that a Close frame with the code of the violation is the
/// last that the server says.
pub fn assert_fails(outcome: &Outcome, before: &[Told], violation: Violation, code: u16) {
    let (last, first) = outcome.events.split_last().unwrap();
    assert_eq!(first, before);
    assert_eq!(*last, Told::Failed(violation));
    let close = server_frame(FIN | CLOSE, &close_payload(code, violation.to_string().as_bytes()));
    assert!(outcome.out.ends_with(&close), "{:?}", outcome.out);
}

/// A frame as a server writes it.
pub fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_head(first, payload.len() as u64);
    frame[1] &= 0x7f;
    frame.extend_from_slice(payload);
    frame
}
