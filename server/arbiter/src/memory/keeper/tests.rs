//! Single looks, then a container whose workers leak.

use super::*;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 256 * MIB;

fn idle(slot: u32, own: u64) -> Holding {
    Holding { slot, epoch: slot + 1, stage: Stage::Ready { stale: false, idle: true }, own: own * MIB }
}

fn busy(slot: u32, own: u64) -> Holding {
    Holding { stage: Stage::Ready { stale: false, idle: false }, ..idle(slot, own) }
}

fn container(used: u64) -> Memory {
    let bytes = used * MIB;
    Memory { limit: Some(LIMIT), current: bytes, working_set: bytes, unreclaimable: bytes }
}

fn scene(used: u64, workers: &[Holding]) -> Scene<'_> {
    Scene { memory: Some(container(used)), stalled: 0.0, kills_together: false, workers }
}

/// A keeper that has met workers which held 20 MiB when they were fresh, in a container at rest.
fn keeper(limits: Limits) -> (Keeper, Instant) {
    let mut keeper = Keeper::new(limits);
    let now = Instant::now();
    let workers: Vec<Holding> = (0..4).map(|slot| idle(slot, 20)).collect();
    assert_eq!(keeper.judge(&scene(100, &workers), now), Judgement::default());
    (keeper, now)
}

/// At rest: the same figures again, so that nothing seems to grow.
fn at_rest(keeper: &mut Keeper, scene: &Scene<'_>, now: Instant) -> Judgement {
    let later = now + Duration::from_secs(20);
    let untouched = [];
    keeper.judge(&Scene { workers: &untouched, ..*scene }, later);
    keeper.met = scene.workers.iter().map(|worker| (worker.slot, worker.epoch)).collect();
    keeper.past.clear();
    keeper.judge(scene, later)
}

fn orders(judgement: &Judgement) -> Vec<(u32, Why, Order)> {
    judgement.verdicts.iter().map(|verdict| (verdict.slot, verdict.why, verdict.order)).collect()
}

fn limits(soft: u64, hard: u64) -> Limits {
    let limit = |mib: u64| (mib > 0).then_some(mib * MIB);
    Limits { soft: limit(soft), hard: limit(hard) }
}

#[test]
fn above_the_soft_limit_a_replacement_comes_first_and_is_asked_for_once() {
    let (mut keeper, now) = keeper(limits(50, 0));
    let mut workers = [idle(0, 49), busy(1, 50), idle(2, 20), idle(3, 20)];
    let judgement = keeper.judge(&scene(100, &workers), now);
    assert_eq!(orders(&judgement), [(1, Why::Soft, Order::ReplaceFirst)]);
    workers[1].stage = Stage::Ready { stale: true, idle: false };
    assert_eq!(orders(&keeper.judge(&scene(100, &workers), now)), []);
}

#[test]
fn without_room_for_both_an_idle_worker_goes_first() {
    let (mut keeper, now) = keeper(limits(50, 0));
    let workers = [busy(0, 60), idle(1, 55), idle(2, 58), idle(3, 20)];
    let judgement = at_rest(&mut keeper, &scene(240, &workers), now);
    assert_eq!(orders(&judgement)[0], (1, Why::Soft, Order::StopFirst));
    let workers = [busy(0, 60), busy(1, 20)];
    assert_eq!(orders(&at_rest(&mut keeper, &scene(240, &workers), now)), []);
}

#[test]
fn above_the_hard_limit_a_worker_goes_at_once() {
    let (mut keeper, now) = keeper(limits(50, 80));
    let mut workers = [busy(0, 80), idle(1, 20)];
    workers[0].stage = Stage::Ready { stale: true, idle: false };
    let judgement = keeper.judge(&scene(120, &workers), now);
    assert_eq!(orders(&judgement), [(0, Why::Hard, Order::Now)]);
    assert_eq!(orders(&at_rest(&mut keeper, &scene(240, &workers), now)), [(0, Why::Hard, Order::StopFirst)]);
}

#[test]
fn a_limit_that_fresh_workers_are_above_is_not_kept() {
    let (mut keeper, now) = keeper(Limits::default());
    keeper.limits = limits(15, 18);
    let judgement = keeper.judge(&scene(100, &[idle(0, 30), idle(1, 20)]), now);
    assert_eq!((orders(&judgement), judgement.absurd), (vec![], Some(15 * MIB)));
    keeper.reconfigure(limits(25, 0));
    let judgement = keeper.judge(&scene(100, &[idle(0, 30), idle(9, 20)]), now);
    assert_eq!((orders(&judgement), judgement.absurd), (vec![(0, Why::Soft, Order::ReplaceFirst)], None));
}

#[test]
fn a_single_worker_that_grew_before_it_was_measured_is_not_taken_for_fresh() {
    let mut keeper = Keeper::new(limits(50, 0));
    let now = Instant::now();
    assert_eq!(
        orders(&keeper.judge(&scene(100, &[idle(0, 90)]), now)),
        [(0, Why::Soft, Order::ReplaceFirst)]
    );
    let judgement = keeper.judge(&scene(100, &[idle(1, 80)]), now);
    assert_eq!((orders(&judgement), judgement.absurd), (vec![], Some(50 * MIB)));
}

