//! permessage-deflate (RFC 7692 §6, §7.2): what is taken, what is sent, and that no message grows beyond the limit.
#![allow(clippy::unwrap_used, clippy::panic)] // in the helpers of tests, which clippy does not see as tests

mod websocket_client;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use podicorn_http::websocket::{
    CloseCode, Compressor, Connection, DeflateConfig, DeflatePolicy, Handshake, Violation,
};
use podicorn_http::{ParserConfig, parse_head};
use websocket_client::*;

/// What a server with this policy agrees on for an offer.
fn agreed_by(parameters: &str, policy: DeflatePolicy) -> DeflateConfig {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: permessage-deflate{parameters}\r\n\r\n"
    );
    let head = parse_head(request.as_bytes(), &ParserConfig::default(), false).unwrap().unwrap();
    *Handshake::read(&head, request.as_bytes(), Some(policy)).unwrap().deflate().unwrap()
}

fn agreed(parameters: &str) -> DeflateConfig {
    agreed_by(parameters, DeflatePolicy::default())
}

/// A raw deflate stream up to a flush, as a client's compressor makes it.
fn flushed(stream: &mut Compress, data: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() * 2 + 1000);
    let before = stream.total_in();
    stream.compress_vec(data, &mut out, flush).unwrap();
    assert_eq!(stream.total_in() - before, data.len() as u64);
    out
}

/// A message without its tail.
fn deflated(stream: &mut Compress, data: &[u8]) -> Vec<u8> {
    let mut out = flushed(stream, data, FlushCompress::Sync);
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

fn compressor() -> Compress {
    Compress::new(Compression::default(), false)
}

/// What a client reads out of the frames of `out`, each a compressed or plain message.
fn inflated(stream: &mut Decompress, mut out: &[u8]) -> Vec<(bool, Vec<u8>)> {
    let mut messages = Vec::new();
    while let [first, short, rest @ ..] = out {
        assert_eq!(first & 0xb0, 0x80, "one frame, no bits but RSV1");
        let (len, rest) = match short {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..]),
            short => (usize::from(*short), rest),
        };
        let (payload, rest) = rest.split_at(len);
        out = rest;
        if first & RSV1 == 0 {
            messages.push((false, payload.to_vec()));
            continue;
        }
        let mut message = Vec::with_capacity(1 << 20);
        let status = stream
            .decompress_vec(&[payload, &[0, 0, 0xff, 0xff]].concat(), &mut message, FlushDecompress::Sync)
            .unwrap();
        assert_eq!(status, Status::Ok);
        messages.push((true, message));
    }
    messages
}

/// Text that compresses, never twice the same.
fn text(number: usize) -> String {
    format!(
        "{{\"number\":{number},\"kind\":\"message\",\"text\":\"the quick brown fox jumps over the lazy dog\"}}"
    )
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 7692 §7.2.3: "Hello" in one frame, in two, repeated with the context kept, in a stored block, in a block
    // with BFINAL, in two blocks; the empty message.
    let hello = [Told::text("Hello")];
    let one = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let take = |input: &[u8]| receive(&mut compressing(&agreed("")), input).events;
    assert_eq!(take(&frame(FIN | RSV1 | TEXT, &one)), hello);
    let two = [frame(RSV1 | TEXT, &one[..3]), frame(FIN | CONTINUATION, &one[3..])];
    assert_eq!(take(&two.concat()), hello);
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let both = [frame(FIN | RSV1 | TEXT, &one), frame(FIN | RSV1 | TEXT, &again)];
    assert_eq!(take(&both.concat()), [Told::text("Hello"), Told::text("Hello")]);
    let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    assert_eq!(take(&frame(FIN | RSV1 | TEXT, &stored)), hello);
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(take(&frame(FIN | RSV1 | TEXT, &last)), hello);
    let blocks = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(take(&frame(FIN | RSV1 | TEXT, &blocks)), hello);
    assert_eq!(take(&frame(FIN | RSV1 | TEXT, &[0])), [Told::text("")]);
}

#[test]
fn messages_with_and_without_compression() {
    let mut stream = compressor();
    let mut connection = compressing(&agreed(""));
    for number in 0..20 {
        let text = text(number);
        let input = match number % 4 {
            3 => frame(FIN | TEXT, text.as_bytes()),
            _ => frame(FIN | RSV1 | TEXT, &deflated(&mut stream, text.as_bytes())),
        };
        assert_eq!(receive(&mut connection, &input).events, [Told::Text(text)]);
    }
}

