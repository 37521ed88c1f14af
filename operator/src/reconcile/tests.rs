//! Fixtures are the corpus's good objects, and small ones written here; what is built from them is compared with files that
//! `UPDATE=1` writes anew.

use kube::core::cel::apply_defaults;
use serde_json::{Value, json};

use super::live::{DeploymentFacts, SecretFacts, Tokens};
use crate::api::GunicornApp;

mod apply;
mod build;
mod live;
mod status;
mod validate;

/// An app of that spec, as the apiserver would keep it.
fn app(spec: &str) -> GunicornApp {
    let spec: Value = serde_yaml::from_str(spec).unwrap();
    let mut object = json!({
        "apiVersion": "podicorn.io/v1alpha1",
        "kind": "GunicornApp",
        "metadata": {"name": "shop", "namespace": "prod", "uid": "uid-1", "generation": 3},
        "spec": {"image": "shop:1", "app": "shop:app"},
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        object["spec"][key] = value.clone();
    }
    kept(&object)
}

fn kept(object: &Value) -> GunicornApp {
    let version = crate::api::crd().spec.versions.remove(0);
    let schema = serde_json::to_value(version.schema.unwrap().open_api_v3_schema.unwrap()).unwrap();
    serde_json::from_value(apply_defaults(&schema, object)).unwrap()
}

fn secret() -> SecretFacts {
    SecretFacts { tokens: Tokens { current: "now".to_owned(), previous: None }, rotation: None }
}

/// A Deployment that is as it should be.
fn deployment(wanted: u32, ready: u32) -> DeploymentFacts {
    DeploymentFacts {
        wanted: Some(wanted),
        observed: true,
        pods: wanted,
        ready,
        updated: wanted,
        image: Some("shop:1".to_owned()),
        ..DeploymentFacts::default()
    }
}
