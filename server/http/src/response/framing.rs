//! How the body of a response is delimited (RFC 9112 §6, RFC 9110 §6.4, §8.6).

use crate::head::Version;

/// The methods that change what a response may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestMethod {
    Head,
    Connect,
    Other,
}

impl RequestMethod {
    pub fn of(method: &[u8]) -> Self {
        match method {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// What the framing of a response depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// Of the request.
    pub version: Version,
    pub method: RequestMethod,
    /// Of the response.
    pub status: u16,
    /// The Content-Length that the application gave, or that the server knows.
    pub content_length: Option<u64>,
    /// Whether client and server both want the connection to persist.
    pub keep_alive: bool,
}

/// How the body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By its length in bytes: send neither more nor less.
    ContentLength(u64),
    Chunked,
    /// By the end of the connection.
    UntilClose,
    /// There is none, whatever the application gives: drop it.
    NoBody,
}

impl Framing {
    /// Bytes of the next piece, of `piece` bytes, that may go out after `sent` bytes of the body: no more than was said,
    /// since the rest would be read as the next response.
    #[must_use]
    pub fn takes(self, piece: u64, sent: u64) -> u64 {
        match self {
            Self::NoBody => 0,
            Self::ContentLength(length) => piece.min(length.saturating_sub(sent)),
            Self::Chunked | Self::UntilClose => piece,
        }
    }

    /// Whether the client knows the end of a body of `sent` bytes, so that another response may follow.
    #[must_use]
    pub fn ends_after(self, sent: u64) -> bool {
        match self {
            Self::ContentLength(length) => length == sent,
            Self::Chunked | Self::NoBody => true,
            Self::UntilClose => false,
        }
    }
}

/// See [`decide_framing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    pub framing: Framing,
    /// The Content-Length field to send: also for HEAD and 304, where it tells of the body not sent.
    pub content_length: Option<u64>,
    /// Whether the connection may serve another request after this response.
    pub keep_alive: bool,
}

/// Decides how the body of a final response is delimited.
///
/// * 1xx and 204: no body, no Content-Length (RFC 9110 §8.6). 304 and HEAD: no body, Content-Length as given.
/// * 205: no body, and a Content-Length of 0 says so (RFC 9110 §15.3.6).
/// * 2xx to CONNECT: what follows is a tunnel (RFC 9110 §9.3.6), so neither field, and the connection ends.
/// * Otherwise Content-Length if known, else chunked, or before HTTP/1.1 until the connection ends.
pub fn decide_framing(exchange: &Exchange) -> Decision {
    let Exchange { version, method, status, content_length, keep_alive } = *exchange;
    let (framing, content_length) = match (method, status) {
        (_, 0..=199 | 204) => (Framing::NoBody, None),
        (RequestMethod::Connect, 200..=299) => (Framing::UntilClose, None),
        (RequestMethod::Head, _) | (_, 304) => (Framing::NoBody, content_length),
        (_, 205) => (Framing::NoBody, Some(0)),
        _ => match content_length {
            Some(length) => (Framing::ContentLength(length), content_length),
            None if version >= Version::HTTP_11 => (Framing::Chunked, None),
            None => (Framing::UntilClose, None),
        },
    };
    Decision { framing, content_length, keep_alive: keep_alive && framing != Framing::UntilClose }
}
