//! Hears of horizontal pod autoscalers: where one scales an app, the operator must not.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::ResourceExt;
use kube::runtime::watcher::Config;

use super::facts::HpaFacts;
use super::follow::{self, Listener, Place, within};
use super::{AppKey, Context, Queue, Scope};

struct Hpas {
    context: Arc<Context>,
    namespace: Option<String>,
    queue: Queue,
}

pub(super) async fn run(context: Arc<Context>, scope: Scope, queue: Queue) -> &'static str {
    let apis = scope.apis::<HorizontalPodAutoscaler>(&context.client);
    let listener = |namespace| Hpas { context: Arc::clone(&context), namespace, queue: queue.clone() };
    follow::all(&context, apis, Config::default(), super::stores::HPAS, listener).await
}

impl Hpas {
    fn look_at(&self, key: &AppKey) {
        if self.context.stores.has_app(key) {
            // The receiver is gone only when the controller ends.
            let _ = self.queue.send(key.reference());
        }
    }

    fn forget(&self, namespace: &str, name: &str, except: Option<&AppKey>) {
        for key in self.context.stores.forget_hpa(namespace, name, except) {
            self.look_at(&key);
        }
    }
}

impl Listener<HorizontalPodAutoscaler> for Hpas {
    fn seen(&mut self, hpa: HorizontalPodAutoscaler) -> Option<Place> {
        let (namespace, name) = (hpa.namespace().unwrap_or_default(), hpa.name_any());
        let Some((app, facts)) = HpaFacts::of(&hpa) else {
            self.forget(&namespace, &name, None);
            return None;
        };
        let key = AppKey::new(namespace, app);
        // It may have been turned to another target.
        self.forget(&key.namespace, &name, Some(&key));
        if self.context.stores.put_hpa(&key, facts.clone()) != Some(facts) {
            self.look_at(&key);
        }
        Some((key, name))
    }

    fn gone(&mut self, hpa: &HorizontalPodAutoscaler) {
        self.forget(&hpa.namespace().unwrap_or_default(), &hpa.name_any(), None);
    }

    fn known(&self) -> BTreeSet<Place> {
        self.context.stores.known_hpas(within(self.namespace.as_deref()))
    }

    fn lost(&mut self, (key, name): &Place) {
        self.forget(&key.namespace, name, None);
    }
}
