//! A layer: what one origin has set, checked and in plain form.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::table::{Kind, Status, find};
use crate::{SettingsError, value};

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The table's default.
    Default,
    /// A default that the surroundings change; the variable that does it, such as `PORT`.
    DefaultFrom(&'static str),
    /// The path as given to or found by the fork server.
    ConfigFile(String),
    /// The variable, such as `PODICORN_WORKERS`.
    Environment(String),
    /// The variable `GUNICORN_CMD_ARGS`; the flag or argument in it.
    GunicornCmdArgs(String),
    /// The flag as spelled in the table, such as `--workers`.
    CommandLine(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::DefaultFrom(variable) => write!(f, "environment variable {variable}"),
            Self::ConfigFile(path) => write!(f, "config file {path}"),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::GunicornCmdArgs(flag) => write!(f, "{flag} in environment variable GUNICORN_CMD_ARGS"),
            Self::CommandLine(flag) => write!(f, "command line {flag}"),
        }
    }
}

/// A checked value in plain form, and where it was set.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub value: Value,
    pub source: Source,
}

/// What one origin has set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layer {
    pub(crate) entries: BTreeMap<&'static str, Entry>,
    /// Names of hooks that the config file defines; they stay in Python.
    pub(crate) hooks: Vec<String>,
}

impl Layer {
    /// The checked value of a setting, if this layer sets it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries.get(name).map(|entry| &entry.value)
    }

    /// Where this layer's value was set.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.entries.get(name).map(|entry| &entry.source)
    }

    /// All settings of this layer, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (*name, entry))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    pub(crate) fn set(&mut self, name: &'static str, value: Value, source: Source) {
        self.entries.insert(name, Entry { value, source });
    }
}

/// The layer of a config file that the fork server has read: `values` are its plain values by setting name, `python` the
/// names whose values stayed in Python (the reply `config` of the control protocol). Unknown names are ignored, as in
/// Gunicorn.
pub fn layer_from_config_file(
    values: &Map<String, Value>,
    python: &[String],
    path: &str,
) -> Result<Layer, SettingsError> {
    let mut layer = Layer::default();
    let source = Source::ConfigFile(path.to_owned());
    for (name, value) in values {
        let Some(setting) = find(name) else { continue };
        if !setting.in_config_file {
            continue;
        }
        let checked = value::from_json(setting, value).map_err(|problem| problem.at(setting, &source))?;
        if matches!(setting.kind, Kind::Hook) && !checked.is_null() {
            layer.hooks.push(name.clone());
        }
        layer.set(setting.name, checked, source.clone());
    }
    for name in python {
        let Some(setting) = find(name) else { continue };
        if !setting.in_config_file {
            continue;
        }
        if matches!(setting.kind, Kind::Hook) {
            layer.hooks.push(name.clone());
            layer.set(setting.name, Value::Bool(true), source.clone());
        } else if setting.kind == Kind::Dict {
            // The fork server has the dictionary; here it only matters that it is not empty.
            let shown = serde_json::Map::from_iter([("…".to_owned(), "Python objects".into())]);
            layer.set(setting.name, Value::Object(shown), source.clone());
        } else if setting.status == Status::Works {
            let problem = value::Problem::wrong("a Python object", value::expectation(setting));
            return Err(problem.at(setting, &source));
        } else {
            // It only matters that it is set: the merge says what becomes of it.
            layer.set(setting.name, Value::String("a Python object".to_owned()), source.clone());
        }
    }
    layer.hooks.sort_unstable();
    layer.hooks.dedup();
    Ok(layer)
}
