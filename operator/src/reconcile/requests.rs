//! Requests to the apiserver, each with a limit to its time.

use std::time::Duration;

use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::error::Error;
use super::kind::Kind;
use super::names::MANAGER;
use crate::api::GunicornApp;

/// Long enough for an apiserver that is told to wait and is asked again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The objects of one app are all in one namespace.
#[derive(Clone)]
pub(crate) struct Requests<'a> {
    pub(crate) client: Client,
    pub(crate) namespace: &'a str,
}

impl Requests<'_> {
    fn objects(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.namespace, &kind.resource())
    }

    /// Server-side apply.
    pub(crate) async fn apply(&self, kind: Kind, name: &str, wanted: &Value) -> Result<DynamicObject, Error> {
        let (api, params) = (self.objects(kind), PatchParams::apply(MANAGER).force());
        timed("apply", kind.as_str(), name, api.patch(name, &params, &Patch::Apply(wanted))).await
    }

    /// Deletes what has that uid; what is gone already is as good.
    pub(crate) async fn delete(&self, kind: Kind, name: &str, uid: &str) -> Result<(), Error> {
        let api = self.objects(kind);
        let preconditions = Preconditions { uid: Some(uid.to_owned()), ..Preconditions::default() };
        let params = DeleteParams::background().preconditions(preconditions);
        match timed("delete", kind.as_str(), name, api.delete(name, &params)).await {
            Err(Error::Request { source, .. }) if matches!(super::error::code(&source), Some(404 | 409)) => {
                Ok(())
            }
            other => other.map(|_| ()),
        }
    }

    /// The object of that name, whoever made it. By a list, because reading single ones is no right of the operator.
    pub(crate) async fn find(&self, kind: Kind, name: &str) -> Result<Option<DynamicObject>, Error> {
        let api = self.objects(kind);
        let params = ListParams::default().fields(&format!("metadata.name={name}"));
        let found = timed("look for", kind.as_str(), name, api.list(&params)).await?;
        Ok(found.items.into_iter().find(|object| object.name_any() == name))
    }

    /// How many pods a Deployment is to have, and nothing else of it.
    pub(crate) async fn scale(&self, name: &str, replicas: u32) -> Result<(), Error> {
        let api: Api<k8s_openapi::api::apps::v1::Deployment> =
            Api::namespaced(self.client.clone(), self.namespace);
        let wanted = serde_json::json!({
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": name},
            "spec": {"replicas": replicas},
        });
        let params = PatchParams::apply(MANAGER).force();
        timed("scale", "Deployment", name, api.patch_scale(name, &params, &Patch::Apply(wanted)))
            .await
            .map(|_| ())
    }

    /// Writes the reconciler's part of the status; the version that this has made.
    pub(crate) async fn status(&self, name: &str, status: &Value) -> Result<Option<String>, Error> {
        let api: Api<PartialObjectMeta<GunicornApp>> = Api::namespaced(self.client.clone(), self.namespace);
        let params = PatchParams::apply(MANAGER).force();
        let answer = timed(
            "write the status of",
            "GunicornApp",
            name,
            api.patch_status(name, &params, &Patch::Apply(status)),
        )
        .await?;
        Ok(answer.metadata.resource_version)
    }
}

async fn timed<T>(
    verb: &'static str,
    kind: &'static str,
    name: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => {
            Err(Error::Request { verb, kind, name: name.to_owned(), source: Box::new(source) })
        }
        Err(_) => Err(Error::NoAnswer { verb, kind, name: name.to_owned() }),
    }
}
