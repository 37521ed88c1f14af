//! The parser of request heads: the verdict does not depend on how the bytes are split, and what is accepted is
//! what independent readers see.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podicorn_http::target::{TargetForm, percent_decode};
use podicorn_http::{BodyKind, Head, ParserConfig, Reject, Scheme, Version, parse_head, parse_head_into};
use podicorn_http_fuzz::bytes::Bytes;
use podicorn_http_fuzz::config::{Rules, looser, take_rules};
use podicorn_http_fuzz::grammar::{find, is_token, number, trim};
use podicorn_http_fuzz::reader::{self, Field, Read, Request};
use podicorn_http_fuzz::splits;
use podicorn_http_fuzz::told::{Told, check_reject};

fuzz_target!(|input: &[u8]| {
    let (rules, buf) = take_rules(input);
    let whole = verdict(buf, &rules);
    check_splits(buf, &rules, &whole);
    match &whole {
        Ok(None) => assert!(buf.len() < rules.cfg.limits.head(), "a head without a bound"),
        Ok(Some(told)) => {
            let request = reader::request(buf, &rules.cfg);
            check_reading(told, &request, &rules);
            check_facts(told, &request, &rules);
            check_target(told);
            check_limits(told, &request, &rules);
            check_written_again(told, &rules);
            check_httparse(told, &request, buf, &rules);
            assert_eq!(verdict(buf, &looser(&rules)).as_ref(), Ok(&Some(told.clone())), "looser rules");
        }
        Err(reject) => {
            check_reject(reject, &rules);
            assert!(!is_plain(buf, &rules), "refused, but plain: {reject:?}");
            let https = || find(&buf.to_ascii_lowercase(), b" https://").is_some();
            assert!(reject.status != 421 || https(), "{reject:?}");
        }
    }
});

type Verdict = Result<Option<Told>, Reject>;

fn verdict(buf: &[u8], rules: &Rules) -> Verdict {
    Ok(parse_head(buf, &rules.cfg, rules.trusted)?.map(|head| Told::of(&head, buf)))
}

/// A prefix gives "more" or what the whole gives; so does the whole after any prefix, or in many parts. One `Head`
/// serves for all, so that nothing may be left in it.
fn check_splits(buf: &[u8], rules: &Rules, whole: &Verdict) {
    let points = splits::points(buf);
    let parse = |head: &mut Head, end: usize| {
        let step = parse_head_into(head, &buf[..end], &rules.cfg, rules.trusted);
        step.map(|complete| complete.then(|| Told::of(head, &buf[..end])))
    };
    let (mut halves, mut parts) = (Head::default(), Head::default());
    let mut settled = false;
    for end in points {
        let mut first = parse(&mut halves, end);
        let settles = first != Ok(None);
        assert!(settles || !settled, "the first {end} bytes are not enough, but fewer were");
        if !settles {
            first = parse(&mut halves, buf.len());
            if first == Ok(None) {
                halves.clear();
            }
        }
        assert_eq!(&first, whole, "split at {end}");
        if !settled {
            let step = parse(&mut parts, end);
            assert_eq!(step != Ok(None), settles, "in many parts, up to {end}");
            if settles {
                assert_eq!(&step, whole, "in many parts, up to {end}");
            }
        }
        settled = settles;
    }
    assert_eq!(settled, *whole != Ok(None));
}

/// The parts and the fields are those of the bytes.
fn check_reading(told: &Told, request: &Request, rules: &Rules) {
    let mut method = request.method.to_vec();
    if rules.cfg.leniency.casefold_http_method {
        method.make_ascii_uppercase();
    }
    assert_eq!(told.method, method);
    assert_eq!(told.target, request.target);
    assert_eq!(told.version, request.version);
    assert_eq!(told.len, request.len);
    let fields: Vec<Field> =
        told.fields.iter().map(|(_, name, value)| (name.clone(), value.clone())).collect();
    let passing =
        request.section.fields.iter().filter(|field| reader::passes(&field.0, &rules.cfg, rules.trusted));
    assert_eq!(fields, passing.cloned().collect::<Vec<_>>());

    assert!(is_token(&told.method), "{told:?}");
    let conventional = |method: &[u8]| {
        (3..=20).contains(&method.len())
            && !method.iter().any(|byte| byte.is_ascii_lowercase() || *byte == b'#')
    };
    assert!(
        rules.cfg.leniency.permit_unconventional_http_method || conventional(&request.method),
        "{told:?}"
    );
    assert!(rules.cfg.leniency.permit_unconventional_http_version || told.version.major == 1, "{told:?}");
}

