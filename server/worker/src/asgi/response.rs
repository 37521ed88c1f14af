//! The response of one request: what the app has said of it, and its bytes, ready to be sent.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use podicorn_http::Version;
use podicorn_http::response::{
    CRLF, Exchange, Framing, LAST_CHUNK, RequestMethod, ResponseHead, decide_framing, write_chunk,
    write_chunk_size, write_error, write_interim, write_trailer,
};
use podicorn_http::websocket::Refusal;
use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::message::{each_header, links};
use crate::parts::Parts;
use crate::reactor::SERVER;
use crate::reactor::live::Parcel;
use crate::reactor::outbound::{FilePart, Piece};
use crate::wsgi::response::Question;

/// Pieces up to this many bytes are copied behind the head; longer ones are sent by reference.
const FLATTEN: usize = 4096;

/// How far a response has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The app has said nothing.
    Fresh,
    /// The head is known. It is sent with the first piece of the body, as the specification demands.
    Started,
    Body,
    /// The body is complete, trailers follow.
    Trailers,
    Complete,
}

/// What a head depends on when it is written.
pub(super) struct Moment<'a> {
    /// Another request may follow on the connection.
    pub(super) persistent: bool,
    pub(super) date: &'a [u8],
}

/// See the module's text.
#[allow(clippy::struct_excessive_bools)] // independent facts, not states
pub(super) struct Response {
    question: Question,
    /// The client has said that it takes trailers.
    takes_trailers: bool,
    pub(super) head: ResponseHead,
    pub(super) stage: Stage,
    /// The app wants to send trailers; then: it can.
    trailers: bool,
    framing: Framing,
    keep_alive: bool,
    pub(super) body_bytes: u64,
    /// Body bytes were given where there may be none.
    pub(super) dropped_body: bool,
    /// Bytes ready to go.
    pub(super) parcel: Parcel,
}

struct Part(PyBackedBytes, usize);

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

impl Response {
    pub(super) fn new(question: Question, takes_trailers: bool) -> Self {
        let parts = Parts::take();
        Self {
            question,
            takes_trailers,
            head: parts.head,
            stage: Stage::Fresh,
            trailers: false,
            framing: Framing::NoBody,
            keep_alive: false,
            body_bytes: 0,
            dropped_body: false,
            parcel: Parcel { pieces: Vec::new(), buffer: parts.buffer },
        }
    }

    /// Leaves its memory to later responses.
    pub(super) fn recycle(&mut self) {
        let (head, buffer) = (std::mem::take(&mut self.head), std::mem::take(&mut self.parcel.buffer));
        Parts { head, buffer }.keep();
    }

