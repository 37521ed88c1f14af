//! Field lines (RFC 9112 §5): splitting a section into lines and a line into name and value, and the rules
//! about single fields. Used for heads and for trailer sections.

use crate::config::{HeaderMap, Limits, ParserConfig};
use crate::framing::{Coding, take_codings};
use crate::grammar::{
    decimal, is_field_value, is_host, is_ows, is_token, list_members, token_start, trim_ows, trim_ows_end,
};
use crate::head::{Fields, Scheme, Span, Version};
use crate::reject::{Excerpt, Reject, RejectReason};

/// Fields that matter to HTTP itself or that WSGI treats apart, told while parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    Connection,
    ContentLength,
    ContentType,
    Expect,
    Host,
    TransferEncoding,
    Upgrade,
    Other,
}

impl FieldKind {
    fn of(name: &[u8]) -> Self {
        let (known, kind): (&[u8], Self) = match (name.len(), name[0] | 0x20) {
            (4, b'h') => (b"host", Self::Host),
            (6, b'e') => (b"expect", Self::Expect),
            (7, b'u') => (b"upgrade", Self::Upgrade),
            (10, b'c') => (b"connection", Self::Connection),
            (12, b'c') => (b"content-type", Self::ContentType),
            (14, b'c') => (b"content-length", Self::ContentLength),
            (17, b't') => (b"transfer-encoding", Self::TransferEncoding),
            _ => return Self::Other,
        };
        if name.eq_ignore_ascii_case(known) { kind } else { Self::Other }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) kind: FieldKind,
    pub(crate) name: Span,
    pub(crate) value: Value,
}

/// Where the value of a field is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value {
    span: Span,
    /// The span is one of the section's buffer of unfolded values.
    folded: bool,
}

impl Value {
    /// The bytes, out of the parsed buffer or the unfolded values.
    pub(crate) fn of<'a>(self, buf: &'a [u8], unfolded: &'a [u8]) -> &'a [u8] {
        self.span.of(if self.folded { unfolded } else { buf })
    }
}

/// Whose section it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Head { version: Version, trusted: bool },
    Trailer,
}

/// What the Connection fields ask for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Connection {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
}

/// What the fields of a head say to HTTP itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) host: Option<Value>,
    pub(crate) content_length: Option<u64>,
    pub(crate) coding: Option<Coding>,
    /// A coding under chunked, which the application has to undo.
    pub(crate) inner_coding: bool,
    pub(crate) connection: Connection,
    pub(crate) upgrade: Option<Value>,
    pub(crate) expect_continue: bool,
    pub(crate) scheme: Option<Scheme>,
    content_type: bool,
}

/// The fields of a section, found step by step.
#[derive(Debug, Clone, Default)]
pub(crate) struct Section {
    start: usize,
    fields: Vec<Field>,
    /// Values of folded fields, joined.
    folded: Vec<u8>,
    /// Whether a line has been seen, dropped ones included.
    any: bool,
}

pub(crate) enum Step {
    More,
    Field,
    End,
}

/// A field line, or several where folding is permitted.
struct Line {
    /// Of the first line, without CRLF.
    end: usize,
    /// The position behind the last line.
    next: usize,
    folded: bool,
}

impl Section {
    pub(crate) fn clear(&mut self) {
        self.fields.clear();
        self.folded.clear();
        self.any = false;
        self.start = 0;
    }

    pub(crate) fn begin(&mut self, start: usize) {
        self.clear();
        self.start = start;
    }

    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn hide(&mut self, kind: FieldKind) {
        self.fields.retain(|field| field.kind != kind);
    }

    /// The bytes of a value of this section.
    pub(crate) fn value<'a>(&'a self, value: Value, buf: &'a [u8]) -> &'a [u8] {
        value.of(buf, &self.folded)
    }

    pub(crate) fn fields<'a>(&'a self, buf: &'a [u8]) -> Fields<'a> {
        Fields { buf, folded: &self.folded, inner: self.fields.iter() }
    }

