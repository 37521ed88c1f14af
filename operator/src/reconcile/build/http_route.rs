//! The `HTTPRoute` of the Gateway API.

use serde_json::json;

use super::{Object, Validated, object};
use crate::reconcile::Kind;

pub(super) fn build(app: &Validated<'_>) -> Option<Object> {
    let route = app.spec.http_route.as_ref()?;
    let mut spec = json!({
        "parentRefs": route.parent_refs,
        "rules": [{"backendRefs": [{"name": app.name, "port": app.spec.service.port}]}],
    });
    if !route.hostnames.is_empty() {
        spec["hostnames"] = json!(route.hostnames);
    }
    Some(object(app, Kind::HttpRoute, app.name.clone(), &json!({"spec": spec})))
}
