//! What one app's autoscaler remembers for people, and what it gives them: a snapshot.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use podicorn_admin_api::ScaleView;
use podicorn_policy::{PodVerdict, PodsDecision};
use serde::{Deserialize, Serialize};

use super::wishes::Wishes;

/// Two minutes of ticks.
const KEPT: usize = 60;

/// What a look at an app came to, and those before in short. Saved as YAML, read by `explain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    pub taken_at: Timestamp,
    pub namespace: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    pub spec: Wishes,
    /// Pods wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hpas: Vec<String>,
    /// Workers that the mean pod needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
    pub pods: Vec<PodSnapshot>,
    /// The last decision about the number of pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<PodsDecision>,
    /// The latest last.
    #[serde(default)]
    pub history: VecDeque<Past>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSnapshot {
    pub pod: String,
    pub ready: bool,
    /// Why it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleView>,
    /// What was decided about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<PodVerdict>,
    /// What it was told, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
}

/// A tick in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    pub at: Timestamp,
    /// Pods that answered, of those that were ready.
    pub answered: u32,
    pub ready_pods: u32,
    /// Workers that were wanted, that were wanted from then on, and that served.
    pub workers: u32,
    pub target: u32,
    pub ready: u32,
    /// Workers that had something to do, waiting requests included.
    pub offered: f32,
    /// Of what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Snapshot {
    pub fn remember(&mut self, past: Past) {
        if self.history.len() >= KEPT {
            self.history.pop_front();
        }
        self.history.push_back(past);
    }

    pub fn to_yaml(&self) -> Result<String, serde_yaml::Error> {
        serde_yaml::to_string(self)
    }
}

type Key = (String, String);

/// The snapshots of all apps, for whoever asks.
#[derive(Debug, Default)]
pub struct Snapshots(Mutex<HashMap<Key, Arc<Mutex<Snapshot>>>>);

impl Snapshots {
    /// The app's latest snapshot as YAML.
    pub fn yaml(&self, namespace: &str, name: &str) -> Option<String> {
        let key = (namespace.to_owned(), name.to_owned());
        let snapshot = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()?;
        let snapshot = snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.to_yaml().ok()
    }

    pub(super) fn put(&self, namespace: &str, name: &str, snapshot: Arc<Mutex<Snapshot>>) {
        let key = (namespace.to_owned(), name.to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, snapshot);
    }

    /// Forgets apps that are gone.
    pub(super) fn keep(&self, there: &HashSet<(&str, &str)>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(namespace, name), _| there.contains(&(namespace.as_str(), name.as_str())));
    }
}
