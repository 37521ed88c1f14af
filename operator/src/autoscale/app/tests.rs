use std::net::SocketAddr;

use podicorn_admin_api::{LeaseView, Reason as Voice, ScaleRequest};
use podicorn_policy::{Cap, Decision, Inputs, Reason, Veto, VetoKind};

use super::super::fleet::PodSeen;
use super::super::history::Snapshot;
use super::super::order::Command;
use super::super::wishes::Wishes;
use super::*;
use crate::api::{Commands, ConditionStatus, reasons};

const TERM: u64 = 2 << 32;

fn wishes(mode: Mode, commands: Commands) -> Wishes {
    Wishes {
        mode,
        commands,
        min_workers: 1,
        max_workers: Some(8),
        concurrency: 1,
        min_pods: 1,
        max_pods: Some(6),
        target: 70,
        workers_down_seconds: 60,
        pods_down_seconds: 300,
    }
}

fn seen(pods: usize, mode: Mode, commands: Commands) -> AppSeen {
    let pods = (0..pods).map(|number| PodSeen {
        name: format!("shop-{number}"),
        uid: format!("uid-{number}"),
        address: Some(SocketAddr::from(([127, 0, 0, 1], 9099))),
        ready: true,
    });
    let pods: Vec<PodSeen> = pods.collect();
    AppSeen {
        namespace: "prod".to_owned(),
        name: "shop".to_owned(),
        uid: "uid".to_owned(),
        generation: Some(3),
        wishes: wishes(mode, commands),
        status: None,
        replicas: u32::try_from(pods.len()).ok(),
        pods,
        tokens: None,
        hpas: Vec::new(),
    }
}

/// A pod with so many workers and so much to do.
fn view(target: u32, busy: f64) -> ScaleView {
    let inputs = Inputs {
        busy,
        offered_fast: busy,
        offered_slow: busy,
        arrivals_per_second: busy * 10.0,
        completions_per_second: busy * 10.0,
        service_seconds: Some(0.1),
        ready: target,
        ..Inputs::default()
    };
    let decision = Decision {
        target,
        current: target,
        direction: Direction::Hold,
        reason: Reason::Leased,
        message: "A lease is in force.".to_owned(),
        cap: Cap { workers: 8, reason: None },
        vetoes: Vec::new(),
        inputs,
    };
    ScaleView {
        target,
        base: target,
        min: 1,
        max: 8,
        reason: Voice::Configuration,
        clamped: None,
        lease: None,
        last_epoch: None,
        decision: Some(decision),
    }
}

fn silent() -> Answer {
    Err(Failure { kind: "timeout", message: "no answer within 1000 ms".to_owned() })
}

/// Pods that do as they are told, and the app that tells them.
struct Stage {
    app: App,
    seen: AppSeen,
    views: Vec<ScaleView>,
    loads: Vec<f64>,
    epochs: Epochs,
    second: u64,
    lost: BTreeSet<usize>,
}

impl Stage {
    fn new(seen: AppSeen, target: u32, load: f64) -> Self {
        let pods = seen.pods.len();
        Self {
            app: App::new(&seen),
            views: vec![view(target, load); pods],
            loads: vec![load; pods],
            seen,
            epochs: Epochs::new(TERM),
            second: 1,
            lost: BTreeSet::new(),
        }
    }

    fn moment(&self) -> Moment {
        let now = Timestamp::from_second(1_790_000_000 + i64::try_from(self.second).unwrap()).unwrap();
        Moment { at: Duration::from_secs(self.second), now }
    }

    fn answers(&self) -> Vec<Option<Answer>> {
        let asked = self.app.to_ask(self.moment().at, &self.seen);
        let answer =
            |pod: usize| if self.lost.contains(&pod) { silent() } else { Ok(self.views[pod].clone()) };
        (0..self.seen.pods.len()).map(|pod| asked.contains(&pod).then(|| answer(pod))).collect()
    }

