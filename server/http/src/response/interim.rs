//! Interim responses: 100 Continue and 103 Early Hints (RFC 9110 §15.2, RFC 8297).

use super::head::{InvalidResponse, ResponseField, push_field};
use crate::grammar::{is_field_value, is_token, trim_ows};
use crate::reject::Excerpt;

/// Sent when the application first reads a body that the client holds back. Never to HTTP/1.0 clients.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Appends a 103 response with these fields, checked like those of a final response; nothing if one is invalid.
/// Fields that frame a message or are about the connection are left out (RFC 9110 §8.6, RFC 9112 §6.1).
/// Never send it to HTTP/1.0 clients (RFC 9110 §15.2) or after the final head.
pub fn write_early_hints<'a>(
    out: &mut Vec<u8>,
    fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<(), InvalidResponse> {
    let start = out.len();
    out.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\n");
    for (name, value) in fields {
        if !is_token(name) {
            out.truncate(start);
            return Err(InvalidResponse::HeaderName(Excerpt::of(name)));
        }
        if !is_field_value(value) {
            out.truncate(start);
            return Err(InvalidResponse::HeaderValue(Excerpt::of(name)));
        }
        if ResponseField::of(name) == ResponseField::Other {
            push_field(out, name, trim_ows(value));
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}
