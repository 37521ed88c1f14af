//! The response of one request: its head, its framing, and its bytes on their way to the client.
//!
//! Small responses leave in one write: the head waits in `buffer` for the first bytes of the body. A piece above
//! [`FLATTEN`] is not copied but sent from where it lies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use podicorn_http::Version;
use podicorn_http::date::DateCache;
use podicorn_http::response::{
    CRLF, Exchange, Framing, LAST_CHUNK, RequestMethod, ResponseHead, decide_framing, write_chunk,
    write_chunk_size, write_error,
};
use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyRuntimeError, PyTimeoutError, PyTypeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::wait::{Patience, Waited};
use crate::clock::{SECOND, unix};
use crate::reactor::SERVER;
use crate::reactor::outbound::{FilePart, Outbound, Piece, Sent};
use crate::reactor::socket::{Readiness, Socket};
use crate::slot::SharedSlot;

/// Pieces up to this many bytes are copied behind the head; longer ones are sent by reference.
const FLATTEN: usize = 4096;

/// What responses of one engine share.
pub(crate) type SharedDate = Arc<Mutex<DateCache>>;

/// Facts of the request that the response depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) version: Version,
    pub(crate) method: RequestMethod,
    pub(crate) keep_alive: bool,
}

/// What may still forbid another request on the connection when the head is written.
pub(crate) struct Outlook {
    /// The worker stops.
    pub(crate) stopping: Arc<AtomicBool>,
    /// Knows whether the whole server does.
    pub(crate) slot: Arc<SharedSlot>,
    /// Where the body is read while the app runs: whether it has ended.
    pub(crate) body_complete: Option<Arc<AtomicBool>>,
}

impl Outlook {
    fn is_good(&self) -> bool {
        let complete = self.body_complete.as_ref().is_none_or(|complete| complete.load(Ordering::Relaxed));
        complete && !self.stopping.load(Ordering::Relaxed) && !self.slot.draining()
    }
}

/// The way to the client.
struct Channel {
    socket: Arc<Socket>,
    patience: Patience,
}

/// What a wait for the client needs, apart from the response.
struct Wait {
    socket: Arc<Socket>,
    patience: Patience,
    /// Bytes that the socket has taken so far.
    sent: u64,
}

/// Why the client gets nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The client is gone, takes nothing any more, or is not this process's.
    Client,
    /// The app has failed after the head was out.
    App,
}

/// Given to the app as `start_response` (its bound method), as the `write` callable (itself), and as `wsgi.early_hints`.
#[allow(clippy::struct_excessive_bools)] // independent facts, not states
#[pyclass(module = "podicorn._engine")]
pub(crate) struct Response {
    /// `None` once the request is over.
    channel: Option<Channel>,
    date: SharedDate,
    question: Question,
    outlook: Outlook,
    pub(super) head: ResponseHead,
    pub(super) started: bool,
    pub(super) head_sent: bool,
    framing: Framing,
    /// Bytes of the body that went out, without chunk framing.
    body_bytes: u64,
    /// Bytes ready to go.
    pub(super) buffer: Vec<u8>,
    outbound: Outbound,
    /// Bytes that the socket took without passing through `outbound`.
    sent: u64,
    /// The head promised another request, and all of the body was given.
    keep_alive: bool,
    finished: bool,
    /// The watchdog has answered.
    timed_out: bool,
    /// What the client has sent after the request: the next one, or a protocol of the app's own.
    residue: Vec<u8>,
    /// The app has taken the connection for itself.
    given_away: bool,
    broken: Option<Broken>,
    /// Body bytes were given where there may be none.
    dropped_body: bool,
}

