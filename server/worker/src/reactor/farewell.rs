//! How the reactor ends, when its worker is to stop.
//!
//! New connections are no longer taken, or only those that wait already; requests that have begun are answered; idle clients
//! have a second to begin one, those who have never asked three. When the time is up, those who have asked are sent to another
//! server by 503. All that needs no Python, since the app may have the worker's only thread: then another thread calls it.

use super::Reactor;
use super::conn::Phase;
use super::table::Token;
use super::timers::Deadline;
use crate::clock::Nanos;

/// Reads of what a client still sends, before its connection is closed for good.
const LAST_READS: usize = 16;

impl Reactor {
    /// Takes no more connections, or only those that already wait in the accept queue.
    pub(crate) fn stop_accepting(&mut self, take_those_that_wait: bool) {
        self.acceptor.stop(take_those_that_wait);
    }

    /// After [`Self::stop_accepting`]: clients that have sent nothing get little time to begin.
    pub(crate) fn hurry_the_silent(&mut self, now: Nanos) {
        for token in self.table.tokens() {
            if self.table.get(token).is_some_and(|connection| connection.is_silent()) {
                self.timers.set(token.index(), Deadline::Silence, now);
            }
        }
    }

    /// Whether all is done after [`Self::stop_accepting`].
    pub(crate) fn is_idle(&self) -> bool {
        let sent = || self.tls.as_ref().is_none_or(|tls| tls.is_idle());
        self.acceptor.is_closed() && self.table.len() == 0 && sent()
    }

    /// Ends an idle connection that its client was told it may use again: a request may be on its way.
    pub(super) fn part(&mut self, token: Token, now: Nanos) {
        self.finish(token, Deadline::Parting, now);
    }

    /// The time is up: whoever has asked and was not answered gets 503.
    pub(crate) fn turn_away(&mut self, now: Nanos) {
        // They are closed otherwise, with what they have sent, and that is a reset.
        if self.acceptor.is_ending() {
            self.accept(true, now);
        }
        self.acceptor.stop(false);
        self.ready.clear();
        for token in self.table.tokens() {
            let Some(connection) = self.table.get(token) else { continue };
            match connection.phase {
                Phase::Head if connection.raw.is_empty() => self.part(token, now),
                Phase::Head | Phase::Body => self.refuse_late(token, now),
                Phase::Request | Phase::Live => {
                    let untouched = connection.socket.is_unanswered() && connection.outbound.is_empty();
                    if untouched && connection.socket.answer() {
                        self.refuse_late(token, now);
                    }
                }
                Phase::WebSocket | Phase::Http2 | Phase::Sending | Phase::Lingering => {}
            }
        }
    }

    fn refuse_late(&mut self, token: Token, now: Nanos) {
        const STATUS: u16 = 503;
        self.let_go(token, STATUS);
        self.refuse(token, STATUS, "The server is shutting down; ask again.", now);
    }

    /// After [`Self::turn_away`], where nobody waits for events: what is to be done for those who listen.
    pub(crate) fn see_off(&mut self, now: Nanos) {
        for token in self.table.tokens() {
            let Some(connection) = self.table.get(token) else { continue };
            match connection.phase {
                Phase::Sending => self.send(token, now),
                Phase::Lingering => self.linger(token, now),
                Phase::Http2 => self.drive(token, now),
                _ => {}
            }
        }
    }

    /// Ends every connection at once; by FIN, as far as its client has stopped sending.
    pub(crate) fn close_all(&mut self) {
        for token in self.table.tokens() {
            if let Some(connection) = self.table.get(token) {
                connection.socket.finish_sending();
                for _ in 0..LAST_READS {
                    if !matches!(connection.socket.read(&mut self.scratch), Ok(1..)) {
                        break;
                    }
                }
            }
            self.close(token);
        }
        self.ready.clear();
    }
}
