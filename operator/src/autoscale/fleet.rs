//! What the autoscaler is told of the cluster.
//!
//! Contract: a tick begins with one [`Fleet::apps`], which answers from memory.

use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};

use super::wishes::Wishes;
use crate::api::{GunicornApp, GunicornAppStatus};
use crate::pods::Tokens;

/// What is there to scale.
pub trait Fleet: Send + Sync + 'static {
    fn apps(&self) -> Vec<AppSeen>;
}

/// An app with what belongs to it.
#[derive(Debug, Clone)]
pub struct AppSeen {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub generation: Option<i64>,
    pub wishes: Wishes,
    /// As it was last read: what a former leader has written.
    pub status: Option<GunicornAppStatus>,
    /// By name.
    pub pods: Vec<PodSeen>,
    /// Of the Deployment; absent while there is none.
    pub replicas: Option<u32>,
    pub tokens: Option<Arc<Tokens>>,
    /// `HorizontalPodAutoscalers` that target the app or its Deployment.
    pub hpas: Vec<String>,
}

impl AppSeen {
    /// The app alone.
    pub fn of(app: &GunicornApp) -> Self {
        Self {
            namespace: app.namespace().unwrap_or_default(),
            name: app.name_any(),
            uid: app.uid().unwrap_or_default(),
            generation: app.meta().generation,
            wishes: Wishes::of(&app.spec),
            status: app.status.clone(),
            pods: Vec::new(),
            replicas: None,
            tokens: None,
            hpas: Vec::new(),
        }
    }

    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(GunicornApp::api_version(&()).into_owned()),
            kind: Some(GunicornApp::kind(&()).into_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

/// A pod that is not on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSeen {
    pub name: String,
    pub uid: String,
    /// Of its admin API, once it has an address.
    pub address: Option<SocketAddr>,
    pub ready: bool,
}

impl PodSeen {
    /// Whether it can be asked.
    pub fn serves(&self) -> bool {
        self.ready && self.address.is_some()
    }
}

#[cfg(test)]
mod tests;
