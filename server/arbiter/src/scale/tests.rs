use super::*;
use proptest::prelude::*;

const CAPACITY: u32 = 64;

fn fixed(count: u32) -> Scale {
    Scale::new(Workers::Fixed(count), CAPACITY)
}

fn range(min: u32, max: u32) -> Scale {
    Scale::new(Workers::Range { min, max }, CAPACITY)
}

fn order(workers: u32, epoch: u64) -> ScaleRequest {
    ScaleRequest { workers, min: None, max: None, epoch, ttl_seconds: 30 }
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[test]
fn a_fixed_number_returns_to_its_base_when_the_lease_ends() {
    let start = Instant::now();
    let mut scale = fixed(3);
    let view = scale.apply(order(8, 1), start).unwrap();
    assert_eq!((view.target, view.base, view.reason), (8, 3, Reason::Lease));
    assert_eq!(scale.deadline(), Some(after(start, 30)));
    assert!(!scale.expire(after(start, 29)));
    assert_eq!(scale.target(), 8);
    assert!(scale.expire(after(start, 30)));
    assert_eq!((scale.target(), scale.deadline()), (3, None));
    let view = scale.view(after(start, 30));
    assert_eq!((view.lease, view.reason, view.last_epoch), (None, Reason::Configuration, Some(1)));
    assert!(!scale.expire(after(start, 31)), "a lease ends once");
}

#[test]
fn a_range_goes_on_from_the_count_of_the_moment() {
    let start = Instant::now();
    let mut scale = range(2, 8);
    assert_eq!(scale.target(), 2);
    scale.apply(order(6, 1), start).unwrap();
    assert!(scale.expire(after(start, 30)));
    assert_eq!((scale.target(), scale.view(start).reason), (6, Reason::Expiry));
    // A lease with wider bounds of its own may leave more than the range allows.
    scale.apply(ScaleRequest { max: Some(12), ..order(12, 2) }, start).unwrap();
    assert_eq!(scale.target(), 12);
    assert!(scale.expire(after(start, 30)));
    assert_eq!(scale.target(), 8);
}

#[test]
fn the_same_body_renews() {
    let start = Instant::now();
    let mut scale = fixed(1);
    scale.apply(order(4, 7), start).unwrap();
    let view = scale.apply(order(4, 7), after(start, 20)).unwrap();
    assert!((view.lease.unwrap().remaining_seconds - 30.0).abs() < 1e-9);
    assert!(!scale.expire(after(start, 49)));
    assert!(scale.expire(after(start, 50)));
    // A holder that was cut off for a while finds its lease again.
    assert_eq!(scale.apply(order(4, 7), after(start, 60)).unwrap().target, 4);
}

#[test]
fn an_epoch_is_used_once_and_never_goes_back() {
    let start = Instant::now();
    let mut scale = fixed(1);
    scale.apply(order(4, 7), start).unwrap();
    for other in [
        order(5, 7),
        ScaleRequest { ttl_seconds: 31, ..order(4, 7) },
        ScaleRequest { min: Some(1), ..order(4, 7) },
    ] {
        assert_eq!(scale.apply(other, start), Err(ScaleError::EpochReused { epoch: 7 }));
    }
    assert_eq!(scale.apply(order(4, 6), start), Err(ScaleError::OlderEpoch { given: 6, current: 7 }));
    assert_eq!(scale.target(), 4);
    // Not after the lease has ended either.
    assert!(scale.expire(after(start, 30)));
    assert_eq!(scale.apply(order(5, 7), after(start, 30)), Err(ScaleError::EpochReused { epoch: 7 }));
    assert!(scale.apply(order(9, 6), after(start, 30)).is_err());
    assert_eq!(scale.target(), 1);
    assert_eq!(scale.apply(order(5, 1 << 32), after(start, 30)).unwrap().target, 5);
}

#[test]
fn refusals_name_the_field() {
    let mut scale = fixed(1);
    let good = order(4, 1);
    for (bad, name) in [
        (ScaleRequest { workers: 0, ..good }, "workers"),
        (ScaleRequest { workers: CAPACITY + 1, ..good }, "workers"),
        (ScaleRequest { min: Some(0), ..good }, "min"),
        (ScaleRequest { max: Some(0), ..good }, "max"),
        (ScaleRequest { max: Some(CAPACITY + 1), ..good }, "max"),
        (ScaleRequest { min: Some(5), max: Some(4), ..good }, "min"),
        (ScaleRequest { ttl_seconds: 0, ..good }, "ttlSeconds"),
        (ScaleRequest { ttl_seconds: MAX_TTL_SECONDS + 1, ..good }, "ttlSeconds"),
    ] {
        match scale.apply(bad, Instant::now()) {
            Err(ScaleError::Invalid { field, .. }) => assert_eq!(field, name, "{bad:?}"),
            other => panic!("{bad:?}: {other:?}"),
        }
    }
    // A refused order leaves no trace, not even its epoch.
    assert_eq!(scale.view(Instant::now()).last_epoch, None);
}

#[test]
fn bounds_clamp_and_say_so() {
    let start = Instant::now();
    let mut scale = range(2, 8);
    let view = scale.apply(order(20, 1), start).unwrap();
    assert_eq!((view.target, view.min, view.max), (8, 2, 8));
    assert_eq!(view.clamped.as_deref(), Some("20 was lowered to 8, the max of --workers"));
    let view = scale.apply(ScaleRequest { min: Some(4), ..order(3, 2) }, start).unwrap();
    assert_eq!(view.clamped.as_deref(), Some("3 was raised to 4, the min of this lease"));
    let view = scale.apply(ScaleRequest { min: Some(10), ..order(12, 3) }, start).unwrap();
    assert_eq!((view.target, view.min, view.max), (10, 10, 10));
    let view = scale.apply(ScaleRequest { min: Some(1), max: Some(20), ..order(20, 4) }, start).unwrap();
    assert_eq!((view.target, view.clamped), (20, None));
}

#[test]
fn steps_move_the_target_within_bounds() {
    let now = Instant::now();
    let mut scale = fixed(1);
    assert!(scale.step(2, now).changed);
    assert_eq!(scale.target(), 3);
    assert_eq!(scale.view(now).reason, Reason::Step);
    scale.step(-5, now);
    assert_eq!(scale.target(), 1, "never below one");
    let view = scale.step(-1, now);
    assert!(!view.changed && view.message.contains("lower bound"), "{}", view.message);
    let mut scale = range(2, 4);
    scale.step(i64::MAX, now);
    assert_eq!(scale.target(), 4);
    scale.step(i64::MIN, now);
    assert_eq!(scale.target(), 2);
}

#[test]
fn steps_under_a_lease_move_the_base_and_say_so() {
    let start = Instant::now();
    let mut scale = fixed(3);
    scale.apply(order(8, 1), start).unwrap();
    let view = scale.step(1, after(start, 10));
    assert_eq!((view.changed, view.scale.target, view.scale.base), (true, 8, 4));
    assert!(
        view.message.contains("another 20 s") && view.message.contains("base target is now 4"),
        "{}",
        view.message
    );
    scale.expire(after(start, 30));
    assert_eq!((scale.target(), scale.view(start).reason), (4, Reason::Step));
}

#[test]
fn a_reload_keeps_what_was_set_at_run_time() {
    let start = Instant::now();
    let mut scale = fixed(1);
    scale.step(2, start);
    scale.reconfigure(Workers::Fixed(1), start);
    assert_eq!(scale.target(), 3);
    scale.apply(order(8, 1), start).unwrap();
    scale.reconfigure(Workers::Fixed(5), start);
    assert_eq!((scale.target(), scale.base()), (8, 5), "a lease outlives a reload");
    scale.expire(after(start, 30));
    assert_eq!((scale.target(), scale.view(start).reason), (5, Reason::Configuration));
}

#[test]
fn odd_configurations_are_held_within_the_slots() {
    assert_eq!(fixed(0).target(), 1);
    assert_eq!(fixed(1000).target(), CAPACITY);
    let scale = range(100, 200).view(Instant::now());
    assert_eq!((scale.target, scale.min, scale.max), (CAPACITY, CAPACITY, CAPACITY));
    assert_eq!(Scale::new(Workers::Fixed(1), 0).target(), 1);
}

#[derive(Debug, Clone)]
enum Event {
    Apply(ScaleRequest),
    Again,
    Step(i64),
    Wait(u64),
    Reconfigure(Workers),
}

fn workers() -> impl Strategy<Value = Workers> {
    prop_oneof![
        (0..100_u32).prop_map(Workers::Fixed),
        (0..100_u32, 0..100_u32).prop_map(|(min, max)| Workers::Range { min, max })
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let bound = proptest::option::of(0..80_u32);
    prop_oneof![
        (0..80_u32, bound.clone(), bound, 0..6_u64, 0..40_u32).prop_map(
            |(workers, min, max, epoch, ttl_seconds)| {
                Event::Apply(ScaleRequest { workers, min, max, epoch, ttl_seconds })
            }
        ),
        Just(Event::Again),
        (-5..5_i64).prop_map(Event::Step),
        (0..50_u64).prop_map(Event::Wait),
        workers().prop_map(Event::Reconfigure),
    ]
}

proptest! {
    #[test]
    fn invariants_hold_in_any_order(configured in workers(), events in proptest::collection::vec(event(), 1..60)) {
        let mut now = Instant::now();
        let mut scale = Scale::new(configured, CAPACITY);
        let mut accepted: Option<ScaleRequest> = None;
        for event in events {
            let before = scale.view(now);
            match event {
                Event::Apply(request) => if let Ok(view) = scale.apply(request, now) {
                    if let Some(last) = accepted {
                        prop_assert!(request.epoch > last.epoch || request == last);
                    }
                    accepted = Some(request);
                    prop_assert!(view.lease.is_some());
                    prop_assert_eq!(view.base, before.base);
                    prop_assert_eq!(view.clamped.is_none(), view.target == request.workers);
                } else {
                    prop_assert_eq!(scale.view(now), before);
                },
                Event::Again => if let Some(last) = accepted {
                    // Idempotent: repeating what was accepted is accepted and asks for the same.
                    let view = scale.apply(last, now);
                    prop_assert!(view.is_ok());
                    prop_assert_eq!(scale.apply(last, now), view);
                },
                Event::Step(delta) => {
                    let view = scale.step(delta, now);
                    prop_assert!(u64::from(view.scale.base.abs_diff(before.base)) <= delta.unsigned_abs());
                    prop_assert_eq!(view.changed, view.scale.base != before.base);
                    if view.scale.lease.is_some() {
                        prop_assert_eq!(view.scale.target, before.target);
                    }
                }
                Event::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    scale.expire(now);
                }
                Event::Reconfigure(configured) => scale.reconfigure(configured, now),
            }
            let view = scale.view(now);
            prop_assert!((1..=CAPACITY).contains(&view.target));
            prop_assert!((1..=CAPACITY).contains(&view.base));
            prop_assert!(view.min <= view.max);
            prop_assert!((view.min..=view.max).contains(&view.target));
            prop_assert_eq!(view.lease.is_some(), scale.deadline().is_some());
            prop_assert!(scale.deadline().is_none_or(|deadline| deadline > now));
            prop_assert_eq!(view.target, scale.target());
            prop_assert_eq!(view.last_epoch, accepted.map(|request| request.epoch));
        }
    }
}

/// What a network does to a holder's orders: each may be lost, come twice, and come late behind newer ones.
#[derive(Debug, Clone)]
enum Delivery {
    Lost,
    Once,
    Twice,
    /// Comes after so many later orders.
    Late(usize),
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop_oneof![
        1 => Just(Delivery::Lost),
        3 => Just(Delivery::Once),
        1 => Just(Delivery::Twice),
        2 => (1..6_usize).prop_map(Delivery::Late),
    ]
}

/// What a holder sends: rising epochs, and now and then the last order again to renew it.
#[derive(Debug, Clone)]
struct Order {
    workers: u32,
    ttl_seconds: u32,
    renews: bool,
    delivery: Delivery,
    /// Seconds until the next.
    pause: u64,
    /// What the policy or a person wants meanwhile.
    meanwhile: Option<(bool, i64)>,
}

fn orders() -> impl Strategy<Value = Vec<Order>> {
    let order = (
        1..=16_u32,
        1..40_u32,
        any::<bool>(),
        delivery(),
        0..15_u64,
        proptest::option::of((any::<bool>(), -4..20_i64)),
    );
    let order = order.prop_map(|(workers, ttl_seconds, renews, delivery, pause, meanwhile)| Order {
        workers,
        ttl_seconds,
        renews,
        delivery,
        pause,
        meanwhile,
    });
    proptest::collection::vec(order, 1..40)
}

/// In which step of time which order arrives: those that are late come after others that were sent later.
fn arrivals(orders: &[Order]) -> Vec<Vec<ScaleRequest>> {
    let mut steps = vec![Vec::new(); orders.len() + 8];
    let (mut epoch, mut last) = (0, None);
    for (step, sent) in orders.iter().enumerate() {
        let request = if let Some(request) = last.filter(|_| sent.renews) {
            request
        } else {
            epoch += 1;
            ScaleRequest { ttl_seconds: sent.ttl_seconds, ..order(sent.workers, epoch) }
        };
        last = Some(request);
        match sent.delivery {
            Delivery::Lost => {}
            Delivery::Once => steps[step].push(request),
            Delivery::Twice => steps[step].extend([request, request]),
            Delivery::Late(by) => steps[step + by].push(request),
        }
    }
    steps
}

proptest! {
    /// The lease as DESIGN has it, in as few words as possible, beside the machine: whatever the network does, both say the
    /// same. The newest order that has arrived counts until its time is over; nothing older ever does again.
    #[test]
    fn a_lease_is_the_newest_order_that_has_arrived(ranged in any::<bool>(), orders in orders()) {
        let configured = if ranged { Workers::Range { min: 1, max: 16 } } else { Workers::Fixed(3) };
        let mut scale = Scale::new(configured, CAPACITY);
        let mut now = Instant::now();
        // The model: the newest order, when it ends, and the number without a lease.
        let mut newest: Option<(ScaleRequest, Instant)> = None;
        let mut base = scale.base();
        let pauses = orders.iter().map(|order| (order.pause, order.meanwhile)).chain(std::iter::repeat((3, None)));
        for (arrived, (pause, meanwhile)) in arrivals(&orders).into_iter().zip(pauses) {
            for request in arrived {
                let answer = scale.apply(request, now);
                let stale = newest.is_some_and(|(held, _)| request.epoch < held.epoch);
                if stale {
                    prop_assert!(matches!(answer, Err(ScaleError::OlderEpoch { .. })), "{answer:?}");
                } else {
                    newest = Some((request, now + Duration::from_secs(u64::from(request.ttl_seconds))));
                    prop_assert_eq!(answer.map(|view| view.target), Ok(request.workers));
                }
            }
            let leased = newest.filter(|(_, end)| now < *end);
            match meanwhile {
                Some((true, wanted)) => {
                    let wanted = u32::try_from(wanted).unwrap_or(0);
                    let changed = scale.follow(wanted, now);
                    if ranged && leased.is_none() {
                        let before = std::mem::replace(&mut base, wanted.clamp(1, 16));
                        prop_assert_eq!(changed, before != base);
                    } else {
                        prop_assert!(!changed, "the policy has no say under a lease, nor over a fixed number");
                    }
                }
                Some((false, steps)) => {
                    scale.step(steps, now);
                    let most = if ranged { 16 } else { i64::from(CAPACITY) };
                    base = u32::try_from((i64::from(base) + steps).clamp(1, most)).unwrap_or(base);
                }
                None => {}
            }
            prop_assert_eq!(scale.target(), leased.map_or(base, |(request, _)| request.workers));
            prop_assert_eq!(scale.base(), base);
            now += Duration::from_secs(pause);
            scale.expire(now);
            if let Some((request, _)) = leased.filter(|(_, end)| now >= *end)
                && ranged
            {
                base = request.workers;
            }
            let leased = newest.filter(|(_, end)| now < *end);
            prop_assert_eq!(scale.target(), leased.map_or(base, |(request, _)| request.workers));
        }
    }
}

#[test]
fn a_lease_and_its_epoch_outlive_the_program() {
    let (now, clock) = (Instant::now(), Clock::now());
    let mut scale = Scale::new(Workers::Fixed(2), 100);
    let request = ScaleRequest { workers: 5, min: None, max: None, epoch: 7, ttl_seconds: 30 };
    scale.apply(request, now).unwrap();
    let text = serde_json::to_string(&scale.save(&clock)).unwrap();
    let mut next = Scale::resume(&serde_json::from_str(&text).unwrap(), 100, &clock);
    assert_eq!(next.target(), 5);
    let older = ScaleRequest { epoch: 6, ..request };
    assert!(matches!(next.apply(older, now), Err(ScaleError::OlderEpoch { given: 6, current: 7 })));
    let other = ScaleRequest { workers: 6, ..request };
    assert!(matches!(next.apply(other, now), Err(ScaleError::EpochReused { epoch: 7 })));
    assert!(next.expire(now + Duration::from_secs(31)));
    assert_eq!((next.target(), next.view(now).last_epoch), (2, Some(7)));
}