    /// One tick of 2 s.
    fn tick(&mut self) -> Plan {
        self.second += 2;
        let moment = self.moment();
        for (view, load) in self.views.iter_mut().zip(&self.loads) {
            if let Some(lease) = &mut view.lease {
                lease.remaining_seconds -= 2.0;
            }
            view.lease = view.lease.take().filter(|lease| lease.remaining_seconds > 0.0);
            let fresh = super::tests::view(view.target, *load);
            let vetoes = view.decision.take().map(|decision| (decision.vetoes, decision.cap));
            view.decision = fresh.decision;
            if let (Some(decision), Some((vetoes, cap))) = (&mut view.decision, vetoes) {
                (decision.vetoes, decision.cap) = (vetoes, cap);
            }
        }
        let answers = self.answers();
        let manner = Manner::new(self.seen.wishes.commands, 2.0);
        let plan = self.app.decide(&moment, &self.seen, &answers, manner, &self.epochs);
        for order in &plan.orders {
            let view = &mut self.views[order.pod];
            match order.command {
                Command::Lease { request, .. } => {
                    view.target = request.workers;
                    view.last_epoch = Some(request.epoch);
                    view.lease = Some(LeaseView { request, remaining_seconds: 15.0 });
                }
                Command::Steps { from, to } => {
                    assert_eq!(from, view.base);
                    (view.base, view.target) = (to, to);
                }
            }
        }
        plan
    }

    fn ticks(&mut self, number: usize) -> Vec<Plan> {
        (0..number).map(|_| self.tick()).collect()
    }

    fn targets(&self) -> Vec<u32> {
        self.views.iter().map(|view| view.target).collect()
    }
}

#[test]
fn pods_under_load_get_leases_for_more_and_people_are_told_once() {
    let mut stage = Stage::new(seen(2, Mode::Workers, Commands::Absolute), 1, 2.0);
    let plans = stage.ticks(10);
    assert_eq!(stage.targets(), [3, 3]);
    assert!(stage.views.iter().all(|view| view.lease.is_some()));
    let notices: Vec<&Notice> = plans.iter().flat_map(|plan| &plan.notices).collect();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].note.starts_with("2 to 6 workers in all. shop-"), "{notices:?}");
    let visible = &plans[9].visible;
    assert_eq!(visible.workers.text, "6/6");
    assert!(visible.scaling.workers.as_ref().unwrap().contains("1 to 3"), "{visible:?}");
    assert!(visible.scaling.last_scale_time.is_some());
    assert_eq!(visible.active.reason, reasons::SCALING_WORKERS);
    assert_eq!(visible.reachable.reason, reasons::ALL_PODS_ANSWER);
    assert!(plans.iter().all(|plan| plan.replicas.is_none()));
}

#[test]
fn nothing_that_people_see_moves_by_itself() {
    let mut stage = Stage::new(seen(3, Mode::Workers, Commands::Absolute), 3, 1.9);
    stage.ticks(3);
    let plans = stage.ticks(100);
    for (number, plan) in plans.iter().enumerate() {
        assert_eq!(plan.visible, plans[0].visible, "{number}");
        assert!(plan.notices.is_empty());
    }
    // Leases are renewed, and only renewed.
    let renewals = plans.iter().flat_map(|plan| &plan.orders);
    assert!(renewals.clone().count() > 30);
    assert!(renewals.clone().all(|order| order.command.kind() == "renewal"));
}

#[test]
fn a_new_leader_moves_nothing_and_says_nothing_new() {
    let mut stage = Stage::new(seen(2, Mode::Workers, Commands::Absolute), 1, 2.0);
    let before = stage.ticks(30).pop().unwrap().visible;
    let targets = stage.targets();
    let value = before.patch(&stage.seen)["status"].clone();
    stage.seen.status = Some(serde_json::from_value(value).unwrap());
    stage.app = App::new(&stage.seen);
    stage.epochs = Epochs::new(TERM + (1 << 32));
    for plan in stage.ticks(30) {
        assert_eq!(plan.visible, before);
        assert!(plan.notices.is_empty(), "{:?}", plan.notices);
        assert_eq!(plan.yielded, 0);
    }
    assert_eq!(stage.targets(), targets);
    // And the one before has nothing to say any more.
    stage.epochs = Epochs::new(TERM);
    let plan = stage.tick();
    assert_eq!((plan.yielded, plan.orders.len()), (2, 0));
}

#[test]
fn a_pod_that_scales_by_itself_is_left_alone_until_it_is_known() {
    let mut stage = Stage::new(seen(1, Mode::Workers, Commands::Absolute), 2, 1.0);
    assert!(stage.tick().orders.is_empty());
    assert!(stage.tick().orders.is_empty());
    assert_eq!(stage.tick().orders.len(), 1);
}

