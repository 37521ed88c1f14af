//! Which deadline a connection has, and what happens when it has passed.

use super::Reactor;
use super::conn::Phase;
use super::table::Token;
use super::timers::Deadline;
use crate::clock::Nanos;

/// This part of a stall period tells whether a client is slow.
const ENOUGH_TO_JUDGE: Nanos = 10;
/// How many more silences a client has that has never asked: it will not try again, as one does whose connection was kept.
const MORE_SILENCES: u8 = 2;

impl Reactor {
    /// For a connection that waits for more of its request. A deadline that runs is not set again: the whole head has one,
    /// and a body has one per stall period.
    pub(super) fn set_read_deadline(&mut self, token: Token, now: Nanos) {
        let Some(connection) = self.table.get(token) else { return };
        let kind = match connection.phase {
            Phase::Body => Deadline::Body,
            _ if !connection.is_silent() => Deadline::Head,
            _ if !self.acceptor.is_open() => Deadline::Silence,
            _ if connection.kept => Deadline::KeepAlive,
            _ => Deadline::Head,
        };
        if self.timers.kind(token.index()) != Some(kind) {
            connection.mark = connection.moved;
            self.timers.set(token.index(), kind, now);
        }
    }

    /// For a connection that waits for its client to take more of a response.
    pub(super) fn set_send_deadline(&mut self, token: Token, now: Nanos) {
        let Some(connection) = self.table.get(token) else { return };
        if self.timers.kind(token.index()) != Some(Deadline::Send) {
            connection.mark = connection.delivered();
            self.timers.set(token.index(), Deadline::Send, now);
        }
    }

    /// A client that has taken its response too slowly for part of its stall period, for when its place is needed.
    /// Whoever was fast enough begins a new period, so that each is looked at only now and then.
    pub(super) fn laggard(&mut self, now: Nanos) -> Option<u32> {
        loop {
            let index = self.timers.first(Deadline::Send)?;
            let (run, whole) = self.timers.progress(index, now)?;
            if run < whole / ENOUGH_TO_JUDGE {
                return None;
            }
            let token = self.table.token_at(index)?;
            let connection = self.table.get(token)?;
            let delivered = connection.delivered();
            let moved = delivered.wrapping_sub(connection.mark);
            if u128::from(moved) * u128::from(whole) < u128::from(self.least) * u128::from(run) {
                return Some(index);
            }
            connection.mark = delivered;
            self.timers.set(index, Deadline::Send, now);
        }
    }

    pub(super) fn expired(&mut self, token: Token, deadline: Deadline, now: Nanos) {
        let Some(connection) = self.table.get(token) else { return };
        match deadline {
            _ if connection.phase == Phase::Http2 => self.http2_expired(token, deadline, now),
            // Nothing was asked, so nothing is answered.
            Deadline::Head if connection.is_silent() => self.close(token),
            Deadline::Head => self.refuse(token, 408, "", now),
            Deadline::Body => {
                if connection.moved - connection.mark >= self.least {
                    connection.mark = connection.moved;
                    return self.timers.set(token.index(), Deadline::Body, now);
                }
                self.refuse(token, 408, "", now);
            }
            Deadline::Send => {
                let delivered = connection.delivered();
                if delivered.wrapping_sub(connection.mark) >= self.least {
                    connection.mark = delivered;
                    return self.timers.set(token.index(), Deadline::Send, now);
                }
                self.close(token);
            }
            Deadline::Live => self.judge(token, now),
            Deadline::Ping => self.ping(token, now),
            Deadline::Pong => self.miss_pong(token, now),
            Deadline::Closing => self.give_up_websocket(token, now),
            Deadline::Linger | Deadline::Parting => self.close(token),
            Deadline::Silence | Deadline::KeepAlive => self.end_idle(token, now),
        }
    }

    /// Ends a connection that carries no request, unless one has come this very moment.
    fn end_idle(&mut self, token: Token, now: Nanos) {
        let Some(connection) = self.table.get(token) else { return };
        connection.drained = false;
        self.read(token, now);
        let Some(connection) = self.table.get(token) else { return };
        if !connection.is_silent() {
            return;
        }
        if !self.acceptor.is_open() && !connection.kept && connection.silences < MORE_SILENCES {
            connection.silences += 1;
            return self.timers.set(token.index(), Deadline::Silence, now);
        }
        if self.acceptor.is_open() { self.close(token) } else { self.part(token, now) }
    }
}
