//! The arbiter's end of the control socket: requests in order, each with one reply and a deadline.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use super::message::Failure;
use super::spawn::MESSAGE_BYTES;
use crate::kernel;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It answered, and the answer is no.
    #[error(transparent)]
    Failed(#[from] Failure),
    #[error("the fork server died")]
    Gone,
    #[error("the fork server did not answer '{request}' within {} s", .after.as_secs())]
    Deadline { request: &'static str, after: Duration },
    #[error("cannot send '{request}' to the fork server: {errno}")]
    Send { request: &'static str, errno: Errno },
    #[error("the fork server answered '{request}' with something that is not the protocol: {detail}")]
    Protocol { request: &'static str, detail: String },
}

/// Something that rides along with a request.
pub type Descriptor = Arc<OwnedFd>;

#[derive(Debug)]
struct Job {
    request: &'static str,
    body: Map<String, Value>,
    descriptors: Vec<Descriptor>,
    deadline: Duration,
    reply: oneshot::Sender<Result<Value, RequestError>>,
    /// Until it is answered or given up.
    outstanding: Outstanding,
}

/// One for each request that has not been answered, and one for the handle itself.
type Outstanding = Arc<()>;

/// A handle to the connection; the connection ends when the last one is dropped, and with it the fork server.
#[derive(Debug, Clone)]
pub struct Client {
    jobs: mpsc::UnboundedSender<Job>,
    /// While the connection lasts.
    socket: Weak<AsyncFd<OwnedFd>>,
    outstanding: Weak<()>,
}

impl Client {
    /// Takes the control socket over.
    pub fn new(control: OwnedFd) -> std::io::Result<Self> {
        let socket = Arc::new(kernel::watch(control)?);
        let (jobs, queue) = mpsc::unbounded_channel();
        let outstanding = Outstanding::default();
        let client =
            Self { jobs, socket: Arc::downgrade(&socket), outstanding: Arc::downgrade(&outstanding) };
        let buffer = vec![0; MESSAGE_BYTES];
        tokio::spawn(Connection { socket, next_id: 0, buffer, _lives: outstanding }.serve(queue));
        Ok(client)
    }

    /// The control socket, while the connection lasts.
    pub(crate) fn socket(&self) -> Option<Arc<AsyncFd<OwnedFd>>> {
        self.socket.upgrade()
    }

    /// Whether every request has been answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.outstanding.strong_count() <= 1
    }

    /// A handle to no connection: every request is answered by [`RequestError::Gone`].
    pub fn closed() -> Self {
        Self { jobs: mpsc::unbounded_channel().0, socket: Weak::new(), outstanding: Weak::new() }
    }

    /// Queues a request now, and waits for its reply later. `deadline` counts from when its turn comes.
    pub fn request<T: DeserializeOwned>(
        &self,
        request: &'static str,
        body: Map<String, Value>,
        descriptors: Vec<Descriptor>,
        deadline: Duration,
    ) -> impl Future<Output = Result<T, RequestError>> + Send + 'static {
        let (reply, answer) = oneshot::channel();
        // A closed queue drops the job, and with it the sender of the answer.
        let outstanding = self.outstanding.upgrade().unwrap_or_default();
        let _ = self.jobs.send(Job { request, body, descriptors, deadline, reply, outstanding });
        async move {
            let value = answer.await.map_err(|_| RequestError::Gone)??;
            serde_json::from_value(value)
                .map_err(|error| RequestError::Protocol { request, detail: error.to_string() })
        }
    }
}

struct Connection {
    socket: Arc<AsyncFd<OwnedFd>>,
    next_id: u64,
    buffer: Vec<u8>,
    _lives: Outstanding,
}

impl Connection {
    async fn serve(mut self, mut queue: mpsc::UnboundedReceiver<Job>) {
        while let Some(Job { request, body, descriptors, deadline, reply, outstanding }) = queue.recv().await
        {
            let exchange = self.exchange(request, body, &descriptors);
            let result = match tokio::time::timeout(deadline, exchange).await {
                Ok(result) => result,
                Err(_) => Err(RequestError::Deadline { request, after: deadline }),
            };
            let over = matches!(result, Err(RequestError::Gone | RequestError::Deadline { .. }));
            let _ = reply.send(result);
            drop(outstanding);
            if over {
                // Answers would no longer match questions. The rest of the queue learns that it is gone.
                return;
            }
        }
    }

    async fn exchange(
        &mut self,
        request: &'static str,
        mut body: Map<String, Value>,
        descriptors: &[Descriptor],
    ) -> Result<Value, RequestError> {
        self.next_id += 1;
        let id = self.next_id;
        body.insert("type".into(), request.into());
        body.insert("id".into(), id.into());
        let packet = Value::Object(body).to_string();
        self.send(packet.as_bytes(), descriptors).await.map_err(|errno| match errno {
            Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN => RequestError::Gone,
            errno => RequestError::Send { request, errno },
        })?;
        let length = self.receive().await.map_err(|_| RequestError::Gone)?;
        if length == 0 {
            return Err(RequestError::Gone);
        }
        let protocol = |detail: String| RequestError::Protocol { request, detail };
        let answer: Value =
            serde_json::from_slice(&self.buffer[..length]).map_err(|error| protocol(error.to_string()))?;
        if answer["id"].as_u64() != Some(id) {
            return Err(protocol(format!("reply to {} instead of {id}", answer["id"])));
        }
        if answer["type"] == "failed" {
            let failure: Failure =
                serde_json::from_value(answer).map_err(|error| protocol(error.to_string()))?;
            return Err(failure.into());
        }
        Ok(answer)
    }

    async fn send(&self, packet: &[u8], descriptors: &[Descriptor]) -> Result<(), Errno> {
        let numbers: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control: &[ControlMessage<'_>] = if numbers.is_empty() { &[] } else { &rights };
        self.socket
            .async_io(Interest::WRITABLE, |socket| {
                sendmsg::<()>(
                    socket.as_raw_fd(),
                    &[IoSlice::new(packet)],
                    control,
                    MsgFlags::MSG_NOSIGNAL,
                    None,
                )
                .map_err(Into::into)
            })
            .await
            .map(drop)
            .map_err(|error| errno(&error))
    }

    async fn receive(&mut self) -> Result<usize, Errno> {
        let buffer = &mut self.buffer;
        self.socket
            .async_io(Interest::READABLE, |socket| {
                // No descriptor is expected; room for one keeps a stray one from being leaked silently.
                let mut space = cmsg_space!([i32; 1]);
                let mut slices = [IoSliceMut::new(buffer)];
                let flags = MsgFlags::MSG_CMSG_CLOEXEC;
                let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
                Ok(message.bytes)
            })
            .await
            .map_err(|error| errno(&error))
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
