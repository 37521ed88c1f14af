//! How long a front waits: for its next stream, for its client to take what it has asked for, for the end.

use std::sync::atomic::Ordering;

use h2::Reason;

use crate::clock::Nanos;
use crate::reactor::Reactor;
use crate::reactor::table::Token;
use crate::reactor::timers::Deadline;

impl Reactor {
    /// For a front that waits. While it has streams, it is judged once in a stall period.
    pub(super) fn set_http2_deadline(&mut self, token: Token, now: Nanos) {
        let Some(http2) = self.front(token).and_then(|front| front.http2.as_ref()) else { return };
        let (idle, used, parting) = (http2.streams.is_empty(), http2.used, http2.parting);
        if !idle {
            return self.judge_http2_later(token, now);
        }
        match self.timers.kind(token.index()) {
            None => {}
            Some(Deadline::Live) if !self.has_unsent(token) => {}
            Some(_) => return,
        }
        if parting {
            self.timers.set(token.index(), Deadline::Silence, now);
        } else if used {
            self.timers.set(token.index(), Deadline::KeepAlive, now);
            if self.timers.kind(token.index()).is_none() {
                // Connections are not kept here: each has the requests that it brings along.
                self.part_http2(token, now);
            }
        } else {
            self.timers.set(token.index(), Deadline::Head, now);
        }
    }

    /// Whether there are bytes of responses that the client has not taken, though their streams are over.
    fn has_unsent(&mut self, token: Token) -> bool {
        self.front(token).is_some_and(|front| {
            let blocked =
                front.http2.as_ref().is_some_and(|http2| http2.flow.blocked.load(Ordering::Relaxed));
            blocked || front.socket.undelivered() > 0
        })
    }

    /// A stall period from now it is looked at how much the client has taken; a period that runs is not begun again.
    fn judge_http2_later(&mut self, token: Token, now: Nanos) {
        if self.timers.kind(token.index()) == Some(Deadline::Live) {
            return;
        }
        if let Some(front) = self.front(token)
            && let Some(http2) = &mut front.http2
        {
            http2.mark = http2.flow.sent.load(Ordering::Relaxed).wrapping_sub(front.socket.undelivered());
        }
        self.timers.set(token.index(), Deadline::Live, now);
    }

    /// A stall period is over.
    fn judge_http2(&mut self, token: Token, now: Nanos) {
        let (least, unsent) = (self.least, self.has_unsent(token));
        let Some(front) = self.front(token) else { return };
        let Some(http2) = &mut front.http2 else { return };
        http2.streams.retain_mut(|stream| {
            let lags = stream.lags(least);
            if lags {
                stream.reset(Reason::CANCEL);
            }
            !lags
        });
        let drained = http2.flow.sent.load(Ordering::Relaxed).wrapping_sub(front.socket.undelivered());
        if http2.streams.is_empty() && unsent && drained.wrapping_sub(http2.mark) < least {
            return self.close(token);
        }
        if unsent {
            self.judge_http2_later(token, now);
        }
        self.drive(token, now);
    }

    pub(in crate::reactor) fn http2_expired(&mut self, token: Token, deadline: Deadline, now: Nanos) {
        match deadline {
            Deadline::Live => self.judge_http2(token, now),
            Deadline::KeepAlive | Deadline::Silence if self.has_unsent(token) => {
                self.judge_http2_later(token, now);
                if self.timers.kind(token.index()).is_none() {
                    // There is no stall period: it is looked at again.
                    self.timers.set(token.index(), deadline, now);
                }
            }
            Deadline::KeepAlive => self.part_http2(token, now),
            // Silence behind a GOAWAY, or no request at all.
            _ => self.close(token),
        }
    }
}
