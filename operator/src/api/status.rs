//! What is so, as far as the operator knows.
//!
//! Two write it by server-side apply, each with a field manager of its own and fields of its own. The reconciler:
//! `observedGeneration`, `replicas`, `selector`, `readyPods`, `mode`, `image`, `migration` and the conditions Ready,
//! Progressing and Degraded. The autoscaler: `workers`, `scaling` and the conditions
//! `AutoscalingActive` and `PodsReachable`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The types of conditions.
pub mod conditions {
    /// The app serves as it is specified.
    pub const READY: &str = "Ready";
    /// Something is being rolled out.
    pub const PROGRESSING: &str = "Progressing";
    /// Something is wrong that does not end by itself.
    pub const DEGRADED: &str = "Degraded";
    /// The operator scales the app.
    pub const AUTOSCALING_ACTIVE: &str = "AutoscalingActive";
    /// The admin API of every ready pod answers.
    pub const PODS_REACHABLE: &str = "PodsReachable";
}

/// The reasons of conditions and events; they stay as they are, because people alert on them.
pub mod reasons {
    // Ready, Progressing and Degraded.
    pub const ALL_PODS_READY: &str = "AllPodsReady";
    pub const SCALED_TO_ZERO: &str = "ScaledToZero";
    pub const PODS_NOT_READY: &str = "PodsNotReady";
    pub const ROLLING_OUT: &str = "RollingOut";
    pub const ROLLED_OUT: &str = "RolledOut";
    pub const ROLLOUT_STUCK: &str = "RolloutStuck";
    pub const MIGRATING: &str = "Migrating";
    pub const MIGRATION_FAILED: &str = "MigrationFailed";
    pub const INVALID_SPEC: &str = "InvalidSpec";
    pub const MALFORMED: &str = "Malformed";
    pub const NAME_TAKEN: &str = "NameTaken";
    pub const KIND_NOT_INSTALLED: &str = "KindNotInstalled";
    pub const APPLY_FAILED: &str = "ApplyFailed";
    pub const AS_EXPECTED: &str = "AsExpected";

    // AutoscalingActive and PodsReachable.
    pub const SCALING_WORKERS: &str = "ScalingWorkers";
    pub const SCALING_WORKERS_AND_PODS: &str = "ScalingWorkersAndPods";
    pub const OBSERVING: &str = "Observing";
    pub const FOREIGN_HPA: &str = "ForeignHPA";
    pub const NO_READY_PODS: &str = "NoReadyPods";
    pub const ALL_PODS_ANSWER: &str = "AllPodsAnswer";
    pub const SOME_PODS_DO_NOT_ANSWER: &str = "SomePodsDoNotAnswer";
    pub const NO_POD_ANSWERS: &str = "NoPodAnswers";
}

/// Nothing is required, so that either writer may be the first.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GunicornAppStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that the Deployment has; for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// The labels of the pods, as text; for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the selector follows from the app's name and never changes: what selects the pods would lose them"))]
    pub selector: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_pods: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkersStatus>,
    /// Who scales what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub mode: Option<String>,
    /// The image that was rolled out last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<MigrationStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

impl GunicornAppStatus {
    /// The condition of that type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// The workers of all pods together.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WorkersStatus {
    /// That exist.
    pub current: u32,
    /// That are wanted.
    pub target: u32,
    /// That serve.
    pub ready: u32,
    /// Such as `6/8`: ready of wanted.
    #[schemars(length(max = 32))]
    pub text: String,
}

/// The last decisions, in words.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScalingStatus {
    /// About pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub pods: Option<String>,
    /// About workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub workers: Option<String>,
    /// When workers or pods were last told to be more or fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_scale_time: Option<Time>,
}

#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationState {
    Running,
    Succeeded,
    Failed,
}

/// The migration that belongs to the spec.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MigrationStatus {
    /// The Job's name.
    #[schemars(length(max = 253))]
    pub job: String,
    pub state: MigrationState,
}

#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// As Kubernetes has it everywhere.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 64))]
    pub kind: String,
    pub status: ConditionStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status last became another.
    #[schemars(schema_with = "schema::time")]
    pub last_transition_time: Time,
    #[schemars(length(min = 1, max = 64))]
    pub reason: String,
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub message: String,
}

impl Condition {
    /// A condition as it is now; the time stays that of `previous` where the status is the same.
    pub fn new(
        kind: &str,
        status: ConditionStatus,
        reason: &str,
        message: impl Into<String>,
        generation: Option<i64>,
        previous: Option<&Self>,
        now: Time,
    ) -> Self {
        let last_transition_time = match previous {
            Some(previous) if previous.status == status => previous.last_transition_time.clone(),
            _ => now,
        };
        Self {
            kind: kind.to_owned(),
            status,
            observed_generation: generation,
            last_transition_time,
            reason: reason.to_owned(),
            message: bounded(message.into(), 4096),
        }
    }
}

/// Cut at `most` characters, so that the apiserver takes it.
fn bounded(text: String, most: usize) -> String {
    match text.char_indices().nth(most.saturating_sub(1)) {
        Some((end, last)) if end + last.len_utf8() < text.len() => format!("{}…", &text[..end]),
        _ => text,
    }
}
