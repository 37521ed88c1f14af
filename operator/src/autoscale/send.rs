//! Orders on their way to pods.

use std::time::Duration;

use tokio::time::Instant;

use super::epoch::Epochs;
use super::metrics::Metrics;
use super::order::{Command, Order};
use crate::pods::{Endpoint, PodClient, PodError, Step};

/// What sends.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) client: PodClient,
    pub(super) epochs: Epochs,
    pub(super) metrics: Metrics,
    pub(super) traceparent: fn() -> Option<String>,
}

impl Sender {
    /// Carries the order out, as far as the pod goes along until `deadline`. The result is counted and logged.
    pub(super) async fn send(&self, pod: &str, endpoint: &Endpoint, order: &Order, deadline: Instant) {
        match order.command {
            Command::Lease { request, .. } => {
                let trace = (self.traceparent)();
                let result = self.client.put_scale(endpoint, &request, trace.as_deref()).await;
                self.account(pod, order, result.as_ref().err());
            }
            Command::Steps { from, to } => self.steps(pod, endpoint, order, (from, to), deadline).await,
        }
    }

    /// One at a time: the next one only when the pod has confirmed the last.
    async fn steps(
        &self,
        pod: &str,
        endpoint: &Endpoint,
        order: &Order,
        (from, to): (u32, u32),
        deadline: Instant,
    ) {
        let step = if to > from { Step::Ttin } else { Step::Ttou };
        let mut at = from;
        for _ in 0..from.abs_diff(to) {
            let trace = (self.traceparent)();
            let result = self.client.step(endpoint, step, trace.as_deref()).await;
            self.account(pod, order, result.as_ref().err());
            let Ok(view) = result else { return };
            let confirmed = view.changed && view.scale.base != at;
            at = view.scale.base;
            // At a bound; or somebody else steps, too, and the next look will tell.
            let there = if to > from { at >= to } else { at <= to };
            if !confirmed || there || Instant::now() + Duration::from_millis(1) >= deadline {
                return;
            }
        }
    }

    fn account(&self, pod: &str, order: &Order, error: Option<&PodError>) {
        self.metrics.order(order.command.kind(), error.map_or("ok", PodError::kind));
        match error {
            None => tracing::debug!(pod, workers = order.command.workers(), "the pod has taken the order"),
            Some(PodError::StaleEpoch { current }) => {
                if self.epochs.later(*current) {
                    tracing::warn!(
                        pod,
                        epoch = current,
                        "the pod has orders of a later leader; it is left to that one"
                    );
                } else {
                    // Of this leadership: the next order will be higher.
                    self.epochs.saw(*current);
                }
            }
            Some(error) => tracing::info!(pod, "the pod has not taken the order: {error}"),
        }
    }
}
