//! Responses: checks, framing, and the bytes written.
#![allow(clippy::unwrap_used)] // in the helpers of tests, which clippy does not see as tests

use podicorn_http::Version;
use podicorn_http::date::{DATE_LEN, DateCache};
use podicorn_http::response::{
    CONTINUE, Decision, Exchange, Framing, InvalidResponse, RequestMethod, ResponseHead, decide_framing,
    reason_phrase, write_chunk, write_early_hints, write_error,
};

const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";

fn decide(version: Version, method: &str, status: u16, length: Option<u64>, keep_alive: bool) -> Decision {
    let method = RequestMethod::of(method.as_bytes());
    decide_framing(&Exchange { version, method, status, content_length: length, keep_alive })
}

fn head(status: &str, fields: &[(&str, &str)]) -> Result<ResponseHead, InvalidResponse> {
    let mut head = ResponseHead::new();
    head.set_status(status.as_bytes())?;
    for (name, value) in fields {
        head.add_header(name.as_bytes(), value.as_bytes())?;
    }
    Ok(head)
}

fn written(head: &ResponseHead, version: Version, method: &str, keep_alive: bool) -> String {
    let decision = decide(version, method, head.status(), head.content_length(), keep_alive);
    let mut out = Vec::new();
    head.write(&mut out, &decision, b"gunicorn", DATE);
    String::from_utf8(out).unwrap()
}

#[test]
fn statuses() {
    for (status, code) in [("200 OK", 200), ("404 Not Found", 404), ("299 ", 299), ("500\t", 0), ("204", 204)]
    {
        let mut head = ResponseHead::new();
        let result = head.set_status(status.as_bytes());
        assert_eq!(result.is_ok(), code != 0, "{status:?}");
        assert_eq!(head.status(), code);
    }
    for status in
        ["", "20", "2000 OK", "OK", "200OK", " 200 OK", "200 O\nK", "200 O\rK", "200 \0", "２００ OK"]
    {
        let error = ResponseHead::new().set_status(status.as_bytes()).unwrap_err();
        assert!(matches!(error, InvalidResponse::Status(_)), "{status:?}");
    }
    for (text, code) in [("100 Continue", 100), ("102", 102), ("103 Early Hints", 103), ("099 Low", 99)] {
        let error = ResponseHead::new().set_status(text.as_bytes()).unwrap_err();
        assert_eq!(error, InvalidResponse::Interim(code));
        assert_eq!(ResponseHead::new().set_status_code(code), Err(InvalidResponse::Interim(code)));
    }
    let mut head = ResponseHead::new();
    head.set_status(b"200 \xe9\tx").unwrap();
    head.set_status_code(404).unwrap();
    assert_eq!((head.status(), head.status_text()), (404, &b"404 Not Found"[..]));
    head.set_status_code(799).unwrap();
    assert_eq!(head.status_text(), b"799");
    assert!(head.set_status_code(1000).is_err());
}

#[test]
fn header_checks() {
    for name in ["", "a b", "a:", "a\r\n", "\u{e9}", "a\0"] {
        assert!(matches!(head("200 OK", &[(name, "x")]), Err(InvalidResponse::HeaderName(_))), "{name:?}");
    }
    for value in ["a\nb", "a\r\nb: c", "\0", "\u{1}", "\u{7f}", "a\u{b}"] {
        let error = head("200 OK", &[("X", value)]).unwrap_err();
        assert!(matches!(error, InvalidResponse::HeaderValue(_)), "{value:?}");
        assert!(!error.to_string().contains(value), "the value is not told");
    }
    for value in ["-1", "+1", "1_0", "x", "", "18446744073709551616"] {
        let error = head("200 OK", &[("Content-Length", value)]).unwrap_err();
        assert!(matches!(error, InvalidResponse::ContentLength(_)), "{value:?}");
    }
    let error = head("200 OK", &[("Content-Length", "1"), ("content-length", "2")]).unwrap_err();
    assert_eq!(error, InvalidResponse::ContradictoryLength(1, 2));
}