/// What the head says about the connection and the body follows from the fields.
fn check_facts(told: &Told, request: &Request, rules: &Rules) {
    let all = |name: &str| {
        let name = name.as_bytes().to_vec();
        let fields = request.section.fields.iter();
        fields.filter(move |field| field.0.eq_ignore_ascii_case(&name)).map(|field| &field.1[..])
    };
    let member = |name: &str, member: &str| {
        let mut members = all(name).flat_map(|value| value.split(|&byte| byte == b',')).map(trim);
        members.any(|found| found.eq_ignore_ascii_case(member.as_bytes()))
    };
    for name in ["host", "content-length", "content-type"] {
        assert!(all(name).count() <= 1, "{name} twice: {told:?}");
    }
    let modern = request.version >= Version::HTTP_11;

    let host = all("host").next();
    assert!(host.is_some() || !modern, "{told:?}");
    if matches!(told.form, TargetForm::Origin | TargetForm::Asterisk) {
        assert_eq!(told.host.as_deref(), host);
    }
    let codings: Vec<u8> = all("transfer-encoding").collect::<Vec<_>>().join(&b","[..]).to_ascii_lowercase();
    let codings: Vec<&[u8]> = codings.split(|&byte| byte == b',').map(trim).collect();
    let body = if all("transfer-encoding").next().is_some() {
        assert!(modern && all("content-length").next().is_none(), "{told:?}");
        assert_eq!(
            codings.iter().position(|coding| *coding == b"chunked"),
            Some(codings.len() - 1),
            "{told:?}"
        );
        BodyKind::Chunked
    } else if let Some(length) = all("content-length").next() {
        let length = number(length).expect("a number");
        assert!(rules.cfg.limits.body.is_none_or(|limit| length <= limit), "{told:?}");
        BodyKind::Length(length)
    } else {
        BodyKind::None
    };
    assert_eq!(told.body, body);

    let may_persist = if modern { true } else { member("connection", "keep-alive") };
    let inner = codings.iter().any(|coding| matches!(*coding, b"gzip" | b"deflate" | b"compress"));
    let ends = member("connection", "close") || told.method == b"CONNECT" || inner;
    assert_eq!(told.keep_alive, may_persist && !ends);
    assert_eq!(told.expect_continue, modern && member("expect", "100-continue"));
    let upgrade = all("upgrade").next().filter(|_| modern && member("connection", "upgrade"));
    assert_eq!(told.upgrade.as_deref(), upgrade);

    let schemes: Vec<Scheme> = request
        .section
        .fields
        .iter()
        .filter(|_| rules.trusted)
        .filter_map(|(name, value)| {
            let mut known = rules.cfg.secure_scheme_headers.iter();
            let (_, secure) = known.find(|known| known.0.as_bytes().eq_ignore_ascii_case(name))?;
            Some(if *value == secure.as_bytes() { Scheme::Https } else { Scheme::Http })
        })
        .collect();
    assert!(schemes.iter().all(|scheme| *scheme == schemes[0]), "{told:?}");
    let https = told.form == TargetForm::Absolute && told.target.to_ascii_lowercase().starts_with(b"https:");
    assert!(!https || rules.trusted || rules.cfg.secure, "{told:?}");
    // A gateway's word goes before the target's.
    assert_eq!(told.scheme, schemes.first().copied().or(https.then_some(Scheme::Https)));
}

/// Form, path, query and authority are parts of the target, by RFC 9112 §3.2.
fn check_target(told: &Told) {
    let target = &told.target[..];
    assert!(!target.is_empty() && target.iter().all(u8::is_ascii_graphic), "{told:?}");
    let until =
        |bytes: &[u8], ends: &[u8]| bytes.iter().position(|byte| ends.contains(byte)).unwrap_or(bytes.len());
    let mut rest = target;
    match told.form {
        TargetForm::Origin => assert_eq!(target[0], b'/'),
        TargetForm::Asterisk => assert_eq!((target, &told.method[..]), (&b"*"[..], &b"OPTIONS"[..])),
        TargetForm::Authority => {
            assert_eq!((told.host.as_deref(), &told.method[..]), (Some(target), &b"CONNECT"[..]));
            rest = b"";
        }
        TargetForm::Absolute => {
            let start = find(target, b"://").expect("a scheme") + 3;
            assert!(target[0].is_ascii_alphabetic(), "{told:?}");
            let authority = &target[start..start + until(&target[start..], b"/?#")];
            let host = authority.rsplit(|&byte| byte == b'@').next();
            assert_eq!(told.host.as_deref(), host);
            assert!(host.is_some_and(|host| !host.is_empty() && host[0] != b':'), "{told:?}");
            rest = &target[start + authority.len()..];
        }
    }
    let rest = &rest[..until(rest, b"#")];
    let path = &rest[..until(rest, b"?")];
    assert_eq!(told.path, path);
    assert_eq!(told.query, rest.get(path.len() + 1..).unwrap_or_default());

    let mut decoded = b"before".to_vec();
    percent_decode(path, &mut decoded);
    let mut expected = b"before".to_vec();
    let mut at = 0;
    while at < path.len() {
        let digits = path.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        if let Some(digits) = digits.filter(|_| path[at] == b'%') {
            let digits = std::str::from_utf8(digits).expect("ASCII");
            expected.push(u8::from_str_radix(digits, 16).expect("two hex digits"));
            at += 3;
        } else {
            expected.push(path[at]);
            at += 1;
        }
    }
    assert_eq!(decoded, expected);
}

