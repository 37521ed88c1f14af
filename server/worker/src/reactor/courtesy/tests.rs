use super::*;

fn load(requests: u32, connections: u32, accepted: u64) -> Load {
    Load { requests, connections, accepted, last_start: 0 }
}

/// This worker, with a good deal to do.
const MINE: Load = Load { requests: 2, connections: 20, accepted: 50, last_start: 0 };

#[test]
fn who_has_little_to_do_asks_nobody() {
    let mut courtesy = Courtesy::new(Told::All);
    assert!(!courtesy.matters(load(0, 4, 9), 0));
    assert!(!courtesy.matters(load(1, 0, 9), 0));
    assert!(courtesy.matters(load(1, 1, 9), 0));
}

#[test]
fn the_idlest_gets_it_where_the_difference_counts() {
    for (other, leaves) in [(load(0, 0, 0), true), (load(0, 23, 0), true), (load(0, 24, 0), false)] {
        let others = [(3, load(9, 9, 9)), (5, other)];
        assert_eq!(Courtesy::new(Told::All).leaves(MINE, others.into_iter(), 0, 0), leaves, "{other:?}");
    }
    assert!(!Courtesy::new(Told::All).leaves(MINE, [].into_iter(), 0, 0), "alone");
}

#[test]
fn in_turn_the_connections_count() {
    let told = Told::OneInTurn { enough: 2 };
    let leaves = |mine, other| Courtesy::new(told).leaves(mine, [(3, other)].into_iter(), 0, SECOND);
    assert!(!Courtesy::new(told).matters(load(9, 4, 9), 0));
    assert!(Courtesy::new(told).matters(load(9, 5, 9), 0));
    assert!(leaves(load(2, 20, 50), load(0, 10, 9)));
    assert!(!leaves(load(2, 19, 50), load(0, 10, 9)), "half as many more, and four");
    assert!(leaves(load(0, 5, 50), load(1, 0, 9)), "it has a thread for another");
    assert!(!leaves(load(1, 50, 50), load(2, 0, 9)), "it has enough to do, and this one has not");
    assert!(leaves(load(2, 50, 50), load(9, 0, 9)), "both have");
    for (age, quick) in [(QUICK - 1, true), (QUICK, false)] {
        let other = Load { last_start: SECOND - age, ..load(2, 0, 9) };
        let mut courtesy = Courtesy::new(told);
        assert_eq!(courtesy.leaves(load(1, 50, 50), [(3, other)].into_iter(), 0, SECOND), quick, "{age}");
    }
}

#[test]
fn one_that_has_none_is_asked_before_a_request_has_to_wait() {
    for (enough, most) in [(1, 0), (2, 1), (4, 3), (50, 4)] {
        let told = Told::OneInTurn { enough };
        let leaves = |mine| {
            let mut courtesy = Courtesy::new(told);
            courtesy.matters(mine, 0) && courtesy.leaves(mine, [(3, load(0, 0, 9))].into_iter(), 0, SECOND)
        };
        assert!(!leaves(load(0, most, 50)), "{enough}: there is room for its request");
        assert!(leaves(load(0, most + 1, 50)), "{enough}");
    }
    let mut busy = Courtesy::new(Told::OneInTurn { enough: 1 });
    assert!(!busy.matters(load(1, 1, 50), 0), "a worker that has enough to do has its own rule");
}

#[test]
fn one_that_has_none_is_waited_for_longer() {
    let told = Told::OneInTurn { enough: 1 };
    let times_left = |mine: Load, other: Load| {
        let mut courtesy = Courtesy::new(told);
        (0..100)
            .take_while(|step| courtesy.leaves(mine, [(3, other)].into_iter(), step * STEP_BACK, SECOND))
            .count()
    };
    assert_eq!(times_left(load(0, 1, 50), load(0, 0, 9)), PATIENCE as usize);
    assert_eq!(times_left(load(0, 4, 50), load(0, 1, 9)), 1, "it has one already");
    assert_eq!(times_left(load(1, 5, 50), load(0, 0, 9)), 1, "between two requests");
}

#[test]
fn what_nobody_takes_is_taken() {
    let mut courtesy = Courtesy::new(Told::All);
    let others = [(1, load(0, 1, 7)), (2, load(8, 8, 9))];
    assert!(courtesy.leaves(MINE, others.into_iter(), SECOND, 0));
    assert!(!courtesy.leaves(MINE, others.into_iter(), SECOND + STEP_BACK, 0));
    assert!(courtesy.leaves(MINE, others.into_iter(), SECOND + 2 * STEP_BACK, 0), "the next one");
    let mut courtesy = Courtesy::new(Told::All);
    assert!(courtesy.leaves(MINE, others.into_iter(), 0, 0));
    let taken = [(1, load(0, 2, 8)), (2, load(8, 8, 9))];
    assert!(courtesy.leaves(MINE, taken.into_iter(), STEP_BACK, 0), "the idlest has taken it");
    assert!(courtesy.leaves(MINE, taken.into_iter(), 2 * REMEMBER, 0), "long ago");
}

