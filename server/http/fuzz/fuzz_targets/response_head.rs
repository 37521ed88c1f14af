//! The writer of responses: whatever an application gives, what goes out is one head with just the fields that it
//! may send, and a body that ends where the head says. A model of the rules says what must go out, `httparse` and
//! a plain reader read it back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podicorn_http::date::{DATE_LEN, DateCache};
use podicorn_http::response::{
    CONTINUE, Decision, Exchange, Framing, LAST_CHUNK, RequestMethod, ResponseHead, decide_framing,
    reason_phrase, write_chunk, write_early_hints, write_error,
};
use podicorn_http::{BodyDecoder, BodyKind, ParserConfig, Version};
use podicorn_http_fuzz::bytes::Bytes;
use podicorn_http_fuzz::config::take;
use podicorn_http_fuzz::grammar::{find, is_field_text, is_token, number, trim};
use podicorn_http_fuzz::reader::{Field, Read, section};

/// Between the parts of an input: the status, then the fields, at last the body.
const RECORD: u8 = 0x1e;
/// Between a field's name and its value.
const UNIT: u8 = 0x1f;

fuzz_target!(|input: &[u8]| {
    // Four bytes: of the exchange; of the length that the server knows; two of the time.
    let ([about, length, high, low], rest) = take(input);
    let mut records: Vec<&[u8]> = rest.split(|&byte| byte == RECORD).collect();
    let body = if records.len() > 1 { records.pop().unwrap_or_default() } else { b"" };
    let status = records.remove(0);
    let fields: Vec<(&[u8], &[u8])> = records
        .into_iter()
        .map(|record| {
            let end = record.iter().position(|&byte| byte == UNIT).unwrap_or(record.len());
            (&record[..end], record.get(end + 1..).unwrap_or_default())
        })
        .collect();

    let mut head = ResponseHead::new();
    let mut model = Model::default();
    fill(&mut head, &mut model, status, &fields);
    check_told(&head, &model);

    let given = if length & 1 == 1 { model.length.or(Some(body.len() as u64)) } else { model.length };
    let exchange = Exchange {
        version: if about & 1 == 0 { Version::HTTP_11 } else { Version::HTTP_10 },
        method: [RequestMethod::Other, RequestMethod::Head, RequestMethod::Connect, RequestMethod::Other]
            [usize::from(about >> 1 & 3)],
        status: head.status(),
        content_length: given,
        keep_alive: about >> 3 & 1 == 0,
    };
    let server: &[u8] = if about >> 4 & 1 == 0 { b"podicorn" } else { b"" };
    let mut dates = DateCache::new();
    let date = dates.at(u64::from(high) << 30 | u64::from(low) << 14).to_vec();
    assert_eq!(date.len(), DATE_LEN);

    let decision = decide_framing(&exchange);
    check_decision(&exchange, &decision);
    let mut out = b"before".to_vec();
    head.write(&mut out, &decision, server, &date);
    let out = &out[b"before".len()..];
    check_head(out, &model, &decision, server, &date);
    check_body(out, body, &decision);

    // The same again with what another response left behind.
    head.clear();
    fill(&mut head, &mut Model::default(), status, &fields);
    let mut again = Vec::new();
    head.write(&mut again, &decision, server, &date);
    assert_eq!(again, out, "reused");

    check_early_hints(&fields);
    check_error(head.status(), &String::from_utf8_lossy(body), server, &date, about & 2 != 0);
});

/// What must go out, by the rules as the documentation states them.
#[derive(Debug, Default)]
struct Model {
    status: Vec<u8>,
    fields: Vec<Field>,
    length: Option<u64>,
    /// Whether the application has said `Connection: upgrade`.
    asked: bool,
    protocols: Vec<Vec<u8>>,
}

fn fill(head: &mut ResponseHead, model: &mut Model, status: &[u8], fields: &[(&[u8], &[u8])]) {
    let valid = status.len() >= 3
        && status[..3].iter().all(u8::is_ascii_digit)
        && (status.len() == 3 || status[3] == b' ')
        && is_field_text(&status[3..])
        && (status[0] != b'0' && status[0] != b'1' || &status[..3] == b"101");
    assert_eq!(head.set_status(status).is_ok(), valid, "{}", status.escape_ascii());
    model.status = status.to_vec();
    if !valid {
        // A code instead, sometimes one that is not.
        let code =
            status.iter().fold(0_u16, |code, &byte| code.wrapping_mul(31).wrapping_add(u16::from(byte)))
                % 1100;
        let valid = code == 101 || (200..1000).contains(&code);
        assert_eq!(head.set_status_code(code).is_ok(), valid, "{code}");
        let code = if valid { code } else { 500 };
        if !valid {
            head.set_status_code(500).expect("a code");
        }
        model.status = format!("{code:03} {}", reason_phrase(code)).into_bytes();
    }
    for &(name, value) in fields {
        let added = head.add_header(name, value).is_ok();
        assert_eq!(added, model.add(name, value), "{}: {}", name.escape_ascii(), value.escape_ascii());
    }
}

