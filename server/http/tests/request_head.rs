//! Tables of request heads: what is accepted, what is refused and with which status.
#![allow(clippy::panic, clippy::unwrap_used)] // in the helpers of tests, which clippy does not see as tests

use podicorn_http::{
    BodyKind, Head, HeaderMap, Leniency, Limits, ParserConfig, Scheme, Version, parse_head, parse_head_into,
};

fn with(leniency: Leniency) -> ParserConfig {
    ParserConfig { leniency, ..ParserConfig::default() }
}

fn accept_with(buf: &[u8], cfg: &ParserConfig, trusted: bool) -> Head {
    match parse_head(buf, cfg, trusted) {
        Ok(Some(head)) => head,
        other => panic!("{} should be accepted: {other:?}", buf.escape_ascii()),
    }
}

fn accept(buf: &[u8]) -> Head {
    accept_with(buf, &ParserConfig::default(), false)
}

/// The status and the text of the reason.
fn refuse_with(buf: &[u8], cfg: &ParserConfig, trusted: bool) -> (u16, String) {
    match parse_head(buf, cfg, trusted) {
        Err(reject) => (reject.status, reject.to_string()),
        other => panic!("{} should be refused: {other:?}", buf.escape_ascii()),
    }
}

#[track_caller]
fn refused(table: &[(&[u8], u16, &str)]) {
    for (buf, status, reason) in table {
        let (got, text) = refuse_with(buf, &ParserConfig::default(), false);
        assert_eq!(got, *status, "{}: {text}", buf.escape_ascii());
        assert!(text.contains(reason), "{}: {text:?} should say {reason:?}", buf.escape_ascii());
    }
}

/// `GET / HTTP/1.1` with a Host and these lines.
fn get(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

#[test]
fn parts_of_a_head() {
    let buf = b"POST /a%20b/c?x=1&y=%32 HTTP/1.1\r\nHost: example.com:8000\r\nX-Mixed-Case:\t v 1 \t\r\nEmpty:\r\nContent-Length: 3\r\n\r\nabcGET";
    let head = accept(buf);
    assert_eq!(head.method(buf), b"POST");
    assert_eq!(head.target(buf), b"/a%20b/c?x=1&y=%32");
    assert_eq!(head.path(buf), b"/a%20b/c");
    assert_eq!(head.query(buf), b"x=1&y=%32");
    assert_eq!(head.version(), Version::HTTP_11);
    assert_eq!(head.host(buf), Some(&b"example.com:8000"[..]));
    assert_eq!(head.body(), BodyKind::Length(3));
    assert_eq!(&buf[head.len()..], b"abcGET");
    let fields: Vec<_> = head.fields(buf).map(|(_, name, value)| (name, value)).collect();
    let expected: [(&[u8], &[u8]); 4] = [
        (b"Host", b"example.com:8000"),
        (b"X-Mixed-Case", b"v 1"),
        (b"Empty", b""),
        (b"Content-Length", b"3"),
    ];
    assert_eq!(fields, expected);
    assert_eq!(head.find(buf, "x-mixed-CASE"), Some(&b"v 1"[..]));
    assert_eq!(head.find(buf, "x-none"), None);
}

#[test]
fn one_empty_line_before_the_request_line_is_skipped() {
    let buf = b"\r\nGET /x HTTP/1.0\r\n\r\n";
    let head = accept(buf);
    assert_eq!(head.path(buf), b"/x");
    assert_eq!(head.len(), buf.len());
    for wait in [&b""[..], b"\r", b"\r\n"] {
        assert!(parse_head(wait, &ParserConfig::default(), false).unwrap().is_none());
    }
    refused(&[
        (b"\r\n\r\nGET / HTTP/1.0\r\n\r\n", 400, "request line"),
        (b"\nGET / HTTP/1.0\r\n\r\n", 400, "bare LF"),
        (b"\rGET / HTTP/1.0\r\n\r\n", 400, "request line"),
    ]);
}

#[test]
fn request_line_is_strict() {
    refused(&[
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "bare LF"),
        (b"GET /\nHost", 400, "bare LF"),
        (b"GET\n", 400, "bare LF"),
        (b"GET\r\n", 400, "ends before the target"),
        (b"GET /\r\n", 400, "ends before the version"),
        (b"GET  / HTTP/1.1\r\n", 400, "empty"),
        (b"GET /  HTTP/1.1\r\n", 400, "version: ' '"),
        (b"GET / HTTP/1.1 \r\n", 400, "version"),
        (b"GET / HTTP/1.1\rX", 400, "version"),
        (b"GET\t/ HTTP/1.1\r\n", 400, "method"),
        (b" GET / HTTP/1.1\r\n", 400, "method: ' '"),
        (b"GET /a\tb HTTP/1.1\r\n", 400, "printable"),
        (b"GET /a\x00b HTTP/1.1\r\n", 400, "printable"),
        (b"GET /\xc3\xa9 HTTP/1.1\r\n", 400, "printable"),
        (b"GET /\x7f HTTP/1.1\r\n", 400, "printable"),
        (b"GET /a\rb HTTP/1.1\r\n", 400, "ends before the version"),
        // A TLS client at the plain port is told at its first byte.
        (b"\x16\x03\x01", 400, "method: '\\x16'"),
    ]);
}

