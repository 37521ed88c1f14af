//! Frames from the client: base framing, masking, fragmentation, control frames (RFC 6455 §5).

mod websocket_client;

use podicorn_http::websocket::{Connection, Violation};
use websocket_client::*;

#[test]
fn the_examples_of_the_rfc() {
    // RFC 6455 §5.7: a masked text message, one in two fragments, a masked Pong.
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(outcome(hello).events, [Told::text("Hello")]);
    let fragmented = [frame(TEXT, b"Hel"), frame(FIN | CONTINUATION, b"lo")].concat();
    assert_eq!(outcome(&fragmented).events, [Told::text("Hello")]);
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(outcome(pong).events, [Told::Pong(b"Hello".to_vec())]);
}

#[test]
fn lengths_of_every_encoding() {
    for len in [0, 1, 7, 8, 125, 126, 127, 128, 0xffff, 0x1_0000, 0x1_0001, LIMIT] {
        let data: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
        for sizes in [&[usize::MAX][..], &[1000], &[4093]] {
            let outcome = receive_in_parts(&mut plain(), &frame(FIN | BINARY, &data), sizes);
            assert!(outcome.events == [Told::Binary(data.clone())], "{len} bytes in parts of {sizes:?}");
            assert_eq!((outcome.out.len(), outcome.left), (0, 0));
        }
    }
}

#[test]
fn every_mask_is_undone() {
    let text = "a text that is long enough for whole words and a rest";
    for mask in [[0; 4], [1, 2, 3, 4], [0xff; 4], [0x80, 0, 0, 0x7f]] {
        for end in 0..text.len() {
            let input = frame_masked_by(FIN | TEXT, &text.as_bytes()[..end], mask);
            assert_eq!(outcome(&input).events, [Told::text(&text[..end])]);
            assert_eq!(receive_in_parts(&mut plain(), &input, &[3]).events, [Told::text(&text[..end])]);
        }
    }
}

#[test]
fn a_frame_without_a_mask_is_refused() {
    for first in [FIN | TEXT, FIN | BINARY, TEXT, FIN | PING, FIN | PONG, FIN | CLOSE] {
        assert_fails(&outcome(&[first, 0]), &[], Violation::Unmasked, 1002);
    }
}

#[test]
fn reserved_bits_are_refused() {
    for bits in 1..8_u8 {
        for opcode in [TEXT, BINARY, PING, PONG, CLOSE] {
            let outcome = outcome(&frame(FIN | bits << 4 | opcode, b""));
            assert_fails(&outcome, &[], Violation::ReservedBits, 1002);
        }
        let input = [frame(TEXT, b"a"), frame(FIN | bits << 4 | CONTINUATION, b"b")].concat();
        assert_fails(&outcome(&input), &[], Violation::ReservedBits, 1002);
    }
}

#[test]
fn reserved_opcodes_are_refused() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        for first in [opcode, FIN | opcode] {
            assert_fails(&outcome(&frame(first, b"")), &[], Violation::ReservedOpcode(opcode), 1002);
        }
    }
}

