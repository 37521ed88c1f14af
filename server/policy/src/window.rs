//! Means and maxima over the last so many seconds.

use std::collections::VecDeque;
use std::time::Duration;

use crate::number::sound;

#[derive(Debug, Clone, Copy)]
struct Sample {
    end: Duration,
    span: Duration,
    value: f64,
}

/// Values that each held for a span of time.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    /// Nothing older is kept.
    reach: Duration,
    samples: VecDeque<Sample>,
}

impl Window {
    pub(crate) fn new(reach: Duration) -> Self {
        Self { reach, samples: VecDeque::new() }
    }

    /// `value` held for `span`, up to `now`. Times do not go back.
    pub(crate) fn push(&mut self, now: Duration, span: Duration, value: f64) {
        self.samples.push_back(Sample { end: now, span, value: sound(value) });
        let horizon = now.saturating_sub(self.reach);
        while self.samples.len() > 1 && self.samples.front().is_some_and(|sample| sample.end <= horizon) {
            self.samples.pop_front();
        }
    }

    /// The integral of the value over the last `width`, and the time that is known of it.
    pub(crate) fn integral(&self, now: Duration, width: Duration) -> (f64, Duration) {
        let begin = now.saturating_sub(width);
        let (mut sum, mut known) = (0.0, Duration::ZERO);
        for sample in self.samples.iter().rev().take_while(|sample| sample.end > begin) {
            let span = sample.span.min(sample.end.saturating_sub(begin));
            sum += sample.value * span.as_secs_f64();
            known += span;
        }
        (sum, known)
    }

    /// The mean over what is known of the last `width`; 0 where nothing is.
    pub(crate) fn mean(&self, now: Duration, width: Duration) -> f64 {
        let (sum, known) = self.integral(now, width);
        if known.is_zero() { 0.0 } else { sum / known.as_secs_f64() }
    }

    pub(crate) fn max(&self, now: Duration, width: Duration) -> f64 {
        let begin = now.saturating_sub(width);
        self.samples
            .iter()
            .rev()
            .take_while(|sample| sample.end > begin)
            .fold(0.0, |most, sample| sample.value.max(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn means_weigh_by_time_and_cut_the_oldest_sample() {
        let mut window = Window::new(10 * SECOND);
        close(window.mean(SECOND, 4 * SECOND), 0.0);
        window.push(2 * SECOND, 2 * SECOND, 3.0);
        close(window.mean(2 * SECOND, 4 * SECOND), 3.0);
        window.push(3 * SECOND, SECOND, 9.0);
        close(window.mean(3 * SECOND, 2 * SECOND), 6.0);
        close(window.mean(3 * SECOND, 10 * SECOND), 5.0);
        close(window.max(3 * SECOND, SECOND), 9.0);
        window.push(4 * SECOND, SECOND, 1.0);
        close(window.max(4 * SECOND, SECOND), 1.0);
        close(window.max(4 * SECOND, 2 * SECOND), 9.0);
    }

    #[test]
    fn what_is_no_number_counts_as_nothing_and_the_old_is_forgotten() {
        let mut window = Window::new(10 * SECOND);
        for second in 1..1000 {
            let value = if second % 2 == 0 { f64::NAN } else { -1.0 };
            window.push(SECOND * second, SECOND, value);
        }
        close(window.mean(999 * SECOND, 10 * SECOND), 0.0);
        assert!(window.samples.len() <= 11);
    }
}
