//! The response of one request: its head, its framing, and how it ends. How its bytes leave is in [`sending`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use podicorn_http::Version;
use podicorn_http::response::{
    CRLF, Exchange, Framing, LAST_CHUNK, RequestMethod, ResponseHead, decide_framing, write_chunk_size,
    write_error,
};
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

mod sending;

use self::sending::{Part, client_is_gone};
use super::client_socket::Giving;
use super::wait::Patience;
use crate::date::date_field;
use crate::parts::Parts;
use crate::reactor::SERVER;
use crate::reactor::conn::CONTINUE;
use crate::reactor::outbound::{FilePart, Outbound, Piece, Sent};
use crate::reactor::socket::Socket;
use crate::slot::{Known, SharedSlot};
use crate::tls::describe::Facts;

/// What responses of one engine share.
pub(crate) struct Common {
    patience: Patience,
    giving: Giving,
    /// The worker stops.
    stopping: Arc<AtomicBool>,
    /// Knows whether the whole server does.
    slot: Arc<SharedSlot>,
    /// Code of the app's runs behind each response.
    is_followed: bool,
}

/// What is left of a response when its request is over.
#[allow(clippy::struct_excessive_bools)] // independent facts, not states
pub(crate) struct Ended {
    pub(crate) head: ResponseHead,
    buffer: Vec<u8>,
    /// What is not sent yet.
    pub(crate) outbound: Outbound,
    /// What the client has sent after the request: the next one, or a protocol of the app's own.
    pub(crate) residue: Vec<u8>,
    pub(crate) head_sent: bool,
    pub(crate) body_bytes: u64,
    /// Body bytes were thrown away because the response may have none.
    pub(crate) dropped_body: bool,
    /// Another request may follow on the connection.
    pub(crate) persists: bool,
    /// The app has taken the connection for itself.
    pub(crate) given_away: bool,
    /// The watchdog has answered in place of the app.
    pub(crate) timed_out: bool,
    /// What the scoreboard knows of it.
    pub(crate) known: Known,
}

impl Ended {
    /// The status that the client got; 0: none.
    pub(crate) fn status_sent(&self) -> u16 {
        if self.head_sent { self.head.status() } else { 0 }
    }

    /// Leaves its memory to later responses.
    pub(crate) fn recycle(self) {
        Parts { head: self.head, buffer: self.buffer }.keep();
    }
}

impl Common {
    pub(crate) fn new(
        patience: Patience,
        giving: Giving,
        stopping: Arc<AtomicBool>,
        slot: Arc<SharedSlot>,
        is_followed: bool,
    ) -> Arc<Self> {
        Arc::new(Self { patience, giving, stopping, slot, is_followed })
    }

    pub(super) fn giving(&self) -> &Giving {
        &self.giving
    }

    pub(crate) fn patience(&self) -> Patience {
        self.patience.clone()
    }

    /// Whether a connection may carry another request.
    fn goes_on(&self) -> bool {
        !self.stopping.load(Ordering::Relaxed) && !self.slot.draining()
    }
}

/// Facts of the request that the response depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) version: Version,
    pub(crate) method: RequestMethod,
    pub(crate) keep_alive: bool,
    /// The client asks for another protocol.
    pub(crate) upgrade: bool,
}

/// What is told between reading a body that is still on its way and answering.
#[derive(Clone, Default)]
pub(crate) struct OnItsWay {
    /// The body has ended.
    pub(crate) complete: Arc<AtomicBool>,
    /// The client still waits for `100 Continue`.
    pub(crate) continue_due: Arc<AtomicBool>,
}

