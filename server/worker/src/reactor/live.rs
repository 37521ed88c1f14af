//! Requests that run while the reactor goes on: for worker types whose app gives control back in the middle of a request.
//!
//! Such a connection stays in the table ([`Phase::Live`]) from [`Reactor::host`] until [`Reactor::answered`]. The worker
//! type draws the rest of the body when the app asks for it ([`Reactor::pull`]), and gives pieces of the response
//! ([`Reactor::push`]). What the app waits for, and what it has to know of its client, comes as [`Happening`]s: the reactor
//! calls nobody back, so that no Python runs under its lock. They are to be taken out after every turn, and after every
//! call for which [`Reactor::wants_turn`] says so.
//!
//! Back-pressure goes both ways. Nothing is read that the app has not asked for, so TCP makes the client wait; and a piece of
//! the response that leaves more than [`HIGH`] bytes unsent makes the app wait until the client has taken all but [`LOW`].

use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use podicorn_http::{Head, Reject};

use super::conn::{Connection, Phase};
use super::outbound::{Piece, Sent};
use super::socket::{Peer, Then, TimeOut};
use super::table::Token;
use super::timers::Deadline;
use super::websocket::Shut;
use super::{Notice, Reactor};
use crate::clock::Nanos;

/// Unsent bytes of a response above which the app is to wait.
const HIGH: usize = 64 * 1024;
/// Unsent bytes at which it may go on.
const LOW: usize = 16 * 1024;
/// Bytes of a body that one [`Reactor::pull`] gives at most, but for what one read has brought.
const PULL: usize = 64 * 1024;

/// What a running request waits for.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Since when it has waited for more of its body; 0: it does not.
    body_since: Nanos,
    /// How long it has waited in the present stall period, before that.
    body_waited: Nanos,
    /// Since when the client has not taken all of what is there; 0: it has.
    send_since: Nanos,
    /// What the client had taken then.
    send_mark: u64,
    /// The app waits until it may send more.
    wants_room: bool,
    /// It knows that the client has finished sending.
    told_left: bool,
}

/// What a request was, for the log of one that has lost its connection.
pub(crate) struct Asked {
    pub(crate) peer: Peer,
    pub(crate) head: Head,
    /// What `head` was parsed from.
    pub(crate) raw: Vec<u8>,
}

/// What a running request is to be told.
pub(crate) enum Event {
    /// [`Reactor::pull`] may have something.
    Body,
    /// The response may go on, or the next message may be sent.
    Room,
    /// [`Reactor::next_message`] has something.
    Message,
    /// The WebSocket has ended without the app's doing.
    Shut(Box<Shut>),
    /// The client has finished sending, so it may have gone. It still gets what the app gives.
    Left,
    /// The request has lost its connection: the client has gone or was given up, or has been answered in the app's place by
    /// this status (0: it was not), which is counted already. After 504 it may be that the response had begun and was cut.
    Over { status: u16, asked: Box<Asked> },
}

/// An event and whose it is.
pub(crate) struct Happening {
    pub(crate) token: Token,
    pub(crate) event: Event,
}

/// What [`Reactor::pull`] has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pull {
    /// Bytes, of which there may be none if they are the last.
    Data { last: bool },
    /// Nothing yet; [`Event::Body`] comes.
    Wait,
    /// The request has lost its connection.
    Over,
}

/// How [`Reactor::push`] has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Push {
    /// More may follow at once.
    Taken,
    /// More is welcome only after [`Event::Room`].
    Full,
    /// The watchdog has taken the request from the app.
    TimedOut,
    /// The request has lost its connection.
    Over,
}

/// Bytes of a response: first the pieces, then the buffer.
#[derive(Default)]
pub(crate) struct Parcel {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) buffer: Vec<u8>,
}

