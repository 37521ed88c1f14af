//! The caches: what has been heard of apps, of what they own, and of their pods.
//!
//! Contract: of apps the whole is kept, of everything else what is read of it. They are filled by the watches and by the
//! answers to writes; what is older than what is known is not taken. Locks are held for a look or a change, never while
//! waiting.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::Event;
use tokio::sync::watch;

use super::facts::{HpaFacts, PodFacts, PodsSummary};
use super::{AppKey, Guarded};
use crate::api::GunicornApp;
use crate::reconcile::{Kind, Live, Tokens, token_secret};

type Named<T> = HashMap<AppKey, BTreeMap<String, T>>;
type Children = HashMap<AppKey, BTreeMap<(Kind, String), Arc<Live>>>;

/// Shared by the reconciler, which fills them, and the autoscaler.
pub struct Stores {
    apps: Store<Guarded>,
    writer: RwLock<reflector::store::Writer<Guarded>>,
    children: RwLock<Children>,
    pods: RwLock<Named<PodFacts>>,
    hpas: RwLock<Named<HpaFacts>>,
    /// What has yet to be read for the first time.
    unread: watch::Sender<BTreeSet<&'static str>>,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Stores").field("apps", &self.apps.len()).finish_non_exhaustive()
    }
}

pub(super) const APPS: &str = "GunicornApps";
pub(super) const PODS: &str = "pods";
pub(super) const HPAS: &str = "horizontal pod autoscalers";

impl Default for Stores {
    fn default() -> Self {
        let (apps, writer) = reflector::store();
        let mut unread = BTreeSet::from([APPS, PODS, HPAS]);
        unread.extend(Kind::WATCHED.into_iter().chain(Kind::OPTIONAL).map(Kind::as_str));
        Self {
            apps,
            writer: RwLock::new(writer),
            children: RwLock::default(),
            pods: RwLock::default(),
            hpas: RwLock::default(),
            unread: watch::Sender::new(unread),
        }
    }
}

impl Stores {
    /// Everything has been read once.
    pub async fn synced(&self) {
        // The sender lives as long as this does.
        let _ = self.unread.subscribe().wait_for(BTreeSet::is_empty).await;
    }

    /// Every app that can be read.
    pub fn apps(&self) -> Vec<Arc<Guarded>> {
        self.apps.state_filter(|app| app.0.is_ok())
    }

    /// The app, if it is there and can be read.
    pub fn app(&self, key: &AppKey) -> Option<GunicornApp> {
        self.apps.get(&key.reference())?.0.as_ref().ok().cloned()
    }

