//! Scenarios by hand, then a random world that must always settle.

use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    boot_timeout: Duration::from_secs(20),
    timeout: Some(Duration::from_secs(3)),
    graceful_timeout: Duration::from_secs(5),
    max_unavailable: 0,
};

/// A world of obedient processes around a pool.
struct World {
    pool: Pool,
    now: Instant,
    next_pid: i32,
    actions: Vec<Action>,
}

impl World {
    fn new(target: usize) -> Self {
        let mut world = Self {
            pool: Pool::new(LIMITS, target, 1),
            now: Instant::now(),
            next_pid: 100,
            actions: Vec::new(),
        };
        world.send(Event::ForkserverUp { generation: 1 });
        world
    }

    /// One worker serves, and another boots in this slot.
    fn with_one_booting() -> (Self, u32) {
        let mut world = Self::new(1);
        world.boot();
        world.send(Event::Target(2));
        world.fork();
        let slot = world.slots(|worker| !worker.is_ready())[0];
        (world, slot)
    }

    fn send(&mut self, event: Event) -> Vec<Action> {
        let actions = self.pool.handle(event, self.now);
        self.actions.extend(&actions);
        actions
    }

    fn after(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.send(Event::Tick)
    }

    fn slots(&self, wanted: impl Fn(&Worker) -> bool) -> Vec<u32> {
        self.pool.workers().filter(|(_, worker)| wanted(worker)).map(|(slot, _)| slot).collect()
    }

    /// The fork server answers every outstanding request.
    fn fork(&mut self) {
        for slot in self.slots(|worker| worker.pid.is_none()) {
            let epoch = self.pool.worker(slot).unwrap().epoch;
            self.next_pid += 1;
            self.send(Event::Spawned { slot, epoch, pid: self.next_pid });
        }
    }

    fn read(&mut self, slot: u32, state: State, beat: u64, recycle: bool, in_flight: u32) -> Vec<Action> {
        let reading = Reading { state: Some(state), beat, recycle, in_flight, parked: 0, connections: 0 };
        self.send(Event::Reading { slot, reading })
    }

    fn recycle(&mut self, slot: u32, order: Order) -> Vec<Action> {
        let epoch = self.pool.worker(slot).unwrap().epoch;
        self.send(Event::Recycle { slot, epoch, reason: RetireReason::MaxMemory, order })
    }

    /// Every booting worker becomes ready.
    fn boot(&mut self) {
        self.fork();
        for slot in self.slots(|worker| matches!(worker.phase, Phase::Booting { .. })) {
            self.read(slot, State::Ready, 1, false, 0);
        }
    }

    fn exit(&mut self, slot: u32, exit: Exit) -> Vec<Action> {
        self.send(Event::Exited { slot, exit })
    }

    /// Every worker that was asked to go goes.
    fn obey(&mut self) {
        self.fork();
        for slot in self.slots(Worker::is_leaving) {
            self.exit(slot, Exit::Code(0));
        }
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            let before = self.pool.workers().map(|(s, w)| (s, w.clone())).collect::<Vec<_>>();
            self.boot();
            self.obey();
            if self.pool.next_deadline().is_some_and(|_| self.pool.ready() < self.pool.target()) {
                self.after(Duration::from_secs(11));
                for action in std::mem::take(&mut self.actions) {
                    if let Action::StartForkserver { generation } = action {
                        self.send(Event::ForkserverUp { generation });
                    }
                }
            }
            let after = self.pool.workers().map(|(s, w)| (s, w.clone())).collect::<Vec<_>>();
            if before == after && self.pool.ready() == self.pool.target() {
                return;
            }
        }
    }

    fn beat_all(&mut self, beat: u64) {
        for slot in self.slots(Worker::is_ready) {
            self.read(slot, State::Ready, beat, false, 0);
        }
    }

    fn ready_of(&self, generation: u32) -> usize {
        self.slots(|worker| worker.is_ready() && worker.generation == generation).len()
    }
}

fn spawns(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Spawn { .. })).count()
}

