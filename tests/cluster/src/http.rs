//! Plain HTTP/1.1 requests to servers on loopback, with a time limit.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::error::BedError;

const LIMIT: Duration = Duration::from_secs(10);

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub async fn get(url: &str) -> Result<Answer, BedError> {
    request(Method::GET, url, None, "").await
}

/// With the bearer token and a JSON body, where given.
pub async fn request(method: Method, url: &str, token: Option<&str>, body: &str) -> Result<Answer, BedError> {
    let failed = |error: &dyn std::fmt::Display| BedError::Http(format!("{url}: {error}"));
    let uri: Uri = url.parse().map_err(|error: hyper::http::uri::InvalidUri| failed(&error))?;
    let mut request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).map_err(|error| failed(&error))?;
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let exchange = async {
        let answer = client.request(request).await.map_err(|error| failed(&error))?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
        Ok(Answer { status, body })
    };
    tokio::time::timeout(LIMIT, exchange).await.map_err(|error| failed(&error))?
}