#[test]
fn nothing_is_known_before_a_worker_was_fresh() {
    let mut keeper = Keeper::new(limits(10, 20));
    let booting = Holding { stage: Stage::Booting, ..idle(0, 0) };
    assert_eq!(keeper.judge(&scene(250, &[booting]), Instant::now()), Judgement::default());
    assert_eq!(keeper.fresh(), None);
}

#[test]
fn near_the_end_the_fattest_idle_worker_goes() {
    let (mut keeper, now) = keeper(limits(0, 0));
    let workers = [busy(0, 90), idle(1, 50), idle(2, 60), idle(3, 20)];
    assert_eq!(orders(&at_rest(&mut keeper, &scene(240, &workers), now)), [], "95 % are not reached");
    let judgement = at_rest(&mut keeper, &scene(244, &workers), now);
    assert_eq!(orders(&judgement), [(2, Why::Pressure, Order::StopFirst)]);
    assert!(!judgement.helpless);
}

#[test]
fn where_all_are_busy_the_fattest_goes_gracefully() {
    let (mut keeper, now) = keeper(limits(0, 0));
    let workers = [busy(0, 70), busy(1, 90)];
    assert_eq!(
        orders(&at_rest(&mut keeper, &scene(244, &workers), now)),
        [(1, Why::Pressure, Order::StopFirst)]
    );
}

#[test]
fn somebody_goes_on_serving() {
    let (mut keeper, now) = keeper(limits(0, 0));
    let leaving = Holding { stage: Stage::Leaving, ..idle(0, 22) };
    assert_eq!(orders(&at_rest(&mut keeper, &scene(250, &[leaving, idle(1, 90)]), now)), []);
    let (mut keeper, now) = self::keeper(limits(0, 0));
    assert_eq!(
        orders(&at_rest(&mut keeper, &scene(250, &[idle(0, 90)]), now)),
        [(0, Why::Pressure, Order::StopFirst)],
        "a single worker"
    );
}

#[test]
fn what_is_going_already_counts() {
    let (mut keeper, now) = keeper(limits(0, 0));
    let leaving = Holding { stage: Stage::Leaving, ..idle(0, 80) };
    assert_eq!(orders(&at_rest(&mut keeper, &scene(250, &[leaving, idle(1, 70), idle(2, 70)]), now)), []);
}

#[test]
fn a_container_that_its_workers_simply_need_is_left_alone() {
    let (mut keeper, now) = keeper(limits(0, 0));
    let workers = [idle(0, 21), idle(1, 22), busy(2, 20)];
    let judgement = at_rest(&mut keeper, &scene(250, &workers), now);
    assert_eq!((orders(&judgement), judgement.helpless), (vec![], true));
}

#[test]
fn growth_is_seen_coming() {
    let (mut keeper, now) = keeper(limits(0, 0));
    let workers = [idle(0, 60), idle(1, 50)];
    keeper.past.clear();
    for step in 0..10 {
        let at = now + Duration::from_millis(250) * step;
        // 20 MiB/s.
        let judgement = keeper.judge(&scene(150 + 5 * u64::from(step), &workers), at);
        let used = 150 + 5 * step;
        assert_eq!(judgement.verdicts.is_empty(), used < 180, "{used} MiB: {judgement:?}");
        if used >= 180 {
            assert_eq!(keeper.pace(Some(container(180))), Duration::from_millis(100));
            return;
        }
    }
    panic!("nobody was recycled");
}

#[test]
fn waiting_for_memory_is_pressure_too() {
    let (mut keeper, now) = keeper(limits(0, 0));
    let workers = [idle(0, 60), idle(1, 50)];
    let stalled = Scene { stalled: 12.0, ..scene(210, &workers) };
    assert_eq!(orders(&at_rest(&mut keeper, &stalled, now)).len(), 1);
    let elsewhere = Scene { stalled: 12.0, ..scene(120, &workers) };
    assert_eq!(orders(&at_rest(&mut keeper, &elsewhere, now)).len(), 0);
}

#[test]
fn where_all_would_die_together_it_begins_earlier() {
    let (mut keeper, now) = keeper(limits(0, 0));
    let workers = [idle(0, 60), idle(1, 50)];
    let together = Scene { kills_together: true, ..scene(231, &workers) };
    assert_eq!(orders(&at_rest(&mut keeper, &together, now)).len(), 1);
    assert_eq!(orders(&at_rest(&mut keeper, &scene(231, &workers), now)).len(), 0);
}

#[test]
fn a_container_that_is_full_but_calm_is_not_churned() {
    let (mut keeper, now) = keeper(limits(0, 0));
    let workers = [idle(0, 60), idle(1, 50)];
    assert_eq!(orders(&at_rest(&mut keeper, &scene(244, &workers), now)).len(), 1);
    let soon = now + Duration::from_secs(21);
    assert_eq!(orders(&keeper.judge(&scene(244, &workers), soon)).len(), 0);
    assert_eq!(orders(&keeper.judge(&scene(244, &workers), soon + CALM)).len(), 1);
}

