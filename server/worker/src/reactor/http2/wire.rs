//! A client's socket as `h2` wants it. Nobody is woken: the reactor asks again with every event.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use nix::errno::Errno;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flood::Toll;
use super::{PREFACE, upgrade};
use crate::clock::monotonic;
use crate::reactor::socket::{Socket, Then};

/// Bytes that are read at a time while the client's own beginning is waited for.
const STEP: usize = 4096;

/// See the module's text.
pub(super) struct Wire {
    socket: Arc<Socket>,
    /// What was read before it was known that this is HTTP/2.
    early: Vec<u8>,
    /// The connection was HTTP/1.1 before: these settings came with it, and the preface is still to come.
    upgraded: Option<Vec<u8>>,
    toll: Toll,
    flow: Arc<Flow>,
}

/// What the front knows of its wire.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// The client sends what nobody bears: nothing more is read.
    pub(super) flooded: AtomicBool,
    /// The socket took nothing when it was last tried.
    pub(super) blocked: AtomicBool,
    /// Bytes that it has taken so far.
    pub(super) sent: AtomicU64,
}

impl Flow {
    fn note(&self, taken: &Poll<io::Result<usize>>) {
        self.blocked.store(taken.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(taken)) = taken {
            self.sent.fetch_add(*taken as u64, Ordering::Relaxed);
        }
    }
}

impl Wire {
    pub(super) fn new(
        socket: Arc<Socket>,
        early: Vec<u8>,
        upgraded: Option<Vec<u8>>,
        flow: Arc<Flow>,
    ) -> Self {
        Self { socket, early, upgraded, toll: Toll::new(PREFACE.len()), flow }
    }

    /// The bytes that come next.
    fn receive(&mut self, room: &mut [u8]) -> Poll<io::Result<usize>> {
        while let Some(settings) = &self.upgraded {
            if let Some(begun) = upgrade::begin(settings, &self.early) {
                self.early = begun;
                self.upgraded = None;
                break;
            }
            let mut piece = [0; STEP];
            match poll(|| self.socket.read(&mut piece)) {
                Poll::Ready(Ok(received)) if received > 0 => self.early.extend_from_slice(&piece[..received]),
                other => return other,
            }
        }
        if self.early.is_empty() {
            return poll(|| self.socket.read(room));
        }
        let count = self.early.len().min(room.len());
        room[..count].copy_from_slice(&self.early[..count]);
        self.early.drain(..count);
        Poll::Ready(Ok(count))
    }
}

/// The result of a call that does not wait.
fn poll<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Poll<io::Result<T>> {
    loop {
        return match call() {
            Ok(done) => Poll::Ready(Ok(done)),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => Poll::Pending,
            Err(errno) => Poll::Ready(Err(errno.into())),
        };
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.flow.flooded.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let room = buffer.initialize_unfilled();
        match self.receive(room) {
            Poll::Ready(Ok(received)) if !self.toll.bears(&room[..received], monotonic()) => {
                self.flow.flooded.store(true, Ordering::Relaxed);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            received => received.map_ok(|received| buffer.advance(received)),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = poll(|| self.socket.send(bytes, Then::More));
        self.flow.note(&taken);
        taken
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = poll(|| self.socket.send_pieces(pieces, Then::More));
        self.flow.note(&taken);
        taken
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Everything that was sent has left: see `Socket::send`.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.finish_sending();
        Poll::Ready(Ok(()))
    }
}
