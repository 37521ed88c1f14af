//! The `NetworkPolicy`: clients reach one port, and only the operator, and whom the app names, the other.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Object, Validated, object};
use crate::reconcile::Kind;
use crate::reconcile::names::{ADMIN_PORT, HTTP_PORT, selector};

pub(super) fn build(app: &Validated<'_>) -> Option<Object> {
    let policy = app.spec.network_policy.as_ref().filter(|policy| policy.enabled)?;
    let mut from = vec![peer(&policy.operator_namespace_labels, &policy.operator_pod_labels)];
    from.extend(policy.admin_from.iter().map(|other| peer(&other.namespace_labels, &other.pod_labels)));
    let port = |name: &str| json!([{"port": name, "protocol": "TCP"}]);
    let more = json!({"spec": {
        "podSelector": {"matchLabels": selector(&app.name)},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": port(HTTP_PORT)}, {"ports": port(ADMIN_PORT), "from": from}],
    }});
    Some(object(app, Kind::NetworkPolicy, app.name.clone(), &more))
}

/// No labels: any namespace, any pod.
fn peer(namespaces: &BTreeMap<String, String>, pods: &BTreeMap<String, String>) -> Value {
    json!({"namespaceSelector": {"matchLabels": namespaces}, "podSelector": {"matchLabels": pods}})
}
