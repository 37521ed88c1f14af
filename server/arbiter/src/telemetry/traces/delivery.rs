//! Bringing one message to the collector: OTLP over HTTP or as gRPC, tried again while that makes sense
//! (OTLP specification, "OTLP/HTTP Response" and "OTLP/gRPC Response").

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, TE};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::environment::{ExportSettings, Protocol};
use super::queue::Queue;

/// The wait after the first failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A message is given up after this time, so that what comes later has a chance.
const GIVE_UP: Duration = Duration::from_secs(300);
/// An answer is a few bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error("cannot read the certificates of this system for the export of traces: {0}")]
    SystemCertificates(io::Error),
    #[error("OTEL_EXPORTER_OTLP_CERTIFICATE: cannot read {path}: {source}")]
    Certificate { path: String, source: rustls::pki_types::pem::Error },
    #[error("OTEL_EXPORTER_OTLP_CERTIFICATE: {path} holds no certificate that can be used")]
    NoCertificate { path: String },
    #[error("cannot set up TLS for the export of traces: {0}")]
    Tls(#[from] rustls::Error),
}

/// What has become of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Some of its spans may have been refused.
    Delivered {
        refused: usize,
    },
    Lost(String),
}

/// How one attempt ended.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    Accepted {
        refused: usize,
    },
    /// Worth another one, after this time if the collector says so.
    Failed {
        error: String,
        after: Option<Duration>,
    },
    Refused(String),
}

#[derive(Debug)]
pub(super) struct Delivery {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Uri,
    protocol: Protocol,
    headers: HeaderMap,
    gzip: bool,
    timeout: Duration,
}

impl Delivery {
    pub(super) fn new(settings: &ExportSettings) -> Result<Self, DeliveryError> {
        let grpc = settings.protocol == Protocol::Grpc;
        let connector = HttpsConnectorBuilder::new();
        let connector = match &settings.certificate {
            Some(path) => connector.with_tls_config(trusting(path)?),
            None if settings.endpoint.scheme_str() == Some("https") => {
                connector.with_native_roots().map_err(DeliveryError::SystemCertificates)?
            }
            // No connection will ask for them, and an image may have none.
            None => connector.with_tls_config(trusting_nobody()?),
        };
        let connector = connector.https_or_http();
        let connector =
            if grpc { connector.enable_http2().build() } else { connector.enable_http1().build() };
        let mut headers: HeaderMap = settings.headers.iter().cloned().collect();
        let content_type = if grpc { "application/grpc" } else { "application/x-protobuf" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if grpc {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if settings.gzip {
            let name = if grpc { HeaderName::from_static("grpc-encoding") } else { CONTENT_ENCODING };
            headers.insert(name, HeaderValue::from_static("gzip"));
        }
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).http2_only(grpc).build(connector),
            endpoint: settings.endpoint.clone(),
            protocol: settings.protocol,
            headers,
            gzip: settings.gzip,
            timeout: settings.timeout,
        })
    }

    /// Tries until the message is there, is refused, is too old, or the queue has to be closed. `failed` hears of each
    /// attempt that failed.
    pub(super) async fn deliver(
        &self,
        message: Bytes,
        queue: &Queue,
        mut failed: impl FnMut(&str),
    ) -> Outcome {
        let body = self.body(&message);
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let left = queue
                .close_by()
                .map_or(self.timeout, |by| self.timeout.min(by.saturating_duration_since(Instant::now())));
            let (error, after) = match self.attempt(body.clone(), left).await {
                Attempt::Accepted { refused } => return Outcome::Delivered { refused },
                Attempt::Refused(error) => return Outcome::Lost(error),
                Attempt::Failed { error, after } => (error, after),
            };
            queue.count_failed_attempt();
            failed(&error);
            let wait = after.unwrap_or(pause).min(GIVE_UP);
            if queue.close_by().is_some() || began.elapsed() + wait > GIVE_UP {
                return Outcome::Lost(error);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            let until = Instant::now() + wait;
            // New spans wake us, too; only the closing of the queue cuts the pause short.
            while queue.close_by().is_none()
                && tokio::time::timeout_at(until.into(), queue.work.notified()).await.is_ok()
            {}
        }
    }

    /// What is sent, compressed and framed.
    fn body(&self, message: &Bytes) -> Bytes {
        let compressed = if self.gzip { compressed(message) } else { message.clone() };
        match self.protocol {
            Protocol::Http => compressed,
            // gRPC over HTTP/2, "Length-Prefixed-Message".
            Protocol::Grpc => {
                let length = u32::try_from(compressed.len()).unwrap_or(u32::MAX).to_be_bytes();
                [&[u8::from(self.gzip)], &length[..], &compressed].concat().into()
            }
        }
    }

    async fn attempt(&self, body: Bytes, timeout: Duration) -> Attempt {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        *request.headers_mut() = self.headers.clone();
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| chain(&error))?;
            let (parts, body) = response.into_parts();
            let body =
                Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(|error| error.to_string())?;
            let trailers = body.trailers().cloned().unwrap_or_default();
            Ok::<_, String>((parts, trailers, body.to_bytes()))
        };
        let failed = |error| Attempt::Failed { error, after: None };
        match tokio::time::timeout(timeout, exchange).await {
            Err(_) => {
                failed(format!("no answer from {} within {:.1} s", self.place(), timeout.as_secs_f64()))
            }
            Ok(Err(error)) => failed(format!("{}: {error}", self.place())),
            Ok(Ok((parts, trailers, body))) => match self.protocol {
                Protocol::Http => judge_http(parts.status, &parts.headers, &body),
                Protocol::Grpc => judge_grpc(parts.status, &parts.headers, &trailers, &body),
            },
        }
    }

    /// For messages: an endpoint's path may hold a key.
    fn place(&self) -> &str {
        self.endpoint.authority().map_or("the collector", |authority| authority.as_str())
    }
}

