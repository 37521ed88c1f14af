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

    /// Reads more from the socket; false at the end of the body.
    fn fill(&mut self, py: Python<'_>) -> PyResult<bool> {
        let source = match &mut self.rest {
            Rest::None => return Ok(false),
            Rest::Failed(failure) => return Err(failure.to_error()),
            Rest::Over => {
                return Err(PyValueError::new_err("wsgi.input is read after the end of the request"));
            }
            Rest::Live(source) => source,
        };
        if source.decoder.is_done() {
            return Ok(false);
        }
        if self.at > 0 {
            self.pending.drain(..self.at);
            self.at = 0;
        }
        match source.read(py, &mut self.pending)? {
            Ok(more) => Ok(more),
            Err(failure) => {
                let error = failure.to_error();
                self.rest = Rest::Failed(failure);
                Err(error)
            }
        }
    }

    /// Up to `size` bytes (`None`: all), ending after the first newline if `line`.
    fn read_until<'py>(
        &mut self,
        py: Python<'py>,
        size: Option<usize>,
        line: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let most = size.unwrap_or(usize::MAX);
        let mut searched = 0;
        loop {
            let available = self.available(py);
            let window = &available[..available.len().min(most)];
            if line && let Some(newline) = memchr::memchr(b'\n', &window[searched..]) {
                return Ok(self.take(py, searched + newline + 1));
            }
            searched = window.len();
            if searched == most || !self.fill(py)? {
                return Ok(self.take(py, searched));
            }
        }
    }
}

impl Source {
    /// Appends at least one byte to `out`, or says that the body is complete. The outer error is a signal handler's.
    fn read(&mut self, py: Python<'_>, out: &mut Vec<u8>) -> PyResult<Result<bool, Failure>> {
        let before = out.len();
        if self.patience.is_foreign() {
            return Ok(Err(Failure::Gone));
        }
        if self.on_its_way.continue_due.swap(false, Ordering::Relaxed) {
            let _ = self.socket.send(CONTINUE);
        }
        loop {
            match self.decoder.decode(&self.raw, out, usize::MAX) {
                Ok(progress) => {
                    self.raw.drain(..progress.consumed);
                    if progress.done {
                        self.on_its_way.complete.store(true, Ordering::Relaxed);
                    }
                    if out.len() > before || progress.done {
                        return Ok(Ok(out.len() > before));
                    }
                }
                Err(reject) => return Ok(Err(Failure::Refused(reject))),
            }
            match self.socket.receive(&mut self.raw, READ_BYTES) {
                Ok(0) => return Ok(Err(Failure::Gone)),
                Ok(received) => self.received += received as u64,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let received = self.received;
                    match self.patience.wait(py, &self.socket, Readiness::Readable, || received)? {
                        Waited::Ready => {}
                        Waited::Enough => return Ok(Err(Failure::Stalled)),
                    }
                }
                Err(_) => return Ok(Err(Failure::Gone)),
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
    fn read<'py>(&mut self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.read_until(py, limit(size), false)
    }

    /// What is there, after at most one wait.
    #[pyo3(signature = (size = None))]
    fn read1<'py>(&mut self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let most = limit(size).unwrap_or(usize::MAX);
        if most > 0 && self.available(py).is_empty() {
            self.fill(py)?;
        }
        let length = self.available(py).len().min(most);
        Ok(self.take(py, length))
    }

    #[pyo3(signature = (size = None))]
    fn readline<'py>(&mut self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.read_until(py, limit(size), true)
    }

    /// All lines; with a hint no more than are needed to exceed that many bytes.
    #[pyo3(signature = (hint = None))]
    fn readlines<'py>(&mut self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let lines = PyList::empty(py);
        let hint = limit(hint).filter(|hint| *hint > 0);
        let mut total = 0;
        while hint.is_none_or(|hint| total < hint) {
            let line = self.read_until(py, None, true)?;
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

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.read_until(py, None, true)?;
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
