//! What the autoscaler is told of the cluster.
//!
//! Contract: a tick begins with one [`Fleet::apps`], which answers from memory. [`group`] makes the answer out of what
//! watches have seen, in one pass over each kind, whatever the number of apps.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Secret};
use kube::{Resource, ResourceExt};

use super::wishes::Wishes;
use crate::api::{GunicornApp, GunicornAppStatus};
use crate::pods::{Token, Tokens};

/// The label by which the pods of an app are found.
pub const APP_LABEL: &str = "podicorn.io/app";
/// Of the Secret with the app's token.
pub const TOKEN_SUFFIX: &str = "-admin";
const TOKEN_KEY: &str = "token";
const PREVIOUS_KEY: &str = "previous";

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
    /// None: it is being deleted or has ended.
    pub fn of(pod: &Pod, admin_port: u16) -> Option<Self> {
        let status = pod.status.as_ref();
        let ended = status
            .and_then(|status| status.phase.as_deref())
            .is_some_and(|phase| phase == "Succeeded" || phase == "Failed");
        if ended || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let address = status
            .and_then(|status| status.pod_ip.as_deref())
            .and_then(|address| address.parse::<IpAddr>().ok())
            .map(|address| SocketAddr::new(address, admin_port));
        let ready = status.and_then(|status| status.conditions.as_ref()).is_some_and(|conditions| {
            conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True")
        });
        Some(Self { name: pod.name_any(), uid: pod.uid().unwrap_or_default(), address, ready })
    }

    /// Whether it can be asked.
    pub fn serves(&self) -> bool {
        self.ready && self.address.is_some()
    }
}

type Key = (String, String);

/// Puts together what belongs together.
pub fn group(
    apps: &[Arc<GunicornApp>],
    pods: &[Arc<Pod>],
    deployments: &[Arc<Deployment>],
    secrets: &[Arc<Secret>],
    hpas: &[Arc<HorizontalPodAutoscaler>],
) -> Vec<AppSeen> {
    let live = apps.iter().filter(|app| app.meta().deletion_timestamp.is_none());
    let mut seen: Vec<AppSeen> = live.map(|app| AppSeen::of(app)).collect();
    let places: HashMap<Key, usize> = seen
        .iter()
        .enumerate()
        .map(|(place, app)| ((app.namespace.clone(), app.name.clone()), place))
        .collect();
    let place = |namespace: Option<String>, name: &str| {
        places.get(&(namespace.unwrap_or_default(), name.to_owned())).copied()
    };
    for pod in pods {
        let app = pod.labels().get(APP_LABEL).and_then(|name| place(pod.namespace(), name));
        if let Some(app) = app.map(|place| &mut seen[place]) {
            app.pods.extend(PodSeen::of(pod, app.wishes.admin_port));
        }
    }
    for deployment in deployments {
        if let Some(place) = place(deployment.namespace(), &deployment.name_any()) {
            let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
            seen[place].replicas = Some(u32::try_from(replicas).unwrap_or(0));
        }
    }
    for secret in secrets {
        let name = secret.name_any();
        let app = name.strip_suffix(TOKEN_SUFFIX).and_then(|app| place(secret.namespace(), app));
        if let Some(place) = app {
            seen[place].tokens = tokens(secret).map(Arc::new);
        }
    }
    for hpa in hpas {
        let Some(target) = hpa.spec.as_ref().map(|spec| &spec.scale_target_ref) else { continue };
        let ours = target.kind == "Deployment" || target.kind == GunicornApp::kind(&());
        if let Some(place) = place(hpa.namespace(), &target.name).filter(|_| ours) {
            seen[place].hpas.push(hpa.name_any());
        }
    }
    let mut uids = HashSet::new();
    seen.retain(|app| uids.insert(app.uid.clone()));
    for app in &mut seen {
        app.pods.sort_by(|a, b| a.name.cmp(&b.name));
        app.hpas.sort();
    }
    seen
}

fn tokens(secret: &Secret) -> Option<Tokens> {
    let token = |key| {
        let bytes = &secret.data.as_ref()?.get(key)?.0;
        Token::new(std::str::from_utf8(bytes).ok()?).ok()
    };
    Some(Tokens::new(token(TOKEN_KEY)?, token(PREVIOUS_KEY)))
}

#[cfg(test)]
mod tests;
