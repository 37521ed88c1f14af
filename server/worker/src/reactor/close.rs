//! How connections end: by FIN, never by RST, and for every process that holds a copy of the descriptor. FIN mostly went
//! with the last bytes of the response already ([`super::socket::Then::End`]).

use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::conn::{Connection, Phase};
use super::table::Token;
use super::timers::Deadline;
use super::{Notice, Reactor};
use crate::clock::{Nanos, SECOND};

/// How long a client that goes on sending after the response is listened to.
const LINGER_AT_MOST: Nanos = 30 * SECOND;

impl Reactor {
    /// The response is out. Closing with unread bytes in the socket would send RST, which may destroy the response before
    /// the client has read it (RFC 9112 §9.6).
    pub(super) fn end(&mut self, token: Token, now: Nanos) {
        let Some(connection) = self.table.get(token) else { return };
        if connection.has_had_its_last_request() {
            return self.close(token);
        }
        match connection.socket.read(&mut self.scratch) {
            // Nothing has come and nothing is to come.
            Err(Errno::EAGAIN) if connection.body_complete => return self.close(token),
            // Bytes that nobody wants, or more of a body that the app has not read.
            Ok(1..) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(0) | Err(_) => return self.close(token),
        }
        self.finish(token, Deadline::Linger, now);
    }

    /// Sends FIN, and listens on for what the client may have sent meanwhile.
    pub(super) fn finish(&mut self, token: Token, patience: Deadline, now: Nanos) {
        let Some(connection) = self.table.get(token) else { return };
        connection.socket.finish_sending();
        connection.phase = Phase::Lingering;
        connection.linger_until = now + LINGER_AT_MOST;
        connection.raw = Vec::new();
        // Level-triggered: what is thrown away must not keep the loop for longer than one read at a time.
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN, token.word());
        let watched = if connection.registered {
            self.epoll.modify(&*connection.socket, &mut event)
        } else {
            self.epoll.add(&*connection.socket, event)
        };
        connection.registered |= watched.is_ok();
        match watched {
            Ok(()) => self.timers.set(token.index(), patience, now),
            Err(_) => self.close(token),
        }
    }

    /// Throws away what the client sends until it closes too.
    pub(super) fn linger(&mut self, token: Token, now: Nanos) {
        let Some(connection) = self.table.get(token) else { return };
        match connection.socket.read(&mut self.scratch) {
            Ok(received) if received > 0 && now < connection.linger_until => {
                if self.timers.kind(token.index()) == Some(Deadline::Linger) {
                    self.timers.set(token.index(), Deadline::Linger, now);
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            _ => self.close(token),
        }
    }

    /// Forgets a connection at once.
    pub(super) fn close(&mut self, token: Token) {
        self.timers.clear(token.index());
        let Some(mut connection) = self.table.remove(token) else { return };
        if let (Some(watchdog), Some(watch)) = (&self.watchdog, connection.watch.take()) {
            watchdog.leave(&watch);
        }
        self.budget.settle(&mut connection, 0);
        if connection.socket.is_secure() {
            self.close_session(&connection);
        }
        // Closing the descriptor does the rest, if it is the only one.
        let copied = connection.given_away || crate::engine::forks::has_forked();
        if copied || Arc::strong_count(&connection.socket) > 1 {
            Self::unregister(&self.epoll, &mut connection);
            connection.socket.shut_down();
        }
        match connection.phase {
            Phase::Live => self.lost(token, connection),
            Phase::WebSocket => self.lost_websocket(token, &mut connection),
            _ => {}
        }
    }

    /// Tells the client, and people, of the end of a TLS session.
    fn close_session(&mut self, connection: &Connection) {
        connection.socket.say_goodbye();
        if let Some(failure) = connection.socket.tls_failure() {
            self.slot.count_tls_failure();
            self.notices.push(Notice::TlsFailed { peer: connection.peer, failure });
        }
    }
}
