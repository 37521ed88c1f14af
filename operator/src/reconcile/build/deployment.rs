//! The Deployment.

use serde_json::{Value, json};

use super::{Object, Validated, object};
use crate::reconcile::Kind;
use crate::reconcile::names::{MIGRATED, selector};

pub(super) fn build(
    app: &Validated<'_>,
    template: &Value,
    replicas: Option<u32>,
    migration: Option<&Object>,
) -> Object {
    let mut more = json!({"spec": {
        "selector": {"matchLabels": selector(&app.name)},
        // Nothing is taken away before its successor serves.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
        "revisionHistoryLimit": 5,
        "template": template,
    }});
    if let Some(replicas) = replicas {
        more["spec"]["replicas"] = json!(replicas);
    }
    if let Some(migration) = migration {
        more["metadata"] = json!({"annotations": {MIGRATED: migration.name}});
    }
    object(app, Kind::Deployment, app.name.clone(), &more)
}
