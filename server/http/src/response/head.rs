//! The head of a response, checked as Gunicorn 27 checks it.

use std::ops::Range;

use super::framing::{Decision, Framing};
use crate::grammar::{decimal, is_field_value, is_token, list_members, trim_ows};
use crate::reject::Excerpt;

/// What an application must not send. The response is a 500 then, unless its head is out already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResponse {
    #[error("invalid status {0}: it must be three digits, a space and a reason")]
    Status(Excerpt),
    /// The client would go on waiting, and take the next response for this one's.
    #[error("status {0} does not answer a request: only 101 and 200 to 999 do")]
    Interim(u16),
    #[error("invalid response header name from the application: {0}")]
    HeaderName(Excerpt),
    /// Only the name is told: the value may be secret.
    #[error("invalid response header from the application: control bytes in the value of {0}")]
    HeaderValue(Excerpt),
    #[error("invalid Content-Length from the application: {0}")]
    ContentLength(Excerpt),
    #[error("contradictory Content-Length headers from the application: {0} and {1}")]
    ContradictoryLength(u64, u64),
}

/// A response head in the making. Reuse one per connection with [`ResponseHead::clear`].
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// `SP status CRLF`, the end of the status line.
    status: Vec<u8>,
    code: u16,
    /// The field lines of the application, as they go out.
    lines: Vec<u8>,
    /// Its Content-Length line among them, and the number.
    length_line: Range<usize>,
    content_length: Option<u64>,
    /// The application's `Connection: upgrade`, and what its Upgrade fields name.
    upgrade: bool,
    protocols: Vec<u8>,
}

impl ResponseHead {
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything but the allocated memory.
    pub fn clear(&mut self) {
        self.status.clear();
        self.code = 0;
        self.lines.clear();
        self.length_line = 0..0;
        self.content_length = None;
        self.upgrade = false;
        self.protocols.clear();
    }

    /// Takes a WSGI status, `200 OK` say, in latin-1: three digits, then nothing or a space and a reason
    /// (PEP 3333; RFC 9112 §4). Interim statuses but 101 are refused: they are no answer (RFC 9110 §15.2).
    pub fn set_status(&mut self, status: &[u8]) -> Result<(), InvalidResponse> {
        let (code, reason) = match status {
            [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', reason @ ..] => {
                let digit = |byte: &u8| u16::from(byte - b'0');
                (digit(a) * 100 + digit(b) * 10 + digit(c), reason)
            }
            _ => return Err(InvalidResponse::Status(Excerpt::of(status))),
        };
        if !(reason.is_empty() || (reason[0] == b' ' && is_field_value(reason))) {
            return Err(InvalidResponse::Status(Excerpt::of(status)));
        }
        if code < 200 && code != 101 {
            return Err(InvalidResponse::Interim(code));
        }
        self.code = code;
        self.status.clear();
        self.status.extend_from_slice(status);
        if reason.is_empty() {
            // RFC 9112 §4: the space is sent even when there is no reason.
            self.status.push(b' ');
        }
        Ok(())
    }

    /// Takes a status code and writes the reason that RFC 9110 gives for it (ASGI).
    pub fn set_status_code(&mut self, code: u16) -> Result<(), InvalidResponse> {
        if code > 999 {
            return Err(InvalidResponse::Status(Excerpt::of(code.to_string().as_bytes())));
        }
        if code < 200 && code != 101 {
            return Err(InvalidResponse::Interim(code));
        }
        self.code = code;
        self.status.clear();
        let digit = |value: u16| b'0' + (value % 10) as u8;
        self.status.extend_from_slice(&[digit(code / 100), digit(code / 10), digit(code), b' ']);
        self.status.extend_from_slice(super::error::reason_phrase(code).as_bytes());
        Ok(())
    }

    /// The status code; 0 before it was set.
    pub fn status(&self) -> u16 {
        self.code
    }

    /// The status as set, `200 OK` say.
    pub fn status_text(&self) -> &[u8] {
        trim_ows(&self.status)
    }