    /// Whether its head is on its way, so that it cannot be replaced.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Fresh | Stage::Started)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.stage == Stage::Complete
    }

    /// The status for logs and counters; 0: none was sent.
    pub(super) fn status(&self) -> u16 {
        if self.has_begun() { self.head.status() } else { 0 }
    }

    /// Whether another request may follow on the connection, once the response is complete.
    pub(super) fn persists(&self) -> bool {
        self.keep_alive && self.is_complete() && self.framing.ends_after(self.body_bytes)
    }

    pub(super) fn start(
        &mut self,
        status: u16,
        headers: Option<&Bound<'_, PyAny>>,
        trailers: bool,
    ) -> PyResult<()> {
        if self.stage != Stage::Fresh {
            return Err(PyRuntimeError::new_err("http.response.start is sent a second time"));
        }
        if status < 200 {
            return Err(PyValueError::new_err(format!("{status} is no status of a final response")));
        }
        let head = &mut self.head;
        let taken = head
            .set_status_code(status)
            .map_err(|error| PyValueError::new_err(error.to_string()))
            .and_then(|()| each_header(headers, |name, value| head.add_header(name, value)));
        if let Err(error) = taken {
            self.head.clear();
            return Err(error);
        }
        self.stage = Stage::Started;
        self.trailers = trailers;
        Ok(())
    }

    fn write_head(&mut self, known_length: Option<u64>, moment: &Moment<'_>) {
        // How much the app has given with a 304 says nothing about what a 200 would hold (RFC 9110 §8.6).
        let known_length = known_length.filter(|_| self.head.status() != 304);
        // In HTTP/2 trailers follow any body; on the way to the stream they need chunks.
        let to_stream = self.question.version > Version::HTTP_11;
        let length = self.head.content_length().or(known_length).filter(|_| !(self.trailers && to_stream));
        let decision = decide_framing(&Exchange {
            version: self.question.version,
            method: self.question.method,
            status: self.head.status(),
            content_length: length,
            keep_alive: self.question.keep_alive && moment.persistent,
        });
        self.framing = decision.framing;
        self.trailers &= self.takes_trailers && decision.framing == Framing::Chunked;
        self.keep_alive = decision.keep_alive && !self.head.upgrade();
        self.head.write(&mut self.parcel.buffer, &decision, SERVER, moment.date);
        self.stage = Stage::Body;
    }

    fn expect_body(&self, message: &str) -> PyResult<()> {
        match self.stage {
            Stage::Started | Stage::Body => Ok(()),
            Stage::Fresh => {
                Err(PyRuntimeError::new_err(format!("{message} is sent before http.response.start")))
            }
            Stage::Trailers | Stage::Complete => {
                Err(PyRuntimeError::new_err(format!("{message} is sent after the end of the response body")))
            }
        }
    }

    /// A piece of the body, and the head before the first one.
    pub(super) fn body(
        &mut self,
        body: &Bound<'_, PyBytes>,
        more: bool,
        moment: &Moment<'_>,
    ) -> PyResult<()> {
        self.expect_body("http.response.body")?;
        let bytes = body.as_bytes();
        if self.stage == Stage::Started {
            // To a HEAD an app may well give an empty body: that says nothing about the body of a GET.
            let says = self.question.method != RequestMethod::Head || !bytes.is_empty();
            let known = (!more && !self.trailers && says).then_some(bytes.len() as u64);
            self.write_head(known, moment);
        }
        self.dropped_body |= self.framing == Framing::NoBody && !bytes.is_empty();
        let length = self.framing.takes(bytes.len() as u64, self.body_bytes) as usize;
        self.add(body, length);
        if !more {
            self.end_body();
        }
        Ok(())
    }

    fn add(&mut self, body: &Bound<'_, PyBytes>, length: usize) {
        if length == 0 {
            return;
        }
        self.body_bytes += length as u64;
        let chunked = self.framing == Framing::Chunked;
        let bytes = &body.as_bytes()[..length];
        if length <= FLATTEN {
            if chunked {
                write_chunk(&mut self.parcel.buffer, bytes);
            } else {
                self.parcel.buffer.extend_from_slice(bytes);
            }
            return;
        }
        if chunked {
            write_chunk_size(&mut self.parcel.buffer, length);
        }
        self.parcel.seal();
        let part = Part(PyBackedBytes::from(body.clone()), length);
        self.parcel.pieces.push(Piece::Shared(Box::new(part)));
        if chunked {
            self.parcel.buffer.extend_from_slice(CRLF);
        }
    }

    fn end_body(&mut self) {
        self.stage = if self.trailers { Stage::Trailers } else { Stage::Complete };
        if self.framing == Framing::Chunked {
            // The end of the trailer section is the end of the response.
            self.parcel.buffer.extend_from_slice(if self.trailers { b"0\r\n" } else { LAST_CHUNK });
        }
    }

    /// A file as the whole body.
    pub(super) fn file(&mut self, path: &Path, moment: &Moment<'_>) -> PyResult<()> {
        self.expect_body("http.response.pathsend")?;
        let mut part = open(path)?;
        if self.stage == Stage::Started {
            self.write_head((!self.trailers).then_some(part.length), moment);
        }
        part.length = self.framing.takes(part.length, self.body_bytes);
        if part.length > 0 {
            if self.framing == Framing::Chunked {
                write_chunk_size(&mut self.parcel.buffer, usize::try_from(part.length).unwrap_or(0));
            }
            self.body_bytes += part.length;
            self.parcel.seal();
            self.parcel.pieces.push(Piece::File(part));
            if self.framing == Framing::Chunked {
                self.parcel.buffer.extend_from_slice(CRLF);
            }
        }
        self.end_body();
        Ok(())
    }

    /// Fields of the trailer section. Those that the client would not take, or that the framing has no place for, are
    /// dropped.
    pub(super) fn add_trailers(&mut self, headers: Option<&Bound<'_, PyAny>>, more: bool) -> PyResult<bool> {
        if self.stage == Stage::Complete {
            return Ok(false);
        }
        if self.stage != Stage::Trailers {
            return Err(PyRuntimeError::new_err("http.response.trailers is sent before the end of the body"));
        }
        let buffer = &mut self.parcel.buffer;
        each_header(headers, |name, value| write_trailer(buffer, name, value))?;
        if !more {
            self.parcel.buffer.extend_from_slice(CRLF);
            self.stage = Stage::Complete;
        }
        Ok(true)
    }

    /// An interim response; false: there is none for this client, or it comes too late.
    pub(super) fn interim(&mut self, status: u16, headers: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        each_header(headers, |name, value| {
            fields.push((name.to_vec(), value.to_vec()));
            Ok(())
        })?;
        self.write_interim(status, fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice())))
    }

    /// 103 with Link fields.
    pub(super) fn hints(&mut self, hints: &Bound<'_, PyAny>) -> PyResult<bool> {
        let hints = links(hints)?;
        self.write_interim(103, hints.iter().map(|link| (&b"link"[..], link.as_slice())))
    }

    fn write_interim<'a>(
        &mut self,
        status: u16,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> PyResult<bool> {
        if self.has_begun() {
            return Err(PyRuntimeError::new_err(
                "an informational response is sent after the final one has begun",
            ));
        }
        if self.question.version < Version::HTTP_11 {
            return Ok(false);
        }
        write_interim(&mut self.parcel.buffer, status, fields)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(true)
    }

    /// The app has failed before its response has begun: the client gets this one instead.
    pub(super) fn fail(&mut self, status: u16, date: &[u8]) {
        self.parcel.clear();
        let head_only = self.question.method == RequestMethod::Head;
        write_error(&mut self.parcel.buffer, status, "", SERVER, date, head_only);
        self.replace(status);
        self.keep_alive = false;
    }

    /// The head of the 101 that makes the connection a WebSocket. Its fields are in `head`.
    pub(super) fn switch(&mut self, date: &[u8]) {
        self.write_head(None, &Moment { persistent: true, date });
        self.stage = Stage::Complete;
    }

    /// The 101 could not be sent.
    pub(super) fn unsay(&mut self) {
        self.head.clear();
        self.parcel.clear();
        self.stage = Stage::Fresh;
    }

    /// No other request follows on the connection.
    pub(super) fn be_last(&mut self) {
        self.question.keep_alive = false;
    }

    /// The request is no handshake that could be accepted.
    pub(super) fn refuse(&mut self, refusal: Refusal, date: &[u8]) {
        refusal.write(&mut self.parcel.buffer, SERVER, date);
        self.replace(refusal.status());
        self.keep_alive = false;
    }

    /// Somebody else has answered with this status.
    pub(super) fn replace(&mut self, status: u16) {
        self.head.clear();
        // The code is in range.
        let _ = self.head.set_status_code(status);
        self.body_bytes = 0;
        self.stage = Stage::Complete;
    }
}

fn open(path: &Path) -> PyResult<FilePart> {
    let told = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            PyFileNotFoundError::new_err((error.raw_os_error(), error.to_string(), path.to_path_buf()))
        }
        _ => PyOSError::new_err((error.raw_os_error(), error.to_string(), path.to_path_buf())),
    };
    let file = File::open(path).map_err(told)?;
    let facts = file.metadata().map_err(told)?;
    if !facts.is_file() {
        return Err(PyValueError::new_err(format!("{} is not a regular file", path.display())));
    }
    Ok(FilePart { file: OwnedFd::from(file), offset: 0, length: facts.len() })
}
