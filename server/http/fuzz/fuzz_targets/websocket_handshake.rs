//! A handshake with any fields: what is accepted has the fields that RFC 6455 §4.2.1 asks for, and the response is one head
//! with each of its fields once, whose extensions and subprotocol the client has offered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podicorn_http::response::{Exchange, RequestMethod, ResponseHead, decide_framing};
use podicorn_http::websocket::{DeflatePolicy, Handshake, is_upgrade, subprotocols};
use podicorn_http::{ParserConfig, Version, parse_head};

fuzz_target!(|input: &[u8]| {
    let request = [b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n", input, b"\r\n\r\n"].concat();
    let Ok(Some(head)) = parse_head(&request, &ParserConfig::default(), false) else { return };
    if !is_upgrade(&head, &request) {
        return;
    }
    let values = |name: &str| -> Vec<&[u8]> {
        let same = |field: &[u8]| field.eq_ignore_ascii_case(name.as_bytes());
        head.fields(&request).filter(|(_, field, _)| same(field)).map(|(_, _, value)| value).collect()
    };
    let handshake = match Handshake::read(&head, &request, Some(DeflatePolicy::default())) {
        Ok(handshake) => handshake,
        Err(refusal) => {
            let mut out = Vec::new();
            refusal.write(&mut out, b"s", b"d");
            let mut slots = [httparse::EMPTY_HEADER; 16];
            let mut read = httparse::Response::new(&mut slots);
            assert!(matches!(read.parse(&out), Ok(httparse::Status::Complete(_))));
            assert_eq!(read.code, Some(refusal.status()));
            return;
        }
    };
    assert_eq!(values("sec-websocket-version"), [b"13"]);
    let keys = values("sec-websocket-key");
    assert!(keys.len() == 1 && keys[0].len() == 24 && keys[0].ends_with(b"=="), "{keys:?}");
    let offered: Vec<&[u8]> = subprotocols(&head, &request).collect();
    let chosen = offered.last().copied();

    let mut response = ResponseHead::new();
    handshake.accept(&mut response, chosen).expect("all of it is the crate's own");
    let decision = decide_framing(&Exchange {
        version: Version::HTTP_11,
        method: RequestMethod::Other,
        status: 101,
        content_length: None,
        keep_alive: true,
    });
    let mut out = Vec::new();
    response.write(&mut out, &decision, b"s", b"d");
    let mut slots = [httparse::EMPTY_HEADER; 16];
    let mut read = httparse::Response::new(&mut slots);
    assert_eq!(read.parse(&out), Ok(httparse::Status::Complete(out.len())));
    assert_eq!(read.code, Some(101));
    let one = |name: &str| {
        let mut found = read.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        (found.next().map(|field| field.value), found.next())
    };
    for name in ["upgrade", "connection", "sec-websocket-accept"] {
        assert!(matches!(one(name), (Some(_), None)), "{name}");
    }
    assert_eq!(one("sec-websocket-protocol"), (chosen, None));
    let extensions = values("sec-websocket-extensions").concat();
    match one("sec-websocket-extensions") {
        (None, None) => {}
        (Some(agreed), None) => {
            let agreed = std::str::from_utf8(agreed).expect("it is ASCII");
            let mut parts = agreed.split("; ");
            assert_eq!(parts.next(), Some("permessage-deflate"));
            assert!(extensions.windows(18).any(|window| window == b"permessage-deflate"));
            for part in parts {
                let (name, bits) = part.split_once('=').unwrap_or((part, "9"));
                let bits: u8 = bits.parse().expect("a number");
                assert!((8..=15).contains(&bits), "{part}");
                let mentioned = extensions.windows(name.len()).any(|window| window == name.as_bytes());
                assert!(mentioned || name == "server_max_window_bits", "{name} was not offered");
            }
        }
        (_, Some(_)) => panic!("two fields of extensions"),
    }
});