/// A `bytes` object of the app, or the beginning of one.
struct Part {
    bytes: PyBackedBytes,
    length: usize,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn client_is_gone(errno: Errno) -> PyErr {
    PyBrokenPipeError::new_err((errno as i32, "the client went away before the response was complete"))
}

impl Response {
    pub(crate) fn new(
        socket: Arc<Socket>,
        patience: Patience,
        date: SharedDate,
        question: Question,
        outlook: Outlook,
        residue: Vec<u8>,
    ) -> Self {
        Self {
            channel: Some(Channel { socket, patience }),
            date,
            question,
            outlook,
            head: ResponseHead::new(),
            started: false,
            head_sent: false,
            framing: Framing::NoBody,
            body_bytes: 0,
            buffer: Vec::with_capacity(1024),
            outbound: Outbound::default(),
            sent: 0,
            keep_alive: false,
            finished: false,
            timed_out: false,
            residue,
            given_away: false,
            broken: None,
            dropped_body: false,
        }
    }

    pub(crate) fn is_head_sent(&self) -> bool {
        self.head_sent
    }

    /// The status that the client got; 0: none.
    pub(crate) fn status_sent(&self) -> u16 {
        if self.head_sent { self.head.status() } else { 0 }
    }

    pub(crate) fn head(&self) -> &ResponseHead {
        &self.head
    }

    pub(crate) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    pub(crate) fn broken(&self) -> Option<Broken> {
        self.broken
    }

    /// Whether body bytes were thrown away because the response may have none.
    pub(crate) fn dropped_body(&self) -> bool {
        self.dropped_body
    }

    /// Whether another request may follow on the connection.
    pub(crate) fn persists(&self) -> bool {
        let whole = match self.framing {
            Framing::ContentLength(length) => length == self.body_bytes,
            Framing::Chunked | Framing::NoBody => true,
            Framing::UntilClose => false,
        };
        self.keep_alive && self.finished && whole && self.broken.is_none()
    }

    /// Whether the watchdog has answered, and counted, in place of the app.
    pub(crate) fn is_timed_out(&self) -> bool {
        self.timed_out
    }

    /// Whether the app has taken the connection for itself.
    pub(crate) fn is_given_away(&self) -> bool {
        self.given_away
    }

    /// What the client has sent after the request.
    pub(crate) fn take_residue(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.residue)
    }

    /// Gives the connection to the app; `None`: the request is over.
    pub(super) fn give_away(&mut self) -> Option<(Arc<Socket>, Vec<u8>)> {
        let socket = Arc::clone(&self.channel.as_ref()?.socket);
        if !socket.give_away() {
            return None;
        }
        self.given_away = true;
        Some((socket, self.take_residue()))
    }

    /// Whether the request is over.
    pub(super) fn is_over(&self) -> bool {
        self.channel.is_none()
    }

    /// Whether it is too late for early hints, or the client would not know what they are.
    pub(super) fn ignores_hints(&self) -> bool {
        self.is_over() || self.head_sent || self.question.version < Version::HTTP_11
    }

    /// Ends the response's life for Python: later calls by the app fail. What is not sent yet comes back.
    pub(crate) fn end(&mut self) -> Outbound {
        self.channel = None;
        std::mem::take(&mut self.outbound)
    }

    /// The app has failed. Before the head is out the client gets this status with a plain page instead; after it the
    /// connection just ends, so that the client sees an incomplete response.
    pub(crate) fn fail(&mut self, status: u16, detail: &str) {
        if self.head_sent {
            self.broken.get_or_insert(Broken::App);
            return;
        }
        self.buffer.clear();
        let mut date = self.date.lock().unwrap_or_else(PoisonError::into_inner);
        let head_only = self.question.method == RequestMethod::Head;
        write_error(&mut self.buffer, status, detail, SERVER, date.at(unix() / SECOND), head_only);
        drop(date);
        self.head.clear();
        // The code is in range; the text is for the log.
        let _ = self.head.set_status_code(status);
        self.head_sent = true;
        self.framing = Framing::NoBody;
        self.send_ready();
    }

    /// The client is gone: nothing more goes out.
    pub(crate) fn abandon(&mut self) {
        self.lose_client(Errno::ECONNRESET);
    }

