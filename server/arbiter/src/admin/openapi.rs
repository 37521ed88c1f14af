//! `GET /openapi.json`: OpenAPI 3.1 for the table of routes. The schemas come from the types that are sent.

use std::sync::LazyLock;

use axum::Json;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::routes::{ENDPOINTS, Endpoint, Openness};
use super::watch::NDJSON;
use super::{DrainView, ReloadView};
use crate::problem::{PROBLEM_JSON, ProblemBody};
use crate::scale::{ScaleRequest, ScaleView, StepView};
use crate::status::Status;
use crate::telemetry::exposition::OPENMETRICS;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// What the document says about one endpoint, apart from what all have in common.
pub(super) struct Operation {
    id: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<SchemaOf>,
    /// Status, description, media type, schema.
    success: (u16, &'static str, &'static str, SchemaOf),
    /// Status and description of its own errors.
    errors: Vec<(u16, &'static str)>,
    /// Media type of 503 answers: the health routes speak plain text.
    plain_503: Option<&'static str>,
}

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn text(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "string"})
}

fn object(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "object"})
}

pub(super) async fn document() -> Response {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(build);
    ([(CACHE_CONTROL, "no-store")], Json(&*DOCUMENT)).into_response()
}

/// The whole document.
pub(super) fn build() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.for_serialize().into_generator();
    let problem = generator.subschema_for::<ProblemBody>();
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let item = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        item[endpoint.verb.key()] = operation(endpoint, &mut generator, &problem);
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Podicorn admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Served by the arbiter, PID 1 of the pod. Errors are problem details (RFC 9457).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token in --admin-token-file. \
                        Not needed on a unix socket, nor on loopback where no token file is set.",
                },
            },
        },
    })
}

fn operation(endpoint: &Endpoint, generator: &mut SchemaGenerator, problem: &Schema) -> Value {
    let about = (endpoint.describe)();
    let guarded = endpoint.openness == Openness::Guarded;
    let mut responses = Map::new();
    let (status, description, media, schema) = about.success;
    responses.insert(
        status.to_string(),
        json!({"description": description, "content": {media: {"schema": schema(generator)}}}),
    );
    let mut errors = about.errors;
    if guarded {
        errors.extend([
            (401, "No bearer token, or the wrong one."),
            (403, "Not served on this address without a token, or asked by a page of another origin."),
            (421, "Loopback without a token: the Host is not a loopback name."),
        ]);
    }
    if about.plain_503.is_none() && endpoint.openness != Openness::Page && endpoint.path != "/openapi.json" {
        errors.push((503, "The run loop did not answer, or the server is shutting down."));
    }
    for (status, description) in errors {
        responses.insert(
            status.to_string(),
            json!({"description": description, "content": {PROBLEM_JSON: {"schema": problem}}}),
        );
    }
    if let Some(description) = about.plain_503 {
        responses.insert(
            "503".to_owned(),
            json!({"description": description, "content": {TEXT: {"schema": {"type": "string"}}}}),
        );
    }
    let mut operation = json!({
        "operationId": about.id,
        "summary": about.summary,
        "responses": responses,
        "security": if guarded { json!([{"bearer": []}]) } else { json!([]) },
    });
    if !about.parameters.is_empty() {
        operation["parameters"] = Value::Array(about.parameters);
    }
    if let Some(schema) = about.body {
        operation["requestBody"] =
            json!({"required": true, "content": {JSON: {"schema": schema(generator)}}});
    }
    operation
}

impl Operation {
    fn new(
        id: &'static str,
        summary: &'static str,
        success: (u16, &'static str, &'static str, SchemaOf),
    ) -> Self {
        Self { id, summary, parameters: Vec::new(), body: None, success, errors: Vec::new(), plain_503: None }
    }
}

fn health(id: &'static str, summary: &'static str, failure: &'static str) -> Operation {
    let mut operation = Operation::new(id, summary, (200, "It is so.", TEXT, text));
    operation.parameters.push(json!({
        "name": "verbose",
        "in": "query",
        "required": false,
        "allowEmptyValue": true,
        "description": "One line per check.",
        "schema": {"type": "string"},
    }));
    operation.plain_503 = Some(failure);
    operation
}