#[test]
fn fragments_of_a_compressed_message_with_control_frames_between() {
    let text = text(0);
    let payload = deflated(&mut compressor(), text.as_bytes());
    for at in 0..=payload.len() {
        let input = [
            frame(RSV1 | TEXT, &payload[..at]),
            frame(FIN | PING, b"p"),
            frame(CONTINUATION, b""),
            frame(FIN | CONTINUATION, &payload[at..]),
        ];
        let outcome = receive(&mut compressing(&agreed("")), &input.concat());
        assert_eq!(outcome.events, [Told::Ping(b"p".to_vec()), Told::Text(text.clone())]);
        assert_eq!(outcome.out, server_frame(FIN | PONG, b"p"));
    }
}

#[test]
fn the_bit_belongs_to_the_first_frame_of_a_message() {
    let config = agreed("");
    for opcode in [PING, PONG, CLOSE] {
        let outcome = receive(&mut compressing(&config), &frame(FIN | RSV1 | opcode, b""));
        assert_fails(&outcome, &[], Violation::ReservedBits, 1002);
    }
    for first in [RSV1 | TEXT, TEXT] {
        let input = [frame(first, b"\0"), frame(FIN | RSV1 | CONTINUATION, b"\0")].concat();
        let outcome = receive(&mut compressing(&config), &input);
        assert_fails(&outcome, &[], Violation::ReservedBits, 1002);
    }
    for bits in [0x20, 0x10, 0x60, 0x50, 0x30, 0x70] {
        let outcome = receive(&mut compressing(&config), &frame(FIN | bits | TEXT, b"\0"));
        assert_fails(&outcome, &[], Violation::ReservedBits, 1002);
    }
}

#[test]
fn the_context_is_kept_or_not_as_agreed() {
    let one = frame(FIN | RSV1 | TEXT, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    let refers_back = frame(FIN | RSV1 | TEXT, &[0xf2, 0x00, 0x11, 0x00, 0x00]);
    let input = [one.clone(), refers_back].concat();
    let fresh = &["; client_no_context_takeover", "; client_no_context_takeover; client_max_window_bits=9"];
    for parameters in fresh {
        let mut connection = compressing(&agreed(parameters));
        assert_fails(&receive(&mut connection, &input), &[Told::text("Hello")], Violation::Compression, 1007);
        let mut connection = compressing(&agreed(parameters));
        let twice = receive(&mut connection, &[one.clone(), one.clone()].concat());
        assert_eq!(twice.events, [Told::text("Hello"), Told::text("Hello")]);
    }
}

#[test]
fn blocks_with_bfinal_begin_a_new_stream() {
    let mut connection = compressing(&agreed(""));
    for number in 0..5 {
        let (first, second) = (text(number), text(number + 100));
        // Two streams in one message, then the empty block whose tail is left out.
        let one = flushed(&mut compressor(), first.as_bytes(), FlushCompress::Finish);
        let two = flushed(&mut compressor(), second.as_bytes(), FlushCompress::Finish);
        let told = [Told::Text(first + &second)];
        let input = frame(FIN | RSV1 | TEXT, &[&one[..], &two, b"\0"].concat());
        assert_eq!(receive(&mut connection, &input).events, told);
        let in_fragments =
            [frame(RSV1 | TEXT, &one), frame(CONTINUATION, &two), frame(FIN | CONTINUATION, b"")].concat();
        assert_eq!(receive(&mut connection, &in_fragments).events, told);
        let without_the_block = frame(FIN | RSV1 | TEXT, &[one, two].concat());
        assert_eq!(receive_in_parts(&mut connection, &without_the_block, &[1]).events, told);
    }
}

#[test]
fn windows_of_every_size() {
    let data: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> (i % 17)) as u8).collect();
    let data = [&data[..], &data, &data].concat();
    for bits in 9..=15 {
        let policy = DeflatePolicy { server_max_window_bits: bits, client_max_window_bits: bits, level: 6 };
        let config = agreed_by("; client_max_window_bits", policy);
        assert_eq!((config.server_max_window_bits, config.client_max_window_bits), (bits, bits));
        let mut connection = compressing(&config);
        let mut stream = Compress::new_with_window_bits(Compression::default(), false, bits);
        let input = frame(FIN | RSV1 | BINARY, &deflated(&mut stream, &data));
        assert!(receive(&mut connection, &input).events == [Told::Binary(data.clone())], "{bits} bits");
        let mut out = Vec::new();
        connection.send_binary(&mut out, &data, &mut Compressor::new()).unwrap();
        connection.send_binary(&mut out, &data, &mut Compressor::new()).unwrap();
        let read = inflated(&mut Decompress::new_with_window_bits(false, bits), &out);
        assert!(read == [(true, data.clone()), (true, data.clone())], "{bits} bits");
    }
    // Who is not told a window may use the largest; who has said 8 is taken at its word.
    assert_eq!(agreed("").client_max_window_bits, 15);
    let mut connection = compressing(&agreed("; client_max_window_bits=8"));
    let one = frame(FIN | RSV1 | TEXT, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    assert_eq!(receive(&mut connection, &one).events, [Told::text("Hello")]);
}

