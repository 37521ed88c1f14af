use kube::core::cel::Validator;
use kube::core::cel::apply_defaults;
use serde_json::Value;

use super::*;

mod corpus;
mod definition;

/// The schema of the only version.
fn schema() -> Value {
    let version = crd().spec.versions.remove(0);
    serde_json::to_value(version.schema.unwrap().open_api_v3_schema.unwrap()).unwrap()
}

/// As the apiserver would keep it.
fn kept(object: &Value) -> Value {
    apply_defaults(&schema(), &without_nulls(object))
}

/// No field may be null, so that the apiserver takes nulls for absent fields.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// What the rules say against it.
fn complaints(object: &Value, old: Option<&Value>) -> Vec<String> {
    match Validator::new().validate(&schema(), &kept(object), old.map(kept).as_ref()) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
    }
}