pub(super) fn livez() -> Operation {
    health("livez", "The run loop turns.", "It does not answer within a second.")
}

pub(super) fn startupz() -> Operation {
    health("startupz", "A worker has been ready once.", "None has been ready yet.")
}

pub(super) fn readyz() -> Operation {
    health(
        "readyz",
        "A worker is ready and the server is not shutting down. A busy pool is ready.",
        "No worker is ready, or the server is shutting down.",
    )
}

pub(super) fn metrics() -> Operation {
    Operation::new("metrics", "Metrics of the whole pool.", (200, "OpenMetrics text.", OPENMETRICS, text))
}

pub(super) fn workers() -> Operation {
    Operation::new("workers", "The pool and every worker.", (200, "A snapshot.", JSON, of::<Status>))
}

pub(super) fn watch() -> Operation {
    let mut operation = Operation::new(
        "watch",
        "The pool once a second, until the server has ended; after a quarter of an hour ask again.",
        (200, "A line for each snapshot; of each worker's recent requests the newest.", NDJSON, of::<Status>),
    );
    operation.errors = vec![(503, "All streams are taken, or the server has ended.")];
    operation
}

pub(super) fn stack() -> Operation {
    let mut operation =
        Operation::new("stack", "The stacks of one worker.", (200, "As the worker wrote them.", TEXT, text));
    operation.parameters.push(json!({
        "name": "slot",
        "in": "path",
        "required": true,
        "schema": {"type": "integer", "minimum": 0},
    }));
    operation.errors = vec![
        (404, "No worker in this slot."),
        (500, "The stacks could not be asked for or read."),
        (504, "The worker wrote nothing within 2 s."),
    ];
    operation
}

pub(super) fn scale_get() -> Operation {
    Operation::new("getScale", "Targets, bounds and the lease.", (200, "As of now.", JSON, of::<ScaleView>))
}

pub(super) fn scale_put() -> Operation {
    let mut operation = Operation::new(
        "putScale",
        "Sets an absolute target for a time. The same epoch and body again renews it.",
        (200, "Accepted; clamped says where bounds changed it.", JSON, of::<ScaleView>),
    );
    operation.body = Some(of::<ScaleRequest>);
    operation.errors = vec![
        (400, "Malformed JSON."),
        (408, "The body came too slowly."),
        (409, "The epoch is older than one accepted before, or was used with another body."),
        (413, "The body is too large."),
        (415, "The body is not declared as JSON."),
        (422, "A field is missing, unknown or out of bounds; errors names each."),
    ];
    operation
}

pub(super) fn ttin() -> Operation {
    Operation::new(
        "ttin",
        "One worker more, as the signal TTIN.",
        (200, "What happened.", JSON, of::<StepView>),
    )
}

pub(super) fn ttou() -> Operation {
    Operation::new(
        "ttou",
        "One worker less, as the signal TTOU.",
        (200, "What happened.", JSON, of::<StepView>),
    )
}

pub(super) fn reload() -> Operation {
    Operation::new(
        "reload",
        "Begins a reload, as the signal HUP. Its outcome is in reloads of GET /workers.",
        (202, "Begun.", JSON, of::<ReloadView>),
    )
}

pub(super) fn drain() -> Operation {
    Operation::new(
        "drain",
        "Begins to end the server, as the signal TERM: not ready from now on, every request is answered.",
        (202, "Begun, now or before.", JSON, of::<DrainView>),
    )
}

pub(super) fn config() -> Operation {
    Operation::new(
        "config",
        "The merged settings, each with its source.",
        (200, "The settings.", JSON, object),
    )
}

pub(super) fn document_operation() -> Operation {
    Operation::new("openapi", "This document.", (200, "OpenAPI 3.1.", JSON, object))
}

pub(super) fn page() -> Operation {
    let mut operation =
        Operation::new("page", "A live page for people.", (200, "HTML.", "text/html; charset=utf-8", text));
    operation.errors = vec![(403, "Not served on this address without a token.")];
    operation
}
