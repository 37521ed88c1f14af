//! The five steps, in their order.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use serde_json::{Value, json};

use super::apply::{Applier, Outcome};
use super::build::{Ingredients, build};
use super::dereference::Dereferenced;
use super::error::Error;
use super::events;
use super::memory::Memory;
use super::migration::Migration;
use super::names::{ROTATE_TOKEN, selector_text, token_secret};
use super::replicas::Replicas;
use super::requests::Requests;
use super::status::{Observed, status};
use super::{live, token, validate};
use crate::api::{Condition, ConditionStatus, GunicornApp, GunicornAppStatus, conditions};
use crate::controller::{AppKey, Context, resync};

/// Brings the cluster to what the app says, as far as it is not there yet.
pub(crate) async fn reconcile(
    app: &GunicornApp,
    context: &Context,
    memory: &mut Memory,
) -> Result<Action, Error> {
    let key = AppKey::of(app);
    memory.is_of(&app.uid().unwrap_or_default());
    if app.metadata.deletion_timestamp.is_some() {
        // What it owns goes with it, by the garbage collector.
        return Ok(Action::await_change());
    }
    let there = Dereferenced::of(&context.stores, &key);
    let requests = Requests { client: context.client.clone(), namespace: &key.namespace };
    let mut migration = Migration::Unwanted;
    let outcome = match bring_about(app, context, &key, &there, memory, &mut migration).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome { error: Some(error), ..Outcome::default() },
    };
    let told = tell(app, context, &key, &requests, memory, &outcome, &migration).await;
    match outcome.error {
        Some(error) => Err(error),
        None => told.map(|()| Action::requeue(resync())),
    }
}

/// Validates, builds, applies.
async fn bring_about(
    app: &GunicornApp,
    context: &Context,
    key: &AppKey,
    there: &Dereferenced,
    memory: &mut Memory,
    migration: &mut Migration,
) -> Result<Outcome, Error> {
    let validated = validate::validate(app)?;
    let asked = app.annotations().get(ROTATE_TOKEN).map(String::as_str);
    let secret = token::next(there.secret(&token_secret(&validated.name)), asked, token::random)
        .map_err(Error::Token)?;
    let live = there.deployment(&validated.name);
    let replicas = Replicas::of(&app.spec, there.hpa_on_deployment).applied(live);
    let resources = build(&validated, &Ingredients { secret, replicas })?;
    let wanted = resources.migration.as_ref().map(|job| job.name.as_str());
    *migration = Migration::of(wanted, &there.jobs(), live.and_then(|live| live.migrated.as_deref()));
    let applier = Applier {
        requests: Requests { client: context.client.clone(), namespace: &key.namespace },
        stores: &context.stores,
        metrics: &context.metrics,
        app: key,
        uid: &validated.uid,
    };
    let mut outcome = applier.all(resources, migration, there, memory).await;
    memory.settled.retain(|key, _| outcome.wanted.contains(key));
    if outcome.error.is_none() {
        applier.delete_orphans(there, migration, &mut outcome).await;
    }
    Ok(outcome)
}

/// Writes the status, and events of what has become another.
async fn tell(
    app: &GunicornApp,
    context: &Context,
    key: &AppKey,
    requests: &Requests<'_>,
    memory: &mut Memory,
    outcome: &Outcome,
    migration: &Migration,
) -> Result<(), Error> {
    // What has just been applied is in the caches.
    let there = Dereferenced::of(&context.stores, key);
    let previous = previous(app, memory);
    let next = status(&Observed {
        app,
        previous: &previous,
        deployment: there.deployment(&key.name),
        pods: there.pods,
        migration,
        missing: &outcome.missing,
        error: outcome.error.as_ref().filter(|error| error.is_told(memory.failures)),
        now: Time(Timestamp::now()),
    });
    if next == previous {
        return Ok(());
    }
    let version = requests.status(&key.name, &patch(&key.name, &next)?).await?;
    context.metrics.wrote("GunicornApp", "status");
    memory.status = Some((next.clone(), live::version(version.as_deref())));
    events::publish(&context.recorder, app, &events::between(&previous, &next)).await;
    Ok(())
}

/// The reconciler's part of the status as it is now. The cache may be older than what was written last.
fn previous(app: &GunicornApp, memory: &Memory) -> GunicornAppStatus {
    let cached = live::version(app.resource_version().as_deref());
    match &memory.status {
        Some((status, version)) if *version > cached => status.clone(),
        _ => ours(app.status.clone().unwrap_or_default()),
    }
}

/// Without the autoscaler's part.
fn ours(status: GunicornAppStatus) -> GunicornAppStatus {
    let mine = [conditions::READY, conditions::PROGRESSING, conditions::DEGRADED];
    // In the order in which they are made: the apiserver keeps that of the last write.
    let conditions = mine.iter().filter_map(|kind| status.condition(kind).cloned()).collect();
    GunicornAppStatus { workers: None, scaling: None, conditions, ..status }
}

fn patch(name: &str, status: &GunicornAppStatus) -> Result<Value, Error> {
    Ok(json!({
        "apiVersion": "podicorn.io/v1alpha1",
        "kind": "GunicornApp",
        "metadata": {"name": name},
        "status": serde_json::to_value(status)?,
    }))
}

/// Says of an object that cannot be read why, once for each reason. It keeps no other from being reconciled.
pub(crate) async fn reconcile_malformed(
    object: &InvalidObject,
    key: &AppKey,
    context: &Context,
    memory: &mut Memory,
) -> Result<Action, Error> {
    memory.is_of(object.metadata.uid.as_deref().unwrap_or_default());
    let error = Error::Malformed(format!("the operator cannot read this object: {}", object.error));
    if memory.malformed.as_deref() == Some(&object.error) {
        return Err(error);
    }
    let now = Time(Timestamp::now());
    let generation = object.metadata.generation;
    let condition = |kind, status| {
        Condition::new(kind, status, error.reason(), error.to_string(), generation, None, now.clone())
    };
    // The pods are still there, and an autoscaler may count them.
    let there = Dereferenced::of(&context.stores, key);
    let deployment = there.deployment(&key.name);
    let next = GunicornAppStatus {
        observed_generation: generation,
        replicas: deployment.map(|deployment| deployment.pods),
        ready_pods: deployment.map(|deployment| deployment.ready),
        selector: Some(selector_text(&key.name)),
        conditions: vec![
            condition(conditions::READY, ConditionStatus::False),
            condition(conditions::PROGRESSING, ConditionStatus::False),
            condition(conditions::DEGRADED, ConditionStatus::True),
        ],
        ..GunicornAppStatus::default()
    };
    let requests = Requests { client: context.client.clone(), namespace: &key.namespace };
    requests.status(&key.name, &patch(&key.name, &next)?).await?;
    context.metrics.wrote("GunicornApp", "status");
    memory.malformed = Some(object.error.clone());
    let mut stand_in =
        GunicornApp::new(&key.name, serde_json::from_value(json!({"image": "-", "app": "-"}))?);
    stand_in.metadata = object.metadata.clone();
    events::publish(&context.recorder, &stand_in, &events::between(&GunicornAppStatus::default(), &next))
        .await;
    Err(error)
}
