//! Laying the layers over each other.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use crate::table::{find, table};
use crate::value::{self, Problem};
use crate::{
    CommandLine, EnvLayers, Host, Layer, LogFormat, LogLevel, LogTarget, Settings, SettingsError, Source,
    WorkerClass, gate,
};

/// What is needed before the config file is read, from the environment and the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Early {
    /// The config file asked for; `None`: `./gunicorn.conf.py`, if it exists.
    pub config: Option<String>,
    pub chdir: Option<String>,
    pub pythonpath: Option<String>,
    pub raw_env: Vec<String>,
    pub python: Option<PathBuf>,
    pub loglevel: LogLevel,
    pub log_format: LogFormat,
    pub errorlog: LogTarget,
    pub check_config: bool,
    pub print_config: bool,
}

/// The settings that count before the config file is read.
pub fn early(environment: &EnvLayers, command_line: &CommandLine) -> Early {
    let layers = [&command_line.layer, &environment.gunicorn_cmd_args, &environment.podicorn];
    let value = |name: &str| layers.iter().find_map(|layer| layer.get(name));
    let text = |name: &str| value(name).and_then(Value::as_str).map(str::to_owned);
    let flag = |name: &str| value(name).and_then(Value::as_bool).unwrap_or(false);
    let items = |value: &Value| {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    Early {
        config: text("config"),
        chdir: text("chdir"),
        pythonpath: text("pythonpath"),
        raw_env: value("raw_env").map(items).unwrap_or_default(),
        python: text("python").map(PathBuf::from),
        loglevel: text("loglevel").map_or(LogLevel::Info, LogLevel::from),
        log_format: if text("log_format").as_deref() == Some("json") {
            LogFormat::Json
        } else {
            LogFormat::Text
        },
        errorlog: text("errorlog").map_or(LogTarget::Standard, LogTarget::from),
        check_config: flag("check_config"),
        print_config: flag("print_config"),
    }
}

/// The settings in force. `config_file` is what [`crate::layer_from_config_file`] made of the file, if there is one.
///
/// To reload, call it again with the new config file and the same rest.
pub fn merge(
    environment: &EnvLayers,
    config_file: Option<&Layer>,
    command_line: &CommandLine,
    host: &Host,
) -> Result<Settings, SettingsError> {
    let mut merged = Layer::default();
    for setting in table() {
        merged.set(setting.name, value::plain(setting.default), Source::Default);
    }
    let mut argument = Layer::default();
    if let Some(app) = &command_line.app {
        let source = Source::CommandLine("[APP_MODULE]".to_owned());
        merged.set("default_proc_name", app.as_str().into(), source.clone());
        argument.set("wsgi_app", app.as_str().into(), source);
    }
    let layers = [Some(&environment.defaults), config_file, Some(&environment.podicorn)]
        .into_iter()
        .flatten()
        .chain([&environment.gunicorn_cmd_args, &command_line.layer, &argument]);
    for layer in layers {
        for (name, entry) in layer.iter() {
            merged.entries.insert(name, entry.clone());
        }
    }
    resolve_account(&mut merged, "user", host.user, host.user_by_name)?;
    resolve_account(&mut merged, "group", host.group, host.group_by_name)?;
    resolve_directory(&mut merged, host)?;
    // First: a setting that this version refuses may be another way to name the app.
    let mut notices = gate::check(&merged)?;
    if merged.get("wsgi_app").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(SettingsError::NoApp);
    }
    if !command_line.ignored.is_empty() {
        notices.push(format!(
            "these arguments after the app have no effect: {}",
            command_line.ignored.join(" ")
        ));
    }
    let hooks = config_file.map(|layer| layer.hooks.clone()).unwrap_or_default();
    typed(merged, hooks, notices, environment.in_pod)
}

fn typed(
    merged: Layer,
    hooks: Vec<String>,
    notices: Vec<String>,
    in_pod: bool,
) -> Result<Settings, SettingsError> {
    let mut values = Map::new();
    let mut sources = std::collections::BTreeMap::new();
    for (name, entry) in merged.entries {
        values.insert(name.to_owned(), entry.value);
        sources.insert(name, entry.source);
    }
    let mut resolved = values.clone();
    resolved.insert("in_pod".to_owned(), in_pod.into());
    if values.get("sendfile").is_none_or(Value::is_null) {
        resolved.insert("sendfile".to_owned(), true.into());
    }
    if values.get("proc_name").is_none_or(Value::is_null) {
        let name = values.get("default_proc_name").cloned().unwrap_or_default();
        resolved.insert("proc_name".to_owned(), name);
    }
    let mut settings: Settings = serde_json::from_value(Value::Object(resolved))
        .map_err(|error| SettingsError::Internal(error.to_string()))?;
    settings.values = values;
    settings.sources = sources;
    settings.hooks = hooks;
    settings.notices = notices;
    if settings.worker_class == WorkerClass::Sync && settings.threads > 1 {
        // As in Gunicorn: threads are what was asked for.
        settings.worker_class = WorkerClass::Gthread;
    }
    if settings.python_logging() && settings.log_format == LogFormat::Json {
        settings.notices.push(format!(
            "log_format json ({}) has no effect on what goes through Python's logging (logger_class, logconfig, syslog): \
             set a formatter there",
            settings.source_of("log_format")
        ));
    }
    Ok(settings)
}

fn resolve_account(
    merged: &mut Layer,
    name: &'static str,
    own: u32,
    by_name: fn(&str) -> Option<u32>,
) -> Result<(), SettingsError> {
    let Some(entry) = merged.entries.get_mut(name) else { return Ok(()) };
    match &entry.value {
        Value::Null => entry.value = own.into(),
        Value::String(text) => match (by_name(text), find(name)) {
            (Some(id), _) => entry.value = id.into(),
            (None, Some(setting)) => {
                let expected = format!("a {name} of this system or image, or a number");
                return Err(Problem::wrong(value::quoted(text), expected).at(setting, &entry.source));
            }
            (None, None) => {}
        },
        _ => {}
    }
    Ok(())
}

fn resolve_directory(merged: &mut Layer, host: &Host) -> Result<(), SettingsError> {
    let Some(entry) = merged.entries.get_mut("chdir") else { return Ok(()) };
    let given = entry.value.as_str().unwrap_or(".");
    let path = lexical(&host.working_directory.join(given));
    if !(host.exists)(&path)
        && let Some(setting) = find("chdir")
    {
        return Err(
            Problem::wrong(value::quoted(given), value::expectation(setting)).at(setting, &entry.source)
        );
    }
    entry.value = path.to_string_lossy().into_owned().into();
    Ok(())
}

/// The path without `.` and `..`, as Python's `normpath`.
fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