#[test]
fn methods() {
    for method in ["GET", "PUT", "M-SEARCH", "VERSION-CONTROL", "BASELINE-CONTROL", "A.B", "-BLARGH"] {
        let buf = format!("{method} / HTTP/1.0\r\n\r\n").into_bytes();
        assert_eq!(accept(&buf).method(&buf), method.as_bytes());
    }
    refused(&[
        (b"get / HTTP/1.0\r\n\r\n", 400, "method: 'g'"),
        (b"GE / HTTP/1.0\r\n\r\n", 400, "method: 'GE '"),
        (b"ABCDEFGHIJKLMNOPQRSTU", 400, "method"),
        (b"A#B / HTTP/1.0\r\n\r\n", 400, "method: 'A#'"),
        (b"GET: / HTTP/1.0\r\n\r\n", 400, "method"),
        (b"GET\x00 / HTTP/1.0\r\n\r\n", 400, "method"),
        (b"G\xc3T / HTTP/1.0\r\n\r\n", 400, "method"),
    ]);
    let any = with(Leniency { permit_unconventional_http_method: true, ..Leniency::default() });
    for method in ["get", "X", "a#b", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"] {
        let buf = format!("{method} / HTTP/1.0\r\n\r\n").into_bytes();
        assert_eq!(accept_with(&buf, &any, false).method(&buf), method.as_bytes());
    }
    assert_eq!(refuse_with(b"g(t / HTTP/1.0\r\n\r\n", &any, false).0, 400);
    let folding = Leniency {
        permit_unconventional_http_method: true,
        casefold_http_method: true,
        ..Leniency::default()
    };
    let buf = b"options * HTTP/1.0\r\n\r\n";
    assert_eq!(accept_with(buf, &with(folding), false).method(buf), b"OPTIONS");
}

#[test]
fn versions() {
    for (text, version) in [("1.0", Version::HTTP_10), ("1.1", Version::HTTP_11)] {
        let buf = format!("GET / HTTP/{text}\r\nHost: a\r\n\r\n").into_bytes();
        assert_eq!(accept(&buf).version(), version);
    }
    let buf = b"GET / HTTP/1.7\r\nHost: a\r\n\r\n";
    assert_eq!(accept(buf).version(), Version { major: 1, minor: 7 });
    refused(&[
        (b"GET / HTTP/2.0\r\n\r\n", 400, "unsupported HTTP version: HTTP/2.0"),
        (b"GET / HTTP/0.9\r\n\r\n", 400, "unsupported HTTP version: HTTP/0.9"),
        (b"GET / http/1.1\r\n\r\n", 400, "version: 'h'"),
        (b"GET / HTTP/11\r\n\r\n", 400, "version"),
        (b"GET / HTTP/1.10\r\n\r\n", 400, "version"),
        (b"GET / HTTP/1,1\r\n\r\n", 400, "version"),
        (b"GET / \r\n\r\n", 400, "version"),
    ]);
    let any = with(Leniency { permit_unconventional_http_version: true, ..Leniency::default() });
    let buf = b"GET / HTTP/0.9\r\n\r\n";
    assert_eq!(accept_with(buf, &any, false).version(), Version { major: 0, minor: 9 });
    assert_eq!(refuse_with(b"GET / HTTP/10.1\r\n\r\n", &any, false).0, 400);
}