    /// Takes the line at `pos` of `buf`, if it is complete, and moves `pos` behind it.
    pub(crate) fn step(
        &mut self,
        buf: &[u8],
        pos: &mut usize,
        cfg: &ParserConfig,
        side: Side,
        facts: &mut Facts,
    ) -> Result<Step, Reject> {
        match buf[*pos..] {
            [] | [b'\r'] => return Ok(Step::More),
            [b'\r', b'\n', ..] => {
                *pos += 2;
                return Ok(Step::End);
            }
            _ => {}
        }
        let limits = &cfg.limits;
        if self.fields.len() >= limits.fields {
            return Err(RejectReason::TooManyFields { limit: limits.fields }.into());
        }
        if is_ows(buf[*pos]) && self.any {
            // Folding that is permitted was taken with its first line.
            let name = self.fields.last().map(|field| field.name.of(buf)).unwrap_or_default();
            return Err(RejectReason::ObsoleteFolding(Excerpt::of(name)).into());
        }
        let start = *pos;
        let Some(line) = next_line(buf, start, limits, cfg.leniency.permit_obsolete_folding)? else {
            return Ok(Step::More);
        };
        if line.next - self.start > limits.field_section() {
            return Err(RejectReason::SectionTooLarge { limit: limits.field_section() }.into());
        }
        self.any = true;
        *pos = line.next;
        self.field(buf, start, &line, cfg, side, facts)?;
        Ok(Step::Field)
    }

    fn field(
        &mut self,
        buf: &[u8],
        start: usize,
        line: &Line,
        cfg: &ParserConfig,
        side: Side,
        facts: &mut Facts,
    ) -> Result<(), Reject> {
        let text = &buf[start..line.end];
        let Name { text: name, underscore, colon } = field_name(text, cfg.leniency.strip_header_spaces)?;
        let value_start = start + colon + 1;
        let (value, span) = if line.folded {
            let unfolded = self.folded.len();
            unfold(&buf[value_start..line.next], &mut self.folded);
            (&self.folded[unfolded..], Span::new(unfolded, self.folded.len()))
        } else {
            let raw = &buf[value_start..line.end];
            let lead = raw.iter().take_while(|&&byte| is_ows(byte)).count();
            let value = trim_ows_end(&raw[lead..]);
            let first = if value.is_empty() { value_start } else { value_start + lead };
            (value, Span::new(first, first + value.len()))
        };
        if !is_field_value(value) {
            return Err(RejectReason::FieldValue(Excerpt::of(name)).into());
        }
        let kind = FieldKind::of(name);
        let place = Value { span, folded: line.folded };
        let keep = match side {
            Side::Head { version, trusted } => {
                facts.take(kind, value, place, version)?;
                if trusted {
                    facts.forwarded_scheme(name, value, cfg)?;
                }
                !underscore || may_pass(name, cfg, trusted)?
            }
            Side::Trailer => {
                if is_forbidden_trailer(name) {
                    return Err(RejectReason::ForbiddenTrailer(Excerpt::of(name)).into());
                }
                facts.single(kind)?;
                !underscore || may_pass(name, cfg, false)?
            }
        };
        if keep {
            let name = Span::new(start, start + name.len());
            self.fields.push(Field { kind, name, value: place });
        }
        Ok(())
    }
}

struct Name<'a> {
    text: &'a [u8],
    /// Whether there is an underscore in it.
    underscore: bool,
    /// The position of the colon.
    colon: usize,
}

/// The name that a field line starts with.
fn field_name(line: &[u8], strip_spaces: bool) -> Result<Name<'_>, Reject> {
    let (len, underscore) = token_start(line);
    if len > 0 && line.get(len) == Some(&b':') {
        return Ok(Name { text: &line[..len], underscore, colon: len });
    }
    let colon = match memchr::memchr(b':', line) {
        Some(colon) if colon > 0 => colon,
        _ => return Err(RejectReason::FieldLine(Excerpt::of(line)).into()),
    };
    let name = &line[..colon];
    let stripped = trim_ows_end(name);
    if strip_spaces && is_token(stripped) {
        return Ok(Name { text: stripped, underscore, colon });
    }
    Err(RejectReason::FieldName(Excerpt::of(name)).into())
}

/// Finds the line that starts at `start`, with its continuation lines if folding is permitted. `None`: not
/// complete. Nothing beyond the size limit is looked at.
fn next_line(buf: &[u8], start: usize, limits: &Limits, fold: bool) -> Result<Option<Line>, Reject> {
    let limit = limits.field_size;
    let window = &buf[start..buf.len().min(start.saturating_add(limit))];
    let mut end = None;
    let mut from = 0;
    loop {
        let Some(found) = memchr::memchr(b'\n', &window[from..]) else {
            if window.len() < limit {
                return Ok(None);
            }
            let name = window.split(|&byte| byte == b':').next().unwrap_or_default();
            return Err(RejectReason::FieldTooLarge { name: Excerpt::of(name), limit }.into());
        };
        let lf = from + found;
        if lf == from || window[lf - 1] != b'\r' {
            return Err(RejectReason::BareLf(Excerpt::of(&window[from..lf])).into());
        }
        let end = *end.get_or_insert(start + lf - 1);
        let next = start + lf + 1;
        let line = Line { end, next, folded: from > 0 };
        if !fold {
            return Ok(Some(line));
        }
        match buf.get(next) {
            None => return Ok(None),
            Some(&byte) if is_ows(byte) => from = lf + 1,
            Some(_) => return Ok(Some(line)),
        }
    }
}

