//! Follows a watch.
//!
//! Contract: a listener hears of each object that is there or has gone, also of what went while nobody listened. Errors are
//! logged and the watch goes on, slower and slower; it never ends.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt, future};
use kube::Resource;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use serde::de::DeserializeOwned;

use super::{AppKey, Context};

/// An object by the app that it belongs to and its name.
pub(super) type Place = (AppKey, String);

/// Takes in what is heard of one kind in one namespace, or in all.
pub(super) trait Listener<K>: Send {
    /// It is there; where it belongs, if it belongs to an app.
    fn seen(&mut self, object: K) -> Option<Place>;
    fn gone(&mut self, object: &K);
    /// All that was heard of and not gone.
    fn known(&self) -> BTreeSet<Place>;
    /// It went while nobody listened.
    fn lost(&mut self, place: &Place);
}

/// As many objects come in one answer.
const PAGE: u32 = 50;

/// Follows every API; `what` is noted as read when each has been listed once.
pub(super) async fn all<K, L>(
    context: &Arc<Context>,
    apis: Vec<Api<K>>,
    config: Config,
    what: &'static str,
    listener: impl Fn(Option<String>) -> L,
) -> &'static str
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Clone,
    L: Listener<K>,
{
    let unread = AtomicUsize::new(apis.len());
    let read = || {
        if unread.fetch_sub(1, Ordering::Relaxed) == 1 {
            context.stores.was_read(what);
        }
    };
    let config = config.page_size(PAGE);
    let follows = apis.into_iter().map(|api| {
        let namespace = api.namespace().map(str::to_owned);
        one(api, config.clone(), what, listener(namespace), &read)
    });
    future::join_all(follows).await;
    what
}

async fn one<K, L>(
    api: Api<K>,
    config: Config,
    what: &'static str,
    mut listener: L,
    read: &(impl Fn() + Sync),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Clone,
    L: Listener<K>,
{
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    let mut listed = BTreeSet::new();
    let mut first = true;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => listed.extend(listener.seen(object)),
            Ok(Event::InitDone) => {
                for place in listener.known().difference(&listed) {
                    listener.lost(place);
                }
                listed.clear();
                if std::mem::take(&mut first) {
                    read();
                }
            }
            Ok(Event::Apply(object)) => {
                listener.seen(object);
            }
            Ok(Event::Delete(object)) => listener.gone(&object),
            Err(error) => tracing::warn!(what, %error, "a watch has to begin anew"),
        }
    }
}

/// Whether a namespace is that of a listener; none: it listens to all.
pub(super) fn within(own: Option<&str>) -> impl Fn(&str) -> bool {
    move |namespace| own.is_none_or(|own| own == namespace)
}