#[test]
fn request_line_limit() {
    let line = |len: usize| format!("GET /{} HTTP/1.0", "a".repeat(len - "GET / HTTP/1.0".len()));
    let cfg = ParserConfig::default();
    accept(format!("{}\r\n\r\n", line(4094)).as_bytes());
    assert_eq!(refuse_with(format!("{}\r\n\r\n", line(4095)).as_bytes(), &cfg, false).0, 414);
    // Before its end has come.
    assert_eq!(refuse_with(format!("GET /{}", "a".repeat(4091)).as_bytes(), &cfg, false).0, 414);
    let wait = format!("GET /{}", "a".repeat(4090)).into_bytes();
    assert!(parse_head(&wait, &cfg, false).unwrap().is_none());
}

#[test]
fn limits_are_read_as_gunicorn_reads_them() {
    let limits = |line, fields, size| {
        let limits = Limits::from_settings(line, fields, size);
        (limits.request_line, limits.fields, limits.field_size)
    };
    assert_eq!(limits(4094, 100, 8190), (4094, 100, 8190));
    assert_eq!(limits(0, 0, 0), (1 << 20, 32768, 8190));
    assert_eq!(limits(-1, -1, -1), (8190, 32768, 8190));
    assert_eq!(limits(9000, 40000, 10), (8190, 32768, 10));
    assert_eq!(limits(i64::MAX, i64::MAX, i64::MAX), (8190, 32768, 1 << 24));
    assert_eq!(Limits::from_settings(4094, 100, 8190), Limits::default());
}

#[test]
fn field_limits() {
    let cfg = ParserConfig { limits: Limits::from_settings(4094, 3, 20), ..ParserConfig::default() };
    let parse = |lines: &str| {
        let buf = format!("GET / HTTP/1.0\r\n{lines}");
        parse_head(buf.as_bytes(), &cfg, false).map(|head| head.is_some()).map_err(|reject| reject.status)
    };
    assert_eq!(parse("A: 1\r\nB: 2\r\nC: 3\r\n\r\n"), Ok(true));
    assert_eq!(parse("A: 1\r\nB: 2\r\nC: 3\r\nD"), Err(431));
    // 20 bytes with CRLF.
    assert_eq!(parse("A: 345678901234567\r\n\r\n"), Ok(true));
    assert_eq!(parse("A: 3456789012345678\r\n\r\n"), Err(431));
    assert_eq!(parse("A: 34567890123456789"), Err(431));
    assert_eq!(parse("A: 3456789012345678"), Ok(false));
    // Dropped fields are not counted one by one, but the section as a whole has its bound.
    let dropped = "a_b: 1\r\n".repeat(8);
    assert_eq!(parse(&format!("{dropped}\r\n")), Ok(true));
    assert_eq!(parse(&format!("{dropped}{dropped}\r\n")), Err(431));
}

