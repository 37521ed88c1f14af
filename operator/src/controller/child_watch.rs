//! Hears of what apps own: one kind, of what bears the operator's label.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::ResourceExt;
use kube::core::DynamicObject;
use kube::runtime::watcher::Config;

use super::follow::{self, Listener, Place, within};
use super::{AppKey, Context, Queue, Scope};
use crate::reconcile::{INSTANCE_LABEL, Kind, Live, MANAGED_BY_LABEL, MANAGER};

pub(super) struct Children {
    pub(super) context: Arc<Context>,
    pub(super) namespace: Option<String>,
    pub(super) kind: Kind,
    pub(super) queue: Queue,
}

/// Selects what the operator has made.
pub(super) fn selector() -> String {
    format!("{MANAGED_BY_LABEL}={MANAGER},{INSTANCE_LABEL}")
}

pub(super) async fn run(context: Arc<Context>, scope: Scope, kind: Kind, queue: Queue) -> &'static str {
    let apis = scope.dynamic(&context.client, &kind.resource());
    let config = Config::default().labels(&selector());
    let listener =
        |namespace| Children { context: Arc::clone(&context), namespace, kind, queue: queue.clone() };
    follow::all(&context, apis, config, kind.as_str(), listener).await
}

impl Children {
    fn look_at(&self, key: &AppKey) {
        if self.context.stores.has_app(key) {
            // The receiver is gone only when the controller ends.
            let _ = self.queue.send(key.reference());
        }
    }
}

impl Listener<DynamicObject> for Children {
    fn seen(&mut self, object: DynamicObject) -> Option<Place> {
        let (app, live) = Live::of(self.kind, &object)?;
        let (key, name) = (AppKey::new(object.namespace().unwrap_or_default(), app), object.name_any());
        if self.context.stores.put(&key, self.kind, &name, live) {
            self.look_at(&key);
        }
        Some((key, name))
    }

    fn gone(&mut self, object: &DynamicObject) {
        if let Some(app) = object.labels().get(INSTANCE_LABEL) {
            let key = AppKey::new(object.namespace().unwrap_or_default(), app);
            self.lost(&(key, object.name_any()));
        }
    }

    fn known(&self) -> BTreeSet<Place> {
        self.context.stores.known(self.kind, within(self.namespace.as_deref()))
    }

    fn lost(&mut self, (key, name): &Place) {
        if self.context.stores.forget(key, self.kind, name) {
            self.look_at(key);
        }
    }
}