impl Parcel {
    /// Sends the buffer's bytes before what follows.
    pub(crate) fn seal(&mut self) {
        if !self.buffer.is_empty() {
            self.pieces.push(Piece::Owned(std::mem::take(&mut self.buffer)));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.buffer.clear();
    }
}

/// What [`Connection::draw`] has found.
enum Drawn {
    Data,
    Empty,
    Gone,
}

impl Connection {
    /// Sends a parcel as far as the socket takes it, behind what still waits. The rest is kept.
    pub(crate) fn transmit(&mut self, parcel: &mut Parcel, then: Then) -> Sent {
        if self.outbound.is_empty() && parcel.pieces.is_empty() {
            // The common case: one small response, one send.
            while !parcel.buffer.is_empty() {
                match self.socket.send(&parcel.buffer, then) {
                    Ok(sent) if sent == parcel.buffer.len() => {
                        self.outbound.count(sent);
                        parcel.buffer.clear();
                        return Sent::All;
                    }
                    Ok(sent) => {
                        self.outbound.count(sent);
                        parcel.buffer.drain(..sent);
                        break;
                    }
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => break,
                    Err(errno) => return Sent::Failed(errno),
                }
            }
        }
        for piece in parcel.pieces.drain(..) {
            self.outbound.push(piece);
        }
        if !parcel.buffer.is_empty() {
            self.outbound.push(Piece::Owned(std::mem::take(&mut parcel.buffer)));
        }
        let socket = Arc::clone(&self.socket);
        self.outbound.flush(&socket, then)
    }

    pub(super) fn asked(&self) -> Asked {
        let raw = self.raw[..self.head.len()].to_vec();
        Asked { peer: self.peer, head: self.head.clone(), raw }
    }

    /// Appends more of the body to `out`, by way of `scratch`.
    fn draw(&mut self, out: &mut Vec<u8>, scratch: &mut [u8]) -> Result<Drawn, Reject> {
        let start = self.head.len();
        let mut fresh = 0..0;
        loop {
            let received = &scratch[std::mem::take(&mut fresh)];
            if self.raw.len() == start {
                let progress = self.decoder.decode(received, out, PULL)?;
                // What follows a complete request stays behind its head: it may be the next one.
                self.raw.extend_from_slice(&received[progress.consumed..]);
                self.body_complete = progress.done;
            } else {
                self.raw.extend_from_slice(received);
                let progress = self.decoder.decode(&self.raw[start..], out, PULL)?;
                self.raw.drain(start..start + progress.consumed);
                self.body_complete = progress.done;
            }
            if self.body_complete || !out.is_empty() {
                return Ok(Drawn::Data);
            }
            if self.drained && !self.hung_up {
                return Ok(Drawn::Empty);
            }
            match self.socket.read(scratch) {
                Ok(0) => return Ok(Drawn::Gone),
                Ok(received) => {
                    fresh = 0..received;
                    self.drained = self.socket.is_drained_by(received, scratch.len());
                    self.moved += received as u64;
                }
                Err(Errno::EAGAIN) => {
                    self.drained = true;
                    return Ok(Drawn::Empty);
                }
                Err(Errno::EINTR) => {}
                Err(_) => return Ok(Drawn::Gone),
            }
        }
    }
}

impl Reactor {
    /// Takes back the connection of a request that runs. It was taken out by [`Self::next_request`].
    pub(crate) fn host(&mut self, token: Token, mut connection: Box<Connection>) {
        connection.phase = Phase::Live;
        connection.live = Live::default();
        let missed = self.table.put_back(token, connection);
        if let Some(connection) = self.table.get(token) {
            connection.note(missed);
        }
        // Most requests are over before the next turn, and need no epoll.
        self.hosted.push(token);
    }

    /// Begins to watch the connections of those that still run.
    pub(super) fn settle_in(&mut self) {
        let mut hosted = std::mem::take(&mut self.hosted);
        for token in hosted.drain(..) {
            if self.live(token).is_some() {
                self.watch(token);
                self.tell_if_left(token);
            }
        }
        self.hosted = hosted;
    }

    fn live(&mut self, token: Token) -> Option<&mut Connection> {
        self.table.get(token).filter(|connection| connection.phase == Phase::Live)
    }

    fn watch(&mut self, token: Token) {
        if !self.register(token) {
            self.close(token);
        }
    }

    /// Takes the connection of a running request out, so that its response can be finished without holding the reactor.
    /// It goes back by [`Self::answered`].
    pub(crate) fn lend_live(&mut self, token: Token) -> Option<Box<Connection>> {
        self.live(token)?;
        self.table.lend(token)
    }

