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

    /// How much may be had before anybody is asked.
    fn slack(self, mine: Load) -> u64 {
        match self {
            // What it serves next must not wait for the turn of others.
            Self::OneInTurn { enough } if !has_enough(mine, enough) => {
                SLACK.min(enough.saturating_sub(1) as u64)
            }
            _ => SLACK,
        }
    }

    /// How much more than the idlest one may have. Turns are fair enough by themselves but for bursts.
    fn allows(self, mine: Load, least: u64) -> u64 {
        let more = if self == Self::All { 0 } else { least / 2 };
        least.saturating_add(self.slack(mine) + more)
    }

    /// Whether a request could have to wait here that the idlest, with so much, would serve at once.
    fn is_patient(self, mine: Load, least: u64) -> bool {
        matches!(self, Self::OneInTurn { enough } if !has_enough(mine, enough)) && least == 0
    }

    /// Whether the other might soon take a connection that this worker leaves. `unix`: now, since the Unix epoch.
    fn may_take(self, mine: Load, other: Load, unix: Nanos) -> bool {
        let Self::OneInTurn { enough } = self else { return true };
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
}

impl Courtesy {
    pub(super) fn new(told: Told) -> Self {
        Self { told, last: None, stuck: Vec::new() }
    }

    /// Whether all workers are woken at once.
    pub(super) fn is_of_a_crowd(&self) -> bool {
        self.told == Told::All
    }

