//! The pods: one container, podicorn as its process 1, its probes and its token; then what the user lays over it.

use serde_json::{Value, json};

use super::{Invalid, Validated};
use crate::api::Probe;
use crate::reconcile::merge::merge;
use crate::reconcile::names::{
    ADMIN_PORT, CONTAINER, HTTP_PORT, MANAGED_BY_LABEL, MANAGER, TOKEN_DIRECTORY, TOKEN_VOLUME, selector,
    token_secret,
};
use crate::reconcile::validate;

/// The container's only writable place, unless the template adds others.
const SCRATCH_VOLUME: &str = "tmp";

pub(super) fn build(app: &Validated<'_>) -> Result<Value, Invalid> {
    let mut template = generated(app);
    if let Some(overrides) = &app.spec.pod_template {
        merge(&mut template, overrides);
    }
    validate::typed(&app.name, &template)?;
    Ok(template)
}

fn generated(app: &Validated<'_>) -> Value {
    let spec = app.spec;
    let mut labels = selector(&app.name);
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
    let mut pod = json!({
        "containers": [container(app)],
        // Variables of other Services would be taken for settings: PODICORN_PORT, if one is called podicorn.
        "enableServiceLinks": false,
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": spec.drain.graceful_timeout_seconds,
        "volumes": [
            {
                "name": TOKEN_VOLUME,
                "secret": {
                    "secretName": token_secret(&app.name),
                    // Read by whatever user the image has.
                    "defaultMode": 0o444,
                    "items": [{"key": "token", "path": "token"}],
                },
            },
            {"name": SCRATCH_VOLUME, "emptyDir": {}},
        ],
    });
    match &spec.service_account_name {
        Some(name) => pod["serviceAccountName"] = json!(name),
        None => pod["automountServiceAccountToken"] = json!(false),
    }
    if !spec.image_pull_secrets.is_empty() {
        pod["imagePullSecrets"] = json!(spec.image_pull_secrets);
    }
    json!({
        "metadata": {"labels": labels, "annotations": {"kubectl.kubernetes.io/default-container": CONTAINER}},
        "spec": pod,
    })
}

fn container(app: &Validated<'_>) -> Value {
    let spec = app.spec;
    let mut container = json!({
        "name": CONTAINER,
        "image": spec.image,
        "command": ["podicorn"],
        "args": app.arguments,
        "ports": [
            {"name": HTTP_PORT, "containerPort": spec.ports.http, "protocol": "TCP"},
            {"name": ADMIN_PORT, "containerPort": spec.ports.admin, "protocol": "TCP"},
        ],
        "startupProbe": probe(&spec.probes.startup, "/startupz"),
        "livenessProbe": probe(&spec.probes.liveness, "/livez"),
        "readinessProbe": probe(&spec.probes.readiness, "/readyz"),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
        },
        "volumeMounts": [
            {"name": TOKEN_VOLUME, "mountPath": TOKEN_DIRECTORY, "readOnly": true},
            // What apps write goes here, and nowhere else.
            {"name": SCRATCH_VOLUME, "mountPath": "/tmp"},
        ],
    });
    if let Some(policy) = spec.image_pull_policy {
        container["imagePullPolicy"] = json!(policy.as_str());
    }
    if let Some(resources) = &spec.resources {
        container["resources"] = quantities(resources);
    }
    let env = environment(app);
    if !env.is_empty() {
        container["env"] = env.into();
    }
    if !spec.env_from.is_empty() {
        container["envFrom"] = json!(spec.env_from);
    }
    container
}

fn probe(probe: &Probe, path: &str) -> Value {
    json!({
        "httpGet": {"path": path, "port": ADMIN_PORT},
        "periodSeconds": probe.period_seconds,
        "failureThreshold": probe.failure_threshold,
        "timeoutSeconds": probe.timeout_seconds,
    })
}

/// The user's variables, and after them those of `telemetry` that the user has not set.
fn environment(app: &Validated<'_>) -> Vec<Value> {
    let mut env: Vec<Value> = app.spec.env.iter().map(divisor).collect();
    let Some(telemetry) = &app.spec.telemetry else { return env };
    let mut wanted = Vec::new();
    if let Some(otlp) = &telemetry.otlp {
        wanted.push(("OTEL_EXPORTER_OTLP_ENDPOINT", otlp.endpoint.clone()));
        wanted.push(("OTEL_EXPORTER_OTLP_PROTOCOL", otlp.protocol.as_str().to_owned()));
        wanted.push(("OTEL_SERVICE_NAME", app.name.clone()));
        wanted.push(("OTEL_RESOURCE_ATTRIBUTES", format!("service.namespace={}", app.namespace)));
    }
    if let Some(part) = telemetry.sampling {
        wanted.push(("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".to_owned()));
        wanted.push(("OTEL_TRACES_SAMPLER_ARG", part.to_string()));
    }
    for (name, value) in wanted {
        if !env.iter().any(|variable| variable.get("name").and_then(Value::as_str) == Some(name)) {
            env.push(json!({"name": name, "value": value}));
        }
    }
    env
}

/// Quantities may be given as numbers, and are texts in the API.
fn quantities(resources: &Value) -> Value {
    match resources {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), quantities(value))).collect(),
        Value::Number(number) => number.to_string().into(),
        other => other.clone(),
    }
}

fn divisor(variable: &Value) -> Value {
    let mut variable = variable.clone();
    if let Some(divisor) = variable.pointer_mut("/valueFrom/resourceFieldRef/divisor") {
        *divisor = quantities(divisor);
    }
    variable
}
