//! Frames of a client: without extensions the verdict is that of an independent reader, and with permessage-deflate it is
//! the same at every split. Nothing is held beyond the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podicorn_http::websocket::{Connection, DeflateConfig, DeflatePolicy, Handshake};
use podicorn_http::{ParserConfig, parse_head};
use podicorn_http_fuzz::config::take;
use podicorn_http_fuzz::splits;
use podicorn_http_fuzz::websocket::{Told, read, receive};

const LIMITS: [usize; 4] = [1 << 20, 0, 5, 200];
const OFFERS: [&str; 4] = [
    "",
    "permessage-deflate",
    "permessage-deflate; client_no_context_takeover",
    "permessage-deflate; client_max_window_bits=9",
];

fuzz_target!(|input: &[u8]| {
    // `@`: no extensions, the first limit, all at once.
    let ([choice, step], data) = take(input);
    let limit = LIMITS[usize::from(choice >> 2 & 3)];
    let deflate = agreed(OFFERS[usize::from(choice & 3)]);
    let new = || Connection::new(limit, deflate.as_ref());

    let whole = receive(&mut new(), [data]);
    check(&whole.0, limit);
    if deflate.is_none() {
        assert_eq!(whole.0, read(data, limit));
    }
    for at in splits::points(data) {
        let (first, second) = data.split_at(at);
        assert_eq!(receive(&mut new(), [first, second]), whole, "split at {at}");
    }
    assert_eq!(receive(&mut new(), data.chunks(1)), whole, "byte by byte");
    let step = usize::from(step % 64) + 1;
    assert_eq!(receive(&mut new(), data.chunks(step)), whole, "{step} at a time");
});

fn agreed(offer: &str) -> Option<DeflateConfig> {
    if offer.is_empty() {
        return None;
    }
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n"
    );
    let head =
        parse_head(request.as_bytes(), &ParserConfig::default(), false).ok().flatten().expect("it is good");
    let handshake =
        Handshake::read(&head, request.as_bytes(), Some(DeflatePolicy::default())).expect("it is good");
    handshake.deflate().copied()
}

fn check(told: &[Told], limit: usize) {
    for (place, told_here) in told.iter().enumerate() {
        assert!(!told_here.ends() || place + 1 == told.len(), "nothing comes after the end");
        if let Told::Text(data) | Told::Binary(data) = told_here {
            assert!(data.len() <= limit);
        }
        if let Told::Text(data) = told_here {
            assert!(std::str::from_utf8(data).is_ok());
        }
    }
}