    /// Whether this is more than next to nothing: if not, there is nobody to be asked.
    pub(super) fn matters(&mut self, mine: Load) -> bool {
        let matters = self.told.weigh(mine) > self.told.slack(mine);
        if !matters {
            self.last = None;
        }
        matters
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
mod tests {
    use super::*;

    fn load(requests: u32, connections: u32, accepted: u64) -> Load {
        Load { requests, connections, accepted, last_start: 0 }
    }

    /// This worker, with a good deal to do.
    const MINE: Load = Load { requests: 2, connections: 20, accepted: 50, last_start: 0 };

    #[test]
    fn who_has_little_to_do_asks_nobody() {
        let mut courtesy = Courtesy::new(Told::All);
        assert!(!courtesy.matters(load(0, 4, 9)));
        assert!(!courtesy.matters(load(1, 0, 9)));
        assert!(courtesy.matters(load(1, 1, 9)));
    }

    #[test]
    fn the_idlest_gets_it_where_the_difference_counts() {
        for (other, leaves) in [(load(0, 0, 0), true), (load(0, 23, 0), true), (load(0, 24, 0), false)] {
            let others = [(3, load(9, 9, 9)), (5, other)];
            assert_eq!(Courtesy::new(Told::All).leaves(MINE, others.into_iter(), 0, 0), leaves, "{other:?}");
        }
        assert!(!Courtesy::new(Told::All).leaves(MINE, [].into_iter(), 0, 0), "alone");
    }

    #[test]
    fn in_turn_the_connections_count() {
        let told = Told::OneInTurn { enough: 2 };
        let leaves = |mine, other| Courtesy::new(told).leaves(mine, [(3, other)].into_iter(), 0, SECOND);
        assert!(!Courtesy::new(told).matters(load(9, 4, 9)));
        assert!(Courtesy::new(told).matters(load(9, 5, 9)));
        assert!(leaves(load(2, 20, 50), load(0, 10, 9)));
        assert!(!leaves(load(2, 19, 50), load(0, 10, 9)), "half as many more, and four");
        assert!(leaves(load(0, 5, 50), load(1, 0, 9)), "it has a thread for another");
        assert!(!leaves(load(1, 50, 50), load(2, 0, 9)), "it has enough to do, and this one has not");
        assert!(leaves(load(2, 50, 50), load(9, 0, 9)), "both have");
        for (age, quick) in [(QUICK - 1, true), (QUICK, false)] {
            let other = Load { last_start: SECOND - age, ..load(2, 0, 9) };
            let mut courtesy = Courtesy::new(told);
            assert_eq!(courtesy.leaves(load(1, 50, 50), [(3, other)].into_iter(), 0, SECOND), quick, "{age}");
        }
    }

    #[test]
    fn one_that_has_none_is_asked_before_a_request_has_to_wait() {
        for (enough, most) in [(1, 0), (2, 1), (4, 3), (50, 4)] {
            let told = Told::OneInTurn { enough };
            let leaves = |mine| {
                let mut courtesy = Courtesy::new(told);
                courtesy.matters(mine) && courtesy.leaves(mine, [(3, load(0, 0, 9))].into_iter(), 0, SECOND)
            };
            assert!(!leaves(load(0, most, 50)), "{enough}: there is room for its request");
            assert!(leaves(load(0, most + 1, 50)), "{enough}");
        }
        let mut busy = Courtesy::new(Told::OneInTurn { enough: 1 });
        assert!(!busy.matters(load(1, 1, 50)), "a worker that has enough to do has its own rule");
    }

    #[test]
    fn one_that_has_none_is_waited_for_longer() {
        let told = Told::OneInTurn { enough: 1 };
        let times_left = |mine: Load, other: Load| {
            let mut courtesy = Courtesy::new(told);
            (0..100)
                .take_while(|step| courtesy.leaves(mine, [(3, other)].into_iter(), step * STEP_BACK, SECOND))
                .count()
        };
        assert_eq!(times_left(load(0, 1, 50), load(0, 0, 9)), PATIENCE as usize);
        assert_eq!(times_left(load(0, 4, 50), load(0, 1, 9)), 1, "it has one already");
        assert_eq!(times_left(load(1, 5, 50), load(0, 0, 9)), 1, "between two requests");
    }

    #[test]
    fn what_nobody_takes_is_taken() {
        let mut courtesy = Courtesy::new(Told::All);
        let others = [(1, load(0, 1, 7)), (2, load(8, 8, 9))];
        assert!(courtesy.leaves(MINE, others.into_iter(), SECOND, 0));
        assert!(!courtesy.leaves(MINE, others.into_iter(), SECOND + STEP_BACK, 0));
        assert!(courtesy.leaves(MINE, others.into_iter(), SECOND + 2 * STEP_BACK, 0), "the next one");
        let mut courtesy = Courtesy::new(Told::All);
        assert!(courtesy.leaves(MINE, others.into_iter(), 0, 0));
        let taken = [(1, load(0, 2, 8)), (2, load(8, 8, 9))];
        assert!(courtesy.leaves(MINE, taken.into_iter(), STEP_BACK, 0), "the idlest has taken it");
        assert!(courtesy.leaves(MINE, taken.into_iter(), 2 * REMEMBER, 0), "long ago");
    }

    #[test]
    fn nobody_waits_for_one_that_is_stuck() {
        let mut courtesy = Courtesy::new(Told::All);
        let others = |all| [(1, load(1, 1, 7)), (2, load(2, 19, all))];
        // The third worker takes what is left, so that it is not in vain.
        let chances = u64::from(CHANCES);
        let start = SECOND;
        for round in 0..chances {
            assert!(
                courtesy.leaves(MINE, others(round).into_iter(), start + round * STEP_BACK, 0),
                "{round}"
            );
        }
        let stuck = start + chances * STEP_BACK;
        for round in 0..IGNORED / STEP_BACK {
            assert!(
                !courtesy.leaves(MINE, others(round).into_iter(), stuck + round * STEP_BACK, 0),
                "{round}"
            );
        }
        let back = [(1, load(1, 2, 8)), (2, load(2, 19, 100))];
        let mut other = Courtesy { stuck: courtesy.stuck.clone(), ..Courtesy::new(Told::All) };
        assert!(other.leaves(MINE, back.into_iter(), stuck + STEP_BACK, 0), "it has taken one");
        assert!(courtesy.leaves(MINE, others(0).into_iter(), stuck + IGNORED, 0), "it may be well again");
    }

    #[test]
    fn more_than_one_may_be_stuck() {
        let mut courtesy = Courtesy::new(Told::All);
        let others = [(1, load(1, 1, 7)), (2, load(1, 1, 7)), (3, load(1, 1, 7))];
        for round in 0..=3 * u64::from(CHANCES) + 3 {
            courtesy.leaves(MINE, others.into_iter(), SECOND + round, 0);
        }
        assert_eq!(courtesy.stuck.len(), 3);
        assert!(!courtesy.leaves(MINE, others.into_iter(), SECOND + 1000, 0));
        assert!(!courtesy.leaves(MINE, [(9, load(4, 40, 0))].into_iter(), SECOND + 2000, 0));
        assert!(courtesy.stuck.is_empty(), "they are gone");
    }
}
