//! The Service for clients.

use serde_json::json;

use super::{Object, Validated, object};
use crate::reconcile::Kind;
use crate::reconcile::names::{HTTP_PORT, labels, selector};

pub(super) fn build(app: &Validated<'_>) -> Option<Object> {
    let service = &app.spec.service;
    if !service.enabled {
        return None;
    }
    let mut all = service.labels.clone();
    all.extend(labels(&app.name, &app.uid));
    let more = json!({
        "metadata": {"labels": all, "annotations": service.annotations},
        "spec": {
            "type": service.kind.as_str(),
            "selector": selector(&app.name),
            "ports": [{"name": HTTP_PORT, "port": service.port, "targetPort": HTTP_PORT, "protocol": "TCP"}],
        },
    });
    Some(object(app, Kind::Service, app.name.clone(), &more))
}