#[test]
fn text_is_checked_after_decompression() {
    let mut stream = compressor();
    let mut connection = compressing(&agreed(""));
    let good = frame(FIN | RSV1 | TEXT, &deflated(&mut stream, "ä€😀".repeat(30).as_bytes()));
    assert_eq!(receive(&mut connection, &good).events, [Told::text(&"ä€😀".repeat(30))]);
    let bad = frame(FIN | RSV1 | TEXT, &deflated(&mut stream, b"bad \xed\xa0\x80 text"));
    assert_fails(&receive(&mut connection, &bad), &[], Violation::NotUtf8, 1007);
    let cut = frame(FIN | RSV1 | TEXT, &deflated(&mut compressor(), b"a\xe2\x82"));
    assert_fails(&receive(&mut compressing(&agreed("")), &cut), &[], Violation::NotUtf8, 1007);
}

#[test]
fn invalid_compressed_data_is_refused() {
    for payload in [&b"\xff"[..], b"\x06\xff\xff", b"\x00\x05\x00\x00\x00hello", b"\xf2\x00\x11\x00\x00"] {
        let outcome = receive(&mut compressing(&agreed("")), &frame(FIN | RSV1 | BINARY, payload));
        assert_fails(&outcome, &[], Violation::Compression, 1007);
    }
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let limit = 100_000;
    let bomb = deflated(&mut compressor(), &vec![0; 3_000_000]);
    assert!(bomb.len() < limit);
    let whole = frame(FIN | RSV1 | BINARY, &bomb);
    let violation = Violation::TooLarge { limit };
    for sizes in [&[usize::MAX][..], &[1], &[100]] {
        let mut connection = Connection::new(limit, Some(&agreed("")));
        assert_fails(&receive_in_parts(&mut connection, &whole, sizes), &[], violation, 1009);
    }
    // In fragments, each of which is harmless.
    let mut stream = compressor();
    let parts: Vec<_> = (0..4).map(|_| flushed(&mut stream, &vec![7; 30_000], FlushCompress::Sync)).collect();
    let mut input = frame(RSV1 | BINARY, &parts[0]);
    input.extend(frame(CONTINUATION, &parts[1]));
    input.extend(frame(CONTINUATION, &parts[2]));
    let mut connection = Connection::new(limit, Some(&agreed("")));
    assert_eq!(receive(&mut connection, &input).events, []);
    assert_eq!(connection.buffered(), 90_000);
    assert_fails(&receive(&mut connection, &frame(FIN | CONTINUATION, &parts[3])), &[], violation, 1009);
}

#[test]
fn what_comes_first_is_told() {
    // Text that is wrong beyond the limit, and data that is invalid beyond it.
    let text = ["a".repeat(3000).as_bytes(), b"\xff", &[b'b'; 500]].concat();
    let wrong_text = deflated(&mut compressor(), &text);
    let mut wrong_data = flushed(&mut compressor(), &[b'a'; 3001], FlushCompress::Sync);
    wrong_data.push(0xff);
    for (payload, other) in [(wrong_text, Violation::NotUtf8), (wrong_data, Violation::Compression)] {
        let input = frame(FIN | RSV1 | TEXT, &payload);
        for (limit, violation) in [(5000, other), (3000, Violation::TooLarge { limit: 3000 })] {
            for sizes in [&[usize::MAX][..], &[1]] {
                let mut connection = Connection::new(limit, Some(&agreed("")));
                let outcome = receive_in_parts(&mut connection, &input, sizes);
                assert_fails(&outcome, &[], violation, violation.code().0);
            }
        }
    }
}

