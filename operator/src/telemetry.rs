//! Logs and traces of the operator.
//!
//! Contract:
//! - Logs are JSON lines on standard output, one object each, filtered by `RUST_LOG` (`info` where it is not set; a filter
//!   that cannot be read is an error, not a silence).
//! - Spans go to an OpenTelemetry collector by OTLP over HTTP with protobuf bodies, if `OTEL_EXPORTER_OTLP_ENDPOINT` or
//!   `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set; `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`
//!   and the other variables of the OpenTelemetry specification are the SDK's.
//! - Spans have ids without a collector, too: what is sent to a pod carries a W3C `traceparent`.

mod export;

use std::env;

use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use export::TokioClient;

/// What says that spans are to be exported.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("RUST_LOG: {0}")]
    Filter(#[from] ParseError),
    #[error("RUST_LOG is not UTF-8")]
    FilterText,
    #[error("cannot read the certificates of this system for the export of traces: {0}")]
    Certificates(std::io::Error),
    #[error("cannot set up the export of traces: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("logging was set up twice: {0}")]
    Twice(#[from] TryInitError),
}

/// Keeps the export of spans going; [`Telemetry::flush`] it before the process ends.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkTracerProvider,
}

impl Telemetry {
    /// Sets the process up. Needs a tokio runtime.
    pub fn start() -> Result<Self, TelemetryError> {
        let filter = match env::var("RUST_LOG") {
            Ok(text) => EnvFilter::try_new(text)?,
            Err(env::VarError::NotPresent) => EnvFilter::new("info"),
            Err(env::VarError::NotUnicode(_)) => return Err(TelemetryError::FilterText),
        };
        let service = env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "podicorn-operator".to_owned());
        let mut provider = SdkTracerProvider::builder()
            .with_resource(Resource::builder().with_service_name(service).build());
        if ENDPOINTS.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty())) {
            let client = TokioClient::new().map_err(TelemetryError::Certificates)?;
            provider = provider
                .with_batch_exporter(SpanExporter::builder().with_http().with_http_client(client).build()?);
        }
        let provider = provider.build();
        tracing_subscriber::registry()
            .with(filter)
            .with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(true))
            .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("podicorn-operator")))
            .try_init()?;
        Ok(Self { provider })
    }

    /// Sends the spans that are still here, and ends the export. Blocks: not for the runtime's own threads.
    pub fn flush(self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!("the last spans could not be sent: {error}");
        }
    }
}

/// The `traceparent` field (W3C Trace Context, §3.2) of the span that is current; None outside of spans.
pub fn traceparent() -> Option<String> {
    let context = tracing::Span::current().context();
    let span = context.span().span_context().clone();
    span.is_valid()
        .then(|| format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8()))
}
