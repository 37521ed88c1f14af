//! How the bytes of a response leave.
//!
//! Small responses leave in one write: the head waits in `buffer` for the first bytes of the body. A piece above
//! [`FLATTEN`] is not copied but sent from where it lies. What the socket does not take waits.

use std::io::IoSlice;
use std::sync::Arc;

use nix::errno::Errno;
use podicorn_http::response::{CRLF, Framing, write_chunk, write_chunk_size};
use pyo3::exceptions::{PyBrokenPipeError, PyTimeoutError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::{Broken, Response};
use crate::reactor::outbound::{Piece, Sent};
use crate::reactor::socket::{Readiness, Socket, Then};
use crate::slot::Known;
use crate::wsgi::wait::{Patience, Waited};

/// Pieces up to this many bytes are copied behind the head; longer ones are sent by reference.
const FLATTEN: usize = 4096;

/// A `bytes` object of the app, or a stretch of one.
pub(super) struct Part {
    bytes: PyBackedBytes,
    start: usize,
    end: usize,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
}

pub(super) fn client_is_gone(errno: Errno) -> PyErr {
    PyBrokenPipeError::new_err((errno as i32, "the client went away before the response was complete"))
}

/// What a wait for the client needs, apart from the response.
struct Wait {
    socket: Arc<Socket>,
    patience: Patience,
    /// Bytes that the socket has taken so far.
    sent: u64,
}

impl Response {
    /// Frames one piece of the body, behind whatever waits already.
    pub(super) fn add(&mut self, data: &Bound<'_, PyBytes>) {
        let bytes = data.as_bytes();
        self.dropped_body |= self.framing == Framing::NoBody && !bytes.is_empty();
        let length = self.framing.takes(bytes.len() as u64, self.body_bytes) as usize;
        if length == 0 {
            return;
        }
        self.body_bytes += length as u64;
        let chunked = self.framing == Framing::Chunked;
        if self.tail.is_some() {
            self.queue();
        }
        if length <= FLATTEN {
            if chunked {
                write_chunk(&mut self.buffer, bytes);
            } else {
                self.buffer.extend_from_slice(&bytes[..length]);
            }
            return;
        }
        if chunked {
            write_chunk_size(&mut self.buffer, length);
        }
        self.tail = Some(Part { bytes: PyBackedBytes::from(data.clone()), start: 0, end: length });
        if chunked {
            self.queue();
            self.buffer.extend_from_slice(CRLF);
        }
    }

    /// Lets what is ready wait.
    pub(super) fn queue(&mut self) {
        if !self.buffer.is_empty() {
            self.outbound.push(Piece::Owned(std::mem::take(&mut self.buffer)));
        }
        if let Some(part) = self.tail.take() {
            self.outbound.push(Piece::Shared(Box::new(part)));
        }
    }

    pub(super) fn drop_output(&mut self) {
        self.buffer.clear();
        self.tail = None;
        self.outbound.clear();
    }

    /// Sends what the socket takes now.
    pub(super) fn send_ready(&mut self) -> Sent {
        let Some(socket) = &self.socket else { return Sent::All };
        if self.given_away {
            self.drop_output();
            return Sent::All;
        }
        if self.broken == Some(Broken::Client) || self.common.slot.is_disabled() {
            self.drop_output();
            return Sent::Failed(Errno::EPIPE);
        }
        // Interim responses do not answer the request.
        let free = if self.head_sent { socket.answer() } else { !socket.is_timed_out() };
        if !free {
            return self.lose_to_watchdog();
        }
        let then = if self.is_last() { Then::End } else { Then::More };
        if then == Then::End && self.known < Known::Response {
            // Who has seen the connection end may look at the metrics, or kill the worker.
            self.known = self.common.slot.tell_response(self.head.status(), self.app_is_done);
        }
        if !self.outbound.is_empty() {
            self.queue();
            let Some(socket) = &self.socket else { return Sent::All };
            return match self.outbound.flush(socket, then) {
                Sent::Failed(errno) => self.lose_client(errno),
                sent => sent,
            };
        }
        // The common case: one send takes it all, and nothing has to be allocated.
        loop {
            let result = match &self.tail {
                None if self.buffer.is_empty() => return Sent::All,
                None => socket.send(&self.buffer, then),
                Some(part) => {
                    socket.send_pieces(&[IoSlice::new(&self.buffer), IoSlice::new(part.as_ref())], then)
                }
            };
            match result {
                Ok(sent) => {
                    return if self.has_gone(sent) {
                        Sent::All
                    } else {
                        self.queue();
                        Sent::Blocked { progress: true }
                    };
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    self.queue();
                    return Sent::Blocked { progress: false };
                }
                Err(errno) => return self.lose_client(errno),
            }
        }
    }

    /// Whether nothing more goes out on the connection than what is ready: an app that has given as much as its
    /// Content-Length says may still be at work, but has nothing to add.
    fn is_last(&self) -> bool {
        let complete = self.finished
            || matches!(self.framing, Framing::ContentLength(length) if length == self.body_bytes);
        self.head_sent && complete && !self.keep_alive
    }

    /// The socket has taken so many bytes of `buffer` and `tail`; whether that was all.
    fn has_gone(&mut self, sent: usize) -> bool {
        self.sent += sent as u64;
        if sent < self.buffer.len() {
            self.buffer.drain(..sent);
            return false;
        }
        let of_tail = sent - self.buffer.len();
        self.buffer.clear();
        match &mut self.tail {
            Some(part) if of_tail < part.end - part.start => {
                part.start += of_tail;
                false
            }
            _ => {
                self.tail = None;
                true
            }
        }
    }

    pub(super) fn lose_client(&mut self, errno: Errno) -> Sent {
        self.broken = Some(Broken::Client);
        self.drop_output();
        Sent::Failed(errno)
    }

    pub(super) fn lose_to_watchdog(&mut self) -> Sent {
        if self.sent + self.outbound.sent() == 0 {
            // For the log: what the client has got.
            self.timed_out = true;
            self.known = self.known.max(Known::Response);
            self.head.clear();
            let _ = self.head.set_status_code(504);
            self.head_sent = true;
            self.body_bytes = 0;
        }
        self.lose_client(Errno::ETIMEDOUT)
    }

    /// Sends everything, waiting for the client where it is slow: PEP 3333 wants each piece on its way before the app is
    /// asked for the next one. Nothing is borrowed during a wait, in which other greenlets run.
    pub(in crate::wsgi) fn send_all(slf: &Bound<'_, Self>) -> PyResult<()> {
        loop {
            let Some(Wait { socket, mut patience, sent }) = slf.try_borrow_mut()?.send_or_wait()? else {
                return Ok(());
            };
            let delivered = || sent.wrapping_sub(socket.undelivered());
            let waited = patience.wait(slf.py(), &socket, Readiness::Writable, delivered)?;
            slf.try_borrow_mut()?.has_waited(patience, waited)?;
        }
    }

    /// What to wait for before more can be sent; `None`: all is sent.
    fn send_or_wait(&mut self) -> PyResult<Option<Wait>> {
        match self.send_ready() {
            Sent::All => Ok(None),
            Sent::Failed(errno) => Err(client_is_gone(errno)),
            Sent::Blocked { .. } => Ok(self.socket.clone().map(|socket| Wait {
                socket,
                patience: self.patience.take().unwrap_or_else(|| self.common.patience()),
                sent: self.sent + self.outbound.sent(),
            })),
        }
    }

    fn has_waited(&mut self, patience: Patience, waited: Waited) -> PyResult<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        self.patience = Some(patience);
        if waited == Waited::Ready {
            return Ok(());
        }
        if socket.is_timed_out() {
            self.lose_to_watchdog();
            return Err(client_is_gone(Errno::ETIMEDOUT));
        }
        self.lose_client(Errno::ETIMEDOUT);
        Err(PyTimeoutError::new_err((Errno::ETIMEDOUT as i32, "the client stopped reading the response")))
    }
}
