//! The values of one line.
//!
//! As in Gunicorn most of them are read from a WSGI app's environ after it has run, so that a middleware which corrects
//! `REMOTE_ADDR` corrects the log too. Where there is no environ they come from the request's head.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use podicorn_http::Head;
use podicorn_http::response::ResponseHead;
use podicorn_http::target::percent_decode;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::format::Atom;
use crate::clock::{MILLISECOND, Nanos, SECOND, unix};
use crate::reactor::socket::Peer;
use crate::trace::RequestTrace;

/// A request that has ended.
pub(crate) struct Record<'a, 'py> {
    /// Of a WSGI app.
    pub(crate) environ: Option<&'a Bound<'py, PyDict>>,
    pub(crate) peer: Peer,
    pub(crate) asked: &'a Head,
    /// What `asked` was parsed from.
    pub(crate) raw: &'a [u8],
    pub(crate) head: &'a ResponseHead,
    /// Without chunk framing.
    pub(crate) body_bytes: u64,
    pub(crate) duration: Nanos,
    pub(crate) trace: &'a RequestTrace,
}

/// What a line may tell of the request, by the names of PEP 3333.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fact {
    RemoteAddress,
    Method,
    Target,
    Protocol,
    Path,
    Query,
    Referrer,
    UserAgent,
}

const FACTS: [(Fact, &str); 8] = [
    (Fact::RemoteAddress, "REMOTE_ADDR"),
    (Fact::Method, "REQUEST_METHOD"),
    (Fact::Target, "RAW_URI"),
    (Fact::Protocol, "SERVER_PROTOCOL"),
    (Fact::Path, "PATH_INFO"),
    (Fact::Query, "QUERY_STRING"),
    (Fact::Referrer, "HTTP_REFERER"),
    (Fact::UserAgent, "HTTP_USER_AGENT"),
];

impl Fact {
    /// The variable of environ.
    fn variable(self, py: Python<'_>) -> &Bound<'_, PyString> {
        match self {
            Self::RemoteAddress => intern!(py, "REMOTE_ADDR"),
            Self::Method => intern!(py, "REQUEST_METHOD"),
            Self::Target => intern!(py, "RAW_URI"),
            Self::Protocol => intern!(py, "SERVER_PROTOCOL"),
            Self::Path => intern!(py, "PATH_INFO"),
            Self::Query => intern!(py, "QUERY_STRING"),
            Self::Referrer => intern!(py, "HTTP_REFERER"),
            Self::UserAgent => intern!(py, "HTTP_USER_AGENT"),
        }
    }
}

/// The text of the second that was last asked for.
#[derive(Default)]
struct Cached {
    second: u64,
    text: String,
}

impl Cached {
    fn of(&mut self, second: u64, write: impl FnOnce(Timestamp) -> String) -> &str {
        if self.second != second {
            self.second = second;
            self.text = write(Timestamp::from_second(i64::try_from(second).unwrap_or(0)).unwrap_or_default());
        }
        &self.text
    }
}

/// The time as text.
#[derive(Default)]
pub(super) struct Times {
    local: Cached,
    utc: Cached,
    exact: String,
}

impl Times {
    /// To the second, in Apache's form and the local time zone.
    fn apache(&mut self) -> &str {
        let local = |stamp: Timestamp| {
            stamp.to_zoned(TimeZone::system()).strftime("[%d/%b/%Y:%H:%M:%S %z]").to_string()
        };
        self.local.of(unix() / SECOND, local)
    }

    /// By RFC 3339, to the microsecond, in UTC.
    pub(super) fn exact(&mut self) -> &str {
        let now = unix();
        let second = self.utc.of(now / SECOND, |stamp| stamp.strftime("%Y-%m-%dT%H:%M:%S").to_string());
        self.exact.clear();
        // Writing into a String cannot fail.
        let _ = write!(self.exact, "{second}.{:06}Z", now % SECOND / 1000);
        &self.exact
    }
}

const DASH: &[u8] = b"-";

impl Record<'_, '_> {
    /// Appends the plain text of an atom.
    pub(super) fn atom(&self, atom: &Atom, times: &mut Times, out: &mut Vec<u8>) {
        let microseconds = self.duration / 1000;
        // Writing into a Vec cannot fail.
        let _ = match atom {
            Atom::RemoteAddress => self.shown(Fact::RemoteAddress, out),
            Atom::User => out.write_all(self.user().as_deref().unwrap_or(DASH)),
            Atom::Time => out.write_all(times.apache().as_bytes()),
            Atom::RequestLine => self
                .shown(Fact::Method, out)
                .and_then(|()| out.write_all(b" "))
                .and_then(|()| self.shown(Fact::Target, out))
                .and_then(|()| out.write_all(b" "))
                .and_then(|()| self.shown(Fact::Protocol, out)),
            Atom::Status => write!(out, "{:03}", self.head.status()),
            Atom::Method => self.shown(Fact::Method, out),
            Atom::Path => self.shown(Fact::Path, out),
            Atom::Query => self.shown(Fact::Query, out),
            Atom::Protocol => self.shown(Fact::Protocol, out),
            Atom::BodyBytes => number(self.body_bytes, out),
            Atom::Referrer => self.shown(Fact::Referrer, out),
            Atom::UserAgent => self.shown(Fact::UserAgent, out),
            Atom::Seconds => number(self.duration / SECOND, out),
            Atom::Microseconds => number(microseconds, out),
            Atom::Milliseconds => number(self.duration / MILLISECOND, out),
            Atom::DecimalSeconds => {
                write!(out, "{}.{:06}", self.duration / SECOND, microseconds % 1_000_000)
            }
            Atom::ProcessId => write!(out, "<{}>", std::process::id()),
            Atom::RequestHeader(name) => latin1(self.request_header(name).unwrap_or(DASH), out),
            Atom::ResponseHeader(name) => latin1(self.response_header(name).unwrap_or(DASH), out),
            Atom::Environ(name) => self.any_variable(name, out),
            Atom::Dash => out.write_all(DASH),
        };
    }