#[test]
fn boots_to_the_target_at_once() {
    let mut world = World::new(3);
    assert_eq!(spawns(&world.actions), 3);
    world.boot();
    assert_eq!(world.pool.ready(), 3);
    assert!(world.pool.first_ready());
}

#[test]
fn a_killed_worker_is_replaced_at_once() {
    let mut world = World::new(2);
    world.boot();
    world.now += STEADY;
    let actions = world.exit(0, Exit::Signal(9));
    assert_eq!(spawns(&actions), 1);
}

#[test]
fn scaling_down_takes_the_idlest_and_then_the_oldest() {
    let mut world = World::new(3);
    world.boot();
    world.read(0, State::Ready, 2, false, 4);
    let actions = world.send(Event::Target(2));
    assert!(matches!(actions[..], [Action::Terminate { slot: 1, reason: RetireReason::ScaledDown, .. }]));
    let actions = world.send(Event::Target(1));
    assert!(matches!(actions[..], [Action::Terminate { slot: 2, .. }]), "{actions:?}");
}

#[test]
fn scaling_down_gives_up_boots_before_workers() {
    let mut world = World::new(1);
    world.boot();
    world.send(Event::Target(3));
    world.fork();
    let actions = world.send(Event::Target(1));
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::GiveUp { .. })).count(), 2);
    assert_eq!(world.pool.ready(), 1);
}

#[test]
fn a_worker_retired_before_it_has_a_pid_is_stopped_when_it_has() {
    let mut world = World::new(1);
    world.boot();
    world.send(Event::Target(2));
    world.send(Event::Target(1));
    let slot = world.slots(|worker| worker.pid.is_none())[0];
    let epoch = world.pool.worker(slot).unwrap().epoch;
    let actions = world.send(Event::Spawned { slot, epoch, pid: 7 });
    assert_eq!(actions, [Action::GiveUp { slot, pid: 7 }]);
}

#[test]
fn one_that_was_given_up_and_serves_finishes_first() {
    for state in [State::Booting, State::Ready, State::Draining, State::Exiting] {
        let (mut world, slot) = World::with_one_booting();
        let pid = world.pool.worker(slot).and_then(|worker| worker.pid).unwrap();
        assert_eq!(world.send(Event::Target(1)), [Action::GiveUp { slot, pid }]);
        world.read(slot, state, 1, false, 1);
        let kill = Action::Kill { slot, pid };
        let serves = matches!(state, State::Ready | State::Draining);
        assert_eq!(world.after(QUIT_TIME).contains(&kill), !serves, "{state:?}");
        assert_eq!(
            world.after(LIMITS.graceful_timeout.saturating_sub(QUIT_TIME)).contains(&kill),
            serves,
            "{state:?}"
        );
    }
}

#[test]
fn a_quick_stop_waits_for_nobody_who_turns_out_to_serve() {
    let (mut world, slot) = World::with_one_booting();
    world.send(Event::Target(1));
    world.send(Event::Stop { graceful: false });
    world.read(slot, State::Draining, 1, false, 1);
    let kills = world.after(QUIT_TIME);
    assert_eq!(kills.iter().filter(|action| matches!(action, Action::Kill { .. })).count(), 2);
}

#[test]
fn max_requests_has_the_replacement_ready_first() {
    let mut world = World::new(1);
    world.boot();
    let actions = world.read(0, State::Ready, 2, true, 0);
    assert_eq!(spawns(&actions), 1);
    assert_eq!(world.pool.ready(), 1, "the old one goes on serving");
    world.fork();
    let actions = world.read(1, State::Ready, 1, false, 0);
    assert!(actions.iter().any(|action| matches!(
        action,
        Action::Terminate { slot: 0, reason: RetireReason::MaxRequests, .. }
    )));
}

#[test]
fn a_worker_above_its_memory_is_replaced_as_after_max_requests() {
    let mut world = World::new(1);
    world.boot();
    let actions = world.recycle(0, Order::ReplaceFirst);
    assert_eq!(spawns(&actions), 1);
    world.fork();
    let actions = world.read(1, State::Ready, 1, false, 0);
    assert!(
        actions.iter().any(|action| matches!(
            action,
            Action::Terminate { slot: 0, reason: RetireReason::MaxMemory, .. }
        ))
    );
}

