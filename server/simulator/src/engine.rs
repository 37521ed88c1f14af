//! The discrete-event simulation: pods of workers, one queue per pod, first come first served.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use crate::trace::{Request, Trace, seconds};

/// What the kernel holds of connections that no worker has taken.
pub(crate) const BACKLOG: usize = 2048;

/// How long things take, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) worker_boot: u64,
    pub(crate) pod_start: u64,
}

/// What a scaler sees of one pod. Integrals and counts are since its last tick.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct PodView {
    pub(crate) id: u32,
    pub(crate) ready: bool,
    /// Workers wanted in it.
    pub(crate) wanted: u32,
    pub(crate) ready_workers: u32,
    pub(crate) booting_workers: u32,
    pub(crate) busy_workers: u32,
    pub(crate) backlog: u32,
    pub(crate) busy_seconds: f64,
    /// Requests in the pod, running or waiting, integrated over time.
    pub(crate) concurrency_seconds: f64,
    pub(crate) arrivals: u32,
    pub(crate) completions: u32,
    pub(crate) service_seconds: f64,
}

/// What a scaler wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) pods: u32,
    /// Workers in a pod that is not named below.
    pub(crate) workers: u32,
    /// By the pod's id.
    pub(crate) by_pod: BTreeMap<u32, u32>,
}

impl Plan {
    pub(crate) fn of(pods: u32, workers: u32) -> Self {
        Self { pods, workers, by_pod: BTreeMap::new() }
    }
}

