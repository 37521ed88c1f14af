use kube::core::DynamicObject;
use serde_json::{Value, json};

use crate::reconcile::live::JobState;
use crate::reconcile::{Kind, Live};

fn live(kind: Kind, more: &Value) -> Live {
    let mut object = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.as_str(),
        "metadata": {
            "name": "shop", "namespace": "prod", "uid": "u", "resourceVersion": "17", "generation": 2,
            "labels": {"app.kubernetes.io/instance": "shop"},
            "ownerReferences": [{"apiVersion": "a", "kind": "b", "name": "c", "uid": "uid-1", "controller": true}],
        },
    });
    crate::reconcile::merge::merge(&mut object, more);
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    Live::of(kind, &object).unwrap().1
}

#[test]
fn the_tokens_are_read_from_the_secret_and_not_shown() {
    // "now" and "before".
    let live = live(Kind::Secret, &json!({"data": {"token": "bm93", "previous": "YmVmb3Jl"}}));
    let tokens = &live.secret().unwrap().tokens;
    assert_eq!((tokens.current.as_str(), tokens.previous.as_deref()), ("now", Some("before")));
    assert!(!format!("{tokens:?}").contains("now"));
}

#[test]
fn whoever_has_written_replicas_is_known() {
    let owned = |manager: &str, subresource: Option<&str>| {
        let mut entry =
            json!({"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        if let Some(subresource) = subresource {
            entry["subresource"] = subresource.into();
        }
        let live =
            live(Kind::Deployment, &json!({"metadata": {"managedFields": [entry]}, "spec": {"replicas": 4}}));
        let facts = live.deployment().unwrap().clone();
        (facts.wanted, facts.replicas_of_others)
    };
    assert_eq!(owned("podicorn-operator", None), (Some(4), false));
    assert_eq!(owned("podicorn-operator", Some("scale")), (Some(4), false));
    assert_eq!(owned("podicorn-autoscaler", Some("scale")), (Some(4), true));
    assert_eq!(owned("kube-controller-manager", Some("scale")), (Some(4), true));
}

#[test]
fn a_rollout_that_is_stuck_says_why() {
    let live = live(
        Kind::Deployment,
        &json!({"status": {"observedGeneration": 1, "conditions": [
            {"type": "Progressing", "status": "False", "message": "deadline exceeded"},
        ]}}),
    );
    let facts = live.deployment().unwrap();
    assert_eq!(facts.stuck.as_deref(), Some("deadline exceeded"));
    assert!(!facts.observed);
}

#[test]
fn a_job_ends_well_or_badly() {
    let state = |conditions: Value| {
        live(Kind::Job, &json!({"status": {"conditions": conditions}})).job().unwrap().clone()
    };
    assert_eq!(state(json!([])), JobState::Running);
    assert_eq!(state(json!([{"type": "Complete", "status": "True"}])), JobState::Succeeded);
    let failed =
        json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "no more"}]);
    assert_eq!(state(failed), JobState::Failed("BackoffLimitExceeded: no more".to_owned()));
}

#[test]
fn an_object_of_no_app_is_not_kept() {
    let object: DynamicObject = serde_json::from_value(json!({"metadata": {"name": "x"}})).unwrap();
    assert_eq!(Live::of(Kind::Service, &object), None);
}