/// Whether this is a request of the plainest kind, which must be accepted under any rules.
fn is_plain(buf: &[u8], rules: &Rules) -> bool {
    let limits = &rules.cfg.limits;
    let Some(line_len) = find(buf, b"\r\n") else { return false };
    let parts: Vec<&[u8]> = buf[..line_len].split(|&byte| byte == b' ').collect();
    let [method, target, b"HTTP/1.0" | b"HTTP/1.1"] = parts[..] else { return false };
    let Read::Complete(section) = reader::section(&buf[line_len + 2..], &ParserConfig::default()) else {
        return false;
    };
    let host = |value: &[u8]| {
        let (name, port) = value.split_at(value.iter().position(|&byte| byte == b':').unwrap_or(value.len()));
        name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
            && (port.is_empty() || port[1..].iter().all(u8::is_ascii_digit))
    };
    let plain = |(name, value): &Field| match &name.to_ascii_lowercase()[..] {
        b"host" => host(value),
        b"content-length" => {
            number(value).is_some_and(|length| limits.body.is_none_or(|limit| length <= limit))
        }
        b"expect" => value.eq_ignore_ascii_case(b"100-continue"),
        b"transfer-encoding" => false,
        name if name.contains(&b'_') => false,
        // A proxy may contradict itself.
        name => !rules.trusted || !name.starts_with(b"x-forwarded-"),
    };
    let count = |known: &str| {
        section.fields.iter().filter(|field| field.0.eq_ignore_ascii_case(known.as_bytes())).count()
    };
    (3..=20).contains(&method.len())
        && method.iter().all(u8::is_ascii_uppercase)
        && method != b"CONNECT"
        && target.starts_with(b"/")
        && target.iter().all(u8::is_ascii_graphic)
        && line_len <= limits.request_line
        && section.fields.len() <= limits.fields
        && section.longest <= limits.field_size
        && section.fields.iter().all(plain)
        && count("host") == 1
        && count("content-length") <= 1
        && count("content-type") <= 1
}

fn check_limits(told: &Told, request: &Request, rules: &Rules) {
    let limits = &rules.cfg.limits;
    assert!(request.line_len <= limits.request_line, "{told:?}");
    assert!(request.section.longest <= limits.field_size, "{told:?}");
    assert!(told.fields.len() <= limits.fields, "{told:?}");
    assert!(told.len <= limits.head(), "{told:?}");
}

/// The parts, put together again, are the same request.
fn check_written_again(told: &Told, rules: &Rules) {
    let mut buf =
        [&told.method[..], b" ", &told.target, b" ", told.version.to_string().as_bytes(), b"\r\n"].concat();
    for (_, name, value) in &told.fields {
        // No space behind the colon: it could make a line too long.
        buf.extend_from_slice(&[&name[..], b":", value, b"\r\n"].concat());
    }
    buf.extend_from_slice(b"\r\n");
    let again = Told { len: buf.len(), ..told.clone() };
    assert_eq!(verdict(&buf, rules), Ok(Some(again)), "{}", buf.escape_ascii());
}

/// `httparse`, which is not as strict, reads the same where no leniency beyond its own is asked for.
fn check_httparse(told: &Told, request: &Request, buf: &[u8], rules: &Rules) {
    let leniency = &rules.cfg.leniency;
    if leniency.strip_header_spaces || leniency.permit_obsolete_folding {
        return;
    }
    let Version { major: 1, minor: minor @ 0..=1 } = request.version else { return };
    let mut slots = vec![httparse::EMPTY_HEADER; request.section.fields.len()];
    let mut read = httparse::Request::new(&mut slots);
    assert_eq!(read.parse(buf), Ok(httparse::Status::Complete(told.len)));
    assert_eq!(read.method.map(str::as_bytes), Some(&request.method[..]));
    assert_eq!(read.path.map(str::as_bytes), Some(&told.target[..]));
    assert_eq!(read.version, Some(minor));
    let fields: Vec<Field> = read
        .headers
        .iter()
        .map(|field| (Bytes::of(field.name.as_bytes()), Bytes::of(trim(field.value))))
        .collect();
    assert_eq!(fields, request.section.fields);
}