pub(crate) trait Scaler {
    fn name(&self) -> String;
    /// From one tick to the next, in microseconds.
    fn interval(&self) -> u64;
    fn start(&self) -> Plan;
    /// `at` is in microseconds.
    fn tick(&mut self, at: u64, pods: &[PodView]) -> Plan;
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Run {
    /// Time that workers existed, those that boot or finish included.
    pub(crate) worker_seconds: f64,
    /// Waiting time of each request that was served, in microseconds.
    pub(crate) waits: Vec<u64>,
    pub(crate) rejected: usize,
    /// The number of workers wanted, whenever it changed.
    pub(crate) targets: Vec<(u64, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Before arrivals of the same moment.
    Done {
        pod: u32,
        worker: u32,
    },
    WorkerReady {
        pod: u32,
        worker: u32,
    },
    PodReady {
        pod: u32,
    },
    Tick,
    Arrival {
        index: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Booting,
    Idle,
    Busy { service: u64 },
}

#[derive(Debug)]
struct Worker {
    id: u32,
    work: Work,
    /// Goes when it is done.
    leaving: bool,
}

#[derive(Debug)]
struct Pod {
    view: PodView,
    workers: Vec<Worker>,
    queue: VecDeque<Request>,
    /// Takes no more requests; gone when it is empty.
    leaving: bool,
    looked: u64,
}

impl Pod {
    fn busy(&self) -> u32 {
        self.count(|worker| matches!(worker.work, Work::Busy { .. }))
    }

    fn count(&self, wanted: impl Fn(&Worker) -> bool) -> u32 {
        self.workers.iter().filter(|worker| wanted(worker)).count() as u32
    }

    /// Brings the integrals up to now.
    fn look(&mut self, now: u64) {
        let span = seconds(now - self.looked);
        self.looked = now;
        let busy = f64::from(self.busy());
        self.view.busy_seconds += busy * span;
        self.view.concurrency_seconds += (busy + f64::from(self.queue.len() as u32)) * span;
    }

    fn load(&self) -> (u64, u32) {
        let workers = self.count(|worker| !worker.leaving && worker.work != Work::Booting).max(1);
        // Scaled, to compare without fractions.
        ((self.queue.len() as u64 + u64::from(self.busy())) * 1_000_000 / u64::from(workers), self.view.id)
    }
}

struct Engine<'a> {
    now: u64,
    times: Times,
    requests: &'a [Request],
    events: BinaryHeap<Reverse<(u64, Event, u64)>>,
    sequence: u64,
    pods: Vec<Pod>,
    next_pod: u32,
    next_worker: u32,
    alive: u32,
    counted: u64,
    run: Run,
}

/// Replays a trace under a scaler.
pub(crate) fn simulate(trace: &Trace, scaler: &mut dyn Scaler, times: Times) -> Run {
    let mut engine = Engine {
        now: 0,
        times,
        requests: &trace.requests,
        events: BinaryHeap::new(),
        sequence: 0,
        pods: Vec::new(),
        next_pod: 0,
        next_worker: 0,
        alive: 0,
        counted: 0,
        run: Run::default(),
    };
    engine.follow(&scaler.start());
    engine.begin();
    engine.schedule(scaler.interval(), Event::Tick);
    if !engine.requests.is_empty() {
        engine.schedule(engine.requests[0].at, Event::Arrival { index: 0 });
    }
    let last = trace.requests.last().map_or(0, |request| request.at);
    while let Some(Reverse((at, event, _))) = engine.events.pop() {
        engine.advance(at);
        engine.happen(event, scaler);
        // The trace has ended and everything is answered.
        if engine.now > last && engine.pods.iter().all(|pod| pod.queue.is_empty() && pod.busy() == 0) {
            break;
        }
    }
    engine.run
}

impl Engine<'_> {
    fn schedule(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + delay, event, self.sequence)));
    }

    fn advance(&mut self, at: u64) {
        self.now = at;
        self.run.worker_seconds += f64::from(self.alive) * seconds(at - self.counted);
        self.counted = at;
    }

    /// What is there at the beginning is ready.
    fn begin(&mut self) {
        self.events.clear();
        for pod in &mut self.pods {
            pod.view.ready = true;
            for worker in &mut pod.workers {
                worker.work = Work::Idle;
            }
        }
    }

    fn happen(&mut self, event: Event, scaler: &mut dyn Scaler) {
        match event {
            Event::Arrival { index } => {
                let request = self.requests[index];
                if let Some(next) = self.requests.get(index + 1) {
                    self.schedule(next.at - request.at, Event::Arrival { index: index + 1 });
                }
                self.arrive(request);
            }
            Event::Done { pod, worker } => self.done(pod, worker),
            Event::WorkerReady { pod, worker } => {
                if let Some(pod) = self.pod(pod) {
                    let worker = pod.workers.iter_mut().find(|known| known.id == worker);
                    if let Some(worker) = worker.filter(|worker| worker.work == Work::Booting) {
                        worker.work = Work::Idle;
                    }
                    let id = pod.view.id;
                    self.feed(id);
                }
            }
            Event::PodReady { pod } => {
                if let Some(pod) = self.pod(pod) {
                    pod.view.ready = true;
                    for worker in &mut pod.workers {
                        worker.work = Work::Idle;
                    }
                }
            }
            Event::Tick => {
                let now = self.now;
                let views: Vec<PodView> =
                    self.pods.iter_mut().filter(|pod| !pod.leaving).map(|pod| view(pod, now)).collect();
                let plan = scaler.tick(now, &views);
                self.follow(&plan);
                self.schedule(scaler.interval(), Event::Tick);
            }
        }
    }

    fn pod(&mut self, id: u32) -> Option<&mut Pod> {
        self.pods.iter_mut().find(|pod| pod.view.id == id)
    }

    fn arrive(&mut self, request: Request) {
        let now = self.now;
        let serving = self.pods.iter_mut().filter(|pod| pod.view.ready && !pod.leaving);
        let Some(pod) = serving.min_by_key(|pod| pod.load()) else {
            self.run.rejected += 1;
            return;
        };
        pod.look(now);
        pod.view.arrivals += 1;
        if pod.queue.len() >= BACKLOG {
            self.run.rejected += 1;
            return;
        }
        pod.queue.push_back(request);
        let id = pod.view.id;
        self.feed(id);
    }

    /// Idle workers take what waits.
    fn feed(&mut self, id: u32) {
        let now = self.now;
        let Some(pod) = self.pods.iter_mut().find(|pod| pod.view.id == id) else { return };
        pod.look(now);
        let mut begun = Vec::new();
        for worker in &mut pod.workers {
            if worker.leaving || worker.work != Work::Idle {
                continue;
            }
            let Some(request) = pod.queue.pop_front() else { break };
            worker.work = Work::Busy { service: request.service };
            begun.push((worker.id, request));
        }
        for (worker, request) in begun {
            self.run.waits.push(now - request.at);
            self.schedule(request.service, Event::Done { pod: id, worker });
        }
    }

    fn done(&mut self, id: u32, worker: u32) {
        let now = self.now;
        let Some(pod) = self.pod(id) else { return };
        pod.look(now);
        let Some(place) = pod.workers.iter().position(|known| known.id == worker) else { return };
        if let Work::Busy { service } = pod.workers[place].work {
            pod.view.completions += 1;
            pod.view.service_seconds += seconds(service);
        }
        if pod.workers[place].leaving {
            pod.workers.remove(place);
            self.alive -= 1;
            self.bury(id);
            return;
        }
        pod.workers[place].work = Work::Idle;
        self.feed(id);
        self.bury(id);
    }

    /// A pod that was told to go is gone when nothing is left to do.
    fn bury(&mut self, id: u32) {
        let Some(place) = self.pods.iter().position(|pod| pod.view.id == id) else { return };
        let pod = &self.pods[place];
        if pod.leaving && pod.queue.is_empty() && pod.busy() == 0 {
            self.alive -= pod.workers.len() as u32;
            self.pods.remove(place);
        }
    }

    fn follow(&mut self, plan: &Plan) {
        while self.pods.iter().filter(|pod| !pod.leaving).count() < plan.pods.max(1) as usize {
            self.start_pod(plan.workers);
        }
        while self.pods.iter().filter(|pod| !pod.leaving).count() > plan.pods.max(1) as usize {
            // One that is not ready yet, or else that with the least to do.
            let victim = self.pods.iter_mut().filter(|pod| !pod.leaving);
            let Some(victim) = victim.min_by_key(|pod| {
                (pod.view.ready, pod.queue.len() as u32 + pod.busy(), Reverse(pod.view.id))
            }) else {
                break;
            };
            victim.leaving = true;
            let id = victim.view.id;
            self.bury(id);
        }
        let ids: Vec<u32> = self.pods.iter().filter(|pod| !pod.leaving).map(|pod| pod.view.id).collect();
        for id in ids {
            self.resize(id, plan.by_pod.get(&id).copied().unwrap_or(plan.workers).max(1));
        }
        let target = self.pods.iter().filter(|pod| !pod.leaving).map(|pod| pod.view.wanted).sum();
        if self.run.targets.last().is_none_or(|(_, last)| *last != target) {
            self.run.targets.push((self.now, target));
        }
    }

    fn start_pod(&mut self, workers: u32) {
        let id = self.next_pod;
        self.next_pod += 1;
        let view = PodView { id, wanted: workers, ..PodView::default() };
        self.pods.push(Pod {
            view,
            workers: Vec::new(),
            queue: VecDeque::new(),
            leaving: false,
            looked: self.now,
        });
        self.resize(id, workers);
        self.schedule(self.times.pod_start, Event::PodReady { pod: id });
    }

    fn resize(&mut self, id: u32, wanted: u32) {
        let (now, boot) = (self.now, self.times.worker_boot);
        let Some(pod) = self.pods.iter_mut().find(|pod| pod.view.id == id) else { return };
        pod.look(now);
        pod.view.wanted = wanted;
        let ready = pod.view.ready;
        let staying = pod.count(|worker| !worker.leaving);
        let born: Vec<u32> =
            (0..wanted.saturating_sub(staying)).map(|number| self.next_worker + number).collect();
        pod.workers.extend(born.iter().map(|id| Worker { id: *id, work: Work::Booting, leaving: false }));
        for _ in wanted..staying {
            // Boots first, then the idle, the busy only when nobody else is left.
            let rank = |worker: &Worker| match worker.work {
                Work::Booting => 0,
                Work::Idle => 1,
                Work::Busy { .. } => 2,
            };
            let staying = pod.workers.iter().enumerate().filter(|(_, worker)| !worker.leaving);
            let Some((place, _)) = staying.min_by_key(|(_, worker)| (rank(worker), Reverse(worker.id)))
            else {
                break;
            };
            if rank(&pod.workers[place]) == 2 {
                pod.workers[place].leaving = true;
            } else {
                pod.workers.remove(place);
                self.alive -= 1;
            }
        }
        let count = born.len() as u32;
        self.next_worker += count;
        self.alive += count;
        // A pod that still starts brings its workers along.
        for worker in born.into_iter().filter(|_| ready) {
            self.schedule(boot, Event::WorkerReady { pod: id, worker });
        }
    }
}

