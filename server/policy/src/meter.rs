//! From samples to ticks: adds up what happens, and says when a decision is due.

use std::time::Duration;

use crate::number::sound;
use crate::workers::{Cpu, Memory, Observation};

/// How often to bring a [`Sample`].
pub const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);
/// From one decision to the next.
pub const TICK: Duration = Duration::from_secs(1);
/// The same while requests wait.
pub const URGENT_TICK: Duration = Duration::from_millis(500);
/// After a silence longer than this the first sample says nothing about the time before it.
const GAP: Duration = Duration::from_secs(10);

/// What has happened since the sample before. Integrals, not states: a state that is looked at once a second would miss
/// what comes and goes in between.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Seconds in which workers were busy, summed over them.
    pub busy_seconds: f64,
    /// Requests that wait now.
    pub backlog: f64,
    pub arrivals: f64,
    pub completions: f64,
    /// What the completed requests have taken of workers, in seconds.
    pub service: f64,
    /// How long they ran, in seconds.
    pub duration: f64,
    pub memory: Option<Memory>,
    pub cpu: Option<Cpu>,
}

/// Adds samples up.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// When the last tick and the last sample were.
    last: Option<(Duration, Duration)>,
    backlog: f64,
    waiting_seconds: f64,
    sum: Sample,
    cpu: Option<Cpu>,
}

impl Meter {
    /// Takes a sample in; the observation for [`WorkersPolicy::tick`](crate::WorkersPolicy::tick) where one is due.
    pub fn add(&mut self, at: Duration, sample: &Sample) -> Option<Observation> {
        let backlog = sound(sample.backlog);
        let Some((tick, before)) =
            self.last.filter(|(_, before)| at >= *before && at.saturating_sub(*before) < GAP)
        else {
            *self = Self { last: Some((at, at)), backlog, ..Self::default() };
            return None;
        };
        // Between two looks the queue is taken to have gone straight from one to the other.
        self.waiting_seconds +=
            f64::midpoint(self.backlog, backlog) * at.saturating_sub(before).as_secs_f64();
        self.backlog = backlog;
        self.last = Some((tick, at));
        let sum = &mut self.sum;
        sum.busy_seconds += sound(sample.busy_seconds);
        sum.arrivals += sound(sample.arrivals);
        sum.completions += sound(sample.completions);
        sum.service += sound(sample.service);
        sum.duration += sound(sample.duration);
        self.cpu = added(self.cpu, sample.cpu);
        let span = at.saturating_sub(tick);
        // Ticks are counted from the last one, so half a sample is the tolerance.
        let due = if backlog > 0.0 { URGENT_TICK } else { TICK };
        if span + SAMPLE_INTERVAL / 2 < due {
            return None;
        }
        let seconds = span.as_secs_f64();
        let observation = Observation {
            busy: self.sum.busy_seconds / seconds,
            waiting: self.waiting_seconds / seconds,
            backlog,
            arrivals: self.sum.arrivals,
            completions: self.sum.completions,
            service: self.sum.service,
            duration: self.sum.duration,
            memory: sample.memory,
            cpu: self.cpu,
        };
        *self = Self { last: Some((at, at)), backlog, ..Self::default() };
        Some(observation)
    }
}

fn added(before: Option<Cpu>, now: Option<Cpu>) -> Option<Cpu> {
    let now = now?;
    let before = before.unwrap_or_default();
    Some(Cpu {
        quota_cores: now.quota_cores,
        used_seconds: before.used_seconds + sound(now.used_seconds),
        periods: before.periods.saturating_add(now.periods),
        throttled_periods: before.throttled_periods.saturating_add(now.throttled_periods),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quarter(number: u32) -> Duration {
        SAMPLE_INTERVAL * number
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn a_second_of_samples_is_a_tick() {
        let mut meter = Meter::default();
        let sample =
            Sample { busy_seconds: 0.5, arrivals: 3.0, completions: 2.0, service: 0.2, ..Sample::default() };
        for number in 0..4 {
            assert_eq!(meter.add(quarter(number), &sample), None);
        }
        let seen = meter.add(quarter(4), &sample).unwrap();
        close(seen.busy, 2.0);
        close(seen.arrivals, 12.0);
        close(seen.completions, 8.0);
        close(seen.service, 0.8);
        close(seen.waiting, 0.0);
    }

    #[test]
    fn a_queue_makes_it_half_a_second() {
        let mut meter = Meter::default();
        let queued = |backlog| Sample { backlog, ..Sample::default() };
        assert_eq!(meter.add(quarter(0), &queued(0.0)), None);
        assert_eq!(meter.add(quarter(1), &queued(4.0)), None);
        let seen = meter.add(quarter(2), &queued(8.0)).unwrap();
        // 0 to 4, then 4 to 8: a mean of 4.
        close(seen.waiting, 4.0);
        close(seen.backlog, 8.0);
    }

    #[test]
    fn gaps_and_clocks_that_go_back_begin_anew() {
        let mut meter = Meter::default();
        let sample = Sample { busy_seconds: 1e9, ..Sample::default() };
        meter.add(quarter(100), &sample);
        assert_eq!(meter.add(quarter(5), &sample), None);
        assert_eq!(meter.add(quarter(4_000_000), &sample), None);
        let calm = Sample { busy_seconds: 0.25, ..Sample::default() };
        let ticks: Vec<_> =
            (1..=4).filter_map(|number| meter.add(quarter(4_000_000 + number), &calm)).collect();
        assert_eq!(ticks.len(), 1);
        close(ticks[0].busy, 1.0);
    }

    #[test]
    fn cpu_periods_add_up() {
        let mut meter = Meter::default();
        let cpu = Cpu { quota_cores: 2.0, used_seconds: 0.5, periods: 2, throttled_periods: 1 };
        let sample = Sample { cpu: Some(cpu), ..Sample::default() };
        let seen = (0..=4).filter_map(|number| meter.add(quarter(number), &sample)).last().unwrap();
        assert_eq!(seen.cpu, Some(Cpu { used_seconds: 2.0, periods: 8, throttled_periods: 4, ..cpu }));
    }
}
