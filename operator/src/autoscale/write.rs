//! What the autoscaler writes to the apiserver.
//!
//! Contract: server-side apply by the field manager [`MANAGER`], for the autoscaler's part of an app's status and for
//! `deployments/scale`; Events are created. One write at a time for each app, outside of the tick: an apiserver that is slow or away holds no
//! order to a pod up. What failed is tried again with growing pauses.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::task::JoinHandle;

use super::fleet::AppSeen;
use super::metrics::Metrics;
use super::notice::Notice;
use super::visible::Visible;
use crate::api::GunicornApp;

/// Of all that the autoscaler applies.
pub const MANAGER: &str = "podicorn-autoscaler";
/// No write takes longer.
const TIME_LIMIT: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// So many notices wait at most.
const MOST_NOTICES: usize = 32;

/// One app's writes.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// What the apiserver has.
    written: Option<Visible>,
    waiting: Vec<Notice>,
    running: Option<JoinHandle<Outcome>>,
    failures: u32,
    not_before: Duration,
}

#[derive(Debug, Default)]
struct Outcome {
    written: Option<Visible>,
    replicas: bool,
    failed: bool,
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) visible: Visible,
    pub(super) notices: Vec<Notice>,
    pub(super) replicas: Option<u32>,
}

/// By whom and with what.
#[derive(Clone, Copy)]
pub(super) struct Pen<'a> {
    pub(super) client: &'a Client,
    pub(super) metrics: &'a Metrics,
    pub(super) instance: &'a str,
}

impl Writer {
    pub(super) fn new(written: Option<Visible>) -> Self {
        Self { written, ..Self::default() }
    }

    /// Takes in how the last writes went; true if the number of pods was among them.
    pub(super) async fn settle(&mut self, at: Duration) -> bool {
        let Some(running) = self.running.take_if(|running| running.is_finished()) else { return false };
        let outcome = running.await.unwrap_or(Outcome { failed: true, ..Outcome::default() });
        if let Some(written) = outcome.written {
            self.written = Some(written);
        }
        if outcome.failed {
            self.failures = self.failures.saturating_add(1);
            self.not_before = at + (Duration::from_secs(1) * (1 << self.failures.min(6))).min(LONGEST_PAUSE);
        } else {
            self.failures = 0;
        }
        outcome.replicas
    }

    #[cfg(test)]
    pub(super) async fn finish(&mut self) {
        while self.running.as_ref().is_some_and(|running| !running.is_finished()) {
            tokio::task::yield_now().await;
        }
    }

    /// Begins to write what is new, unless it is at it.
    pub(super) fn write(&mut self, at: Duration, app: &AppSeen, wanted: Wanted, pen: Pen<'_>) {
        self.waiting.extend(wanted.notices);
        let surplus = self.waiting.len().saturating_sub(MOST_NOTICES);
        self.waiting.drain(..surplus);
        let status = (self.written.as_ref() != Some(&wanted.visible)).then_some(wanted.visible);
        let idle = status.is_none() && wanted.replicas.is_none() && self.waiting.is_empty();
        if idle || self.running.is_some() || at < self.not_before {
            return;
        }
        let job = Job {
            client: pen.client.clone(),
            metrics: pen.metrics.clone(),
            instance: pen.instance.chars().take(128).collect(),
            app: app.clone(),
            notices: std::mem::take(&mut self.waiting),
        };
        self.running = Some(tokio::spawn(job.run(status, wanted.replicas)));
    }
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Kube(#[from] kube::Error),
    #[error("no answer within {} s", TIME_LIMIT.as_secs())]
    Silent,
}

impl WriteError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Kube(kube::Error::Api(status)) if status.code == 404 => "not_found",
            Self::Kube(kube::Error::Api(_)) => "refused",
            Self::Kube(_) => "failed",
            Self::Silent => "timeout",
        }
    }
}

struct Job {
    client: Client,
    metrics: Metrics,
    instance: String,
    app: AppSeen,
    notices: Vec<Notice>,
}

impl Job {
    async fn run(self, status: Option<Visible>, replicas: Option<u32>) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(replicas) = replicas {
            outcome.replicas = self.account("scale", within(self.scale(replicas)).await);
            outcome.failed |= !outcome.replicas;
        }
        if let Some(status) = status {
            if self.account("status", within(self.status(&status)).await) {
                outcome.written = Some(status);
            } else {
                outcome.failed = true;
            }
        }
        for (number, notice) in self.notices.iter().enumerate() {
            // People are told once or not at all; the status says the same.
            self.account("event", within(self.event(notice, number)).await);
        }
        outcome
    }

    async fn scale(&self, replicas: u32) -> Result<(), kube::Error> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.app.namespace);
        let patch = json!({
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": self.app.name},
            "spec": {"replicas": replicas},
        });
        api.patch_scale(&self.app.name, &parameters(), &Patch::Apply(&patch)).await?;
        tracing::info!(replicas, app = self.app.name, namespace = self.app.namespace, "pods were asked for");
        Ok(())
    }

    async fn status(&self, status: &Visible) -> Result<(), kube::Error> {
        let api: Api<GunicornApp> = Api::namespaced(self.client.clone(), &self.app.namespace);
        let patch = status.patch(&self.app);
        api.patch_status(&self.app.name, &parameters(), &Patch::Apply(&patch)).await?;
        Ok(())
    }

    async fn event(&self, notice: &Notice, number: usize) -> Result<(), kube::Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.app.namespace);
        let event = notice.event(&self.app.reference(), &self.instance, Timestamp::now(), number);
        api.create(&PostParams::default(), &event).await?;
        Ok(())
    }

    /// True if it was done.
    fn account(&self, object: &'static str, result: Result<(), WriteError>) -> bool {
        self.metrics.write(object, result.as_ref().err().map_or("ok", WriteError::kind));
        let Err(error) = result else { return true };
        let (app, namespace) = (&self.app.name, &self.app.namespace);
        // It is gone, or not there yet; the watch will tell.
        if error.kind() == "not_found" {
            tracing::debug!(app, namespace, object, "there is nothing to write to");
        } else {
            tracing::warn!(app, namespace, object, "a write failed and will be tried again: {error}");
        }
        false
    }
}

fn parameters() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}

async fn within(write: impl Future<Output = Result<(), kube::Error>>) -> Result<(), WriteError> {
    tokio::time::timeout(TIME_LIMIT, write).await.map_err(|_| WriteError::Silent)?.map_err(WriteError::from)
}