#[test]
fn fields_keep_order_and_case_and_lose_outer_whitespace() {
    let fields =
        [("X-One", " 1\t"), ("content-length", "2"), ("sEt-CooKie", "a=b"), ("Set-Cookie", "c=\u{e9}")];
    assert_eq!(
        written(&head("200 OK", &fields).unwrap(), Version::HTTP_11, "GET", true),
        "HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Connection: keep-alive\r\nX-One: 1\r\ncontent-length: 2\r\nsEt-CooKie: a=b\r\nSet-Cookie: c=\u{e9}\r\n\r\n"
    );
}

#[test]
fn hop_by_hop_fields_of_the_application_are_left_out() {
    // Nor is Upgrade, where the application does not say that it means this connection.
    let names = [
        "Connection",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "TE",
        "Trailers",
        "Transfer-Encoding",
        "Upgrade",
        "SERVER",
        "date",
    ];
    let fields = names.map(|name| (name, "value"));
    let text = written(&head("200 OK", &fields).unwrap(), Version::HTTP_11, "GET", true);
    assert!(!text.contains("value"), "{text}");
    assert_eq!(text.matches("Date:").count(), 1);
}

#[test]
fn an_upgrade_is_announced() {
    let fields = [("Connection", "Upgrade"), ("Upgrade", "WebSocket"), ("Sec-WebSocket-Accept", "x")];
    let switching = head("101 Switching Protocols", &fields).unwrap();
    assert!(switching.upgrade());
    let text = written(&switching, Version::HTTP_11, "GET", true);
    assert!(text.contains("\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-"), "{text}");
    assert!(!text.contains("Transfer-Encoding"), "{text}");
    assert!(!head("101 Switching Protocols", &[("Connection", "Upgrade")]).unwrap().upgrade());
    // Its own persistence is that of any response.
    let fields = [("Upgrade", "TLS/1.0,"), ("X", "1"), ("upgrade", "a, b"), ("Content-Length", "0")];
    let required = head("426 Upgrade Required", &fields).unwrap();
    assert!(!required.upgrade());
    for (keep_alive, option) in [(true, "upgrade, keep-alive"), (false, "upgrade, close")] {
        let text = written(&required, Version::HTTP_11, "GET", keep_alive);
        let lines = format!("\r\nConnection: {option}\r\nUpgrade: TLS/1.0, a, b\r\nX: 1\r\n");
        assert!(text.contains(&lines), "{text}");
    }
    let fields = [("Upgrade", "h2c"), ("Connection", "upgrade"), ("Content-Length", "0")];
    let text = written(&head("200 OK", &fields).unwrap(), Version::HTTP_11, "GET", true);
    assert!(text.contains("\r\nConnection: upgrade, keep-alive\r\nUpgrade: h2c\r\n"), "{text}");
    // The field without the option, and the option without the field.
    for fields in [[("Upgrade", "h2c"), ("X", "1")], [("X", "1"), ("Connection", "upgrade")]] {
        let text = written(&head("200 OK", &fields).unwrap(), Version::HTTP_11, "GET", true);
        assert!(text.contains("\r\nConnection: keep-alive\r\n"), "{text}");
        assert!(!text.to_lowercase().contains("upgrade"), "{text}");
    }
}

#[test]
fn the_same_content_length_twice_is_sent_once() {
    let head = head("200 OK", &[("Content-Length", "2"), ("Content-Length", "02"), ("X", "1")]).unwrap();
    let text = written(&head, Version::HTTP_11, "GET", true);
    assert_eq!(text.matches("Content-Length").count(), 1, "{text}");
}