    /// Appends more of the body of a running request to `out`, which is empty.
    pub(crate) fn pull(&mut self, token: Token, out: &mut Vec<u8>, now: Nanos) -> Pull {
        let Some(connection) = self.table.get(token).filter(|connection| connection.phase == Phase::Live)
        else {
            return Pull::Over;
        };
        connection.send_continue();
        let drawn = connection.draw(out, &mut self.scratch);
        match drawn {
            Ok(Drawn::Data) => {
                let last = connection.body_complete;
                if self.wait_was_too_long(token, now) {
                    self.fail(token, 408, "", now);
                    return Pull::Over;
                }
                if last {
                    self.tell_if_left(token);
                }
                Pull::Data { last }
            }
            Ok(Drawn::Empty) => {
                if connection.live.body_since == 0 {
                    if connection.live.body_waited == 0 {
                        connection.mark = connection.moved;
                    }
                    connection.live.body_since = now;
                }
                self.watch(token);
                self.set_live_deadline(token, now);
                Pull::Wait
            }
            Ok(Drawn::Gone) => {
                self.close(token);
                Pull::Over
            }
            Err(reject) => {
                let peer = connection.peer;
                self.fail(token, reject.status, &reject.to_string(), now);
                self.notices.push(Notice::Refused { peer, reject });
                Pull::Over
            }
        }
    }

    /// The app itself has sent `100 Continue`.
    pub(crate) fn continued(&mut self, token: Token) {
        if let Some(connection) = self.live(token) {
            connection.continue_due = false;
        }
    }

    /// The end of a wait for the body. Only time spent waiting counts against the client, not the app's own.
    fn wait_was_too_long(&mut self, token: Token, now: Nanos) -> bool {
        let (stall, least) = (self.stall, self.least);
        let Some(connection) = self.table.get(token) else { return false };
        if connection.live.body_since == 0 {
            return false;
        }
        // Never 0 again before the period is over.
        connection.live.body_waited += (now - std::mem::take(&mut connection.live.body_since)).max(1);
        if stall.is_none_or(|stall| connection.live.body_waited < stall) {
            return false;
        }
        connection.live.body_waited = 0;
        connection.moved - connection.mark < least
    }

    /// Sends a parcel of the response of a running request. `answers`: it is not an interim response.
    pub(crate) fn push(&mut self, token: Token, parcel: &mut Parcel, answers: bool, now: Nanos) -> Push {
        let Some(connection) = self.live(token) else { return Push::Over };
        let ours = if answers { connection.socket.answer() } else { !connection.socket.is_timed_out() };
        if !ours {
            return Push::TimedOut;
        }
        match connection.transmit(parcel, Then::More) {
            Sent::All => {
                connection.live.send_since = 0;
                Push::Taken
            }
            Sent::Blocked { .. } => {
                let full = connection.outbound.held() > HIGH;
                connection.live.wants_room |= full;
                if connection.live.send_since == 0 {
                    connection.live.send_since = now;
                    connection.live.send_mark = connection.delivered();
                }
                self.watch(token);
                self.set_live_deadline(token, now);
                if full { Push::Full } else { Push::Taken }
            }
            Sent::Failed(_) => {
                self.close(token);
                Push::Over
            }
        }
    }

    /// What epoll says of the connection of a running request.
    pub(super) fn live_event(&mut self, token: Token, flags: EpollFlags, now: Nanos) {
        if flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return self.close(token);
        }
        let Some(connection) = self.live(token) else { return };
        if flags.contains(EpollFlags::EPOLLOUT) && !connection.outbound.is_empty() {
            let socket = Arc::clone(&connection.socket);
            match connection.outbound.flush(&socket, Then::More) {
                Sent::All => connection.live.send_since = 0,
                Sent::Blocked { .. } => {}
                Sent::Failed(_) => return self.close(token),
            }
            if connection.live.wants_room && connection.outbound.held() <= LOW {
                connection.live.wants_room = false;
                self.tell(token, Event::Room);
            }
            self.set_live_deadline(token, now);
        }
        let Some(connection) = self.live(token) else { return };
        if connection.live.body_since != 0 && !connection.drained {
            self.tell(token, Event::Body);
        }
        self.tell_if_left(token);
    }

    /// A client that has sent its whole request, and then has finished sending.
    fn tell_if_left(&mut self, token: Token) {
        let Some(connection) = self.live(token) else { return };
        if connection.hung_up && connection.body_complete && !connection.live.told_left {
            connection.live.told_left = true;
            self.tell(token, Event::Left);
        }
    }