impl Model {
    /// Whether the application may give this field; if it goes out it is kept.
    fn add(&mut self, name: &[u8], value: &[u8]) -> bool {
        if !is_token(name) || !is_field_text(value) {
            return false;
        }
        let value = trim(value);
        match &name.to_ascii_lowercase()[..] {
            b"connection" => self.asked |= value.eq_ignore_ascii_case(b"upgrade"),
            b"upgrade" => {
                let members = value.split(|&byte| byte == b',').map(trim);
                self.protocols.extend(members.filter(|member| !member.is_empty()).map(<[u8]>::to_vec));
            }
            b"keep-alive"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            | b"te"
            | b"trailers"
            | b"transfer-encoding"
            | b"server"
            | b"date" => {}
            b"content-length" => {
                let length = number(value);
                if length.is_none() || self.length.is_some_and(|before| Some(before) != length) {
                    return false;
                }
                if self.length.is_none() {
                    self.length = length;
                    self.fields.push((Bytes::of(name), Bytes::of(value)));
                }
            }
            _ => self.fields.push((Bytes::of(name), Bytes::of(value))),
        }
        true
    }

    fn code(&self) -> u16 {
        self.status[..3].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
    }

    /// RFC 9110 §15.2.2.
    fn switches(&self) -> bool {
        self.code() == 101 && !self.protocols.is_empty()
    }

    /// The Upgrade field, if it is sent: RFC 9110 §7.8, §15.5.22.
    fn upgrade(&self) -> Option<Vec<u8>> {
        let sent = self.asked || matches!(self.code(), 101 | 426);
        (sent && !self.protocols.is_empty()).then(|| self.protocols.join(&b", "[..]))
    }
}

/// What a log or a hook is told.
fn check_told(head: &ResponseHead, model: &Model) {
    assert_eq!(head.status(), model.code());
    assert_eq!(head.status_text(), trim(&model.status));
    assert_eq!(head.content_length(), model.length);
    assert_eq!(head.upgrade(), model.switches());
    let fields: Vec<Field> = head.fields().map(|(name, value)| (Bytes::of(name), Bytes::of(value))).collect();
    assert_eq!(fields, model.fields);
}

/// RFC 9112 §6.3 from a recipient's side: it has to know where the body ends.
fn check_decision(exchange: &Exchange, decision: &Decision) {
    let Exchange { version, method, status, content_length, keep_alive } = *exchange;
    let tunnel = method == RequestMethod::Connect && (200..300).contains(&status);
    let bodiless = status < 200 || matches!(status, 204 | 205 | 304) || method == RequestMethod::Head;
    assert!(keep_alive || !decision.keep_alive);
    match decision.framing {
        Framing::NoBody => assert!(bodiless, "{exchange:?}"),
        Framing::ContentLength(length) => {
            assert!(!bodiless && !tunnel && content_length == Some(length), "{exchange:?}");
            assert_eq!(decision.content_length, content_length);
        }
        Framing::Chunked => {
            assert!(!bodiless && !tunnel && content_length.is_none() && version >= Version::HTTP_11);
            assert_eq!(decision.content_length, None);
        }
        Framing::UntilClose => {
            assert!(!decision.keep_alive && (tunnel || content_length.is_none()), "{exchange:?}");
            assert_eq!(decision.content_length, None);
        }
    }
    if status < 200 || status == 204 {
        assert_eq!(decision.content_length, None);
    }
}

fn check_head(out: &[u8], model: &Model, decision: &Decision, server: &[u8], date: &[u8]) {
    let mut expected: Vec<Field> = Vec::new();
    let mut expect = |name: &str, value: &[u8]| expected.push((Bytes::of(name.as_bytes()), Bytes::of(value)));
    if !server.is_empty() {
        expect("Server", server);
    }
    expect("Date", date);
    let upgrade = model.upgrade();
    let own_end: &[u8] = if decision.keep_alive { b"keep-alive" } else { b"close" };
    if model.switches() {
        expect("Connection", b"upgrade");
    } else if upgrade.is_some() {
        expect("Connection", &[b"upgrade, ", own_end].concat());
    } else {
        expect("Connection", own_end);
    }
    if let Some(protocols) = upgrade {
        expect("Upgrade", &protocols);
    }
    if decision.framing == Framing::Chunked {
        expect("Transfer-Encoding", b"chunked");
    }
    // The application's own length line stays where it is if it is right.
    let own = model.length.is_some() && decision.content_length == model.length;
    if let Some(length) = decision.content_length.filter(|_| !own) {
        expect("Content-Length", length.to_string().as_bytes());
    }
    let fields = model.fields.iter();
    expected.extend(fields.filter(|field| own || !field.0.eq_ignore_ascii_case(b"content-length")).cloned());

    let mut start = [b"HTTP/1.1 ", &model.status[..]].concat();
    if model.status.len() == 3 {
        start.push(b' ');
    }
    start.extend_from_slice(b"\r\n");
    assert!(out.starts_with(&start), "{}", out.escape_ascii());
    let Read::Complete(section) = section(&out[start.len()..], &ParserConfig::default()) else {
        panic!("not a field section: {}", out.escape_ascii());
    };
    assert_eq!((section.fields, start.len() + section.len), (expected.clone(), out.len()));
    assert_eq!(out.split(|&byte| byte == b'\r').count() - 1, expected.len() + 2, "a CR too many");

    let (code, fields) = read(out);
    assert_eq!((code, fields), (model.code(), expected));
}

