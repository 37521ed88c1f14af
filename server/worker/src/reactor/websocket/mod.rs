//! Connections that have become a WebSocket each: frames in and out, keep-alive, and the closing handshake.
//!
//! After [`Reactor::upgrade`] such a connection is in [`Phase::WebSocket`] to its end. The reactor reads and decodes without
//! being asked, so that Pings are answered and the client's end is seen whatever the app does; what is for the app waits in
//! an inbox ([`Reactor::next_message`]). A full inbox, or a client that does not take what it is sent, stops the reading:
//! then TCP makes the client wait. What the app sends ([`Reactor::send_message`]) makes it wait as a response does
//! ([`super::live`]).
//!
//! The app's part ends before the connection does: with [`Reactor::close_websocket`], or with [`Event::Shut`]. What is left,
//! the client's answer to a Close, say, is the reactor's own business, with a deadline.
//!
//! Keep-alive: after `ws_ping_interval` a Ping, then `ws_ping_timeout` for the answer. Any byte from the client counts as
//! one, and so does progress in taking what it is sent, behind which the Ping may be stuck.

mod closing;
mod sending;

use std::collections::VecDeque;
use std::sync::Arc;

use nix::errno::Errno;
use podicorn_http::websocket::{CloseCode, Connection as Codec, Event as Decoded, Kind, Violation};

use super::conn::{Connection, Phase};
use super::live::{Asked, Event, Parcel};
use super::outbound::{Piece, Sent};
use super::socket::Then;
use super::table::Token;
use super::timers::Deadline;
use super::{Notice, Reactor};
use crate::clock::{Nanos, SECOND};

/// How long the client may take to answer a Close, as in uvicorn.
pub(super) const CLOSE_TIMEOUT: Nanos = 10 * SECOND;
/// Bytes in an inbox above which no more is read, and at which reading goes on.
const INBOX_HIGH: usize = 64 * 1024;
const INBOX_LOW: usize = 16 * 1024;
/// What a message counts in an inbox beside its bytes.
const MESSAGE_COST: usize = 64;
/// Unsent bytes above which the app is to wait and no more is read, and at which both go on.
const UNSENT_HIGH: usize = 64 * 1024;
const UNSENT_LOW: usize = 16 * 1024;
/// How much one read asks for, and how many reads one connection has before others have their turn.
const READ_BYTES: usize = 64 * 1024;
const READS: usize = 8;
/// Messages from this size on are worth to be sent from where they are.
pub(crate) const BY_REFERENCE: usize = 16 * 1024;

/// A message for the app. Text is UTF-8.
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) data: Vec<u8>,
}

/// How a connection has ended for the app.
pub(crate) struct Shut {
    pub(crate) code: u16,
    pub(crate) reason: String,
    /// What the app has not taken.
    pub(crate) inbox: VecDeque<Message>,
    pub(crate) asked: Asked,
}

/// What [`Reactor::next_message`] has found.
pub(crate) enum Next {
    Message(Message),
    /// Nothing yet; [`Event::Message`] comes.
    Wait,
    /// The connection has ended; [`Event::Shut`] is on its way.
    Over,
}

/// A message of the app.
#[derive(Clone, Copy)]
pub(crate) enum Outgoing<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

impl Outgoing<'_> {
    fn kind(self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Binary(_) => Kind::Binary,
        }
    }

    pub(crate) fn len(self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => data.len(),
        }
    }
}

/// What a connection is beside its socket.
#[allow(clippy::struct_excessive_bools)] // independent facts, not states
pub(super) struct WebSocket {
    codec: Codec,
    /// Received and not decoded: no whole frame, or there is no room for what it would become.
    rest: Vec<u8>,
    inbox: VecDeque<Message>,
    /// What `inbox` counts.
    waiting_bytes: usize,
    /// The app waits for a message.
    wanted: bool,
    /// The app waits until it may send more.
    wants_room: bool,
    /// Nothing is read until the inbox, or the client, has room.
    held_back: bool,
    /// The app has ended it, or knows that it is over.
    parted: bool,
    /// What the client had taken when the last Ping was sent.
    mark: u64,
}