#[test]
fn nobody_waits_for_one_that_is_stuck() {
    let mut courtesy = Courtesy::new(Told::All);
    let others = |all| [(1, load(1, 1, 7)), (2, load(2, 19, all))];
    // The third worker takes what is left, so that it is not in vain.
    let chances = u64::from(CHANCES);
    let start = SECOND;
    for round in 0..chances {
        assert!(courtesy.leaves(MINE, others(round).into_iter(), start + round * STEP_BACK, 0), "{round}");
    }
    let stuck = start + chances * STEP_BACK;
    for round in 0..IGNORED / STEP_BACK {
        assert!(!courtesy.leaves(MINE, others(round).into_iter(), stuck + round * STEP_BACK, 0), "{round}");
    }
    let back = [(1, load(1, 2, 8)), (2, load(2, 19, 100))];
    let mut other = Courtesy { stuck: courtesy.stuck.clone(), ..Courtesy::new(Told::All) };
    assert!(other.leaves(MINE, back.into_iter(), stuck + STEP_BACK, 0), "it has taken one");
    assert!(courtesy.leaves(MINE, others(0).into_iter(), stuck + IGNORED, 0), "it may be well again");
}

#[test]
fn who_has_more_to_do_now_is_left_nothing() {
    let leaves = |other| Courtesy::new(Told::All).leaves(load(1, 200, 9), [(3, other)].into_iter(), 0, 0);
    assert!(leaves(load(0, 0, 9)));
    assert!(leaves(load(1, 0, 9)));
    assert!(!leaves(load(2, 0, 9)), "silent connections are no work");
}

/// One that has silent connections, and others that are busy with quick requests of a connection each.
fn asked_while_they_wait(told: Told, turns: impl Iterator<Item = (bool, Nanos)>) -> Vec<bool> {
    let mine = load(0, 20, 50);
    let mut courtesy = Courtesy::new(told);
    let mut taken = 0;
    let look = |(empty, now): (bool, Nanos)| {
        courtesy.note_turn(empty, now);
        taken += 1;
        let others = [(3, load(0, 1, taken))];
        !empty && courtesy.matters(mine, now) && courtesy.leaves(mine, others.into_iter(), now, now)
    };
    turns.map(look).collect()
}

#[test]
fn nobody_is_asked_where_connections_go_on_waiting() {
    let told = Told::OneInTurn { enough: 1 };
    let (steps, start) = (LASTING / STEP_BACK, SECOND);
    let each = |turns: u64| (0..turns).map(move |turn| (false, start + turn * STEP_BACK));
    let asked = asked_while_they_wait(told, each(steps + 50));
    assert!(asked[..steps as usize].iter().all(|asked| *asked));
    assert!(asked[steps as usize..].iter().all(|asked| !asked), "the others have enough to do");
    let later = each(steps + 1).chain([(false, start + LASTING + HURRY)]);
    assert_eq!(asked_while_they_wait(told, later).last(), Some(&true), "after a while");
    assert!(asked_while_they_wait(Told::All, each(steps + 50)).iter().all(|asked| *asked));
}

#[test]
fn a_queue_that_was_empty_begins_anew() {
    let told = Told::OneInTurn { enough: 1 };
    let sparse = (0..100).map(|turn| (false, SECOND + turn * REMEMBER));
    assert!(asked_while_they_wait(told, sparse).iter().all(|asked| *asked), "it slept in between");
    let emptied = (0..100).map(|turn| (turn % 10 == 9, SECOND + turn * STEP_BACK));
    assert_eq!(asked_while_they_wait(told, emptied).iter().filter(|asked| **asked).count(), 90);
}

#[test]
fn a_queue_is_not_empty_while_this_worker_is_in_the_app() {
    let told = Told::OneInTurn { enough: 1 };
    let mut courtesy = Courtesy::new(told);
    let mine = load(0, 20, 50);
    let asked: Vec<_> = (0..10)
        .map(|turn| {
            let now = SECOND + turn * QUICK;
            courtesy.note_turn(false, now);
            let left = courtesy.matters(mine, now)
                && courtesy.leaves(mine, [(3, load(0, 1, turn))].into_iter(), now, now);
            courtesy.note_return(now + QUICK - STEP_BACK);
            left
        })
        .collect();
    assert_eq!(asked.iter().filter(|asked| **asked).count(), (LASTING / QUICK) as usize, "{asked:?}");
}

#[test]
fn more_than_one_may_be_stuck() {
    let mut courtesy = Courtesy::new(Told::All);
    let others = [(1, load(1, 1, 7)), (2, load(1, 1, 7)), (3, load(1, 1, 7))];
    for round in 0..=3 * u64::from(CHANCES) + 3 {
        courtesy.leaves(MINE, others.into_iter(), SECOND + round, 0);
    }
    assert_eq!(courtesy.stuck.len(), 3);
    assert!(!courtesy.leaves(MINE, others.into_iter(), SECOND + 1000, 0));
    assert!(!courtesy.leaves(MINE, [(9, load(4, 40, 0))].into_iter(), SECOND + 2000, 0));
    assert!(courtesy.stuck.is_empty(), "they are gone");
}
