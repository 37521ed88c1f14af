//! What holds of the policy for pods.

#![allow(clippy::expect_used)] // tests

use std::time::Duration;

use podicorn_policy::{Direction, PodReading, PodsConfig, PodsPolicy, Reason};
use proptest::prelude::*;

fn second(number: u32) -> Duration {
    Duration::from_secs(u64::from(number))
}

/// `count` pods that share `demand` erlangs.
fn sharing(demand: f64, count: u32, capacity: u32) -> Vec<PodReading> {
    let share = demand / f64::from(count.max(1));
    let pod = PodReading { service_seconds: 0.1, arrivals_per_second: share * 10.0, waiting: 0.0, capacity };
    vec![pod; count as usize]
}

fn need(demand: f64, capacity: u32) -> u32 {
    (1..10_000).find(|pods| f64::from(pods * capacity) * 0.7 + 1e-6 >= demand).expect("small demands")
}

/// Runs with pods that take a while to become ready; every number of pods that was wanted.
fn run(
    policy: &mut PodsPolicy,
    demand: f64,
    capacity: u32,
    ticks: std::ops::Range<u32>,
    start: u32,
    lag: usize,
) -> Vec<u32> {
    let mut targets = vec![start];
    for tick in ticks {
        let ready = targets[targets.len().saturating_sub(1 + lag)];
        let current = targets[targets.len() - 1];
        let readings = sharing(demand, ready.min(current), capacity);
        targets.push(policy.tick(second(5 * (tick + 1)), current, (1, 1000), &readings).target);
    }
    targets
}

proptest! {
    #[test]
    fn constant_demand_settles_at_the_need(demand in 0.1..500.0_f64, capacity in 1..32_u32, start in 1..60_u32, lag in 0..4_usize) {
        let mut policy = PodsPolicy::new(PodsConfig::default());
        let targets = run(&mut policy, demand, capacity, 0..200, start, lag);
        let last = targets[targets.len() - 1];
        let need = need(demand, capacity);
        // Within a tenth of the target utilization nothing moves.
        prop_assert!(last + 1 >= need - need / 9 && last <= need + need / 9 + 1, "{last} for {need}: {targets:?}");
        prop_assert!(targets.iter().all(|pods| *pods <= (need + 1).max(start)), "{need}: {targets:?}");
        let turns = targets.windows(3).filter(|t| (t[1] > t[0] && t[2] < t[1]) || (t[1] < t[0] && t[2] > t[1])).count();
        prop_assert!(turns <= 1, "{targets:?}");
        prop_assert!(targets[140..].iter().all(|pods| *pods == last), "{targets:?}");
    }

    #[test]
    fn monotone_and_within_the_bounds(
        demand in 0.0..300.0_f64, more in 0.0..100.0_f64, current in 0..50_u32, min in 0..10_u32, span in 0..30_u32,
        reporting in 0..50_u32, waiting in 0.0..1000.0_f64,
    ) {
        let max = min + span;
        let decide = |demand: f64, waiting: f64| {
            let mut readings = sharing(demand, reporting, 4);
            for pod in &mut readings {
                pod.waiting = waiting;
            }
            PodsPolicy::new(PodsConfig::default()).tick(second(15), current, (min, max), &readings)
        };
        let (less, much) = (decide(demand, waiting), decide(demand + more, waiting * 2.0));
        prop_assert!(much.target >= less.target);
        for decision in [less, much] {
            prop_assert!((min.max(1)..=max.max(1)).contains(&decision.target), "{decision:?}");
            let most = (2 * current).max(current + 4).max(min.max(1));
            prop_assert!(decision.target <= most, "{decision:?}");
            prop_assert!(!decision.message.is_empty());
        }
    }

    /// Slower requests on larger pods are the same problem; and so is everything k times.
    #[test]
    fn scale_invariant(demand in 0.1..100.0_f64, pods in 1..20_u32, k in 1..8_u32) {
        let bounds = (1, 10_000);
        let decide = |readings: &[PodReading], current: u32| {
            PodsPolicy::new(PodsConfig::default()).tick(second(15), current, bounds, readings).inputs
        };
        let once = decide(&sharing(demand, pods, 4), pods);
        let mut slower = sharing(demand, pods, 4 * k);
        for pod in &mut slower {
            pod.service_seconds *= f64::from(k);
        }
        prop_assert_eq!(decide(&slower, pods).desired, once.desired);
        let larger = decide(&sharing(demand * f64::from(k), pods * k, 4), pods * k);
        prop_assert!(larger.desired.abs_diff(once.desired * k) <= k);
    }

    #[test]
    fn figures_that_are_none_and_clocks_that_jump(
        ticks in prop::collection::vec((any::<u32>(), any::<f64>(), any::<f64>(), any::<f64>(), any::<u32>(), 0..100_u32), 1..40),
    ) {
        let mut policy = PodsPolicy::new(PodsConfig::default());
        for (at, service_seconds, arrivals_per_second, waiting, capacity, current) in ticks {
            let readings = [PodReading { service_seconds, arrivals_per_second, waiting, capacity }];
            let decision = policy.tick(second(at), current, (2, 50), &readings);
            prop_assert!((2..=50).contains(&decision.target));
        }
    }
}

#[test]
fn pods_that_are_coming_count() {
    let mut policy = PodsPolicy::new(PodsConfig::default());
    // Four are wanted already, one is here: nothing is added for the load that the three will take.
    let decision = policy.tick(second(5), 4, (1, 20), &sharing(11.0, 1, 4));
    assert_eq!((decision.target, decision.direction), (4, Direction::Hold));
}

#[test]
fn a_backlog_cannot_wind_the_number_up() {
    let mut policy = PodsPolicy::new(PodsConfig::default());
    let mut readings = sharing(2.8, 1, 4);
    readings[0].waiting = 200.0;
    let decision = policy.tick(second(5), 1, (1, 100), &readings);
    // 200 requests of 0.1 s within 20 s are one erlang more.
    assert_eq!(decision.target, 2, "{decision:?}");
    assert!((decision.inputs.demand_erlangs - 3.8).abs() < 1e-9);
}

#[test]
fn down_waits_for_five_minutes_and_silence_changes_nothing() {
    let mut policy = PodsPolicy::new(PodsConfig::default());
    let mut current = 10;
    for tick in 1..=60 {
        current = policy.tick(second(5 * tick), current, (1, 20), &sharing(5.6, current, 4)).target;
        assert_eq!(current, 10, "{tick}");
    }
    let decision = policy.tick(second(305), current, (1, 20), &sharing(5.6, current, 4));
    assert_eq!((decision.target, decision.reason), (2, Reason::Idle), "{decision:?}");
    assert_eq!(policy.tick(second(310), 7, (1, 20), &[]).reason, Reason::NoData);
}
