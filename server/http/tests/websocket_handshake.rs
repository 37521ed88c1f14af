//! The opening handshake (RFC 6455 §4.2, §4.4, §9.1): what is taken for one, what is refused and how, the 101 response.
#![allow(clippy::unwrap_used)] // in the helpers of tests, which clippy does not see as tests

use podicorn_http::response::{Exchange, RequestMethod, ResponseHead, decide_framing};
use podicorn_http::websocket::{DeflatePolicy, Handshake, Refusal, add_field, is_upgrade, subprotocols};
use podicorn_http::{Head, ParserConfig, Version, parse_head};

const REQUEST: &str = "GET /chat HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

fn parse(request: &str) -> Head {
    parse_head(request.as_bytes(), &ParserConfig::default(), false).unwrap().unwrap()
}

fn read(request: &str) -> Result<Handshake, Refusal> {
    let head = parse(request);
    assert!(is_upgrade(&head, request.as_bytes()), "{request}");
    Handshake::read(&head, request.as_bytes(), Some(DeflatePolicy::default()))
}

/// The request with a part of it replaced.
fn with(from: &str, to: &str) -> String {
    assert!(REQUEST.contains(from));
    REQUEST.replacen(from, to, 1)
}

/// The request with more fields.
fn and(fields: &str) -> String {
    with("Origin: http://example.com\r\n", fields)
}

fn response(handshake: &Handshake, subprotocol: Option<&[u8]>, fields: &[(&[u8], &[u8])]) -> String {
    let mut head = ResponseHead::new();
    handshake.accept(&mut head, subprotocol).unwrap();
    for (name, value) in fields {
        add_field(&mut head, name, value).unwrap();
    }
    let decision = decide_framing(&Exchange {
        version: Version::HTTP_11,
        method: RequestMethod::Other,
        status: head.status(),
        content_length: head.content_length(),
        keep_alive: true,
    });
    let mut out = Vec::new();
    head.write(&mut out, &decision, b"s", b"d");
    String::from_utf8(out).unwrap()
}