/// Version, method, status, length given; framing, length sent, persistence.
type Row = (Version, &'static str, u16, Option<u64>, Framing, Option<u64>, bool);

#[test]
fn framing_decisions() {
    use Framing::{Chunked, ContentLength, NoBody, UntilClose};
    let (old, new) = (Version::HTTP_10, Version::HTTP_11);
    let table: &[Row] = &[
        (new, "GET", 200, Some(3), ContentLength(3), Some(3), true),
        (new, "GET", 200, None, Chunked, None, true),
        (new, "POST", 500, None, Chunked, None, true),
        (old, "GET", 200, Some(3), ContentLength(3), Some(3), true),
        (old, "GET", 200, None, UntilClose, None, false),
        (new, "HEAD", 200, Some(3), NoBody, Some(3), true),
        (new, "HEAD", 200, None, NoBody, None, true),
        (old, "HEAD", 200, None, NoBody, None, true),
        (new, "GET", 204, Some(3), NoBody, None, true),
        (new, "GET", 204, None, NoBody, None, true),
        (new, "GET", 304, Some(3), NoBody, Some(3), true),
        (new, "GET", 304, None, NoBody, None, true),
        (new, "GET", 101, Some(3), NoBody, None, true),
        (new, "GET", 205, Some(3), NoBody, Some(0), true),
        (new, "GET", 205, None, NoBody, Some(0), true),
        (new, "CONNECT", 200, Some(3), UntilClose, None, false),
        (new, "CONNECT", 405, Some(3), ContentLength(3), Some(3), true),
    ];
    for &(version, method, status, length, framing, sent, keep_alive) in table {
        let decision = decide(version, method, status, length, true);
        let expected = Decision { framing, content_length: sent, keep_alive };
        assert_eq!(decision, expected, "{version} {method} {status} {length:?}");
        assert!(!decide(version, method, status, length, false).keep_alive);
    }
}

#[test]
fn framing_fields_follow_the_decision() {
    let new = Version::HTTP_11;
    let with = head("200 OK", &[("X", "1"), ("Content-Length", "3"), ("Y", "2")]).unwrap();
    assert!(written(&with, new, "HEAD", true).contains("X: 1\r\nContent-Length: 3\r\nY: 2\r\n\r\n"));
    let without = head("200 OK", &[("X", "1")]).unwrap();
    let chunked = "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\nX: 1\r\n\r\n";
    assert!(written(&without, new, "GET", true).ends_with(chunked));
    assert!(written(&without, new, "HEAD", true).ends_with("keep-alive\r\nX: 1\r\n\r\n"));
    assert!(written(&without, Version::HTTP_10, "GET", true).ends_with("close\r\nX: 1\r\n\r\n"));
    let empty = head("204 No Content", &[("X", "1"), ("Content-Length", "3"), ("Y", "2")]).unwrap();
    assert!(written(&empty, new, "GET", true).ends_with("keep-alive\r\nX: 1\r\nY: 2\r\n\r\n"));
    let reset = head("205 Reset Content", &[("Content-Length", "3"), ("Y", "2")]).unwrap();
    assert!(written(&reset, new, "GET", true).ends_with("keep-alive\r\nContent-Length: 0\r\nY: 2\r\n\r\n"));
}

#[test]
fn the_server_knows_the_length() {
    let head = head("200 OK", &[("X", "1")]).unwrap();
    let decision = decide(Version::HTTP_11, "GET", 200, Some(7), true);
    let mut out = Vec::new();
    head.write(&mut out, &decision, b"", DATE);
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("Connection: keep-alive\r\nContent-Length: 7\r\nX: 1\r\n\r\n"), "{text}");
    assert!(!text.contains("Server"), "{text}");
}

#[test]
fn the_status_line_has_its_space_and_the_servers_version() {
    let text = written(&head("299", &[]).unwrap(), Version::HTTP_10, "GET", false);
    assert!(text.starts_with("HTTP/1.1 299 \r\n"), "{text}");
}

#[test]
fn a_head_is_reused() {
    let mut head = head("101 On", &[("Content-Length", "1"), ("Upgrade", "x")]).unwrap();
    assert!(head.upgrade());
    head.clear();
    assert_eq!((head.status(), head.content_length(), head.upgrade()), (0, None, false));
    head.set_status(b"200 OK").unwrap();
    assert!(written(&head, Version::HTTP_11, "GET", true).ends_with("Transfer-Encoding: chunked\r\n\r\n"));
}

