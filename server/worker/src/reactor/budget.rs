//! What all unfinished requests of a worker may hold together.
//!
//! A connection that would make it more is not read any further until others are done: TCP tells its client to wait. No
//! deadline runs against it meanwhile, for it is not the client that is slow. One that holds much is always read on, with
//! its deadline, so that the budget becomes free in the end.

use std::collections::VecDeque;

use super::Reactor;
use super::conn::{Connection, Phase};
use super::table::Token;
use crate::clock::Nanos;

/// A connection that holds less is never paused, so that ordinary requests pass by big ones.
const SMALL: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    held: usize,
    /// Connections that hold [`SMALL`] or more and are read on.
    large: usize,
    paused: VecDeque<Token>,
}

impl Budget {
    /// `limit` in bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, held: 0, large: 0, paused: VecDeque::new() }
    }

    /// The connection holds so many bytes now. With none it is paused no more.
    pub(super) fn settle(&mut self, connection: &mut Connection, holds: usize) {
        self.large -= usize::from(is_read_large(connection));
        self.held = self.held - connection.counted + holds;
        connection.counted = holds;
        connection.paused &= holds > 0;
        self.large += usize::from(is_read_large(connection));
    }

    fn set_paused(&mut self, connection: &mut Connection, paused: bool) {
        self.large -= usize::from(is_read_large(connection));
        connection.paused = paused;
        self.large += usize::from(is_read_large(connection));
    }

    /// What is left of it.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.held)
    }

    fn is_spent(&self) -> bool {
        self.room() == 0
    }
}

fn is_read_large(connection: &Connection) -> bool {
    connection.counted >= SMALL && !connection.paused
}

impl Reactor {
    /// Whether a connection is not to be read for now.
    pub(super) fn pauses(&mut self, token: Token) -> bool {
        let Some(connection) = self.table.get(token) else { return false };
        if connection.paused {
            return true;
        }
        let reads = matches!(connection.phase, Phase::Head | Phase::Body);
        // Were it the only one, nobody else could make room.
        if !reads || !is_read_large(connection) || self.budget.large < 2 || !self.budget.is_spent() {
            return false;
        }
        self.budget.set_paused(connection, true);
        self.timers.clear(token.index());
        self.budget.paused.push_back(token);
        true
    }

    /// Reads on where the budget has room again.
    pub(super) fn resume_paused(&mut self, now: Nanos) {
        while (!self.budget.is_spent() || self.budget.large == 0)
            && let Some(token) = self.budget.paused.pop_front()
        {
            let Some(connection) = self.table.get(token) else { continue };
            self.budget.set_paused(connection, false);
            connection.drained = false;
            self.read(token, now);
        }
    }
}
