//! All that a parsed head says, for comparison.

use crate::bytes::Bytes;
use crate::config::Rules;
use podicorn_http::target::TargetForm;
use podicorn_http::{BodyKind, FieldKind, Fields, Head, Reject, Scheme, Version};

/// Kind, name and value.
pub type Field = (FieldKind, Bytes, Bytes);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub method: Bytes,
    pub target: Bytes,
    pub form: TargetForm,
    pub path: Bytes,
    pub query: Bytes,
    pub version: Version,
    pub host: Option<Bytes>,
    pub fields: Vec<Field>,
    pub body: BodyKind,
    pub keep_alive: bool,
    pub expect_continue: bool,
    pub upgrade: Option<Bytes>,
    pub scheme: Option<Scheme>,
    pub len: usize,
}

impl Told {
    pub fn of(head: &Head, buf: &[u8]) -> Self {
        assert_eq!(head.fields(buf).len(), head.field_count());
        assert!(head.has_request_line() && !head.is_empty());
        Self {
            method: Bytes::of(head.method(buf)),
            target: Bytes::of(head.target(buf)),
            form: head.target_form(),
            path: Bytes::of(head.path(buf)),
            query: Bytes::of(head.query(buf)),
            version: head.version(),
            host: head.host(buf).map(Bytes::of),
            fields: owned(head.fields(buf)),
            body: head.body(),
            keep_alive: head.keep_alive(),
            expect_continue: head.expect_continue(),
            upgrade: head.upgrade(buf).map(Bytes::of),
            scheme: head.forwarded_scheme(),
            len: head.len(),
        }
    }
}

pub fn owned(fields: Fields<'_>) -> Vec<Field> {
    fields.map(|(kind, name, value)| (kind, Bytes::of(name), Bytes::of(value))).collect()
}

/// A refusal has one of the statuses that it may have, and its text, which goes to the log, is one short line
/// without control characters.
pub fn check_reject(reject: &Reject, rules: &Rules) {
    let text = reject.to_string();
    assert!(matches!(reject.status, 400 | 413 | 414 | 417 | 421 | 431 | 501), "{reject:?}");
    assert!(reject.status != 421 || !rules.trusted && !rules.cfg.secure, "{reject:?}");
    assert!(!text.is_empty() && text.len() < 500 && !text.contains(char::is_control), "{text:?}");
}