    /// The Content-Length that the application gave.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// The application's fields as they go out, for logs and hooks: name, value.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.split(|byte| *byte == b'\n').filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            Some((&line[..colon], trim_ows(line[colon + 1..].strip_suffix(b"\r")?)))
        })
    }

    /// Whether the application switches protocols: 101, with the Upgrade field that must go with it.
    pub fn upgrade(&self) -> bool {
        self.code == 101 && !self.protocols.is_empty()
    }

    /// Whether the Upgrade field is sent: where it is required (RFC 9110 §7.8), or the application says by
    /// `Connection: upgrade` that it means this connection.
    fn announces(&self) -> bool {
        !self.protocols.is_empty() && (self.upgrade || matches!(self.code, 101 | 426))
    }

    /// Takes one field of the application, name and value in latin-1.
    ///
    /// Hop-by-hop fields, Server and Date are the server's own and are left out, as Gunicorn does; but Upgrade
    /// is sent with 101 and 426, and with `Connection: upgrade`. A Content-Length that is repeated with the same
    /// number is sent once.
    pub fn add_header(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidResponse> {
        if !is_token(name) {
            return Err(InvalidResponse::HeaderName(Excerpt::of(name)));
        }
        if !is_field_value(value) {
            return Err(InvalidResponse::HeaderValue(Excerpt::of(name)));
        }
        let value = trim_ows(value);
        match ResponseField::of(name) {
            ResponseField::Other => self.push_line(name, value),
            ResponseField::Connection => self.upgrade |= value.eq_ignore_ascii_case(b"upgrade"),
            ResponseField::Upgrade => {
                for protocol in list_members(value).filter(|protocol| !protocol.is_empty()) {
                    if !self.protocols.is_empty() {
                        self.protocols.extend_from_slice(b", ");
                    }
                    self.protocols.extend_from_slice(protocol);
                }
            }
            ResponseField::Hop => {}
            ResponseField::ContentLength => {
                let length =
                    decimal(value).ok_or_else(|| InvalidResponse::ContentLength(Excerpt::of(value)))?;
                match self.content_length {
                    Some(before) if before != length => {
                        return Err(InvalidResponse::ContradictoryLength(before, length));
                    }
                    Some(_) => {}
                    None => {
                        let start = self.lines.len();
                        self.push_line(name, value);
                        self.length_line = start..self.lines.len();
                        self.content_length = Some(length);
                    }
                }
            }
        }
        Ok(())
    }

    fn push_line(&mut self, name: &[u8], value: &[u8]) {
        push_field(&mut self.lines, name, value);
    }

    /// Appends the head to `out`: the status line, always HTTP/1.1 (RFC 9110 §6.2: the highest version that the
    /// server conforms to, whatever the request's), Server unless `server` is empty, Date (see
    /// [`crate::date::DateCache`]), Connection, Upgrade, the framing field, then the application's fields in their
    /// order.
    pub fn write(&self, out: &mut Vec<u8>, decision: &Decision, server: &[u8], date: &[u8]) {
        out.reserve(160 + self.status.len() + self.lines.len());
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(&self.status);
        out.extend_from_slice(b"\r\n");
        push_server_and_date(out, server, date);
        let option: &[u8] = match (self.upgrade(), self.announces(), decision.keep_alive) {
            // What becomes of the connection is up to the protocol that it is switched to.
            (true, ..) => b"upgrade",
            (_, true, true) => b"upgrade, keep-alive",
            (_, true, false) => b"upgrade, close",
            (_, false, true) => b"keep-alive",
            (_, false, false) => b"close",
        };
        push_field(out, b"Connection", option);
        if self.announces() {
            push_field(out, b"Upgrade", &self.protocols);
        }
        if decision.framing == Framing::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        let own = self.content_length.filter(|_| decision.content_length == self.content_length);
        if own.is_some() {
            out.extend_from_slice(&self.lines);
        } else {
            if let Some(length) = decision.content_length {
                push_field(out, b"Content-Length", itoa::Buffer::new().format(length).as_bytes());
            }
            out.extend_from_slice(&self.lines[..self.length_line.start]);
            out.extend_from_slice(&self.lines[self.length_line.end..]);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// How a field of the application is treated.
#[derive(PartialEq, Eq)]
pub(super) enum ResponseField {
    Connection,
    Upgrade,
    ContentLength,
    /// Left out.
    Hop,
    Other,
}

impl ResponseField {
    pub(super) fn of(name: &[u8]) -> Self {
        let (known, field): (&[u8], Self) = match (name.len(), name[0] | 0x20) {
            (2, b't') => (b"te", Self::Hop),
            (4, b'd') => (b"date", Self::Hop),
            (6, b's') => (b"server", Self::Hop),
            (7, b'u') => (b"upgrade", Self::Upgrade),
            (8, b't') => (b"trailers", Self::Hop),
            (10, b'c') => (b"connection", Self::Connection),
            (10, b'k') => (b"keep-alive", Self::Hop),
            (14, b'c') => (b"content-length", Self::ContentLength),
            (17, b't') => (b"transfer-encoding", Self::Hop),
            (18, b'p') => (b"proxy-authenticate", Self::Hop),
            (19, b'p') => (b"proxy-authorization", Self::Hop),
            _ => return Self::Other,
        };
        if name.eq_ignore_ascii_case(known) { field } else { Self::Other }
    }
}

/// Writes one field line. The parts must be valid.
pub(super) fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn push_server_and_date(out: &mut Vec<u8>, server: &[u8], date: &[u8]) {
    if !server.is_empty() {
        push_field(out, b"Server", server);
    }
    push_field(out, b"Date", date);
}
