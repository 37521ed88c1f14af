//! Load on real pods: so many clients, each with one request at a time, spread over the addresses that are ready.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinHandle;

use crate::http;

/// What has come of the requests so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub answered: u64,
    /// Not answered, or not by a success.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Shared {
    bases: Mutex<Vec<String>>,
    answered: AtomicU64,
    failed: AtomicU64,
    ended: AtomicBool,
}

/// Traffic that goes on until it is stopped or dropped.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Traffic {
    /// `bases` are like `http://127.0.0.1:8000`, `path` begins with a slash.
    pub fn start(clients: usize, bases: Vec<String>, path: &str) -> Self {
        let shared = Arc::new(Shared { bases: Mutex::new(bases), ..Shared::default() });
        let clients: Vec<_> =
            (0..clients).map(|number| client(shared.clone(), number, path.to_owned())).collect();
        let task = tokio::spawn(async move { drop(join_all(clients).await) });
        Self { shared, task }
    }

    /// Other pods are ready now.
    pub fn aim(&self, bases: Vec<String>) {
        if let Ok(mut present) = self.shared.bases.lock() {
            *present = bases;
        }
    }

    pub fn counts(&self) -> Counts {
        Counts {
            answered: self.shared.answered.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
        }
    }

    /// Lets every client end the request that it is at.
    pub async fn stop(mut self) -> Counts {
        self.shared.ended.store(true, Ordering::Relaxed);
        // A client that panicked has been counted as far as it came.
        let _ = (&mut self.task).await;
        self.counts()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn client(shared: Arc<Shared>, mut turn: usize, path: String) {
    while !shared.ended.load(Ordering::Relaxed) {
        let base = shared.bases.lock().ok().and_then(|bases| {
            let count = bases.len();
            if count == 0 { None } else { bases.get(turn % count).cloned() }
        });
        turn += 1;
        let Some(base) = base else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        match http::get(&format!("{base}{path}")).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                shared.answered.fetch_add(1, Ordering::Relaxed)
            }
            _ => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                shared.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}