#[test]
fn what_a_pod_does_by_itself_is_told_once() {
    let mut stage = Stage::new(seen(2, Mode::Workers, Commands::Absolute), 2, 1.3);
    assert!(stage.tick().notices.is_empty());
    stage.views[1].target = 4;
    stage.views[1].reason = Voice::Policy;
    let plan = stage.tick();
    assert_eq!(plan.notices.len(), 1, "{:?}", plan.notices);
    let note = &plan.notices[0].note;
    assert!(note.starts_with("4 to 6 workers in all. shop-1 went from 2 to 4 by its own policy."), "{note}");
    assert!(plan.visible.scaling.workers.as_ref().unwrap().starts_with("shop-1 went from 2 to 4"));
    assert!(plan.visible.scaling.last_scale_time.is_some());
    // What it does as it was told is the operator's own doing, and was told when it was decided.
    let later: Vec<Notice> = stage.ticks(20).into_iter().flat_map(|plan| plan.notices).collect();
    assert!(later.iter().all(|notice| !notice.note.contains("went from")), "{later:?}");
}

#[test]
fn signals_are_steps() {
    let mut stage = Stage::new(seen(1, Mode::Workers, Commands::Signals), 2, 3.3);
    let orders: Vec<Command> =
        stage.ticks(10).iter().flat_map(|plan| &plan.orders).map(|order| order.command).collect();
    assert_eq!(orders, [Command::Steps { from: 2, to: 4 }, Command::Steps { from: 4, to: 5 }]);
}

#[test]
fn who_observes_says_what_would_be_and_does_nothing() {
    let mut stage = Stage::new(seen(2, Mode::Observe, Commands::Absolute), 1, 5.0);
    let plans = stage.ticks(20);
    assert!(plans.iter().all(|plan| plan.orders.is_empty() && plan.replicas.is_none()));
    assert!(plans.iter().all(|plan| plan.notices.is_empty()), "{:?}", plans[5].notices);
    let visible = &plans[19].visible;
    assert_eq!(visible.active.reason, reasons::OBSERVING);
    assert_eq!(visible.active.status, ConditionStatus::False);
    assert_eq!((visible.workers.target, visible.scaling.last_scale_time.clone()), (2, None));
    assert!(visible.scaling.workers.as_ref().unwrap().starts_with("Would change shop-"), "{visible:?}");
    assert_eq!(plans[8].visible, plans[19].visible);
}

#[test]
fn the_operator_asks_for_pods_and_takes_the_number_over_first() {
    let mut stage = Stage::new(seen(2, Mode::Operator, Commands::Absolute), 8, 7.9);
    let plan = stage.tick();
    // As it is, to own it; until that is written.
    assert_eq!(plan.replicas, Some(2));
    stage.app.wrote_replicas();
    let plans = stage.ticks(8);
    let asked: Vec<u32> = plans.iter().filter_map(|plan| plan.replicas).collect();
    assert_eq!(asked[0], 3, "{asked:?}");
    let plan = plans.iter().find(|plan| plan.replicas.is_some()).unwrap();
    let note = plan.notices.iter().find(|notice| notice.reason == "ScaledPods").unwrap();
    assert!(note.note.starts_with("2 to 3 pods."), "{note:?}");
    assert!(plan.visible.scaling.pods.as_ref().unwrap().starts_with("2 to 3:"), "{:?}", plan.visible);
    assert_eq!(plan.visible.active.reason, reasons::SCALING_WORKERS_AND_PODS);
}

#[test]
fn another_autoscaler_is_not_fought() {
    let mut stage = Stage::new(seen(2, Mode::Operator, Commands::Absolute), 8, 7.9);
    stage.seen.hpas = vec!["by-cpu".to_owned()];
    let plans = stage.ticks(10);
    assert!(plans.iter().all(|plan| plan.replicas.is_none()));
    let notices: Vec<&Notice> = plans.iter().flat_map(|plan| &plan.notices).collect();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].warning && notices[0].note.contains("by-cpu"), "{notices:?}");
    let active = &plans[9].visible.active;
    assert_eq!((active.status, active.reason.as_str()), (ConditionStatus::False, reasons::FOREIGN_HPA));
    assert!(plans[4].orders.iter().all(|order| order.command.workers() == 8));

    stage.seen.hpas.clear();
    let plans = stage.ticks(5);
    assert_eq!(plans[0].visible.active.status, ConditionStatus::True);
    assert!(plans.iter().any(|plan| plan.replicas.is_some()));
}

