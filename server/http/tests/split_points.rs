//! Properties: no verdict depends on how the bytes were split, and what is written is read back the same.
#![allow(clippy::panic, clippy::unwrap_used)] // in the helpers of tests, which clippy does not see as tests

use podicorn_http::response::{
    Exchange, Framing, LAST_CHUNK, RequestMethod, ResponseHead, decide_framing, write_chunk,
};
use podicorn_http::{
    BodyDecoder, BodyKind, Head, HeaderMap, Leniency, Limits, ParserConfig, Reject, Version, parse_head,
    parse_head_into,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Pieces that requests, good and bad, are made of.
const PIECES: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\n",
    b"POST /a?b HTTP/1.0\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"get http://h/ HTTP/2.0\r\n",
    b"GET ",
    b"/x",
    b"*",
    b" ",
    b"HTTP/1.1",
    b"HTTP/1.10",
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b"Host: a\r\n",
    b"Host: a b\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: x\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Transfer-Encoding: foo\r\n",
    b"Expect: 100-continue\r\n",
    b"Expect: x\r\n",
    b"Connection: close\r\n",
    b"X_Y: 1\r\n",
    b" folded\r\n",
    b"X-Forwarded-Proto: https\r\n",
    b"X-Forwarded-SSL: off\r\n",
    b"Content-Type: a\r\n",
    b"X : 1\r\n",
    b":",
    b"\t",
    b"\0",
    b"\xff",
    b"Long: 0123456789012345678901234567890123456789\r\n",
];

const CHUNK_PIECES: &[&[u8]] = &[
    b"5\r\nhello\r\n",
    b"1;a=b\r\nx\r\n",
    b"A\r\n0123456789\r\n",
    b"0\r\n",
    b"\r\n",
    b"0\r\n\r\n",
    b"3 ;a=\"q\\\"\"\r\nabc\r\n",
    b"T: 1\r\n",
    b"Host: a\r\n",
    b" fold\r\n",
    b"f",
    b";",
    b"=",
    b"\"",
    b"\r",
    b"\n",
    b" ",
    b"x",
    b"ffffffffffffffff",
];

fn bytes(pieces: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![9 => select(pieces).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 1..4)], 0..12)
        .prop_map(|pieces| pieces.concat())
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let whole = vec(select(&PIECES[15..36]), 0..5)
        .prop_map(|lines| [b"GET / HTTP/1.1\r\nHost: a\r\n", lines.concat().as_slice(), b"\r\n"].concat());
    prop_oneof![bytes(PIECES), whole]
}

fn config() -> impl Strategy<Value = ParserConfig> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let map = select(&[HeaderMap::Drop, HeaderMap::Refuse, HeaderMap::Dangerous]);
    let limits = select(&[(4094, 100, 8190), (20, 3, 30), (16, 1, 12), (4094, 2, 1)]);
    (flags, map, limits).prop_map(
        |((strip, fold, method, version, case), header_map, (line, fields, size))| ParserConfig {
            limits: Limits::from_settings(line, fields, size),
            leniency: Leniency {
                strip_header_spaces: strip,
                permit_obsolete_folding: fold,
                permit_unconventional_http_method: method,
                permit_unconventional_http_version: version,
                casefold_http_method: case,
            },
            header_map,
            ..ParserConfig::default()
        },
    )
}

/// All that a head says, for comparison.
fn told(head: &Head, buf: &[u8]) -> impl PartialEq + std::fmt::Debug + use<> {
    let fields: Vec<_> =
        head.fields(buf).map(|(kind, name, value)| (kind, name.to_vec(), value.to_vec())).collect();
    let parts = [head.method(buf), head.target(buf), head.path(buf), head.query(buf)].map(<[u8]>::to_vec);
    let flags = (head.keep_alive(), head.expect_continue(), head.forwarded_scheme(), head.version());
    (parts, fields, flags, head.body(), head.len(), head.host(buf).map(<[u8]>::to_vec))
}

/// Bytes that matter in a response head, good and bad.
fn response_byte() -> impl Strategy<Value = u8> {
    prop_oneof![6 => select(b"aZ09-_".as_slice()), 3 => select(b" \t\xe9".as_slice()), 1 => any::<u8>()]
}

fn trim(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|&byte| !matches!(byte, b' ' | b'\t')).unwrap_or(value.len());
    let end = value.iter().rposition(|&byte| !matches!(byte, b' ' | b'\t')).map_or(start, |last| last + 1);
    &value[start..end]
}

type Decoded = Result<(Vec<u8>, usize, bool, Vec<(Vec<u8>, Vec<u8>)>), Reject>;

