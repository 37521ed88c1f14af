//! From what workers have done so far to what they have done since the last look: the policy's samples.
//!
//! Pure. The figures come from the scoreboard, where a worker can write anything, and from `/proc`; so what a worker has
//! been busy since the last look is never more than that time.

use std::collections::HashMap;
use std::time::Duration;

use podicorn_policy::Sample;

/// One worker that serves. Times are since it began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerFigures {
    pub(crate) slot: u32,
    /// Which of the slot's workers.
    pub(crate) epoch: u32,
    /// Time that requests have been with the app, summed over them, those that run included.
    pub(crate) held: Duration,
    /// CPU time; only where a worker runs several requests at a time.
    pub(crate) cpu: Option<Duration>,
    /// Requests that it runs, and complete ones that wait in it.
    pub(crate) in_flight: u32,
    pub(crate) parked: u32,
}

/// All workers, dead ones included. Sums since the arbiter began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TotalFigures {
    pub(crate) completions: u64,
    pub(crate) duration: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct Before {
    epoch: u32,
    held: Duration,
    cpu: Duration,
}

/// Remembers the last look.
#[derive(Debug, Default)]
pub(crate) struct LoadReader {
    last: Option<(Duration, TotalFigures)>,
    workers: HashMap<u32, Before>,
    inside: f64,
}

impl LoadReader {
    /// What has happened since the last look. `concurrency` is how many requests a worker runs at a time, `queued` how
    /// many connections no worker has taken yet.
    pub(crate) fn look(
        &mut self,
        at: Duration,
        concurrency: u32,
        workers: &[WorkerFigures],
        totals: TotalFigures,
        queued: u32,
    ) -> Sample {
        let (before, total) = self.last.replace((at, totals)).unwrap_or((at, totals));
        let span = at.saturating_sub(before);
        let mut known = HashMap::with_capacity(workers.len());
        let mut busy = Duration::ZERO;
        for worker in workers {
            let before =
                self.workers.get(&worker.slot).copied().filter(|before| before.epoch == worker.epoch);
            let cpu = worker.cpu.unwrap_or_default();
            // A new worker has done nothing before this look that counts.
            if let Some(before) = before {
                let held = worker.held.saturating_sub(before.held) / concurrency.max(1);
                let computed = cpu.saturating_sub(before.cpu);
                busy += held.max(computed).min(span);
            }
            known.insert(worker.slot, Before { epoch: worker.epoch, held: worker.held, cpu });
        }
        self.workers = known;
        let completions = count(totals.completions.saturating_sub(total.completions));
        let duration = totals.duration.saturating_sub(total.duration).as_secs_f64();
        let waiting = workers.iter().map(|worker| f64::from(worker.parked)).sum::<f64>() + f64::from(queued);
        let inside = waiting + workers.iter().map(|worker| f64::from(worker.in_flight)).sum::<f64>();
        let arrivals = (completions + inside - self.inside).max(0.0);
        self.inside = inside;
        let busy_seconds = busy.as_secs_f64();
        // Where one request at a time runs, its duration is what it takes. Otherwise the worker may have done much beside
        // it, or little: what workers were busy is shared out among the requests.
        let service = if concurrency > 1 { busy_seconds } else { duration };
        Sample {
            busy_seconds,
            backlog: waiting,
            arrivals,
            completions,
            service,
            duration,
            memory: None,
            cpu: None,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // requests between two looks
fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn worker(slot: u32, epoch: u32, held_millis: u64) -> WorkerFigures {
        let held = Duration::from_millis(held_millis);
        WorkerFigures { slot, epoch, held, cpu: None, in_flight: 1, parked: 0 }
    }

    fn totals(completions: u64, duration_millis: u64) -> TotalFigures {
        TotalFigures { completions, duration: Duration::from_millis(duration_millis) }
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn differences_count_and_new_workers_begin_at_nothing() {
        let mut reader = LoadReader::default();
        let first = reader.look(SECOND, 1, &[worker(0, 1, 50_000)], totals(100, 9000), 3);
        close(first.busy_seconds, 0.0);
        close(first.backlog, 3.0);
        close(first.completions, 0.0);
        let figures = [worker(0, 1, 50_400), worker(1, 2, 700)];
        let sample = reader.look(2 * SECOND, 1, &figures, totals(104, 9400), 1);
        close(sample.busy_seconds, 0.4);
        close(sample.completions, 4.0);
        close(sample.service, 0.4);
        close(sample.duration, 0.4);
        // There were 4 inside, now there are 3, and 4 have ended.
        close(sample.arrivals, 3.0);
        // Another worker in the same slot.
        let sample = reader.look(3 * SECOND, 1, &[worker(0, 7, 100_000)], totals(104, 9400), 0);
        close(sample.busy_seconds, 0.0);
        close(sample.arrivals, 0.0);
    }

    #[test]
    fn nobody_is_busier_than_the_time_that_has_passed() {
        let mut reader = LoadReader::default();
        reader.look(SECOND, 1, &[worker(0, 1, 0)], totals(0, 0), 0);
        let sample = reader.look(2 * SECOND, 1, &[worker(0, 1, u64::MAX / 2)], totals(0, 0), 0);
        close(sample.busy_seconds, 1.0);
        let sample = reader.look(3 * SECOND, 1, &[worker(0, 1, 5)], totals(0, 0), 0);
        close(sample.busy_seconds, 0.0);
    }

    #[test]
    fn of_places_and_cpu_time_the_scarcer_counts() {
        let figures = |held_millis, cpu_millis| WorkerFigures {
            cpu: Some(Duration::from_millis(cpu_millis)),
            ..worker(0, 1, held_millis)
        };
        let mut reader = LoadReader::default();
        reader.look(SECOND, 4, &[figures(0, 0)], totals(0, 0), 0);
        // Two of four threads wait for a database: half of the worker is taken.
        let sample = reader.look(2 * SECOND, 4, &[figures(2000, 100)], totals(10, 2000), 0);
        close(sample.busy_seconds, 0.5);
        close(sample.service, 0.5);
        close(sample.duration, 2.0);
        // One computes: the interpreter has no more to give.
        let sample = reader.look(3 * SECOND, 4, &[figures(3000, 1000)], totals(20, 3000), 0);
        close(sample.busy_seconds, 0.9);
    }
}
