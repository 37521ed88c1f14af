//! The thread that sends spans: it collects batches and hands them to [`Delivery`], one at a time.
//!
//! It has a small runtime of its own, so that a collector that is slow, or TLS, costs the arbiter's loop nothing.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;

use super::delivery::{Delivery, Outcome};
use super::queue::Queue;
use super::wire;
use crate::signals;

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
        signals::leave_to_main_thread();
        runtime.block_on(run(&queue, &delivery, &Envelope::new(resource), delay));
        // A name look-up that hangs is not waited for.
        runtime.shutdown_background();
        queue.end();
    })?;
    Ok(())
}

async fn run(queue: &Queue, delivery: &Delivery, envelope: &Envelope, delay: Duration) {
    let mut reporter = Reporter::default();
    loop {
        wait_for_batch(queue, delay).await;
        let batch = queue.take();
        if batch.spans == 0 {
            if queue.close_by().is_some() {
                return;
            }
            continue;
        }
        let spans = batch.spans;
        let message = envelope.around(&batch.bytes);
        drop(batch);
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

/// `ExportTraceServiceRequest.resource_spans`, `ResourceSpans.scope_spans`.
const RESOURCE_SPANS: u8 = 1;
const SCOPE_SPANS: u8 = 2;

/// What stands before the spans of every message.
#[derive(Debug)]
struct Envelope {
    /// `ResourceSpans.resource`.
    resource: Vec<u8>,
    /// `ScopeSpans.scope`.
    scope: Vec<u8>,
}

impl Envelope {
    fn new(resource: Resource) -> Self {
        let scope = InstrumentationScope {
            name: "podicorn".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        Self {
            resource: ResourceSpans { resource: Some(resource), ..ResourceSpans::default() }.encode_to_vec(),
            scope: ScopeSpans { scope: Some(scope), ..ScopeSpans::default() }.encode_to_vec(),
        }
    }

    /// An `ExportTraceServiceRequest`.
    fn around(&self, spans: &[u8]) -> Bytes {
        let scope_spans = wire::around(SCOPE_SPANS, &self.scope, spans);
        wire::around(RESOURCE_SPANS, &self.resource, &scope_spans).into()
    }
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

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    use super::*;
    use crate::telemetry::traces::request::tests::a_request;

    #[test]
    fn a_batch_is_one_request_of_all_its_spans() {
        let queue = Queue::new(9, 3);
        queue.extend_requests(std::iter::repeat_with(a_request).take(3));
        let resource = Resource { dropped_attributes_count: 7, ..Resource::default() };
        let message = Envelope::new(resource.clone()).around(&queue.take().bytes);
        let request = ExportTraceServiceRequest::decode(message).unwrap();
        assert_eq!(request.resource_spans.len(), 1);
        let of_resource = &request.resource_spans[0];
        assert_eq!(of_resource.resource, Some(resource));
        assert_eq!(of_resource.scope_spans.len(), 1);
        let of_scope = &of_resource.scope_spans[0];
        assert_eq!(of_scope.scope.as_ref().unwrap().name, "podicorn");
        let names: Vec<&str> = of_scope.spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["GET"; 3]);
    }
}