    pub(super) fn tell(&mut self, token: Token, event: Event) {
        self.happenings.push(Happening { token, event });
    }

    /// What running requests are to be told.
    pub(crate) fn take_happenings(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happenings)
    }

    /// The same for one request whose connection is lost: why, if it has not been told yet.
    pub(crate) fn take_over(&mut self, token: Token) -> Option<(u16, Box<Asked>)> {
        let over = |found: &Happening| found.token == token && matches!(found.event, Event::Over { .. });
        let place = self.happenings.iter().rposition(over)?;
        match self.happenings.remove(place).event {
            Event::Over { status, asked } => Some((status, asked)),
            _ => None,
        }
    }

    /// Whether there is something for the worker type to do that no event will announce.
    pub(crate) fn wants_turn(&self) -> bool {
        !self.happenings.is_empty() || !self.ready.is_empty()
    }

    /// One deadline for both directions; it is looked at what the request waits for when it has passed.
    fn set_live_deadline(&mut self, token: Token, now: Nanos) {
        let Some(connection) = self.live(token) else { return };
        let waits = connection.live.body_since != 0 || connection.live.send_since != 0;
        if waits && self.timers.kind(token.index()) != Some(Deadline::Live) {
            self.timers.set(token.index(), Deadline::Live, now);
        }
    }

    /// A stall period has passed.
    pub(super) fn judge(&mut self, token: Token, now: Nanos) {
        let (stall, least) = (self.stall.unwrap_or(Nanos::MAX), self.least);
        let Some(connection) = self.live(token) else { return };
        if connection.live.send_since != 0 && now - connection.live.send_since >= stall {
            let delivered = connection.delivered();
            if delivered.wrapping_sub(connection.live.send_mark) < least {
                return self.close(token);
            }
            connection.live.send_mark = delivered;
            connection.live.send_since = now;
        }
        let since = connection.live.body_since;
        if since != 0 && now - since + connection.live.body_waited >= stall {
            if connection.moved - connection.mark < least {
                return self.fail(token, 408, "", now);
            }
            connection.mark = connection.moved;
            connection.live.body_since = now;
            connection.live.body_waited = 0;
        }
        self.set_live_deadline(token, now);
    }

    /// The request cannot go on, by its client's fault: it is answered in the app's place, if that is still possible.
    fn fail(&mut self, token: Token, status: u16, detail: &str, now: Nanos) {
        let Some(connection) = self.live(token) else { return };
        if !connection.socket.is_unanswered() || !connection.outbound.is_empty() {
            return self.close(token);
        }
        self.let_go(token, status);
        self.refuse(token, status, detail, now);
    }

    /// Ends what the watchdog has taken from the app.
    pub(super) fn cut_overdue(&mut self, now: Nanos) {
        let Some(watchdog) = &self.watchdog else { return };
        for (token, found) in watchdog.overdue() {
            if self.live(token).is_none() {
                continue;
            }
            if found != TimeOut::Unanswered {
                self.close(token);
                continue;
            }
            self.let_go(token, 504);
            if let Some(connection) = self.table.get(token) {
                connection.abandon();
                self.end(token, now);
            }
        }
    }

    /// The request runs on without its connection, which stays.
    pub(super) fn let_go(&mut self, token: Token, status: u16) {
        let Some(connection) = self.live(token) else { return };
        connection.phase = Phase::Sending;
        let asked = Box::new(connection.asked());
        if let (Some(watchdog), Some(watch)) =
            (&self.watchdog, self.table.get(token).and_then(|c| c.watch.take()))
        {
            watchdog.leave(&watch);
        }
        self.running = self.running.saturating_sub(1);
        self.acceptor.note_answer();
        self.tell(token, Event::Over { status, asked });
    }

    /// The connection of a running request has been closed.
    pub(super) fn lost(&mut self, token: Token, mut connection: Box<Connection>) {
        connection.outbound.clear();
        let status = if connection.socket.is_timed_out() { 504 } else { 0 };
        let Connection { peer, head, raw, .. } = *connection;
        self.running = self.running.saturating_sub(1);
        self.acceptor.note_answer();
        self.tell(token, Event::Over { status, asked: Box::new(Asked { peer, head, raw }) });
    }
}
