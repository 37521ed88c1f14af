//! The Job that runs before a rollout: in the app's own container, with its environment, volumes and rights.

use serde_json::{Map, Value, json};

use super::{Object, Validated, object};
use crate::reconcile::Kind;
use crate::reconcile::fingerprint;
use crate::reconcile::names::{CONTAINER, TOKEN_VOLUME, labels, migration};

/// What a container has because it serves.
const OF_SERVERS: [&str; 6] =
    ["args", "ports", "startupProbe", "livenessProbe", "readinessProbe", "lifecycle"];

pub(super) fn build(app: &Validated<'_>, template: &Value) -> Option<Object> {
    let migrations = app.spec.migrations.as_ref()?;
    // Not the whole template: other memory limits, or another version of the operator, are no reason to migrate again.
    let what = json!([app.spec.image, migrations.command, app.spec.env, app.spec.env_from]);
    let name = migration(&app.name, fingerprint::hash(&what));
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    let web = containers?
        .iter()
        .find(|container| container.get("name").and_then(Value::as_str) == Some(CONTAINER))?;
    let mut container = without(web, &OF_SERVERS);
    container.insert("name".to_owned(), "migrate".into());
    container.insert("command".to_owned(), json!(migrations.command));
    container.insert("volumeMounts".to_owned(), without_token(web.get("volumeMounts")));
    let mut pod = without(template.get("spec")?, &[]);
    pod.insert("containers".to_owned(), json!([container]));
    pod.insert("volumes".to_owned(), without_token(template.pointer("/spec/volumes")));
    pod.insert("restartPolicy".to_owned(), "Never".into());
    let more = json!({"spec": {
        "backoffLimit": migrations.backoff_limit,
        "activeDeadlineSeconds": migrations.active_deadline_seconds,
        // Without the label that selects the app's pods.
        "template": {"metadata": {"labels": labels(&app.name, &app.uid)}, "spec": pod},
    }});
    Some(object(app, Kind::Job, name, &more))
}

fn without(value: &Value, fields: &[&str]) -> Map<String, Value> {
    let all = value.as_object().into_iter().flatten();
    all.filter(|(key, _)| !fields.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn without_token(list: Option<&Value>) -> Value {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter(|item| item.get("name").and_then(Value::as_str) != Some(TOKEN_VOLUME)).cloned().collect()
}
