//! The access log as JSON, one object a line, in the form of the server's other JSON logs.

use std::io::Write as _;

use jiff::Timestamp;

use super::record::{Fact, Record};
use crate::clock::unix;

/// Appends one line.
pub(super) fn write(record: &Record<'_, '_>, line: &mut Vec<u8>) {
    let now = i64::try_from(unix() / 1000).unwrap_or(0);
    let now = Timestamp::from_microsecond(now).unwrap_or_default();
    let method = record.text(Fact::Method).unwrap_or_default();
    let target = record.text(Fact::Target).unwrap_or_default();
    let protocol = record.text(Fact::Protocol).unwrap_or_default();
    // Writing into a Vec cannot fail.
    let _ = write!(line, "{{\"time\":\"{now:.6}\",\"level\":\"info\",\"pid\":{}", std::process::id());
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
    let _ = write!(line, ",\"{name}\":\"");
    for character in value.chars() {
        let _ = match character {
            '"' => line.write_all(b"\\\""),
            '\\' => line.write_all(b"\\\\"),
            '\0'..='\x1f' | '\x7f' => write!(line, "\\u{:04x}", u32::from(character)),
            other => write!(line, "{other}"),
        };
    }
    line.push(b'"');
}
