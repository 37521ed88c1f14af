//! Hears of apps.
//!
//! Contract: an app is looked at when its spec, its annotations or its end have changed; not for a status, which the operator
//! itself writes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kube::core::ObjectMeta;
use kube::core::error_boundary::{DeserializeGuard, InvalidObject};
use kube::runtime::watcher::{Config, Event};
use kube::{Resource, ResourceExt};

use super::follow::{self, Listener, Place, within};
use super::{AppKey, Context, Guarded, Queue, Scope};
use crate::reconcile::ROTATE_TOKEN;

/// What makes a look necessary.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    uid: Option<String>,
    generation: Option<i64>,
    rotation: Option<String>,
    ends: bool,
}

struct Apps {
    context: Arc<Context>,
    namespace: Option<String>,
    queue: Queue,
    marks: HashMap<AppKey, Mark>,
}

pub(super) async fn run(context: Arc<Context>, scope: Scope, queue: Queue) -> &'static str {
    // From here on the store is complete as soon as it has been told of everything.
    context.stores.apply_app(&Event::Init);
    context.stores.apply_app(&Event::InitDone);
    let apis = scope.apis::<Guarded>(&context.client);
    let listener = |namespace| Apps {
        context: Arc::clone(&context),
        namespace,
        queue: queue.clone(),
        marks: HashMap::new(),
    };
    follow::all(&context, apis, Config::default(), super::stores::APPS, listener).await
}

impl Listener<Guarded> for Apps {
    fn seen(&mut self, mut object: Guarded) -> Option<Place> {
        object.managed_fields_mut().clear();
        object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
        let key = AppKey::of(&object);
        let mark = Mark {
            uid: object.uid(),
            generation: object.meta().generation,
            rotation: object.annotations().get(ROTATE_TOKEN).cloned(),
            ends: object.meta().deletion_timestamp.is_some(),
        };
        self.context.stores.apply_app(&Event::Apply(object));
        if self.marks.get(&key) != Some(&mark) {
            self.marks.insert(key.clone(), mark);
            // The receiver is gone only when the controller ends.
            let _ = self.queue.send(key.reference());
        }
        Some((key.clone(), key.name))
    }

    fn gone(&mut self, object: &Guarded) {
        let key = AppKey::of(object);
        self.lost(&(key.clone(), key.name));
    }

    fn known(&self) -> BTreeSet<Place> {
        let within = within(self.namespace.as_deref());
        let apps = self.context.stores.every_app().into_iter().filter(|key| within(&key.namespace));
        apps.map(|key| (key.clone(), key.name)).collect()
    }

    fn lost(&mut self, (key, _): &Place) {
        self.marks.remove(key);
        // The store looks at the name only.
        let metadata = ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            ..ObjectMeta::default()
        };
        let stand_in = InvalidObject { error: String::new(), metadata };
        self.context.stores.apply_app(&Event::Delete(DeserializeGuard(Err(stand_in))));
        self.context.forget(key);
    }
}
