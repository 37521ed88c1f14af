//! Means and maxima over the last so many seconds.
//!
//! The operator keeps a policy for each of thousands of pods, so what is kept is bounded by the reach and, for maxima, by
//! what can still become one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::number::sound;

/// In nanoseconds, which take a word each; a [`Duration`] takes two.
#[derive(Debug, Clone, Copy)]
struct Sample {
    end: u64,
    span: u64,
    value: f64,
}

/// Since the clock's beginning; it does not run for 584 years.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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
        // First out, then in: a full window need not grow for a moment.
        let horizon = nanoseconds(now.saturating_sub(self.reach));
        while self.samples.front().is_some_and(|sample| sample.end <= horizon) {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            end: nanoseconds(now),
            span: nanoseconds(span),
            value: sound(value),
        });
    }

    /// The integral of the value over the last `width`, and the time that is known of it.
    pub(crate) fn integral(&self, now: Duration, width: Duration) -> (f64, Duration) {
        let begin = nanoseconds(now.saturating_sub(width));
        let (mut sum, mut known) = (0.0, Duration::ZERO);
        for sample in self.samples.iter().rev().take_while(|sample| sample.end > begin) {
            let span = Duration::from_nanos(sample.span.min(sample.end - begin));
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

    /// Bytes on the heap.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.samples.capacity() * size_of::<Sample>()
    }

    pub(crate) fn clear(&mut self) {
        self.samples.clear();
    }
}

/// The largest value over the last so many seconds. A value that a later one has reached can never be it again and is
/// forgotten, so that a load that stays takes one entry.
#[derive(Debug, Clone)]
pub(crate) struct Highest {
    reach: Duration,
    /// Falling values, each with the time at which it ended.
    values: VecDeque<(Duration, f64)>,
}

impl Highest {
    pub(crate) fn new(reach: Duration) -> Self {
        Self { reach, values: VecDeque::new() }
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.values.capacity() * size_of::<(Duration, f64)>()
    }

    /// `value` held until `now`. Times do not go back.
    pub(crate) fn push(&mut self, now: Duration, value: f64) {
        let value = sound(value);
        while self.values.back().is_some_and(|(_, earlier)| *earlier <= value) {
            self.values.pop_back();
        }
        self.values.push_back((now, value));
        let horizon = now.saturating_sub(self.reach);
        while self.values.len() > 1 && self.values.front().is_some_and(|(end, _)| *end <= horizon) {
            self.values.pop_front();
        }
    }

    /// Over the last `width`, at most the reach; 0 where nothing is known of it.
    pub(crate) fn over(&self, now: Duration, width: Duration) -> f64 {
        let begin = now.saturating_sub(width);
        self.values.iter().find(|(end, _)| *end > begin).map_or(0.0, |(_, value)| *value)
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
    }

    #[test]
    fn the_highest_is_that_of_the_width_and_only_what_can_become_it_is_kept() {
        let mut highest = Highest::new(10 * SECOND);
        close(highest.over(SECOND, 4 * SECOND), 0.0);
        highest.push(2 * SECOND, 3.0);
        highest.push(3 * SECOND, 9.0);
        close(highest.over(3 * SECOND, SECOND), 9.0);
        highest.push(4 * SECOND, 1.0);
        close(highest.over(4 * SECOND, SECOND), 1.0);
        close(highest.over(4 * SECOND, 2 * SECOND), 9.0);
        for second in 5..1000 {
            highest.push(SECOND * second, if second < 500 { 1.0 } else { f64::NAN });
        }
        close(highest.over(999 * SECOND, 10 * SECOND), 0.0);
        assert_eq!(highest.values.len(), 1);
    }

    #[test]
    fn the_highest_of_noise_is_what_looking_at_everything_finds() {
        let mut highest = Highest::new(20 * SECOND);
        let noise: Vec<f64> = (0..200_u32).map(|number| f64::from(number * 7919 % 101)).collect();
        for (index, value) in noise.iter().enumerate() {
            let now = SECOND * (index as u32 + 1);
            highest.push(now, *value);
            for width in [1, 5, 20] {
                let from = (index + 1).saturating_sub(width);
                let most = noise[from..=index].iter().fold(0.0_f64, |most, value| most.max(*value));
                close(highest.over(now, SECOND * width as u32), most);
            }
        }
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
