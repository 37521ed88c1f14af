//! The head of a request: what it holds and how it is parsed, piece by piece as bytes arrive.

use std::fmt;

use crate::config::ParserConfig;
use crate::fields::{Facts, Field, FieldKind, Section, Side, Step};
use crate::framing;
use crate::reject::{Excerpt, Reject, RejectReason};
use crate::request_line;
use crate::target::TargetForm;

/// A part of the buffer that a head was parsed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        // Limits::head() keeps all positions below 2^29.
        Self { start: start as u32, end: end as u32 }
    }

    /// The bytes of the span. `buf` must be the buffer that was parsed, else an empty or wrong part is seen.
    pub fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A protocol version, `HTTP/major.minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u8,
    pub minor: u8,
}

impl Version {
    pub const HTTP_10: Self = Self { major: 1, minor: 0 };
    pub const HTTP_11: Self = Self { major: 1, minor: 1 };
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP/{}.{}", self.major, self.minor)
    }
}

/// How the body of a request is delimited (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyKind {
    #[default]
    None,
    /// `Content-Length`, in bytes; may be 0.
    Length(u64),
    Chunked,
}

/// A scheme that a trusted proxy told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    RequestLine,
    Fields,
    Done,
}

/// A parsed request head. Reuse one per connection: [`parse_head_into`] allocates nothing once it has grown.
///
/// The accessors that take `buf` want the buffer that was parsed, from the same first byte on.
#[derive(Debug, Clone)]
pub struct Head {
    pub(crate) method: Span,
    pub(crate) target: Span,
    pub(crate) path: Span,
    pub(crate) query: Span,
    pub(crate) authority: Span,
    pub(crate) form: TargetForm,
    pub(crate) version: Version,
    /// The method as upper-cased by `casefold_http_method`, when that changed it.
    pub(crate) folded_method: Vec<u8>,
    section: Section,
    facts: Facts,
    body: BodyKind,
    keep_alive: bool,
    len: usize,
    stage: Stage,
    pos: usize,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            method: Span::default(),
            target: Span::default(),
            path: Span::default(),
            query: Span::default(),
            authority: Span::default(),
            form: TargetForm::Origin,
            version: Version::HTTP_11,
            folded_method: Vec::new(),
            section: Section::default(),
            facts: Facts::default(),
            body: BodyKind::None,
            keep_alive: false,
            len: 0,
            stage: Stage::RequestLine,
            pos: 0,
        }
    }
}

/// Parses a head from the start of `buf`. `Ok(None)`: more bytes are needed. See [`parse_head_into`].
pub fn parse_head(buf: &[u8], cfg: &ParserConfig, from_trusted_proxy: bool) -> Result<Option<Head>, Reject> {
    let mut head = Head::default();
    Ok(parse_head_into(&mut head, buf, cfg, from_trusted_proxy)?.then_some(head))
}

/// Parses a head from the start of `buf` into `head`; true when it is complete.
///
/// After `Ok(false)` call again with the same bytes and more behind them: work already done is not repeated,
/// so a peer that sends byte by byte costs no more than one that does not. After `Ok(true)` or an error the next
/// call starts anew. To start anew after `Ok(false)` (the bytes are dropped) call [`Head::clear`].
///
/// `from_trusted_proxy`: the peer is in `forwarded_allow_ips` (or is a unix socket), so `forwarder_headers` and
/// `secure_scheme_headers` hold for it.
///
/// One empty line before the request line is skipped (RFC 9112 §2.2).
pub fn parse_head_into(
    head: &mut Head,
    buf: &[u8],
    cfg: &ParserConfig,
    from_trusted_proxy: bool,
) -> Result<bool, Reject> {
    if head.stage == Stage::Done {
        head.clear();
    }
    let result = advance(head, buf, cfg, from_trusted_proxy);
    if result.is_err() {
        head.stage = Stage::Done;
    }
    result
}

fn advance(head: &mut Head, buf: &[u8], cfg: &ParserConfig, trusted: bool) -> Result<bool, Reject> {
    if head.stage == Stage::RequestLine {
        let start = match buf {
            [b'\r', b'\n', ..] => 2,
            [] | [b'\r'] => return Ok(false),
            _ => 0,
        };
        let Some(next) = request_line::parse(head, buf, start, cfg)? else { return Ok(false) };
        head.pos = next;
        head.section.begin(next);
        head.stage = Stage::Fields;
    }
    let side = Side::Head { version: head.version, trusted };
    loop {
        match head.section.step(buf, &mut head.pos, cfg, side, &mut head.facts)? {
            Step::More => return Ok(false),
            Step::Field => {}
            Step::End => break,
        }
    }
    finish(head, buf, cfg, trusted)?;
    head.len = head.pos;
    head.stage = Stage::Done;
    Ok(true)
}

/// The rules about the head as a whole.
fn finish(head: &mut Head, buf: &[u8], cfg: &ParserConfig, trusted: bool) -> Result<(), Reject> {
    if head.facts.host.is_none() && head.version >= Version::HTTP_11 {
        return Err(RejectReason::HostMissing.into());
    }
    if head.form == TargetForm::Absolute && is_https(head.target(buf)) {
        // RFC 9110 §7.4: without TLS of our own only a trusted gateway can have received it over TLS.
        if !trusted && !cfg.secure {
            return Err(RejectReason::Misdirected.into());
        }
        head.facts.scheme.get_or_insert(Scheme::Https);
    }
    head.body = framing::body_kind(&head.facts, head.version, &cfg.limits, || {
        Excerpt::of(head.find(buf, "transfer-encoding").unwrap_or_default())
    })?;
    // After a CONNECT the bytes that follow may be meant for a tunnel; after a coding that is not undone
    // here nothing is certain either (as Gunicorn).
    let must_close = head.method(buf) == b"CONNECT" || head.facts.inner_coding;
    let asked = head.facts.connection;
    head.keep_alive = !must_close && !asked.close && (asked.keep_alive || head.version >= Version::HTTP_11);
    Ok(())
}

fn is_https(uri: &[u8]) -> bool {
    uri.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https:"))
}

impl Head {
    /// Forgets everything but the allocated memory.
    pub fn clear(&mut self) {
        self.folded_method.clear();
        self.section.clear();
        self.facts = Facts::default();
        self.body = BodyKind::None;
        self.keep_alive = false;
        self.len = 0;
        self.stage = Stage::RequestLine;
        self.pos = 0;
    }

    /// Bytes that the head took, the empty line at its end included: the body starts there.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True as long as no head is complete.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True when the request line is complete, so that method, target and version can be told, in a log of a
    /// head that was rejected later, say.
    pub fn has_request_line(&self) -> bool {
        self.pos > 0
    }

    /// The method, upper-cased if `casefold_http_method` says so.
    pub fn method<'a>(&'a self, buf: &'a [u8]) -> &'a [u8] {
        if self.folded_method.is_empty() { self.method.of(buf) } else { &self.folded_method }
    }

    /// The request target byte for byte (`RAW_URI`). Printable ASCII.
    pub fn target<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.target.of(buf)
    }

    /// Which of the four forms the target has (RFC 9112 §3.2).
    pub fn target_form(&self) -> TargetForm {
        self.form
    }

    /// The path of the target, still percent-encoded, without query and fragment. Empty for an absolute URI
    /// without a path and for CONNECT; `*` for the asterisk form. See [`crate::target::percent_decode`].
    pub fn path<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.path.of(buf)
    }

    /// The query of the target without `?` (and without any fragment); empty if there is none.
    pub fn query<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.query.of(buf)
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// The host (and port) that the request is for: that of the target if it names one, else the Host field
    /// (RFC 9112 §3.2.2). `None` only before HTTP/1.1.
    pub fn host<'a>(&'a self, buf: &'a [u8]) -> Option<&'a [u8]> {
        match self.form {
            TargetForm::Absolute | TargetForm::Authority => Some(self.authority.of(buf)),
            TargetForm::Origin | TargetForm::Asterisk => {
                self.facts.host.map(|value| self.section.value(value, buf))
            }
        }
    }

    pub fn body(&self) -> BodyKind {
        self.body
    }

    /// Whether the client lets the connection persist (RFC 9112 §9.3).
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client waits for `100 Continue` before it sends the body. Never before HTTP/1.1.
    pub fn expect_continue(&self) -> bool {
        self.facts.expect_continue
    }

    /// The first Upgrade field, if Connection names it too (RFC 9110 §7.8). Never before HTTP/1.1.
    pub fn upgrade<'a>(&'a self, buf: &'a [u8]) -> Option<&'a [u8]> {
        let wanted = self.facts.connection.upgrade && self.version >= Version::HTTP_11;
        self.facts.upgrade.filter(|_| wanted).map(|value| self.section.value(value, buf))
    }

    /// The scheme that a trusted proxy told, by one of the `secure_scheme_headers` or else by the target itself.
    pub fn forwarded_scheme(&self) -> Option<Scheme> {
        self.facts.scheme
    }

    /// The fields in the order received, without those that `header_map` drops. Names as sent, values without
    /// the whitespace around them.
    pub fn fields<'a>(&'a self, buf: &'a [u8]) -> Fields<'a> {
        self.section.fields(buf)
    }

    /// Forgets the fields of this kind, once nobody needs them to read the message: the application is not told of them.
    pub fn hide(&mut self, kind: FieldKind) {
        self.section.hide(kind);
    }

    pub fn field_count(&self) -> usize {
        self.section.len()
    }

    /// The value of the first field of this name, in any case.
    pub fn find<'a>(&'a self, buf: &'a [u8], name: &str) -> Option<&'a [u8]> {
        self.fields(buf).find(|field| field.1.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.2)
    }
}

/// Iterator over the fields of a head or trailer section: kind, name, value.
#[derive(Debug, Clone, Default)]
pub struct Fields<'a> {
    pub(crate) buf: &'a [u8],
    pub(crate) folded: &'a [u8],
    pub(crate) inner: std::slice::Iter<'a, Field>,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (FieldKind, &'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.inner.next()?;
        Some((field.kind, field.name.of(self.buf), field.value.of(self.buf, self.folded)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

impl ExactSizeIterator for Fields<'_> {}