#[test]
fn field_lines_are_strict() {
    let table: &[(&str, &str)] = &[
        ("X : 1\r\n", "header name: 'X '"),
        ("X\t: 1\r\n", "header name"),
        (" X: 1\r\n", "folding"),
        ("X: 1\r\n 2\r\n", "folding is unacceptable: 'X'"),
        ("X: 1\r\n\t2\r\n", "folding"),
        ("X: 1\r\n \r\n", "folding"),
        ("X\r\n", "header line: 'X'"),
        (": 1\r\n", "header line"),
        ("X Y: 1\r\n", "header name"),
        ("X(Y): 1\r\n", "header name"),
        ("X\u{e9}: 1\r\n", "header name"),
        ("X: a\nY: b\r\n", "bare LF"),
        ("X: a\n", "bare LF"),
        ("\n", "bare LF"),
        ("X: a\rb\r\n", "value of HTTP header 'X'"),
        ("X: a\r\r\n", "value of HTTP header 'X'"),
        ("\rX: a\r\n", "header name"),
        ("X: a\0b\r\n", "value of HTTP header 'X'"),
        ("X: \u{1}\r\n", "value of HTTP header 'X'"),
        ("X: \u{7f}\r\n", "value of HTTP header 'X'"),
        ("X: \u{b}\r\n", "value of HTTP header 'X'"),
    ];
    for (lines, reason) in table {
        let (status, text) = refuse_with(&get(lines), &ParserConfig::default(), false);
        assert_eq!(status, 400, "{lines:?}");
        assert!(text.contains(reason), "{lines:?}: {text}");
    }
    // Whitespace before the first field is not a continuation of anything.
    refused(&[(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "header name: ' Host'")]);
}

#[test]
fn obs_text_and_tabs_in_values_are_kept() {
    let buf = b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe9\xff\ta\r\n\r\n";
    assert_eq!(accept(buf).find(buf, "x"), Some(&b"\xe9\xff\ta"[..]));
}

#[test]
fn field_names_may_hold_all_token_characters() {
    let buf = b"GET / HTTP/1.0\r\n!#$%&'*+-.^`|~09AZaz: 1\r\n\r\n";
    assert_eq!(accept(buf).find(buf, "!#$%&'*+-.^`|~09AZaz"), Some(&b"1"[..]));
}

#[test]
fn spaces_before_the_colon_can_be_stripped() {
    let cfg = with(Leniency { strip_header_spaces: true, ..Leniency::default() });
    let buf = get("X \t: 1\r\n");
    assert_eq!(accept_with(&buf, &cfg, false).find(&buf, "X"), Some(&b"1"[..]));
    assert_eq!(refuse_with(&get(" : 1\r\n"), &cfg, false).0, 400);
}

