//! The operator with leases, as it runs in a cluster: pods only watch, every two seconds the operator reads what they say,
//! and decides for all of them. For tests: it is to be no worse than pods that scale by themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use podicorn_policy::{
    Config, Decision, Fleet, FleetBounds, FleetConfig, Meter, PodLoad, PodsBounds, SAMPLE_INTERVAL,
    WorkersPolicy,
};

use super::Limits;
use super::podicorn::{sample, situation};
use crate::engine::{Plan, PodView, Scaler};
use crate::trace::SECOND;

const LOOK: u64 = 2 * SECOND;

struct Watcher {
    meter: Meter,
    policy: WorkersPolicy,
    said: Option<Decision>,
}

impl Watcher {
    fn tick(&mut self, at: Duration, pod: &PodView, limits: (u32, u32)) {
        let Some(seen) = self.meter.add(at, &sample(pod)) else { return };
        let situation = situation(pod, limits.0, limits.1, true);
        self.said = Some(self.policy.tick(at, situation, &seen));
    }
}

struct Steered {
    limits: Limits,
    watchers: BTreeMap<u32, Watcher>,
    fleet: Fleet,
    targets: BTreeMap<u32, u32>,
    pods: u32,
    /// None: the number of pods is fixed.
    most_pods: Option<u32>,
    next_look: u64,
    pods_history: Vec<u32>,
    targets_history: Vec<BTreeMap<u32, u32>>,
}

impl Steered {
    fn new(limits: Limits, pods: u32, most_pods: Option<u32>) -> Self {
        Self {
            limits,
            watchers: BTreeMap::new(),
            fleet: Fleet::new(FleetConfig::default()),
            targets: BTreeMap::new(),
            pods,
            most_pods,
            next_look: LOOK,
            pods_history: vec![pods],
            targets_history: Vec::new(),
        }
    }

    fn look(&mut self, at: Duration, pods: &[PodView]) {
        let (min, max) = (self.limits.min, self.limits.per_pod);
        let names: Vec<String> = pods.iter().map(|pod| pod.id.to_string()).collect();
        let loads: Vec<PodLoad<'_>> = pods
            .iter()
            .zip(&names)
            .filter(|(pod, _)| pod.ready)
            .filter_map(|(pod, name)| {
                let watcher = self.watchers.get(&pod.id)?;
                Some(PodLoad { pod: name, current: pod.wanted, min, max, decision: watcher.said.as_ref() })
            })
            .collect();
        let number = self.most_pods.map(|most| PodsBounds { current: self.pods, min: 1, max: most });
        let bounds = FleetBounds { min, max, concurrency: 1, pods: number };
        let decided = self.fleet.tick(at, &bounds, &loads);
        for verdict in decided.pods {
            let pod = verdict.pod.parse().unwrap();
            self.targets.insert(pod, verdict.decision.target);
        }
        if let Some(number) = decided.number {
            self.pods = number.target;
        }
        self.pods_history.push(self.pods);
        self.targets_history.push(self.targets.clone());
    }
}

impl Scaler for Steered {
    fn name(&self) -> String {
        "podicorn, steered".to_owned()
    }

    fn interval(&self) -> u64 {
        crate::trace::micros(SAMPLE_INTERVAL.as_secs_f64())
    }

    fn start(&self) -> Plan {
        Plan::of(self.pods, self.limits.min)
    }

    fn tick(&mut self, at: u64, pods: &[PodView]) -> Plan {
        let now = Duration::from_micros(at);
        self.watchers.retain(|id, _| pods.iter().any(|pod| pod.id == *id));
        self.targets.retain(|id, _| pods.iter().any(|pod| pod.id == *id));
        for pod in pods.iter().filter(|pod| pod.ready) {
            let watcher = self.watchers.entry(pod.id).or_insert_with(|| Watcher {
                meter: Meter::default(),
                policy: WorkersPolicy::new(Config::default()),
                said: None,
            });
            watcher.tick(now, pod, (self.limits.min, self.limits.per_pod));
        }
        if at >= self.next_look {
            self.next_look = at + LOOK;
            self.look(now, pods);
        }
        Plan { pods: self.pods, workers: self.limits.min, by_pod: self.targets.clone() }
    }
}

mod tests {
    use super::*;
    use crate::engine::{Times, simulate};
    use crate::trace::{Shape, seconds};

    const TIMES: Times = Times { worker_boot: SECOND / 2, pod_start: 12 * SECOND };

    fn turns(numbers: &[u32]) -> usize {
        let mut numbers = numbers.to_vec();
        numbers.dedup();
        numbers.windows(3).filter(|three| (three[0] < three[1]) != (three[1] < three[2])).count()
    }

    /// Four busy workers on two pods of eight, then twenty for five minutes, then four again: at random, in both senses.
    #[test]
    fn five_times_the_load_is_absorbed_by_as_many_pods_as_it_needs() {
        for seed in 1..4 {
            let limits = Limits { min: 1, max: 80, per_pod: 8 };
            let mut steered = Steered::new(limits, 2, Some(10));
            let mut run = simulate(&Shape::Flash.trace(4.0, 0.12, seed), &mut steered, TIMES);
            // 20 / (8 · 0.7) is 4; up and down again is one turn.
            let peak = steered.pods_history.iter().copied().max().unwrap();
            assert!(peak <= 5, "{peak} pods with seed {seed}");
            assert!(turns(&steered.pods_history) <= 1, "{:?}", steered.pods_history);
            run.waits.sort_unstable();
            let late = seconds(run.waits[run.waits.len() * 95 / 100]);
            assert!(late < 1.5, "one in twenty waited longer than {late} s with seed {seed}");
        }
    }

    /// Noise alone adds no pod, and moves a pod's workers seldom.
    #[test]
    fn a_load_that_only_looks_restless_moves_little() {
        for seed in 1..4 {
            let limits = Limits { min: 1, max: 80, per_pod: 8 };
            let mut steered = Steered::new(limits, 2, Some(10));
            simulate(&Shape::Poisson.trace(4.0, 0.12, seed), &mut steered, TIMES);
            assert_eq!(steered.pods_history.iter().max(), Some(&2), "seed {seed}");
            let pods: Vec<u32> = steered.targets_history.last().unwrap().keys().copied().collect();
            for pod in pods {
                let of_pod = steered.targets_history.iter().filter_map(|targets| targets.get(&pod).copied());
                let turns = turns(&of_pod.collect::<Vec<_>>());
                assert!(turns <= 8, "{turns} turns in 20 minutes with seed {seed}");
            }
        }
    }
}