#[test]
fn pods_that_do_not_answer_are_told_of_and_asked_less_often() {
    let mut stage = Stage::new(seen(3, Mode::Workers, Commands::Absolute), 2, 1.3);
    stage.ticks(10);
    stage.lost.insert(1);
    let once = stage.tick();
    assert_eq!(once.visible.reachable.status, ConditionStatus::True, "once is not yet worth a word");
    assert_eq!(once.visible.workers.text, "6/6");
    let twice = stage.tick();
    assert_eq!(twice.visible.reachable.reason, reasons::SOME_PODS_DO_NOT_ANSWER);
    assert!(twice.visible.reachable.message.contains("shop-1: does not answer in time"));
    assert_eq!(twice.notices.len(), 1);
    assert_eq!(twice.visible.workers.text, "4/4");
    assert!(twice.orders.iter().all(|order| order.pod != 1));

    let mut asked = 0;
    for _ in 0..40 {
        asked +=
            usize::from(stage.app.to_ask(Duration::from_secs(stage.second + 2), &stage.seen).contains(&1));
        let plan = stage.tick();
        assert!(plan.notices.is_empty());
        assert_eq!(plan.visible.reachable, twice.visible.reachable);
    }
    assert!((5..15).contains(&asked), "{asked} times in 80 s");

    stage.lost.clear();
    let plans = stage.ticks(10);
    let notices: Vec<&Notice> = plans.iter().flat_map(|plan| &plan.notices).collect();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(notices[0].reason, reasons::ALL_PODS_ANSWER);
}

#[test]
fn no_pods_no_orders() {
    let mut stage = Stage::new(seen(2, Mode::Workers, Commands::Absolute), 2, 1.3);
    for pod in &mut stage.seen.pods {
        pod.ready = false;
    }
    let plan = stage.tick();
    assert!(plan.orders.is_empty());
    assert_eq!(plan.visible.reachable.reason, reasons::NO_READY_PODS);
    assert_eq!(plan.visible.workers.text, "0/0");
}

#[test]
fn a_veto_is_told_once() {
    let mut stage = Stage::new(seen(1, Mode::Workers, Commands::Absolute), 2, 1.9);
    let decision = stage.views[0].decision.as_mut().unwrap();
    decision.cap = Cap { workers: 2, reason: Some(VetoKind::MemoryHeadroom) };
    decision.vetoes = vec![Veto { kind: VetoKind::MemoryHeadroom, message: "2 workers fit.".to_owned() }];
    let plans = stage.ticks(30);
    assert_eq!(stage.targets(), [2]);
    let text = plans[29].visible.scaling.workers.as_ref().unwrap();
    assert!(text.contains("stays at 2: 2 workers fit."), "{text}");
    assert_eq!(plans[10].visible, plans[29].visible);
}

#[test]
fn a_snapshot_can_be_saved_read_and_explained() {
    let mut stage = Stage::new(seen(3, Mode::Operator, Commands::Absolute), 1, 2.0);
    stage.lost.insert(2);
    let mut snapshot = Snapshot {
        taken_at: stage.moment().now,
        namespace: "prod".to_owned(),
        name: "shop".to_owned(),
        generation: None,
        spec: stage.seen.wishes,
        replicas: None,
        hpas: Vec::new(),
        level: None,
        pods: Vec::new(),
        number: None,
        history: std::collections::VecDeque::new(),
    };
    for _ in 0..100 {
        stage.app.wrote_replicas();
        let plan = stage.tick();
        let answers = stage.answers();
        stage.app.record(&stage.moment(), &stage.seen, answers, &plan, &mut snapshot);
    }
    assert_eq!(snapshot.history.len(), 60);
    let yaml = snapshot.to_yaml().unwrap();
    assert_eq!(serde_yaml::from_str::<Snapshot>(&yaml).unwrap(), snapshot);
    let text = super::super::explain(&yaml).unwrap();
    for expected in [
        "prod/shop at ",
        "mode Operator",
        "The mean pod needs 3",
        "Pods: 3 wanted; 1 to 6",
        "shop-0: 3 to 3 (steady; decided by the operator)",
        "lease of 3 for another ",
        "(epoch 2·2³² + ",
        "ready 3, starting 0, busy 2.00, waiting 0.00, 20.0 requests a second in and 20.0 out, 100 ms each",
        "shop-2: does not answer (no answer within 1000 ms)",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    assert!(super::super::explain("pods: many").is_err());
}

#[test]
fn a_lease_request_is_what_the_design_says() {
    let mut stage = Stage::new(seen(1, Mode::Workers, Commands::Absolute), 2, 1.0);
    stage.ticks(2);
    let Command::Lease { request, renewal } = stage.tick().orders[0].command else { unreachable!() };
    assert_eq!(request, ScaleRequest { workers: 2, min: None, max: None, epoch: TERM + 1, ttl_seconds: 15 });
    assert!(!renewal);
}
