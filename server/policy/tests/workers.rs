//! What holds of the policy for workers, whatever the load.

#![allow(clippy::expect_used)] // tests

mod plant;

use std::time::Duration;

use plant::Plant;
use podicorn_policy::{
    Config, Cpu, Direction, Memory, Observation, Reason, Situation, VetoKind, WorkersPolicy,
};
use proptest::prelude::*;

const MAX: u32 = 64;

fn need(load: f64) -> u32 {
    (1..10_000).find(|workers| f64::from(*workers) * 0.7 + 1e-6 >= load).expect("small loads")
}

fn most_allowed(load: f64) -> u32 {
    need(load) + (need(load) / 4).max(1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Constant load: at most one reversal, no more than a quarter too many, nothing left to change in the end.
    #[test]
    fn constant_load_settles(
        load in 0.05..30.0_f64, service in 0.03..3.0_f64, boot in 0.0..6.0_f64, start in 1..=40_u32,
    ) {
        let mut plant = Plant::new(Config::default(), (1, MAX), start, service, boot);
        plant.run(900.0, load);
        prop_assert!(plant.reversals(start) <= 1, "{:?}", plant.history);
        prop_assert!(plant.peak() <= most_allowed(load).max(start), "{:?} for {}", plant.history, need(load));
        prop_assert!(f64::from(plant.target) > load, "{} workers for {load}", plant.target);
        prop_assert!(plant.target <= most_allowed(load).max(need(load / 0.6) + 1), "{} is too many", plant.target);
        let late = plant.history.iter().filter(|(at, _)| *at > 600.0).count();
        prop_assert_eq!(late, 0, "{:?}", plant.history);
        prop_assert!(plant.waiting() < 1e-3, "{} {:?} {:?}", plant.waiting(), plant.decisions.last(), plant.history);
    }

    /// A step that fits is worked off as fast as workers boot.
    #[test]
    fn a_step_is_absorbed(
        load in 0.3..4.0_f64, factor in 1.5..6.0_f64, service in 0.03..0.3_f64, boot in 0.0..2.0_f64,
    ) {
        let mut plant = Plant::new(Config::default(), (1, MAX), 1, service, boot);
        plant.run(300.0, load);
        plant.run(6.0 + 6.0 * boot, load * factor);
        prop_assert!(plant.target >= need(load * factor / 1.1), "{:?}", plant.history);
        plant.run(20.0 + 12.0 * boot, load * factor);
        prop_assert!(plant.waiting() < 1e-3, "{} wait", plant.waiting());
        prop_assert!(plant.peak() <= most_allowed(load * factor), "{:?}", plant.history);
    }

    /// More load never ends with fewer workers. Of two loads that lie within the hysteresis of each other (an eighth),
    /// the smaller one may keep a peak that the other never had, and only within that eighth.
    #[test]
    fn monotone_in_load(
        load in 0.1..15.0_f64, more in 0.0..10.0_f64, service in 0.03..1.0_f64, seconds in 5.0..200.0_f64,
    ) {
        let run = |load: f64| {
            let mut plant = Plant::new(Config::default(), (1, MAX), 1, service, 0.2);
            plant.run(seconds, load);
            plant.target
        };
        let (less_loaded, more_loaded) = (run(load), run(load + more));
        let slack = if more < load / 8.0 { (less_loaded / 8).max(1) } else { 0 };
        prop_assert!(more_loaded + slack >= less_loaded, "{more_loaded} for more, {less_loaded} for less");
    }

    /// The same of a single decision, from any state that loads have led to.
    #[test]
    fn one_decision_is_monotone(
        past in prop::collection::vec((0.0..15.0_f64, 1.0..90.0_f64), 0..5),
        busy in 0.0..20.0_f64, waiting in 0.0..20.0_f64, more_busy in 0.0..10.0_f64, more_waiting in 0.0..50.0_f64,
    ) {
        let mut plant = Plant::new(Config::default(), (1, MAX), 4, 0.1, 0.2);
        for (load, seconds) in past {
            plant.run(seconds, load);
        }
        plant.run(0.3, 0.0);
        let (situation, base) = (plant.situation(), plant.observation());
        let at = Duration::from_secs_f64(plant.now + 0.7);
        let decide = |busy, waiting| {
            let seen = Observation { busy, waiting, backlog: waiting, ..base };
            plant.policy.clone().tick(at, situation, &seen)
        };
        let (less, more) = (decide(busy, waiting), decide(busy + more_busy, waiting + more_waiting));
        // A veto may be in force for more load only: that workers brought nothing shows where all of them are busy.
        prop_assert!(more.target >= less.target || more.vetoes.len() > less.vetoes.len(), "{less:?} {more:?}");
    }

    /// Whatever the load and the limits do: never past a cap, never out of the bounds, at most twice as many, one less.
    #[test]
    fn caps_and_steps_hold(
        min in 1..4_u32, span in 0..20_u32,
        phases in prop::collection::vec((
            0.0..30.0_f64, 1.0..80.0_f64,
            prop::option::of((100..4000_u64, 0..110_u64, prop::option::of(1..400_u64), prop::option::of(0.0..40.0_f64))),
            prop::option::of((0.0..3.0_f64, 0..10_u64)),
        ), 1..6),
    ) {
        let max = min + span;
        let mut plant = Plant::new(Config::default(), (min, max), min, 0.1, 0.3);
        for (load, seconds, memory, cpu) in phases {
            plant.extra.memory = memory.map(|(limit, share, per_worker, pressure)| Memory {
                limit: limit << 20,
                working_set: (limit << 20) / 100 * share,
                per_worker: per_worker.map(|bytes| bytes << 20),
                pressure,
            });
            plant.extra.cpu = cpu.map(|(used_seconds, throttled_periods)| Cpu {
                quota_cores: 1.0, used_seconds, periods: 10, throttled_periods,
            });
            let seen = plant.decisions.len();
            plant.run(seconds, load);
            for decision in &plant.decisions[seen..] {
                let (from, to) = (decision.current, decision.target);
                prop_assert!((min..=max).contains(&to), "{decision:?}");
                prop_assert!(to <= from || to <= decision.cap.workers, "past the cap: {decision:?}");
                prop_assert!(to <= 2 * from && to + 1 >= from, "{decision:?}");
                prop_assert_eq!(decision.direction == Direction::Up, to > from);
                prop_assert!(!decision.message.is_empty());
                if let Some(memory) = plant.extra.memory && to > from {
                    prop_assert!(memory.working_set * 10 <= memory.limit * 9, "{decision:?}");
                    prop_assert!(memory.pressure.is_none_or(|percent| percent <= 10.0), "{decision:?}");
                    if let Some(per_worker) = memory.per_worker {
                        let added = u64::from(to.saturating_sub(decision.inputs.ready));
                        prop_assert!(memory.working_set + added * per_worker <= memory.limit, "{decision:?}");
                    }
                }
            }
        }
    }

    /// A throttled container gets no more workers, and one that is short of memory loses some.
    #[test]
    fn the_cpu_cap_holds(load in 5.0..40.0_f64, start in 1..8_u32) {
        let mut plant = Plant::new(Config::default(), (1, MAX), start, 0.1, 0.1);
        let hot = Cpu { quota_cores: 1.0, used_seconds: 0.99, periods: 10, throttled_periods: 6 };
        plant.extra.cpu = Some(hot);
        plant.run(12.0, 0.1);
        let before = plant.target;
        plant.run(60.0, load);
        prop_assert!(plant.target <= before, "{:?}", plant.history);
        let last = plant.decisions.last().expect("it has run");
        prop_assert!(last.vetoes.iter().any(|veto| veto.kind == VetoKind::CpuThrottled), "{last:?}");
    }

    /// Ticks that are lost, come twice or late, clocks that jump, figures that are none: within the bounds, and back on
    /// track afterwards.
    #[test]
    fn faults_do_no_lasting_harm(
        load in 0.5..20.0_f64,
        faults in prop::collection::vec((0..7_u8, 0.0..20_000.0_f64), 1..30),
    ) {
        let mut plant = Plant::new(Config::default(), (2, MAX), 2, 0.1, 0.2);
        // The policy's clock is the plant's and so much, which jumps move.
        let mut shift = 0.0_f64;
        for (fault, size) in faults {
            let (situation, seen) = (plant.situation(), plant.observation());
            let mut at = plant.now + shift;
            let seen = match fault {
                0 => { plant.run(0.9, load); continue },
                1 => { shift += size; at += size; seen }
                2 => { let back = size.min(at); shift -= back; at -= back; seen }
                3 => Observation { busy: f64::NAN, waiting: -size, arrivals: f64::INFINITY, ..seen },
                4 => Observation { busy: size, waiting: size, backlog: size, ..seen },
                5 => Observation::default(),
                _ => seen,
            };
            for _ in 0..2 {
                let decision = plant.policy.tick(Duration::from_secs_f64(at.max(0.0)), situation, &seen);
                prop_assert!((2..=MAX).contains(&decision.target), "{decision:?}");
                prop_assert!(decision.target <= 2 * decision.current, "{decision:?}");
                prop_assert!(serde_json::to_string(&decision).is_ok());
                if decision.current == plant.target {
                    plant.apply(decision);
                }
            }
            plant.now += 1.0;
        }
        plant.policy.restart();
        plant.run(1500.0, load);
        prop_assert!(f64::from(plant.target) > load && plant.target <= most_allowed(load).max(need(load / 0.6) + 1),
            "{} for {load}", plant.target);
    }

    /// Asking again at the same time changes nothing.
    #[test]
    fn a_tick_is_idempotent(past in prop::collection::vec((0.0..15.0_f64, 1.0..90.0_f64), 1..5), later in 1.0..30.0_f64) {
        let mut plant = Plant::new(Config::default(), (1, MAX), 4, 0.1, 0.2);
        for (load, seconds) in past {
            plant.run(seconds, load);
        }
        let mut twice = plant.clone();
        let at = Duration::from_secs_f64(plant.now + 1.0);
        let (situation, seen) = (plant.situation(), Observation { busy: 9.0, waiting: 3.0, ..Observation::default() });
        let first = twice.policy.tick(at, situation, &seen);
        let again = twice.policy.tick(at, Situation { current: first.target, ..situation }, &seen);
        prop_assert_eq!((again.target, again.direction, again.reason), (first.target, Direction::Hold, Reason::NoData));
        plant.policy.tick(at, situation, &seen);
        let next = at + Duration::from_secs_f64(later);
        let situation = Situation { current: first.target, ..situation };
        prop_assert_eq!(twice.policy.tick(next, situation, &seen), plant.policy.tick(next, situation, &seen));
    }

    /// Workers that run k requests at a time under k times the requests are as many as those that run one.
    #[test]
    fn concurrency_scales_out_of_it(
        k in 2..64_u32, ticks in prop::collection::vec((0.0..20.0_f64, 0.0..20.0_f64, 10.0..100.0_f64), 1..60),
    ) {
        let mut one = WorkersPolicy::new(Config::default());
        let mut many = WorkersPolicy::new(Config::default());
        let (mut current, k_times) = (2, f64::from(k));
        for (second, (busy, waiting, rate)) in ticks.into_iter().enumerate() {
            let at = Duration::from_secs(second as u64 + 1);
            let situation = Situation {
                current, min: 1, max: MAX, ready: current, starting: 0, concurrency: 1, backing_off: false, leased: false,
            };
            let seen = Observation {
                busy, waiting, backlog: waiting, arrivals: rate, completions: rate, service: busy, duration: busy,
                ..Observation::default()
            };
            let scaled = Observation {
                waiting: waiting * k_times, backlog: waiting * k_times, arrivals: rate * k_times,
                completions: rate * k_times, duration: busy * k_times, ..seen
            };
            let first = one.tick(at, situation, &seen);
            let second = many.tick(at, Situation { concurrency: k, ..situation }, &scaled);
            prop_assert_eq!((first.target, first.reason), (second.target, second.reason));
            current = first.target;
        }
    }

    /// While boots fail or a lease is in force, the number stays.
    #[test]
    fn others_have_their_say(load in 0.0..30.0_f64, leased in any::<bool>()) {
        let mut plant = Plant::new(Config::default(), (1, MAX), 4, 0.1, 0.2);
        for second in 0..300_u32 {
            let at = Duration::from_secs(u64::from(second) + 1);
            let situation = Situation { leased, backing_off: !leased, ..plant.situation() };
            let seen = Observation { busy: load.min(4.0), waiting: load, backlog: load, ..Observation::default() };
            let decision = plant.policy.tick(at, situation, &seen);
            prop_assert_eq!(decision.target, 4);
            let expected = if leased { Reason::Leased } else { Reason::BackingOff };
            prop_assert_eq!(decision.reason, expected);
        }
    }
}

/// A database that serves only so many at a time: workers are added, seen to bring nothing, and then no more.
#[test]
fn workers_that_bring_nothing_are_not_followed_by_more() {
    let mut policy = WorkersPolicy::new(Config::default());
    let mut current = 2;
    let mut vetoed = 0;
    for second in 1..=120 {
        let situation = Situation {
            current,
            min: 1,
            max: MAX,
            ready: current,
            starting: 0,
            concurrency: 1,
            backing_off: false,
            leased: false,
        };
        // 20 requests a second end, however many workers there are; all of them are busy.
        let seen = Observation {
            busy: f64::from(current),
            waiting: 10.0,
            backlog: 10.0,
            arrivals: 20.0,
            completions: 20.0,
            service: f64::from(current),
            duration: f64::from(current),
            ..Observation::default()
        };
        let decision = policy.tick(Duration::from_secs(second), situation, &seen);
        vetoed += u32::from(decision.vetoes.iter().any(|veto| veto.kind == VetoKind::MarginalGain));
        current = decision.target;
    }
    assert!(vetoed > 60, "vetoed in {vetoed} ticks");
    assert!(current < MAX, "{current}");
}

#[test]
fn an_up_soon_after_a_down_doubles_the_patience() {
    let mut plant = Plant::new(Config::default(), (1, MAX), 1, 0.1, 0.1);
    plant.run(120.0, 5.0);
    assert!(plant.last().inputs.down_window_seconds < 60.1);
    for _ in 0..2 {
        while plant.last().direction != Direction::Down {
            plant.run(1.0, 0.5);
        }
        plant.run(10.0, 12.0);
    }
    let patience = plant.last().inputs.down_window_seconds;
    assert!(patience > 200.0, "{patience}");
    plant.run(1200.0, 6.0);
    assert!(plant.last().inputs.down_window_seconds < 60.1);
}

#[test]
fn what_somebody_else_has_set_is_kept_for_a_while() {
    let mut plant = Plant::new(Config::default(), (1, MAX), 2, 0.1, 0.1);
    plant.run(200.0, 1.0);
    // A lease has ended with nine workers.
    plant.target = 9;
    plant.ready = 9;
    plant.run(50.0, 1.0);
    assert_eq!(plant.target, 9);
    plant.run(300.0, 1.0);
    assert!(plant.target < 4, "{}", plant.target);
    let steps = plant.history.windows(2).all(|pair| pair[0].1 <= 9 && pair[1].0 - pair[0].0 > 4.9);
    assert!(steps, "one at a time: {:?}", plant.history);
}

#[test]
fn memory_pressure_takes_workers_away() {
    let mut plant = Plant::new(Config::default(), (2, MAX), 2, 0.1, 0.1);
    plant.run(60.0, 5.0);
    let before = plant.target;
    plant.extra.memory =
        Some(Memory { limit: 1000, working_set: 800, per_worker: Some(1), pressure: Some(30.0) });
    plant.run(8.0, 5.0);
    assert!(plant.target < before);
    assert!(plant.decisions.iter().any(|decision| decision.reason == Reason::MemoryPressure));
    plant.run(120.0, 5.0);
    assert_eq!(plant.target, 2, "never below the lower bound");
}

/// Clients queue up while the first worker boots: that is no reason to boot as many as the bounds allow.
#[test]
fn a_queue_before_the_first_answer_boots_no_crowd() {
    let mut policy = WorkersPolicy::new(Config::default());
    let mut current = 1;
    for second in 1..=60 {
        let ready = u32::from(second > 30);
        let situation = Situation {
            current,
            min: 1,
            max: MAX,
            ready,
            starting: current - ready,
            concurrency: 1,
            backing_off: false,
            leased: false,
        };
        let seen =
            Observation { busy: f64::from(ready), waiting: 500.0, backlog: 500.0, ..Observation::default() };
        let decision = policy.tick(Duration::from_secs(second), situation, &seen);
        current = decision.target;
        // Nothing is ever answered here: one step when the first worker is ready, and then it waits for the second.
        assert!(current <= if ready == 0 { 1 } else { 2 }, "second {second}: {decision:?}");
        assert!(current == 2 || ready == 1 || decision.reason == Reason::Starting, "{decision:?}");
    }
}
