//! The thread that sends spans: it collects batches and hands them to [`Delivery`], one at a time.
//!
//! It has a small runtime of its own, so that a collector that is slow, or TLS, costs the arbiter's loop nothing.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;

use super::delivery::{Delivery, Outcome};
use super::queue::{Queue, Waiting};

/// Says in the log that the collector is away, or back; no more often than the state changes.
#[derive(Debug, Default)]
struct Reporter {
    failing: bool,
}

pub(super) fn start(
    queue: Arc<Queue>,
    delivery: Delivery,
    resource: Resource,
    delay: Duration,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let thread = std::thread::Builder::new().name("trace-export".to_owned());
    thread.spawn(move || {
        runtime.block_on(run(&queue, &delivery, &resource, delay));
        // A name look-up that hangs is not waited for.
        runtime.shutdown_background();
        queue.end();
    })?;
    Ok(())
}

async fn run(queue: &Queue, delivery: &Delivery, resource: &Resource, delay: Duration) {
    let mut reporter = Reporter::default();
    loop {
        wait_for_batch(queue, delay).await;
        let batch = queue.take();
        if batch.is_empty() {
            if queue.close_by().is_some() {
                return;
            }
            continue;
        }
        let spans = batch.len();
        let message = message(batch, resource);
        match delivery.deliver(message, queue, |error| reporter.failed(error)).await {
            Outcome::Delivered { refused } => {
                let refused = refused.min(spans);
                queue.settle(spans - refused, refused);
                reporter.delivered();
            }
            Outcome::Lost(error) => {
                queue.settle(0, spans);
                reporter.failed(&error);
            }
        }
    }
}

/// Comes back when a batch is complete, when the first of its spans has waited for `delay`, or when the queue closes.
async fn wait_for_batch(queue: &Queue, delay: Duration) {
    while queue.is_empty() && queue.close_by().is_none() {
        queue.work.notified().await;
    }
    let due = Instant::now() + delay;
    while !queue.has_batch() && queue.close_by().is_none() {
        if tokio::time::timeout_at(due.into(), queue.work.notified()).await.is_err() {
            return;
        }
    }
}

fn message(batch: Vec<Waiting>, resource: &Resource) -> Bytes {
    let scope = InstrumentationScope {
        name: "podicorn".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = batch.into_iter().map(Waiting::into_message).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource.clone()), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

impl Reporter {
    fn failed(&mut self, error: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!("Traces cannot be exported, requests go on as ever: {error}");
        }
    }

    fn delivered(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!("Traces are exported again");
        }
    }
}