    /// Puts the head into the buffer. `known_length`: of the whole body, where the app has not said it.
    pub(super) fn begin(&mut self, known_length: Option<u64>) -> PyResult<()> {
        if !self.started {
            return Err(PyAssertionError::new_err("the app gave a body before it called start_response"));
        }
        let decision = decide_framing(&Exchange {
            version: self.question.version,
            method: self.question.method,
            status: self.head.status(),
            content_length: self.head.content_length().or(known_length),
            keep_alive: self.question.keep_alive && self.outlook.is_good(),
        });
        self.framing = decision.framing;
        self.keep_alive = decision.keep_alive && !self.head.upgrade();
        let mut date = self.date.lock().unwrap_or_else(PoisonError::into_inner);
        self.head.write(&mut self.buffer, &decision, SERVER, date.at(unix() / SECOND));
        self.head_sent = true;
        Ok(())
    }

    /// Frames one piece of the body, behind whatever waits already.
    fn add(&mut self, data: &Bound<'_, PyBytes>) {
        let bytes = data.as_bytes();
        let length = match self.framing {
            Framing::NoBody => {
                self.dropped_body |= !bytes.is_empty();
                0
            }
            Framing::ContentLength(length) => {
                bytes.len().min(usize::try_from(length - self.body_bytes).unwrap_or(usize::MAX))
            }
            Framing::Chunked | Framing::UntilClose => bytes.len(),
        };
        if length == 0 {
            return;
        }
        self.body_bytes += length as u64;
        let chunked = self.framing == Framing::Chunked;
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
        self.queue_buffer();
        let bytes = PyBackedBytes::from(data.clone());
        self.outbound.push(Piece::Shared(Box::new(Part { bytes, length })));
        if chunked {
            self.buffer.extend_from_slice(CRLF);
        }
    }

    fn queue_buffer(&mut self) {
        if !self.buffer.is_empty() {
            self.outbound.push(Piece::Owned(std::mem::take(&mut self.buffer)));
        }
    }

    /// Sends what the socket takes now.
    fn send_ready(&mut self) -> Sent {
        let Some(channel) = &self.channel else { return Sent::All };
        if self.given_away {
            self.buffer.clear();
            self.outbound.clear();
            return Sent::All;
        }
        if self.broken == Some(Broken::Client) || channel.patience.is_foreign() {
            self.buffer.clear();
            self.outbound.clear();
            return Sent::Failed(Errno::EPIPE);
        }
        // Interim responses do not answer the request.
        let free = if self.head_sent { channel.socket.answer() } else { !channel.socket.is_timed_out() };
        if !free {
            return self.lose_to_watchdog();
        }
        if self.outbound.is_empty() {
            // The common case: one small response, one send.
            while !self.buffer.is_empty() {
                match channel.socket.send(&self.buffer) {
                    Ok(sent) if sent == self.buffer.len() => {
                        self.sent += sent as u64;
                        self.buffer.clear();
                    }
                    Ok(sent) => {
                        self.sent += sent as u64;
                        self.buffer.drain(..sent);
                        break;
                    }
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => break,
                    Err(errno) => return self.lose_client(errno),
                }
            }
        }
        self.queue_buffer();
        let Some(channel) = &self.channel else { return Sent::All };
        match self.outbound.flush(&channel.socket) {
            Sent::Failed(errno) => self.lose_client(errno),
            sent => sent,
        }
    }

    fn lose_client(&mut self, errno: Errno) -> Sent {
        self.broken = Some(Broken::Client);
        self.buffer.clear();
        self.outbound.clear();
        Sent::Failed(errno)
    }

    fn lose_to_watchdog(&mut self) -> Sent {
        if self.sent + self.outbound.sent() == 0 {
            // For the log: what the client has got.
            self.timed_out = true;
            self.head.clear();
            let _ = self.head.set_status_code(504);
            self.head_sent = true;
            self.body_bytes = 0;
        }
        self.lose_client(Errno::ETIMEDOUT)
    }

