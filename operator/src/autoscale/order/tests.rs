use podicorn_admin_api::{LeaseView, Reason as Voice};

use super::*;

const TERM: u64 = 3 << 32;

fn view(target: u32, lease: Option<(u32, u64, f64)>, last_epoch: Option<u64>) -> ScaleView {
    ScaleView {
        target,
        base: 2,
        min: 1,
        max: 8,
        reason: Voice::Configuration,
        clamped: None,
        lease: lease.map(|(workers, epoch, remaining_seconds)| LeaseView {
            request: ScaleRequest { workers, min: None, max: None, epoch, ttl_seconds: 15 },
            remaining_seconds,
        }),
        last_epoch,
        decision: None,
    }
}

fn absolute() -> Manner {
    Manner::new(Commands::Absolute, 2.0)
}

fn lease(workers: u32, epoch: u64, renewal: bool) -> Word {
    let request = ScaleRequest { workers, min: None, max: None, epoch, ttl_seconds: 15 };
    Word::Say(Command::Lease { request, renewal })
}

#[test]
fn a_lease_outlasts_three_ticks_and_fifteen_seconds() {
    for (tick, ttl) in [(1.0, 15), (2.0, 15), (5.0, 15), (5.5, 17), (60.0, 180)] {
        assert_eq!(Manner::new(Commands::Absolute, tick).ttl_seconds, ttl, "{tick}");
    }
}

#[test]
fn a_pod_without_a_lease_gets_one() {
    let epochs = Epochs::new(TERM);
    assert_eq!(absolute().word("web", &view(2, None, None), 2, &epochs), lease(2, TERM + 1, false));
    assert_eq!(absolute().word("web", &view(2, None, None), 5, &epochs), lease(5, TERM + 2, false));
}

#[test]
fn the_same_is_repeated_in_time_and_not_before() {
    let epochs = Epochs::new(TERM);
    let held = |left| view(3, Some((3, TERM + 7, left)), Some(TERM + 7));
    assert_eq!(absolute().word("web", &held(14.5), 3, &epochs), Word::Nothing);
    // Before a third is left, whatever the pod's name; so that one tick may fail.
    for pod in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(absolute().word(pod, &held(6.9), 3, &epochs), lease(3, TERM + 7, true));
        assert_eq!(absolute().word(pod, &held(12.0), 3, &epochs), Word::Nothing);
    }
    assert_eq!(absolute().word("web", &held(f64::NAN), 3, &epochs), lease(3, TERM + 7, true));
}

#[test]
fn another_number_takes_a_higher_epoch_than_the_pod_has_seen() {
    let epochs = Epochs::new(TERM);
    let held = view(3, Some((3, TERM + 7, 14.0)), Some(TERM + 7));
    assert_eq!(absolute().word("web", &held, 4, &epochs), lease(4, TERM + 8, false));
    // The lease of a former leader is taken over with the same number; a lapsed one is begun anew.
    let former = view(3, Some((3, (2 << 32) + 90, 14.0)), Some((2 << 32) + 90));
    assert_eq!(absolute().word("web", &former, 3, &epochs), lease(3, TERM + 9, false));
    let lapsed = view(3, None, Some(TERM + 20));
    assert_eq!(absolute().word("web", &lapsed, 3, &epochs), lease(3, TERM + 21, false));
}

#[test]
fn a_later_leader_rules() {
    let epochs = Epochs::new(TERM);
    let later = view(3, Some((3, (4 << 32) + 1, 14.0)), Some((4 << 32) + 1));
    assert_eq!(absolute().word("web", &later, 5, &epochs), Word::Yield);
    let lapsed = view(3, None, Some((4 << 32) + 1));
    assert_eq!(absolute().word("web", &lapsed, 5, &epochs), Word::Yield);
}

#[test]
fn signals_are_steps_from_the_base_and_wait_for_a_lease_to_lapse() {
    let (epochs, manner) = (Epochs::new(TERM), Manner::new(Commands::Signals, 2.0));
    let free = view(2, None, None);
    assert_eq!(manner.word("web", &free, 2, &epochs), Word::Nothing);
    assert_eq!(manner.word("web", &free, 5, &epochs), Word::Say(Command::Steps { from: 2, to: 5 }));
    assert_eq!(manner.word("web", &free, 1, &epochs), Word::Say(Command::Steps { from: 2, to: 1 }));
    let leased = view(3, Some((3, TERM + 1, 9.0)), Some(TERM + 1));
    assert_eq!(manner.word("web", &leased, 5, &epochs), Word::Nothing);
}
