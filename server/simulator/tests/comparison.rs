//! The simulator as a whole.

#![allow(clippy::expect_used)] // tests

use podicorn_simulator::{Comparison, Format, Outcome, Parameters, Shape, compare, plot, table};

const PARAMETERS: Parameters =
    Parameters { min: 2, max: 16, per_pod: 4, worker_boot: 0.5, pod_start: 12.0, objective: 0.1 };

fn of<'c>(comparison: &'c Comparison, policy: &str) -> &'c Outcome {
    comparison.outcomes.iter().find(|outcome| outcome.policy == policy).expect("there is such a policy")
}

/// Shorter than the command's own traces.
fn compared(shape: Shape, seed: u64) -> Comparison {
    let mut trace = shape.trace(1.6, 0.1, seed);
    trace.requests.retain(|request| request.at < 700_000_000);
    compare(&trace, &PARAMETERS)
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let report = |seed| {
        let comparisons = [compared(Shape::Bursty, seed), compared(Shape::Flash, seed)];
        let tables = [Format::Text, Format::Markdown].map(|format| table(&comparisons, format));
        (tables, plot(&comparisons).expect("it can be drawn"))
    };
    assert_eq!(report(7), report(7));
    assert_ne!(report(7), report(8));
}

#[test]
fn a_flash_crowd_is_cheaper_than_the_peak_and_waits_less_than_the_quiet() {
    let comparison = compared(Shape::Flash, 1);
    let own = of(&comparison, "podicorn");
    let (least, most) = (of(&comparison, "fixed 2"), of(&comparison, "fixed 16"));
    assert!(own.worker_seconds < 0.8 * most.worker_seconds, "{own:?}");
    assert!(own.violations < 0.1 * least.violations, "{own:?}");
    assert!(own.worker_seconds > comparison.busy_seconds);
    for outcome in &comparison.outcomes {
        assert!(outcome.peak <= 16, "{outcome:?}");
        assert!(outcome.p95_wait <= outcome.p99_wait, "{outcome:?}");
    }
}

#[test]
fn constant_traffic_settles() {
    for seed in 1..=8 {
        let comparison = compared(Shape::Poisson, seed);
        let own = of(&comparison, "podicorn");
        // One less is tried once and found to be too few, which is remembered; a burst may bring one more for a while.
        assert!(own.reversals <= 3, "seed {seed}: {:?}", own.targets);
        assert!(own.peak <= 5, "seed {seed}: 1.6 busy workers need 3: {:?}", own.targets);
    }
}

#[test]
fn the_plot_is_svg_and_names_every_policy() {
    let comparison = compared(Shape::Poisson, 1);
    let svg = plot(std::slice::from_ref(&comparison)).expect("it can be drawn");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for outcome in &comparison.outcomes {
        assert!(svg.contains(&outcome.policy), "{}", outcome.policy);
    }
}