#[test]
fn folding_can_be_permitted() {
    let cfg = with(Leniency { permit_obsolete_folding: true, ..Leniency::default() });
    let buf = get("Long: one\r\n two \r\n\t three\r\nNext: 1\r\nEmpty:\r\n \r\nLate:\r\n x\r\n");
    let head = accept_with(&buf, &cfg, false);
    assert_eq!(head.find(&buf, "long"), Some(&b"one two three"[..]));
    assert_eq!(head.find(&buf, "next"), Some(&b"1"[..]));
    assert_eq!(head.find(&buf, "empty"), Some(&b""[..]));
    assert_eq!(head.find(&buf, "late"), Some(&b"x"[..]));
    assert_eq!(refuse_with(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", &cfg, false).0, 400);
    let small = ParserConfig { limits: Limits::from_settings(4094, 100, 14), ..cfg };
    let folded = b"GET / HTTP/1.0\r\nAccept: 1\r\n 2\r\n\r\n";
    assert_eq!(refuse_with(folded, &small, false).0, 431);
}

#[test]
fn folded_values_that_the_head_itself_tells() {
    let cfg = with(Leniency { permit_obsolete_folding: true, ..Leniency::default() });
    let buf = b"GET / HTTP/1.1\r\nX: a\r\n b\r\nHost:\r\n a:1\r\nUpgrade: web\r\n socket\r\nConnection:\r\n upgrade\r\n\r\n";
    let head = accept_with(buf, &cfg, false);
    assert_eq!(head.host(buf), Some(&b"a:1"[..]));
    assert_eq!(head.upgrade(buf), Some(&b"web socket"[..]));
}

#[test]
fn host_rules() {
    for host in ["a", "a.b:80", "a:", "", "127.0.0.1:8000", "[::1]:80", "[v1.x:y]", "a_b", "%41", "*.x"] {
        let buf = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
        assert_eq!(accept(&buf).host(&buf), Some(host.as_bytes()));
    }
    assert_eq!(accept(b"GET / HTTP/1.0\r\n\r\n").host(b""), None);
    refused(&[
        (b"GET / HTTP/1.1\r\n\r\n", 400, "no Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "more than one Host"),
        (b"GET / HTTP/1.0\r\nHost: a\r\nhOST: b\r\n\r\n", 400, "more than one Host"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "Host"),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "Host"),
        (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, "Host"),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, "Host"),
        (b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400, "Host"),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "Host"),
        (b"GET / HTTP/1.1\r\nHost: [:]\r\n\r\n", 400, "Host"),
        (b"GET / HTTP/1.1\r\nHost: %4\r\n\r\n", 400, "Host"),
        (b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n", 400, "Host"),
    ]);
}

#[test]
fn content_type_is_single() {
    let (status, text) =
        refuse_with(&get("Content-Type: a\r\nContent-type: a\r\n"), &ParserConfig::default(), false);
    assert_eq!(status, 400);
    assert!(text.contains("more than one Content-Type"), "{text}");
}

#[test]
fn body_framing() {
    let table: &[(&str, BodyKind)] = &[
        ("", BodyKind::None),
        ("Content-Length: 0\r\n", BodyKind::Length(0)),
        ("Content-Length: 007\r\n", BodyKind::Length(7)),
        ("content-length: 18446744073709551615\r\n", BodyKind::Length(u64::MAX)),
        ("Transfer-Encoding: chunked\r\n", BodyKind::Chunked),
        ("Transfer-Encoding: CHUNKED\r\n", BodyKind::Chunked),
        ("Transfer-Encoding: identity, chunked\r\n", BodyKind::Chunked),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", BodyKind::Chunked),
    ];
    for (lines, kind) in table {
        let head = accept(&get(lines));
        assert_eq!(head.body(), *kind, "{lines:?}");
        assert!(head.keep_alive());
    }
    let table: &[(&str, u16, &str)] = &[
        ("Content-Length: 1\r\nContent-Length: 1\r\n", 400, "more than one Content-Length"),
        ("Content-Length: 1\r\nContent-Length: 2\r\n", 400, "more than one Content-Length"),
        ("Content-Length: 1, 1\r\n", 400, "invalid Content-Length"),
        ("Content-Length: +1\r\n", 400, "invalid Content-Length"),
        ("Content-Length: -1\r\n", 400, "invalid Content-Length"),
        ("Content-Length: 0x1\r\n", 400, "invalid Content-Length"),
        ("Content-Length: 1_0\r\n", 400, "invalid Content-Length"),
        ("Content-Length: \r\n", 400, "invalid Content-Length"),
        ("Content-Length: \u{b2}\r\n", 400, "invalid Content-Length"),
        ("Content-Length: 18446744073709551616\r\n", 400, "invalid Content-Length"),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400, "both"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400, "both"),
        ("Transfer-Encoding: chunked, chunked\r\n", 400, "not the last"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400, "not the last"),
        ("Transfer-Encoding: chunked, gzip\r\n", 400, "not the last"),
        ("Transfer-Encoding: chunked, identity\r\n", 400, "not the last"),
        ("Transfer-Encoding: gzip\r\n", 400, "no chunked coding, so the body has no end: 'gzip'"),
        ("Transfer-Encoding: identity\r\nContent-Length: 3\r\n", 400, "no chunked coding"),
        ("Transfer-Encoding: foo, chunked\r\n", 501, "unsupported transfer coding"),
        ("Transfer-Encoding: chunked;q=1\r\n", 501, "unsupported transfer coding"),
        ("Transfer-Encoding: gzip;level=9, chunked\r\n", 501, "unsupported transfer coding"),
        ("Transfer-Encoding: chunked,\r\n", 501, "unsupported transfer coding"),
        ("Transfer-Encoding:\r\n", 501, "unsupported transfer coding"),
        ("Transfer-Encoding: \"chunked\"\r\n", 501, "unsupported transfer coding"),
    ];
    for (lines, status, reason) in table {
        let (got, text) = refuse_with(&get(lines), &ParserConfig::default(), false);
        assert_eq!(got, *status, "{lines:?}: {text}");
        assert!(text.contains(reason), "{lines:?}: {text}");
    }
    refused(&[(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "before HTTP/1.1")]);
}

