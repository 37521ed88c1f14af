//! Schemas of what is not a type of this crate: parts of a container, maps and times.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::lifecycle::{LIVENESS, Probe, READINESS, STARTUP};

const NAME: u32 = 253;
const TEXT: u32 = 4096;

pub(super) fn pull_secrets(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "description": "Secrets to pull the image with.",
        "maxItems": 16,
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "minLength": 1, "maxLength": NAME}},
        },
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    })
}

/// The values have several types, which a structural schema cannot say; the table of settings judges them.
pub(super) fn settings(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 128,
        "additionalProperties": {"x-kubernetes-preserve-unknown-fields": true},
    })
}

pub(super) fn resources(_: &mut SchemaGenerator) -> Schema {
    let quantities = json!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
            "maxLength": 64,
        },
    });
    json_schema!({
        "type": "object",
        "properties": {"limits": quantities.clone(), "requests": quantities},
    })
}

/// A key of a `ConfigMap` or a Secret.
fn key_reference() -> Value {
    json!({
        "type": "object",
        "required": ["name", "key"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": NAME},
            "key": {"type": "string", "minLength": 1, "maxLength": NAME},
            "optional": {"type": "boolean"},
        },
        "x-kubernetes-map-type": "atomic",
    })
}

pub(super) fn env(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 256,
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": NAME},
                "value": {"type": "string", "maxLength": 32768},
                "valueFrom": {
                    "type": "object",
                    "properties": {
                        "configMapKeyRef": key_reference(),
                        "secretKeyRef": key_reference(),
                        "fieldRef": {
                            "type": "object",
                            "required": ["fieldPath"],
                            "properties": {
                                "apiVersion": {"type": "string", "maxLength": NAME},
                                "fieldPath": {"type": "string", "minLength": 1, "maxLength": TEXT},
                            },
                            "x-kubernetes-map-type": "atomic",
                        },
                        "resourceFieldRef": {
                            "type": "object",
                            "required": ["resource"],
                            "properties": {
                                "containerName": {"type": "string", "maxLength": NAME},
                                "resource": {"type": "string", "minLength": 1, "maxLength": NAME},
                                "divisor": {
                                    "x-kubernetes-int-or-string": true,
                                    "anyOf": [{"type": "integer"}, {"type": "string"}],
                                    "maxLength": 64,
                                },
                            },
                            "x-kubernetes-map-type": "atomic",
                        },
                    },
                },
            },
            "x-kubernetes-validations": [{
                "rule": "!(has(self.value) && has(self.valueFrom))",
                "message": "give an environment variable's value or valueFrom, not both",
            }],
        },
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    })
}

pub(super) fn env_from(_: &mut SchemaGenerator) -> Schema {
    let source = json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": NAME},
            "optional": {"type": "boolean"},
        },
        "x-kubernetes-map-type": "atomic",
    });
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": {
            "type": "object",
            "properties": {
                "prefix": {"type": "string", "maxLength": NAME},
                "configMapRef": source.clone(),
                "secretRef": source,
            },
            "x-kubernetes-validations": [{
                "rule": "has(self.configMapRef) != has(self.secretRef)",
                "message": "an entry of envFrom names one source: configMapRef or secretRef",
            }],
        },
        "x-kubernetes-list-type": "atomic",
    })
}

fn text_map(least: u32, most: u32, length: u32) -> Schema {
    let mut schema = json_schema!({
        "type": "object",
        "maxProperties": most,
        "additionalProperties": {"type": "string", "maxLength": length},
    });
    if least > 0 {
        schema.insert("minProperties".to_owned(), least.into());
    }
    schema
}

pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    text_map(0, 32, 63)
}

pub(super) fn some_labels(_: &mut SchemaGenerator) -> Schema {
    text_map(1, 32, 63)
}

pub(super) fn operator_labels(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = some_labels(generator);
    schema.insert("default".to_owned(), json!(super::exposure::operator_labels()));
    schema
}

pub(super) fn annotations(_: &mut SchemaGenerator) -> Schema {
    text_map(0, 64, 16384)
}

pub(super) fn hostnames(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": {"type": "string", "minLength": 1, "maxLength": NAME},
        "x-kubernetes-list-type": "set",
    })
}

pub(super) fn command(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 64,
        "items": {"type": "string", "maxLength": TEXT},
        "x-kubernetes-list-type": "atomic",
    })
}

pub(super) fn count_or_percentage(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "minimum": 0,
        "maxLength": 8,
        "pattern": "^(100|[0-9]{1,2})%$",
    })
}

fn probe(description: &str, defaults: &Probe) -> Schema {
    let count = |default: u32, most: u32| json!({"type": "integer", "format": "int32", "minimum": 1, "maximum": most, "default": default});
    json_schema!({
        "type": "object",
        "description": description,
        "properties": {
            "periodSeconds": count(defaults.period_seconds, 3600),
            "failureThreshold": count(defaults.failure_threshold, 10000),
            "timeoutSeconds": count(defaults.timeout_seconds, 300),
        },
    })
}

pub(super) fn startup_probe(_: &mut SchemaGenerator) -> Schema {
    probe("Of /startupz: a worker has been ready once.", &STARTUP)
}

pub(super) fn liveness_probe(_: &mut SchemaGenerator) -> Schema {
    probe("Of /livez: the arbiter's loop turns.", &LIVENESS)
}

pub(super) fn readiness_probe(_: &mut SchemaGenerator) -> Schema {
    probe("Of /readyz: a worker is ready, and the pod does not drain.", &READINESS)
}

/// The whole schema of a pod template is larger than what kubectl can note of an object; the merge judges it.
pub(super) fn pod_template(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

pub(super) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let item = generator.subschema_for::<super::Condition>();
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}
