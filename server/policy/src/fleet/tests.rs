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
