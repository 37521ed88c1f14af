//! The `NetworkPolicy`: clients reach one port, and the operator alone the other.

use serde_json::json;

use super::{Object, Validated, object};
use crate::reconcile::Kind;
use crate::reconcile::names::{ADMIN_PORT, HTTP_PORT, selector};

pub(super) fn build(app: &Validated<'_>) -> Option<Object> {
    let policy = app.spec.network_policy.as_ref().filter(|policy| policy.enabled)?;
    let operator = json!({
        // No labels: any namespace.
        "namespaceSelector": {"matchLabels": policy.operator_namespace_labels},
        "podSelector": {"matchLabels": policy.operator_pod_labels},
    });
    let port = |name: &str| json!([{"port": name, "protocol": "TCP"}]);
    let more = json!({"spec": {
        "podSelector": {"matchLabels": selector(&app.name)},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": port(HTTP_PORT)}, {"ports": port(ADMIN_PORT), "from": [operator]}],
    }});
    Some(object(app, Kind::NetworkPolicy, app.name.clone(), &more))
}
