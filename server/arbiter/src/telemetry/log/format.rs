//! From an event to a line.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Zoned;
use jiff::tz::TimeZone;
use serde::ser::{SerializeMap, Serializer as _};
use serde_json::Value;
use tracing::Event;
use tracing::field::{Field, Visit};

use super::relay::Record;
use super::{Format, Level};

/// Lines longer than this are cut: a traceback fits, a runaway message does not fill the queue.
const MAX_LINE_BYTES: usize = 256 * 1024;

/// Names that each JSON line has already; a field of that name gets the prefix `field_`.
const RESERVED: [&str; 5] = ["time", "level", "pid", "logger", "message"];

pub(super) struct Formatter {
    json: AtomicBool,
    pid: u32,
    zone: TimeZone,
}

impl Formatter {
    pub(super) fn new(format: Format) -> Self {
        Self {
            json: AtomicBool::new(format == Format::Json),
            pid: std::process::id(),
            // Read once: looking for a changed zone would touch the disk.
            zone: TimeZone::try_system().unwrap_or(TimeZone::UTC),
        }
    }

    pub(super) fn set_format(&self, format: Format) {
        self.json.store(format == Format::Json, Ordering::Relaxed);
    }

    /// `trace`: the ids of the trace and of the span that the event belongs to.
    pub(super) fn event(&self, level: Level, event: &Event<'_>, trace: Option<(String, String)>) -> String {
        let mut parts = Parts::default();
        event.record(&mut parts);
        // An event that names a trace by itself tells of a request.
        if let Some((trace, span)) = trace.filter(|_| !parts.names("trace_id")) {
            parts.fields.push(("trace_id", trace.into()));
            parts.fields.push(("span_id", span.into()));
        }
        self.line(level, &parts.message, &parts.fields)
    }

    /// The same for Python's logging.
    pub(super) fn record(&self, level: Level, event: &Event<'_>) -> Record {
        let mut parts = Parts::default();
        event.record(&mut parts);
        Record {
            level: level.name().to_owned(),
            message: said(&parts.message, &parts.fields),
            pid: self.pid,
            time: jiff::Timestamp::now().as_duration().as_secs_f64(),
        }
    }

    /// A record that Python's logging did not get, as a line.
    pub(super) fn relayed(&self, record: &Record) -> String {
        let level = record.level.parse().unwrap_or(Level::Info);
        let at = jiff::Timestamp::from_duration(jiff::SignedDuration::from_secs_f64(record.time));
        self.line_at(at.unwrap_or_default(), level, &record.message, &[])
    }

    /// One line, its end included.
    pub(super) fn line(&self, level: Level, message: &str, fields: &[(&'static str, Value)]) -> String {
        self.line_at(jiff::Timestamp::now(), level, message, fields)
    }

    fn line_at(
        &self,
        at: jiff::Timestamp,
        level: Level,
        message: &str,
        fields: &[(&'static str, Value)],
    ) -> String {
        let now = at.to_zoned(self.zone.clone());
        let mut line = if self.json.load(Ordering::Relaxed) {
            self.json(&now, level, message, fields)
        } else {
            self.text(&now, level, message, fields)
        };
        line.push('\n');
        line
    }

    fn text(&self, now: &Zoned, level: Level, message: &str, fields: &[(&'static str, Value)]) -> String {
        let mut line =
            format!("[{}] [{}] [{}] ", now.strftime("%Y-%m-%d %H:%M:%S %z"), self.pid, level.label());
        escape_controls(&mut line, &said(message, fields));
        line
    }

    fn json(&self, now: &Zoned, level: Level, message: &str, fields: &[(&'static str, Value)]) -> String {
        let mut bytes = Vec::with_capacity(192 + message.len());
        let mut write = || -> Result<(), serde_json::Error> {
            let mut serializer = serde_json::Serializer::new(&mut bytes);
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("time", &now.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string())?;
            map.serialize_entry("level", level.name())?;
            map.serialize_entry("pid", &self.pid)?;
            map.serialize_entry("logger", "podicorn")?;
            map.serialize_entry("message", cut(message))?;
            for (name, value) in fields {
                if RESERVED.contains(name) {
                    map.serialize_entry(&format!("field_{name}"), value)?;
                } else {
                    map.serialize_entry(name, value)?;
                }
            }
            map.end()
        };
        // Writing to memory, with string keys, does not fail.
        let written = write();
        written.ok().and_then(|()| String::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// What text shows of an event.
fn said(message: &str, fields: &[(&'static str, Value)]) -> String {
    let mut text = cut(message).to_owned();
    if let Some((_, error)) = fields.iter().find(|(name, _)| *name == "error") {
        if !message.is_empty() {
            text.push_str(": ");
        }
        match error {
            Value::String(error) => text.push_str(cut(error)),
            other => text.push_str(&other.to_string()),
        }
    }
    text
}

#[derive(Default)]
struct Parts {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Parts {
    fn names(&self, field: &str) -> bool {
        self.fields.iter().any(|(name, _)| *name == field)
    }

    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", other) => self.message = other.to_string(),
            ("critical", Value::Bool(_)) => {}
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Parts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::String(value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, Value::String(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::from(value));
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_LINE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Line feeds and tabs stay, for tracebacks; what could move a terminal's cursor or forge a line does not.
fn escape_controls(line: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() && !matches!(character, '\n' | '\t') {
            let _ = write!(line, "\\x{:02x}", u32::from(character));
        } else {
            line.push(character);
        }
    }
}
