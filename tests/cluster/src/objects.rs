//! Objects in the control plane: namespaces, YAML as `kubectl apply` would send it, the CRD, `kubectl` itself.

use std::path::Path;
use std::process::Stdio;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client};
use serde::Deserialize;

use crate::error::BedError;
use crate::wait::{PATIENCE, eventually};

const FIELD_MANAGER: &str = "podicorn-testbed";

/// A new namespace whose name begins with the prefix.
pub async fn namespace(client: &Client, prefix: &str) -> Result<String, BedError> {
    let mut namespace = Namespace::default();
    // A name has at most 63 characters, and the apiserver adds some.
    let prefix: String = prefix.replace('_', "-").chars().take(50).collect();
    namespace.metadata.generate_name = Some(format!("{prefix}-"));
    let made = Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    made.metadata.name.ok_or_else(|| BedError::Unexpected("a namespace without a name".to_owned()))
}

/// Applies every document, in order; what has a namespace of its own keeps it.
pub async fn apply_yaml(
    client: &Client,
    namespace: &str,
    yaml: &str,
) -> Result<Vec<DynamicObject>, BedError> {
    let mut applied = Vec::new();
    for document in serde_yaml::Deserializer::from_str(yaml) {
        let value = serde_json::Value::deserialize(document)?;
        if value.is_null() {
            continue;
        }
        let object: DynamicObject = serde_json::from_value(value)?;
        let api = api_of(client, namespace, &object).await?;
        let name = object.metadata.name.clone().unwrap_or_default();
        let params = PatchParams::apply(FIELD_MANAGER).force();
        applied.push(api.patch(&name, &params, &Patch::Apply(&object)).await?);
    }
    Ok(applied)
}

/// Creates the object as it is, as a client that knows nothing of apply would.
pub async fn create(
    client: &Client,
    namespace: &str,
    object: &DynamicObject,
) -> Result<DynamicObject, BedError> {
    let api = api_of(client, namespace, object).await?;
    Ok(api.create(&PostParams::default(), object).await?)
}

/// What `podicorn-operator crd` prints, applied; returns when the apiserver serves it.
pub async fn install_crd(client: &Client) -> Result<(), BedError> {
    let crd = podicorn_operator::api::crd();
    let name = crd.metadata.name.clone().unwrap_or_default();
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&crd)).await?;
    eventually("the CRD is established", PATIENCE, async || {
        let crd = api.get(&name).await.map_err(|error| error.to_string())?;
        let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
        let found = conditions.iter().find(|condition| condition.type_ == "Established");
        if found.is_some_and(|condition| condition.status == "True") {
            return Ok(());
        }
        Err(serde_json::to_string(&conditions).unwrap_or_default())
    })
    .await
}

/// What a program said.
#[derive(Debug)]
pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Runs kubectl to its end.
pub async fn kubectl(program: &Path, kubeconfig: &Path, arguments: &[&str]) -> Result<Output, BedError> {
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(BedError::io("kubectl"))?;
    Ok(Output {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

async fn api_of(
    client: &Client,
    namespace: &str,
    object: &DynamicObject,
) -> Result<Api<DynamicObject>, BedError> {
    let kind = object
        .types
        .as_ref()
        .and_then(|types| GroupVersionKind::try_from(types).ok())
        .ok_or_else(|| BedError::Unexpected("an object without apiVersion and kind".to_owned()))?;
    let (resource, capabilities) = pinned_kind(client, &kind).await?;
    let namespace = object.metadata.namespace.as_deref().unwrap_or(namespace);
    Ok(match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, &resource),
    })
}
