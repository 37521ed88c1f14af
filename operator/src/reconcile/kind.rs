//! The kinds of objects that an app is made of.

use kube::core::{ApiResource, GroupVersionKind};

/// In the order in which they are applied: what pods need comes before the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Secret,
    NetworkPolicy,
    Service,
    Job,
    Deployment,
    PodDisruptionBudget,
    Ingress,
    HttpRoute,
    PodMonitor,
}

impl Kind {
    /// Every cluster has them, and they are watched.
    pub(crate) const WATCHED: [Self; 7] = [
        Self::Secret,
        Self::NetworkPolicy,
        Self::Service,
        Self::Job,
        Self::Deployment,
        Self::PodDisruptionBudget,
        Self::Ingress,
    ];

    /// Not every cluster has them; they are listed now and then.
    pub(crate) const OPTIONAL: [Self; 2] = [Self::HttpRoute, Self::PodMonitor];

    pub(crate) fn as_str(self) -> &'static str {
        self.parts().2
    }

    pub(crate) fn api_version(self) -> String {
        let (group, version, ..) = self.parts();
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
    }

    pub(crate) fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = self.parts();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    fn parts(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Secret => ("", "v1", "Secret", "secrets"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::Job => ("batch", "v1", "Job", "jobs"),
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::PodDisruptionBudget => ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
            Self::Ingress => ("networking.k8s.io", "v1", "Ingress", "ingresses"),
            Self::HttpRoute => ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
            Self::PodMonitor => ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
        }
    }
}
