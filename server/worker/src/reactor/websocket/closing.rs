//! How a WebSocket ends: by the app, by the worker, by its client, or because the client has gone silent.

use std::sync::Arc;

use podicorn_http::websocket::CloseCode;

use super::Shut;
use crate::clock::Nanos;
use crate::reactor::Reactor;
use crate::reactor::conn::Connection;
use crate::reactor::live::{Asked, Event};
use crate::reactor::outbound::{Piece, Sent};
use crate::reactor::socket::Then;
use crate::reactor::table::Token;
use crate::reactor::timers::Deadline;

impl Reactor {
    /// The app ends it. It is not told of the rest.
    pub(crate) fn close_websocket(&mut self, token: Token, code: CloseCode, reason: &str, now: Nanos) {
        let Some(connection) = self.websocket(token) else { return };
        if let Some(socket) = &mut connection.websocket
            && !std::mem::replace(&mut socket.parted, true)
        {
            self.begin_closing(token, code, reason, now);
        }
    }

    /// The server ends it, and tells the app.
    pub(super) fn shut_websocket(&mut self, token: Token, code: CloseCode, reason: &str, now: Nanos) {
        if self.part_websocket(token, code.0, reason.to_owned()) {
            self.begin_closing(token, code, reason, now);
        }
    }

    /// The worker ends: so do all of them.
    pub(crate) fn shut_websockets(&mut self, now: Nanos) {
        for token in self.table.tokens() {
            self.shut_websocket(token, CloseCode::GOING_AWAY, "", now);
        }
    }

    /// Sends our half of the closing handshake and waits for the client's.
    fn begin_closing(&mut self, token: Token, code: CloseCode, reason: &str, now: Nanos) {
        let Some(connection) = self.websocket(token) else { return };
        let Some(socket) = &mut connection.websocket else { return };
        let mut frame = Vec::new();
        // It is refused only where a Close is out already.
        let _ = socket.codec.close(&mut frame, code, reason);
        socket.inbox.clear();
        socket.waiting_bytes = 0;
        connection.outbound.push(Piece::Owned(frame));
        let client = Arc::clone(&connection.socket);
        if matches!(connection.outbound.flush(&client, Then::More), Sent::Failed(_)) {
            return self.close(token);
        }
        self.timers.set(token.index(), Deadline::Closing, now);
        self.make_use_of_room(token, now);
    }

    /// Tells the app that it is over, once.
    pub(super) fn part_websocket(&mut self, token: Token, code: u16, reason: String) -> bool {
        let Some(connection) = self.websocket(token) else { return false };
        let asked = connection.asked();
        let Some(socket) = &mut connection.websocket else { return false };
        if std::mem::replace(&mut socket.parted, true) {
            return false;
        }
        let inbox = std::mem::take(&mut socket.inbox);
        socket.waiting_bytes = 0;
        self.tell(token, Event::Shut(Box::new(Shut { code, reason, inbox, asked })));
        true
    }

    /// Sends what is left, then ends the connection. `at_once`: the client has nothing more to say.
    pub(super) fn finish_websocket(&mut self, token: Token, at_once: bool, now: Nanos) {
        let Some(connection) = self.websocket(token) else { return };
        connection.websocket = None;
        connection.persists = false;
        connection.body_complete = at_once;
        self.timers.clear(token.index());
        self.send(token, now);
    }

    /// The connection has been closed.
    pub(in crate::reactor) fn lost_websocket(&mut self, token: Token, connection: &mut Connection) {
        let asked = connection.asked();
        let Some(socket) = connection.websocket.take().filter(|socket| !socket.parted) else { return };
        let (code, reason) = (CloseCode::ABNORMAL.0, String::new());
        self.tell(token, Event::Shut(Box::new(Shut { code, reason, inbox: socket.inbox, asked })));
    }

    /// What the access log is to say of it, once the app has ended it.
    pub(crate) fn asked(&mut self, token: Token) -> Option<Asked> {
        self.websocket(token).map(|connection| connection.asked())
    }

    // ---- deadlines ----

    /// `ws_ping_interval` has passed.
    pub(in crate::reactor) fn ping(&mut self, token: Token, now: Nanos) {
        let Some(connection) = self.websocket(token) else { return };
        let mark = connection.delivered();
        let Some(socket) = &mut connection.websocket else { return };
        let mut frame = Vec::new();
        // It is refused only where a Close is out already.
        let _ = socket.codec.ping(&mut frame, &(now as u32).to_be_bytes());
        socket.mark = mark;
        connection.outbound.push(Piece::Owned(frame));
        let client = Arc::clone(&connection.socket);
        if matches!(connection.outbound.flush(&client, Then::More), Sent::Failed(_)) {
            return self.close(token);
        }
        self.timers.set(token.index(), Deadline::Pong, now);
        if self.timers.kind(token.index()).is_none() {
            // No answer is asked for.
            self.timers.set(token.index(), Deadline::Ping, now);
        }
    }

    /// `ws_ping_timeout` has passed without a byte.
    pub(in crate::reactor) fn miss_pong(&mut self, token: Token, now: Nanos) {
        let Some(connection) = self.websocket(token) else { return };
        let delivered = connection.delivered();
        let blocked = !connection.outbound.is_empty();
        let Some(socket) = &mut connection.websocket else { return };
        if socket.held_back {
            // It is we who do not read.
            return self.timers.set(token.index(), Deadline::Ping, now);
        }
        if blocked && delivered != socket.mark {
            // The Ping is behind what the client is taking.
            socket.mark = delivered;
            return self.timers.set(token.index(), Deadline::Pong, now);
        }
        self.shut_websocket(token, CloseCode::INTERNAL_ERROR, "keepalive ping timeout", now);
        self.give_up_websocket(token, now);
    }

    /// The client has not answered our Close.
    pub(in crate::reactor) fn give_up_websocket(&mut self, token: Token, now: Nanos) {
        let Some(connection) = self.websocket(token) else { return };
        if !connection.outbound.is_empty() {
            return self.close(token);
        }
        self.finish_websocket(token, false, now);
    }
}