    /// The pods of an app.
    pub fn pods_of(&self, key: &AppKey) -> Vec<PodFacts> {
        read(&self.pods).get(key).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// The autoscalers that scale an app or its Deployment.
    pub fn hpas_of(&self, key: &AppKey) -> Vec<HpaFacts> {
        read(&self.hpas).get(key).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// How many pods the app's Deployment is to have.
    pub fn deployment_replicas(&self, key: &AppKey) -> Option<u32> {
        self.child(key, Kind::Deployment, &key.name)?.deployment()?.wanted
    }

    /// The admin tokens of an app's pods.
    pub fn tokens(&self, key: &AppKey) -> Option<Tokens> {
        Some(self.child(key, Kind::Secret, &token_secret(&key.name))?.secret()?.tokens.clone())
    }

    pub(crate) fn summary(&self, key: &AppKey) -> PodsSummary {
        PodsSummary::of(read(&self.pods).get(key).into_iter().flat_map(BTreeMap::values))
    }

    pub(crate) fn children(&self, key: &AppKey) -> BTreeMap<(Kind, String), Arc<Live>> {
        read(&self.children).get(key).cloned().unwrap_or_default()
    }

    fn child(&self, key: &AppKey, kind: Kind, name: &str) -> Option<Arc<Live>> {
        read(&self.children).get(key)?.get(&(kind, name.to_owned())).cloned()
    }

    /// Takes in what has been heard or answered; true: it is news.
    pub(crate) fn put(&self, key: &AppKey, kind: Kind, name: &str, live: Live) -> bool {
        let mut children = write(&self.children);
        let children = children.entry(key.clone()).or_default();
        let place = (kind, name.to_owned());
        let Some(known) = children.get(&place) else {
            children.insert(place, Arc::new(live));
            return true;
        };
        if known.uid == live.uid && live.version != 0 && live.version < known.version {
            return false;
        }
        let same = known.uid == live.uid && known.fingerprint == live.fingerprint;
        let news = !same || known.facts != live.facts || known.deleting != live.deleting;
        // What is the same needs no second comparison.
        let body = if same { known.body.clone().and(live.body) } else { live.body };
        children.insert(place, Arc::new(Live { body, ..live }));
        news
    }

    /// Lets go of an object that has been compared, if it has not changed since.
    pub(crate) fn compared(&self, key: &AppKey, kind: Kind, name: &str, fingerprint: u64) {
        let mut children = write(&self.children);
        let Some(known) =
            children.get_mut(key).and_then(|children| children.get_mut(&(kind, name.to_owned())))
        else {
            return;
        };
        if known.fingerprint == fingerprint {
            Arc::make_mut(known).body = None;
        }
    }

    /// What is gone. True: it was known.
    pub(crate) fn forget(&self, key: &AppKey, kind: Kind, name: &str) -> bool {
        let mut children = write(&self.children);
        let Some(of_app) = children.get_mut(key) else { return false };
        let known = of_app.remove(&(kind, name.to_owned())).is_some();
        if of_app.is_empty() {
            children.remove(key);
        }
        known
    }

    /// Every object of a kind that is known, where `within` says; for what has to be compared with a new list.
    pub(super) fn known(&self, kind: Kind, within: impl Fn(&str) -> bool) -> BTreeSet<(AppKey, String)> {
        let children = read(&self.children);
        let in_scope = children.iter().filter(|(key, _)| within(&key.namespace));
        let of_kind = in_scope.flat_map(|(key, children)| {
            children.keys().filter(|(of, _)| *of == kind).map(|(_, name)| (key.clone(), name.clone()))
        });
        of_kind.collect()
    }

    pub(super) fn put_pod(&self, key: &AppKey, pod: PodFacts) -> Option<PodFacts> {
        write(&self.pods).entry(key.clone()).or_default().insert(pod.name.clone(), pod)
    }

    pub(super) fn put_hpa(&self, key: &AppKey, hpa: HpaFacts) -> Option<HpaFacts> {
        write(&self.hpas).entry(key.clone()).or_default().insert(hpa.name.clone(), hpa)
    }

    pub(super) fn forget_pod(&self, key: &AppKey, name: &str) -> bool {
        remove(&mut write(&self.pods), key, name)
    }

    /// The targets that an autoscaler had, except one.
    pub(super) fn forget_hpa(&self, namespace: &str, name: &str, except: Option<&AppKey>) -> Vec<AppKey> {
        let mut hpas = write(&self.hpas);
        let keys: Vec<AppKey> = hpas
            .iter()
            .filter(|(key, of_app)| {
                key.namespace == namespace && Some(*key) != except && of_app.contains_key(name)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in &keys {
            remove(&mut hpas, key, name);
        }
        keys
    }

    pub(super) fn known_pods(&self, within: impl Fn(&str) -> bool) -> BTreeSet<(AppKey, String)> {
        names(&read(&self.pods), within)
    }

    pub(super) fn known_hpas(&self, within: impl Fn(&str) -> bool) -> BTreeSet<(AppKey, String)> {
        names(&read(&self.hpas), within)
    }

    pub(super) fn guarded(&self) -> Store<Guarded> {
        self.apps.clone()
    }

    pub(super) fn has_app(&self, key: &AppKey) -> bool {
        self.apps.get(&key.reference()).is_some()
    }

    pub(super) fn apply_app(&self, event: &Event<Guarded>) {
        write(&self.writer).apply_watcher_event(event);
    }

    pub(super) fn every_app(&self) -> Vec<AppKey> {
        self.apps.state().iter().map(|app| AppKey::of(&**app)).collect()
    }

    pub(super) fn was_read(&self, what: &'static str) {
        self.unread.send_if_modified(|unread| unread.remove(what));
    }
}

fn remove<T>(all: &mut Named<T>, key: &AppKey, name: &str) -> bool {
    let Some(of_app) = all.get_mut(key) else { return false };
    let known = of_app.remove(name).is_some();
    if of_app.is_empty() {
        all.remove(key);
    }
    known
}

fn names<T>(all: &Named<T>, within: impl Fn(&str) -> bool) -> BTreeSet<(AppKey, String)> {
    let in_scope = all.iter().filter(|(key, _)| within(&key.namespace));
    in_scope.flat_map(|(key, of_app)| of_app.keys().map(|name| (key.clone(), name.clone()))).collect()
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
