//! What holds of the policy for all pods of an app.

#![allow(clippy::expect_used)] // tests

mod plant;

use std::time::Duration;

use plant::Plant;
use podicorn_policy::{
    Cap, Config, Decision, Direction, Fleet, FleetBounds, FleetConfig, FleetDecision, Inputs, PodLoad,
    PodsBounds, Reason, Standing, Veto, VetoKind,
};
use proptest::prelude::*;

const MAX: u32 = 64;
const BOUNDS: FleetBounds = FleetBounds { min: 1, max: MAX, concurrency: 1, pods: None };

fn need(load: f64) -> u32 {
    (1..10_000).find(|workers| f64::from(*workers) * 0.7 + 1e-6 >= load).expect("small loads")
}

fn most_allowed(load: f64) -> u32 {
    need(load) + (need(load) / 4).max(1)
}

/// Pods whose own policy only watches, and the operator that steers them.
struct Swarm {
    pods: Vec<Plant>,
    fleet: Fleet,
    bounds: FleetBounds,
    now: f64,
    /// A pod with this index says what this decision says.
    liar: Option<(usize, Decision)>,
    history: Vec<Vec<u32>>,
    last: Option<FleetDecision>,
}

impl Swarm {
    fn new(pods: usize, start: u32, service: f64, boot: f64) -> Self {
        let pods = (0..pods).map(|_| Plant::new(Config::default(), (1, MAX), start, service, boot)).collect();
        Self {
            pods,
            fleet: Fleet::new(FleetConfig::default()),
            bounds: BOUNDS,
            now: 0.0,
            liar: None,
            history: Vec::new(),
            last: None,
        }
    }

    /// Each pod gets its share of `load` erlangs for `seconds`.
    fn run(&mut self, seconds: u32, loads: &[f64]) {
        for _ in 0..seconds / 2 {
            for second in 0..2 {
                for (pod, load) in self.pods.iter_mut().zip(loads) {
                    flow(pod, *load, self.now + f64::from(second) + 1.0);
                }
            }
            self.now += 2.0;
            self.look();
        }
    }

    fn look(&mut self) {
        let names: Vec<String> = (0..self.pods.len()).map(|index| format!("pod-{index}")).collect();
        let loads: Vec<PodLoad<'_>> = self
            .pods
            .iter()
            .enumerate()
            .map(|(index, pod)| {
                let own = pod.decisions.last();
                let decision = match &self.liar {
                    Some((liar, lie)) if *liar == index => Some(lie),
                    _ => own,
                };
                PodLoad { pod: &names[index], current: pod.target, min: 1, max: MAX, decision }
            })
            .collect();
        let decided = self.fleet.tick(Duration::from_secs_f64(self.now), &self.bounds, &loads);
        for (pod, verdict) in self.pods.iter_mut().zip(&decided.pods) {
            pod.target = verdict.decision.target;
            pod.resize();
        }
        self.history.push(self.targets());
        self.last = Some(decided);
    }

    fn targets(&self) -> Vec<u32> {
        self.pods.iter().map(|pod| pod.target).collect()
    }

    fn reversals(&self, pod: usize) -> usize {
        let mut numbers: Vec<u32> = self.history.iter().map(|targets| targets[pod]).collect();
        numbers.dedup();
        numbers.windows(3).filter(|three| (three[0] < three[1]) != (three[1] < three[2])).count()
    }
}

/// A second of load; the pod's own policy watches, as under a lease.
fn flow(pod: &mut Plant, load: f64, until: f64) {
    let seconds = until - pod.now;
    let (target, ready) = (pod.target, pod.ready);
    pod.run_leased(seconds, load);
    assert_eq!(pod.target, target, "{ready}");
}

fn share(load: f64, pods: usize) -> Vec<f64> {
    vec![load; pods]
}