/// Decodes `input`, given in parts of these sizes in turn.
fn decode(input: &[u8], sizes: &[usize], max_out: usize, cfg: &ParserConfig) -> Decoded {
    let mut decoder = BodyDecoder::new(BodyKind::Chunked, cfg);
    let (mut out, mut pos, mut end) = (Vec::new(), 0, 0);
    let mut sizes = sizes.iter().cycle();
    while end < input.len() || pos < end {
        if pos == end {
            end = (end + sizes.next().copied().unwrap_or(1).max(1)).min(input.len());
        }
        let progress = decoder.decode(&input[pos..end], &mut out, max_out)?;
        pos += progress.consumed;
        if progress.done {
            break;
        }
    }
    let trailers = decoder.trailers().map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect();
    Ok((out, pos, decoder.is_done(), trailers))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_prefix_of_a_head_gets_no_other_verdict(buf in request(), cfg in config(), trusted: bool) {
        let whole = parse_head(&buf, &cfg, trusted);
        let mut resumed = Head::default();
        let mut settled = false;
        for end in 0..=buf.len() {
            let part = parse_head(&buf[..end], &cfg, trusted);
            if !settled {
                let step = parse_head_into(&mut resumed, &buf[..end], &cfg, trusted);
                prop_assert_eq!(step.clone(), part.as_ref().map(Option::is_some).map_err(Clone::clone));
                settled = step != Ok(false);
            }
            match (&whole, part) {
                (_, Ok(None)) => prop_assert!(!settled),
                (Err(whole), Err(part)) => prop_assert_eq!(whole, &part),
                (Ok(Some(whole)), Ok(Some(part))) => {
                    prop_assert_eq!(told(whole, &buf), told(&part, &buf[..end]));
                    prop_assert_eq!(told(whole, &buf), told(&resumed, &buf[..end]));
                }
                (whole, part) => prop_assert!(false, "whole: {whole:?}, first {end} bytes: {part:?}"),
            }
        }
        prop_assert_eq!(settled, !matches!(whole, Ok(None)));
    }

    #[test]
    fn a_chunked_body_is_the_same_at_every_split(
        input in bytes(CHUNK_PIECES),
        cfg in config(),
        sizes in vec(1_usize..9, 1..4),
        max_out in 1_usize..8,
    ) {
        let whole = decode(&input, &[usize::MAX / 2], usize::MAX, &cfg);
        prop_assert_eq!(&decode(&input, &[1], usize::MAX, &cfg), &whole);
        prop_assert_eq!(&decode(&input, &sizes, max_out, &cfg), &whole);
        for at in 1..input.len() {
            prop_assert_eq!(&decode(&input, &[at, usize::MAX / 2], usize::MAX, &cfg), &whole);
        }
    }

    #[test]
    fn written_chunks_are_read_back(parts in vec(vec(any::<u8>(), 0..300), 0..6), size in 1_usize..50) {
        let mut wire = Vec::new();
        for part in &parts {
            write_chunk(&mut wire, part);
        }
        wire.extend_from_slice(LAST_CHUNK);
        let (body, consumed, done, _) = decode(&wire, &[size], 64, &ParserConfig::default()).unwrap();
        prop_assert_eq!((body, consumed, done), (parts.concat(), wire.len(), true));
    }

    #[test]
    fn no_application_field_breaks_the_head(
        reason in vec(response_byte(), 0..6),
        fields in vec((vec(response_byte(), 1..4), vec(response_byte(), 0..6)), 0..5),
        method in select(&[RequestMethod::Head, RequestMethod::Other]),
        keep_alive: bool,
    ) {
        let mut head = ResponseHead::new();
        if head.set_status(&[b"200 ", reason.as_slice()].concat()).is_err() {
            head.set_status(b"200 OK").unwrap();
        }
        let taken: Vec<_> = fields.iter().filter(|(name, value)| head.add_header(name, value).is_ok()).collect();
        let length = head.content_length();
        let exchange =
            Exchange { version: Version::HTTP_11, method, status: 200, content_length: length, keep_alive };
        let decision = decide_framing(&exchange);
        let mut out = Vec::new();
        head.write(&mut out, &decision, b"s", b"d");
        let ends: Vec<usize> = memchr::memmem::find_iter(&out, b"\r\n\r\n").collect();
        prop_assert_eq!(ends, vec![out.len() - 4], "one head, and nothing behind it");

        let mut slots = [httparse::EMPTY_HEADER; 16];
        let mut read = httparse::Response::new(&mut slots);
        prop_assert_eq!(read.parse(&out), Ok(httparse::Status::Complete(out.len())));
        prop_assert_eq!(read.code, Some(200));
        let own = 3 + usize::from(decision.framing == Framing::Chunked);
        let read: Vec<_> = read.headers[own..].iter().map(|field| (field.name.as_bytes(), field.value)).collect();
        let sent: Vec<_> = taken.iter().map(|(name, value)| (name.as_slice(), trim(value))).collect();
        prop_assert_eq!(read, sent);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(buf in vec(any::<u8>(), 0..200), cfg in config(), trusted: bool) {
        let _ = parse_head(&buf, &cfg, trusted);
        let _ = decode(&buf, &[7], 3, &cfg);
    }
}
