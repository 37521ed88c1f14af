//! Whether to leave a connection to a worker that has less to do.
//!
//! A worker that has more to do than another steps back for a moment, so that the idlest gets the connection; if nobody has
//! taken any afterwards, it takes it. Who does not take what was left to it, again and again, must be stuck: nobody waits
//! for it for a while, unless it takes one. Not for ever: on a machine with too much to do it may only not have run yet.
//!
//! Where the kernel wakes one worker for each connection, this matters in a burst: those that run already would take all of
//! it before the others have been given a CPU, and keep them for as long as the clients like. There is a second reason: the
//! requests of connections that have just come are still to come, too, and one would then wait behind the other, for as long
//! as that takes, beside a worker that has nothing to do. So who has as many connections as it can serve at a time leaves
//! the next to one that has fewer, and has more patience with one that has none.
//!
//! In a burst those that wait are soon gone. Where they are not, the others have enough to do, and who is courteous then only
//! stands idle beside them: it asks nobody for a while.

use podicorn_scoreboard::Load;

use crate::clock::{MILLISECOND, Nanos, SECOND};

/// How long to leave a connection to a worker that has less to do.
pub(super) const STEP_BACK: Nanos = MILLISECOND;
/// A step back that is longer ago than this is forgotten.
const REMEMBER: Nanos = 4 * STEP_BACK;
/// What a request weighs, in connections, where requests wait side by side.
const REQUEST: u64 = 4;
/// A difference that is not worth stepping back: less than a connection with its request.
const SLACK: u64 = REQUEST;
/// A request that began longer ago may run on for ever.
const QUICK: Nanos = 10 * MILLISECOND;
/// How many times a connection is left to a worker that has none: it runs as soon as it is given a CPU.
const PATIENCE: u32 = 10;
/// How long connections may wait one after the other where one worker is woken for each: longer than a burst takes.
const LASTING: Nanos = 20 * MILLISECOND;
/// How long nobody is asked then.
const HURRY: Nanos = SECOND;
/// How many times in a row a worker may leave what was left to it.
const CHANCES: u32 = 200;
/// How long nobody waits for it then.
const IGNORED: Nanos = SECOND;

/// Who hears of a connection that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// All workers at once, and the one that runs first would have it.
    All,
    /// One that waits, each in its turn. With so many requests a worker has enough to do.
    OneInTurn { enough: usize },
}

impl Told {
    fn weigh(self, load: Load) -> u64 {
        let connections = u64::from(load.connections);
        match self {
            Self::All => u64::from(load.requests) * REQUEST + connections,
            Self::OneInTurn { .. } => connections,
        }
    }

    /// How many requests can be served at a time, where more would wait and there is room for another.
    fn serves(self, mine: Load) -> Option<usize> {
        match self {
            Self::OneInTurn { enough } if !has_enough(mine, enough) => Some(enough),
            _ => None,
        }
    }

    /// How much may be had before anybody is asked.
    fn slack(self, mine: Load) -> u64 {
        self.serves(mine).map_or(SLACK, |enough| SLACK.min(enough.saturating_sub(1) as u64))
    }

    /// How much more than the idlest one may have. Turns are fair enough by themselves but for bursts.
    fn allows(self, mine: Load, least: u64) -> u64 {
        let more = if self == Self::All { 0 } else { least / 2 };
        least.saturating_add(self.slack(mine) + more)
    }

    /// Whether a request could have to wait here that the idlest, with so much, would serve at once.
    fn is_patient(self, mine: Load, least: u64) -> bool {
        self.serves(mine).is_some() && least == 0
    }

    /// Whether the other might soon take a connection that this worker leaves. `unix`: now, since the Unix epoch.
    fn may_take(self, mine: Load, other: Load, unix: Nanos) -> bool {
        // Who has more to do now is not helped by having fewer connections that are silent.
        let Self::OneInTurn { enough } = self else { return other.requests <= mine.requests };
        // In the middle of quick requests it may only be waiting for a CPU.
        has_enough(mine, enough)
            || !has_enough(other, enough)
            || unix.saturating_sub(other.last_start) < QUICK
    }
}

fn has_enough(load: Load, enough: usize) -> bool {
    load.requests as usize >= enough
}

/// What was left to whom.
#[derive(Debug, Clone, Copy)]
struct Left {
    at: Nanos,
    /// The worker's slot, and how many connections it had taken.
    to: usize,
    accepted: u64,
    /// How many all others had taken.
    all: u64,
    /// So many in a row, to a worker that has taken none since the first.
    times: u32,
}