#[test]
fn the_example_of_the_rfc() {
    let handshake = read(REQUEST).unwrap();
    assert_eq!(handshake.accept_value(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(handshake.deflate().is_none());
}

#[test]
fn names_and_tokens_in_any_case_and_place() {
    for request in [
        with("Upgrade: websocket", "UPGRADE: WebSocket"),
        with("Upgrade: websocket", "Upgrade: h2c, websocket"),
        with("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket"),
        with("Connection: Upgrade", "connection: keep-alive, upgrade"),
        with("Connection: Upgrade", "Connection: keep-alive\r\nConnection: UPGRADE"),
        with("Sec-WebSocket-Key", "sec-websocket-key"),
        with("GET /chat", "GET http://server.example.com/chat"),
        and("Content-Length: 0\r\n"),
        and("X-Unknown: 1\r\n"),
    ] {
        assert_eq!(read(&request).unwrap().accept_value(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "{request}");
    }
}

#[test]
fn what_is_no_websocket_request() {
    for request in [
        with("Upgrade: websocket\r\n", ""),
        with("Connection: Upgrade\r\n", ""),
        with("Connection: Upgrade", "Connection: keep-alive"),
        with("Upgrade: websocket", "Upgrade: h2c"),
        with("Upgrade: websocket", "Upgrade: websockets"),
        with("HTTP/1.1", "HTTP/1.0"),
    ] {
        assert!(!is_upgrade(&parse(&request), request.as_bytes()), "{request}");
    }
}

#[test]
fn what_is_refused() {
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    let key = |key: &str| with(KEY, key);
    for (request, refusal) in [
        (with("GET", "POST"), Refusal::Method),
        (with("GET", "HEAD"), Refusal::Method),
        (and("Content-Length: 1\r\n"), Refusal::Body),
        (and("Transfer-Encoding: chunked\r\n"), Refusal::Body),
        (with(&format!("Sec-WebSocket-Key: {KEY}\r\n"), ""), Refusal::KeyCount),
        (and(&format!("Sec-WebSocket-Key: {KEY}\r\n")), Refusal::KeyCount),
        (key(""), Refusal::Key),
        (key("dGhlIHNhbXBsZSBub25j"), Refusal::Key),
        (key("dGhlIHNhbXBsZSBub25jZTE="), Refusal::Key),
        (key("dGhlIHNhbXBsZSBub25jZTEy"), Refusal::Key),
        (key("dGhlIHNhbXBsZSBub25jZQ"), Refusal::Key),
        (key("dGhlIHNhbXBsZSBub25jZQ=="[..22].repeat(3).as_str()), Refusal::Key),
        (key("dGhlIHNhbXBsZSBub25j!!=="), Refusal::Key),
        (key("dGhlIHNhbXBs ZSBub25jZQ=="), Refusal::Key),
        (key(&format!("{KEY}, {KEY}")), Refusal::Key),
        (with("Version: 13", "Version: 12"), Refusal::Version),
        (with("Version: 13", "Version: 013"), Refusal::Version),
        (with("Version: 13", "Version: "), Refusal::Version),
        (with("Version: 13", "Version: 13, 8"), Refusal::Version),
        (with("Sec-WebSocket-Version: 13\r\n", ""), Refusal::Version),
        (and("Sec-WebSocket-Version: 13\r\n"), Refusal::VersionCount),
        (and("Sec-WebSocket-Protocol: a b\r\n"), Refusal::Subprotocols),
        (and("Sec-WebSocket-Protocol: a;b\r\n"), Refusal::Subprotocols),
        (and("Sec-WebSocket-Protocol:\r\n"), Refusal::Subprotocols),
        (and("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: ,\r\n"), Refusal::Subprotocols),
        (and("Sec-WebSocket-Extensions: a b\r\n"), Refusal::Extensions),
    ] {
        assert_eq!(read(&request).unwrap_err(), refusal, "{request}");
    }
}

#[test]
fn refusals_are_responses() {
    let written = |refusal: Refusal| {
        let mut out = Vec::new();
        refusal.write(&mut out, b"s", b"d");
        String::from_utf8(out).unwrap()
    };
    let text = written(Refusal::Key);
    assert!(
        text.starts_with("HTTP/1.1 400 Bad Request\r\nServer: s\r\nDate: d\r\nConnection: close\r\n"),
        "{text}"
    );
    assert!(!text.contains("Sec-WebSocket") || text.contains("<p>Sec-WebSocket-Key is"), "{text}");
    let text = written(Refusal::Version);
    let head = "HTTP/1.1 426 Upgrade Required\r\nServer: s\r\nDate: d\r\nConnection: close, upgrade\r\n\
                Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nContent-Type";
    assert!(text.starts_with(head), "{text}");
    let (head, page) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.ends_with(&format!("Content-Length: {}", page.len())), "{text}");
}

#[test]
fn bits_of_the_key_beyond_16_bytes_do_not_matter() {
    let request = with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZR==");
    let accept = read(&request).unwrap().accept_value().to_owned();
    assert_ne!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "the hash is of the key as it was sent");
}

#[test]
fn the_101_response() {
    let handshake = read(REQUEST).unwrap();
    let expected = "HTTP/1.1 101 Switching Protocols\r\nServer: s\r\nDate: d\r\nConnection: upgrade\r\n\
                    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    assert_eq!(response(&handshake, None, &[]), format!("{expected}\r\n"));
    let fields: &[(&[u8], &[u8])] =
        &[(b"Set-Cookie", b"a=b"), (b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")];
    assert_eq!(
        response(&handshake, Some(b"chat"), fields),
        format!("{expected}Sec-WebSocket-Protocol: chat\r\nSet-Cookie: a=b\r\n\r\n")
    );
}

#[test]
fn the_subprotocols_offered() {
    let offered = |fields: &str| {
        let request = and(fields);
        read(&request).unwrap();
        let head = parse(&request);
        subprotocols(&head, request.as_bytes())
            .map(|name| String::from_utf8(name.to_vec()).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(offered(""), [""; 0]);
    assert_eq!(offered("Sec-WebSocket-Protocol: chat\r\n"), ["chat"]);
    assert_eq!(
        offered("Sec-WebSocket-Protocol: b ,a,, v2.x\r\nsec-websocket-protocol: c\r\n"),
        ["b", "a", "v2.x", "c"]
    );
}

#[test]
fn fields_that_are_not_the_applications() {
    let mut head = ResponseHead::new();
    for name in ["Sec-WebSocket-Accept", "sec-websocket-protocol", "SEC-WEBSOCKET-EXTENSIONS"] {
        assert!(add_field(&mut head, name.as_bytes(), b"x").is_err(), "{name}");
    }
    add_field(&mut head, b"Connection", b"close").unwrap();
    add_field(&mut head, b"upgrade", b"h2c").unwrap();
    add_field(&mut head, b"Set-Cookie", b"a=b").unwrap();
    assert_eq!(head.fields().collect::<Vec<_>>(), [(&b"Set-Cookie"[..], &b"a=b"[..])]);
    assert!(!head.upgrade());
}

/// The value of the response's Sec-WebSocket-Extensions.
fn agreed(fields: &str) -> Option<String> {
    let handshake = read(&and(fields)).unwrap();
    let text = response(&handshake, None, &[]);
    let line =
        text.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: ").map(str::to_owned));
    assert_eq!(line, handshake.deflate().map(podicorn_http::websocket::DeflateConfig::response));
    line
}

fn offer(offer: &str) -> Option<String> {
    agreed(&format!("Sec-WebSocket-Extensions: {offer}\r\n"))
}

#[test]
fn extensions_are_declined_by_silence() {
    assert_eq!(agreed(""), None);
    for other in ["foo", "foo; bar=1", "x-webkit-deflate-frame", "PERMESSAGE-DEFLATE", "a, b;c;d=\"e\" , f"] {
        assert_eq!(offer(other), None, "{other}");
    }
    let request = and("Sec-WebSocket-Extensions: permessage-deflate\r\n");
    let head = parse(&request);
    let handshake = Handshake::read(&head, request.as_bytes(), None).unwrap();
    assert!(handshake.deflate().is_none());
}

#[test]
fn permessage_deflate_is_agreed_on() {
    const SERVER: &str = "permessage-deflate; server_max_window_bits=";
    for (text, rest) in [
        ("permessage-deflate", "12"),
        ("permessage-deflate; client_max_window_bits", "12; client_max_window_bits=12"),
        ("permessage-deflate; client_max_window_bits=15", "12; client_max_window_bits=12"),
        ("permessage-deflate; client_max_window_bits=8", "12; client_max_window_bits=8"),
        ("permessage-deflate; server_max_window_bits=15", "12"),
        ("permessage-deflate; server_max_window_bits=9", "9"),
        ("permessage-deflate; server_max_window_bits=\"10\"", "10"),
        ("permessage-deflate; server_max_window_bits=\"1\\0\"", "10"),
        ("permessage-deflate ;\tserver_max_window_bits = 10 ", "10"),
        ("permessage-deflate; server_no_context_takeover", "12; server_no_context_takeover"),
        ("permessage-deflate; client_no_context_takeover", "12; client_no_context_takeover"),
        (
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover; \
             client_max_window_bits=11; server_max_window_bits=11",
            "11; client_max_window_bits=11; server_no_context_takeover; client_no_context_takeover",
        ),
        (", foo; a=\"b\" ,, permessage-deflate", "12"),
    ] {
        assert_eq!(offer(text), Some(format!("{SERVER}{rest}")), "{text}");
    }
}

#[test]
fn offers_that_are_declined() {
    for parameters in [
        "unknown",
        "unknown=1",
        "Server_No_Context_Takeover",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "client_max_window_bits; client_max_window_bits=10",
        "server_max_window_bits=10; server_max_window_bits=10",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=8",
        "server_max_window_bits=16",
        "server_max_window_bits=09",
        "server_max_window_bits=010",
        "server_max_window_bits=1e1",
        "server_max_window_bits=255",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=08",
        "client_max_window_bits=x",
    ] {
        assert_eq!(offer(&format!("permessage-deflate; {parameters}")), None, "{parameters}");
    }
}

#[test]
fn the_first_offer_that_can_be_kept_is_taken() {
    let several = "permessage-deflate; server_max_window_bits=8, permessage-deflate; unknown, \
                   permessage-deflate; server_max_window_bits=10, permessage-deflate";
    assert_eq!(offer(several), Some("permessage-deflate; server_max_window_bits=10".to_owned()));
    let fields = "Sec-WebSocket-Extensions: foo\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    assert_eq!(agreed(fields), Some("permessage-deflate; server_max_window_bits=12".to_owned()));
}

#[test]
fn an_extensions_field_that_does_not_match_the_grammar_is_refused() {
    for value in [
        "",
        ",",
        ";",
        "a;",
        "a; ;b",
        "a b",
        "a; b c",
        "a; b=",
        "a; b=\"\"",
        "a; b=\"c d\"",
        "a; b=\"c",
        "a; b=\"c\" d",
        "a; b=\"c\"d",
        "a; =b",
        "a/b",
        "a; b=c=d",
        "permessage-deflate, a;",
    ] {
        let request = and(&format!("Sec-WebSocket-Extensions: {value}\r\n"));
        assert_eq!(read(&request).unwrap_err(), Refusal::Extensions, "{value}");
    }
}