    /// Sends everything, waiting for the client where it is slow: PEP 3333 wants each piece on its way before the app is
    /// asked for the next one. Nothing is borrowed during a wait, in which other greenlets run.
    pub(super) fn send_all(slf: &Bound<'_, Self>) -> PyResult<()> {
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
            Sent::Blocked { .. } => Ok(self.channel.as_ref().map(|channel| Wait {
                socket: Arc::clone(&channel.socket),
                patience: channel.patience.clone(),
                sent: self.sent + self.outbound.sent(),
            })),
        }
    }

    fn has_waited(&mut self, patience: Patience, waited: Waited) -> PyResult<()> {
        let Some(channel) = &mut self.channel else { return Ok(()) };
        channel.patience = patience;
        if waited == Waited::Ready {
            return Ok(());
        }
        if channel.socket.is_timed_out() {
            self.lose_to_watchdog();
            return Err(client_is_gone(Errno::ETIMEDOUT));
        }
        self.lose_client(Errno::ETIMEDOUT);
        Err(PyTimeoutError::new_err((Errno::ETIMEDOUT as i32, "the client stopped reading the response")))
    }

    /// One piece from the app's iterable or `write()`: sent before the app is asked for more.
    pub(crate) fn write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        if slf.try_borrow_mut()?.take_piece(data)? { Self::send_all(slf) } else { Ok(()) }
    }

    /// Puts a piece behind what waits already; false: it is empty.
    fn take_piece(&mut self, data: &Bound<'_, PyAny>) -> PyResult<bool> {
        let bytes = data.cast::<PyBytes>().map_err(|_| {
            PyTypeError::new_err(format!("the app gave {} where bytes are wanted", kind(data)))
        })?;
        if self.channel.is_none() {
            return Err(PyRuntimeError::new_err("write() is called after the end of the request"));
        }
        if bytes.as_bytes().is_empty() {
            return Ok(false);
        }
        if !self.head_sent {
            self.begin(None)?;
        }
        self.add(bytes);
        Ok(true)
    }

    /// All pieces of a body at once; their length is known, and the worker need not wait for the client.
    pub(crate) fn write_all(&mut self, pieces: &[Bound<'_, PyBytes>]) -> PyResult<()> {
        if !self.head_sent {
            let total = pieces.iter().map(|piece| piece.as_bytes().len() as u64).sum();
            // To a HEAD an app may well give an empty body: that says nothing about the body of a GET.
            let known = (self.question.method != RequestMethod::Head || total > 0).then_some(total);
            self.begin(known)?;
        }
        for piece in pieces {
            self.add(piece);
        }
        Ok(())
    }

    /// A file as the whole body: the kernel sends it.
    pub(super) fn write_file(&mut self, mut part: FilePart) -> PyResult<()> {
        if !self.head_sent {
            self.begin(Some(part.length))?;
        }
        match self.framing {
            Framing::NoBody => return Ok(()),
            Framing::ContentLength(length) => part.length = part.length.min(length - self.body_bytes),
            Framing::Chunked => write_chunk_size(&mut self.buffer, usize::try_from(part.length).unwrap_or(0)),
            Framing::UntilClose => {}
        }
        self.body_bytes += part.length;
        self.queue_buffer();
        self.outbound.push(Piece::File(part));
        if self.framing == Framing::Chunked {
            self.buffer.extend_from_slice(CRLF);
        }
        Ok(())
    }

    /// The app's iterable has ended. What the socket does not take now is left for [`Self::end`].
    pub(crate) fn finish(&mut self) -> PyResult<()> {
        if !self.head_sent {
            self.begin((self.question.method != RequestMethod::Head).then_some(0))?;
        }
        // A body shorter than its Content-Length: only the end of the connection can tell the client.
        if self.framing == Framing::Chunked {
            self.buffer.extend_from_slice(LAST_CHUNK);
        }
        self.finished = true;
        match self.send_ready() {
            Sent::Failed(errno) => Err(client_is_gone(errno)),
            Sent::All | Sent::Blocked { .. } => Ok(()),
        }
    }
}

fn kind(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}
