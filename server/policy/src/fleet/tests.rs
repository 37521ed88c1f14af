use super::*;

/// A tick every 2 s for 20 minutes, with a load that is never twice the same.
#[test]
fn the_policies_of_thousands_of_pods_are_small() {
    let bounds = FleetBounds { min: 1, max: 64, concurrency: 1, pods: None };
    let names: Vec<String> = (0..5).map(|pod| format!("web-7d9fdd5c4f-{pod}")).collect();
    let mut fleet = Fleet::new(FleetConfig::default());
    let mut current = [1; 5];
    for tick in 1..=600_u32 {
        let decisions: Vec<Decision> =
            (0..5_u32).map(|pod| saying(f64::from((tick * 7919 + pod * 31) % 977) / 40.0)).collect();
        let loads: Vec<PodLoad<'_>> = names
            .iter()
            .zip(&decisions)
            .zip(current)
            .map(|((pod, decision), current)| PodLoad {
                pod,
                current,
                min: 1,
                max: 64,
                decision: Some(decision),
            })
            .collect();
        let decided = fleet.tick(Duration::from_secs(2) * tick, &bounds, &loads);
        for (current, verdict) in current.iter_mut().zip(decided.pods) {
            *current = verdict.decision.target;
        }
    }
    // 500 apps with 5 pods: 20 MiB.
    assert!(fleet.footprint() < 40 << 10, "{} bytes for an app of 5 pods", fleet.footprint());
}

/// Two pods had 150 requests of 0.1 s a second; two of the four that come to help are there. What the old say is a mean over
/// four seconds, in which they had more.
#[test]
fn what_new_pods_take_over_is_not_counted_twice() {
    let bounds = |current| FleetBounds {
        min: 1,
        max: 4,
        concurrency: 1,
        pods: Some(PodsBounds { current, min: 1, max: 40 }),
    };
    let names: Vec<String> = (0..6).map(|pod| format!("web-{pod}")).collect();
    let mut fleet = Fleet::new(FleetConfig::default());
    let mut wanted = 2;
    let mut asked = Vec::new();
    for tick in 1..=30_u32 {
        let at = Duration::from_secs(tick.into());
        let lag = f64::from(tick.saturating_sub(10).min(4)) / 4.0;
        let (old, new) = (7.5 + (3.75 - 7.5) * lag, 3.75);
        let pods = if tick > 10 { 4 } else { 2 };
        let decisions: Vec<Decision> =
            (0..pods).map(|pod| arriving(if pod < 2 { old } else { new })).collect();
        let load = |(pod, decision)| PodLoad { pod, current: 4, min: 1, max: 4, decision: Some(decision) };
        let loads: Vec<PodLoad<'_>> = names.iter().map(String::as_str).zip(&decisions).map(load).collect();
        if let Some(number) = fleet.tick(at, &bounds(wanted), &loads).number {
            wanted = number.target;
            asked.push(wanted);
        }
    }
    // 15 workers' work, 2.8 of which a pod of four bears at 70 %.
    assert!(asked.iter().all(|pods| *pods <= 6), "{asked:?}");
    assert_eq!(asked.last(), Some(&6));
}

/// As [`saying`], of a pod with four workers that are all busy.
fn arriving(erlangs: f64) -> Decision {
    let mut decision = saying(erlangs.min(4.0));
    decision.cap.workers = 4;
    decision.inputs.arrivals_per_second = erlangs * 10.0;
    decision.inputs.ready = 4;
    decision
}

fn saying(busy: f64) -> Decision {
    let inputs = Inputs {
        busy,
        offered_fast: busy,
        arrivals_per_second: busy * 10.0,
        completions_per_second: busy * 10.0,
        service_seconds: Some(0.1),
        ready: 64,
        ..Inputs::default()
    };
    Decision {
        target: 1,
        current: 1,
        direction: Direction::Hold,
        reason: Reason::Leased,
        message: String::new(),
        cap: Cap { workers: 64, reason: None },
        vetoes: Vec::new(),
        inputs,
    }
}
