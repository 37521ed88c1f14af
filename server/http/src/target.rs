//! The request target: its four forms (RFC 9112 §3.2), its parts, and percent-decoding.

use crate::grammar::{decimal, is_userinfo, split_host};
use crate::head::Span;
use crate::reject::{Excerpt, Reject, RejectReason, TargetFault};

/// The form of a request target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `host:port`, with CONNECT only.
    Authority,
    /// `*`, with OPTIONS only.
    Asterisk,
}

pub(crate) struct Parts {
    pub(crate) form: TargetForm,
    pub(crate) path: Span,
    pub(crate) query: Span,
    /// Host and port without userinfo; empty for the origin and asterisk forms.
    pub(crate) authority: Span,
}

/// Splits a target of printable ASCII, not empty, that starts at `base` in the buffer.
pub(crate) fn split(target: &[u8], method: &[u8], base: usize) -> Result<Parts, Reject> {
    let reject = |fault| Err(RejectReason::Target(Excerpt::of(target), fault).into());
    let empty = Span::new(base, base);
    if method == b"CONNECT" {
        return match split_host(target) {
            Some((host, Some(port))) if !host.is_empty() && is_port(port) => Ok(Parts {
                form: TargetForm::Authority,
                path: empty,
                query: empty,
                authority: Span::new(base, base + target.len()),
            }),
            _ => reject(TargetFault::NotAuthority),
        };
    }
    if target[0] == b'/' {
        let (path, query) = path_and_query(target, 0, base);
        return Ok(Parts { form: TargetForm::Origin, path, query, authority: empty });
    }
    if target == b"*" {
        if method != b"OPTIONS" {
            return reject(TargetFault::Asterisk);
        }
        let path = Span::new(base, base + 1);
        return Ok(Parts { form: TargetForm::Asterisk, path, query: empty, authority: empty });
    }
    let Some(scheme_end) = scheme_end(target) else { return reject(TargetFault::NotAbsolute) };
    let start = scheme_end + b"://".len();
    let len = target[start..].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let end = len.map_or(target.len(), |len| start + len);
    let authority = &target[start..end];
    let (userinfo, host) = match memchr::memrchr(b'@', authority) {
        Some(at) => (&authority[..at], &authority[at + 1..]),
        None => (&authority[..0], authority),
    };
    match split_host(host) {
        // RFC 9110 §4.2.1: an http URI with an empty host is invalid.
        Some((name, _)) if !name.is_empty() && is_userinfo(userinfo) => {}
        _ => return reject(TargetFault::Authority),
    }
    let (path, query) = path_and_query(target, end, base);
    let authority = Span::new(base + end - host.len(), base + end);
    Ok(Parts { form: TargetForm::Absolute, path, query, authority })
}

/// Whether one can connect to it (RFC 9110 §9.3.6).
fn is_port(digits: &[u8]) -> bool {
    decimal(digits).is_some_and(|port| (1..=65535).contains(&port))
}

/// The end of `scheme` where `scheme "://"` begins the target (RFC 3986 §3.1).
fn scheme_end(target: &[u8]) -> Option<usize> {
    let end = memchr::memchr(b':', target)?;
    let scheme = &target[..end];
    let valid = scheme.first()?.is_ascii_alphabetic()
        && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    (valid && target[end..].starts_with(b"://")).then_some(end)
}

/// Path and query of what starts at `start`. A fragment, which clients must not send, belongs to neither.
fn path_and_query(target: &[u8], start: usize, base: usize) -> (Span, Span) {
    let rest = &target[start..];
    let end = memchr::memchr(b'#', rest).unwrap_or(rest.len());
    let mark = memchr::memchr(b'?', &rest[..end]);
    let at = |offset: usize| base + start + offset;
    let path = Span::new(at(0), at(mark.unwrap_or(end)));
    let query = Span::new(at(mark.map_or(end, |mark| mark + 1)), at(end));
    (path, query)
}

/// Appends `path` to `out` with its percent-encoded bytes decoded (RFC 3986 §2.1); `%` without two hex digits
/// stays as it is. WSGI's `PATH_INFO` is these bytes read as latin-1.
pub fn percent_decode(path: &[u8], out: &mut Vec<u8>) {
    let mut rest = path;
    while let Some(mark) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..mark]);
        let digit = |i: usize| rest.get(mark + i).and_then(|&byte| char::from(byte).to_digit(16));
        if let (Some(high), Some(low)) = (digit(1), digit(2)) {
            out.push((high << 4 | low) as u8);
            rest = &rest[mark + 3..];
        } else {
            out.push(b'%');
            rest = &rest[mark + 1..];
        }
    }
    out.extend_from_slice(rest);
}