/// A worker that is not waited for until then, or until it has taken more than so many.
#[derive(Debug, Clone, Copy)]
struct Stuck {
    slot: usize,
    accepted: u64,
    until: Nanos,
}

/// One worker's memory of what it has left to others.
#[derive(Debug)]
pub(super) struct Courtesy {
    told: Told,
    last: Option<Left>,
    /// Those who take nothing.
    stuck: Vec<Stuck>,
    /// In every turn since then a connection waited.
    queue_since: Option<Nanos>,
    /// When this worker last had something to do.
    awake: Nanos,
    /// Until then nobody is asked.
    hurry_until: Nanos,
}

impl Courtesy {
    pub(super) fn new(told: Told) -> Self {
        Self { told, last: None, stuck: Vec::new(), queue_since: None, awake: 0, hurry_until: 0 }
    }

    /// Whether all workers are woken at once.
    pub(super) fn is_of_a_crowd(&self) -> bool {
        self.told == Told::All
    }

    /// Whether this is more than next to nothing, and there is time: if not, there is nobody to be asked.
    pub(super) fn matters(&mut self, mine: Load, now: Nanos) -> bool {
        let matters = now >= self.hurry_until && self.told.weigh(mine) > self.told.slack(mine);
        if !matters {
            self.last = None;
        }
        matters
    }

    /// A turn begins. `empty`: its wait would have told of a connection.
    pub(super) fn note_turn(&mut self, empty: bool, now: Nanos) {
        if empty || now >= self.awake + REMEMBER {
            self.queue_since = None;
        }
        self.awake = now;
    }

    /// The app has come back: the next wait begins only now.
    pub(super) fn note_return(&mut self, now: Nanos) {
        self.awake = now;
    }

    /// Whether connections have waited for so long that the others have more than they can take.
    fn is_overdue(&mut self, now: Nanos) -> bool {
        let since = *self.queue_since.get_or_insert(now);
        let overdue = !self.is_of_a_crowd() && now >= since + LASTING;
        if overdue {
            self.queue_since = None;
            self.hurry_until = now + HURRY;
        }
        overdue
    }

    /// Whether to leave the next connection to one of the others, of which each is given with its slot. `unix`: now, since
    /// the Unix epoch.
    pub(super) fn leaves(
        &mut self,
        mine: Load,
        others: impl Iterator<Item = (usize, Load)>,
        now: Nanos,
        unix: Nanos,
    ) -> bool {
        let before = self.last.take();
        let mut all = 0_u64;
        let mut idlest: Option<(u64, usize, u64)> = None;
        let mut still_stuck = Vec::new();
        for (slot, load) in others {
            all = all.wrapping_add(load.accepted);
            let known = self.stuck.iter().find(|stuck| (stuck.slot, stuck.accepted) == (slot, load.accepted));
            if let Some(stuck) = known.filter(|stuck| now < stuck.until) {
                still_stuck.push(*stuck);
                continue;
            }
            if !self.told.may_take(mine, load, unix) {
                continue;
            }
            let weight = self.told.weigh(load);
            if idlest.is_none_or(|(least, ..)| weight < least) {
                idlest = Some((weight, slot, load.accepted));
            }
        }
        self.stuck = still_stuck;
        let Some((least, to, accepted)) = idlest else { return false };
        if self.told.weigh(mine) <= self.told.allows(mine, least) {
            return false;
        }
        if self.is_overdue(now) {
            return false;
        }
        let again = before.filter(|left| (left.to, left.accepted) == (to, accepted));
        let times = again.map_or(0, |left| left.times) + 1;
        if times > CHANCES {
            self.stuck.push(Stuck { slot: to, accepted, until: now + IGNORED });
            return false;
        }
        // If nobody has taken one since, it is taken now; the next one is left again.
        let patient = times <= PATIENCE && self.told.is_patient(mine, least);
        let in_vain = !patient && before.is_some_and(|left| now < left.at + REMEMBER && left.all == all);
        let at = if in_vain { 0 } else { now };
        self.last = Some(Left { at, to, accepted, all, times });
        !in_vain
    }
}

#[cfg(test)]
#[path = "courtesy/tests.rs"] // said here since tests/pure.rs includes this file by its path
mod tests;
