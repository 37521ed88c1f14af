//! `wsgi.input`: the request body as a readable stream (PEP 3333, "Input and Error Streams").
//!
//! A body up to `body_buffer` is there before the app is called, as one `bytes` object, and reading it all costs no copy.
//! The rest of a longer one is read from the socket while the app runs; only then can a slow client hold the worker, and
//! only while it keeps the minimum rate.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use podicorn_http::{BodyDecoder, Reject};
use pyo3::exceptions::{PyConnectionResetError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::response::OnItsWay;
use super::wait::{Patience, Waited};
use crate::reactor::conn::CONTINUE;
use crate::reactor::socket::{Readiness, Socket};

/// How much one read from the socket asks for.
const READ_BYTES: usize = 64 * 1024;

/// Where the rest of a body comes from.
pub(crate) struct Source {
    pub(crate) socket: Arc<Socket>,
    /// Received and not decoded yet.
    pub(crate) raw: Vec<u8>,
    pub(crate) decoder: BodyDecoder,
    pub(crate) patience: Patience,
    /// Bytes that have come since the app was called.
    pub(crate) received: u64,
    /// What the response has to know of it.
    pub(crate) on_its_way: OnItsWay,
}

/// Why no more of a body can be read.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The client has gone before the end.
    Gone,
    /// Nothing came for too long.
    Stalled,
    /// It is no valid body.
    Refused(Reject),
}

impl Failure {
    fn to_error(&self) -> PyErr {
        match self {
            Self::Gone => PyConnectionResetError::new_err((
                Errno::ECONNRESET as i32,
                "the client went away before the request body was complete",
            )),
            Self::Stalled => PyTimeoutError::new_err((
                Errno::ETIMEDOUT as i32,
                "the client stopped sending before the request body was complete",
            )),
            Self::Refused(reject) => PyValueError::new_err(format!("invalid request body: {reject}")),
        }
    }
}

enum Rest {
    /// The whole body is in `data`.
    None,
    Live(Box<Source>),
    Failed(Failure),
    /// The request is over while the app still holds the stream.
    Over,
}

/// What one attempt to read brought.
enum Step {
    More,
    /// The body has ended.
    End,
    /// The client has to send more first.
    Wait {
        socket: Arc<Socket>,
        patience: Patience,
        received: u64,
    },
}

/// A binary stream; at its end it gives `b""`.
#[pyclass(module = "podicorn._engine")]
pub(crate) struct Input {
    /// What was there when the app was called. Set to `None` when it has been moved to `pending`.
    data: Option<Py<PyBytes>>,
    at: usize,
    /// Streamed bytes not given to the app yet, from `at` on.
    pending: Vec<u8>,
    rest: Rest,
}

impl Input {
    /// A body that is complete.
    pub(crate) fn whole(data: Py<PyBytes>) -> Self {
        Self { data: Some(data), at: 0, pending: Vec::new(), rest: Rest::None }
    }

    /// A body of which `beginning` is there.
    pub(crate) fn streaming(beginning: Vec<u8>, source: Source) -> Self {
        Self { data: None, at: 0, pending: beginning, rest: Rest::Live(Box::new(source)) }
    }

    /// Ends the stream with the request: no later read touches the socket. Gives the source back if it is intact.
    pub(crate) fn end(&mut self) -> Option<Box<Source>> {
        match std::mem::replace(&mut self.rest, Rest::Over) {
            Rest::Live(source) => Some(source),
            // A complete body stays readable.
            Rest::None => {
                self.rest = Rest::None;
                None
            }
            Rest::Failed(_) | Rest::Over => None,
        }
    }

    /// Why reading failed, if it did.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match &self.rest {
            Rest::Failed(failure) => Some(failure),
            Rest::None | Rest::Live(_) | Rest::Over => None,
        }
    }

    fn available<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        let all = self.data.as_ref().map_or(self.pending.as_slice(), |data| data.as_bytes(py));
        all.get(self.at..).unwrap_or_default()
    }

    /// Gives the next `length` bytes, which must be available.
    fn take<'py>(&mut self, py: Python<'py>, length: usize) -> Bound<'py, PyBytes> {
        if let Some(data) = &self.data
            && self.at == 0
            && data.as_bytes(py).len() == length
        {
            self.at = length;
            return data.bind(py).clone();
        }
        let taken = PyBytes::new(py, &self.available(py)[..length]);
        self.at += length;
        if self.at == self.pending.len() {
            self.pending.clear();
            self.at = if self.data.is_some() { self.at } else { 0 };
        }
        taken
    }

    /// Reads more from the socket, without waiting.
    fn step(&mut self) -> PyResult<Step> {
        let source = match &mut self.rest {
            Rest::None => return Ok(Step::End),
            Rest::Failed(failure) => return Err(failure.to_error()),
            Rest::Over => {
                return Err(PyValueError::new_err("wsgi.input is read after the end of the request"));
            }
            Rest::Live(source) => source,
        };
        if source.decoder.is_done() {
            return Ok(Step::End);
        }
        if self.at > 0 {
            self.pending.drain(..self.at);
            self.at = 0;
        }
        source.read(&mut self.pending).map_err(|failure| self.fail(failure))
    }

    fn fail(&mut self, failure: Failure) -> PyErr {
        let error = failure.to_error();
        self.rest = Rest::Failed(failure);
        error
    }

    /// Takes in how a wait for the client ended.
    fn has_waited(&mut self, patience: Patience, waited: Waited) -> PyResult<()> {
        let Rest::Live(source) = &mut self.rest else { return Ok(()) };
        source.patience = patience;
        match waited {
            Waited::Ready => Ok(()),
            Waited::Enough => Err(self.fail(Failure::Stalled)),
        }
    }

    /// Gives up to `size` bytes (`None`: all), ending after the first newline if `line`; `None`: more must be read first.
    fn give<'py>(
        &mut self,
        py: Python<'py>,
        size: Option<usize>,
        line: bool,
        searched: &mut usize,
    ) -> Option<Bound<'py, PyBytes>> {
        let most = size.unwrap_or(usize::MAX);
        let available = self.available(py);
        let window = &available[..available.len().min(most)];
        // Somebody else may have read meanwhile.
        let from = (*searched).min(window.len());
        if line && let Some(newline) = memchr::memchr(b'\n', &window[from..]) {
            return Some(self.take(py, from + newline + 1));
        }
        *searched = window.len();
        (*searched == most).then(|| self.take(py, most))
    }
}

