//! The accept loop and its limits.
//!
//! A probe must be answered however many clients dawdle. So there is no waiting for room: at the limit the connection
//! that deserves it least makes place for the new one, and that is the one that has been without a request for longest.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, Id, JoinSet};
use tower::ServiceExt;

use super::{AdminListener, AdminState, Closing, router};

/// Connections at a time on one listener.
pub const MAX_CONNECTIONS: usize = 256;
/// A request head, the wait for the next one included, may take this long.
const HEAD_DEADLINE: Duration = Duration::from_secs(20);
/// A request head may have this many bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// How often to look for the first request of a new connection, once the API closes.
const FIRST_REQUEST_PAUSE: Duration = Duration::from_millis(2);
/// How long to wait when `accept` fails for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the admin API on one listener until it is dropped, or [`Closing`] has begun and the last answer is given. The error is that of taking the listener over; errors of
/// single connections are theirs alone.
pub async fn serve(listener: AdminListener, state: AdminState) -> io::Result<()> {
    let closing = state.closing.clone();
    let router = router(state);
    let mut connections = Connections::new(closing.clone());
    let begun = closing.begun();
    tokio::pin!(begun);
    match listener {
        AdminListener::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            while let Some(stream) = unless(begun.as_mut(), connections.reap_until(listener.accept())).await {
                if let Some((stream, _)) = accepted(stream).await {
                    let _ = stream.set_nodelay(true);
                    connections.admit(stream, router.clone());
                }
            }
        }
        AdminListener::Unix(mut socket) => {
            let listener = tokio::net::UnixListener::from_std(socket.listener.try_clone()?)?;
            while let Some(stream) = unless(begun.as_mut(), connections.reap_until(listener.accept())).await {
                if let Some((stream, _)) = accepted(stream).await {
                    connections.admit(stream, router.clone());
                }
            }
            socket.leave();
        }
    }
    while connections.tasks.join_next().await.is_some() {}
    Ok(())
}

/// `None` once `end` has come.
async fn unless<T>(end: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = end => None,
        done = work => Some(done),
    }
}

async fn accepted<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(accepted) => Some(accepted),
        // The client was gone before we came.
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO)) =>
        {
            None
        }
        Err(error) => {
            tracing::warn!("The admin API cannot accept a connection: {error}");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// What a connection has been up to.
#[derive(Debug, Default)]
struct Activity {
    /// Requests begun, and those of them that were answered.
    begun: AtomicU64,
    answered: AtomicU64,
    /// Milliseconds from the table's birth to the latest of: accept, request begun, request answered.
    at: AtomicU64,
}

impl Activity {
    /// The least goes first: idle before at work, never asked before asked, longest ago before lately.
    fn rank(&self) -> (bool, bool, u64) {
        let begun = self.begun.load(Ordering::Relaxed);
        (begun > self.answered.load(Ordering::Relaxed), begun > 0, self.at.load(Ordering::Relaxed))
    }
}

struct Connections {
    closing: Closing,
    born: Instant,
    tasks: JoinSet<()>,
    open: HashMap<Id, (AbortHandle, Arc<Activity>)>,
}

impl Connections {
    fn new(closing: Closing) -> Self {
        Self { closing, born: Instant::now(), tasks: JoinSet::new(), open: HashMap::new() }
    }

    /// Waits for the future and forgets connections that end meanwhile.
    async fn reap_until<T>(&mut self, future: impl Future<Output = T>) -> T {
        tokio::pin!(future);
        loop {
            tokio::select! {
                output = &mut future => return output,
                Some(ended) = self.tasks.join_next_with_id() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    self.open.remove(&id);
                }
            }
        }
    }

    fn admit(&mut self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, router: Router) {
        while self.open.len() >= MAX_CONNECTIONS {
            let Some(id) =
                self.open.iter().min_by_key(|(_, (_, activity))| activity.rank()).map(|(id, _)| *id)
            else {
                break;
            };
            if let Some((handle, _)) = self.open.remove(&id) {
                handle.abort();
            }
        }
        let activity = Arc::new(Activity::default());
        activity.at.store(millis_since(self.born), Ordering::Relaxed);
        let closing = self.closing.clone();
        let handle = self.tasks.spawn(connection(stream, router, Arc::clone(&activity), self.born, closing));
        self.open.insert(handle.id(), (handle, activity));
    }
}

/// At the end, but not before the first request: whoever has just connected is about to ask.
async fn has_been_asked(closing: &Closing, activity: &Activity) {
    closing.begun().await;
    while activity.begun.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(FIRST_REQUEST_PAUSE).await;
    }
}

fn millis_since(born: Instant) -> u64 {
    u64::try_from(born.elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    activity: Arc<Activity>,
    born: Instant,
    closing: Closing,
) {
    let seen = Arc::clone(&activity);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        let activity = Arc::clone(&activity);
        async move {
            activity.begun.fetch_add(1, Ordering::Relaxed);
            activity.at.store(millis_since(born), Ordering::Relaxed);
            let response = router.oneshot(request.map(Body::new)).await;
            activity.answered.fetch_add(1, Ordering::Relaxed);
            activity.at.store(millis_since(born), Ordering::Relaxed);
            response
        }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let served = tokio::select! {
        biased;
        served = serving.as_mut() => served,
        () = has_been_asked(&closing, &seen) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!("An admin connection ended early: {error}");
    }
}