#[test]
fn without_a_limit_only_the_settings_count() {
    let mut keeper = Keeper::new(limits(50, 0));
    let free = Memory { limit: None, ..container(250) };
    let now = Instant::now();
    let fresh = [idle(0, 20)];
    keeper.judge(&Scene { memory: Some(free), ..scene(0, &fresh) }, now);
    let grown = [idle(0, 60)];
    for memory in [Some(free), None] {
        let judgement = keeper.judge(&Scene { memory, ..scene(0, &grown) }, now);
        assert_eq!(orders(&judgement), [(0, Why::Soft, Order::ReplaceFirst)]);
    }
    assert_eq!(keeper.pace(None), Duration::from_secs(1));
}

/// A worker of the container below.
#[derive(Debug, Clone, Copy)]
struct Leaker {
    holding: Holding,
    /// Steps until it is ready, or has gone.
    left: u32,
    keeps_place: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    /// Steps of 50 ms; a boot takes half a second and a graceful end 150 ms. Whatever leaks, the container does not fill.
    #[test]
    fn leaks_do_not_fill_the_container(
        count in 1_u32..6,
        fresh in 8_u64..24,
        // KiB for each step and worker.
        leak in 0_u64..400,
        busy in prop::collection::vec(any::<bool>(), 64),
        kills_together: bool,
    ) {
        let base = 30 * MIB;
        let mut keeper = Keeper::new(Limits::default());
        let mut epoch = 0;
        let mut new = |slot| {
            epoch += 1;
            let holding = Holding { slot, epoch, stage: Stage::Booting, own: fresh * MIB };
            Leaker { holding, left: 10, keeps_place: false }
        };
        let mut workers: Vec<Leaker> = (0..count).map(&mut new).collect();
        let begin = Instant::now();
        let mut look = begin;
        let mut free = count;
        let mut served = false;
        for step in 0_u32..2400 {
            let now = begin + Duration::from_millis(50) * step;
            for worker in &mut workers {
                worker.left = worker.left.saturating_sub(1);
                match worker.holding.stage {
                    Stage::Booting if worker.left == 0 => {
                        worker.holding.stage = Stage::Ready { stale: false, idle: true };
                    }
                    Stage::Ready { stale, .. } => {
                        worker.holding.own += leak << 10;
                        let idle = !busy[(step as usize * 7 + worker.holding.slot as usize) % busy.len()];
                        worker.holding.stage = Stage::Ready { stale, idle };
                    }
                    _ => {}
                }
            }
            workers.retain(|worker| worker.holding.stage != Stage::Leaving || worker.left > 0);
            // As the pool: what is missing is started, one more for a stale one, which goes when that is ready.
            let is_stale = |worker: &Leaker| matches!(worker.holding.stage, Stage::Ready { stale: true, .. });
            let here = |worker: &&Leaker| worker.holding.stage != Stage::Leaving;
            let held = workers.iter().filter(|worker| worker.keeps_place).count();
            let present = workers.iter().filter(here).count();
            let fresh_ones = workers.iter().filter(here).filter(|worker| !is_stale(worker)).count();
            let target = count as usize;
            if fresh_ones + held < target && present + held < target + 1 {
                workers.push(new(free));
                free += 1;
            }
            let ready = |worker: &Leaker| matches!(worker.holding.stage, Stage::Ready { .. });
            if workers.iter().filter(|worker| ready(worker)).count() > target
                && let Some(worker) = workers.iter_mut().find(|worker| is_stale(worker)) {
                worker.holding.stage = Stage::Leaving;
                worker.left = 3;
            }
            let used = base + workers.iter().map(|worker| worker.holding.own).sum::<u64>();
            prop_assert!(used <= LIMIT, "{} MiB after {step} steps: {workers:?}", used / MIB);
            let serving = workers.iter().any(ready);
            prop_assert!(!served || serving || count == 1, "nobody serves after {step} steps");
            served |= serving;
            if now < look {
                continue;
            }
            let memory = Memory { limit: Some(LIMIT), current: used, working_set: used, unreclaimable: used };
            let holdings: Vec<Holding> = workers.iter().map(|worker| worker.holding).collect();
            let scene = Scene { memory: Some(memory), stalled: 0.0, kills_together, workers: &holdings };
            for verdict in keeper.judge(&scene, now).verdicts {
                let victim = workers.iter_mut().find(|worker| worker.holding.slot == verdict.slot).unwrap();
                victim.holding.stage = match verdict.order {
                    Order::ReplaceFirst => Stage::Ready { stale: true, idle: true },
                    Order::Now | Order::StopFirst => Stage::Leaving,
                };
                victim.keeps_place = verdict.order == Order::StopFirst;
                victim.left = 3;
            }
            look = now + keeper.pace(Some(memory));
        }
    }
}