#[test]
fn chunk_writers() {
    let mut out = Vec::new();
    write_chunk(&mut out, b"");
    assert_eq!(out, b"");
    write_chunk(&mut out, b"x");
    write_chunk(&mut out, &[b'y'; 26]);
    assert_eq!(out, format!("1\r\nx\r\n1A\r\n{}\r\n", "y".repeat(26)).into_bytes());
    for len in [1, 15, 16, 255, 256, 4096, 0x12_3456, usize::MAX] {
        let mut out = Vec::new();
        podicorn_http::response::write_chunk_size(&mut out, len);
        assert_eq!(out, format!("{len:X}\r\n").into_bytes());
    }
}

#[test]
fn interim_responses() {
    assert_eq!(CONTINUE, b"HTTP/1.1 100 Continue\r\n\r\n");
    let mut out = b"before".to_vec();
    write_early_hints(&mut out, [(&b"Link"[..], &b" </a.css>; rel=preload "[..])]).unwrap();
    assert_eq!(out, b"beforeHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
    let fields = [
        ("Content-Length", "3"),
        ("Link", "<a>"),
        ("transfer-encoding", "chunked"),
        ("Connection", "close"),
        ("Upgrade", "x"),
        ("Keep-Alive", "x"),
    ];
    let mut out = Vec::new();
    write_early_hints(&mut out, fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()))).unwrap();
    assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n");
    for bad in [(&b"Li nk"[..], &b"x"[..]), (b"Link", b"a\r\nb")] {
        let mut out = b"before".to_vec();
        assert!(write_early_hints(&mut out, [(&b"A"[..], &b"b"[..]), bad]).is_err());
        assert_eq!(out, b"before", "nothing is written");
    }
}

#[test]
fn error_responses() {
    let mut out = Vec::new();
    write_error(&mut out, 431, "name '<X>'", b"gunicorn", DATE, false);
    let text = String::from_utf8(out).unwrap();
    let (head, page) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{head}");
    for line in ["Connection: close", "Server: gunicorn", "Date: Sun, 06 Nov 1994 08:49:37 GMT"] {
        assert!(head.contains(line), "{head}");
    }
    assert!(head.contains(&format!("Content-Length: {}", page.len())), "{head}");
    assert!(page.contains("&#x27;&lt;X&gt;&#x27;"), "{page}");
    let mut out = Vec::new();
    write_error(&mut out, 500, "", b"", DATE, true);
    assert!(out.ends_with(b"\r\n\r\n"));
    assert_eq!((reason_phrase(200), reason_phrase(504), reason_phrase(299)), ("OK", "Gateway Timeout", ""));
}

#[test]
fn dates() {
    let mut cache = DateCache::new();
    let table = [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
    ];
    for (second, text) in table {
        for _ in 0..2 {
            assert_eq!(cache.at(second), text.as_bytes());
            assert_eq!(cache.at(second).len(), DATE_LEN);
        }
    }
}

#[test]
fn fields_are_told_again_for_logs() {
    let head = head("200 OK", &[("X-A", " b: c "), ("Server", "mine"), ("Empty", "")]).unwrap();
    let told: Vec<(&[u8], &[u8])> = head.fields().collect();
    assert_eq!(told, [(&b"X-A"[..], &b"b: c"[..]), (b"Empty", b"")]);
}

#[test]
fn a_piece_goes_out_as_far_as_the_framing_allows() {
    use Framing::{Chunked, ContentLength, NoBody, UntilClose};
    for (framing, sent, piece, goes_out) in [
        (NoBody, 0, 5, 0),
        (ContentLength(10), 0, 5, 5),
        (ContentLength(10), 8, 5, 2),
        (ContentLength(10), 10, 5, 0),
        (Chunked, 1 << 40, 5, 5),
        (UntilClose, 1 << 40, 5, 5),
    ] {
        assert_eq!(framing.takes(piece, sent), goes_out, "{framing:?} after {sent}");
    }
    for (framing, sent, ends) in [
        (NoBody, 0, true),
        (ContentLength(3), 3, true),
        (ContentLength(3), 2, false),
        (Chunked, 2, true),
        (UntilClose, 2, false),
    ] {
        assert_eq!(framing.ends_after(sent), ends, "{framing:?} after {sent}");
    }
}
