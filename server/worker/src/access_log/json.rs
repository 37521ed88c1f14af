//! The access log as JSON, one object a line, in the form of the server's other JSON logs.

use std::io::Write as _;

use super::record::{Fact, Record, Times};

/// Appends one line.
pub(super) fn write(record: &Record<'_, '_>, times: &mut Times, line: &mut Vec<u8>) {
    let method = record.text(Fact::Method).unwrap_or_default();
    let target = record.text(Fact::Target).unwrap_or_default();
    let protocol = record.text(Fact::Protocol).unwrap_or_default();
    // Writing into a Vec cannot fail.
    let _ =
        write!(line, "{{\"time\":\"{}\",\"level\":\"info\",\"pid\":{}", times.exact(), std::process::id());
    member(line, "logger", "gunicorn.access");
    member(line, "message", &format!("{method} {target} {protocol}"));
    let strings = [
        ("remote_addr", record.text(Fact::RemoteAddress)),
        ("user", record.user().map(|user| String::from_utf8_lossy(&user).into_owned())),
        ("method", Some(method)),
        ("path", record.text(Fact::Path)),
        ("query", record.text(Fact::Query)),
        ("protocol", Some(protocol)),
        ("referer", record.text(Fact::Referrer)),
        ("user_agent", record.text(Fact::UserAgent)),
        ("trace_id", record.trace.trace_text()),
        ("span_id", record.trace.span_text()),
    ];
    for (name, value) in strings {
        if let Some(value) = value {
            member(line, name, &value);
        }
    }
    let _ = writeln!(
        line,
        ",\"status\":{},\"body_bytes\":{},\"duration_us\":{}}}",
        record.head.status(),
        record.body_bytes,
        record.duration / 1000
    );
}

/// Appends `,"name":"value"`. Names need no escapes.
fn member(line: &mut Vec<u8>, name: &str, value: &str) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":\"");
    let mut rest = value.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20 | 0x7f)) {
        line.extend_from_slice(&rest[..at]);
        let _ = match rest[at] {
            quote @ (b'"' | b'\\') => line.write_all(&[b'\\', quote]),
            control => write!(line, "\\u{control:04x}"),
        };
        rest = &rest[at + 1..];
    }
    line.extend_from_slice(rest);
    line.push(b'"');
}
