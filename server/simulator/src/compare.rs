//! Every policy on every trace.

use crate::engine::{Run, Times, simulate};
use crate::scalers::{self, Limits};
use crate::trace::{Trace, micros, seconds};

/// What a comparison goes by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    /// Bounds of the number of workers, in all pods together.
    pub min: u32,
    pub max: u32,
    /// Workers of a pod where a policy scales pods.
    pub per_pod: u32,
    /// Seconds that a worker takes to boot, and a pod to start.
    pub worker_boot: f64,
    pub pod_start: f64,
    /// Seconds that a request may wait.
    pub objective: f64,
}

/// How one policy did on one trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub policy: String,
    pub worker_seconds: f64,
    /// Seconds.
    pub mean_wait: f64,
    pub p95_wait: f64,
    pub p99_wait: f64,
    /// Share of the requests that waited longer than the objective; those that were rejected too.
    pub violations: f64,
    pub rejected: usize,
    /// How often the number of workers changed its direction.
    pub reversals: usize,
    pub peak: u32,
    /// Seconds and workers wanted, whenever that changed.
    pub targets: Vec<(f64, u32)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    pub trace: String,
    pub about: String,
    pub requests: usize,
    /// The least that any policy could take: the sum of all requests.
    pub busy_seconds: f64,
    pub outcomes: Vec<Outcome>,
}

/// Replays the trace under every policy.
pub fn compare(trace: &Trace, parameters: &Parameters) -> Comparison {
    let Parameters { min, max, per_pod, worker_boot, pod_start, objective } = *parameters;
    let times = Times { worker_boot: micros(worker_boot), pod_start: micros(pod_start) };
    let outcomes = scalers::all(Limits { min, max, per_pod }).into_iter().map(|mut scaler| {
        let run = simulate(trace, scaler.as_mut(), times);
        outcome(scaler.name(), run, micros(objective))
    });
    Comparison {
        outcomes: outcomes.collect(),
        trace: trace.name.clone(),
        about: trace.about.clone(),
        requests: trace.requests.len(),
        busy_seconds: trace.requests.iter().map(|request| seconds(request.service)).sum(),
    }
}

#[allow(clippy::cast_precision_loss)] // counts of requests
fn outcome(policy: String, mut run: Run, objective: u64) -> Outcome {
    run.waits.sort_unstable();
    let served = run.waits.len();
    let all = (served + run.rejected).max(1);
    let late = served - run.waits.partition_point(|wait| *wait <= objective);
    // The nearest rank: the smallest wait that so many do not exceed.
    let percentile = |share: usize| {
        let rank = (served * share).div_ceil(100).max(1);
        seconds(run.waits.get(rank - 1).copied().unwrap_or(0))
    };
    let mean = seconds(run.waits.iter().sum()) / served.max(1) as f64;
    Outcome {
        policy,
        worker_seconds: run.worker_seconds,
        mean_wait: mean,
        p95_wait: percentile(95),
        p99_wait: percentile(99),
        violations: (late + run.rejected) as f64 / all as f64,
        rejected: run.rejected,
        reversals: reversals(&run.targets),
        peak: run.targets.iter().map(|(_, target)| *target).max().unwrap_or(0),
        targets: run.targets.iter().map(|(at, target)| (seconds(*at), *target)).collect(),
    }
}

fn reversals(targets: &[(u64, u32)]) -> usize {
    let ups: Vec<bool> = targets.windows(2).map(|pair| pair[1].1 > pair[0].1).collect();
    ups.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_shares() {
        let run = Run {
            worker_seconds: 7.0,
            waits: (1..=98).rev().map(|wait| wait * 1_000_000).collect(),
            rejected: 2,
            targets: vec![(0, 2), (1, 4), (2, 5), (3, 4), (4, 6)],
        };
        let outcome = outcome("test".into(), run, 50_000_000);
        assert!((outcome.p95_wait - 94.0).abs() < 1e-9, "{}", outcome.p95_wait);
        assert!((outcome.p99_wait - 98.0).abs() < 1e-9, "{}", outcome.p99_wait);
        assert!((outcome.mean_wait - 49.5).abs() < 1e-9);
        assert!((outcome.violations - 0.5).abs() < 1e-9);
        assert_eq!((outcome.reversals, outcome.peak, outcome.rejected), (2, 6, 2));
        let nothing = super::outcome("none".into(), Run::default(), 1);
        assert!(nothing.p99_wait.abs() < 1e-9 && nothing.violations.abs() < 1e-9);
    }
}
