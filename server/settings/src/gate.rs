//! What this version does with settings that it knows but does not act on.

use serde_json::Value;

use crate::table::{DefaultValue, NEED_CERTIFICATE, Status, find, table};
use crate::{Layer, LogLevel, SettingsError, Source, WorkerClass, value};

/// Refuses what is not supported, and returns a notice for each setting that was set in vain.
pub(crate) fn check(merged: &Layer) -> Result<Vec<String>, SettingsError> {
    let mut notices = Vec::new();
    for setting in table() {
        let Some(entry) = merged.entries.get(setting.name) else { continue };
        if !differs(setting.default, &entry.value, &entry.source) {
            continue;
        }
        match setting.status {
            Status::Works => {}
            Status::NoEffect(why) => {
                notices.push(format!("{} ({}) has no effect: {why}", setting.name, entry.source));
            }
            Status::Unsupported(instead) => return Err(refusal(merged, setting.name, instead.to_owned())),
        }
    }
    let secure =
        ["certfile", "keyfile"].iter().any(|name| merged.text(name).is_some_and(|file| !file.is_empty()));
    for name in NEED_CERTIFICATE.iter().filter(|_| !secure) {
        let (Some(setting), Some(entry)) = (find(name), merged.entries.get(*name)) else { continue };
        if differs(setting.default, &entry.value, &entry.source) {
            notices.push(format!("{name} ({}) has no effect: it needs certfile", entry.source));
        }
    }
    let class = worker_type(merged)?;
    for name in class.without() {
        let (Some(setting), Some(entry)) = (find(name), merged.entries.get(name)) else { continue };
        if differs(setting.default, &entry.value, &entry.source) {
            notices.push(format!(
                "{name} ({}) has no effect on {class} workers: the HTTP engine, which would keep it, has no part in them",
                entry.source
            ));
        }
    }
    if let Some(level) = merged.text("loglevel").filter(|level| LogLevel::named(level).is_none()) {
        let source = merged.source("loglevel").unwrap_or(&Source::Default);
        notices.push(format!(
            "loglevel {} ({source}) is not a level, so that it is info: take debug, info, warning, error or critical",
            value::quoted(level)
        ));
    }
    Ok(notices)
}

/// Whether a value was set that is not the default. A default that is worked out counts as differing once set.
pub(crate) fn differs(default: DefaultValue, value: &Value, source: &Source) -> bool {
    *source != Source::Default && !value.is_null() && *value != value::plain(default)
}

fn worker_type(merged: &Layer) -> Result<WorkerClass, SettingsError> {
    let class = merged.text("worker_class").unwrap_or_default();
    WorkerClass::named(class).ok_or_else(|| refusal(merged, "worker_class", WorkerClass::refusal()))
}

fn refusal(merged: &Layer, name: &'static str, instead: String) -> SettingsError {
    let entry = merged.entries.get(name);
    let given = match entry.map(|entry| &entry.value) {
        // A callable or a long dictionary says nothing.
        Some(Value::Bool(true)) if find(name).is_some_and(|setting| setting.kind == crate::Kind::Hook) => {
            "a callable".to_owned()
        }
        Some(Value::Object(_)) => "{…}".to_owned(),
        Some(value) => value::shown(value),
        None => String::new(),
    };
    let source = entry.map_or(Source::Default, |entry| entry.source.clone());
    SettingsError::Unsupported { name, given, place: source, instead }
}
