//! What the app refers to, as the caches have it.
//!
//! Contract: no request is made. The caches were read once before the first reconcile.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::live::{DeploymentFacts, JobState, SecretFacts};
use super::{Kind, Live};
use crate::controller::{AppKey, HpaTarget, PodsSummary, Stores};

/// What is there of an app.
#[derive(Debug, Default)]
pub(crate) struct Dereferenced {
    pub(crate) children: BTreeMap<(Kind, String), Arc<Live>>,
    pub(crate) pods: PodsSummary,
    /// A horizontal pod autoscaler scales the Deployment.
    pub(crate) hpa_on_deployment: bool,
}

impl Dereferenced {
    pub(crate) fn of(stores: &Stores, key: &AppKey) -> Self {
        Self {
            children: stores.children(key),
            pods: stores.summary(key),
            hpa_on_deployment: stores.hpas_of(key).iter().any(|hpa| hpa.target == HpaTarget::Deployment),
        }
    }

    pub(crate) fn get(&self, kind: Kind, name: &str) -> Option<&Arc<Live>> {
        self.children.get(&(kind, name.to_owned()))
    }

    pub(crate) fn deployment(&self, name: &str) -> Option<&DeploymentFacts> {
        self.get(Kind::Deployment, name)?.deployment()
    }

    pub(crate) fn secret(&self, name: &str) -> Option<&SecretFacts> {
        self.get(Kind::Secret, name)?.secret()
    }

    pub(crate) fn jobs(&self) -> BTreeMap<String, JobState> {
        let jobs = self.children.iter().filter(|((kind, _), _)| *kind == Kind::Job);
        jobs.filter_map(|((_, name), live)| Some((name.clone(), live.job()?.clone()))).collect()
    }
}
