//! Responses of the server itself, and reason phrases.

use super::head::{push_field, push_server_and_date};

/// Appends a whole error response with a short HTML page and `Connection: close`. `detail` is text, shown
/// escaped; leave it empty where the client should not know more (500). With `head_only` (the request was a
/// HEAD) the page itself is left out.
pub fn write_error(
    out: &mut Vec<u8>,
    status: u16,
    detail: &str,
    server: &[u8],
    date: &[u8],
    head_only: bool,
) {
    let page = page(status, detail);
    write_error_head(out, status, server, date, &[(b"Connection", b"close")], page.len());
    if !head_only {
        out.extend_from_slice(page.as_bytes());
    }
}

/// As [`write_error`], with `fields` in the place of Connection.
pub(crate) fn write_error_with(
    out: &mut Vec<u8>,
    status: u16,
    detail: &str,
    server: &[u8],
    date: &[u8],
    fields: &[(&[u8], &[u8])],
) {
    let page = page(status, detail);
    write_error_head(out, status, server, date, fields, page.len());
    out.extend_from_slice(page.as_bytes());
}

fn page(status: u16, detail: &str) -> String {
    let reason = reason_phrase(status);
    let mut page = format!("<!doctype html>\n<title>{status} {reason}</title>\n<h1>{reason}</h1>\n");
    if !detail.is_empty() {
        page.push_str("<p>");
        escape_html(detail, &mut page);
        page.push_str("</p>\n");
    }
    page
}

fn write_error_head(
    out: &mut Vec<u8>,
    status: u16,
    server: &[u8],
    date: &[u8],
    fields: &[(&[u8], &[u8])],
    page_len: usize,
) {
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(number.format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    push_server_and_date(out, server, date);
    for (name, value) in fields {
        push_field(out, name, value);
    }
    push_field(out, b"Content-Type", b"text/html; charset=utf-8");
    push_field(out, b"Content-Length", number.format(page_len).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn escape_html(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#x27;"),
            _ => out.push(c),
        }
    }
}

/// The reason phrase of a registered status code; empty for others.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}
