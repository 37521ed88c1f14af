//! The stand-in: one namespace, no validation, server-side apply as a merge.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::reconcile::Kind;

#[derive(Debug, Clone, Default)]
pub(super) struct Apiserver(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<(Kind, String), Value>,
    refused: BTreeMap<Kind, u16>,
    status: Value,
    version: u64,
    writes: Vec<String>,
}

impl Apiserver {
    pub(super) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                let query = parts.uri.query().unwrap_or_default();
                let (code, answer) = server.answer(&parts.method, parts.uri.path(), query, &body);
                let answer = Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, Infallible>(Response::builder().status(code).body(answer).unwrap())
            }
        });
        Client::new(service, "prod")
    }

    pub(super) fn objects(&self) -> Vec<(Kind, Value)> {
        let state = self.0.lock().unwrap();
        state.objects.iter().map(|((kind, _), object)| (*kind, object.clone())).collect()
    }

    /// The status as it was written, and its version.
    pub(super) fn status(&self) -> (Value, String) {
        let state = self.0.lock().unwrap();
        (state.status.clone(), state.version.to_string())
    }

    pub(super) fn take_writes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().writes)
    }

    pub(super) fn refuse(&self, kind: Kind, code: u16) {
        self.0.lock().unwrap().refused.insert(kind, code);
    }

    pub(super) fn add(&self, kind: Kind, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.0.lock().unwrap().objects.insert((kind, name), object);
    }

    /// As somebody else would, of the only object of a kind.
    pub(super) fn change(&self, kind: Kind, change: impl Fn(&mut Value)) {
        let mut state = self.0.lock().unwrap();
        state.version += 1;
        let version = state.version.to_string();
        for ((_, _), object) in state.objects.iter_mut().filter(|((of, _), _)| *of == kind) {
            change(object);
            object["metadata"]["resourceVersion"] = version.clone().into();
        }
    }

    fn answer(&self, method: &Method, path: &str, query: &str, body: &Value) -> (u16, Value) {
        let mut state = self.0.lock().unwrap();
        let parts: Vec<&str> = path.split('/').collect();
        let place = parts.iter().position(|part| *part == "namespaces").unwrap();
        let (plural, rest) = (parts[place + 2], &parts[place + 3..]);
        if plural == "events" {
            state.writes.push(format!("event {}", body["reason"].as_str().unwrap_or_default()));
            return (201, body.clone());
        }
        if plural == "gunicornapps" {
            state.writes.push(format!("status {}", rest[0]));
            state.status = body["status"].clone();
            state.version += 1;
            let version = state.version.to_string();
            return (200, json!({"metadata": {"name": rest[0], "resourceVersion": version}}));
        }
        let kinds = Kind::WATCHED.into_iter().chain(Kind::OPTIONAL);
        let kind = kinds.into_iter().find(|kind| kind.resource().plural == plural).unwrap();
        if let Some(code) = state.refused.get(&kind) {
            return (
                *code,
                json!({"kind": "Status", "status": "Failure", "message": "refused", "reason": "x", "code": code}),
            );
        }
        match (method.as_str(), rest) {
            ("GET", []) => {
                let named = |name: &str| query.contains(&format!("metadata.name%3D{name}"));
                let found = state.objects.iter().filter(|((of, name), _)| *of == kind && named(name));
                let items: Vec<&Value> = found.map(|(_, object)| object).collect();
                (200, json!({"metadata": {}, "items": items}))
            }
            ("PATCH", [name, "scale"]) => {
                let replicas = body["spec"]["replicas"].clone();
                state.writes.push(format!("scale {name} {replicas}"));
                state.objects.get_mut(&(kind, (*name).to_owned())).unwrap()["spec"]["replicas"] = replicas;
                (200, json!({"metadata": {"name": name}}))
            }
            ("PATCH", [name]) => {
                state.writes.push(format!("apply {} {name}", kind.as_str()));
                state.version += 1;
                let mut object = body.clone();
                object["metadata"]["uid"] = format!("{plural}-{name}").into();
                object["metadata"]["resourceVersion"] = state.version.to_string().into();
                state.objects.insert((kind, (*name).to_owned()), object.clone());
                (200, object)
            }
            ("DELETE", [name]) => {
                assert!(body["preconditions"]["uid"].is_string(), "a delete names the uid");
                state.writes.push(format!("delete {} {name}", kind.as_str()));
                let object = state.objects.remove(&(kind, (*name).to_owned())).unwrap();
                (200, object)
            }
            other => panic!("{other:?} is no request of the reconciler"),
        }
    }
}
