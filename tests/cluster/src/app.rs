//! A `GunicornApp` of a test, and what has become of it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use podicorn_admin_api::ScaleView;
use podicorn_operator::api::{Condition, ConditionStatus, GunicornApp, GunicornAppStatus};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::BedError;
use crate::http;
use crate::wait::{PATIENCE, eventually};

#[derive(Clone)]
pub struct App {
    client: Client,
    pub namespace: String,
    pub name: String,
}

impl std::fmt::Debug for App {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "App({}/{})", self.namespace, self.name)
    }
}

impl App {
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The objects of a kind in the app's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn get(&self) -> Result<GunicornApp, BedError> {
        Ok(self.api::<GunicornApp>().get(&self.name).await?)
    }

    /// Merges into the app, as `kubectl patch --type=merge` does.
    pub async fn patch(&self, patch: Value) -> Result<GunicornApp, BedError> {
        let api = self.api::<GunicornApp>();
        Ok(api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    pub async fn delete(&self) -> Result<(), BedError> {
        self.api::<GunicornApp>().delete(&self.name, &DeleteParams::background()).await?;
        Ok(())
    }

    /// Waits until the status is as wanted.
    pub async fn until(
        &self,
        what: &str,
        holds: impl Fn(&GunicornAppStatus) -> bool,
    ) -> Result<GunicornApp, BedError> {
        self.until_within(what, PATIENCE, holds).await
    }

    pub async fn until_within(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&GunicornAppStatus) -> bool,
    ) -> Result<GunicornApp, BedError> {
        eventually(&format!("{}: {what}", self.name), limit, async || {
            let app = self.get().await.map_err(|error| error.to_string())?;
            let status = app.status.clone().unwrap_or_default();
            if holds(&status) { Ok(app) } else { Err(serde_json::to_string(&status).unwrap_or_default()) }
        })
        .await
    }

    /// Waits for a condition about the present spec; an empty reason is any.
    pub async fn condition(&self, kind: &str, holds: bool, reason: &str) -> Result<Condition, BedError> {
        let wanted = if holds { ConditionStatus::True } else { ConditionStatus::False };
        eventually(&format!("{}: {kind} is {holds} {reason}", self.name), PATIENCE, async || {
            let app = self.get().await.map_err(|error| error.to_string())?;
            let status = app.status.clone().unwrap_or_default();
            status
                .condition(kind)
                .filter(|it| it.status == wanted && (reason.is_empty() || it.reason == reason))
                .filter(|it| it.observed_generation == app.metadata.generation)
                .cloned()
                .ok_or_else(|| serde_json::to_string(&status).unwrap_or_default())
        })
        .await
    }

    pub async fn ready(&self) -> Result<Condition, BedError> {
        self.condition("Ready", true, "").await
    }

    /// Its pods that are ready and not about to go.
    pub async fn pods(&self) -> Result<Vec<Pod>, BedError> {
        let list = ListParams::default().labels(&format!("app.kubernetes.io/name={}", self.name));
        let pods = self.api::<Pod>().list(&list).await?.items;
        let ready = |pod: &Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
                && pod.metadata.deletion_timestamp.is_none()
        };
        Ok(pods.into_iter().filter(ready).collect())
    }

    /// Where its ready pods serve.
    pub async fn addresses(&self) -> Result<Vec<String>, BedError> {
        Ok(self.pods().await?.iter().map(|pod| format!("http://{}:8000", address(pod))).collect())
    }

    /// Waits until so many pods are ready.
    pub async fn pods_ready(&self, count: usize) -> Result<Vec<Pod>, BedError> {
        eventually(&format!("{}: {count} ready pods", self.name), PATIENCE, async || {
            let pods = self.pods().await.map_err(|error| error.to_string())?;
            if pods.len() == count { Ok(pods) } else { Err(format!("{} pods", pods.len())) }
        })
        .await
    }

    /// The admin token.
    pub async fn token(&self) -> Result<String, BedError> {
        let secret = self.api::<Secret>().get(&format!("{}-admin", self.name)).await?;
        let data = secret.data.unwrap_or_default();
        let token = data.get("token").map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
        token.ok_or_else(|| BedError::Unexpected("the Secret has no token".to_owned()))
    }

    /// What a pod's admin API says of its scale.
    pub async fn scale_of(&self, pod: &Pod) -> Result<ScaleView, BedError> {
        let url = format!("http://{}:9099/scale", address(pod));
        let answer = http::request(hyper::Method::GET, &url, Some(&self.token().await?), "").await?;
        serde_json::from_slice(&answer.body).map_err(|_| BedError::Http(format!("{url}: {}", answer.text())))
    }

    /// Events about it: reason and note.
    pub async fn events(&self) -> Result<Vec<(String, String)>, BedError> {
        let events = self.api::<Event>().list(&ListParams::default()).await?;
        let about = |event: &Event| {
            let regarding = event.regarding.as_ref().and_then(|regarding| regarding.name.as_ref());
            regarding == Some(&self.name)
        };
        let text = |text: Option<String>| text.unwrap_or_default();
        let events = events.items.into_iter().filter(about);
        Ok(events.map(|event| (text(event.reason), text(event.note))).collect())
    }

    /// Waits for an event.
    pub async fn event(&self, reason: &str) -> Result<String, BedError> {
        eventually(&format!("{}: an event {reason}", self.name), PATIENCE, async || {
            let events = self.events().await.map_err(|error| error.to_string())?;
            let found = events.iter().find(|(of, _)| of == reason);
            found.map(|(_, note)| note.clone()).ok_or_else(|| format!("{events:?}"))
        })
        .await
    }

    /// Waits until an object of that name is there.
    pub async fn object<K>(&self, name: &str) -> Result<K, BedError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api = self.api::<K>();
        eventually(&format!("the {} {name}", K::kind(&())), PATIENCE, async || api.get(name).await).await
    }

    /// Waits until it is not there.
    pub async fn gone<K>(&self, name: &str) -> Result<(), BedError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api = self.api::<K>();
        eventually(&format!("no {} {name}", K::kind(&())), PATIENCE, async || match api.get_opt(name).await {
            Ok(None) => Ok(()),
            Ok(Some(object)) => Err(format!("there is {}", object.name_any())),
            Err(error) => Err(error.to_string()),
        })
        .await
    }
}

/// The pod's address; empty where it has none yet.
pub fn address(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default()
}
