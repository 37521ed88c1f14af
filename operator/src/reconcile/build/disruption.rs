//! The `PodDisruptionBudget`.

use serde_json::json;

use super::{Object, Validated, object};
use crate::reconcile::Kind;
use crate::reconcile::names::selector;

pub(super) fn build(app: &Validated<'_>) -> Option<Object> {
    let budget = app.spec.pod_disruption_budget.as_ref().filter(|budget| budget.enabled)?;
    let mut spec = json!({
        "selector": {"matchLabels": selector(&app.name)},
        // A pod that does not work keeps no node from being drained.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    });
    match (&budget.min_available, &budget.max_unavailable) {
        (Some(least), _) => spec["minAvailable"] = json!(least),
        (None, Some(most)) => spec["maxUnavailable"] = json!(most),
        (None, None) => spec["maxUnavailable"] = json!(1),
    }
    Some(object(app, Kind::PodDisruptionBudget, app.name.clone(), &json!({"spec": spec})))
}
