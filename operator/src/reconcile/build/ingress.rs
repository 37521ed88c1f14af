//! The Ingress.

use serde_json::json;

use super::{Object, Validated, object};
use crate::reconcile::Kind;
use crate::reconcile::names::HTTP_PORT;

pub(super) fn build(app: &Validated<'_>) -> Option<Object> {
    let ingress = app.spec.ingress.as_ref()?;
    let backend = json!({"service": {"name": app.name, "port": {"name": HTTP_PORT}}});
    let mut rule =
        json!({"http": {"paths": [{"path": ingress.path, "pathType": "Prefix", "backend": backend}]}});
    if let Some(host) = &ingress.host {
        rule["host"] = json!(host);
    }
    let mut spec = json!({"rules": [rule]});
    if let Some(class) = &ingress.class_name {
        spec["ingressClassName"] = json!(class);
    }
    if let (Some(secret), Some(host)) = (&ingress.tls_secret_name, &ingress.host) {
        spec["tls"] = json!([{"hosts": [host], "secretName": secret}]);
    }
    let more = json!({"metadata": {"annotations": ingress.annotations}, "spec": spec});
    Some(object(app, Kind::Ingress, app.name.clone(), &more))
}
