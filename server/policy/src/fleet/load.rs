//! What a pod says of its load, and whether it can be true.

use std::time::Duration;

use crate::decision::{Cap, Decision, Inputs, Veto, VetoKind};
use crate::number::{ceil, sound};
use crate::workers::Observation;

/// No pod has more of these.
const MOST_WORKERS: u32 = 100_000;
const MOST_PER_SECOND: f64 = 1e6;
const MOST_WAITING: f64 = 1e6;
/// A day.
const LONGEST: f64 = 86_400.0;
/// Busy workers over those that serve, boot or are wanted: some may be on their way out.
const BUSY: f64 = 2.0;
/// From so many pods on, one that says so many times what is usual among them is not one of them.
const CROWD: usize = 3;
const UNUSUAL: f64 = 4.0;

/// What one pod says.
#[derive(Debug, Clone, Copy)]
pub struct PodLoad<'a> {
    /// Tells the pod from all others that the app has had.
    pub pod: &'a str,
    /// Workers wanted at present.
    pub current: u32,
    /// The pod's own bounds.
    pub min: u32,
    pub max: u32,
    /// What its policy said last: its figures and its vetoes.
    pub decision: Option<&'a Decision>,
}

impl<'a> PodLoad<'a> {
    /// The app's bounds as far as the pod's own allow.
    pub(super) fn bounds(&self, min: u32, max: u32) -> (u32, u32) {
        let highest = self.max.max(1);
        let lowest = self.min.clamp(1, highest);
        let max = max.clamp(lowest, highest);
        (min.clamp(lowest, max), max)
    }

    /// The most workers that its vetoes leave; none in force: None.
    pub(super) fn cap(&self) -> Option<Cap> {
        self.decision.filter(|decision| !decision.vetoes.is_empty()).map(|decision| decision.cap)
    }

    pub(super) fn vetoes(&self) -> &'a [Veto] {
        self.decision.map_or(&[], |decision| &decision.vetoes)
    }

    pub(super) fn vetoed(&self, kind: VetoKind) -> bool {
        self.vetoes().iter().any(|veto| veto.kind == kind)
    }

    /// Its figures, if it has any; an error says why they cannot be true.
    pub(super) fn figures(&self, max: u32) -> Result<Option<&'a Inputs>, String> {
        let Some(decision) = self.decision else { return Ok(None) };
        let inputs = &decision.inputs;
        let workers = inputs.ready.max(self.current).saturating_add(inputs.starting);
        if self.current == 0 || workers > MOST_WORKERS {
            return Err(format!("{workers} workers"));
        }
        let busiest = BUSY * f64::from(workers.max(max.min(MOST_WORKERS))) + 1.0;
        let limits = [
            ("busy workers", inputs.busy, busiest),
            ("waiting", inputs.waiting, MOST_WAITING),
            ("offered load", inputs.offered_fast, MOST_WAITING + busiest),
            ("seconds of waiting", inputs.wait_seconds, f64::MAX),
            ("arrivals a second", inputs.arrivals_per_second, MOST_PER_SECOND),
            ("completions a second", inputs.completions_per_second, MOST_PER_SECOND),
            ("seconds a request", inputs.service_seconds.unwrap_or(0.0), LONGEST),
        ];
        for (what, value, most) in limits {
            if !value.is_finite() || value < 0.0 || value > most {
                return Err(format!("{value} {what}"));
            }
        }
        Ok(Some(inputs))
    }
}

/// Those that count in the mean.
pub(super) fn typical<'a>(figures: impl Iterator<Item = &'a Inputs>) -> Vec<&'a Inputs> {
    let mut counted: Vec<&Inputs> = figures.collect();
    if counted.len() < CROWD {
        return counted;
    }
    let offered = |inputs: &Inputs| inputs.busy + inputs.waiting;
    counted.sort_by(|a, b| offered(a).total_cmp(&offered(b)));
    let usual = offered(counted[(counted.len() - 1) / 2]);
    counted.retain(|inputs| offered(inputs) <= UNUSUAL * usual + 1.0);
    counted
}

#[allow(clippy::cast_precision_loss)] // thousands at most
pub(super) fn mean(counted: &[&Inputs]) -> Inputs {
    let pods = counted.len().max(1) as f64;
    let of = |figure: fn(&Inputs) -> f64| counted.iter().map(|inputs| figure(inputs)).sum::<f64>() / pods;
    let completions = of(|inputs| inputs.completions_per_second);
    let known = |inputs: &Inputs| inputs.service_seconds.unwrap_or(0.0);
    let spent: f64 =
        counted.iter().map(|inputs| inputs.completions_per_second * known(inputs)).sum::<f64>() / pods;
    Inputs {
        busy: of(|inputs| inputs.busy),
        waiting: of(|inputs| if inputs.wait_seconds > 0.0 { inputs.waiting } else { 0.0 }),
        wait_seconds: of(|inputs| inputs.wait_seconds),
        arrivals_per_second: of(|inputs| inputs.arrivals_per_second),
        completions_per_second: completions,
        service_seconds: (completions > 0.0).then(|| spent / completions),
        ready: ceil(of(|inputs| f64::from(inputs.ready))),
        starting: ceil(of(|inputs| f64::from(inputs.starting))),
        ..Inputs::default()
    }
}

/// As if it had been seen from here for `span`.
pub(super) fn observation(inputs: &Inputs, span: Duration, concurrency: u32) -> Observation {
    let seconds = span.as_secs_f64();
    let completions = sound(inputs.completions_per_second) * seconds;
    let service = completions * sound(inputs.service_seconds.unwrap_or(0.0));
    // The mean over the window remembers a queue that has gone.
    let queued = inputs.wait_seconds > 0.0;
    let waiting = if queued { sound(inputs.waiting) * f64::from(concurrency) } else { 0.0 };
    Observation {
        busy: sound(inputs.busy),
        waiting,
        backlog: waiting,
        arrivals: sound(inputs.arrivals_per_second) * seconds,
        completions,
        service,
        duration: service,
        memory: None,
        cpu: None,
    }
}
