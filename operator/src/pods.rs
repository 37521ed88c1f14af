//! The admin API of pods, from outside.
//!
//! Contract:
//! - One method for each verb that the operator uses: read the scale, take or renew a lease, one step up or down.
//! - Nothing takes longer than the time limit, and no answer is read beyond [`MAX_ANSWER_BYTES`]: a pod that is slow, dead
//!   or out of its mind costs a bounded time and a typed error.
//! - Connections are kept between requests, and between requests nothing but the socket is kept: thousands of pods cost
//!   little memory. A kept connection that turns out to be closed is replaced once, for requests that may be repeated.
//! - A token that the pod refuses is followed by the one before it, if there is one: Secrets reach pods with a delay.

mod answer;
mod exchange;
mod token;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use podicorn_admin_api::{ScaleRequest, ScaleView, StepView};
use tokio::net::TcpStream;

pub use answer::PodError;
pub use token::{Token, Tokens};

use exchange::{Answer, Order, exchange};

/// The largest answer is that of a pod with a long story to tell: about 4 KiB.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How long a pod may take to answer.
pub const TIME_LIMIT: Duration = Duration::from_secs(1);

/// Where a pod's admin API is, and what opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// None: the API is open, as on loopback.
    pub tokens: Option<Arc<Tokens>>,
}

/// The relative verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    Ttin,
    Ttou,
}

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttin => "ttin",
            Self::Ttou => "ttou",
        }
    }
}

/// Talks to all pods.
#[derive(Debug)]
pub struct PodClient {
    time_limit: Duration,
    idle: Mutex<HashMap<SocketAddr, TcpStream>>,
}

impl Default for PodClient {
    fn default() -> Self {
        Self::new(TIME_LIMIT)
    }
}

impl PodClient {
    pub fn new(time_limit: Duration) -> Self {
        Self { time_limit, idle: Mutex::default() }
    }

    /// `GET /scale`. `traceparent` (W3C Trace Context) makes it part of a trace.
    pub async fn scale(&self, pod: &Endpoint, traceparent: Option<&str>) -> Result<ScaleView, PodError> {
        let order = Order { method: Method::GET, path: "/scale", body: None, traceparent };
        answer::view(&self.send(pod, &order).await?)
    }

    /// `PUT /scale`.
    pub async fn put_scale(
        &self,
        pod: &Endpoint,
        request: &ScaleRequest,
        traceparent: Option<&str>,
    ) -> Result<ScaleView, PodError> {
        let body = serde_json::to_vec(request).map_err(|error| PodError::Garbage(error.to_string()))?;
        let order = Order { method: Method::PUT, path: "/scale", body: Some(body.into()), traceparent };
        answer::view(&self.send(pod, &order).await?)
    }

    /// `POST /scale/ttin|ttou`.
    pub async fn step(
        &self,
        pod: &Endpoint,
        step: Step,
        traceparent: Option<&str>,
    ) -> Result<StepView, PodError> {
        let path = match step {
            Step::Ttin => "/scale/ttin",
            Step::Ttou => "/scale/ttou",
        };
        let order = Order { method: Method::POST, path, body: None, traceparent };
        answer::view(&self.send(pod, &order).await?)
    }

    /// Closes the connections to addresses that are no pod's any more.
    pub fn keep(&self, addresses: &HashSet<SocketAddr>) {
        self.idle().retain(|address, _| addresses.contains(address));
    }

    async fn send(&self, pod: &Endpoint, order: &Order<'_>) -> Result<Answer, PodError> {
        tokio::time::timeout(self.time_limit, self.try_tokens(pod, order))
            .await
            .map_err(|_| PodError::TimedOut(self.time_limit))?
    }

    async fn try_tokens(&self, pod: &Endpoint, order: &Order<'_>) -> Result<Answer, PodError> {
        let Some(tokens) = &pod.tokens else { return self.try_connections(pod.address, order, None).await };
        let answer = self.try_connections(pod.address, order, Some(tokens.current())).await?;
        match tokens.previous().filter(|_| answer.unauthorized()) {
            Some(previous) => self.try_connections(pod.address, order, Some(previous)).await,
            None => Ok(answer),
        }
    }

    async fn try_connections(
        &self,
        address: SocketAddr,
        order: &Order<'_>,
        token: Option<&Token>,
    ) -> Result<Answer, PodError> {
        // A step that was sent twice would be two steps, so it is not tried on a connection that may have ended.
        let kept = self.idle().remove(&address).filter(|_| order.repeatable());
        if let Some(stream) = kept
            && let Ok((answer, stream)) = exchange(stream, address, order, token).await
        {
            self.put_back(address, stream);
            return Ok(answer);
        }
        let stream = TcpStream::connect(address).await.map_err(PodError::Connect)?;
        stream.set_nodelay(true).map_err(PodError::Connect)?;
        let (answer, stream) = exchange(stream, address, order, token).await?;
        self.put_back(address, stream);
        Ok(answer)
    }

    fn put_back(&self, address: SocketAddr, stream: Option<TcpStream>) {
        if let Some(stream) = stream {
            self.idle().insert(address, stream);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, TcpStream>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
