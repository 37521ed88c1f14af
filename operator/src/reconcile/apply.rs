//! Writes what differs.
//!
//! Contract: an object is written when something else is wanted than was settled last, or when it is not what it was and does
//! not hold what is wanted. What belongs to something else is never touched. One that fails does not keep the others from
//! being written, but pods are made only when all that they need is there.

use std::sync::Arc;

use serde_json::Value;

use super::build::{Object, Resources};
use super::contains::object_contains;
use super::dereference::Dereferenced;
use super::error::{Error, code};
use super::fingerprint;
use super::memory::{Memory, Settled};
use super::migration::Migration;
use super::names::APPLIED;
use super::requests::Requests;
use super::{Kind, Live};
use crate::controller::{AppKey, Metrics, Stores};

/// With what objects are applied.
pub(crate) struct Applier<'a> {
    pub(crate) requests: Requests<'a>,
    pub(crate) stores: &'a Stores,
    pub(crate) metrics: &'a Metrics,
    pub(crate) app: &'a AppKey,
    pub(crate) uid: &'a str,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What should be there, and is no orphan.
    pub(crate) wanted: Vec<(Kind, String)>,
    /// Kinds that the cluster does not have.
    pub(crate) missing: Vec<Kind>,
    /// The first thing that went wrong.
    pub(crate) error: Option<Error>,
    /// Something that pods need is not there.
    pub(crate) held: bool,
}

impl Applier<'_> {
    /// Applies all of an app; the Deployment only as far as the migration lets it.
    pub(crate) async fn all(
        &self,
        resources: Resources,
        migration: &Migration,
        there: &Dereferenced,
        memory: &mut Memory,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        // Without `..`: a field that is added and not applied does not compile.
        let Resources {
            secret,
            network_policy,
            service,
            migration: job,
            deployment,
            disruption,
            ingress,
            http_route,
            pod_monitor,
        } = resources;
        let around = [Some(secret), network_policy, service, disruption, ingress, http_route, pod_monitor];
        self.together(around.into_iter().flatten().collect(), there, memory, &mut outcome).await;
        if let Some(job) = job {
            if matches!(migration, Migration::Start { .. }) && !outcome.held {
                self.together(vec![job], there, memory, &mut outcome).await;
            } else {
                outcome.wanted.push((Kind::Job, job.name));
            }
        }
        if !migration.lets_pass() {
            self.only_replicas(&deployment, there, &mut outcome).await;
        } else if outcome.held {
            outcome.wanted.push((Kind::Deployment, deployment.name));
        } else {
            self.together(vec![deployment], there, memory, &mut outcome).await;
        }
        outcome
    }

    /// Applies objects that do not need each other.
    async fn together(
        &self,
        objects: Vec<Object>,
        there: &Dereferenced,
        memory: &mut Memory,
        outcome: &mut Outcome,
    ) {
        let keys: Vec<(Kind, String)> =
            objects.iter().map(|object| (object.kind, object.name.clone())).collect();
        let attempts = objects.into_iter().map(|object| {
            let live = there.get(object.kind, &object.name);
            let settled = memory.settled.get(&(object.kind, object.name.clone())).copied();
            self.apply(object, live, settled)
        });
        let results = futures::future::join_all(attempts).await;
        for (key, result) in keys.into_iter().zip(results) {
            outcome.wanted.push(key.clone());
            match result {
                Ok(settled) => {
                    memory.settled.insert(key, settled);
                }
                Err(Error::Request { source, .. })
                    if Kind::OPTIONAL.contains(&key.0) && code(&source) == Some(404) =>
                {
                    outcome.missing.push(key.0);
                }
                Err(error) => {
                    outcome.held |= matches!(key.0, Kind::Secret | Kind::NetworkPolicy | Kind::Service);
                    outcome.error.get_or_insert(error);
                }
            }
        }
    }

    /// Writes an object, if that is needed.
    async fn apply(
        &self,
        object: Object,
        live: Option<&Arc<Live>>,
        settled: Option<Settled>,
    ) -> Result<Settled, Error> {
        let Object { kind, name, mut content } = object;
        let wanted = fingerprint::hash(&content);
        mark(&mut content, wanted);
        match live {
            None => self.is_free(kind, &name).await?,
            Some(live) => {
                if live.deleting {
                    return Err(Error::BeingDeleted { kind: kind.as_str(), name });
                }
                if live.controller.as_deref() != Some(self.uid) {
                    return Err(Error::NameTaken { kind: kind.as_str(), name });
                }
                let now = Settled { wanted, live: live.fingerprint };
                if settled == Some(now) {
                    return Ok(now);
                }
                if live.applied == Some(wanted)
                    && live.body().is_some_and(|body| object_contains(&body, &content))
                {
                    self.stores.compared(self.app, kind, &name, live.fingerprint);
                    return Ok(now);
                }
            }
        }
        let answer = self.requests.apply(kind, &name, &content).await?;
        self.metrics.wrote(kind.as_str(), "apply");
        tracing::info!(kind = kind.as_str(), object = name, "applied");
        // What is applied bears the label of its app.
        let fingerprint = Live::of(kind, &answer).map_or(0, |(_, live)| {
            let fingerprint = live.fingerprint;
            self.stores.put(self.app, kind, &name, Live { body: None, ..live });
            fingerprint
        });
        Ok(Settled { wanted, live: fingerprint })
    }

    /// The caches hold only what bears the operator's label: an object without it must not be taken over.
    async fn is_free(&self, kind: Kind, name: &str) -> Result<(), Error> {
        let Some(found) = self.requests.find(kind, name).await? else { return Ok(()) };
        let owners = found.metadata.owner_references.as_deref().unwrap_or_default();
        if super::live::controller(owners).as_deref() == Some(self.uid) {
            return Ok(());
        }
        Err(Error::NameTaken { kind: kind.as_str(), name: name.to_owned() })
    }

    /// While a rollout waits, the old pods still follow the number that is wanted.
    async fn only_replicas(&self, deployment: &Object, there: &Dereferenced, outcome: &mut Outcome) {
        outcome.wanted.push((Kind::Deployment, deployment.name.clone()));
        let wanted = deployment.content.pointer("/spec/replicas").and_then(Value::as_u64);
        let wanted = wanted.and_then(|wanted| u32::try_from(wanted).ok());
        let (Some(wanted), Some(live)) = (wanted, there.deployment(&deployment.name)) else { return };
        if live.wanted == Some(wanted) {
            return;
        }
        match self.requests.scale(&deployment.name, wanted).await {
            Ok(()) => {
                self.metrics.wrote(Kind::Deployment.as_str(), "scale");
            }
            Err(error) => {
                outcome.error.get_or_insert(error);
            }
        }
    }
}

/// Notes on the object what was wanted of it.
fn mark(content: &mut Value, hash: u64) {
    if let Some(metadata) = content.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.entry("annotations").or_insert_with(|| serde_json::json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(APPLIED.to_owned(), format!("{hash:016x}").into());
        }
    }
}