#[test]
fn far_above_it_goes_at_once_and_its_replacement_starts() {
    let mut world = World::new(2);
    world.boot();
    let actions = world.recycle(0, Order::Now);
    assert!(matches!(
        actions[..],
        [Action::Terminate { slot: 0, reason: RetireReason::MaxMemory, .. }, Action::Spawn { .. }]
    ));
}

#[test]
fn without_room_for_both_the_replacement_waits_until_the_old_one_has_gone() {
    let mut world = World::new(2);
    world.boot();
    let actions = world.recycle(0, Order::StopFirst);
    assert!(matches!(actions[..], [Action::Terminate { slot: 0, .. }]), "{actions:?}");
    assert_eq!(spawns(&world.send(Event::Tick)), 0);
    // Another one that dies meanwhile is replaced all the same.
    world.now += STEADY;
    assert_eq!(spawns(&world.exit(1, Exit::Signal(9))), 1);
    world.boot();
    assert_eq!(world.pool.ready(), 1);
    assert_eq!(spawns(&world.exit(0, Exit::Code(0))), 1);
    world.boot();
    assert_eq!(world.pool.ready(), 2);
}

#[test]
fn a_replacement_does_not_wait_for_one_that_had_to_be_killed() {
    let mut world = World::new(1);
    world.boot();
    world.recycle(0, Order::StopFirst);
    let actions = world.after(LIMITS.graceful_timeout);
    assert!(matches!(actions[..], [Action::Kill { slot: 0, .. }, Action::Spawn { .. }]), "{actions:?}");
}

#[test]
fn only_the_worker_that_was_measured_is_recycled() {
    let mut world = World::new(1);
    world.boot();
    let reason = RetireReason::MaxMemory;
    assert!(world.send(Event::Recycle { slot: 0, epoch: 77, reason, order: Order::Now }).is_empty());
    world.send(Event::Stop { graceful: true });
    assert!(world.recycle(0, Order::ReplaceFirst).is_empty());
}

#[test]
fn a_silent_worker_is_dumped_aborted_killed_and_replaced() {
    let mut world = World::new(1);
    world.boot();
    world.now += Duration::from_secs(2);
    world.read(0, State::Ready, 2, false, 1);
    assert!(world.after(Duration::from_millis(2900)).is_empty(), "the beat was seen 2.9 s ago");
    let actions = world.after(Duration::from_millis(100));
    assert!(matches!(actions[0], Action::DumpStacks { slot: 0, reason: HangReason::Silent, .. }));
    assert_eq!(spawns(&actions), 1, "its replacement starts at once");
    assert!(matches!(world.after(DUMP_TIME)[..], [Action::Abort { slot: 0, .. }]));
    assert!(matches!(world.after(ABORT_TIME)[..], [Action::Kill { slot: 0, .. }]));
    world.exit(0, Exit::Signal(9));
    assert_eq!(world.pool.backoff().failures(), 0);
}

#[test]
fn without_a_timeout_silence_is_fine() {
    let mut world = World::new(1);
    world.boot();
    world.send(Event::Limits(Limits { timeout: None, ..LIMITS }));
    assert!(world.after(Duration::from_secs(100_000)).is_empty());
}

#[test]
fn a_boot_that_hangs_counts_as_failed() {
    let mut world = World::new(1);
    world.fork();
    let actions = world.after(LIMITS.boot_timeout);
    assert!(matches!(actions[0], Action::DumpStacks { reason: HangReason::Boot, .. }));
    assert_eq!(spawns(&actions), 0, "its replacement waits for the back-off");
    world.after(DUMP_TIME);
    world.after(ABORT_TIME);
    let slot = world.slots(Worker::is_leaving)[0];
    world.exit(slot, Exit::Signal(9));
    assert_eq!(world.pool.backoff().last_cause(), Some(DeathCause::BootTimeout));
}

