//! A pool as plain data, from which the next program goes on.

use serde::{Deserialize, Serialize};

use super::{Backoff, HangReason, Limits, Mode, Phase, Pool, RetireReason, Source, Worker};
use crate::moment::Clock;

/// See [`Pool::save`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    target: usize,
    generation: u32,
    generations: Vec<u32>,
    /// The fork server of the present generation can spawn.
    source_up: bool,
    failed_boots: u64,
    ages: u64,
    epochs: u32,
    workers: Vec<SavedWorker>,
}

/// Moments are stamps of a [`Clock`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedWorker {
    slot: u32,
    generation: u32,
    age: u64,
    epoch: u32,
    pid: i32,
    phase: SavedPhase,
    recycle: Option<RetireReason>,
    keeps_place: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    may_finish_until: Option<u64>,
    beat: u64,
    beat_seen: u64,
    spawned_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SavedPhase {
    Booting { since: u64 },
    Ready { since: u64 },
    Stopping { deadline: u64 },
    Aborting { reason: HangReason, aborted: bool, next: u64 },
    Killed { since: u64 },
}

impl Saved {
    /// The present one.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    pub fn epoch(&self, slot: u32) -> Option<u32> {
        self.workers.iter().find(|worker| worker.slot == slot).map(|worker| worker.epoch)
    }

    pub fn slots(&self) -> impl Iterator<Item = u32> {
        self.workers.iter().map(|worker| worker.slot)
    }
}

impl SavedPhase {
    /// `None` while the fork server has not told the pid.
    fn of(phase: Phase, clock: &Clock) -> Option<Self> {
        let stamp = |at| clock.stamp(at);
        Some(match phase {
            Phase::Spawning { .. } => return None,
            Phase::Booting { since } => Self::Booting { since: stamp(since) },
            Phase::Ready { since } => Self::Ready { since: stamp(since) },
            Phase::Stopping { deadline } => Self::Stopping { deadline: stamp(deadline) },
            Phase::Aborting { reason, aborted, next } => {
                Self::Aborting { reason, aborted, next: stamp(next) }
            }
            Phase::Killed { since } => Self::Killed { since: stamp(since) },
        })
    }

    fn phase(self, clock: &Clock) -> Phase {
        let instant = |stamp| clock.instant(stamp);
        match self {
            Self::Booting { since } => Phase::Booting { since: instant(since) },
            Self::Ready { since } => Phase::Ready { since: instant(since) },
            Self::Stopping { deadline } => Phase::Stopping { deadline: instant(deadline) },
            Self::Aborting { reason, aborted, next } => {
                Phase::Aborting { reason, aborted, next: instant(next) }
            }
            Self::Killed { since } => Phase::Killed { since: instant(since) },
        }
    }
}

impl Pool {
    /// Whether [`Self::save`] loses nothing: somebody serves, no fork is under way and no generation on trial.
    pub fn can_be_saved(&self) -> bool {
        self.mode == Mode::Running
            && self.first_ready
            && self.candidate.is_none()
            && self.source != Source::Starting
            && !self.awaits_pids()
    }

    /// All that the next program has to know of it; `None` unless [`Self::can_be_saved`].
    pub fn save(&self, clock: &Clock) -> Option<Saved> {
        if !self.can_be_saved() {
            return None;
        }
        let workers = self.workers().map(|(slot, worker)| {
            Some(SavedWorker {
                slot,
                generation: worker.generation,
                age: worker.age,
                epoch: worker.epoch,
                pid: worker.pid?,
                phase: SavedPhase::of(worker.phase, clock)?,
                recycle: worker.recycle,
                keeps_place: worker.keeps_place,
                may_finish_until: worker.may_finish_until.map(|at| clock.stamp(at)),
                beat: worker.beat,
                beat_seen: clock.stamp(worker.beat_seen),
                spawned_at: clock.stamp(worker.spawned_at),
            })
        });
        Some(Saved {
            target: self.target,
            generation: self.generation,
            generations: self.generations.clone(),
            source_up: self.source == Source::Up,
            failed_boots: self.backoff.total(),
            ages: self.ages,
            epochs: self.epochs,
            workers: workers.collect::<Option<_>>()?,
        })
    }

