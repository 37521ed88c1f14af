//! The `PodMonitor` of the Prometheus operator: every pod's metrics, of the admin port.

use serde_json::json;

use super::{Object, Validated, object};
use crate::reconcile::Kind;
use crate::reconcile::names::{ADMIN_PORT, labels, selector};

pub(super) fn build(app: &Validated<'_>) -> Option<Object> {
    let monitor = app.spec.metrics.as_ref()?.pod_monitor.as_ref().filter(|monitor| monitor.enabled)?;
    let mut all = monitor.labels.clone();
    all.extend(labels(&app.name, &app.uid));
    let more = json!({
        "metadata": {"labels": all},
        "spec": {
            "selector": {"matchLabels": selector(&app.name)},
            "podMetricsEndpoints": [{"port": ADMIN_PORT, "path": "/metrics", "interval": monitor.interval}],
        },
    });
    Some(object(app, Kind::PodMonitor, app.name.clone(), &more))
}
