//! The body decoder: the body does not depend on how the bytes are split or how much is taken at a time, it is
//! what an independent decoder sees, and what the chunk writer writes is read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podicorn_http::response::{CRLF, LAST_CHUNK, write_chunk, write_chunk_size};
use podicorn_http::{BodyDecoder, BodyKind, ChunkedDecoder, HeaderMap, ParserConfig, Reject, RejectReason};
use podicorn_http_fuzz::bytes::Bytes;
use podicorn_http_fuzz::config::{take, take_rules};
use podicorn_http_fuzz::reader::{self, Chunked, Read, passes};
use podicorn_http_fuzz::splits;
use podicorn_http_fuzz::told::{Field, check_reject, owned};

fuzz_target!(|input: &[u8]| {
    let (rules, rest) = take_rules(input);
    // One byte says which kind of body, one how much is taken at a time.
    let ([kind, step], data) = take(rest);
    let kind = match kind % 4 {
        0 => BodyKind::Chunked,
        1 => BodyKind::Length(u64::from(kind / 4)),
        2 => BodyKind::Length(u64::MAX),
        _ => BodyKind::None,
    };
    let step = usize::from(step % 32) + 1;

    let mut decoder = BodyDecoder::default();
    let whole = decode(&mut decoder, [data], usize::MAX, kind, &rules.cfg);
    check_splits(&mut decoder, data, step, kind, &rules.cfg, &whole);
    if let Err((reject, _)) = &whole {
        check_reject(reject, &rules);
        assert_ne!(reject.status, 421, "only a head names a resource");
    }
    match kind {
        BodyKind::Chunked => check_reading(data, &rules.cfg, &whole),
        BodyKind::None => check_length(data, 0, &whole),
        BodyKind::Length(length) => check_length(data, length, &whole),
    }
    check_written(&mut decoder, data, step);
});

#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    body: Bytes,
    consumed: usize,
    done: bool,
    remaining: Option<u64>,
    trailers: Vec<Field>,
}

/// An error comes with the body up to it.
type Outcome = Result<Decoded, (Reject, Bytes)>;

/// Gives the decoder the parts one after the other and takes `max_out` bytes at a time.
fn decode<'a>(
    decoder: &mut BodyDecoder,
    parts: impl IntoIterator<Item = &'a [u8]>,
    max_out: usize,
    kind: BodyKind,
    cfg: &ParserConfig,
) -> Outcome {
    decoder.start(kind, cfg);
    let mut body = Vec::new();
    let mut consumed = 0;
    for mut part in parts {
        while !part.is_empty() {
            let before = body.len();
            let progress = match decoder.decode(part, &mut body, max_out) {
                Ok(progress) => progress,
                Err(reject) => {
                    let again = decoder.decode(b"0\r\n\r\n", &mut body, max_out);
                    assert_eq!(again.as_ref(), Err(&reject), "an error stays");
                    assert!(!decoder.is_done() && decoder.end_of_input().is_err());
                    return Err((reject, Bytes(body)));
                }
            };
            let delivered = body.len() - before;
            assert!(
                progress.consumed <= part.len() && delivered <= progress.consumed && delivered <= max_out
            );
            assert_eq!(progress.done, decoder.is_done());
            consumed += progress.consumed;
            part = &part[progress.consumed..];
            if progress.done {
                break;
            }
            assert!(part.is_empty() || delivered == max_out, "input is left without a reason");
        }
    }
    let done = decoder.is_done();
    assert_eq!(decoder.end_of_input().is_ok(), done);
    if done {
        let length = body.len();
        let progress = decoder.decode(b"0\r\n\r\nnext", &mut body, max_out).expect("nothing is looked at");
        assert_eq!((progress.consumed, progress.done, body.len()), (0, true, length), "done stays");
    }
    Ok(Decoded {
        body: Bytes(body),
        consumed,
        done,
        remaining: decoder.remaining(),
        trailers: owned(decoder.trailers()),
    })
}

fn check_splits(
    decoder: &mut BodyDecoder,
    data: &[u8],
    step: usize,
    kind: BodyKind,
    cfg: &ParserConfig,
    whole: &Outcome,
) {
    for at in splits::points(data) {
        let (first, second) = data.split_at(at);
        assert_eq!(&decode(decoder, [first, second], usize::MAX, kind, cfg), whole, "split at {at}");
        match (decode(decoder, [first], usize::MAX, kind, cfg), whole) {
            (Ok(part), Ok(whole)) => assert_eq!(
                (&part.body[..], part.consumed, part.done),
                (&whole.body[..part.body.len()], at.min(whole.consumed), whole.done && at >= whole.consumed),
                "the first {at} bytes"
            ),
            (Ok(part), Err((_, body))) => {
                assert!(!part.done && body.starts_with(&part.body), "the first {at} bytes");
            }
            (Err(part), Err(whole)) => assert_eq!(&part, whole, "the first {at} bytes"),
            (part, whole) => panic!("the first {at} bytes: {part:?}, all: {whole:?}"),
        }
    }
    let chunks = |size| data.chunks(size);
    assert_eq!(&decode(decoder, chunks(1), usize::MAX, kind, cfg), whole, "byte by byte");
    assert_eq!(&decode(decoder, chunks(step), step.div_ceil(2), kind, cfg), whole, "{step} at a time");
    assert_eq!(&decode(decoder, [data], step, kind, cfg), whole, "{step} taken at a time");
    assert_eq!(&decode(&mut BodyDecoder::default(), [data], usize::MAX, kind, cfg), whole, "a fresh decoder");
}

