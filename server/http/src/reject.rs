//! Why a message is refused, and with which status.

use std::fmt;

use crate::head::Version;
use crate::proxy_protocol::ProxyFault;

/// A request that must be answered with `status` and a closed connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Reject {
    /// 400, 403, 413, 414, 417, 421, 431 or 501.
    pub status: u16,
    pub reason: RejectReason,
}

/// What was wrong and where, for the log. The texts quote at most a few bytes of the peer's, escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    #[error("invalid HTTP request line: {0}")]
    RequestLine(RequestLineFault),
    #[error("invalid HTTP method: {0}")]
    Method(Excerpt),
    #[error("invalid request target: {1}: {0}")]
    Target(Excerpt, TargetFault),
    #[error("invalid HTTP version: {0}")]
    VersionText(Excerpt),
    #[error("unsupported HTTP version: {0}")]
    Version(Version),
    #[error("request line is too large (more than {limit} bytes)")]
    RequestLineTooLarge { limit: usize },
    #[error("invalid HTTP header line: {0}")]
    FieldLine(Excerpt),
    #[error("invalid HTTP header name: {0}")]
    FieldName(Excerpt),
    #[error("invalid bytes in the value of HTTP header {0}")]
    FieldValue(Excerpt),
    #[error("bare LF as line terminator in the header section: {0}")]
    BareLf(Excerpt),
    #[error("obsolete line folding is unacceptable: {0}")]
    ObsoleteFolding(Excerpt),
    #[error("more than {limit} header fields")]
    TooManyFields { limit: usize },
    #[error("header field is too large (more than {limit} bytes): {name}")]
    FieldTooLarge { name: Excerpt, limit: usize },
    #[error("header section is too large (more than {limit} bytes)")]
    SectionTooLarge { limit: usize },
    #[error("more than one {0} header")]
    Repeated(&'static str),
    #[error("no Host header in an HTTP/1.1 request")]
    HostMissing,
    #[error("invalid Host header: {0}")]
    Host(Excerpt),
    #[error("invalid Content-Length header: {0}")]
    ContentLength(Excerpt),
    #[error("both Transfer-Encoding and Content-Length headers")]
    LengthAndCoding,
    #[error("invalid Transfer-Encoding header: {fault}: {value}")]
    TransferEncoding { value: Excerpt, fault: CodingFault },
    #[error("unsupported transfer coding: {0}")]
    UnsupportedCoding(Excerpt),
    #[error("unable to comply with expectation: {0}")]
    Expectation(Excerpt),
    #[error("a request for an https resource that has come without TLS, and not from a trusted proxy")]
    Misdirected,
    #[error("HTTP/1 from a proxy that is to speak HTTP/2 by prior knowledge (http2_cleartext)")]
    PrefaceMissing,
    #[error("contradictory scheme headers: {0}")]
    ContradictoryScheme(Excerpt),
    #[error("request body is too large (more than {limit} bytes)")]
    BodyTooLarge { limit: u64 },
    #[error("the connection ended inside a request body")]
    BodyTruncated,
    #[error("invalid chunk size: {0}")]
    ChunkSize(ChunkSizeFault),
    #[error("invalid chunk extension: {0}")]
    ChunkExtension(ChunkExtensionFault),
    #[error("chunk data is not followed by CRLF but by byte 0x{0:02x}")]
    ChunkTerminator(u8),
    #[error("invalid PROXY protocol header: {fault}: {header}")]
    ProxyHeader { header: Excerpt, fault: ProxyFault },
    #[error("the PROXY protocol from a peer that proxy_allow_ips does not name")]
    ProxyForbidden,
    #[error("header not allowed in a trailer section: {0}")]
    ForbiddenTrailer(Excerpt),
}

/// Details of [`RejectReason::RequestLine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestLineFault {
    #[error("it ends before the {0}")]
    Truncated(&'static str),
    #[error("bare LF as line terminator")]
    BareLf,
}

/// Details of [`RejectReason::Target`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetFault {
    #[error("it is empty")]
    Empty,
    #[error("a byte that is not printable ASCII")]
    Byte,
    #[error("the asterisk form is for OPTIONS only")]
    Asterisk,
    #[error("neither a path nor an absolute URI")]
    NotAbsolute,
    #[error("CONNECT takes host:port")]
    NotAuthority,
    #[error("invalid host or port")]
    Authority,
}

/// Details of [`RejectReason::TransferEncoding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodingFault {
    #[error("chunked is not the last coding")]
    ChunkedNotLast,
    #[error("no chunked coding, so the body has no end")]
    NotChunked,
    #[error("not allowed before HTTP/1.1")]
    OldVersion,
}

/// Details of [`RejectReason::ChunkSize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkSizeFault {
    #[error("no digits")]
    Empty,
    #[error("byte 0x{0:02x}")]
    Byte(u8),
    #[error("does not fit 64 bits")]
    Overflow,
    #[error("line over {0} bytes")]
    LineTooLong(usize),
}

/// Details of [`RejectReason::ChunkExtension`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkExtensionFault {
    #[error("byte 0x{0:02x}")]
    Byte(u8),
    #[error("more than {0} bytes of extensions in one body")]
    TooMany(usize),
}

impl Reject {
    /// The reason with the status that it is answered with.
    pub(crate) fn new(reason: RejectReason) -> Self {
        let status = match reason {
            RejectReason::RequestLineTooLarge { .. } => 414,
            RejectReason::TooManyFields { .. }
            | RejectReason::FieldTooLarge { .. }
            | RejectReason::SectionTooLarge { .. } => 431,
            RejectReason::BodyTooLarge { .. } => 413,
            RejectReason::ProxyForbidden => 403,
            RejectReason::Expectation(_) => 417,
            RejectReason::Misdirected => 421,
            RejectReason::UnsupportedCoding(_) => 501,
            _ => 400,
        };
        Self { status, reason }
    }
}

impl From<RejectReason> for Reject {
    fn from(reason: RejectReason) -> Self {
        Self::new(reason)
    }
}

/// A few bytes of the peer's, for a log line: quoted, escaped to ASCII, cut after 80 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt(Box<[u8]>, bool);

impl Excerpt {
    const MOST: usize = 80;

    /// Quotes the first bytes of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(bytes[..bytes.len().min(Self::MOST)].into(), bytes.len() > Self::MOST)
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'{}", self.0.escape_ascii(), if self.1 { "…" } else { "" })
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
