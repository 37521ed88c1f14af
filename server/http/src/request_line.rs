//! The request line: `method SP request-target SP HTTP-version CRLF` (RFC 9112 §3).
//!
//! The line is judged from left to right and every verdict hangs on the bytes up to one position, so a
//! prefix never gets another verdict than the whole. Nothing beyond the limit is looked at.

use crate::config::ParserConfig;
use crate::grammar::{is_tchar, is_visible_ascii};
use crate::head::{Head, Span, Version};
use crate::reject::{Excerpt, Reject, RejectReason, RequestLineFault, TargetFault};
use crate::target;

/// Gunicorn's bounds for the length of a conventional method.
const METHOD_LEN: std::ops::RangeInclusive<usize> = 3..=20;

/// Parses the line that starts at `start`. `Ok(None)`: it is not complete; else the position behind it.
pub(crate) fn parse(
    head: &mut Head,
    buf: &[u8],
    start: usize,
    cfg: &ParserConfig,
) -> Result<Option<usize>, Reject> {
    let limit = cfg.limits.request_line;
    // The line and its CRLF lie in this window, or the line is too long.
    let full = limit.saturating_add(2);
    let rest = &buf[start..];
    let window = &rest[..rest.len().min(full)];
    let more = |window: &[u8]| {
        if window.len() == full { Err(RejectReason::RequestLineTooLarge { limit }.into()) } else { Ok(None) }
    };

    let Some(method_end) = method_end(window, cfg)? else { return more(window) };
    let target_start = method_end + 1;
    let after_method = &window[target_start..];
    let Some(target_len) = target_end(after_method)? else { return more(window) };
    let target_end = target_start + target_len;
    if target_len == 0 {
        return Err(RejectReason::Target(Excerpt::of(b""), TargetFault::Empty).into());
    }
    let method = &window[..method_end];
    let parts = target::split(&after_method[..target_len], fold(method, cfg).as_ref(), start + target_start)?;
    let Some(version) = version(&window[target_end + 1..])? else { return more(window) };
    if version.major != 1 && !cfg.leniency.permit_unconventional_http_version {
        return Err(RejectReason::Version(version).into());
    }

    head.method = Span::new(start, start + method_end);
    head.folded_method.clear();
    if cfg.leniency.casefold_http_method && method.iter().any(u8::is_ascii_lowercase) {
        head.folded_method.extend(method.iter().map(u8::to_ascii_uppercase));
    }
    head.target = Span::new(start + target_start, start + target_end);
    head.form = parts.form;
    head.path = parts.path;
    head.query = parts.query;
    head.authority = parts.authority;
    head.version = version;
    Ok(Some(start + target_end + 1 + VERSION_LEN + 2))
}

/// The method as the target's rules see it.
fn fold<'a>(method: &'a [u8], cfg: &ParserConfig) -> std::borrow::Cow<'a, [u8]> {
    if cfg.leniency.casefold_http_method && method.iter().any(u8::is_ascii_lowercase) {
        method.to_ascii_uppercase().into()
    } else {
        method.into()
    }
}

/// The length of the method, which a space ends; `None`: no space yet.
fn method_end(window: &[u8], cfg: &ParserConfig) -> Result<Option<usize>, Reject> {
    if window.starts_with(b"GET ") {
        return Ok(Some(3));
    }
    let conventional = !cfg.leniency.permit_unconventional_http_method;
    for (i, &byte) in window.iter().enumerate() {
        match byte {
            b' ' if i == 0 || (conventional && !METHOD_LEN.contains(&i)) => {}
            b' ' => return Ok(Some(i)),
            b'\n' => return Err(RejectReason::RequestLine(RequestLineFault::BareLf).into()),
            b'\r' => return Err(RejectReason::RequestLine(RequestLineFault::Truncated("target")).into()),
            _ if conventional && (i >= *METHOD_LEN.end() || byte == b'#' || byte.is_ascii_lowercase()) => {}
            _ if is_tchar(byte) => continue,
            _ => {}
        }
        return Err(RejectReason::Method(Excerpt::of(&window[..=i])).into());
    }
    Ok(None)
}

/// The length of the target, which a space ends; `None`: no space yet.
fn target_end(bytes: &[u8]) -> Result<Option<usize>, Reject> {
    let end = memchr::memchr(b' ', bytes);
    let seen = &bytes[..end.unwrap_or(bytes.len())];
    if is_visible_ascii(seen) {
        return Ok(end);
    }
    let bad = seen.iter().position(|&byte| !is_visible_ascii(&[byte])).unwrap_or_default();
    Err(match seen[bad] {
        b'\n' => RejectReason::RequestLine(RequestLineFault::BareLf),
        b'\r' => RejectReason::RequestLine(RequestLineFault::Truncated("version")),
        _ => RejectReason::Target(Excerpt::of(&seen[..=bad]), TargetFault::Byte),
    }
    .into())
}

const VERSION_LEN: usize = b"HTTP/1.1".len();

/// `HTTP/digit.digit` and the CRLF behind it; `None`: not complete.
fn version(bytes: &[u8]) -> Result<Option<Version>, Reject> {
    if bytes.starts_with(b"HTTP/1.1\r\n") {
        return Ok(Some(Version::HTTP_11));
    }
    for (i, &byte) in bytes.iter().take(VERSION_LEN + 2).enumerate() {
        let fits = match i {
            0..=4 => byte == b"HTTP/"[i],
            5 | 7 => byte.is_ascii_digit(),
            6 => byte == b'.',
            8 => byte == b'\r',
            _ => byte == b'\n',
        };
        if !fits {
            return Err(match byte {
                b'\n' => RejectReason::RequestLine(RequestLineFault::BareLf),
                _ => RejectReason::VersionText(Excerpt::of(&bytes[..=i])),
            }
            .into());
        }
    }
    if bytes.len() < VERSION_LEN + 2 {
        return Ok(None);
    }
    Ok(Some(Version { major: bytes[5] - b'0', minor: bytes[7] - b'0' }))
}
