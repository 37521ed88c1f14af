//! One worker, as the arbiter knows it.

use std::time::Instant;

use super::{Action, HangReason, Limits, QUIT_TIME, Reading, RetireReason};

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The fork server was asked.
    Spawning {
        since: Instant,
    },
    /// The process exists.
    Booting {
        since: Instant,
    },
    Ready {
        since: Instant,
    },
    /// Asked to go; killed at the deadline.
    Stopping {
        deadline: Instant,
    },
    /// Taken for hung: stacks, then ABRT, then KILL.
    Aborting {
        reason: HangReason,
        aborted: bool,
        next: Instant,
    },
    /// SIGKILL was sent.
    Killed {
        since: Instant,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    pub generation: u32,
    pub age: u64,
    pub epoch: u32,
    pub pid: Option<i32>,
    pub phase: Phase,
    /// Why it is to be replaced, if it is.
    pub recycle: Option<RetireReason>,
    /// Its replacement starts only when it has gone.
    pub keeps_place: bool,
    /// It was asked to go while it booted, as far as the arbiter had heard: its deadline if it serves after all.
    pub(super) may_finish_until: Option<Instant>,
    pub in_flight: u32,
    pub parked: u32,
    pub connections: u32,
    pub(super) beat: u64,
    /// When the arbiter last saw the beat change.
    pub beat_seen: Instant,
    pub spawned_at: Instant,
}

impl Worker {
    pub(super) fn new(generation: u32, age: u64, epoch: u32, now: Instant) -> Self {
        Self {
            generation,
            age,
            epoch,
            pid: None,
            phase: Phase::Spawning { since: now },
            recycle: None,
            keeps_place: false,
            may_finish_until: None,
            in_flight: 0,
            parked: 0,
            connections: 0,
            beat: 0,
            beat_seen: now,
            spawned_at: now,
        }
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. })
    }

    pub fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. } | Phase::Aborting { .. } | Phase::Killed { .. })
    }

    /// On its way out, and nobody may start in its place yet. After KILL nobody waits for it any more.
    pub(super) fn holds_place(&self) -> bool {
        self.keeps_place && matches!(self.phase, Phase::Stopping { .. })
    }

    /// What it would be a pity to interrupt.
    pub fn load(&self) -> u32 {
        self.in_flight.saturating_add(self.parked)
    }

    /// Asks one to go that boots, as far as is known.
    pub(super) fn give_up(&mut self, slot: u32, pid: i32, limits: &Limits, now: Instant) -> Action {
        self.phase = Phase::Stopping { deadline: now + QUIT_TIME };
        self.may_finish_until = Some(now + limits.graceful_timeout);
        Action::GiveUp { slot, pid }
    }

    /// It serves, or did: what it has accepted is finished.
    pub(super) fn let_finish(&mut self) {
        if let (Phase::Stopping { .. }, Some(deadline)) = (self.phase, self.may_finish_until.take()) {
            self.phase = Phase::Stopping { deadline };
        }
    }

    pub(super) fn hang_reason(&self) -> HangReason {
        match self.phase {
            Phase::Aborting { reason, .. } => reason,
            _ => HangReason::Silent,
        }
    }

    pub(super) fn observe(&mut self, reading: Reading, now: Instant) {
        if reading.beat != self.beat {
            self.beat = reading.beat;
            self.beat_seen = now;
        }
        self.in_flight = reading.in_flight;
        self.parked = reading.parked;
        self.connections = reading.connections;
        // A wish to be replaced is not taken back.
        if reading.recycle && self.is_ready() {
            self.recycle.get_or_insert(RetireReason::MaxRequests);
        }
    }

    /// When something has to be done about this worker if nothing happens before.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        // Without a pid there is nothing to do: the fork server answers within its own deadline.
        self.pid?;
        match self.phase {
            Phase::Spawning { .. } | Phase::Killed { .. } => None,
            Phase::Booting { since } => Some(since + limits.boot_timeout),
            Phase::Ready { since } => limits.timeout.map(|timeout| self.beat_seen.max(since) + timeout),
            Phase::Stopping { deadline } => Some(deadline),
            Phase::Aborting { next, .. } => Some(next),
        }
    }
}
