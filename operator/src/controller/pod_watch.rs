//! Hears of the pods of apps.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::watcher::Config;

use super::facts::PodFacts;
use super::follow::{self, Listener, Place, within};
use super::{AppKey, Context, Queue, Scope};
use crate::reconcile::APP_LABEL;

struct Pods {
    context: Arc<Context>,
    namespace: Option<String>,
    queue: Queue,
}

pub(super) async fn run(context: Arc<Context>, scope: Scope, queue: Queue) -> &'static str {
    let apis = scope.apis::<Pod>(&context.client);
    let config = Config::default().labels(APP_LABEL);
    let listener = |namespace| Pods { context: Arc::clone(&context), namespace, queue: queue.clone() };
    follow::all(&context, apis, config, super::stores::PODS, listener).await
}

impl Listener<Pod> for Pods {
    fn seen(&mut self, pod: Pod) -> Option<Place> {
        let (app, facts) = PodFacts::of(&pod)?;
        let key = AppKey::new(pod.namespace().unwrap_or_default(), app);
        let place = (key.clone(), facts.name.clone());
        let broken = facts.broken;
        let before = self.context.stores.put_pod(&key, facts);
        // Whether a pod is ready comes with the Deployment's status; that it is broken does not.
        if before.is_some_and(|before| before.broken) != broken && self.context.stores.has_app(&key) {
            // The receiver is gone only when the controller ends.
            let _ = self.queue.send(key.reference());
        }
        Some(place)
    }

    fn gone(&mut self, pod: &Pod) {
        if let Some(app) = pod.labels().get(APP_LABEL) {
            self.lost(&(AppKey::new(pod.namespace().unwrap_or_default(), app), pod.name_any()));
        }
    }

    fn known(&self) -> BTreeSet<Place> {
        self.context.stores.known_pods(within(self.namespace.as_deref()))
    }

    fn lost(&mut self, (key, name): &Place) {
        self.context.stores.forget_pod(key, name);
    }
}