#[test]
fn compressed_transfer_coding_is_passed_on_and_ends_the_connection() {
    for value in ["gzip, chunked", "deflate,chunked", "compress , chunked"] {
        let head = accept(&get(&format!("Transfer-Encoding: {value}\r\n")));
        assert_eq!(head.body(), BodyKind::Chunked);
        assert!(!head.keep_alive());
    }
}

#[test]
fn body_limit() {
    let mut cfg = ParserConfig::default();
    cfg.limits.body = Some(10);
    accept_with(&get("Content-Length: 10\r\n"), &cfg, false);
    assert_eq!(refuse_with(&get("Content-Length: 11\r\n"), &cfg, false).0, 413);
}

#[test]
fn persistence() {
    let table: &[(&str, &str, bool)] = &[
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: x, close ,y\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, x\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.2", "", true),
    ];
    for (version, lines, expected) in table {
        let buf = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(accept(buf.as_bytes()).keep_alive(), *expected, "{version} {lines:?}");
    }
    assert!(!accept(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n").keep_alive());
}

#[test]
fn expectations() {
    assert!(accept(&get("Expect: 100-Continue\r\n")).expect_continue());
    assert!(!accept(&get("")).expect_continue());
    assert!(!accept(b"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expect_continue());
    for value in [", 100-continue,", "100-continue, 100-continue"] {
        assert!(accept(&get(&format!("Expect: {value}\r\n"))).expect_continue(), "{value:?}");
    }
    assert!(!accept(&get("Expect:\r\n")).expect_continue());
    for value in ["100-continue, x", "x", "100-continue;x"] {
        let buf = get(&format!("Expect: {value}\r\n"));
        assert_eq!(refuse_with(&buf, &ParserConfig::default(), false).0, 417);
    }
}

#[test]
fn upgrades() {
    let buf = get("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n");
    assert_eq!(accept(&buf).upgrade(&buf), Some(&b"websocket"[..]));
    let buf = get("Upgrade: websocket\r\n");
    assert_eq!(accept(&buf).upgrade(&buf), None);
    let buf = b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(accept(buf).upgrade(buf), None);
}

#[test]
fn names_with_underscores() {
    let buf = get("X_Y: 1\r\nSCRIPT_NAME: /app\r\nX-Y: 2\r\n");
    let names = |map: HeaderMap, trusted: bool| {
        let cfg = ParserConfig { header_map: map, ..ParserConfig::default() };
        let head = parse_head(&buf, &cfg, trusted).map_err(|reject| reject.status)?.unwrap();
        Ok::<_, u16>(head.fields(&buf).map(|field| String::from_utf8_lossy(field.1).into_owned()).collect())
    };
    let list = |names: &[&str]| Ok(names.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(names(HeaderMap::Drop, false), list(&["Host", "X-Y"]));
    assert_eq!(names(HeaderMap::Drop, true), list(&["Host", "SCRIPT_NAME", "X-Y"]));
    assert_eq!(names(HeaderMap::Dangerous, false), list(&["Host", "X_Y", "SCRIPT_NAME", "X-Y"]));
    assert_eq!(names(HeaderMap::Refuse, true), Err(400));
    let all = ParserConfig { forwarder_headers: vec!["*".to_owned()], ..ParserConfig::default() };
    assert_eq!(accept_with(&buf, &all, true).field_count(), 4);
    assert_eq!(accept_with(&buf, &all, false).field_count(), 2);
}

#[test]
fn underscored_framing_fields_do_not_frame() {
    let head = accept(&get("Transfer_Encoding: chunked\r\nContent_Length: 9\r\n"));
    assert_eq!(head.body(), BodyKind::None);
}

#[test]
fn scheme_told_by_a_proxy() {
    let scheme = |lines: &str, trusted: bool| {
        parse_head(&get(lines), &ParserConfig::default(), trusted)
            .map(|head| head.unwrap().forwarded_scheme())
            .map_err(|reject| reject.status)
    };
    assert_eq!(scheme("X-Forwarded-Proto: https\r\n", true), Ok(Some(Scheme::Https)));
    assert_eq!(scheme("X-Forwarded-Proto: https\r\n", false), Ok(None));
    assert_eq!(scheme("X-Forwarded-Proto: HTTPS\r\n", true), Ok(Some(Scheme::Http)));
    assert_eq!(scheme("X-Forwarded-SSL: on\r\nX-Forwarded-Protocol: ssl\r\n", true), Ok(Some(Scheme::Https)));
    assert_eq!(scheme("X-Forwarded-SSL: off\r\nX-Forwarded-Proto: https\r\n", true), Err(400));
    assert_eq!(scheme("X-Forwarded-SSL: off\r\nX-Forwarded-Proto: https\r\n", false), Ok(None));
}

#[test]
fn https_is_for_everybody_where_connections_speak_tls() {
    let cfg = ParserConfig { secure: true, ..ParserConfig::default() };
    let head = parse_head(b"GET https://h/p HTTP/1.1\r\nHost: h\r\n\r\n", &cfg, false).unwrap().unwrap();
    assert_eq!(head.forwarded_scheme(), Some(Scheme::Https));
}

#[test]
fn https_is_for_trusted_proxies() {
    let buf = b"GET HTTPS://h/p HTTP/1.1\r\nHost: h\r\n\r\n";
    let (status, text) = refuse_with(buf, &ParserConfig::default(), false);
    assert_eq!(status, 421, "{text}");
    assert_eq!(accept_with(buf, &ParserConfig::default(), true).forwarded_scheme(), Some(Scheme::Https));
    let told = b"GET https://h/p HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: http\r\n\r\n";
    assert_eq!(accept_with(told, &ParserConfig::default(), true).forwarded_scheme(), Some(Scheme::Http));
    for other in ["http://h/p", "httpsx://h/p", "/https:"] {
        let buf = format!("GET {other} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
        assert_eq!(accept(&buf).forwarded_scheme(), None, "{other}");
    }
}

#[test]
fn a_head_is_resumed_and_reused() {
    let cfg = ParserConfig::default();
    let mut head = Head::default();
    let first = b"PUT /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n";
    for end in 0..first.len() {
        assert_eq!(parse_head_into(&mut head, &first[..end], &cfg, false), Ok(false), "{end}");
    }
    assert!(head.has_request_line());
    assert_eq!(head.method(first), b"PUT");
    assert_eq!(parse_head_into(&mut head, first, &cfg, false), Ok(true));
    assert_eq!(head.body(), BodyKind::Length(1));
    let second = b"GET /2 HTTP/1.0\r\nX: 1\r\n\r\n";
    assert_eq!(parse_head_into(&mut head, second, &cfg, false), Ok(true));
    assert_eq!((head.path(second), head.body(), head.field_count()), (&b"/2"[..], BodyKind::None, 1));
    assert!(parse_head_into(&mut head, b"GET / HTTP/1.1\r\n\r\n", &cfg, false).is_err());
    assert_eq!(parse_head_into(&mut head, second, &cfg, false), Ok(true));
    assert_eq!(parse_head_into(&mut head, &second[..20], &cfg, false), Ok(false));
    head.clear();
    assert_eq!(parse_head_into(&mut head, first, &cfg, false), Ok(true));
    assert_eq!(head.method(first), b"PUT");
}