/// A connection that is the app's from now on.
pub(super) struct Given {
    pub(super) socket: Arc<Socket>,
    pub(super) residue: Vec<u8>,
    pub(super) common: Arc<Common>,
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
    common: Arc<Common>,
    /// `None` once the request is over.
    socket: Option<Arc<Socket>>,
    /// Made with the first wait, and away during each.
    patience: Option<Patience>,
    pub(super) question: Question,
    /// Where the body is read while the app runs.
    on_its_way: Option<OnItsWay>,
    pub(super) head: ResponseHead,
    pub(super) started: bool,
    pub(super) head_sent: bool,
    framing: Framing,
    /// Bytes of the body that went out, without chunk framing.
    body_bytes: u64,
    /// What had to wait; then bytes ready to go; then a large piece that follows them.
    outbound: Outbound,
    pub(super) buffer: Vec<u8>,
    tail: Option<Part>,
    /// The trailer section, as lines.
    trailers: Vec<u8>,
    /// Bytes that the socket took without passing through `outbound`.
    sent: u64,
    /// The head promised another request, and all of the body was given.
    keep_alive: bool,
    finished: bool,
    /// None of the app's code runs any more.
    app_is_done: bool,
    /// The watchdog has answered.
    timed_out: bool,
    /// What the scoreboard knows of it.
    known: Known,
    /// What the client has sent after the request: the next one, or a protocol of the app's own.
    residue: Vec<u8>,
    /// The app has taken the connection for itself.
    given_away: bool,
    broken: Option<Broken>,
    /// Body bytes were given where there may be none.
    dropped_body: bool,
}

impl Response {
    pub(crate) fn new(
        common: Arc<Common>,
        socket: Arc<Socket>,
        question: Question,
        on_its_way: Option<OnItsWay>,
        residue: Vec<u8>,
    ) -> Self {
        let Parts { head, buffer } = Parts::take();
        Self {
            common,
            socket: Some(socket),
            patience: None,
            question,
            on_its_way,
            head,
            started: false,
            head_sent: false,
            framing: Framing::NoBody,
            body_bytes: 0,
            outbound: Outbound::default(),
            buffer,
            tail: None,
            trailers: Vec::new(),
            sent: 0,
            keep_alive: false,
            finished: false,
            app_is_done: false,
            timed_out: false,
            known: Known::default(),
            residue,
            given_away: false,
            broken: None,
            dropped_body: false,
        }
    }

    pub(crate) fn is_head_sent(&self) -> bool {
        self.head_sent
    }

    pub(crate) fn broken(&self) -> Option<Broken> {
        self.broken
    }

    fn persists(&self) -> bool {
        self.keep_alive && self.finished && self.framing.ends_after(self.body_bytes) && self.broken.is_none()
    }

    /// Whether the app has taken the connection for itself.
    pub(crate) fn is_given_away(&self) -> bool {
        self.given_away
    }

    /// Gives the connection to the app; `None`: the request is over.
    pub(super) fn give_away(&mut self) -> Option<Given> {
        let socket = Arc::clone(self.socket.as_ref()?);
        if !socket.give_away() {
            return None;
        }
        self.given_away = true;
        Some(Given { socket, residue: std::mem::take(&mut self.residue), common: Arc::clone(&self.common) })
    }

    /// Where the app cannot have the connection: what there is to say of its TLS session. `None`: it can.
    pub(super) fn kept_by_the_engine(&self) -> Option<Facts> {
        let socket = self.socket.as_ref()?;
        socket.tls_facts().or_else(|| socket.is_stream().then(Facts::default))
    }

    /// Lines of the trailer section, which goes out behind the body.
    pub(super) fn set_trailers(&mut self, lines: Vec<u8>) -> PyResult<()> {
        let late = if self.is_over() || self.finished {
            Some("the response is over")
        } else if self.head_sent && matches!(self.framing, Framing::ContentLength(_)) {
            Some(
                "the response has a Content-Length, so that its end may be out already: set them before its first piece",
            )
        } else {
            None
        };
        if let Some(why) = late {
            return Err(PyRuntimeError::new_err(format!("trailers cannot be sent any more: {why}")));
        }
        self.trailers = lines;
        Ok(())
    }

    /// Whether the request is over.
    pub(super) fn is_over(&self) -> bool {
        self.socket.is_none()
    }

