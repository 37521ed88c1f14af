//! Frames from the server: never masked, whole, their length in the fewest bytes (RFC 6455 §5.2, §6.1).

mod websocket_client;

use podicorn_http::websocket::{CloseCode, Compressor, Kind, SendError};
use websocket_client::*;

#[test]
fn messages_are_sent_as_one_frame() {
    for len in [0, 1, 125, 126, 127, 0xffff, 0x1_0000, 200_000] {
        let data = vec![0xff; len];
        let mut out = b"before".to_vec();
        plain().send_binary(&mut out, &data, &mut Compressor::new()).unwrap();
        assert!(out == [b"before", &server_frame(FIN | BINARY, &data)[..]].concat(), "{len} bytes");
        let text = "a".repeat(len);
        let mut out = Vec::new();
        plain().send_text(&mut out, &text, &mut Compressor::new()).unwrap();
        assert!(out == server_frame(FIN | TEXT, text.as_bytes()), "{len} bytes");
    }
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 6455 §5.7: unmasked text, Ping, and binary messages of 256 bytes and 64 KiB.
    let mut out = Vec::new();
    plain().send_text(&mut out, "Hello", &mut Compressor::new()).unwrap();
    plain().ping(&mut out, b"Hello").unwrap();
    assert_eq!(out, b"\x81\x05Hello\x89\x05Hello");
    out.clear();
    plain().send_binary(&mut out, &[1; 256], &mut Compressor::new()).unwrap();
    assert_eq!(out[..5], *b"\x82\x7e\x01\x00\x01");
    out.clear();
    plain().send_binary(&mut out, &vec![1; 65536], &mut Compressor::new()).unwrap();
    assert_eq!(out[..11], *b"\x82\x7f\0\0\0\0\0\x01\0\0\x01");
}

#[test]
fn a_long_message_may_follow_its_head() {
    for len in [0, 125, 126, 70_000] {
        let mut out = Vec::new();
        assert_eq!(plain().send_head(&mut out, Kind::Binary, len), Ok(true));
        out.extend(vec![3; len]);
        assert!(out == server_frame(FIN | BINARY, &vec![3; len]), "{len} bytes");
    }
    let mut connection = plain();
    connection.close(&mut Vec::new(), CloseCode::NORMAL, "").unwrap();
    assert_eq!(connection.send_head(&mut Vec::new(), Kind::Text, 1), Err(SendError::Closed));
}

#[test]
fn control_frames_are_sent_whole_and_short() {
    let mut out = Vec::new();
    plain().ping(&mut out, &[1; 125]).unwrap();
    plain().pong(&mut out, b"").unwrap();
    assert_eq!(out, [server_frame(FIN | PING, &[1; 125]), server_frame(FIN | PONG, b"")].concat());
    out.clear();
    assert_eq!(plain().ping(&mut out, &[1; 126]), Err(SendError::LongControl));
    assert_eq!(plain().pong(&mut out, &[1; 126]), Err(SendError::LongControl));
    assert_eq!(out, b"");
}
