//! A collector of traces: takes OTLP over HTTP with protobuf bodies (OTLP specification, OTLP/HTTP) and keeps the spans.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;

use crate::error::BedError;

/// A span as far as tests look at it.
#[derive(Debug, Clone)]
pub struct Span {
    /// `service.name` of the resource.
    pub service: String,
    pub name: String,
    pub trace: Vec<u8>,
    pub id: Vec<u8>,
    /// Empty: it has none.
    pub parent: Vec<u8>,
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// Listens on loopback as long as it lives.
#[derive(Debug)]
pub struct Collector {
    url: String,
    spans: Spans,
    server: tokio::task::JoinHandle<()>,
}

impl Collector {
    pub async fn start() -> Result<Self, BedError> {
        let io = |source| BedError::Io { what: "a collector on loopback".to_owned(), source };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(io)?;
        let url = format!("http://{}", listener.local_addr().map_err(io)?);
        let spans = Spans::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(spans.clone());
        let server = tokio::spawn(async move {
            // It ends with the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, spans, server })
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What has come.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(spans): State<Spans>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let mut spans = spans.lock().unwrap_or_else(PoisonError::into_inner);
    for group in request.resource_spans {
        let attributes = group.resource.unwrap_or_default().attributes;
        let service = attributes.into_iter().find(|attribute| attribute.key == "service.name");
        let service = match service.and_then(|attribute| attribute.value?.value) {
            Some(Value::StringValue(name)) => name,
            _ => String::new(),
        };
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                service: service.clone(),
                name: span.name,
                trace: span.trace_id,
                id: span.span_id,
                parent: span.parent_span_id,
            });
        }
    }
    StatusCode::OK
}