    /// Whether it is too late for early hints, or the client would not know what they are.
    pub(super) fn ignores_hints(&self) -> bool {
        self.is_over() || self.head_sent || self.question.version < Version::HTTP_11
    }

    /// Ends the response's life for Python: later calls by the app fail.
    pub(crate) fn end(&mut self) -> Ended {
        self.socket = None;
        Ended {
            persists: self.persists(),
            head: std::mem::take(&mut self.head),
            buffer: std::mem::take(&mut self.buffer),
            outbound: std::mem::take(&mut self.outbound),
            residue: std::mem::take(&mut self.residue),
            head_sent: self.head_sent,
            body_bytes: self.body_bytes,
            dropped_body: self.dropped_body,
            given_away: self.given_away,
            timed_out: self.timed_out,
            known: self.known,
        }
    }

    /// The app has failed. Before the head is out the client gets this status with a plain page instead; after it the
    /// connection just ends, so that the client sees an incomplete response.
    pub(crate) fn fail(&mut self, status: u16, detail: &str) {
        if self.head_sent {
            self.broken.get_or_insert(Broken::App);
            return;
        }
        self.buffer.clear();
        let head_only = self.question.method == RequestMethod::Head;
        write_error(&mut self.buffer, status, detail, SERVER, &date_field(), head_only);
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
        let status = self.head.status();
        // How much the app has given with a 304 says nothing about what a 200 would hold (RFC 9110 §8.6).
        let known_length = known_length.filter(|_| status != 304);
        let waits = |body: &OnItsWay| body.continue_due.swap(false, Ordering::Relaxed);
        if status == 101 && self.on_its_way.as_ref().is_some_and(waits) {
            // RFC 9110 §7.8: the request is to be complete before another protocol begins.
            self.buffer.extend_from_slice(CONTINUE);
        }
        let decision = decide_framing(&Exchange {
            version: self.question.version,
            method: self.question.method,
            status,
            // On the way to the stream trailers need chunks.
            content_length: self.head.content_length().or(known_length).filter(|_| self.trailers.is_empty()),
            keep_alive: self.question.keep_alive && self.is_body_complete() && self.common.goes_on(),
        });
        self.framing = decision.framing;
        self.keep_alive = decision.keep_alive && !self.head.upgrade();
        self.head.write(&mut self.buffer, &decision, SERVER, &date_field());
        self.head_sent = true;
        Ok(())
    }

    fn is_body_complete(&self) -> bool {
        self.on_its_way.as_ref().is_none_or(|body| body.complete.load(Ordering::Relaxed))
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
        if self.is_over() {
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
        if self.framing == Framing::NoBody {
            return Ok(());
        }
        part.length = self.framing.takes(part.length, self.body_bytes);
        if self.framing == Framing::Chunked {
            write_chunk_size(&mut self.buffer, usize::try_from(part.length).unwrap_or(0));
        }
        self.body_bytes += part.length;
        self.queue();
        self.outbound.push(Piece::File(part));
        if self.framing == Framing::Chunked {
            self.buffer.extend_from_slice(CRLF);
        }
        Ok(())
    }

    /// The app's iterable has ended. What the socket does not take now is left for [`Self::end`]. `closed`: it is not to be
    /// told so by `close()`.
    pub(crate) fn finish(&mut self, closed: bool) -> PyResult<()> {
        self.app_is_done = closed && !self.common.is_followed;
        if !self.head_sent {
            self.begin((self.question.method != RequestMethod::Head).then_some(0))?;
        }
        // A body shorter than its Content-Length: only the end of the connection can tell the client.
        if self.framing == Framing::Chunked {
            if self.trailers.is_empty() {
                self.buffer.extend_from_slice(LAST_CHUNK);
            } else {
                self.buffer.extend_from_slice(b"0\r\n");
                self.buffer.append(&mut self.trailers);
                self.buffer.extend_from_slice(CRLF);
            }
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