#[test]
fn an_exception_at_the_first_boot_halts_with_gunicorns_code() {
    for code in [3, 4] {
        let mut world = World::new(2);
        world.fork();
        let actions = world.exit(0, Exit::Code(code));
        assert_eq!(spawns(&actions), 0);
        assert!(actions.contains(&Action::Halt { code, cause: DeathCause::Exit(Exit::Code(code)) }));
    }
}

#[test]
fn an_exception_at_a_later_boot_leaves_the_others_alone() {
    let mut world = World::new(2);
    world.boot();
    world.now += STEADY;
    world.exit(0, Exit::Signal(9));
    for _ in 0..30 {
        world.fork();
        let Some(slot) = world.slots(|worker| matches!(worker.phase, Phase::Booting { .. })).pop() else {
            panic!("no retry")
        };
        let actions = world.exit(slot, Exit::Code(3));
        assert!(!actions.iter().any(|action| matches!(action, Action::Halt { .. })));
        world.now += Duration::from_secs(10);
        world.beat_all(u64::from(world.pool.backoff().failures()) + 10);
        world.send(Event::Tick);
    }
    assert_eq!(world.pool.ready(), 1);
}

#[test]
fn a_crash_at_boot_spends_the_budget_and_halts_with_3() {
    for target in [1, 4] {
        let mut world = World::new(target);
        let mut boots = 0;
        let mut elapsed = Duration::ZERO;
        let halted = loop {
            world.fork();
            let booting = world.slots(|worker| matches!(worker.phase, Phase::Booting { .. }));
            let mut halt = None;
            for slot in booting {
                boots += 1;
                halt = halt.or(world
                    .exit(slot, Exit::Signal(11))
                    .into_iter()
                    .find(|action| matches!(action, Action::Halt { .. })));
            }
            if halt.is_some() || elapsed > Duration::from_secs(70) {
                break halt;
            }
            world.after(Duration::from_millis(50));
            elapsed += Duration::from_millis(50);
        };
        assert!(matches!(halted, Some(Action::Halt { code: 3, .. })), "{target}");
        assert_eq!(boots, 8, "{target}");
    }
}

#[test]
fn reload_replaces_one_by_one_after_the_canary() {
    let mut world = World::new(3);
    world.boot();
    let actions = world.send(Event::Candidate { generation: 2 });
    assert_eq!(spawns(&actions), 1, "one canary");
    assert_eq!(world.ready_of(1), 3);
    world.fork();
    let canary = world.slots(|worker| worker.generation == 2)[0];
    let actions = world.read(canary, State::Ready, 1, false, 0);
    assert!(actions.contains(&Action::Committed { generation: 2 }));
    for _ in 0..10 {
        assert!(world.pool.ready() >= 3, "never fewer than the target");
        world.boot();
        world.obey();
    }
    assert_eq!((world.ready_of(1), world.ready_of(2)), (0, 3));
    assert!(world.actions.contains(&Action::RetireForkserver { generation: 1 }));
}

#[test]
fn a_failed_canary_changes_nothing() {
    let mut world = World::new(2);
    world.boot();
    world.send(Event::Candidate { generation: 2 });
    world.fork();
    let canary = world.slots(|worker| worker.generation == 2)[0];
    let actions = world.exit(canary, Exit::Code(3));
    assert!(actions.iter().any(|action| matches!(action, Action::RolledBack { generation: 2, .. })));
    assert!(actions.contains(&Action::RetireForkserver { generation: 2 }));
    assert_eq!((world.ready_of(1), world.pool.generation()), (2, 1));
    assert!(world.pool.backoff().allows(world.now));
}

#[test]
fn the_target_survives_a_reload() {
    let mut world = World::new(1);
    world.send(Event::Target(3));
    world.boot();
    world.send(Event::Candidate { generation: 2 });
    world.settle();
    assert_eq!(world.ready_of(2), 3);
}

#[test]
fn the_fork_server_is_restarted_and_workers_live_on() {
    let mut world = World::new(2);
    world.boot();
    world.now += STEADY;
    let actions = world.send(Event::ForkserverDown { generation: 1, failure: None });
    assert_eq!(actions, [Action::StartForkserver { generation: 1 }]);
    assert!(world.exit(0, Exit::Signal(9)).iter().all(|action| !matches!(action, Action::Spawn { .. })));
    let actions = world.send(Event::ForkserverUp { generation: 1 });
    assert_eq!(spawns(&actions), 1);
}

