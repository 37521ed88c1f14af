//! Carries requests to the apiserver and answers back, as far as the rules let it.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use futures::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Shared;
use super::rule::{Action, Verb};

type Body = BoxBody<Bytes, io::Error>;
/// The connection to the apiserver that belongs to one of the operator's.
type Sender = Arc<Mutex<SendRequest<Incoming>>>;

#[derive(Clone)]
pub(super) struct Upstream {
    pub connector: TlsConnector,
    pub port: u16,
}

pub(super) async fn run(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    upstream: Upstream,
    shared: Arc<Shared>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, upstream, shared) = (acceptor.clone(), upstream.clone(), shared.clone());
        // What goes wrong with one connection is seen by its two ends.
        tokio::spawn(async move {
            let stream = acceptor.accept(stream).await?;
            let sender = connect(&upstream).await?;
            let service = service_fn(move |request| handle(shared.clone(), sender.clone(), request));
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .map_err(io::Error::other)
        });
    }
}

async fn connect(upstream: &Upstream) -> io::Result<Sender> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream.port)).await?;
    let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
    let stream = upstream.connector.connect(name, stream).await?;
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(Arc::new(Mutex::new(sender)))
}

/// An error ends the operator's connection without an answer.
async fn handle(
    shared: Arc<Shared>,
    sender: Sender,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let verb = Verb::of(request.method(), request.uri().query());
    let action = shared.judge(verb, request.uri().path());
    match action {
        Some(Action::Answer { code, retry_after }) => return refusal(code, retry_after),
        Some(Action::Expired) => return expired(),
        Some(Action::Refuse) => return Err(io::Error::other("by rule")),
        Some(Action::Delay(time)) => tokio::time::sleep(time).await,
        Some(Action::LoseAnswer) | None => {}
    }
    let answer = sender.lock().await.send_request(request).await.map_err(io::Error::other)?;
    if action == Some(Action::LoseAnswer) {
        return Err(io::Error::other("by rule"));
    }
    let watched = verb == Verb::Watch;
    Ok(answer
        .map(|body| if watched { cuttable(body, &shared) } else { body.map_err(io::Error::other).boxed() }))
}

/// Passes on what comes until all watches are cut off.
fn cuttable(body: Incoming, shared: &Shared) -> Body {
    let cut = shared.cut.subscribe();
    let frames = stream::unfold(Some((body, cut)), async |state| {
        let (mut body, mut cut) = state?;
        tokio::select! {
            frame = body.frame() => {
                let frame = frame?.map_err(io::Error::other);
                let state = frame.is_ok().then_some((body, cut));
                Some((frame, state))
            }
            _ = cut.changed() => Some((Err(io::Error::other("by rule")), None)),
        }
    });
    BodyExt::boxed(StreamBody::new(Box::pin(frames)))
}

fn refusal(code: u16, retry_after: Option<u32>) -> io::Result<Response<Body>> {
    let mut answer = Response::builder().status(code).header("content-type", "application/json");
    if let Some(seconds) = retry_after {
        answer = answer.header("retry-after", seconds.to_string());
    }
    answer.body(whole(status(code).to_string())).map_err(io::Error::other)
}

fn expired() -> io::Result<Response<Body>> {
    let event = json!({"type": "ERROR", "object": status(410)});
    Response::builder()
        .header("content-type", "application/json")
        .body(whole(format!("{event}\n")))
        .map_err(io::Error::other)
}

fn status(code: u16) -> serde_json::Value {
    let reason = match code {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": format!("{reason}, injected by the testbed"),
    })
}

fn whole(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed()
}
