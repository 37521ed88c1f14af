//! Bodies: the chunked coding and its limits, and bodies with a length.
#![allow(clippy::panic, clippy::unwrap_used)] // in the helpers of tests, which clippy does not see as tests

use podicorn_http::{BodyDecoder, BodyKind, Limits, ParserConfig, RejectReason};

/// The body, the trailers as text, and the number of bytes behind it.
type Decoded = (Vec<u8>, String, usize);

fn decode(input: &[u8], cfg: &ParserConfig) -> Result<Option<Decoded>, (u16, String)> {
    let mut decoder = BodyDecoder::new(BodyKind::Chunked, cfg);
    let mut out = Vec::new();
    let progress =
        decoder.decode(input, &mut out, usize::MAX).map_err(|reject| (reject.status, reject.to_string()))?;
    let trailers = decoder.trailers().map(|(_, name, value)| {
        format!("{}={};", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    });
    Ok(progress.done.then(|| (out, trailers.collect(), input.len() - progress.consumed)))
}

fn body(input: &[u8]) -> Vec<u8> {
    match decode(input, &ParserConfig::default()) {
        Ok(Some((body, _, 0))) => body,
        other => panic!("{}: {other:?}", input.escape_ascii()),
    }
}

#[test]
fn chunks() {
    assert_eq!(body(b"0\r\n\r\n"), b"");
    assert_eq!(body(b"5\r\nhello\r\n0\r\n\r\n"), b"hello");
    assert_eq!(body(b"5\r\nhello\r\n000006\r\n world\r\n000\r\n\r\n"), b"hello world");
    assert_eq!(body(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"), b"01234567890123456789");
    assert_eq!(body(b"00000000000000000000000002\r\n\r\n\r\n0\r\n\r\n"), b"\r\n");
}

#[test]
fn chunk_sizes_are_strict() {
    let table: &[(&[u8], &str)] = &[
        (b"\r\n", "no digits"),
        (b";a\r\n", "no digits"),
        (b" 5\r\n", "byte 0x20"),
        (b"5 \r\n", "byte 0x0d"),
        (b"5\n", "byte 0x0a"),
        (b"5\rx", "byte 0x78"),
        (b"+5\r\n", "byte 0x2b"),
        (b"-1\r\n", "byte 0x2d"),
        (b"0x5\r\n", "byte 0x78"),
        (b"5_0\r\n", "byte 0x5f"),
        (b"g\r\n", "byte 0x67"),
        (b"\xb2\r\n", "byte 0xb2"),
        (b"10000000000000000\r\n", "64 bits"),
        (b"1\r\nx\r\nffffffffffffffff\r\n", "64 bits"),
        (b"1\r\nxx", "byte 0x78"),
        (b"1\r\nx\n", "byte 0x0a"),
        (b"1\r\nx\rx", "byte 0x78"),
        (b"0\r\n\n", "bare LF"),
    ];
    for (input, reason) in table {
        let (status, text) = decode(input, &ParserConfig::default()).unwrap_err();
        assert_eq!(status, 400, "{}", input.escape_ascii());
        assert!(text.contains(reason), "{}: {text}", input.escape_ascii());
    }
}

#[test]
fn chunk_extensions() {
    for ext in [
        ";a",
        ";a=b",
        ";a=\"b\"",
        ";a=\"b;\\\"c\u{e9}\t\"",
        ";a=\"\"",
        ";a;b=c ; d = \"e\"",
        " ;a",
        "\t ; a = b",
    ] {
        assert_eq!(body(format!("1{ext}\r\nx\r\n0{ext}\r\n\r\n").as_bytes()), b"x", "{ext:?}");
    }
    for ext in [
        ";",
        ";=b",
        ";a=",
        ";a=b c",
        ";a\u{1}",
        ";a=b\u{7f}",
        ";a@b",
        ";a ",
        ";a=b ",
        ";a=\"b",
        ";a=\"b\"c",
        ";a=\"\n\"",
        ";a\rb",
        ";a=\"\rb\"",
        ";a\n",
        ";;a",
    ] {
        let (status, text) =
            decode(format!("1{ext}\r\nx\r\n0\r\n\r\n").as_bytes(), &ParserConfig::default()).unwrap_err();
        assert_eq!(status, 400);
        assert!(text.contains("chunk"), "{ext:?}: {text}");
    }
}

#[test]
fn chunk_limits() {
    let mut cfg = ParserConfig::default();
    cfg.limits.chunk_extensions = 10;
    assert!(decode(b"1;234567890\r\nx\r\n0\r\n\r\n", &cfg).unwrap().is_some());
    assert_eq!(decode(b"1;2345678901", &cfg).unwrap_err().0, 400);
    let split = decode(b"1;2345\r\nx\r\n1;23456\r\nx\r\n0\r\n\r\n", &cfg);
    assert_eq!(split.unwrap_err().0, 400, "all extensions of a body count together");

    let cfg = ParserConfig { limits: Limits::from_settings(4094, 2, 12), ..ParserConfig::default() };
    assert!(decode(b"000000000001\r\nx\r\n0\r\n\r\n", &cfg).unwrap().is_some());
    assert_eq!(decode(b"0000000000001", &cfg).unwrap_err().0, 400);
    assert!(decode(b"0\r\nA: 4567890\r\nB: 1\r\n\r\n", &cfg).unwrap().is_some());
    assert_eq!(decode(b"0\r\nA: 456789012", &cfg).unwrap_err().0, 431);
    assert_eq!(decode(b"0\r\nA: 1\r\nB: 1\r\nC: 1\r\n\r\n", &cfg).unwrap_err().0, 431);

    let mut cfg = ParserConfig::default();
    cfg.limits.body = Some(5);
    assert!(decode(b"5\r\nhello\r\n0\r\n\r\n", &cfg).unwrap().is_some());
    assert_eq!(decode(b"6\r\n", &cfg).unwrap_err().0, 413);
    assert_eq!(decode(b"5\r\nhello\r\n1\r\n", &cfg).unwrap_err().0, 413);
}

#[test]
fn trailers_are_kept() {
    let input = b"1\r\nx\r\n0\r\nVary: *\r\nX-Sum:  a b \r\n\r\nGET /";
    let (body, trailers, rest) = decode(input, &ParserConfig::default()).unwrap().unwrap();
    assert_eq!((body.as_slice(), trailers.as_str(), rest), (&b"x"[..], "Vary=*;X-Sum=a b;", 5));
}

#[test]
fn trailers_are_strict() {
    let table: &[(&str, &str)] = &[
        ("Host: a\r\n", "not allowed in a trailer"),
        ("content-length: 1\r\n", "not allowed in a trailer"),
        ("Transfer-Encoding: chunked\r\n", "not allowed in a trailer"),
        ("TE: x\r\n", "not allowed in a trailer"),
        ("Trailer: x\r\n", "not allowed in a trailer"),
        ("Authorization: x\r\n", "not allowed in a trailer"),
        ("Content-Type: a\r\nContent-Type: a\r\n", "more than one Content-Type"),
        ("X : 1\r\n", "header name"),
        ("X: 1\n", "bare LF"),
        ("X: 1\r\n 2\r\n", "folding"),
        ("X\r\n", "header line"),
        ("X: \0\r\n", "value"),
    ];
    for (trailers, reason) in table {
        let input = format!("0\r\n{trailers}\r\n");
        let (status, text) = decode(input.as_bytes(), &ParserConfig::default()).unwrap_err();
        assert_eq!(status, 400, "{trailers:?}");
        assert!(text.contains(reason), "{trailers:?}: {text}");
    }
}

#[test]
fn a_body_with_a_length() {
    let mut decoder = BodyDecoder::new(BodyKind::Length(5), &ParserConfig::default());
    let mut out = Vec::new();
    let progress = decoder.decode(b"hel", &mut out, 2).unwrap();
    assert_eq!((progress.consumed, progress.done, decoder.remaining()), (2, false, Some(3)));
    assert!(decoder.end_of_input().is_err());
    let progress = decoder.decode(b"l", &mut out, 100).unwrap();
    assert_eq!((progress.consumed, progress.done), (1, false));
    let progress = decoder.decode(b"lo!GET /", &mut out, 100).unwrap();
    assert_eq!((progress.consumed, progress.done, decoder.remaining()), (2, true, Some(0)));
    assert_eq!(out, b"hello");
    assert!(decoder.end_of_input().is_ok());
}

#[test]
fn what_was_received_elsewhere_counts() {
    let mut decoder = BodyDecoder::new(BodyKind::Length(5), &ParserConfig::default());
    decoder.received(3);
    assert_eq!((decoder.remaining(), decoder.is_done()), (Some(2), false));
    let progress = decoder.decode(b"", &mut Vec::new(), 100).unwrap();
    assert_eq!((progress.consumed, progress.done), (0, false));
    decoder.received(2);
    let progress = decoder.decode(b"", &mut Vec::new(), 100).unwrap();
    assert_eq!((progress.consumed, progress.done), (0, true));
    assert!(decoder.end_of_input().is_ok());
}

#[test]
fn no_body_takes_nothing() {
    for kind in [BodyKind::None, BodyKind::Length(0)] {
        let mut decoder = BodyDecoder::new(kind, &ParserConfig::default());
        assert!(decoder.is_done());
        let progress = decoder.decode(b"GET /", &mut Vec::new(), 100).unwrap();
        assert_eq!((progress.consumed, progress.done), (0, true));
    }
}

#[test]
fn output_is_bounded_and_a_decoder_is_reused() {
    let cfg = ParserConfig::default();
    let mut decoder = BodyDecoder::new(BodyKind::Chunked, &cfg);
    for _ in 0..2 {
        let mut input = &b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nT: 1\r\n\r\nrest"[..];
        let mut out = Vec::new();
        loop {
            let before = out.len();
            let progress = decoder.decode(input, &mut out, 4).unwrap();
            assert!(out.len() - before <= 4);
            input = &input[progress.consumed..];
            if progress.done {
                break;
            }
            assert!(out.len() > before, "no progress");
        }
        assert_eq!((out.as_slice(), input), (&b"hello world"[..], &b"rest"[..]));
        assert_eq!(decoder.trailers().count(), 1);
        decoder.start(BodyKind::Chunked, &cfg);
        assert_eq!(decoder.trailers().count(), 0);
    }
}

#[test]
fn trailers_are_not_those_of_the_body_before() {
    let cfg = ParserConfig::default();
    let mut decoder = BodyDecoder::new(BodyKind::Chunked, &cfg);
    let _ = decoder.decode(b"0\r\nT: 1\r\n\r\n", &mut Vec::new(), 9).unwrap();
    assert_eq!(decoder.trailers().count(), 1);
    for kind in [BodyKind::None, BodyKind::Length(0)] {
        decoder.start(kind, &cfg);
        assert_eq!(decoder.trailers().count(), 0);
    }
}

#[test]
fn an_error_stays() {
    let mut decoder = BodyDecoder::new(BodyKind::Chunked, &ParserConfig::default());
    let first = decoder.decode(b"zz", &mut Vec::new(), 9).unwrap_err();
    let second = decoder.decode(b"5\r\nhello\r\n", &mut Vec::new(), 9).unwrap_err();
    assert_eq!(first, second);
    assert!(!decoder.is_done());
}

#[test]
fn a_truncated_body_is_told() {
    let mut decoder = BodyDecoder::new(BodyKind::Chunked, &ParserConfig::default());
    let _ = decoder.decode(b"0\r\n", &mut Vec::new(), 9).unwrap();
    let reject = decoder.end_of_input().unwrap_err();
    assert_eq!((reject.status, reject.reason), (400, RejectReason::BodyTruncated));
}
