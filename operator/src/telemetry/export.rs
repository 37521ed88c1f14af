//! The HTTP client of the span exporter.
//!
//! The SDK exports from a thread of its own, where there is no tokio; the request itself is run by the operator's runtime.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use axum::http::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

/// The default of the OTLP specification (`OTEL_EXPORTER_OTLP_TIMEOUT`) for a request.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct TokioClient {
    inner: HyperClient<HttpsConnector<HttpConnector>>,
    runtime: Handle,
}

impl TokioClient {
    pub(super) fn new() -> io::Result<Self> {
        let connector =
            HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
        Ok(Self { inner: HyperClient::new(connector, TIMEOUT, None), runtime: Handle::current() })
    }
}

#[async_trait]
impl HttpClient for TokioClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let inner = self.inner.clone();
        self.runtime.spawn(async move { inner.send_bytes(request).await }).await?
    }
}
