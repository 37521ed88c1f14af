//! One request and its answer on a connection; afterwards the bare socket is to be had back.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT,
};
use hyper::http::{HeaderName, Version};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{MAX_ANSWER_BYTES, PodError, Token};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const AGENT: HeaderValue = HeaderValue::from_static("podicorn-operator");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[derive(Debug, Clone)]
pub(super) struct Order<'a> {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) body: Option<Bytes>,
    pub(super) traceparent: Option<&'a str>,
}

impl Order<'_> {
    /// Sent twice it is as good as sent once.
    pub(super) fn repeatable(&self) -> bool {
        self.method != Method::POST
    }

    fn request(&self, address: SocketAddr, token: Option<&Token>) -> Result<Request<Full<Bytes>>, PodError> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(self.path)
            .header(HOST, address.to_string())
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, JSON);
        if self.body.is_some() {
            request = request.header(CONTENT_TYPE, JSON);
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.header());
        }
        if let Some(traceparent) = self.traceparent {
            request = request.header(TRACEPARENT, traceparent);
        }
        let body = Full::new(self.body.clone().unwrap_or_default());
        request.body(body).map_err(|error| PodError::Garbage(error.to_string()))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }
}

/// The answer, and the socket if it may be used again.
pub(super) async fn exchange(
    stream: TcpStream,
    address: SocketAddr,
    order: &Order<'_>,
    token: Option<&Token>,
) -> Result<(Answer, Option<TcpStream>), PodError> {
    let request = order.request(address, token)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(2 * MAX_ANSWER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(PodError::Exchange)?;
    let talk = async move {
        let response = sender.send_request(request).await.map_err(PodError::Exchange)?;
        let stays = response.version() == Version::HTTP_11 && !closes(response.headers());
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|error| {
            match error.downcast::<hyper::Error>() {
                Ok(error) => PodError::Exchange(*error),
                Err(error) if error.is::<LengthLimitError>() => PodError::TooLarge,
                Err(error) => PodError::Garbage(error.to_string()),
            }
        })?;
        // Without a sender the connection has nothing more to do and gives its socket back.
        drop(sender);
        Ok::<_, PodError>((Answer { status, body: body.to_bytes() }, stays))
    };
    let drive = connection.without_shutdown();
    tokio::pin!(talk, drive);
    let mut parts = None;
    let (answer, stays) = tokio::select! {
        biased;
        told = &mut talk => told?,
        // The other side has closed: what it has said before is with the talk already.
        ended = &mut drive => {
            parts = ended.ok();
            talk.await?
        }
    };
    if !stays {
        return Ok((answer, None));
    }
    let parts = match parts {
        Some(_) => None,
        None => drive.await.ok(),
    };
    let stream = parts.filter(|parts| parts.read_buf.is_empty()).map(|parts| parts.io.into_inner());
    Ok((answer, stream))
}

fn closes(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("close"))
}
