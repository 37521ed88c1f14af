//! The veto of marginal gain: workers that brought nothing are followed by no more.
//!
//! After an up the rate of completed requests is compared with that before, once the new workers serve and the requests
//! that they began have had time to end. If there is still more to do than workers, and the rate has risen by less than
//! 5 % for each worker added (or less than a quarter of their share, where that is less), something else is short: a
//! database, a lock, the CPU. Then nothing is added for 30 s. While that is being found out, the last tick's rate decides
//! whether the next ones may come already.

use std::time::Duration;

use crate::decision::Veto;
use crate::number::percent;
use crate::workers::words;

const PER_WORKER: f64 = 0.05;
const OF_SHARE: f64 = 0.25;
const FREEZE: Duration = Duration::from_secs(30);

/// What a tick says: rates are completed requests a second, loads are in workers; over the fast window and over the tick.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) ready: u32,
    pub(super) rate: f64,
    pub(super) rate_now: f64,
    pub(super) offered: f64,
    pub(super) offered_now: f64,
}

#[derive(Debug, Clone, Copy)]
struct Trial {
    /// Completed requests a second before.
    before: f64,
    from: u32,
    to: u32,
    /// When all of them served.
    full: Option<Duration>,
}

impl Trial {
    /// How much more is served than before, as a share, if that is too little.
    fn poor(&self, rate: f64) -> Option<f64> {
        if self.before <= 0.0 || self.from == 0 || self.to <= self.from {
            return None;
        }
        let added = f64::from(self.to - self.from);
        let gain = rate / self.before - 1.0;
        (gain < (PER_WORKER * added).min(OF_SHARE * added / f64::from(self.from))).then_some(gain)
    }
}

#[derive(Debug, Clone)]
struct Frozen {
    until: Duration,
    message: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Gain {
    trial: Option<Trial>,
    /// The trial still runs and does not look good.
    doubt: Option<String>,
    frozen: Option<Frozen>,
}

impl Gain {
    /// The number went up to `to`; while a trial runs it only becomes a larger one.
    pub(super) fn begin(&mut self, rate: f64, ready: u32, to: u32) {
        let from = ready.min(to);
        let trial = self.trial.get_or_insert(Trial { before: rate, from, to, full: None });
        (trial.to, trial.full) = (to, None);
    }

    pub(super) fn forget(&mut self) {
        self.trial = None;
        self.doubt = None;
    }

    /// A request takes `run`; rates are judged over `window`; `span` is the time since the last tick.
    pub(super) fn observe(
        &mut self,
        at: Duration,
        span: Duration,
        seen: Seen,
        run: Duration,
        window: Duration,
    ) {
        self.doubt = None;
        let Some(trial) = self.trial.as_mut() else { return };
        if seen.ready < trial.to {
            trial.full = None;
            return;
        }
        let serving = at.saturating_sub(*trial.full.get_or_insert(at.saturating_sub(span)));
        let trial = *trial;
        let to = f64::from(trial.to);
        if serving < window + 2 * run {
            let poor = trial.poor(seen.rate_now).filter(|_| serving >= run && seen.offered_now > to);
            self.doubt = poor.map(|gain| {
                format!(
                    "{}: what they bring is awaited before more are added.",
                    story(&trial, seen.rate_now, gain)
                )
            });
            return;
        }
        self.trial = None;
        if let Some(gain) = trial.poor(seen.rate).filter(|_| seen.offered > to) {
            let message = format!(
                "{}: something else is short, so no more are added for {} s.",
                story(&trial, seen.rate, gain),
                FREEZE.as_secs()
            );
            self.frozen = Some(Frozen { until: at + FREEZE, message });
        }
    }

    pub(super) fn veto(&self, at: Duration, current: u32) -> Option<(u32, Veto)> {
        let frozen = self.frozen.as_ref().filter(|frozen| at < frozen.until).map(|frozen| &frozen.message);
        let message = frozen.or(self.doubt.as_ref())?;
        Some((current, words::marginal_gain(message.clone())))
    }
}

fn story(trial: &Trial, rate: f64, gain: f64) -> String {
    let Trial { before, from, to, .. } = *trial;
    let sign = if gain < 0.0 { "−" } else { "+" };
    let change = percent(gain.abs());
    format!(
        "{to} workers instead of {from} serve {rate:.1} requests a second instead of {before:.1} ({sign}{change})"
    )
}