/// The figures since the last tick, which begin anew.
fn view(pod: &mut Pod, now: u64) -> PodView {
    pod.look(now);
    let fresh =
        PodView { id: pod.view.id, ready: pod.view.ready, wanted: pod.view.wanted, ..PodView::default() };
    let seen = std::mem::replace(&mut pod.view, fresh);
    PodView {
        ready_workers: pod.count(|worker| !worker.leaving && worker.work != Work::Booting),
        booting_workers: pod.count(|worker| worker.work == Work::Booting),
        busy_workers: pod.busy(),
        backlog: pod.queue.len() as u32,
        ..seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::SECOND;

    const TIMES: Times = Times { worker_boot: SECOND, pod_start: 10 * SECOND };

    /// Does as it is told, second by second.
    struct Script(Vec<Plan>);

    impl Scaler for Script {
        fn name(&self) -> String {
            "script".to_owned()
        }

        fn interval(&self) -> u64 {
            SECOND
        }

        fn start(&self) -> Plan {
            self.0[0].clone()
        }

        fn tick(&mut self, at: u64, _: &[PodView]) -> Plan {
            let step = usize::try_from(at / SECOND).unwrap();
            self.0[step.min(self.0.len() - 1)].clone()
        }
    }

    fn requests(list: &[(u64, u64)]) -> Trace {
        let requests =
            list.iter().map(|(at, service)| Request { at: at * SECOND / 10, service: service * SECOND / 10 });
        Trace { name: "test".into(), about: String::new(), requests: requests.collect() }
    }

    #[test]
    fn first_come_first_served() {
        // One worker, three requests of a second at once: they wait 0, 1 and 2 s.
        let run = simulate(&requests(&[(0, 10), (0, 10), (0, 10)]), &mut Script(vec![Plan::of(1, 1)]), TIMES);
        assert_eq!(run.waits, [0, SECOND, 2 * SECOND]);
        assert!((run.worker_seconds - 3.0).abs() < 1e-9, "{}", run.worker_seconds);
        assert_eq!((run.rejected, run.targets), (0, vec![(0, 1)]));
    }

    #[test]
    fn workers_take_their_time_to_boot_and_busy_ones_finish() {
        // A second worker is wanted at 1 s, ready at 2 s; at 3 s it is one too many, and both are busy.
        let plans = [1, 2, 2, 1].map(|workers| Plan::of(1, workers)).to_vec();
        let run = simulate(&requests(&[(0, 100), (5, 100), (6, 10)]), &mut Script(plans), TIMES);
        assert_eq!(run.waits[..2], [0, 15 * SECOND / 10]);
        assert_eq!(run.targets, [(0, 1), (SECOND, 2), (3 * SECOND, 1)]);
        assert_eq!(run.waits.len(), 3, "what a worker has begun it finishes");
    }

    #[test]
    fn pods_take_longer_and_share_what_comes() {
        let plans = vec![Plan::of(1, 1), Plan::of(2, 1)];
        // The second pod is ready at 11 s and takes what comes at 15 s, while the first is busy to 40 s.
        let run = simulate(&requests(&[(0, 400), (150, 10)]), &mut Script(plans.clone()), TIMES);
        assert_eq!(run.waits, [0, 0]);
        let run = simulate(&requests(&[(0, 400), (100, 10)]), &mut Script(plans), TIMES);
        assert_eq!(run.waits, [0, 30 * SECOND], "at 10 s it is not there yet");
    }

    #[test]
    fn a_full_queue_rejects() {
        let list = vec![(0, 1); BACKLOG + 10];
        let run = simulate(&requests(&list), &mut Script(vec![Plan::of(1, 1)]), TIMES);
        assert_eq!((run.rejected, run.waits.len()), (9, BACKLOG + 1));
    }
}
