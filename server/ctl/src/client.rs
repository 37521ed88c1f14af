//! One request at a time over HTTP/1.1.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};

use crate::address::Address;

/// A stack takes the server up to 3 s; everything else is at once.
const DEADLINE: Duration = Duration::from_secs(5);
/// The largest answer is that of `/workers` with all slots in use.
const MAX_BODY_BYTES: usize = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot read the token file {}: {source}", path.display())]
    Token { path: PathBuf, source: std::io::Error },
    #[error("the token in {} has characters that a header cannot have", .0.display())]
    TokenText(PathBuf),
    #[error(
        "no server answers at {address}: {source}. Is it running, with --admin-bind? --admin names another address."
    )]
    Unreachable { address: Address, source: std::io::Error },
    #[error("{address} gave no answer within {} s", DEADLINE.as_secs())]
    Silent { address: Address },
    #[error("{address} did not speak HTTP as expected: {why}")]
    Protocol { address: Address, why: String },
    #[error("the server wants the admin token: give --token-file or set PODICORN_ADMIN_TOKEN_FILE")]
    TokenWanted,
    #[error("the server does not take this token; is {} the file that it reads?", .0.display())]
    TokenWrong(PathBuf),
    #[error("the server refused ({status}): {detail}")]
    Refused { status: u16, detail: String },
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
}

#[derive(Debug)]
pub(crate) struct Client {
    address: Address,
    token: Option<(PathBuf, String)>,
    runtime: Runtime,
}

impl Client {
    pub(crate) fn new(address: Address, token_file: Option<&Path>) -> Result<Self, ClientError> {
        let token = token_file
            .map(|path| match std::fs::read_to_string(path) {
                Ok(text) => Ok((path.to_owned(), text.trim().to_owned())),
                Err(source) => Err(ClientError::Token { path: path.to_owned(), source }),
            })
            .transpose()?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(ClientError::Runtime)?;
        Ok(Self { address, token, runtime })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn get(&self, path: &str) -> Result<String, ClientError> {
        self.ask(Method::GET, path, None)
    }

    pub(crate) fn post(&self, path: &str) -> Result<String, ClientError> {
        self.ask(Method::POST, path, None)
    }

    pub(crate) fn put(&self, path: &str, body: String) -> Result<String, ClientError> {
        self.ask(Method::PUT, path, Some(body))
    }

    fn ask(&self, method: Method, path: &str, body: Option<String>) -> Result<String, ClientError> {
        let request = self.request(method, path, body)?;
        let exchange = async {
            match &self.address {
                Address::Tcp(address) => match TcpStream::connect(address).await {
                    Ok(stream) => self.exchange(stream, request).await,
                    Err(source) => Err(self.unreachable(source)),
                },
                Address::Unix(path) => match UnixStream::connect(path).await {
                    Ok(stream) => self.exchange(stream, request).await,
                    Err(source) => Err(self.unreachable(source)),
                },
            }
        };
        self.runtime
            .block_on(async { tokio::time::timeout(DEADLINE, exchange).await })
            .unwrap_or_else(|_| Err(ClientError::Silent { address: self.address.clone() }))
    }

    fn unreachable(&self, source: std::io::Error) -> ClientError {
        ClientError::Unreachable { address: self.address.clone(), source }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        // A loopback name: the server refuses others where it is open (DNS rebinding).
        let host = match &self.address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        };
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some((_, token)) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request.body(Full::from(body.unwrap_or_default())).map_err(|error| match &self.token {
            Some((path, _)) => ClientError::TokenText(path.clone()),
            None => self.protocol(&error),
        })
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
    ) -> Result<String, ClientError> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.protocol(&error))?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| self.protocol(&error))?;
        let answer = self.read(response).await;
        connection.abort();
        answer
    }

    async fn read(&self, response: Response<Incoming>) -> Result<String, ClientError> {
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await;
        let body = body.map_err(|error| self.protocol(&error))?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            return Ok(text);
        }
        match (status.as_u16(), &self.token) {
            (401, None) => Err(ClientError::TokenWanted),
            (401, Some((path, _))) => Err(ClientError::TokenWrong(path.clone())),
            (status, _) => Err(ClientError::Refused { status, detail: detail(&text) }),
        }
    }

    fn protocol(&self, error: &dyn std::fmt::Display) -> ClientError {
        ClientError::Protocol { address: self.address.clone(), why: error.to_string() }
    }
}

/// The sentence of a problem document (RFC 9457), or the text itself.
fn detail(text: &str) -> String {
    serde_json::from_str::<serde_json::Value>(text)
        .ok()
        .and_then(|problem| problem.get("detail")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::detail;

    #[test]
    fn a_problem_is_told_by_its_detail() {
        assert_eq!(detail(r#"{"title":"x","detail":"The server drains."}"#), "The server drains.");
        assert_eq!(detail(" plain \n"), "plain");
    }
}