/// Joins the lines of a folded value by one space (RFC 9112 §5.2). `raw` ends with CRLF.
fn unfold(raw: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    for line in raw.split_inclusive(|&byte| byte == b'\n') {
        if out.len() > start {
            out.push(b' ');
        }
        out.extend_from_slice(trim_ows(line.strip_suffix(b"\r\n").unwrap_or(line)));
    }
    let end = start + trim_ows_end(&out[start..]).len();
    out.truncate(end);
}

impl Facts {
    /// Fields that have one value only must not be repeated (RFC 9110 §5.3): which one counts would be a guess.
    fn single(&mut self, kind: FieldKind) -> Result<(), Reject> {
        if kind == FieldKind::ContentType && std::mem::replace(&mut self.content_type, true) {
            return Err(RejectReason::Repeated("Content-Type").into());
        }
        Ok(())
    }

    fn take(&mut self, kind: FieldKind, value: &[u8], place: Value, version: Version) -> Result<(), Reject> {
        match kind {
            FieldKind::Other => {}
            FieldKind::ContentType => self.single(kind)?,
            FieldKind::Host => {
                if self.host.replace(place).is_some() {
                    return Err(RejectReason::Repeated("Host").into());
                }
                if !is_host(value) {
                    return Err(RejectReason::Host(Excerpt::of(value)).into());
                }
            }
            FieldKind::Expect => {
                for expectation in list_members(value).filter(|member| !member.is_empty()) {
                    if !expectation.eq_ignore_ascii_case(b"100-continue") {
                        return Err(RejectReason::Expectation(Excerpt::of(value)).into());
                    }
                    // RFC 9110 §10.1.1: before HTTP/1.1 it is to be ignored.
                    self.expect_continue = version >= Version::HTTP_11;
                }
            }
            FieldKind::ContentLength => {
                let length = decimal(value).ok_or_else(|| RejectReason::ContentLength(Excerpt::of(value)))?;
                if self.content_length.replace(length).is_some() {
                    return Err(RejectReason::Repeated("Content-Length").into());
                }
            }
            FieldKind::TransferEncoding => {
                take_codings(&mut self.coding, &mut self.inner_coding, value)?;
            }
            FieldKind::Connection => {
                for option in list_members(value) {
                    let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
                    self.connection.close |= is("close");
                    self.connection.keep_alive |= is("keep-alive");
                    self.connection.upgrade |= is("upgrade");
                }
            }
            FieldKind::Upgrade => {
                self.upgrade.get_or_insert(place);
            }
        }
        Ok(())
    }

    fn forwarded_scheme(&mut self, name: &[u8], value: &[u8], cfg: &ParserConfig) -> Result<(), Reject> {
        let told = cfg.secure_scheme_headers.iter().find(|told| name.eq_ignore_ascii_case(told.0.as_bytes()));
        let Some((_, secure)) = told else { return Ok(()) };
        let scheme = if value == secure.as_bytes() { Scheme::Https } else { Scheme::Http };
        if *self.scheme.get_or_insert(scheme) != scheme {
            return Err(RejectReason::ContradictoryScheme(Excerpt::of(name)).into());
        }
        Ok(())
    }
}

/// Whether a field with an underscore is kept: its name looks like another in an environ.
fn may_pass(name: &[u8], cfg: &ParserConfig, trusted: bool) -> Result<bool, Reject> {
    let allows = |allowed: &String| allowed == "*" || name.eq_ignore_ascii_case(allowed.as_bytes());
    if trusted && cfg.forwarder_headers.iter().any(allows) {
        return Ok(true);
    }
    match cfg.header_map {
        HeaderMap::Dangerous => Ok(true),
        HeaderMap::Drop => Ok(false),
        HeaderMap::Refuse => Err(RejectReason::FieldName(Excerpt::of(name)).into()),
    }
}

/// Fields that must not come in trailers: they route, frame or authenticate (RFC 9110 §6.5.1).
fn is_forbidden_trailer(name: &[u8]) -> bool {
    const FORBIDDEN: [&[u8]; 6] =
        [b"host", b"content-length", b"transfer-encoding", b"trailer", b"authorization", b"te"];
    FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}
