//! What the autoscaler is told of the cluster.
//!
//! Contract: a tick begins with one [`Fleet::apps`], which answers from memory.

use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};

use super::wishes::Wishes;
use crate::api::{GunicornApp, GunicornAppStatus};
use crate::controller::{AppKey, PodFacts, Stores};
use crate::pods::{Token, Tokens};
use crate::reconcile;

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
    /// None: it is being deleted.
    pub fn of(facts: &PodFacts) -> Option<Self> {
        let PodFacts { name, uid, address, admin_port, ready, ending, .. } = facts;
        let address = address.map(|address| SocketAddr::new(address, *admin_port));
        (!ending).then(|| Self { name: name.clone(), uid: uid.clone(), address, ready: *ready })
    }

    /// Whether it can be asked.
    pub fn serves(&self) -> bool {
        self.ready && self.address.is_some()
    }
}

impl Fleet for Arc<Stores> {
    fn apps(&self) -> Vec<AppSeen> {
        let apps = Stores::apps(self);
        let readable = apps.iter().filter_map(|app| app.0.as_ref().ok());
        let live = readable.filter(|app| app.meta().deletion_timestamp.is_none());
        live.map(|app| {
            let key = AppKey::of(app);
            let mut hpas: Vec<String> = self.hpas_of(&key).into_iter().map(|hpa| hpa.name).collect();
            hpas.sort();
            AppSeen {
                pods: self.pods_of(&key).iter().filter_map(PodSeen::of).collect(),
                replicas: self.deployment_replicas(&key),
                tokens: self.tokens(&key).as_ref().and_then(tokens).map(Arc::new),
                hpas,
                ..AppSeen::of(app)
            }
        })
        .collect()
    }
}

fn tokens(texts: &reconcile::Tokens) -> Option<Tokens> {
    let current = Token::new(&texts.current).ok().filter(|_| !texts.current.is_empty())?;
    let previous = texts.previous.as_deref().and_then(|previous| Token::new(previous).ok());
    Some(Tokens::new(current, previous))
}

#[cfg(test)]
mod tests;