fn judge_http(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Attempt {
    let error = || format!("the collector answered {status}");
    match status.as_u16() {
        200..=299 => Attempt::Accepted { refused: refused(body) },
        429 | 502 | 503 | 504 => Attempt::Failed { error: error(), after: retry_after(headers) },
        _ => Attempt::Refused(error()),
    }
}

/// `grpc-status` is in the trailers, or in the headers where there is nothing else.
fn judge_grpc(status: StatusCode, headers: &HeaderMap, trailers: &HeaderMap, body: &[u8]) -> Attempt {
    let field =
        |name: &str| trailers.get(name).or_else(|| headers.get(name)).and_then(|value| value.to_str().ok());
    let Some(code) = field("grpc-status").and_then(|code| code.parse::<u32>().ok()) else {
        let error = format!("the collector answered {status} without a gRPC status");
        // As gRPC's own table from HTTP has it: these are UNAVAILABLE.
        return match status.as_u16() {
            429 | 502 | 503 | 504 => Attempt::Failed { error, after: None },
            _ => Attempt::Refused(error),
        };
    };
    let error =
        || format!("the collector answered gRPC status {code} {}", field("grpc-message").unwrap_or_default());
    match code {
        0 => Attempt::Accepted { refused: refused(body.get(5..).unwrap_or_default()) },
        // Cancelled, deadline exceeded, resource exhausted, aborted, out of range, unavailable, data loss.
        1 | 4 | 8 | 10 | 11 | 14 | 15 => Attempt::Failed { error: error(), after: None },
        _ => Attempt::Refused(error()),
    }
}

/// How many spans an answer says were not taken.
fn refused(body: &[u8]) -> usize {
    let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let refused = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
    usize::try_from(refused).unwrap_or(0)
}

/// In seconds; a date is not worth a clock here.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn compressed(message: &Bytes) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 4), Compression::fast());
    // Writing to memory does not fail.
    let written = encoder.write_all(message).and_then(|()| encoder.finish());
    written.unwrap_or_default().into()
}

fn trusting(path: &str) -> Result<ClientConfig, DeliveryError> {
    let read = |source| DeliveryError::Certificate { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(read)? {
        // One that rustls cannot use may stand beside one that it can.
        let _ = roots.add(certificate.map_err(read)?);
    }
    if roots.is_empty() {
        return Err(DeliveryError::NoCertificate { path: path.to_owned() });
    }
    with_roots(roots)
}

fn trusting_nobody() -> Result<ClientConfig, DeliveryError> {
    with_roots(RootCertStore::empty())
}

fn with_roots(roots: RootCertStore) -> Result<ClientConfig, DeliveryError> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// An error with its causes: hyper's own says only "client error (Connect)".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
