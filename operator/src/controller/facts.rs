//! What is remembered of pods and of other autoscalers.

use std::net::IpAddr;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ContainerPort, ContainerStatus, Pod};

use crate::reconcile::APP_LABEL;

const CONTAINER: &str = "web";

/// A pod of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    pub name: String,
    pub uid: String,
    pub address: Option<IpAddr>,
    pub admin_port: u16,
    /// Its readiness probe succeeds.
    pub ready: bool,
    /// It has been told to end.
    pub ending: bool,
    /// It does not serve, and not because it has yet to start.
    pub broken: bool,
}

impl PodFacts {
    /// The facts, and the app's name; none: it is no pod of an app.
    pub(super) fn of(pod: &Pod) -> Option<(String, Self)> {
        let app = pod.metadata.labels.as_ref()?.get(APP_LABEL)?.clone();
        let status = pod.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let ready =
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
        let began = |status: &ContainerStatus| status.restart_count > 0 || status.started == Some(true);
        let web =
            pod.spec.iter().flat_map(|spec| &spec.containers).find(|container| container.name == CONTAINER);
        let ports = web.and_then(|web| web.ports.as_deref()).unwrap_or_default();
        let admin = ports.iter().find(|port: &&ContainerPort| port.name.as_deref() == Some("admin"));
        let facts = Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            address: status.and_then(|status| status.pod_ip.as_deref()).and_then(|text| text.parse().ok()),
            admin_port: admin.and_then(|port| u16::try_from(port.container_port).ok()).unwrap_or(9099),
            ready,
            ending: pod.metadata.deletion_timestamp.is_some(),
            broken: !ready && containers.iter().any(began),
        };
        Some((app, facts))
    }
}

/// The pods of an app, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PodsSummary {
    pub ready: u32,
    pub broken: u32,
}

impl PodsSummary {
    pub(super) fn of<'a>(pods: impl Iterator<Item = &'a PodFacts>) -> Self {
        pods.filter(|pod| !pod.ending).fold(Self::default(), |all, pod| Self {
            ready: all.ready + u32::from(pod.ready),
            broken: all.broken + u32::from(pod.broken),
        })
    }
}

/// What a horizontal pod autoscaler scales of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HpaTarget {
    /// The app, through its scale subresource.
    App,
    /// The app's Deployment.
    Deployment,
}

/// A horizontal pod autoscaler that scales an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HpaFacts {
    pub name: String,
    pub target: HpaTarget,
}

impl HpaFacts {
    /// The facts, and the app's name; none: it scales something else.
    pub(super) fn of(hpa: &HorizontalPodAutoscaler) -> Option<(String, Self)> {
        let target = &hpa.spec.as_ref()?.scale_target_ref;
        let group =
            target.api_version.as_deref().and_then(|text| text.split_once('/')).map(|(group, _)| group);
        let kind = match (group, target.kind.as_str()) {
            (Some("apps"), "Deployment") => HpaTarget::Deployment,
            (Some(crate::api::GROUP), "GunicornApp") => HpaTarget::App,
            _ => return None,
        };
        Some((
            target.name.clone(),
            Self { name: hpa.metadata.name.clone().unwrap_or_default(), target: kind },
        ))
    }
}