/// Reads more from the socket; false at the end of the body. Nothing is borrowed while it waits for the client: other
/// greenlets run.
fn fill(input: &Bound<'_, Input>) -> PyResult<bool> {
    loop {
        // A statement of its own: the borrow ends with it.
        let step = input.try_borrow_mut()?.step()?;
        match step {
            Step::More => return Ok(true),
            Step::End => return Ok(false),
            Step::Wait { socket, mut patience, received } => {
                let waited = patience.wait(input.py(), &socket, Readiness::Readable, || received)?;
                input.try_borrow_mut()?.has_waited(patience, waited)?;
            }
        }
    }
}

/// Up to `size` bytes (`None`: all), ending after the first newline if `line`.
fn read_until<'py>(
    input: &Bound<'py, Input>,
    size: Option<usize>,
    line: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = input.py();
    let mut searched = 0;
    loop {
        if let Some(bytes) = input.try_borrow_mut()?.give(py, size, line, &mut searched) {
            return Ok(bytes);
        }
        if !fill(input)? {
            let mut this = input.try_borrow_mut()?;
            let length = searched.min(this.available(py).len());
            return Ok(this.take(py, length));
        }
    }
}

impl Source {
    /// Appends at least one byte to `out`, if it need not wait for one.
    fn read(&mut self, out: &mut Vec<u8>) -> Result<Step, Failure> {
        let before = out.len();
        if self.patience.is_foreign() {
            return Err(Failure::Gone);
        }
        if self.on_its_way.continue_due.swap(false, Ordering::Relaxed) {
            self.socket.send_in_passing(CONTINUE);
        }
        loop {
            let progress = self.decoder.decode(&self.raw, out, usize::MAX).map_err(Failure::Refused)?;
            self.raw.drain(..progress.consumed);
            if progress.done {
                self.on_its_way.complete.store(true, Ordering::Relaxed);
            }
            if out.len() > before {
                return Ok(Step::More);
            }
            if progress.done {
                return Ok(Step::End);
            }
            match self.socket.receive(&mut self.raw, READ_BYTES) {
                Ok(0) => return Err(Failure::Gone),
                Ok(received) => self.received += received as u64,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    return Ok(Step::Wait {
                        socket: Arc::clone(&self.socket),
                        patience: self.patience.clone(),
                        received: self.received,
                    });
                }
                Err(_) => return Err(Failure::Gone),
            }
        }
    }
}

/// Python's sizes: `None` and negative numbers mean "all".
fn limit(size: Option<isize>) -> Option<usize> {
    size.and_then(|size| usize::try_from(size).ok())
}

#[allow(clippy::unused_self)] // Python calls them on the object
#[pymethods]
impl Input {
    #[pyo3(signature = (size = None))]
    fn read<'py>(slf: &Bound<'py, Self>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        read_until(slf, limit(size), false)
    }

    /// What is there, after at most one wait.
    #[pyo3(signature = (size = None))]
    fn read1<'py>(slf: &Bound<'py, Self>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let py = slf.py();
        let most = limit(size).unwrap_or(usize::MAX);
        let empty = slf.try_borrow()?.available(py).is_empty();
        if most > 0 && empty {
            fill(slf)?;
        }
        let mut this = slf.try_borrow_mut()?;
        let length = this.available(py).len().min(most);
        Ok(this.take(py, length))
    }

    #[pyo3(signature = (size = None))]
    fn readline<'py>(slf: &Bound<'py, Self>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        read_until(slf, limit(size), true)
    }

    /// All lines; with a hint no more than are needed to exceed that many bytes.
    #[pyo3(signature = (hint = None))]
    fn readlines<'py>(slf: &Bound<'py, Self>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let lines = PyList::empty(slf.py());
        let hint = limit(hint).filter(|hint| *hint > 0);
        let mut total = 0;
        while hint.is_none_or(|hint| total < hint) {
            let line = read_until(slf, None, true)?;
            if line.as_bytes().is_empty() {
                break;
            }
            total += line.as_bytes().len();
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = read_until(slf, None, true)?;
        Ok((!line.as_bytes().is_empty()).then_some(line))
    }

    fn readable(&self) -> bool {
        true
    }

    fn writable(&self) -> bool {
        false
    }

    fn seekable(&self) -> bool {
        false
    }

    /// The server owns the connection: nothing to close.
    fn close(&self) {}

    #[getter]
    fn closed(&self) -> bool {
        false
    }
}