#[test]
fn a_length_in_more_bytes_than_it_needs_is_refused() {
    let long: &[&[u8]] = &[
        &[FIN | BINARY, 0xfe, 0, 0],
        &[FIN | BINARY, 0xfe, 0, 125],
        &[FIN | BINARY, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
        &[FIN | BINARY, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
    ];
    for head in long {
        let outcome = outcome(&[*head, &MASK].concat());
        assert_fails(&outcome, &[], Violation::LengthNotMinimal, 1002);
    }
}

#[test]
fn a_length_of_64_bits_is_refused() {
    let head = [FIN | BINARY, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0];
    assert_fails(&outcome(&[&head[..], &MASK].concat()), &[], Violation::LengthTooLarge, 1002);
}

#[test]
fn control_frames_are_short() {
    for opcode in [PING, PONG, CLOSE] {
        let outcome = outcome(&frame(FIN | opcode, &[b'a'; 126]));
        assert_fails(&outcome, &[], Violation::LongControl, 1002);
    }
    assert_eq!(outcome(&frame(FIN | PONG, &[b'a'; 125])).events, [Told::Pong(vec![b'a'; 125])]);
}

#[test]
fn control_frames_are_whole() {
    for opcode in [PING, PONG, CLOSE] {
        assert_fails(&outcome(&frame(opcode, b"")), &[], Violation::FragmentedControl, 1002);
    }
}

#[test]
fn a_ping_is_answered_with_its_content() {
    for payload in [&b""[..], b"a", &[0xff; 125]] {
        let outcome = outcome(&frame(FIN | PING, payload));
        assert_eq!(outcome.events, [Told::Ping(payload.to_vec())]);
        assert_eq!(outcome.out, server_frame(FIN | PONG, payload));
    }
}

#[test]
fn a_pong_is_not_answered() {
    let outcome = outcome(&frame(FIN | PONG, b"unsolicited"));
    assert_eq!(outcome.events, [Told::Pong(b"unsolicited".to_vec())]);
    assert_eq!(outcome.out, b"");
}

#[test]
fn control_frames_between_fragments() {
    let input = [
        frame(TEXT, b"a"),
        frame(FIN | PING, b"1"),
        frame(CONTINUATION, b"b"),
        frame(FIN | PONG, b"2"),
        frame(FIN | PING, b"3"),
        frame(FIN | CONTINUATION, b"c"),
    ];
    let outcome = outcome(&input.concat());
    let told =
        [Told::Ping(b"1".to_vec()), Told::Pong(b"2".to_vec()), Told::Ping(b"3".to_vec()), Told::text("abc")];
    assert_eq!(outcome.events, told);
    assert_eq!(outcome.out, [server_frame(FIN | PONG, b"1"), server_frame(FIN | PONG, b"3")].concat());
}

#[test]
fn fragments_of_any_size_and_number() {
    let data: Vec<u8> = (0..3000_u32).map(|i| (i % 255) as u8).collect();
    for size in [1, 2, 125, 126, 1000, 2999] {
        let mut input = Vec::new();
        for (i, part) in data.chunks(size).enumerate() {
            input.extend(frame(if i == 0 { BINARY } else { CONTINUATION }, part));
        }
        input.extend(frame(FIN | CONTINUATION, b""));
        assert!(outcome(&input).events == [Told::Binary(data.clone())], "fragments of {size}");
    }
    let empty = [frame(BINARY, b""), frame(CONTINUATION, b""), frame(FIN | CONTINUATION, b"")].concat();
    assert_eq!(outcome(&empty).events, [Told::Binary(Vec::new())]);
}

#[test]
fn a_continuation_needs_a_message() {
    for first in [CONTINUATION, FIN | CONTINUATION] {
        assert_fails(&outcome(&frame(first, b"a")), &[], Violation::NothingToContinue, 1002);
    }
    let after_a_whole_one = [frame(FIN | TEXT, b"a"), frame(FIN | CONTINUATION, b"b")].concat();
    assert_fails(&outcome(&after_a_whole_one), &[Told::text("a")], Violation::NothingToContinue, 1002);
    let after_the_last =
        [frame(TEXT, b"a"), frame(FIN | CONTINUATION, b"b"), frame(FIN | CONTINUATION, b"c")].concat();
    assert_fails(&outcome(&after_the_last), &[Told::text("ab")], Violation::NothingToContinue, 1002);
}

#[test]
fn messages_are_not_interleaved() {
    for second in [TEXT, BINARY, FIN | TEXT, FIN | BINARY] {
        let input = [frame(TEXT, b"a"), frame(second, b"b")].concat();
        assert_fails(&outcome(&input), &[], Violation::MessageInMessage, 1002);
    }
}

#[test]
fn messages_come_in_their_order_and_kind() {
    let input = [
        frame(FIN | TEXT, "ä".as_bytes()),
        frame(FIN | BINARY, b"\xff"),
        frame(FIN | TEXT, b""),
        frame(BINARY, b"\xfe"),
        frame(FIN | CONTINUATION, b"\xfd"),
        frame(FIN | TEXT, b"z"),
    ];
    let told = [
        Told::text("ä"),
        Told::Binary(vec![0xff]),
        Told::text(""),
        Told::Binary(vec![0xfe, 0xfd]),
        Told::text("z"),
    ];
    assert_eq!(outcome(&input.concat()).events, told);
}

#[test]
fn a_fault_is_told_at_its_first_byte() {
    // One byte each: what follows can't make it right.
    for first in [FIN | 3, FIN | RSV1 | TEXT, FIN | CONTINUATION, PING] {
        let outcome = outcome(&[first]);
        assert!(matches!(outcome.events[..], [Told::Failed(_)]), "{first:#x}: {:?}", outcome.events);
    }
    assert_fails(&outcome(&[FIN | PING, 0xfe]), &[], Violation::LongControl, 1002);
}

#[test]
fn nothing_is_read_after_a_failure() {
    let mut connection = plain();
    let input = [frame(FIN | 3, b""), frame(FIN | TEXT, b"late"), frame(FIN | PING, b"")].concat();
    let first = receive(&mut connection, &input);
    assert_fails(&first, &[], Violation::ReservedOpcode(3), 1002);
    assert!(connection.is_ended());
    let later = receive(&mut connection, &frame(FIN | PING, b"later"));
    assert_eq!((later.events.len(), later.out.len(), later.left), (0, 0, 0));
}

#[test]
fn a_frame_above_the_limit_is_refused_before_its_payload_comes() {
    let violation = Violation::TooLarge { limit: 10 };
    let limited = || Connection::new(10, None);
    let head = [frame_head(FIN | BINARY, 11), MASK.to_vec()].concat();
    assert_fails(&receive(&mut limited(), &head), &[], violation, 1009);
    let head = [frame_head(FIN | TEXT, u64::MAX >> 1), MASK.to_vec()].concat();
    assert_fails(&receive(&mut limited(), &head), &[], violation, 1009);
    let fits = frame(FIN | BINARY, &[0; 10]);
    assert_eq!(receive(&mut limited(), &fits).events, [Told::Binary(vec![0; 10])]);
}

#[test]
fn fragments_above_the_limit_are_refused() {
    let violation = Violation::TooLarge { limit: 10 };
    let limited = || Connection::new(10, None);
    let head = [frame_head(CONTINUATION, 5), MASK.to_vec()].concat();
    let input = [frame(BINARY, &[0; 6]), head].concat();
    assert_fails(&receive(&mut limited(), &input), &[], violation, 1009);
    let fits = [frame(TEXT, &[b'a'; 6]), frame(FIN | CONTINUATION, &[b'b'; 4])].concat();
    let twice = [fits.clone(), fits].concat();
    assert_eq!(receive(&mut limited(), &twice).events, [Told::text("aaaaaabbbb"), Told::text("aaaaaabbbb")]);
}

#[test]
fn held_bytes_are_told() {
    let mut connection = plain();
    let _ = receive(&mut connection, &frame(BINARY, &[0; 300]));
    assert_eq!(connection.buffered(), 300);
    let _ = receive(&mut connection, &frame(FIN | CONTINUATION, &[0; 300])[..100]);
    assert_eq!(connection.buffered(), 300 + 100 - 8);
    let mut connection = plain();
    let _ = receive(&mut connection, &frame(FIN | BINARY, &[0; 300]));
    assert_eq!(connection.buffered(), 0);
}

#[test]
fn a_message_that_lies_in_the_connection_can_be_taken() {
    let mut connection = plain();
    let mut take = |input: &[u8]| {
        let mut input = input.to_vec();
        let received = connection.receive(&mut input, &mut Vec::new());
        let (consumed, whole) = (received.consumed, received.event.is_some());
        let assembled = connection.take_assembled();
        (assembled, whole, consumed)
    };
    let whole = frame(FIN | TEXT, b"in one frame");
    assert_eq!(take(&whole), (None, true, whole.len()));
    assert_eq!(take(&frame(TEXT, b"in ")), (None, false, 9));
    assert_eq!(take(&frame(FIN | PING, b"")), (None, true, 6));
    assert_eq!(take(&frame(FIN | CONTINUATION, b"two")), (Some(b"in two".to_vec()), true, 9));
    assert_eq!(take(&frame(FIN | PING, b"")), (None, true, 6));
    assert_eq!(take(&whole[..8]), (None, false, 8));
    assert_eq!(take(&whole[8..]), (Some(b"in one frame".to_vec()), true, whole.len() - 8));
}