#[test]
fn a_message_of_just_the_limit() {
    for (len, fits) in [(4999, true), (5000, true), (5001, false)] {
        let mut connection = Connection::new(5000, Some(&agreed("")));
        let data = vec![b'x'; len];
        let input = frame(FIN | RSV1 | BINARY, &deflated(&mut compressor(), &data));
        let outcome = receive(&mut connection, &input);
        if fits {
            assert_eq!(outcome.events, [Told::Binary(data)]);
        } else {
            assert_fails(&outcome, &[], Violation::TooLarge { limit: 5000 }, 1009);
        }
    }
    // Data that can't be compressed is larger on the wire than the message.
    let data: Vec<u8> = (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let payload = deflated(&mut Compress::new(Compression::none(), false), &data);
    assert!(payload.len() > data.len());
    let mut connection = Connection::new(5000, Some(&agreed("")));
    assert_eq!(receive(&mut connection, &frame(FIN | RSV1 | BINARY, &payload)).events, [Told::Binary(data)]);
    let mut connection = Connection::new(5000, Some(&agreed("")));
    let head = [frame_head(FIN | RSV1 | BINARY, 10_000), MASK.to_vec()].concat();
    assert_fails(&receive(&mut connection, &head), &[], Violation::TooLarge { limit: 5000 }, 1009);
}

#[test]
fn no_limit() {
    let mut connection = Connection::new(usize::MAX, Some(&agreed("")));
    let data = vec![9; 3_000_000];
    let input = frame(FIN | RSV1 | BINARY, &deflated(&mut compressor(), &data));
    assert!(receive(&mut connection, &input).events == [Told::Binary(data.clone())]);
    let parts = [frame(BINARY, &data), frame(FIN | CONTINUATION, &data)].concat();
    assert!(receive(&mut connection, &parts).events == [Told::Binary([&data[..], &data].concat())]);
}

#[test]
fn messages_are_sent_compressed() {
    let mut connection = compressing(&agreed(""));
    let mut stream = Decompress::new(false);
    let mut sizes = Vec::new();
    for number in 0..50 {
        let text = text(number);
        let mut out = b"".to_vec();
        connection.send_text(&mut out, &text, &mut Compressor::new()).unwrap();
        sizes.push(out.len());
        assert_eq!(inflated(&mut stream, &out), [(true, text.into_bytes())]);
    }
    assert!(sizes[1..].iter().all(|size| *size * 2 < sizes[0]), "the context is kept: {sizes:?}");
    for len in [200, 0xffff, 0x1_0000, 300_000] {
        let data: Vec<u8> = (0..len).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut out = Vec::new();
        connection.send_binary(&mut out, &data, &mut Compressor::new()).unwrap();
        assert!(inflated(&mut stream, &out) == [(true, data)], "{len} bytes that do not compress");
    }
}

#[test]
fn short_messages_are_sent_as_they_are() {
    let mut connection = compressing(&agreed(""));
    let mut out = Vec::new();
    connection.send_text(&mut out, "", &mut Compressor::new()).unwrap();
    connection.send_text(&mut out, "Hello", &mut Compressor::new()).unwrap();
    connection.ping(&mut out, &[b'a'; 125]).unwrap();
    connection.close(&mut out, CloseCode::NORMAL, &"r".repeat(123)).unwrap();
    let close = close_payload(1000, "r".repeat(123).as_bytes());
    let frames = [
        server_frame(FIN | TEXT, b""),
        server_frame(FIN | TEXT, b"Hello"),
        server_frame(FIN | PING, &[b'a'; 125]),
        server_frame(FIN | CLOSE, &close),
    ];
    assert_eq!(out, frames.concat());
}

#[test]
fn the_servers_context_is_not_kept_where_that_is_agreed() {
    let mut connection = compressing(&agreed("; server_no_context_takeover"));
    let mut sizes = Vec::new();
    for number in 0..5 {
        let text = text(number);
        let mut out = Vec::new();
        connection.send_text(&mut out, &text, &mut Compressor::new()).unwrap();
        sizes.push(out.len());
        assert_eq!(inflated(&mut Decompress::new(false), &out), [(true, text.into_bytes())]);
    }
    assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
}

#[test]
fn connections_share_a_compressor() {
    let configs = ["", "", "; server_max_window_bits=9", "; server_no_context_takeover"].map(agreed);
    let mut compressor = Compressor::new();
    let mut ends = configs.map(|config| (compressing(&config), Decompress::new(false)));
    for number in 0..30 {
        for (place, (connection, stream)) in ends.iter_mut().enumerate() {
            let text = format!("{place} {}", text(number));
            let mut out = Vec::new();
            connection.send_text(&mut out, &text, &mut compressor).unwrap();
            if place == 3 {
                *stream = Decompress::new(false);
            }
            assert_eq!(inflated(stream, &out), [(true, text.into_bytes())]);
        }
    }
}

#[test]
fn messages_of_every_length_refer_to_those_before() {
    let mut compressor = Compressor::new();
    for parameters in ["", "; server_max_window_bits=9"] {
        let mut connection = compressing(&agreed(parameters));
        let mut stream = Decompress::new(false);
        for len in [64, 65, 500, 1023, 1024, 1025, 5000, 100, 20_000, 64, 1_000, 200, 300, 400, 500] {
            let data: Vec<u8> = (0..len).map(|i: u32| (i * i / 7 % 251) as u8).collect();
            let mut out = Vec::new();
            connection.send_binary(&mut out, &data, &mut compressor).unwrap();
            // What is not compressed does not count as sent before.
            connection.send_binary(&mut out, b"short", &mut compressor).unwrap();
            assert_eq!(inflated(&mut stream, &out), [(true, data), (false, b"short".to_vec())]);
        }
    }
}
