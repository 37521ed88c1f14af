//! From what there is to what is wanted: spawn what is missing, retire what is too much or stale.

use std::time::Instant;

use podicorn_scoreboard::MAX_SLOTS;

use super::{Action, Mode, Pool, RetireReason, SURGE, Source, Worker};

impl Pool {
    /// Brings the pool one step nearer to its target.
    pub(super) fn reconcile(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self.mode {
            Mode::Running => {
                self.start_forkserver(now, actions);
                self.spawn_canary(actions, now);
                self.spawn_missing(now, actions);
                self.retire_surplus(now, actions);
                // In the place of those that may be missing.
                self.spawn_missing(now, actions);
            }
            Mode::Stopping { finished: false } if self.workers.is_empty() => {
                self.mode = Mode::Stopping { finished: true };
                actions.push(Action::Finished);
            }
            Mode::Stopping { .. } => {}
        }
        self.retire_generations(actions);
    }

    fn start_forkserver(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.source == Source::Down && self.backoff.allows(now) {
            self.source = Source::Starting;
            actions.push(Action::StartForkserver { generation: self.generation });
        }
    }

    fn spawn_canary(&mut self, actions: &mut Vec<Action>, now: Instant) {
        let Some(generation) = self.candidate else { return };
        if self.workers.values().all(|worker| worker.generation != generation || worker.is_leaving()) {
            self.spawn(generation, now, actions);
        }
    }

    fn spawn_missing(&mut self, now: Instant, actions: &mut Vec<Action>) {
        loop {
            let here = self.workers.values().filter(|worker| self.counts(worker));
            let (mut fresh, mut total, mut pending) = (0, 0, 0);
            for worker in here {
                total += 1;
                fresh += usize::from(!self.is_stale(worker));
                pending += usize::from(!worker.is_ready());
            }
            let held = self.workers.values().filter(|worker| worker.holds_place()).count();
            let surge = if self.may_be_missing() == 0 { SURGE } else { 0 };
            let wanted = fresh + held < self.target && total + held < self.target + surge;
            // After a failure one boot at a time is enough to find out whether the cause is gone.
            let pilot_flies = self.backoff.failures() > 0 && pending > 0;
            if !wanted || pilot_flies || self.source != Source::Up || !self.backoff.allows(now) {
                return;
            }
            if !self.spawn(self.generation, now, actions) {
                return;
            }
        }
    }

    /// Of the target, while workers are replaced. Somebody always serves.
    fn may_be_missing(&self) -> usize {
        self.limits.max_unavailable.min(self.target.saturating_sub(1))
    }

    fn retire_surplus(&mut self, now: Instant, actions: &mut Vec<Action>) {
        // Boots that nobody needs any more.
        for slot in self.slots(|worker| self.counts(worker) && !worker.is_ready() && self.is_stale(worker)) {
            self.retire(slot, RetireReason::Replaced, now, actions);
        }
        loop {
            let fresh: Vec<u32> = self.slots(|worker| self.counts(worker) && !self.is_stale(worker));
            let booting = fresh.iter().rev().find(|slot| !self.workers[slot].is_ready());
            match booting {
                Some(slot) if fresh.len() > self.target => {
                    self.retire(*slot, RetireReason::ScaledDown, now, actions);
                }
                _ => break,
            }
        }
        loop {
            let serving =
                || self.workers.iter().filter(|(_, worker)| self.counts(worker) && worker.is_ready());
            let strength = serving().count();
            // Stale ones go first, the idlest before the others.
            let victim =
                serving().min_by_key(|(_, worker)| (!self.is_stale(worker), worker.load(), worker.age));
            let Some((slot, worker)) = victim else { return };
            let enough =
                if self.is_stale(worker) { self.target - self.may_be_missing() } else { self.target };
            if strength <= enough {
                return;
            }
            let (slot, reason) = (*slot, self.reason_to_retire(worker));
            self.retire(slot, reason, now, actions);
        }
    }

    fn reason_to_retire(&self, worker: &Worker) -> RetireReason {
        if worker.generation == self.generation {
            worker.recycle.unwrap_or(RetireReason::ScaledDown)
        } else {
            RetireReason::Replaced
        }
    }

    fn retire_generations(&mut self, actions: &mut Vec<Action>) {
        let Self { generations, generation: current, candidate, workers, .. } = self;
        generations.retain(|generation| {
            let needed = *generation == *current
                || *candidate == Some(*generation)
                || workers.values().any(|worker| worker.generation == *generation);
            if !needed {
                actions.push(Action::RetireForkserver { generation: *generation });
            }
            needed
        });
    }

    fn spawn(&mut self, generation: u32, now: Instant, actions: &mut Vec<Action>) -> bool {
        let Some(slot) = (0..MAX_SLOTS).find(|slot| !self.workers.contains_key(slot)) else { return false };
        self.ages += 1;
        self.epochs = self.epochs.wrapping_add(1).max(1);
        self.workers.insert(slot, Worker::new(generation, self.ages, self.epochs, now));
        actions.push(Action::Spawn { slot, epoch: self.epochs, generation, age: self.ages });
        true
    }

    /// Part of the pool's strength: not on its way out, and not a canary.
    fn counts(&self, worker: &Worker) -> bool {
        !worker.is_leaving() && Some(worker.generation) != self.candidate
    }

    /// To be replaced as soon as another is ready.
    fn is_stale(&self, worker: &Worker) -> bool {
        worker.generation != self.generation || worker.recycle.is_some()
    }

    pub(super) fn slots(&self, wanted: impl Fn(&Worker) -> bool) -> Vec<u32> {
        self.workers.iter().filter(|(_, worker)| wanted(worker)).map(|(slot, _)| *slot).collect()
    }
}
