//! Properties of WebSocket: no verdict depends on how the bytes were split, and what one end writes the other reads.
#![allow(clippy::panic, clippy::unwrap_used)] // in the helpers of tests, which clippy does not see as tests

mod websocket_client;

use flate2::{Compress, Compression, FlushCompress};
use podicorn_http::websocket::{Connection, DeflateConfig, DeflatePolicy, Handshake, is_upgrade};
use podicorn_http::{ParserConfig, parse_head};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use websocket_client::*;

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

fn handshake(extensions: &str) -> Option<Handshake> {
    let request = format!("{HANDSHAKE}Sec-WebSocket-Extensions: {extensions}\r\n\r\n");
    let head = parse_head(request.as_bytes(), &ParserConfig::default(), false).ok()??;
    assert!(is_upgrade(&head, request.as_bytes()));
    Handshake::read(&head, request.as_bytes(), Some(DeflatePolicy::default())).ok()
}

fn deflate(parameters: &str) -> DeflateConfig {
    *handshake(&format!("permessage-deflate{parameters}")).unwrap().deflate().unwrap()
}

/// Payloads that matter: text whole and divided, wrong text, compressed data good, bad and divided, close codes.
const PAYLOADS: &[&[u8]] = &[
    b"",
    b"Hello",
    "ä€😀".as_bytes(),
    b"\xe2\x82",
    b"\xac",
    b"\xf0\x9f",
    b"\x98\x80",
    b"\xff",
    b"\xed\xa0",
    b"\x03\xe8",
    b"\x03\xe8bye",
    b"\x03\xed",
    b"\x0f\xa0\xff",
    b"\x03",
    &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
    &[0xf2, 0x00, 0x11, 0x00, 0x00],
    &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
    &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
    &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
    &[0x00, 0x05, 0x00, 0xfa, 0xff, 0xff, 0x65],
    b"\x06\xff",
    &[0],
    &[b'a'; 126],
    &[b'b'; 130],
];

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let compressed = (select(PAYLOADS), 1_usize..60, 0_usize..8).prop_map(|(payload, times, cut)| {
        let mut stream = Compress::new(Compression::default(), false);
        let mut out = Vec::with_capacity(10_000);
        stream.compress_vec(&payload.repeat(times), &mut out, FlushCompress::Sync).unwrap();
        out.truncate(out.len().saturating_sub(cut));
        out
    });
    prop_oneof![
        6 => select(PAYLOADS).prop_map(<[u8]>::to_vec),
        4 => compressed,
        1 => vec(any::<u8>(), 0..140),
    ]
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    const FIRST: &[u8] = &[
        FIN | TEXT,
        FIN | BINARY,
        TEXT,
        BINARY,
        CONTINUATION,
        CONTINUATION,
        FIN | CONTINUATION,
        FIN | CONTINUATION,
        FIN | PING,
        FIN | PONG,
        FIN | RSV1 | TEXT,
        FIN | RSV1 | BINARY,
        RSV1 | TEXT,
        RSV1 | BINARY,
        FIN | CLOSE,
    ];
    let first = prop_oneof![20 => select(FIRST), 1 => any::<u8>()];
    let good = (first, payload(), any::<[u8; 4]>())
        .prop_map(|(first, payload, mask)| frame_masked_by(first, &payload, mask));
    let piece = prop_oneof![15 => good, 1 => vec(any::<u8>(), 0..5)];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn connection() -> impl Strategy<Value = (usize, Option<DeflateConfig>)> {
    let configs = [
        None,
        Some(deflate("")),
        Some(deflate("")),
        Some(deflate("; client_no_context_takeover; server_no_context_takeover")),
        Some(deflate("; client_max_window_bits=9")),
    ];
    (select(&[LIMIT, 200, 64, 5]), select(configs.to_vec()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_are_the_same_at_every_split(
        input in input(),
        (limit, config) in connection(),
        sizes in vec(1_usize..200, 1..4),
    ) {
        let new = || Connection::new(limit, config.as_ref());
        let whole = receive(&mut new(), &input);
        prop_assert_eq!(&receive_in_parts(&mut new(), &input, &[1]), &whole);
        prop_assert_eq!(&receive_in_parts(&mut new(), &input, &sizes), &whole);
        for at in 1..input.len() {
            prop_assert_eq!(&receive_in_parts(&mut new(), &input, &[at, usize::MAX]), &whole);
        }
    }

    #[test]
    fn a_failure_is_the_last_event(input in input(), (limit, config) in connection()) {
        let outcome = receive(&mut Connection::new(limit, config.as_ref()), &input);
        let ends = |told: &Told| matches!(told, Told::Failed(_) | Told::Close(..));
        if let Some((_, before)) = outcome.events.split_last() {
            prop_assert!(!before.iter().any(ends));
        }
        for told in &outcome.events {
            let len = match told {
                Told::Text(text) => text.len(),
                Told::Binary(data) => data.len(),
                _ => 0,
            };
            prop_assert!(len <= limit);
        }
    }

    #[test]
    fn fragments_make_up_the_message(
        parts in vec("[a-zä€😀]{0,40}", 1..6),
        cuts in vec(0_usize..60, 0..6),
        compress: bool,
        sizes in vec(1_usize..50, 1..3),
    ) {
        let text = parts.concat();
        let config = deflate("");
        let mut payload = text.clone().into_bytes();
        if compress {
            let mut stream = Compress::new(Compression::default(), false);
            let mut out = Vec::with_capacity(10_000);
            stream.compress_vec(&payload, &mut out, FlushCompress::Sync).unwrap();
            out.truncate(out.len() - 4);
            payload = out;
        }
        let mut first = if compress { RSV1 | TEXT } else { TEXT };
        let (mut input, mut rest) = (Vec::new(), &payload[..]);
        for cut in cuts {
            let (fragment, after) = rest.split_at(cut.min(rest.len()));
            input.extend(frame(first, fragment));
            input.extend(frame(FIN | PING, b"between"));
            first = CONTINUATION;
            rest = after;
        }
        input.extend(frame(FIN | first, rest));
        let outcome = receive_in_parts(&mut compressing(&config), &input, &sizes);
        let messages: Vec<_> = outcome.events.iter().filter(|told| !matches!(told, Told::Ping(_))).collect();
        prop_assert_eq!(messages, [&Told::Text(text)]);
    }

    #[test]
    fn no_bytes_make_the_connection_panic(
        input in vec(any::<u8>(), 0..300),
        sizes in vec(1_usize..50, 1..3),
        (limit, config) in connection(),
    ) {
        let _ = receive_in_parts(&mut Connection::new(limit, config.as_ref()), &input, &sizes);
    }

    #[test]
    fn no_extensions_field_makes_the_handshake_panic(value in "[ -~\\t]{0,60}|permessage-deflate[;=, \"a-z_0-9\\\\]{0,60}") {
        let _ = handshake(&value);
    }
}
