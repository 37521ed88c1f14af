use super::*;

#[test]
fn the_chart_holds_the_definition() {
    let path = std::path::Path::new("../charts/podicorn-crds/files/gunicornapps.yaml");
    let yaml = crd_yaml().unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &yaml).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        kept, yaml,
        "write it anew: UPDATE=1 cargo test -p podicorn-operator the_chart_holds_the_definition"
    );
}

#[test]
fn every_list_map_and_text_of_the_spec_has_a_bound() {
    let mut unbounded = Vec::new();
    look(&schema()["properties"]["spec"], "spec", &mut unbounded);
    assert_eq!(unbounded, Vec::<String>::new());
}

fn look(schema: &Value, path: &str, unbounded: &mut Vec<String>) {
    let has = |key: &str| schema.get(key).is_some();
    let bounded = match schema["type"].as_str() {
        Some("string") => has("maxLength") || has("enum") || has("format"),
        Some("array") => has("maxItems"),
        Some("object") => {
            has("properties") || has("maxProperties") || has("x-kubernetes-preserve-unknown-fields")
        }
        _ => true,
    };
    if !bounded {
        unbounded.push(path.to_owned());
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        look(property, &format!("{path}.{name}"), unbounded);
    }
    for key in ["items", "additionalProperties"] {
        if has(key) {
            look(&schema[key], &format!("{path}[]"), unbounded);
        }
    }
}

#[test]
fn what_is_absent_has_the_same_default_in_the_schema_and_in_the_types() {
    let least = serde_json::json!({
        "apiVersion": "podicorn.io/v1alpha1", "kind": "GunicornApp", "metadata": {"name": "shop"},
        "spec": {"image": "a", "app": "a"},
    });
    let by_types: GunicornApp = serde_json::from_value(least.clone()).unwrap();
    let by_schema: GunicornApp = serde_json::from_value(kept(&least)).unwrap();
    assert_eq!(by_types, by_schema);
    assert_eq!(by_schema.spec.workers, Workers { min: Some(1), max: Some(4), initial: None, auto: None });
    assert_eq!((by_schema.spec.ports.http, by_schema.spec.ports.admin), (8000, 9099));
}

#[test]
fn a_probe_that_is_partly_given_keeps_the_other_defaults_of_its_own() {
    let object = serde_json::json!({
        "apiVersion": "podicorn.io/v1alpha1", "kind": "GunicornApp", "metadata": {"name": "shop"},
        "spec": {"image": "a", "app": "a", "probes": {"startup": {"failureThreshold": 300}}},
    });
    let app: GunicornApp = serde_json::from_value(kept(&object)).unwrap();
    let probes = app.spec.probes;
    assert_eq!(probes.startup, Probe { period_seconds: 2, failure_threshold: 300, timeout_seconds: 2 });
    assert_eq!(probes.readiness, Probe { period_seconds: 5, failure_threshold: 2, timeout_seconds: 2 });
}

#[test]
fn a_condition_keeps_its_time_while_its_status_is_the_same() {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    let time = |second| Time(Timestamp::from_second(second).unwrap());
    let first = Condition::new("Ready", ConditionStatus::False, "A", "", Some(1), None, time(1));
    let second = Condition::new("Ready", ConditionStatus::False, "B", "more", Some(2), Some(&first), time(2));
    assert_eq!(second.last_transition_time, time(1));
    let third = Condition::new("Ready", ConditionStatus::True, "B", "", Some(2), Some(&second), time(3));
    assert_eq!(third.last_transition_time, time(3));
    let long = Condition::new("Ready", ConditionStatus::True, "B", "é".repeat(5000), None, None, time(3));
    assert_eq!(long.message.chars().count(), 4096);
}
