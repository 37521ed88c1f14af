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
    notices.extend(http2_notices(merged, class, secure));
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

/// What is asked for of HTTP/2 and is not to be had.
fn http2_notices(merged: &Layer, class: WorkerClass, secure: bool) -> Vec<String> {
    let wanted =
        merged.get("http_protocols").and_then(Value::as_array).is_some_and(|all| all.contains(&"h2".into()));
    if !wanted {
        let details = table().iter().filter(|setting| setting.name.starts_with("http2_"));
        let set = details.filter_map(|setting| {
            let entry = merged.entries.get(setting.name)?;
            differs(setting.default, &entry.value, &entry.source).then(|| {
                format!("{} ({}) has no effect: it needs h2 in http_protocols", setting.name, entry.source)
            })
        });
        return set.collect();
    }
    let source = merged.source("http_protocols").unwrap_or(&Source::Default);
    let clear = merged.text("http2_cleartext").is_some_and(|how| how != "off");
    // With threads it becomes gthread.
    let threaded = merged.get("threads").and_then(Value::as_u64).is_some_and(|threads| threads > 1);
    match class {
        WorkerClass::Sync if threaded && (secure || clear) => Vec::new(),
        // What it speaks is its own business.
        WorkerClass::ThirdParty => Vec::new(),
        WorkerClass::Gthread | WorkerClass::Gevent | WorkerClass::Eventlet | WorkerClass::Asgi => {
            let vain = format!(
                "http_protocols ({source}) has h2, which nobody will speak: there is no certfile, and http2_cleartext is off"
            );
            if secure || clear { Vec::new() } else { vec![vain] }
        }
        _ => vec![format!(
            "http_protocols ({source}): {class} workers speak HTTP/1.1 only; take gthread, gevent, eventlet or asgi for HTTP/2"
        )],
    }
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
