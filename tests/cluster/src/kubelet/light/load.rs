//! The load of apps, and how their light pods fare under it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

type Key = (String, String);

/// What one pod gets now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PodLoad {
    pub requests_per_second: f64,
    pub service_seconds: f64,
}

/// How one pod stands.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Figures {
    pub target: u32,
    pub queue: f64,
}

/// A pod's target has become another.
#[derive(Debug, Clone)]
pub struct Change {
    pub at: Instant,
    pub namespace: String,
    pub app: String,
    pub pod: String,
    pub from: u32,
    pub to: u32,
}

/// How the pods of an app stand together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    pub pods: usize,
    pub workers: u32,
    /// Requests that wait.
    pub queue: f64,
}

/// The loads of all apps.
#[derive(Debug, Clone, Default)]
pub struct Loads {
    apps: Arc<Mutex<HashMap<Key, App>>>,
    changes: Arc<Mutex<Vec<Change>>>,
}

#[derive(Debug, Default)]
struct App {
    requests_per_second: f64,
    service_seconds: f64,
    pods: BTreeMap<String, Figures>,
}

impl Loads {
    pub fn set(&self, namespace: &str, app: &str, requests_per_second: f64, service_seconds: f64) {
        let mut apps = held(&self.apps);
        let app = apps.entry((namespace.to_owned(), app.to_owned())).or_default();
        app.requests_per_second = requests_per_second;
        app.service_seconds = service_seconds;
    }

    pub fn totals(&self, namespace: &str, app: &str) -> Totals {
        let apps = held(&self.apps);
        let Some(app) = apps.get(&(namespace.to_owned(), app.to_owned())) else { return Totals::default() };
        Totals {
            pods: app.pods.len(),
            workers: app.pods.values().map(|pod| pod.target).sum(),
            queue: app.pods.values().map(|pod| pod.queue).sum(),
        }
    }

    /// Everything that has changed so far, in order.
    pub fn changes(&self) -> Vec<Change> {
        held(&self.changes).clone()
    }

    pub(super) fn join(&self, namespace: &str, app: &str, pod: &str) -> Member {
        let key = (namespace.to_owned(), app.to_owned());
        held(&self.apps).entry(key.clone()).or_default().pods.insert(pod.to_owned(), Figures::default());
        Member { share: Share { loads: self.clone(), key, pod: pod.to_owned() } }
    }
}

/// A pod among those that share its app's load; dropped, it has left.
#[derive(Debug)]
pub(super) struct Member {
    share: Share,
}

#[derive(Debug, Clone)]
pub(super) struct Share {
    loads: Loads,
    key: Key,
    pod: String,
}

impl Member {
    pub(super) fn share(&self) -> Share {
        self.share.clone()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(app) = held(&self.share.loads.apps).get_mut(&self.share.key) {
            app.pods.remove(&self.share.pod);
        }
    }
}

impl Share {
    pub(super) fn load(&self) -> PodLoad {
        let apps = held(&self.loads.apps);
        let Some(app) = apps.get(&self.key) else { return PodLoad::default() };
        let pods = u32::try_from(app.pods.len().max(1)).unwrap_or(u32::MAX);
        PodLoad {
            requests_per_second: app.requests_per_second / f64::from(pods),
            service_seconds: app.service_seconds,
        }
    }

    pub(super) fn tell(&self, figures: Figures) {
        let before = {
            let mut apps = held(&self.loads.apps);
            let pod = apps.get_mut(&self.key).and_then(|app| app.pods.get_mut(&self.pod));
            pod.map(|pod| std::mem::replace(pod, figures))
        };
        let Some(before) = before else { return };
        if before.target != figures.target && before.target != 0 {
            held(&self.loads.changes).push(Change {
                at: Instant::now(),
                namespace: self.key.0.clone(),
                app: self.key.1.clone(),
                pod: self.pod.clone(),
                from: before.target,
                to: figures.target,
            });
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
