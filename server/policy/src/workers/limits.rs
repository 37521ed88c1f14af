//! The vetoes of the container: its memory and its CPU quota.

use std::time::Duration;

use super::words;
use super::{Cpu, Memory, Observation, Situation};
use crate::decision::Veto;
use crate::number::sound;
use crate::sizing::fits_in_memory;
use crate::window::Window;

/// PSI from which no worker is added, and from which one is taken away; percent.
const PRESSURE: f64 = 10.0;
const SQUEEZE: f64 = 20.0;
/// Share of the memory limit above which no worker is added.
pub(super) const FULL: f64 = 0.9;
/// Share of periods that were throttled.
const THROTTLED: f64 = 0.2;
/// Share of the quota that is used.
const SPENT: f64 = 0.9;
/// For how long both of them.
const HOT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub(super) struct Limits {
    now: Duration,
    memory: Option<Memory>,
    quota: Option<f64>,
    used: Window,
    periods: Window,
    throttled: Window,
}

impl Default for Limits {
    fn default() -> Self {
        let window = || Window::new(HOT);
        Self {
            now: Duration::ZERO,
            memory: None,
            quota: None,
            used: window(),
            periods: window(),
            throttled: window(),
        }
    }
}

impl Limits {
    #[allow(clippy::cast_precision_loss)] // counts of periods of 100 ms
    pub(super) fn observe(&mut self, at: Duration, span: Duration, seen: &Observation) {
        self.memory = seen.memory;
        self.quota = seen.cpu.map(|cpu| cpu.quota_cores).filter(|quota| quota.is_finite() && *quota > 0.0);
        self.now = at;
        let Some(Cpu { used_seconds, periods, throttled_periods, .. }) = seen.cpu else {
            for window in [&mut self.used, &mut self.periods, &mut self.throttled] {
                window.clear();
            }
            return;
        };
        let seconds = span.as_secs_f64();
        self.used.push(at, span, used_seconds / seconds);
        self.periods.push(at, span, periods as f64 / seconds);
        self.throttled.push(at, span, throttled_periods as f64 / seconds);
    }

    /// So short of memory that a worker has to go.
    pub(super) fn squeezed(&self) -> bool {
        self.pressure() > SQUEEZE
    }

    fn pressure(&self) -> f64 {
        sound(self.memory.and_then(|memory| memory.pressure).unwrap_or(0.0))
    }

    /// Each with the most workers that it allows.
    pub(super) fn vetoes(&self, situation: Situation) -> Vec<(u32, Veto)> {
        let mut vetoes = Vec::new();
        if let Some(memory) = self.memory {
            vetoes.extend(headroom(&memory, situation));
            if self.pressure() > PRESSURE {
                vetoes.push((situation.current, words::stalls(self.pressure())));
            }
        }
        vetoes.extend(self.throttling(situation.current));
        vetoes
    }

    fn throttling(&self, current: u32) -> Option<(u32, Veto)> {
        let quota = self.quota?;
        let (periods, known) = self.periods.integral(self.now, HOT);
        let throttled = self.throttled.integral(self.now, HOT).0 / periods.max(1.0);
        let spent = self.used.mean(self.now, HOT) / quota;
        let hot = known >= HOT && periods > 0.0 && throttled > THROTTLED && spent >= SPENT;
        hot.then(|| (current, words::throttled(throttled, spent, quota)))
    }
}

#[allow(clippy::cast_precision_loss)] // a comparison of shares
fn headroom(memory: &Memory, situation: Situation) -> Option<(u32, Veto)> {
    if memory.limit == 0 {
        return None;
    }
    if memory.working_set as f64 > FULL * memory.limit as f64 {
        return Some((situation.current, words::full(memory)));
    }
    let per_worker = memory.per_worker.filter(|bytes| *bytes > 0)?;
    // Those that boot have not taken theirs yet.
    let room = fits_in_memory(memory.limit, memory.working_set, per_worker);
    let most = situation.ready.saturating_add(room);
    Some((most, words::headroom(memory, per_worker, most)))
}