fn nonsense() -> impl Strategy<Value = Decision> {
    let odd = prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), Just(1e300), 1e7..1e12_f64,];
    let field = 0..4_usize;
    (odd, field, any::<u32>()).prop_map(|(value, field, ready)| {
        let mut inputs = Inputs { ready: ready % 64, ..Inputs::default() };
        match field {
            0 => inputs.busy = value,
            1 => inputs.waiting = value,
            2 => inputs.arrivals_per_second = value,
            _ => inputs.service_seconds = Some(value),
        }
        saying(inputs)
    })
}

fn saying(inputs: Inputs) -> Decision {
    Decision {
        target: 4,
        current: 4,
        direction: Direction::Hold,
        reason: Reason::Leased,
        message: String::new(),
        cap: Cap { workers: MAX, reason: None },
        vetoes: Vec::new(),
        inputs,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Constant load: at most one reversal, no more than a quarter too many, nothing left to change in the end.
    #[test]
    fn constant_load_settles(
        load in 0.05..20.0_f64, service in 0.03..1.0_f64, boot in 0.0..4.0_f64, start in 1..=30_u32, pods in 1..5_usize,
    ) {
        let mut swarm = Swarm::new(pods, start, service, boot);
        swarm.run(900, &share(load, pods));
        for (index, pod) in swarm.pods.iter().enumerate() {
            prop_assert!(swarm.reversals(index) <= 1, "{:?}", swarm.history);
            prop_assert!(f64::from(pod.target) > load, "{} workers for {load}", pod.target);
            let peak = swarm.history.iter().map(|targets| targets[index]).max().unwrap_or(0);
            prop_assert!(peak <= most_allowed(load).max(start), "{peak} for {}: {:?}", need(load), swarm.history);
            prop_assert!(pod.target <= most_allowed(load).max(need(load / 0.6) + 1), "{} is too many", pod.target);
            prop_assert!(pod.waiting() < 1e-3);
        }
        let late = &swarm.history[300..];
        prop_assert!(late.iter().all(|targets| *targets == late[0]), "{late:?}");
    }

    /// A step that fits is worked off as fast as workers boot.
    #[test]
    fn a_step_is_absorbed(load in 0.3..3.0_f64, factor in 1.5..6.0_f64, service in 0.03..0.3_f64, boot in 0.0..2.0_f64) {
        let mut swarm = Swarm::new(3, 1, service, boot);
        swarm.run(300, &share(load, 3));
        swarm.run(24, &share(load * factor, 3));
        for target in swarm.targets() {
            prop_assert!(target >= need(load * factor / 1.1), "{:?} for {}", swarm.history, need(load * factor));
        }
        swarm.run(60, &share(load * factor, 3));
        for pod in &swarm.pods {
            prop_assert!(pod.waiting() < 1e-3);
            prop_assert!(pod.target <= most_allowed(load * factor).max(most_allowed(load)), "{:?}", swarm.history);
        }
    }

    /// What cannot be moves nobody else, and nothing is decided for who says it.
    #[test]
    fn liars_move_nobody(load in 0.1..10.0_f64, lie in nonsense(), liar in 0..4_usize) {
        let mut honest = Swarm::new(3, 2, 0.1, 0.2);
        let mut mixed = Swarm::new(4, 2, 0.1, 0.2);
        mixed.liar = Some((liar, lie));
        honest.run(200, &share(load, 3));
        mixed.run(200, &share(load, 4));
        for (alone, together) in honest.history.iter().zip(&mixed.history) {
            let mut together = together.clone();
            prop_assert_eq!(together.remove(liar), 2);
            prop_assert_eq!(alone, &together);
        }
        let verdicts = mixed.last.expect("it has run").pods;
        prop_assert_eq!(verdicts[liar].standing, Standing::Unsound);
    }

    /// One that is far busier than all others moves nobody else either, and gets what it needs itself.
    #[test]
    fn the_unusual_pod_gets_its_own_share(load in 0.5..4.0_f64, hot in 6.0..12.0_f64) {
        let mut swarm = Swarm::new(5, 1, 0.1, 0.1);
        let mut loads = share(load, 5);
        loads[4] = load * hot + 2.0;
        swarm.run(120, &loads);
        let targets = swarm.targets();
        prop_assert!(targets[..4].iter().all(|target| *target <= most_allowed(load)), "{targets:?}");
        prop_assert!(f64::from(targets[4]) > loads[4].min(f64::from(MAX) - 1.0), "{targets:?}");
    }

    /// A new operator knows nothing: the numbers stay as they are, then and later.
    #[test]
    fn a_restart_moves_nothing(load in 0.1..20.0_f64, seconds in 2..120_u32, pods in 1..5_usize) {
        let mut swarm = Swarm::new(pods, 1, 0.1, 0.2);
        swarm.run(300 + seconds * 2, &share(load, pods));
        let before = swarm.targets();
        swarm.fleet = Fleet::new(FleetConfig::default());
        let began = swarm.history.len();
        swarm.run(300, &share(load, pods));
        for targets in &swarm.history[began..began + 2] {
            prop_assert_eq!(targets, &before);
        }
        for targets in &swarm.history[began..] {
            for (now, then) in targets.iter().zip(&before) {
                prop_assert!(now <= then, "{before:?} {:?}", &swarm.history[began..]);
                prop_assert!(f64::from(*now) > load);
            }
        }
    }

    #[test]
    fn whatever_pods_say_the_bounds_hold(
        min in 1..6_u32, span in 0..20_u32,
        ticks in prop::collection::vec((
            any::<u16>(),
            prop::collection::vec((0..80_u32, any::<f64>(), any::<f64>(), any::<u32>(), 0..90_u32, any::<bool>()), 0..6),
        ), 1..40),
    ) {
        let max = min + span;
        let pods = Some(PodsBounds { current: 3, min: 2, max: 9 });
        let bounds = FleetBounds { min, max, concurrency: 1, pods };
        let mut fleet = Fleet::new(FleetConfig::default());
        for (at, said) in ticks {
            let decisions: Vec<Decision> = said
                .iter()
                .map(|(_, busy, waiting, ready, cap, vetoed)| Decision {
                    cap: Cap { workers: *cap, reason: vetoed.then_some(VetoKind::MemoryHeadroom) },
                    vetoes: if *vetoed {
                        vec![Veto { kind: VetoKind::MemoryHeadroom, message: "It is full.".to_owned() }]
                    } else {
                        Vec::new()
                    },
                    ..saying(Inputs { busy: *busy, waiting: *waiting, ready: *ready, ..Inputs::default() })
                })
                .collect();
            let names: Vec<String> = (0..said.len()).map(|index| index.to_string()).collect();
            let loads: Vec<PodLoad<'_>> = said
                .iter()
                .enumerate()
                .map(|(index, said)| PodLoad {
                    pod: &names[index], current: said.0, min: 1, max: MAX, decision: Some(&decisions[index]),
                })
                .collect();
            let decided = fleet.tick(Duration::from_secs(u64::from(at)), &bounds, &loads);
            for (load, verdict) in loads.iter().zip(&decided.pods) {
                let Decision { target, current, cap, .. } = &verdict.decision;
                if verdict.standing == Standing::Steered {
                    prop_assert!((min..=max).contains(target), "{verdict:?}");
                    let vetoed = load.decision.is_some_and(|decision| !decision.vetoes.is_empty());
                    let most = load.decision.map_or(max, |decision| decision.cap.workers).max(min);
                    prop_assert!(!vetoed || target <= current || *target <= most, "{verdict:?} {cap:?}");
                } else {
                    prop_assert_eq!(*target, load.current);
                }
                prop_assert!(!verdict.decision.message.is_empty());
            }
            if let Some(number) = decided.number {
                prop_assert!((2..=9).contains(&number.target));
            }
        }
    }
}

#[test]
fn a_new_pod_does_not_start_cold() {
    let mut swarm = Swarm::new(3, 1, 0.1, 0.2);
    swarm.run(120, &share(5.0, 3));
    assert!(swarm.targets().iter().all(|target| *target >= 8), "{:?}", swarm.targets());
    let mut new = Plant::new(Config::default(), (1, MAX), 1, 0.1, 0.2);
    new.now = swarm.now;
    swarm.pods.push(new);
    swarm.run(2, &share(5.0 * 3.0 / 4.0, 4));
    let last = swarm.last.as_ref().expect("it has run");
    let level = last.level.expect("three have been watched");
    let verdict = &last.pods[3].decision;
    assert!(level >= need(3.75), "{level}");
    assert_eq!((verdict.current, verdict.target, verdict.reason), (1, level, Reason::Load), "{verdict:?}");
    assert!(verdict.message.contains("on average"), "{}", verdict.message);
}

/// Nor one that has not seen a request yet.
#[test]
fn a_pod_with_nothing_to_tell_is_as_large_as_its_siblings() {
    let mut swarm = Swarm::new(3, 1, 0.1, 0.2);
    swarm.run(120, &share(5.0, 3));
    let mut new = Plant::new(Config::default(), (1, MAX), 1, 0.1, 0.2);
    new.now = swarm.now;
    swarm.pods.push(new);
    swarm.now += 2.0;
    swarm.look();
    let level = swarm.last.as_ref().and_then(|last| last.level).expect("three have been watched");
    assert_eq!(swarm.targets()[3], level);
    // Alone it would be told nothing.
    let mut alone = Swarm::new(1, 1, 0.1, 0.2);
    alone.now = 2.0;
    alone.look();
    assert_eq!(alone.last.expect("it has run").pods[0].standing, Standing::Silent);
}

#[test]
fn a_pod_that_cannot_have_more_says_why_and_holds_nobody_back() {
    let mut swarm = Swarm::new(3, 1, 0.1, 0.2);
    swarm.run(60, &share(2.0, 3));
    let before = swarm.targets()[1];
    swarm.pods[1].extra.memory = Some(podicorn_policy::Memory {
        limit: 1 << 30,
        working_set: 900 << 20,
        per_worker: Some(40 << 20),
        pressure: None,
    });
    swarm.run(60, &share(6.0, 3));
    let targets = swarm.targets();
    assert!(targets[0] >= 8 && targets[2] >= 8, "{targets:?}");
    assert_eq!(targets[1], before);
    let verdict = &swarm.last.as_ref().expect("it has run").pods[1].decision;
    assert_eq!(verdict.cap.reason, Some(VetoKind::MemoryHeadroom), "{verdict:?}");
    assert!(verdict.vetoes[0].message.contains("MiB"), "{verdict:?}");
}

/// Layer 2 goes by the same figures: pods are added when the workers at their cap are too few.
#[test]
fn pods_follow_the_demand() {
    let mut swarm = Swarm::new(2, 1, 0.1, 0.2);
    let pods = |current| Some(PodsBounds { current, min: 2, max: 20 });
    swarm.bounds = FleetBounds { max: 4, pods: pods(2), ..BOUNDS };
    swarm.run(60, &share(2.0, 2));
    let mut wanted = 2;
    for _ in 0..60 {
        swarm.bounds.pods = pods(wanted);
        let count = u32::try_from(swarm.pods.len()).expect("a few");
        swarm.run(2, &share(11.2 / f64::from(count), swarm.pods.len()));
        if let Some(number) = swarm.last.as_ref().and_then(|last| last.number.as_ref()) {
            wanted = number.target;
        }
        while swarm.pods.len() < wanted as usize {
            let mut new = Plant::new(Config::default(), (1, MAX), 1, 0.1, 0.2);
            new.now = swarm.now;
            swarm.pods.push(new);
        }
    }
    // 11.2 erlangs on pods with four workers that are to be busy 2.8 of them.
    assert!((4..=5).contains(&wanted), "{wanted}");
    assert!(swarm.targets().iter().all(|target| *target == 4), "{:?}", swarm.targets());
}