    /// Goes on where the pool of the program before this one was. A row of failed boots begins anew.
    pub fn resume(limits: Limits, saved: Saved, clock: &Clock) -> Self {
        let workers = saved.workers.into_iter().map(|saved| {
            let mut worker =
                Worker::new(saved.generation, saved.age, saved.epoch, clock.instant(saved.spawned_at));
            worker.pid = Some(saved.pid);
            worker.phase = saved.phase.phase(clock);
            worker.recycle = saved.recycle;
            worker.keeps_place = saved.keeps_place;
            worker.may_finish_until = saved.may_finish_until.map(|stamp| clock.instant(stamp));
            worker.beat = saved.beat;
            worker.beat_seen = clock.instant(saved.beat_seen);
            (saved.slot, worker)
        });
        Self {
            limits,
            target: saved.target,
            workers: workers.collect(),
            generation: saved.generation,
            candidate: None,
            generations: saved.generations,
            source: if saved.source_up { Source::Up } else { Source::Down },
            backoff: Backoff::resume(saved.failed_boots),
            mode: Mode::Running,
            ages: saved.ages,
            epochs: saved.epochs,
            first_ready: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use podicorn_scoreboard::State;

    use super::*;
    use crate::pool::{Action, Event, Reading};

    const LIMITS: Limits = Limits {
        boot_timeout: Duration::from_secs(20),
        timeout: Some(Duration::from_secs(3)),
        graceful_timeout: Duration::from_secs(5),
        max_unavailable: 0,
    };

    fn ready(pool: &mut Pool, slot: u32, now: Instant) -> Vec<Action> {
        let reading = Reading {
            state: Some(State::Ready),
            beat: 1,
            recycle: false,
            in_flight: 0,
            parked: 0,
            connections: 0,
        };
        pool.handle(Event::Reading { slot, reading }, now)
    }

    /// Two workers that serve.
    fn serving(now: Instant) -> Pool {
        let mut pool = Pool::new(LIMITS, 2, 1);
        pool.handle(Event::ForkserverUp { generation: 1 }, now);
        for (slot, epoch) in [(0, 1), (1, 2)] {
            pool.handle(Event::Spawned { slot, epoch, pid: 100 + i32::try_from(slot).unwrap() }, now);
            ready(&mut pool, slot, now);
        }
        pool
    }

    fn over_json(pool: &Pool, clock: &Clock) -> Pool {
        let text = serde_json::to_string(&pool.save(clock).unwrap()).unwrap();
        Pool::resume(LIMITS, serde_json::from_str(&text).unwrap(), clock)
    }

    #[test]
    fn a_pool_goes_on_as_if_nothing_had_happened() {
        let (now, clock) = (Instant::now(), Clock::now());
        let pool = serving(now);
        let mut next = over_json(&pool, &clock);
        assert_eq!(next.save(&clock), pool.save(&clock));
        assert_eq!(next.ready(), 2);
        // Nothing to do; then a new generation replaces the old one's workers, and ages go on.
        assert_eq!(next.handle(Event::Tick, now), []);
        let actions = next.handle(Event::Candidate { generation: 2 }, now);
        assert_eq!(actions, [Action::Spawn { slot: 2, epoch: 3, generation: 2, age: 3 }]);
        next.handle(Event::Spawned { slot: 2, epoch: 3, pid: 102 }, now);
        let actions = ready(&mut next, 2, now);
        assert!(actions.contains(&Action::Committed { generation: 2 }), "{actions:?}");
        assert!(actions.iter().any(|action| matches!(action, Action::Terminate { .. })), "{actions:?}");
    }

    #[test]
    fn deadlines_go_on() {
        let (now, clock) = (Instant::now(), Clock::now());
        let mut pool = serving(now);
        pool.handle(Event::Target(1), now);
        let mut next = over_json(&pool, &clock);
        let killed = next.handle(Event::Tick, now + LIMITS.graceful_timeout + Duration::from_millis(1));
        assert!(killed.iter().any(|action| matches!(action, Action::Kill { .. })), "{killed:?}");
    }

    #[test]
    fn one_that_was_given_up_and_serves_still_has_its_time() {
        let (now, clock) = (Instant::now(), Clock::now());
        let mut pool = serving(now);
        pool.handle(Event::Target(3), now);
        pool.handle(Event::Spawned { slot: 2, epoch: 3, pid: 102 }, now);
        pool.handle(Event::Target(2), now);
        let mut next = over_json(&pool, &clock);
        ready(&mut next, 2, now);
        let (early, late) = (Duration::from_millis(2500), LIMITS.graceful_timeout + Duration::from_millis(1));
        let kill = Action::Kill { slot: 2, pid: 102 };
        assert!(!next.handle(Event::Tick, now + early).contains(&kill));
        assert!(next.handle(Event::Tick, now + late).contains(&kill));
    }

    #[test]
    fn what_is_under_way_is_not_saved() {
        let (now, clock) = (Instant::now(), Clock::now());
        assert!(Pool::new(LIMITS, 1, 1).save(&clock).is_none(), "nobody serves");
        let mut growing = serving(now);
        growing.handle(Event::Target(3), now);
        assert!(growing.save(&clock).is_none(), "a fork is under way");
        let mut reloading = serving(now);
        reloading.handle(Event::Candidate { generation: 2 }, now);
        assert!(reloading.save(&clock).is_none(), "a generation is on trial");
        let mut ending = serving(now);
        ending.handle(Event::Stop { graceful: true }, now);
        assert!(ending.save(&clock).is_none(), "it ends");
    }
}
