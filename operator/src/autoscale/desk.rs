//! One app's place in the autoscaler: what is remembered of it, and one look at it.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use podicorn_policy::Direction;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::Instrument;

use super::app::{Answer, App, Failure, Moment, Plan};
use super::fleet::AppSeen;
use super::history::Snapshot;
use super::metrics::PodCounts;
use super::order::Manner;
use super::send::Sender;
use super::visible::Visible;
use super::words;
use super::write::{Pen, Wanted, Writer};
use crate::pods::Endpoint;

/// What all desks share.
pub(super) struct Office {
    pub(super) sender: Sender,
    pub(super) kube: kube::Client,
    pub(super) instance: String,
    pub(super) tick_seconds: f64,
    /// Requests to pods at a time.
    pub(super) lines: Semaphore,
}

#[derive(Debug)]
pub(super) struct Desk {
    app: App,
    writer: Writer,
    pub(super) snapshot: Arc<Mutex<Snapshot>>,
}

impl Desk {
    pub(super) fn new(seen: &AppSeen, moment: &Moment) -> Self {
        let snapshot = Snapshot {
            taken_at: moment.now,
            namespace: seen.namespace.clone(),
            name: seen.name.clone(),
            generation: seen.generation,
            spec: seen.wishes,
            replicas: None,
            hpas: Vec::new(),
            level: None,
            pods: Vec::new(),
            number: None,
            history: std::collections::VecDeque::new(),
        };
        Self {
            app: App::new(seen),
            writer: Writer::new(seen.status.as_ref().and_then(Visible::of)),
            snapshot: Arc::new(Mutex::new(snapshot)),
        }
    }

    /// What is being written is written, or has failed.
    #[cfg(test)]
    pub(super) async fn written(&mut self) {
        self.writer.finish().await;
    }

    /// Reads the load, decides, gives orders and begins to write down what came of it.
    pub(super) async fn look(
        &mut self,
        office: &Office,
        seen: &AppSeen,
        moment: &Moment,
        deadline: Instant,
    ) -> PodCounts {
        let asked = self.app.to_ask(moment.at, seen);
        let mut answers: Vec<Option<Answer>> = vec![None; seen.pods.len()];
        let said = join_all(asked.iter().map(|place| self::ask(office, seen, *place))).await;
        for (place, answer) in asked.into_iter().zip(said) {
            answers[place] = answer;
        }

        if self.writer.settle(moment.at).await {
            self.app.wrote_replicas();
        }
        let manner = Manner::new(seen.wishes.commands, office.tick_seconds);
        let plan = tracing::info_span!("decide").in_scope(|| {
            let plan = self.app.decide(moment, seen, &answers, manner, &office.sender.epochs);
            tell(seen, &plan);
            plan
        });
        for verdict in plan.verdicts.iter().flatten() {
            office.sender.metrics.decision(verdict.decision.direction, verdict.decision.reason);
        }
        join_all(plan.orders.iter().map(|order| async {
            let pod = &seen.pods[order.pod];
            let Some(endpoint) = endpoint(seen, order.pod) else { return };
            let span = tracing::info_span!(
                "order",
                pod = pod.name,
                target = order.command.workers(),
                reason = order.reason.name(),
                kind = order.command.kind()
            );
            let Ok(_line) = office.lines.acquire().await else { return };
            office.sender.send(&pod.name, &endpoint, order, deadline).instrument(span).await;
        }))
        .await;

        {
            let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
            self.app.record(moment, seen, answers, &plan, &mut snapshot);
        }
        let counts = PodCounts {
            reachable: plan.answered,
            unreachable: plan.reach.ready.saturating_sub(plan.answered),
            not_ready: seen.pods.len().saturating_sub(plan.reach.ready),
        };
        let workers = &plan.visible.workers;
        office.sender.metrics.app(seen, workers.target, workers.ready, self.app.utilization());
        let pen = Pen { client: &office.kube, metrics: &office.sender.metrics, instance: &office.instance };
        let Plan { visible, notices, replicas, .. } = plan;
        self.writer.write(moment.at, seen, Wanted { visible, notices, replicas }, pen);
        counts
    }
}

async fn ask(office: &Office, seen: &AppSeen, place: usize) -> Option<Answer> {
    let endpoint = endpoint(seen, place)?;
    let pod = &seen.pods[place].name;
    let span =
        tracing::info_span!("load sample", pod, target = tracing::field::Empty, busy = tracing::field::Empty);
    let answer = async {
        let _line = office.lines.acquire().await.ok()?;
        let trace = (office.sender.traceparent)();
        Some(office.sender.client.scale(&endpoint, trace.as_deref()).await)
    }
    .instrument(span.clone())
    .await?;
    Some(match answer {
        Ok(view) => {
            span.record("target", view.target);
            if let Some(decision) = &view.decision {
                span.record("busy", decision.inputs.busy);
            }
            Ok(view)
        }
        Err(error) => {
            span.in_scope(|| tracing::debug!(pod, "the pod does not tell its load: {error}"));
            Err(Failure { kind: error.kind(), message: error.to_string() })
        }
    })
}

fn endpoint(seen: &AppSeen, place: usize) -> Option<Endpoint> {
    let address = seen.pods.get(place)?.address?;
    Some(Endpoint { address, tokens: seen.tokens.clone() })
}

/// Into the log: what changes.
fn tell(seen: &AppSeen, plan: &Plan) {
    for change in words::changes(seen, &plan.verdicts) {
        let decision = &change.verdict.decision;
        tracing::info!(
            app = seen.name,
            namespace = seen.namespace,
            pod = change.pod,
            from = decision.current,
            to = decision.target,
            reason = decision.reason.name(),
            observed_only = !seen.wishes.acts(),
            "{}",
            decision.message
        );
    }
    if plan.yields_anew && plan.yielded > 0 {
        tracing::warn!(
            app = seen.name,
            namespace = seen.namespace,
            pods = plan.yielded,
            "pods have orders of a later leader and are left to that one"
        );
    }
    if let Some((replicas, before)) = plan.replicas.zip(seen.replicas).filter(|(new, old)| new != old) {
        let direction = if replicas > before { Direction::Up } else { Direction::Down };
        tracing::info!(
            app = seen.name,
            namespace = seen.namespace,
            from = before,
            to = replicas,
            direction = direction.name(),
            "another number of pods is needed"
        );
    }
}