/// Why nothing more comes.
enum Ending {
    Closed(CloseCode, String),
    Failed(Violation),
    Gone,
}

impl WebSocket {
    fn new(codec: Codec, rest: Vec<u8>) -> Self {
        Self {
            codec,
            rest,
            inbox: VecDeque::new(),
            waiting_bytes: 0,
            wanted: false,
            wants_room: false,
            held_back: false,
            parted: false,
            mark: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.waiting_bytes >= INBOX_HIGH
    }

    /// Decodes from the front of `buf` as long as there is room; how much of it was used.
    fn decode(&mut self, buf: &mut [u8], out: &mut Vec<u8>) -> (usize, Option<Ending>) {
        let mut pos = 0;
        while !self.is_full() {
            let received = self.codec.receive(&mut buf[pos..], out);
            pos += received.consumed;
            let (kind, len) = match received.event {
                None => break,
                Some(Decoded::Text(text)) => (Kind::Text, text.len()),
                Some(Decoded::Binary(data)) => (Kind::Binary, data.len()),
                Some(Decoded::Ping(_) | Decoded::Pong(_)) => continue,
                Some(Decoded::Close { code, reason }) => {
                    return (pos, Some(Ending::Closed(code, reason.to_owned())));
                }
                Some(Decoded::Failed(violation)) => return (pos, Some(Ending::Failed(violation))),
            };
            let data = self.codec.take_assembled().unwrap_or_else(|| buf[pos - len..pos].to_vec());
            self.waiting_bytes += len + MESSAGE_COST;
            self.inbox.push_back(Message { kind, data });
        }
        (pos, None)
    }

    fn take(&mut self) -> Option<Message> {
        let message = self.inbox.pop_front()?;
        self.waiting_bytes -= message.data.len() + MESSAGE_COST;
        Some(message)
    }
}

impl Reactor {
    /// The app has accepted the handshake of a running request: sends the response, and frames from here on. False: the
    /// request has lost its connection.
    pub(crate) fn upgrade(&mut self, token: Token, codec: Codec, parcel: &mut Parcel, now: Nanos) -> bool {
        let Some(connection) = self.table.get(token).filter(|connection| connection.phase == Phase::Live)
        else {
            return false;
        };
        if !connection.socket.give_away() {
            return false;
        }
        if matches!(connection.transmit(parcel, Then::More), Sent::Failed(_)) {
            self.close(token);
            return false;
        }
        connection.phase = Phase::WebSocket;
        // The head stays for the log.
        let rest = connection.raw.split_off(connection.head.len());
        connection.raw.shrink_to_fit();
        connection.websocket = Some(Box::new(WebSocket::new(codec, rest)));
        if let (Some(watchdog), Some(watch)) = (&self.watchdog, connection.watch.take()) {
            watchdog.leave(&watch);
        }
        self.running = self.running.saturating_sub(1);
        self.acceptor.note_answer();
        if !self.register(token) {
            self.close(token);
            return true;
        }
        self.timers.set(token.index(), Deadline::Ping, now);
        if self.acceptor.is_open() {
            self.read_frames(token, now);
        } else {
            self.shut_websocket(token, CloseCode::GOING_AWAY, "", now);
        }
        true
    }

    fn websocket(&mut self, token: Token) -> Option<&mut Connection> {
        self.table.get(token).filter(|connection| connection.phase == Phase::WebSocket)
    }