#[test]
fn stopping_waits_kills_late_ones_and_finishes_once() {
    let mut world = World::new(2);
    world.boot();
    let actions = world.send(Event::Stop { graceful: true });
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Terminate { .. })).count(), 2);
    world.exit(0, Exit::Code(0));
    let actions = world.after(LIMITS.graceful_timeout);
    assert!(matches!(actions[..], [Action::Kill { slot: 1, .. }]));
    assert_eq!(world.exit(1, Exit::Signal(9)).last(), Some(&Action::Finished));
    assert!(world.send(Event::Tick).is_empty());
}

#[test]
fn a_second_harder_stop_shortens_the_wait() {
    let mut world = World::new(1);
    world.boot();
    world.send(Event::Stop { graceful: true });
    let actions = world.send(Event::Stop { graceful: false });
    assert!(matches!(actions[..], [Action::Quit { slot: 0, .. }]));
    assert!(matches!(world.after(QUIT_TIME)[..], [Action::Kill { .. }]));
}

#[test]
fn a_process_that_survives_kill_does_not_hold_up_the_exit() {
    let mut world = World::new(1);
    world.boot();
    world.send(Event::Stop { graceful: false });
    world.after(QUIT_TIME);
    assert_eq!(world.after(KILL_TIME), [Action::Finished]);
}

#[derive(Debug, Clone)]
enum Step {
    Fork,
    Boot,
    Obey,
    Die(usize, i32),
    CrashBooting(usize),
    Recycle(usize),
    RecycleForMemory(usize, Order),
    Target(usize),
    Hup,
    ForkserverDies,
    ForkserverUp,
    Wait(u64),
    Beat,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Fork),
        4 => Just(Step::Boot),
        4 => Just(Step::Obey),
        2 => (any::<usize>(), prop_oneof![Just(0), Just(3), Just(-9)]).prop_map(|(who, how)| Step::Die(who, how)),
        1 => any::<usize>().prop_map(Step::CrashBooting),
        2 => any::<usize>().prop_map(Step::Recycle),
        2 => (any::<usize>(), prop_oneof![Just(Order::ReplaceFirst), Just(Order::Now), Just(Order::StopFirst)])
            .prop_map(|(who, order)| Step::RecycleForMemory(who, order)),
        2 => (0usize..6).prop_map(Step::Target),
        1 => Just(Step::Hup),
        1 => Just(Step::ForkserverDies),
        2 => Just(Step::ForkserverUp),
        2 => (0u64..4000).prop_map(Step::Wait),
        3 => Just(Step::Beat),
    ]
}

fn pick(slots: &[u32], who: usize) -> Option<u32> {
    slots.get(who % slots.len().max(1)).copied()
}

#[test]
fn where_some_may_be_missing_no_more_than_the_target_run() {
    let mut world = World::new(4);
    world.send(Event::Limits(Limits { max_unavailable: 2, ..LIMITS }));
    world.boot();
    world.send(Event::Candidate { generation: 2 });
    world.boot();
    // The canary was on top; two of the old may be missing, and with it that makes three to go.
    assert_eq!((world.ready_of(1), world.ready_of(2)), (1, 1));
    let strength = |world: &World| world.slots(|worker| !worker.is_leaving()).len();
    assert_eq!(strength(&world), 4);
    for _ in 0..10 {
        assert!(strength(&world) <= 4);
        world.boot();
        assert!(world.pool.ready() >= 2);
        world.obey();
    }
    assert_eq!((world.ready_of(1), world.ready_of(2)), (0, 4));
}

