//! The `CustomResourceDefinition`.
//!
//! Contract: what the derive makes of the types, in the form that apiservers keep without a warning: integers have the
//! formats that OpenAPI knows, and nothing may be null, so that an explicit null counts as absent and takes the default.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use super::GunicornApp;

/// The definition's own name.
pub const NAME: &str = "gunicornapps.podicorn.io";

/// The definition, as it is applied.
pub fn crd() -> CustomResourceDefinition {
    let derived = GunicornApp::crd();
    let plain = serde_json::to_value(&derived).map(|mut value| {
        tidy(&mut value);
        value
    });
    plain.and_then(serde_json::from_value).unwrap_or(derived)
}

/// The definition as YAML, as `podicorn-operator crd` prints it.
pub fn crd_yaml() -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(&crd())
}

fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // A property may itself be called `format` or `nullable`; then its value is a schema, not a text or a flag.
            if fields.get("nullable").is_some_and(Value::is_boolean) {
                fields.remove("nullable");
            }
            tidy_format(fields);
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn tidy_format(fields: &mut Map<String, Value>) {
    let known = match fields.get("format").and_then(Value::as_str) {
        Some("uint8" | "uint16" | "uint32" | "int8" | "int16") => "int32",
        Some("uint64" | "uint") => "int64",
        _ => return,
    };
    fields.insert("format".to_owned(), known.into());
}
