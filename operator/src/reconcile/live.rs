//! What is remembered of an object in the cluster.
//!
//! Contract: a fingerprint and what is read of it; of everything else, in 500 apps, there is too much to keep. The whole object
//! is kept, packed, only from a change until somebody has compared it.

use std::sync::Arc;

use kube::core::DynamicObject;
use serde_json::Value;

use super::fingerprint;
use super::kind::Kind;
use super::names::{APPLIED, CONTAINER, INSTANCE_LABEL, MANAGER, MIGRATED, ROTATE_TOKEN};

/// The admin tokens of an app. Pods have one of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    pub current: String,
    /// Of pods whose volume has not been refreshed since the last rotation.
    pub previous: Option<String>,
}

/// Without the tokens.
impl std::fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tokens").field("previous", &self.previous.is_some()).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Live {
    pub(crate) uid: String,
    /// The uid of the object that controls it.
    pub(crate) controller: Option<String>,
    /// Orders what is heard of it; 0 where it cannot be read.
    pub(crate) version: u64,
    pub(crate) deleting: bool,
    /// The hash of what was applied last.
    pub(crate) applied: Option<u64>,
    pub(crate) fingerprint: u64,
    pub(crate) facts: Facts,
    /// The object as JSON, until it has been compared.
    pub(crate) body: Option<Arc<[u8]>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Facts {
    None,
    Secret(SecretFacts),
    Deployment(DeploymentFacts),
    Job(JobState),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretFacts {
    pub(crate) tokens: Tokens,
    /// The rotation that was asked for last.
    pub(crate) rotation: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeploymentFacts {
    /// Of the spec.
    pub(crate) wanted: Option<u32>,
    /// Somebody else says how many pods there are.
    pub(crate) replicas_of_others: bool,
    pub(crate) image: Option<String>,
    /// The migration that came before this template.
    pub(crate) migrated: Option<String>,
    /// The status is about the newest spec.
    pub(crate) observed: bool,
    pub(crate) pods: u32,
    pub(crate) ready: u32,
    pub(crate) updated: u32,
    /// The rollout has made no progress for too long, and why.
    pub(crate) stuck: Option<String>,
    /// Pods cannot be made, and why.
    pub(crate) failure: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobState {
    Running,
    Succeeded,
    Failed(String),
}

impl Live {
    /// Takes what is needed out of an object, and the name of its app; none: it does not say whose it is.
    pub(crate) fn of(kind: Kind, object: &DynamicObject) -> Option<(String, Self)> {
        let metadata = &object.metadata;
        let app = metadata.labels.as_ref()?.get(INSTANCE_LABEL)?.clone();
        let mut whole = serde_json::to_value(object).ok()?;
        let facts = match kind {
            Kind::Secret => Facts::Secret(secret(object)),
            Kind::Deployment => Facts::Deployment(deployment(&whole)),
            Kind::Job => Facts::Job(job(&object.data)),
            _ => Facts::None,
        };
        if let Some(fields) = whole.as_object_mut() {
            // Items of lists do not say what they are, those of watches do.
            for field in ["apiVersion", "kind", "status"] {
                fields.remove(field);
            }
        }
        if let Some(fields) = whole.get_mut("metadata").and_then(Value::as_object_mut) {
            fields.remove("managedFields");
        }
        let live = Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            controller: controller(metadata.owner_references.as_deref().unwrap_or_default()),
            version: version(metadata.resource_version.as_deref()),
            deleting: metadata.deletion_timestamp.is_some(),
            applied: annotation(object, APPLIED).and_then(|text| u64::from_str_radix(text, 16).ok()),
            fingerprint: fingerprint::of_live(&whole),
            facts,
            body: serde_json::to_vec(&whole).ok().map(Arc::from),
        };
        Some((app, live))
    }

    /// The object itself, if it has not been compared yet.
    pub(crate) fn body(&self) -> Option<Value> {
        serde_json::from_slice(self.body.as_deref()?).ok()
    }

    pub(crate) fn deployment(&self) -> Option<&DeploymentFacts> {
        if let Facts::Deployment(facts) = &self.facts { Some(facts) } else { None }
    }

    pub(crate) fn secret(&self) -> Option<&SecretFacts> {
        if let Facts::Secret(facts) = &self.facts { Some(facts) } else { None }
    }

    pub(crate) fn job(&self) -> Option<&JobState> {
        if let Facts::Job(state) = &self.facts { Some(state) } else { None }
    }
}

/// Resource versions grow; older apiservers do not promise it, so that what is no number counts as new.
pub(crate) fn version(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

pub(crate) fn controller(
    owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference],
) -> Option<String> {
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
}

fn annotation<'a>(object: &'a DynamicObject, name: &str) -> Option<&'a str> {
    object.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn secret(object: &DynamicObject) -> SecretFacts {
    let typed: k8s_openapi::api::core::v1::Secret = object.clone().try_parse().unwrap_or_default();
    let text = |key: &str| {
        let bytes = typed.data.as_ref()?.get(key)?;
        String::from_utf8(bytes.0.clone()).ok()
    };
    SecretFacts {
        tokens: Tokens { current: text("token").unwrap_or_default(), previous: text("previous") },
        rotation: annotation(object, ROTATE_TOKEN).map(str::to_owned),
    }
}

fn deployment(object: &Value) -> DeploymentFacts {
    let number = |pointer: &str| {
        object.pointer(pointer).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok())
    };
    let condition = |kind: &str, status: &str| {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array)?;
        conditions.iter().find(|condition| {
            condition.get("type").and_then(Value::as_str) == Some(kind)
                && condition.get("status").and_then(Value::as_str) == Some(status)
        })
    };
    let message = |condition: &Value| {
        condition.get("message").and_then(Value::as_str).unwrap_or("no message").to_owned()
    };
    let containers = object.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let web = containers.and_then(|containers| {
        containers.iter().find(|container| container.get("name").and_then(Value::as_str) == Some(CONTAINER))
    });
    let generation = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    DeploymentFacts {
        wanted: number("/spec/replicas"),
        replicas_of_others: replicas_of_others(object),
        image: web.and_then(|web| web.get("image")).and_then(Value::as_str).map(str::to_owned),
        migrated: object
            .pointer("/metadata/annotations")
            .and_then(|all| all.get(MIGRATED))
            .and_then(Value::as_str)
            .map(str::to_owned),
        observed: generation("/status/observedGeneration") >= generation("/metadata/generation"),
        pods: number("/status/replicas").unwrap_or_default(),
        ready: number("/status/readyReplicas").unwrap_or_default(),
        updated: number("/status/updatedReplicas").unwrap_or_default(),
        stuck: condition("Progressing", "False").map(message),
        failure: condition("ReplicaFailure", "True").map(message),
    }
}

/// Whether a manager other than the reconciler has written `spec.replicas`, itself or through the scale subresource.
fn replicas_of_others(object: &Value) -> bool {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.into_iter().flatten().any(|entry| {
        entry.get("manager").and_then(Value::as_str) != Some(MANAGER)
            && entry.pointer("/fieldsV1/f:spec/f:replicas").is_some()
    })
}

fn job(object: &Value) -> JobState {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    for condition in conditions.into_iter().flatten() {
        let text = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
        match (text("type"), text("status")) {
            ("Complete" | "SuccessCriteriaMet", "True") => return JobState::Succeeded,
            ("Failed" | "FailureTarget", "True") => {
                return JobState::Failed(format!("{}: {}", text("reason"), text("message")));
            }
            _ => {}
        }
    }
    JobState::Running
}