fn check_length(data: &[u8], length: u64, whole: &Outcome) {
    let whole = whole.as_ref().expect("there is nothing to refuse");
    let taken = data.len().min(usize::try_from(length).unwrap_or(usize::MAX));
    assert_eq!((&whole.body[..], whole.consumed), (&data[..taken], taken));
    assert_eq!((whole.remaining, whole.done), (Some(length - taken as u64), taken as u64 == length));
    assert!(whole.trailers.is_empty());
}

/// The verdict is that of an independent reader, and a limit is the reason just if it is exceeded.
fn check_reading(data: &[u8], cfg: &ParserConfig, whole: &Outcome) {
    let read = reader::chunked(data, cfg);
    let limit = cfg.limits.body.unwrap_or(u64::MAX);
    match (whole, read) {
        (Ok(whole), Read::Complete(read)) => {
            let passing = read.trailers.fields.iter().filter(|field| passes(&field.0, cfg, false));
            let trailers: Vec<_> =
                whole.trailers.iter().map(|(_, name, value)| (name.clone(), value.clone())).collect();
            assert_eq!((whole.done, whole.consumed), (true, read.len));
            assert_eq!((&whole.body, trailers), (&read.body, passing.cloned().collect()));
            assert!(whole.body.len() as u64 <= limit);
            assert!(read.longest <= cfg.limits.field_size, "{read:?}");
            assert!(read.extensions <= cfg.limits.chunk_extensions, "{read:?}");
            assert!(read.trailers.longest <= cfg.limits.field_size, "{read:?}");
            assert!(whole.trailers.len() <= cfg.limits.fields);
            let mut decoder = ChunkedDecoder::new(cfg);
            let progress = decoder.decode(data, &mut Vec::new(), usize::MAX).expect("it was accepted before");
            assert_eq!((progress.done, decoder.decoded()), (true, read.body.len() as u64));
        }
        (Ok(whole), Read::Incomplete) => {
            assert!(!whole.done && whole.trailers.iter().all(|field| passes(&field.1, cfg, false)));
            assert_eq!((whole.consumed, whole.remaining), (data.len(), None));
            assert!(whole.body.len() as u64 <= limit);
        }
        (Ok(whole), Read::Invalid) => panic!("accepted, but invalid: {whole:?}"),
        (Err((reject, _)), Read::Complete(read)) => {
            assert!(is_policy(reject, &read, cfg), "refused, but valid: {reject:?}");
        }
        (Err((_, body)), _) => assert!(body.len() as u64 <= limit),
    }
}

/// Whether a refusal of a valid body comes from a limit that is exceeded or a rule beyond the grammar.
fn is_policy(reject: &Reject, read: &Chunked, cfg: &ParserConfig) -> bool {
    let limits = &cfg.limits;
    let trailers = &read.trailers;
    let has = |names: &[&str]| {
        let mut fields = trailers.fields.iter();
        fields.any(|field| names.iter().any(|name| field.0.eq_ignore_ascii_case(name.as_bytes())))
    };
    match &reject.reason {
        RejectReason::BodyTooLarge { .. } => limits.body.is_some_and(|limit| read.body.len() as u64 > limit),
        RejectReason::FieldTooLarge { .. } => trailers.longest > limits.field_size,
        RejectReason::TooManyFields { .. } => trailers.fields.len() > limits.fields,
        RejectReason::SectionTooLarge { .. } => trailers.len > limits.fields * limits.field_size,
        RejectReason::ForbiddenTrailer(_) => {
            has(&["host", "content-length", "transfer-encoding", "trailer", "authorization", "te"])
        }
        RejectReason::Repeated(_) => has(&["content-type"]),
        RejectReason::FieldName(_) => {
            let underscore = trailers.fields.iter().any(|field| field.0.contains(&b'_'));
            cfg.header_map == HeaderMap::Refuse && underscore
        }
        RejectReason::ChunkSize(_) => read.longest > limits.field_size,
        RejectReason::ChunkExtension(_) => read.extensions > limits.chunk_extensions,
        _ => false,
    }
}

/// `data`, cut into chunks of up to `step` bytes and written, is read back to the byte.
fn check_written(decoder: &mut BodyDecoder, data: &[u8], step: usize) {
    let mut wire = Vec::new();
    for (index, chunk) in data.chunks(step).enumerate() {
        if index % 2 == 0 {
            write_chunk(&mut wire, chunk);
        } else {
            write_chunk_size(&mut wire, chunk.len());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(CRLF);
        }
        write_chunk(&mut wire, b"");
    }
    wire.extend_from_slice(LAST_CHUNK);
    let consumed = wire.len();
    wire.extend_from_slice(b"GET /next");
    let expected =
        Decoded { body: Bytes::of(data), consumed, done: true, remaining: Some(0), trailers: Vec::new() };
    let cfg = ParserConfig::default();
    assert_eq!(decode(decoder, [&wire[..]], usize::MAX, BodyKind::Chunked, &cfg), Ok(expected));
    let Read::Complete(read) = reader::chunked(&wire, &cfg) else { panic!("not a chunked body") };
    assert_eq!((&read.body[..], read.len), (data, consumed));
}