    /// A fact as text; `None` where it is absent.
    pub(super) fn text(&self, fact: Fact) -> Option<String> {
        let Some(environ) = self.environ else {
            let mut text = Vec::new();
            latin1(&self.head_fact(fact)?, &mut text).ok()?;
            return String::from_utf8(text).ok();
        };
        let value = environ.get_item(fact.variable(environ.py())).ok()??;
        Some(value.str().ok()?.to_string_lossy().into_owned())
    }

    fn shown(&self, fact: Fact, out: &mut Vec<u8>) -> std::io::Result<()> {
        let Some(environ) = self.environ else {
            return latin1(self.head_fact(fact).as_deref().unwrap_or(DASH), out);
        };
        match environ.get_item(fact.variable(environ.py())) {
            Ok(Some(value)) => shown(&value, out),
            _ => out.write_all(DASH),
        }
    }

    /// In latin-1, as HTTP has it.
    fn head_fact(&self, fact: Fact) -> Option<Cow<'_, [u8]>> {
        let (head, raw) = (self.asked, self.raw);
        Some(match fact {
            Fact::RemoteAddress => match self.peer {
                Peer::Internet(address) => Cow::Owned(address.ip().to_string().into_bytes()),
                Peer::Local => Cow::Borrowed(b""),
            },
            Fact::Method => Cow::Borrowed(head.method(raw)),
            Fact::Target => Cow::Borrowed(head.target(raw)),
            Fact::Protocol => Cow::Owned(head.version().to_string().into_bytes()),
            Fact::Path => {
                let mut path = Vec::new();
                percent_decode(head.path(raw), &mut path);
                Cow::Owned(path)
            }
            Fact::Query => Cow::Borrowed(head.query(raw)),
            Fact::Referrer => Cow::Borrowed(self.request_header("referer")?),
            Fact::UserAgent => Cow::Borrowed(self.request_header("user-agent")?),
        })
    }

    /// By a name in lower case. Names are compared without regard to case, as in Gunicorn.
    fn any_variable(&self, name: &str, out: &mut Vec<u8>) -> std::io::Result<()> {
        let Some(environ) = self.environ else { return self.any_head_fact(name, out) };
        for candidate in [name.to_owned(), name.to_uppercase()] {
            if let Ok(Some(value)) = environ.get_item(candidate) {
                return shown(&value, out);
            }
        }
        for (key, value) in environ.iter() {
            let same =
                key.cast::<PyString>().is_ok_and(|key| key.to_string_lossy().eq_ignore_ascii_case(name));
            if same {
                return shown(&value, out);
            }
        }
        out.write_all(DASH)
    }

    fn any_head_fact(&self, name: &str, out: &mut Vec<u8>) -> std::io::Result<()> {
        if let Some((fact, _)) = FACTS.iter().find(|(_, variable)| variable.eq_ignore_ascii_case(name)) {
            return self.shown(*fact, out);
        }
        let header = name.strip_prefix("http_").map(|header| header.replace('_', "-"));
        latin1(header.and_then(|header| self.request_header(&header)).unwrap_or(DASH), out)
    }

    /// The last field of this name, as in Gunicorn.
    fn request_header(&self, name: &str) -> Option<&[u8]> {
        let fields = self.asked.fields(self.raw);
        fields
            .filter(|(_, field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .last()
            .map(|(_, _, value)| value)
    }

    fn response_header(&self, name: &str) -> Option<&[u8]> {
        let fields = self.head.fields();
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes())).last().map(|(_, value)| value)
    }

    /// The user of basic authentication (RFC 7617).
    pub(super) fn user(&self) -> Option<Vec<u8>> {
        let value = match self.environ {
            Some(environ) => environ
                .get_item(intern!(environ.py(), "HTTP_AUTHORIZATION"))
                .ok()??
                .cast::<PyString>()
                .ok()?
                .to_str()
                .ok()?
                .to_owned(),
            None => std::str::from_utf8(self.request_header("authorization")?).ok()?.to_owned(),
        };
        let (scheme, credentials) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let mut user = decode_base64(credentials.trim().as_bytes())?;
        user.truncate(memchr::memchr(b':', &user)?);
        (!user.is_empty() && std::str::from_utf8(&user).is_ok()).then_some(user)
    }
}

fn number(number: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
    out.write_all(itoa::Buffer::new().format(number).as_bytes())
}

fn shown(value: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> std::io::Result<()> {
    if let Ok(text) = value.cast::<PyString>() {
        return out.write_all(text.to_string_lossy().as_bytes());
    }
    match value.str() {
        Ok(text) => out.write_all(text.to_string_lossy().as_bytes()),
        Err(_) => out.write_all(DASH),
    }
}

/// Bytes of HTTP as UTF-8.
fn latin1(bytes: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    if bytes.is_ascii() {
        return out.write_all(bytes);
    }
    bytes.iter().try_for_each(|byte| write!(out, "{}", char::from(*byte)))
}

/// RFC 4648 §4; `None` if it is not that.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for character in group {
            let value = match character {
                b'A'..=b'Z' => character - b'A',
                b'a'..=b'z' => character - b'a' + 26,
                b'0'..=b'9' => character - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let bytes = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        bits <<= 6 * (4 - group.len());
        decoded.extend_from_slice(&bits.to_be_bytes()[1..=bytes]);
    }
    Some(decoded)
}
