//! What `--print-config` prints: the settings in the form that Gunicorn prints them in, then where those that are not at
//! their defaults come from.

use std::fmt::Write;

use serde_json::Value;

use crate::table::Kind;
use crate::{Settings, Source, find, value};

pub(crate) fn print_config(settings: &Settings) -> String {
    let width = settings.values.keys().map(String::len).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in sorted(settings) {
        let _ = writeln!(out, "{name:width$} = {}", printed(settings, name, value));
    }
    let set: Vec<_> = sorted(settings)
        .into_iter()
        .filter(|(name, _)| *settings.source_of(name) != Source::Default)
        .collect();
    if !set.is_empty() {
        out.push_str("\nNot at their defaults:\n");
        for (name, _) in set {
            let _ = writeln!(out, "{name:width$} : {}", settings.source_of(name));
        }
    }
    out
}

fn sorted(settings: &Settings) -> Vec<(&str, &Value)> {
    let mut values: Vec<_> = settings.values.iter().map(|(name, value)| (name.as_str(), value)).collect();
    values.sort_unstable_by_key(|(name, _)| *name);
    values
}

fn printed(settings: &Settings, name: &str, value: &Value) -> String {
    if find(name).is_some_and(|setting| setting.kind == Kind::Hook) {
        return if settings.hooks.iter().any(|hook| hook == name) {
            format!("<{name}()>")
        } else {
            "None".to_owned()
        };
    }
    match value {
        Value::String(text) => text.clone(),
        other => value::shown(other),
    }
}
