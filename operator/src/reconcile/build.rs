//! Makes every object that an app should have.
//!
//! Contract: pure; one kind of object a file. [`Resources`] has a field for each kind, so that one that is added and not
//! applied does not compile.

mod deployment;
mod disruption;
mod http_route;
mod ingress;
mod migration;
mod network_policy;
mod pod_monitor;
mod pod_template;
mod secret;
mod service;

use serde_json::{Value, json};

use super::Kind;
use super::live::SecretFacts;
use super::names;
use super::validate::{Invalid, Validated};

/// What goes into the objects besides the spec.
#[derive(Debug, Clone)]
pub(crate) struct Ingredients {
    pub(crate) secret: SecretFacts,
    /// Of the Deployment; none: another says it.
    pub(crate) replicas: Option<u32>,
}

/// An object as it is applied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) content: Value,
}

#[derive(Debug)]
pub(crate) struct Resources {
    pub(crate) secret: Object,
    pub(crate) network_policy: Option<Object>,
    pub(crate) service: Option<Object>,
    pub(crate) migration: Option<Object>,
    pub(crate) deployment: Object,
    pub(crate) disruption: Option<Object>,
    pub(crate) ingress: Option<Object>,
    pub(crate) http_route: Option<Object>,
    pub(crate) pod_monitor: Option<Object>,
}

pub(crate) fn build(app: &Validated<'_>, ingredients: &Ingredients) -> Result<Resources, Invalid> {
    let template = pod_template::build(app)?;
    let migration = migration::build(app, &template);
    let deployment = deployment::build(app, &template, ingredients.replicas, migration.as_ref());
    Ok(Resources {
        secret: secret::build(app, &ingredients.secret),
        network_policy: network_policy::build(app),
        service: service::build(app),
        migration,
        deployment,
        disruption: disruption::build(app),
        ingress: ingress::build(app),
        http_route: http_route::build(app),
        pod_monitor: pod_monitor::build(app),
    })
}

/// An object with the labels and the owner that all have.
fn object(app: &Validated<'_>, kind: Kind, name: String, more: &Value) -> Object {
    let mut content = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.as_str(),
        "metadata": {
            "name": name,
            "namespace": app.namespace,
            "labels": names::labels(&app.name, &app.uid),
            "ownerReferences": [{
                "apiVersion": "podicorn.io/v1alpha1",
                "kind": "GunicornApp",
                "name": app.name,
                "uid": app.uid,
                "controller": true,
                "blockOwnerDeletion": false,
            }],
        },
    });
    super::merge::merge(&mut content, more);
    Object { kind, name, content }
}