#[test]
fn the_only_worker_is_never_missing() {
    let mut world = World::new(1);
    world.send(Event::Limits(Limits { max_unavailable: 5, ..LIMITS }));
    world.boot();
    let (slot, _) = world.pool.workers().next().unwrap();
    world.read(slot, State::Ready, 2, true, 0);
    assert_eq!(world.pool.ready(), 1);
    world.boot();
    assert_eq!(world.slots(Worker::is_ready).len(), 1);
    assert!(world.pool.worker(slot).unwrap().is_leaving());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn any_order_of_events_settles(target in 1usize..5, missing in 0usize..3, steps in prop::collection::vec(step(), 0..120), graceful: bool) {
        let mut world = World::new(target);
        world.send(Event::Limits(Limits { max_unavailable: missing, ..LIMITS }));
        world.boot();
        let mut generation = 1;
        let mut beat = 10;
        let mut up = true;
        for step in steps {
            let ready_before = world.pool.ready();
            let mut lost = 0;
            match step {
                Step::Fork => if up { world.fork() },
                Step::Boot => if up { world.boot() },
                Step::Obey => if up { world.obey() },
                Step::Die(who, how) => {
                    let slots = world.slots(Worker::is_ready);
                    if let Some(slot) = pick(&slots, who) {
                        lost = 1;
                        world.exit(slot, if how < 0 { Exit::Signal(-how) } else { Exit::Code(how) });
                    }
                }
                Step::CrashBooting(who) => {
                    let slots = world.slots(|worker| matches!(worker.phase, Phase::Booting { .. }));
                    if let Some(slot) = pick(&slots, who) { world.exit(slot, Exit::Signal(11)); }
                }
                Step::Recycle(who) => {
                    let slots = world.slots(Worker::is_ready);
                    if let Some(slot) = pick(&slots, who) { beat += 1; world.read(slot, State::Ready, beat, true, 0); }
                }
                Step::RecycleForMemory(who, order) => {
                    let slots = world.slots(Worker::is_ready);
                    if let Some(slot) = pick(&slots, who) {
                        lost = usize::from(order != Order::ReplaceFirst);
                        world.recycle(slot, order);
                    }
                }
                Step::Target(target) => { lost = 5; world.send(Event::Target(target)); }
                Step::Hup => if world.pool.candidate().is_none() && up {
                    generation += 1;
                    world.send(Event::Candidate { generation });
                },
                Step::ForkserverDies => {
                    let dead = world.pool.generation();
                    world.send(Event::ForkserverDown { generation: dead, failure: None });
                    up = false;
                    for slot in world.slots(|worker| worker.pid.is_none()) {
                        let epoch = world.pool.worker(slot).unwrap().epoch;
                        world.send(Event::SpawnFailed { slot, epoch });
                    }
                }
                Step::ForkserverUp => {
                    let generation = world.pool.generation();
                    world.send(Event::ForkserverUp { generation });
                    up = true;
                }
                Step::Wait(millis) => {
                    lost = 10; // the silent are taken for hung
                    world.after(Duration::from_millis(millis));
                }
                Step::Beat => { beat += 1; world.beat_all(beat); }
            }
            if world.actions.iter().any(|action| matches!(action, Action::Halt { .. })) {
                return Ok(());
            }
            let target = world.pool.target();
            let enough = ready_before.min(target.saturating_sub(missing).max(1)).min(target);
            prop_assert!(world.pool.ready() + lost >= enough, "a step cost workers it must not cost");
            let strength = world.slots(|worker| !worker.is_leaving() && Some(worker.generation) != world.pool.candidate()).len();
            prop_assert!(strength <= target.max(5) + SURGE + 1, "{strength} workers for {target}");
            let spawned: Vec<_> = world.pool.workers().map(|(_, worker)| worker.epoch).collect();
            let mut unique = spawned.clone();
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), spawned.len(), "every epoch is used once");
        }
        world.now += Duration::from_secs(11);
        let current = world.pool.generation();
        world.send(Event::ForkserverUp { generation: current });
        world.beat_all(999);
        world.settle();
        prop_assert_eq!(world.pool.ready(), world.pool.target());
        let current = world.pool.generation();
        prop_assert_eq!(world.ready_of(current), world.pool.target(), "all of the current generation");
        world.actions.clear();
        world.send(Event::Stop { graceful });
        world.obey();
        prop_assert_eq!(world.actions.iter().filter(|action| matches!(action, Action::Finished)).count(), 1);
        prop_assert_eq!(spawns(&world.actions), 0);
    }
}
