//! What may be laid over the pod template, and whether the whole is a pod template.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

use super::Invalid;
use crate::reconcile::names::{CONTAINER, selector};

/// Fields of the container that follow from others, with those to use.
const OF_CONTAINER: [(&str, &str); 3] =
    [("command", "the image's podicorn"), ("args", "spec.settings"), ("image", "spec.image")];

/// Refuses what the operator sets.
pub(super) fn allowed(overrides: &Value) -> Result<(), Invalid> {
    for key in overrides.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if key != "metadata" && key != "spec" {
            return Err(Invalid::Template(format!(
                "{key} is no part of a pod template; it has metadata and spec"
            )));
        }
    }
    let metadata = overrides.get("metadata").and_then(Value::as_object);
    for key in metadata.into_iter().flat_map(|fields| fields.keys()) {
        if key != "labels" && key != "annotations" {
            return Err(Invalid::Template(format!(
                "metadata.{key} has no effect on pods; use labels or annotations"
            )));
        }
    }
    let spec = overrides.get("spec");
    if spec.and_then(|spec| spec.get("terminationGracePeriodSeconds")).is_some() {
        return Err(refused("spec.terminationGracePeriodSeconds", "spec.drain.gracefulTimeoutSeconds"));
    }
    let containers = spec.and_then(|spec| spec.get("containers")).and_then(Value::as_array);
    for container in containers.into_iter().flatten().filter(|container| is_ours(container)) {
        for (field, instead) in OF_CONTAINER {
            if container.get(field).is_some() {
                return Err(refused(&format!("spec.containers[{CONTAINER}].{field}"), instead));
            }
        }
    }
    Ok(())
}

fn refused(field: &str, instead: &str) -> Invalid {
    Invalid::Template(format!("{field} follows from other fields; use {instead}"))
}

fn is_ours(container: &Value) -> bool {
    container.get("name").and_then(Value::as_str) == Some(CONTAINER)
}

/// Judges the merged template: its types, that no field is misspelt, and that the app is still in it.
pub(crate) fn typed(app: &str, template: &Value) -> Result<(), Invalid> {
    let parsed: PodTemplateSpec =
        serde_json::from_value(template.clone()).map_err(|error| Invalid::Template(error.to_string()))?;
    let known = serde_json::to_value(&parsed).map_err(|error| Invalid::Template(error.to_string()))?;
    if let Some(field) = unknown_field(&known, template, "") {
        return Err(Invalid::Template(format!("{field} is not a field of pod templates")));
    }
    let labels = parsed.metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
    for (key, value) in selector(app) {
        if labels.get(&key) != Some(&value) {
            return Err(Invalid::Template(format!(
                "metadata.labels[{key}] selects the app's pods and stays {value}"
            )));
        }
    }
    let containers = parsed.spec.map(|spec| spec.containers).unwrap_or_default();
    if !containers.iter().any(|container| container.name == CONTAINER) {
        return Err(Invalid::Template(format!(
            "the container {CONTAINER} runs the app and cannot be taken away"
        )));
    }
    Ok(())
}

/// The first field that the types have dropped. Of lists the places are the same on both sides.
fn unknown_field(known: &Value, given: &Value, path: &str) -> Option<String> {
    match (known, given) {
        (Value::Object(known), Value::Object(given)) => given.iter().find_map(|(key, given)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match known.get(key) {
                Some(known) => unknown_field(known, given, &path),
                None if given.is_null() => None,
                None => Some(path),
            }
        }),
        (Value::Array(known), Value::Array(given)) => known
            .iter()
            .zip(given)
            .enumerate()
            .find_map(|(place, (known, given))| unknown_field(known, given, &format!("{path}[{place}]"))),
        _ => None,
    }
}