    /// Reads and decodes as long as there is room for what comes.
    pub(super) fn read_frames(&mut self, token: Token, now: Nanos) {
        let mut buf = std::mem::take(&mut self.frames);
        let mut out = Vec::new();
        let Some(connection) = self.websocket(token) else { return self.frames = buf };
        let Some(mut socket) = connection.websocket.take() else { return self.frames = buf };
        buf.clear();
        buf.append(&mut socket.rest);
        let mut reads = 0;
        let ending = loop {
            let (used, ending) = socket.decode(&mut buf, &mut out);
            buf.drain(..used);
            if !out.is_empty() {
                connection.outbound.push(Piece::Owned(std::mem::take(&mut out)));
                let client = Arc::clone(&connection.socket);
                if matches!(connection.outbound.flush(&client, Then::More), Sent::Failed(_)) {
                    break Some(Ending::Gone);
                }
            }
            if ending.is_some() {
                break ending;
            }
            socket.held_back = socket.is_full() || connection.outbound.held() > UNSENT_HIGH;
            if socket.held_back || (connection.drained && !connection.hung_up) || reads == READS {
                break None;
            }
            reads += 1;
            match connection.socket.receive(&mut buf, READ_BYTES) {
                Ok(0) => break Some(Ending::Gone),
                Ok(received) => {
                    connection.drained = connection.socket.is_drained_by(received, READ_BYTES);
                }
                Err(Errno::EAGAIN) => {
                    connection.drained = true;
                    break None;
                }
                Err(Errno::EINTR) => {}
                Err(_) => break Some(Ending::Gone),
            }
        };
        if !buf.is_empty() && ending.is_none() {
            socket.rest.extend_from_slice(&buf);
        }
        let news = socket.wanted && !socket.inbox.is_empty();
        socket.wanted &= !news;
        let again = reads == READS && ending.is_none() && !socket.held_back;
        connection.websocket = Some(socket);
        buf.clear();
        self.frames = buf;
        if reads > 0 && self.timers.kind(token.index()) == Some(Deadline::Pong) {
            self.timers.set(token.index(), Deadline::Ping, now);
        }
        if again {
            // No event will tell of what is there already.
            self.unread.push(token);
            self.wake.ring();
        }
        if news {
            self.tell(token, Event::Message);
        }
        match ending {
            None => {}
            Some(Ending::Gone) => self.close(token),
            Some(Ending::Closed(code, reason)) => {
                self.part_websocket(token, code.0, reason);
                // Both halves of the closing handshake are done: nothing more is to come (RFC 6455 §5.5.1).
                self.finish_websocket(token, true, now);
            }
            Some(Ending::Failed(violation)) => {
                if let Some(connection) = self.websocket(token) {
                    let peer = connection.peer;
                    self.notices.push(Notice::WebSocketFailed { peer, violation });
                }
                self.part_websocket(token, violation.code().0, violation.to_string());
                self.finish_websocket(token, false, now);
            }
        }
    }

    /// Goes on with those that had read enough for one turn.
    pub(super) fn read_on(&mut self, now: Nanos) {
        for token in std::mem::take(&mut self.unread) {
            self.read_frames(token, now);
            self.drive(token, now);
        }
    }

    /// Reads on where there was no room.
    fn make_use_of_room(&mut self, token: Token, now: Nanos) {
        let Some(connection) = self.websocket(token) else { return };
        let Some(socket) = &mut connection.websocket else { return };
        let room = socket.waiting_bytes <= INBOX_LOW && connection.outbound.held() <= UNSENT_LOW;
        if socket.held_back && room {
            self.read_frames(token, now);
        }
    }

    /// The next message for the app.
    pub(crate) fn next_message(&mut self, token: Token, now: Nanos) -> Next {
        let Some(connection) = self.websocket(token) else { return Next::Over };
        let Some(socket) = connection.websocket.as_mut().filter(|socket| !socket.parted) else {
            return Next::Over;
        };
        let Some(message) = socket.take() else {
            socket.wanted = true;
            return Next::Wait;
        };
        if socket.held_back {
            self.make_use_of_room(token, now);
        }
        Next::Message(message)
    }
}
