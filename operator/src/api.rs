//! The API of `GunicornApp`, version v1alpha1.
//!
//! Contract: plain data and its schema. What can be judged from the object alone is judged by the apiserver, through the
//! schema and its CEL rules; what needs the table of settings or a merge is judged at reconcile. Every string, list and map
//! has a bound, because the apiserver reckons the cost of the rules from the bounds. Field names are camelCase; a field that
//! is absent and one that is null are the same.

#![allow(unreachable_pub, reason = "KubeSchema makes a public struct beside each one that it is derived for")]

mod autoscaling;
mod container;
mod definition;
mod exposure;
mod lifecycle;
mod observability;
mod schema;
mod status;
mod workers;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use autoscaling::{Autoscaling, Behavior, Commands, Mode, Scaling, Stabilization};
pub use container::{ObjectName, PullPolicy};
pub use definition::{NAME as CRD_NAME, crd, crd_yaml};
pub use exposure::{AdminPeer, HttpRoute, Ingress, NetworkPolicy, ParentRef, Ports, Service, ServiceType};
pub use lifecycle::{Disruption, Drain, Migrations, Probe, Probes};
pub use observability::{Metrics, Otlp, OtlpProtocol, PodMonitor, Telemetry};
pub use status::{
    Condition, ConditionStatus, GunicornAppStatus, MigrationState, MigrationStatus, ScalingStatus,
    WorkersStatus, conditions, reasons,
};
pub use workers::Workers;

/// The API group.
pub const GROUP: &str = "podicorn.io";

/// A Python web app that runs under podicorn, with as many workers and pods as its load needs.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "podicorn.io",
    version = "v1alpha1",
    kind = "GunicornApp",
    plural = "gunicornapps",
    singular = "gunicornapp",
    shortname = "gapp",
    category = "podicorn",
    doc = "A Python web app that runs under podicorn, with as many workers and pods as its load needs.",
    namespaced,
    status = "GunicornAppStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the app serves as it is specified"
    ),
    printcolumn(
        name = "Workers",
        type_ = "string",
        json_path = ".status.workers.text",
        description = "Workers that are ready, of those that are wanted, over all pods"
    ),
    printcolumn(
        name = "Pods",
        type_ = "integer",
        json_path = ".status.readyPods",
        description = "Pods that are ready"
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".status.mode",
        description = "Who scales what"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Image", type_ = "string", json_path = ".status.image", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("the name becomes that of a Service and a label: at most 63 lower case letters, digits and dashes, beginning with a letter"),
)]
#[x_kube(
    validation = Rule::new("!(has(self.ingress) && has(self.httpRoute))")
        .message("give ingress or httpRoute, not both: each would publish the app")
        .field_path(".httpRoute"),
    validation = Rule::new("(has(self.ingress) || has(self.httpRoute)) ? self.service.enabled : true")
        .message("ingress and httpRoute lead to the Service, which service.enabled: false leaves out")
        .field_path(".service"),
    validation = Rule::new("has(self.scaling) && self.scaling.commands == 'Signals' ? !(has(self.workers.auto) && self.workers.auto) : true")
        .message("scaling.commands: Signals needs a number to count from: give workers.max instead of workers.auto")
        .field_path(".scaling"),
)]
#[serde(rename_all = "camelCase")]
pub struct GunicornAppSpec {
    /// The container image: Python, the app and podicorn.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,
    /// Secrets to pull the image with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::pull_secrets")]
    pub image_pull_secrets: Vec<ObjectName>,
    /// The app, as on podicorn's command line: `MODULE:VARIABLE` or `MODULE:FACTORY()`.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new("!self.startsWith('-')").message("app is MODULE:VARIABLE, such as shop:app; flags belong in settings"))]
    pub app: String,
    /// `sync`, `gthread`, `gevent`, `eventlet`, `asgi`, `tornado`, or a class made for Gunicorn.
    #[serde(default = "sync")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new("!self.startsWith('-')").message("workerClass is the name of a worker type, such as gthread"))]
    pub worker_class: String,
    /// Threads that call the app in each gthread worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub threads: Option<u32>,
    /// Workers of each pod.
    #[serde(default)]
    pub workers: Workers,
    /// Any other setting of podicorn, by the name it has in a config file: text, a number, true or false, or a list of texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::settings")]
    pub settings: BTreeMap<String, Value>,
    /// Pods, where `autoscaling.mode` is Workers or Observe, or External with an autoscaler that targets the `GunicornApp`.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 10000))]
    pub replicas: u32,
    #[serde(default)]
    pub autoscaling: Autoscaling,
    #[serde(default)]
    pub scaling: Scaling,
    /// CPU and memory, as in a container: `requests`, `limits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::resources")]
    pub resources: Option<Value>,
    /// Environment, as in a container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::env")]
    pub env: Vec<Value>,
    /// Environment from `ConfigMaps` and Secrets, as in a container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::env_from")]
    pub env_from: Vec<Value>,
    #[serde(default)]
    pub ports: Ports,
    #[serde(default)]
    pub service: Service,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_route: Option<HttpRoute>,
    #[serde(default)]
    pub probes: Probes,
    #[serde(default)]
    pub drain: Drain,
    /// Import the app once and fork the workers from it.
    #[serde(default)]
    pub preload: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_disruption_budget: Option<Disruption>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<Migrations>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
    /// Laid over the pod template that is generated, as a strategic merge patch: `metadata` and `spec` of a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_template")]
    pub pod_template: Option<Value>,
}

fn sync() -> String {
    "sync".to_owned()
}

fn one() -> u32 {
    1
}
