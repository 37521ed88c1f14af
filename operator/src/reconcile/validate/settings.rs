//! The container's command line.
//!
//! Contract: every flag is checked by the parser that the server itself has. What the operator sets is refused under
//! `settings`, with the field to use.

use std::ffi::OsString;

use podicorn_settings::{Setting, Status, Takes, find, parse_command_line, unknown_names_hint};
use serde_json::Value;

use super::Invalid;
use crate::api::{Commands, GunicornAppSpec};
use crate::reconcile::names::TOKEN_DIRECTORY;

/// Settings that follow from other fields.
fn instead(name: &str) -> Option<&'static str> {
    Some(match name {
        "bind" => "spec.ports.http",
        "admin_bind" => "spec.ports.admin",
        "admin_token_file" => "nothing: the operator makes the token, in the Secret NAME-admin",
        "workers" => "spec.workers",
        "worker_class" => "spec.workerClass",
        "threads" => "spec.threads",
        "scale_down_delay" => "spec.autoscaling.behavior.workersScaleDown",
        "drain_delay" => "spec.drain.delaySeconds",
        "graceful_timeout" => "spec.drain.gracefulTimeoutSeconds",
        "preload_app" => "spec.preload",
        "wsgi_app" => "spec.app",
        _ => return None,
    })
}

pub(super) fn command_line(spec: &GunicornAppSpec) -> Result<Vec<String>, Invalid> {
    let mut arguments = generated(spec);
    for (name, value) in &spec.settings {
        if let Some(field) = instead(name) {
            return Err(Invalid::Settings(format!("{name} follows from other fields; use {field}")));
        }
        let Some(setting) = find(name) else { return Err(unknown(name)) };
        arguments.extend(flags(setting, value)?);
    }
    arguments.push(spec.app.clone());
    // The server's own parser has the last word.
    match parse_command_line(arguments.iter().map(OsString::from)) {
        Ok(_) => Ok(arguments),
        Err(exit) => {
            let line = exit.text.lines().next().unwrap_or_default();
            Err(Invalid::Settings(line.trim_start_matches("Error: ").to_owned()))
        }
    }
}

fn generated(spec: &GunicornAppSpec) -> Vec<String> {
    let mut arguments = vec![
        format!("--bind=0.0.0.0:{}", spec.ports.http),
        format!("--admin-bind=[::]:{}", spec.ports.admin),
        format!("--admin-token-file={TOKEN_DIRECTORY}/token"),
        format!("--workers={}", workers(spec)),
        format!("--worker-class={}", spec.worker_class),
    ];
    if let Some(threads) = spec.threads {
        arguments.push(format!("--threads={threads}"));
    }
    // Where the operator is away, the pod goes on in the same manner.
    let delay = spec.autoscaling.behavior.workers_scale_down.stabilization_seconds;
    arguments.push(format!("--scale-down-delay={delay}"));
    arguments.push(format!("--drain-delay={}", spec.drain.delay_seconds));
    arguments.push(format!("--graceful-timeout={}", spec.drain.graceful_timeout_seconds));
    if spec.preload {
        arguments.push("--preload".to_owned());
    }
    arguments
}

/// A pod that is told by signals has a fixed number to count from: a range would move by itself.
fn workers(spec: &GunicornAppSpec) -> String {
    let workers = &spec.workers;
    match (workers.most(), spec.scaling.commands) {
        (None, _) => "auto".to_owned(),
        (Some(_), Commands::Signals) => workers.first().to_string(),
        (Some(most), Commands::Absolute) if most == workers.fewest() => most.to_string(),
        (Some(most), Commands::Absolute) => format!("{}..{most}", workers.fewest()),
    }
}

fn unknown(name: &str) -> Invalid {
    let meant = unknown_names_hint([name]);
    let hint = meant.first().and_then(|text| text.split_once("; ")).map(|(_, hint)| format!("; {hint}"));
    Invalid::Settings(format!("{name} is not a setting of podicorn{}", hint.unwrap_or_default()))
}

/// The flags that give a setting this value.
fn flags(setting: &Setting, value: &Value) -> Result<Vec<String>, Invalid> {
    let name = setting.name;
    if let Status::Unsupported(what) = setting.status {
        if *value == Value::Bool(false) {
            return Ok(Vec::new());
        }
        return Err(Invalid::Settings(format!("{name} is not supported: {what}")));
    }
    let Some(flag) = setting.long_flag() else {
        return Err(Invalid::Settings(format!(
            "{name} can only be set in a config file, which settings.config may name"
        )));
    };
    let refused = |expected: &str| {
        let shown = value.to_string();
        Err(Invalid::Settings(format!("{name} is {expected}, and not {shown}")))
    };
    match setting.takes {
        Takes::True | Takes::False => match value {
            Value::Bool(wanted) if *wanted == (setting.takes == Takes::True) => Ok(vec![flag.to_owned()]),
            Value::Bool(_) => Ok(Vec::new()),
            _ => refused("true or false"),
        },
        Takes::Value | Takes::Optional(_) => match text(value) {
            Some(text) => Ok(vec![format!("{flag}={text}")]),
            None => refused("a text or a number"),
        },
        Takes::Values => {
            let items: Option<Vec<String>> = match value {
                Value::Array(items) => items.iter().map(text).collect(),
                single => text(single).map(|text| vec![text]),
            };
            match items {
                Some(items) => Ok(items.into_iter().map(|text| format!("{flag}={text}")).collect()),
                None => refused("a text or a list of texts"),
            }
        }
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}
