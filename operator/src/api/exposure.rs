//! How the app is reached.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The container's ports.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[x_kube(validation = Rule::new("self.http != self.admin").message("ports.http and ports.admin must differ"))]
#[serde(rename_all = "camelCase")]
pub struct Ports {
    /// Where clients are served.
    #[serde(default = "http_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub http: u16,
    /// Probes, metrics and control.
    #[serde(default = "admin_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub admin: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { http: http_port(), admin: admin_port() }
    }
}

#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServiceType {
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    NodePort,
    LoadBalancer,
}

impl ServiceType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default, rename = "type")]
    pub kind: ServiceType,
    #[serde(default = "service_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub labels: BTreeMap<String, String>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            enabled: true,
            kind: ServiceType::default(),
            port: service_port(),
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }
}

/// An Ingress for the Service.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("has(self.tlsSecretName) ? has(self.host) : true")
        .message("ingress.tlsSecretName needs ingress.host: the certificate is chosen by the name")
        .field_path(".tlsSecretName"),
)]
#[serde(rename_all = "camelCase")]
pub struct Ingress {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// Every host where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,
    #[serde(default = "root")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self.startsWith('/')").message("ingress.path begins with /"))]
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tls_secret_name: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    pub annotations: BTreeMap<String, String>,
}

/// An `HTTPRoute` of the Gateway API for the Service.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// The Gateways that carry the route.
    #[schemars(length(min = 1, max = 32))]
    pub parent_refs: Vec<ParentRef>,
    /// Every host where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::hostnames")]
    pub hostnames: Vec<String>,
}

#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
}

/// Lets only the operator, and whom `adminFrom` names, reach the admin port, and anybody the port for clients.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    #[serde(default)]
    pub enabled: bool,
    /// Labels of the operator's namespace; absent: it may be in any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::some_labels")]
    pub operator_namespace_labels: BTreeMap<String, String>,
    /// Labels of the operator's pods.
    #[serde(default = "operator_labels")]
    #[schemars(schema_with = "schema::operator_labels")]
    pub operator_pod_labels: BTreeMap<String, String>,
    /// Who else may reach the admin port, such as the Prometheus that scrapes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub admin_from: Vec<AdminPeer>,
}

/// Pods that have the labels, in namespaces that have theirs.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.namespaceLabels) || has(self.podLabels)")
        .message("an entry of networkPolicy.adminFrom says namespaceLabels, podLabels or both")
)]
pub struct AdminPeer {
    /// Absent: any namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::some_labels")]
    pub namespace_labels: BTreeMap<String, String>,
    /// Absent: any pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::some_labels")]
    pub pod_labels: BTreeMap<String, String>,
}

/// As the operator's chart sets it.
pub(super) fn operator_labels() -> BTreeMap<String, String> {
    BTreeMap::from([("app.kubernetes.io/name".to_owned(), "podicorn-operator".to_owned())])
}

fn http_port() -> u16 {
    8000
}

fn admin_port() -> u16 {
    9099
}

fn service_port() -> u16 {
    80
}

fn yes() -> bool {
    true
}

fn root() -> String {
    "/".to_owned()
}
