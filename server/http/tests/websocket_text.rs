//! Text is UTF-8, across fragments and at the first wrong byte (RFC 6455 §5.6, §8.1).

mod websocket_client;

use podicorn_http::websocket::Violation;
use websocket_client::*;

/// Of each: UTF-8 up to here, and the byte that can't follow.
const WRONG: &[(&[u8], u8)] = &[
    (b"", 0x80),
    (b"", 0xc0),
    (b"", 0xc1),
    (b"", 0xf5),
    (b"", 0xff),
    (b"\xc3", b'a'),
    (b"\xe0", 0x9f),
    (b"\xed", 0xa0),
    (b"\xef\xbf", 0xc0),
    (b"\xf0", 0x8f),
    (b"\xf4", 0x90),
    (b"\xf0\x9f\x98", 0x7f),
    ("κόσμε".as_bytes(), 0xbf),
];

#[test]
fn text_of_every_width() {
    for text in
        ["", "a", "κόσμε", "\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}", "\0"]
    {
        let input = frame(FIN | TEXT, text.as_bytes());
        assert_eq!(outcome(&input).events, [Told::text(text)]);
        assert_eq!(receive_in_parts(&mut plain(), &input, &[1]).events, [Told::text(text)]);
    }
}

#[test]
fn a_character_may_be_divided_between_fragments() {
    let text = "aä€😀z";
    for at in 0..=text.len() {
        for second in at..=text.len() {
            let bytes = text.as_bytes();
            let input = [
                frame(TEXT, &bytes[..at]),
                frame(CONTINUATION, &bytes[at..second]),
                frame(FIN | CONTINUATION, &bytes[second..]),
            ];
            assert_eq!(outcome(&input.concat()).events, [Told::text(text)]);
        }
    }
}

#[test]
fn wrong_text_is_refused() {
    for (start, byte) in WRONG {
        let text = [*start, &[*byte], b"and more"].concat();
        assert_fails(&outcome(&frame(FIN | TEXT, &text)), &[], Violation::NotUtf8, 1007);
        for at in 0..text.len() {
            let input = [frame(TEXT, &text[..at]), frame(FIN | CONTINUATION, &text[at..])].concat();
            assert_fails(&outcome(&input), &[], Violation::NotUtf8, 1007);
        }
    }
}

#[test]
fn wrong_text_is_refused_at_its_first_wrong_byte() {
    for (start, byte) in WRONG {
        let mut connection = plain();
        let whole = frame(TEXT, &[*start, &[*byte], &[b' '; 40]].concat());
        let (before, rest) = whole.split_at(6 + start.len());
        assert_eq!(receive(&mut connection, before).events, []);
        assert_fails(&receive(&mut connection, &rest[..1]), &[], Violation::NotUtf8, 1007);
    }
}

#[test]
fn a_message_does_not_end_inside_a_character() {
    for text in [&b"\xc3"[..], b"a\xe2\x82", b"\xf0\x9f\x98"] {
        assert_fails(&outcome(&frame(FIN | TEXT, text)), &[], Violation::NotUtf8, 1007);
        let input = [frame(TEXT, text), frame(FIN | CONTINUATION, b"")].concat();
        assert_fails(&outcome(&input), &[], Violation::NotUtf8, 1007);
    }
}

#[test]
fn binary_data_is_not_text() {
    for (start, byte) in WRONG {
        let data = [*start, &[*byte]].concat();
        assert_eq!(outcome(&frame(FIN | BINARY, &data)).events, [Told::Binary(data.clone())]);
    }
}