/// The head as `httparse` reads it; there must be nothing behind.
fn read(out: &[u8]) -> (u16, Vec<Field>) {
    let mut slots = vec![httparse::EMPTY_HEADER; out.len()];
    let mut read = httparse::Response::new(&mut slots);
    assert_eq!(read.parse(out), Ok(httparse::Status::Complete(out.len())), "{}", out.escape_ascii());
    assert_eq!(read.version, Some(1));
    let fields =
        read.headers.iter().map(|field| (Bytes::of(field.name.as_bytes()), Bytes::of(field.value))).collect();
    (read.code.expect("it is complete"), fields)
}

/// A recipient that goes by the head gets the body and finds its end.
fn check_body(head: &[u8], body: &[u8], decision: &Decision) {
    let (_, fields) = read(head);
    let find = |name: &str| fields.iter().find(|field| field.0.eq_ignore_ascii_case(name.as_bytes()));
    let mut wire = Vec::new();
    let kind = match decision.framing {
        Framing::Chunked => {
            assert!(find("content-length").is_none());
            assert_eq!(find("transfer-encoding").map(|field| &field.1[..]), Some(&b"chunked"[..]));
            for part in body.chunks(body.len() / 3 + 1) {
                write_chunk(&mut wire, part);
            }
            wire.extend_from_slice(LAST_CHUNK);
            BodyKind::Chunked
        }
        // An application may say a length that is not its body's; cutting it is the engine's task.
        Framing::ContentLength(length) if length == body.len() as u64 => {
            assert!(find("transfer-encoding").is_none());
            let told = find("content-length").and_then(|field| number(&field.1)).expect("a length");
            wire.extend_from_slice(body);
            BodyKind::Length(told)
        }
        _ => return assert!(find("transfer-encoding").is_none()),
    };
    let end = wire.len();
    wire.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    let mut received = Vec::new();
    let mut decoder = BodyDecoder::new(kind, &ParserConfig::default());
    let progress = decoder.decode(&wire, &mut received, usize::MAX).expect("a body");
    assert_eq!((&received[..], progress.consumed, progress.done), (body, end, true));
}

/// Fields that frame a message or are about the connection: RFC 9110 §8.6, RFC 9112 §6.1.
const NOT_IN_INTERIM: [&[u8]; 11] = [
    b"te",
    b"date",
    b"server",
    b"upgrade",
    b"trailers",
    b"connection",
    b"keep-alive",
    b"content-length",
    b"transfer-encoding",
    b"proxy-authenticate",
    b"proxy-authorization",
];

/// All of the fields that may stand in one, or nothing.
fn check_early_hints(fields: &[(&[u8], &[u8])]) {
    let mut out = b"before".to_vec();
    let written = write_early_hints(&mut out, fields.iter().copied());
    let valid = fields.iter().all(|(name, value)| is_token(name) && is_field_text(value));
    assert_eq!(written.is_ok(), valid);
    if valid {
        let expected: Vec<Field> = fields
            .iter()
            .filter(|(name, _)| !NOT_IN_INTERIM.contains(&&name.to_ascii_lowercase()[..]))
            .map(|(name, value)| (Bytes::of(name), Bytes::of(trim(value))))
            .collect();
        assert_eq!(read(&out[b"before".len()..]), (103, expected));
    } else {
        assert_eq!(out, b"before");
    }
    assert_eq!(read(CONTINUE), (100, Vec::new()));
}

/// The page tells the detail as text, and the head tells the page's length.
fn check_error(status: u16, detail: &str, server: &[u8], date: &[u8], head_only: bool) {
    if !(100..600).contains(&status) {
        return;
    }
    let mut out = Vec::new();
    write_error(&mut out, status, detail, server, date, head_only);
    let end = find(&out, b"\r\n\r\n").expect("a head") + 4;
    let (code, fields) = read(&out[..end]);
    let value = |name: &str| fields.iter().find(|field| field.0 == name.as_bytes()).map(|field| &field.1[..]);
    assert_eq!((code, value("Connection"), value("Date")), (status, Some(&b"close"[..]), Some(date)));
    let length = value("Content-Length").and_then(number).expect("a length");
    let page = std::str::from_utf8(&out[end..]).expect("UTF-8");
    if head_only {
        assert_eq!(page, "");
        return;
    }
    assert_eq!(page.len() as u64, length);
    let shown = page.split_once("<p>").map_or("", |(_, rest)| rest.trim_end().trim_end_matches("</p>"));
    assert!(!shown.contains(['<', '>', '"', '\'']), "{page}");
    let unescaped = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&amp;", "&")]
        .iter()
        .fold(shown.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain));
    assert_eq!(unescaped.trim_end(), detail.trim_end());
}
