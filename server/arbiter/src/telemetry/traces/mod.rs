//! Traces, sent to an OpenTelemetry collector by OTLP.
//!
//! Contract:
//! - Off unless `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set ([`environment`]). Then there is
//!   no thread, no queue and no span.
//! - Whoever makes a span puts it into a bounded [`queue`] and never waits. A thread of its own ([`exporter`]) sends batches and
//!   tries again ([`delivery`]). What is dropped is counted ([`Exported`]).
//! - Two kinds of spans: the arbiter's own doings, as `tracing` spans of this crate ([`spans`]), and the requests, which
//!   workers have written into their rings ([`request`]).

mod delivery;
mod environment;
mod exporter;
mod harvest;
mod queue;
mod request;
mod sampling;
mod spans;
mod wire;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as ResourceMessage;
use opentelemetry_proto::transform::common::tonic::Attributes;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

pub use delivery::DeliveryError;
pub use harvest::{Harvest, Harvester};
pub use queue::Exported;
pub use request::{Ending, RequestSpan};
pub use sampling::Sampling;
pub use spans::follow_caller;

use delivery::Delivery;
use queue::Queue;

/// Why traces that were asked for cannot be exported. The server goes on without.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    #[error("cannot start the thread that exports traces: {0}")]
    Thread(#[from] io::Error),
}

/// The export, going on. Dropping it does not end it: [`Traces::finish`] does.
#[derive(Debug)]
pub struct Traces {
    queue: Arc<Queue>,
    provider: SdkTracerProvider,
    sampling: Sampling,
}

/// What the environment asks for, put to work.
#[derive(Debug, Default)]
pub struct Start {
    /// Absent where nothing is to be exported.
    pub traces: Option<Traces>,
    /// For the log, once there is one.
    pub complaints: Vec<String>,
}

/// Begins the export if the process's environment asks for it. `name` is the service's where the environment has none.
pub fn start(name: &str) -> Start {
    let (settings, mut complaints) = environment::read(|name| std::env::var(name).ok());
    let traces = settings.and_then(|settings| match Traces::new(&settings, name) {
        Ok(traces) => Some(traces),
        Err(error) => {
            complaints.push(format!("Traces are not exported: {error}"));
            None
        }
    });
    Start { traces, complaints }
}

impl Traces {
    fn new(settings: &environment::ExportSettings, name: &str) -> Result<Self, TracesError> {
        let delivery = Delivery::new(settings)?;
        let queue = Arc::new(Queue::new(settings.queue, settings.batch));
        let resource = resource(name);
        let message = ResourceMessage {
            attributes: Attributes::from(
                resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())),
            )
            .0,
            ..ResourceMessage::default()
        };
        exporter::start(Arc::clone(&queue), delivery, message, settings.delay)?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(settings.sampling.sampler())
            .with_span_processor(IntoQueue { queue: Arc::clone(&queue) })
            .build();
        Ok(Self { queue, provider, sampling: settings.sampling })
    }

    /// Which requests workers are to record.
    pub fn sampling(&self) -> Sampling {
        self.sampling
    }

    /// What makes this crate's `tracing` spans into spans that are exported.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + Send + Sync + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("podicorn"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            // The exporter's own connections must not make spans.
            .with_filter(filter_fn(|metadata| is_ours(metadata.target())))
    }

    /// What has become of the spans of the program before this one.
    pub fn resume(&self, before: Exported) {
        self.queue.resume(before);
    }

    pub fn exported(&self) -> Exported {
        self.queue.exported()
    }

    /// Queues spans of requests; `lost`: so many more were overwritten before they were read.
    pub fn export(&self, requests: impl Iterator<Item = RequestSpan>, lost: u64) {
        self.queue.extend_requests(requests);
        self.queue.count_overrun(lost);
    }

    /// Sends what is here and ends the export. Blocks for `limit` at most.
    pub fn finish(&self, limit: Duration) {
        self.queue.close(limit);
    }
}

/// Whether a `tracing` target is of this crate.
pub fn is_ours(target: &str) -> bool {
    target.starts_with("podicorn")
}

/// `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, with a name and an instance where they have none.
fn resource(name: &str) -> Resource {
    let (service, instance) =
        (Key::from_static_str("service.name"), Key::from_static_str("service.instance.id"));
    let given = Resource::builder().build();
    let unnamed = given.get(&service).is_none_or(|given| given.as_str().starts_with("unknown_service"));
    let mut builder = Resource::builder();
    if unnamed {
        builder = builder.with_service_name(name.to_owned());
    }
    if given.get(&instance).is_none()
        && let Ok(host) = nix::unistd::gethostname()
    {
        builder = builder.with_attribute(KeyValue::new(instance, host.to_string_lossy().into_owned()));
    }
    builder.build()
}

/// Where the SDK leaves spans that have ended.
#[derive(Debug)]
struct IntoQueue {
    queue: Arc<Queue>,
}

impl SpanProcessor for IntoQueue {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.queue.push(&span.into());
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
