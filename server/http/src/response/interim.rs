//! Interim responses: 100 Continue, 103 Early Hints and their like (RFC 9110 §15.2, RFC 8297).

use super::error::reason_phrase;
use super::head::{InvalidResponse, ResponseField, push_field};
use crate::grammar::{is_field_value, is_token, trim_ows};
use crate::reject::Excerpt;

/// Sent when the application first reads a body that the client holds back. Never to HTTP/1.0 clients.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Appends a 103 response with these fields: see [`write_interim`].
pub fn write_early_hints<'a>(
    out: &mut Vec<u8>,
    fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<(), InvalidResponse> {
    write_interim(out, 103, fields)
}

/// Appends an interim response with these fields, checked like those of a final response; nothing if one is invalid, or if
/// the status is not one of an interim response (101 ends HTTP on a connection, so it is none here). Fields that frame a
/// message or are about the connection are left out (RFC 9110 §8.6, RFC 9112 §6.1).
/// Never send it to HTTP/1.0 clients (RFC 9110 §15.2) or after the final head.
pub fn write_interim<'a>(
    out: &mut Vec<u8>,
    status: u16,
    fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<(), InvalidResponse> {
    if !(100..=199).contains(&status) || status == 101 {
        return Err(InvalidResponse::Status(Excerpt::of(status.to_string().as_bytes())));
    }
    let start = out.len();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in fields {
        if let Err(error) = write_field(out, name, value) {
            out.truncate(start);
            return Err(error);
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends a field of the trailer section of a chunked body (RFC 9112 §7.1.2); nothing if it is invalid, or if it is one
/// that changes how the message is read (RFC 9110 §6.5.1).
pub fn write_trailer(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), InvalidResponse> {
    const NEVER: [&[u8]; 5] = [b"host", b"content-type", b"content-encoding", b"content-range", b"trailer"];
    let is_never = |name: &[u8]| NEVER.iter().any(|never| name.eq_ignore_ascii_case(never));
    if is_never(name) || (is_token(name) && ResponseField::of(name) != ResponseField::Other) {
        return Err(InvalidResponse::HeaderName(Excerpt::of(name)));
    }
    write_field(out, name, value)
}

fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), InvalidResponse> {
    if !is_token(name) {
        return Err(InvalidResponse::HeaderName(Excerpt::of(name)));
    }
    if !is_field_value(value) {
        return Err(InvalidResponse::HeaderValue(Excerpt::of(name)));
    }
    if ResponseField::of(name) == ResponseField::Other {
        push_field(out, name, trim_ows(value));
    }
    Ok(())
}
