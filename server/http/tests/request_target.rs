//! The four forms of the request target, and percent-decoding.
#![allow(clippy::panic, clippy::unwrap_used)] // in the helpers of tests, which clippy does not see as tests

use podicorn_http::target::{TargetForm, percent_decode};
use podicorn_http::{ParserConfig, parse_head};

fn request(method: &str, target: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: field\r\n\r\n").into_bytes()
}

/// Form, path, query and host.
fn split(method: &str, target: &str) -> Result<(TargetForm, String, String, String), u16> {
    let buf = request(method, target);
    let head = parse_head(&buf, &ParserConfig::default(), false).map_err(|reject| reject.status)?.unwrap();
    assert_eq!(head.target(&buf), target.as_bytes(), "the target stays byte for byte");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let host = text(head.host(&buf).unwrap());
    Ok((head.target_form(), text(head.path(&buf)), text(head.query(&buf)), host))
}

#[test]
fn forms() {
    let table: &[(&str, &str, TargetForm, [&str; 3])] = &[
        ("GET", "/", TargetForm::Origin, ["/", "", "field"]),
        ("GET", "/a/b?c=d?e", TargetForm::Origin, ["/a/b", "c=d?e", "field"]),
        ("GET", "//a//b", TargetForm::Origin, ["//a//b", "", "field"]),
        ("GET", "///x", TargetForm::Origin, ["///x", "", "field"]),
        ("GET", "/a?", TargetForm::Origin, ["/a", "", "field"]),
        ("GET", "/a#b?c", TargetForm::Origin, ["/a", "", "field"]),
        ("GET", "/a?b#c", TargetForm::Origin, ["/a", "b", "field"]),
        ("GET", "/a;b=c:d@e", TargetForm::Origin, ["/a;b=c:d@e", "", "field"]),
        (
            "GET",
            "/with_\"quotes\"?foo=\"bar\"",
            TargetForm::Origin,
            ["/with_\"quotes\"", "foo=\"bar\"", "field"],
        ),
        ("GET", "http://h/p?q", TargetForm::Absolute, ["/p", "q", "h"]),
        ("GET", "http://h", TargetForm::Absolute, ["", "", "h"]),
        ("GET", "http://h?q", TargetForm::Absolute, ["", "q", "h"]),
        ("GET", "HTTP://u:p@h:80/p", TargetForm::Absolute, ["/p", "", "h:80"]),
        ("GET", "http://[::1]:80/p", TargetForm::Absolute, ["/p", "", "[::1]:80"]),
        ("CONNECT", "h:443", TargetForm::Authority, ["", "", "h:443"]),
        ("CONNECT", "[::1]:443", TargetForm::Authority, ["", "", "[::1]:443"]),
        ("CONNECT", "h:1", TargetForm::Authority, ["", "", "h:1"]),
        ("CONNECT", "h:65535", TargetForm::Authority, ["", "", "h:65535"]),
        ("OPTIONS", "*", TargetForm::Asterisk, ["*", "", "field"]),
    ];
    for (method, target, form, [path, query, host]) in table {
        let expected = (*form, path.to_string(), query.to_string(), host.to_string());
        assert_eq!(split(method, target), Ok(expected), "{method} {target}");
    }
}

#[test]
fn invalid_targets() {
    let table = [
        ("GET", "*"),
        ("GET", "a"),
        ("GET", "a/b"),
        ("GET", "h:80"),
        ("GET", "?q"),
        ("GET", "a?b=://"),
        ("GET", "1a://h/"),
        ("GET", "http:///p"),
        ("GET", "http://"),
        ("GET", "http://:80/p"),
        ("GET", "http://u@/p"),
        ("GET", "http://?q"),
        ("GET", "https:///p"),
        ("GET", "http://h:x/"),
        ("GET", "http://[::1/"),
        ("GET", "http://[:]/"),
        ("GET", "http://a[b]/"),
        ("GET", "http://a\\b/"),
        ("OPTIONS", "**"),
        ("CONNECT", "/"),
        ("CONNECT", "h"),
        ("CONNECT", "h:"),
        ("CONNECT", ":80"),
        ("CONNECT", "h:0"),
        ("CONNECT", "h:65536"),
        ("CONNECT", "h:18446744073709551697"),
        ("CONNECT", "h:x"),
        ("CONNECT", "u@h:80"),
        ("CONNECT", "http://h:80/"),
    ];
    for (method, target) in table {
        assert_eq!(split(method, target), Err(400), "{method} {target}");
    }
}

#[test]
fn decoding() {
    let table: &[(&str, &[u8])] = &[
        ("", b""),
        ("/plain+plus", b"/plain+plus"),
        ("/a%20b%2Fc%2f", b"/a b/c/"),
        ("%C3%A9%00%ff", b"\xc3\xa9\x00\xff"),
        ("%", b"%"),
        ("%4", b"%4"),
        ("%zz%4g%%41", b"%zz%4g%A"),
        ("%2541", b"%41"),
    ];
    for (text, bytes) in table {
        let mut out = b"kept".to_vec();
        percent_decode(text.as_bytes(), &mut out);
        assert_eq!(out, [b"kept", *bytes].concat(), "{text}");
    }
}
