//! A request of HTTP/2 as the text that the engine's parser reads, so that every rule of HTTP/1 holds for it, too.
//!
//! `h2` has refused what RFC 9113 §8 calls malformed: connection-specific fields, names in upper case, a body of another
//! length than it says. Names, values and targets of the crate `http` hold no line ends and no spaces where they would matter.

use http::Method;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderValue};
use http::request::Parts;

/// How the body follows the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    None,
    /// Of the length that the head says.
    Known,
    Chunked,
}

/// The version in the request line; the engine's parser takes it from nobody else.
const VERSION: &[u8] = b" HTTP/2.0\r\n";

/// It is no request: a stream error (RFC 9113 §8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Writes the head. `bodiless`: the client has said that nothing follows.
pub(super) fn write_head(request: &Parts, bodiless: bool, out: &mut Vec<u8>) -> Result<Body, Malformed> {
    let target = match (request.uri.path_and_query(), request.uri.authority()) {
        (Some(target), _) if !target.as_str().is_empty() => target.as_str(),
        // RFC 9113 §8.5.
        (_, Some(authority)) if request.method == Method::CONNECT => authority.as_str(),
        _ => return Err(Malformed),
    };
    // Anything else would be another form of target in HTTP/1, where it may name a host, too.
    if request.method != Method::CONNECT && !target.starts_with('/') && target != "*" {
        return Err(Malformed);
    }
    let promised = |length: &HeaderValue| length.as_bytes().iter().any(|byte| *byte != b'0');
    if bodiless && request.headers.get_all(CONTENT_LENGTH).iter().any(promised) {
        return Err(Malformed);
    }
    write_line(request.method.as_str().as_bytes(), target.as_bytes(), out);
    // RFC 9113 §8.3.1: it comes before a Host field.
    let authority = request.uri.authority().map(|authority| authority.as_str().as_bytes());
    if let Some(authority) = authority {
        write_field(b"host", authority, out);
    }
    for (name, value) in &request.headers {
        if (name == HOST && authority.is_some()) || name == COOKIE {
            continue;
        }
        write_field(name.as_str().as_bytes(), value.as_bytes(), out);
    }
    // RFC 9113 §8.2.3: they may come in pieces.
    let cookies: Vec<_> = request.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if !cookies.is_empty() {
        write_field(b"cookie", &cookies.join(&b"; "[..]), out);
    }
    let body = if bodiless {
        Body::None
    } else if request.headers.contains_key(CONTENT_LENGTH) {
        Body::Known
    } else {
        write_field(b"transfer-encoding", b"chunked", out);
        Body::Chunked
    };
    out.extend_from_slice(b"\r\n");
    Ok(body)
}

/// The request line.
pub(super) fn write_line(method: &[u8], target: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(VERSION);
}

/// A field's line.
pub(super) fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
