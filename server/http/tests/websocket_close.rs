//! Closing (RFC 6455 §5.5.1, §7): the handshake from both sides, codes, reasons.
#![allow(clippy::unwrap_used)] // in the helpers of tests, which clippy does not see as tests

mod websocket_client;

use podicorn_http::websocket::{CloseCode, Compressor, Connection, SendError, Violation, may_send};
use websocket_client::*;

const VALID: &[u16] =
    &[1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
const INVALID: &[u16] = &[0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535];

#[test]
fn a_close_is_answered_with_its_code() {
    for &code in VALID {
        let outcome = outcome(&frame(FIN | CLOSE, &close_payload(code, "auf Wiedersehen ä".as_bytes())));
        assert_eq!(outcome.events, [Told::Close(code, "auf Wiedersehen ä".to_owned())]);
        assert_eq!(outcome.out, server_frame(FIN | CLOSE, &code.to_be_bytes()));
    }
}

#[test]
fn a_close_without_a_code() {
    let mut connection = plain();
    let outcome = receive(&mut connection, &frame(FIN | CLOSE, b""));
    assert_eq!(outcome.events, [Told::Close(1005, String::new())]);
    assert_eq!(outcome.out, server_frame(FIN | CLOSE, b""));
    assert!(connection.is_ended());
}

#[test]
fn codes_that_must_not_be_sent_are_refused() {
    for &code in INVALID {
        let outcome = outcome(&frame(FIN | CLOSE, &close_payload(code, b"")));
        assert_fails(&outcome, &[], Violation::CloseCode(code), 1002);
    }
}

#[test]
fn a_close_of_one_byte_is_refused() {
    assert_fails(&outcome(&frame(FIN | CLOSE, b"\x03")), &[], Violation::CloseLength, 1002);
}

#[test]
fn a_reason_is_utf8() {
    for reason in [&b"\xff"[..], b"\xc3", b"ok\xed\xa0\x80"] {
        let outcome = outcome(&frame(FIN | CLOSE, &close_payload(1000, reason)));
        assert_fails(&outcome, &[], Violation::ReasonNotUtf8, 1007);
    }
    let longest = "r".repeat(123);
    let outcome = outcome(&frame(FIN | CLOSE, &close_payload(1000, longest.as_bytes())));
    assert_eq!(outcome.events, [Told::Close(1000, longest)]);
}

#[test]
fn nothing_is_read_after_a_close() {
    let input = [
        frame(TEXT, b"unfinished"),
        frame(FIN | CLOSE, &close_payload(1000, b"")),
        frame(FIN | PING, b"late"),
        frame(FIN | 3, b"wrong"),
    ];
    let outcome = outcome(&input.concat());
    assert_eq!(outcome.events, [Told::Close(1000, String::new())]);
    assert_eq!(outcome.out, server_frame(FIN | CLOSE, &1000_u16.to_be_bytes()));
    assert_eq!(outcome.left, 0);
}

/// A connection whose Close frame is out.
fn closing() -> Connection {
    let mut connection = plain();
    let mut out = Vec::new();
    connection.close(&mut out, CloseCode::GOING_AWAY, "bye").unwrap();
    assert_eq!(out, server_frame(FIN | CLOSE, &close_payload(1001, b"bye")));
    assert!(connection.is_closing() && !connection.is_ended());
    connection
}

#[test]
fn the_answer_to_our_close_ends_the_connection() {
    let mut connection = closing();
    let outcome = receive(&mut connection, &frame(FIN | CLOSE, &close_payload(1001, b"")));
    assert_eq!(outcome.events, [Told::Close(1001, String::new())]);
    assert_eq!(outcome.out, b"", "a second Close frame");
    assert!(connection.is_ended());
}

#[test]
fn what_comes_between_our_close_and_its_answer() {
    let input = [
        frame(FIN | TEXT, b"whole"),
        frame(BINARY, b"frag"),
        frame(FIN | PING, b"p"),
        frame(FIN | CONTINUATION, b"ment"),
        frame(FIN | CLOSE, b""),
    ];
    let expected = [Told::Ping(b"p".to_vec()), Told::Close(1005, String::new())];
    for sizes in [&[usize::MAX][..], &[1], &[7]] {
        let outcome = receive_in_parts(&mut closing(), &input.concat(), sizes);
        assert_eq!(outcome.events, expected, "messages are dropped");
        assert_eq!(outcome.out, server_frame(FIN | PONG, b"p"), "no Close was received when the Ping came");
    }
}

#[test]
fn a_violation_after_our_close_is_not_told_to_the_client() {
    let mut connection = closing();
    let outcome = receive(&mut connection, &frame(FIN | 3, b""));
    assert_eq!(outcome.events, [Told::Failed(Violation::ReservedOpcode(3))]);
    assert_eq!(outcome.out, b"");
    assert!(connection.is_ended());
}

#[test]
fn nothing_is_sent_after_a_close() {
    let mut failed = plain();
    let _ = receive(&mut failed, &[FIN | 3]);
    let mut answered = plain();
    let _ = receive(&mut answered, &frame(FIN | CLOSE, b""));
    for mut connection in [closing(), failed, answered] {
        let mut out = Vec::new();
        assert_eq!(connection.send_text(&mut out, "a", &mut Compressor::new()), Err(SendError::Closed));
        assert_eq!(connection.send_binary(&mut out, b"a", &mut Compressor::new()), Err(SendError::Closed));
        assert_eq!(connection.ping(&mut out, b""), Err(SendError::Closed));
        assert_eq!(connection.pong(&mut out, b""), Err(SendError::Closed));
        assert_eq!(connection.close(&mut out, CloseCode::NORMAL, ""), Err(SendError::Closed));
        assert_eq!(out, b"");
    }
}

#[test]
fn only_valid_codes_are_sent() {
    for &code in INVALID {
        let mut out = Vec::new();
        let mut connection = plain();
        assert_eq!(connection.close(&mut out, CloseCode(code), ""), Err(SendError::CloseCode(code)));
        assert_eq!((out.len(), connection.is_closing(), may_send(code)), (0, false, false));
    }
    for &code in VALID {
        let mut out = Vec::new();
        plain().close(&mut out, CloseCode(code), "").unwrap();
        assert_eq!(out, server_frame(FIN | CLOSE, &code.to_be_bytes()));
        assert!(may_send(code));
    }
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let mut out = Vec::new();
    plain().close(&mut out, CloseCode::NORMAL, &"ä".repeat(100)).unwrap();
    assert_eq!(out, server_frame(FIN | CLOSE, &close_payload(1000, "ä".repeat(61).as_bytes())));
}
