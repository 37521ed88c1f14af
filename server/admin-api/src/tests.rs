use super::*;

/// As a pod of a later release might say it.
const VIEW: &str = r#"{
    "target": 3, "base": 2, "min": 1, "max": 8, "reason": "lease", "clamped": null, "mood": "calm",
    "lease": {"workers": 3, "epoch": 4294967303, "ttlSeconds": 15, "remainingSeconds": 9.5, "holder": "somebody"},
    "lastEpoch": 4294967303,
    "decision": {
        "target": 3, "current": 3, "direction": "hold", "reason": "leased", "message": "A lease is in force.",
        "cap": {"workers": 6, "reason": "memory_headroom", "since": 12},
        "vetoes": [{"kind": "memory_headroom", "message": "6 fit."}],
        "inputs": {
            "offeredFast": 1.5, "offeredSlow": 1.25, "busy": 1.5, "waiting": 0.0, "waitSeconds": 0.0,
            "arrivalsPerSecond": 15.0, "completionsPerSecond": 15.0, "serviceSeconds": null,
            "demandErlangs": null, "capacityUtilization": null, "desired": 3, "ceiling": null, "ready": 3,
            "starting": 0, "downWindowSeconds": 60.0, "panic": false, "humidity": 0.4
        }
    }
}"#;

#[test]
fn what_a_newer_pod_adds_is_passed_over() {
    let view: ScaleView = serde_json::from_str(VIEW).unwrap();
    assert_eq!((view.target, view.base, view.reason), (3, 2, Reason::Lease));
    let lease = view.lease.unwrap();
    assert_eq!(
        lease.request,
        ScaleRequest { workers: 3, min: None, max: None, epoch: (1 << 32) + 7, ttl_seconds: 15 }
    );
    let decision = view.decision.unwrap();
    assert_eq!((decision.cap.workers, decision.inputs.service_seconds), (6, None));
}

#[test]
fn what_is_written_can_be_read() {
    let view: ScaleView = serde_json::from_str(VIEW).unwrap();
    let step =
        StepView { scale: view.clone(), changed: true, message: "The base target is now 2.".to_owned() };
    let text = serde_json::to_string(&step).unwrap();
    assert_eq!(serde_json::from_str::<StepView>(&text).unwrap(), step);
    assert_eq!(serde_json::from_str::<ScaleView>(&text).unwrap(), view);
}

#[test]
fn figures_that_are_none_are_refused() {
    let text = VIEW.replace("\"busy\": 1.5", "\"busy\": null");
    assert!(serde_json::from_str::<ScaleView>(&text).is_err());
}
