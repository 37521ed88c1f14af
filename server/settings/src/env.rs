//! The environment: `PODICORN_<NAME>`, `GUNICORN_CMD_ARGS`, and the variables that change defaults.

use serde_json::Value;

use crate::cli::{self, CommandLine};
use crate::table::{Kind, Setting, find, table};
use crate::value::{self, TextFrom};
use crate::{Layer, SettingsError, Source};

/// What the environment sets, in layers of rising precedence; the config file goes between the first two.
#[derive(Debug, Clone, Default)]
pub struct EnvLayers {
    /// Defaults that `WEB_CONCURRENCY`, `PORT`, `FORWARDED_ALLOW_IPS`, `SENDFILE` and being in a pod change.
    pub defaults: Layer,
    /// `PODICORN_<NAME>`.
    pub podicorn: Layer,
    /// `GUNICORN_CMD_ARGS`, read as a command line. Its positional arguments are ignored, as in Gunicorn.
    pub gunicorn_cmd_args: Layer,
    /// In a Kubernetes pod, that is, `KUBERNETES_SERVICE_HOST` is set.
    pub in_pod: bool,
}

/// Seconds; above the idle timeout of common load balancers (60 s).
pub(crate) const POD_KEEPALIVE: u32 = 75;

/// The variable that sets a setting: `PODICORN_` and its name in upper case.
pub fn environment_name(setting: &str) -> String {
    format!("PODICORN_{}", setting.to_uppercase())
}

/// Reads the environment through `vars`. A `PODICORN_` variable with an empty value counts as not set.
pub fn environment_layers(vars: impl Fn(&str) -> Option<String>) -> Result<EnvLayers, SettingsError> {
    let in_pod = vars("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty());
    Ok(EnvLayers {
        defaults: defaults(&vars, in_pod)?,
        podicorn: podicorn(&vars)?,
        gunicorn_cmd_args: gunicorn_cmd_args(&vars)?,
        in_pod,
    })
}

fn podicorn(vars: &impl Fn(&str) -> Option<String>) -> Result<Layer, SettingsError> {
    let mut layer = Layer::default();
    for setting in table().iter().filter(|setting| settable(setting)) {
        let variable = environment_name(setting.name);
        let Some(text) = vars(&variable).filter(|text| !text.is_empty()) else { continue };
        let source = Source::Environment(variable);
        let value = value::from_texts(setting, &[text], TextFrom::Environment)
            .map_err(|problem| problem.at(setting, &source))?;
        layer.set(setting.name, value, source);
    }
    Ok(layer)
}

/// Dictionaries and Python callables have no form in a variable.
pub(crate) fn settable(setting: &Setting) -> bool {
    !matches!(setting.kind, Kind::Hook | Kind::Dict | Kind::Headers)
}

fn gunicorn_cmd_args(vars: &impl Fn(&str) -> Option<String>) -> Result<Layer, SettingsError> {
    let Some(text) = vars("GUNICORN_CMD_ARGS") else { return Ok(Layer::default()) };
    let words = shell_words::split(&text).map_err(|_| SettingsError::GunicornCmdArgs {
        message: format!("a quote is not closed in {text:?}"),
    })?;
    let CommandLine { layer, .. } = cli::parse(words.into_iter().map(Into::into), Source::GunicornCmdArgs)?;
    Ok(layer)
}

fn defaults(vars: &impl Fn(&str) -> Option<String>, in_pod: bool) -> Result<Layer, SettingsError> {
    let mut layer = Layer::default();
    let mut set = |name: &str, variable: &'static str, text: String| {
        let Some(setting) = find(name) else { return Ok(()) };
        let source = Source::DefaultFrom(variable);
        let value = value::from_texts(setting, &[text], TextFrom::Environment)
            .map_err(|problem| problem.at(setting, &source))?;
        layer.set(setting.name, value, source);
        Ok::<(), SettingsError>(())
    };
    if let Some(count) = vars("WEB_CONCURRENCY").filter(|text| !text.is_empty()) {
        set("workers", "WEB_CONCURRENCY", count)?;
    }
    if let Some(port) = vars("PORT").filter(|text| !text.is_empty()) {
        set("bind", "PORT", format!("0.0.0.0:{port}"))?;
    }
    // Set but empty means that no proxy is believed: that must not become the default.
    if let Some(peers) = vars("FORWARDED_ALLOW_IPS") {
        set("forwarded_allow_ips", "FORWARDED_ALLOW_IPS", peers)?;
    }
    if in_pod {
        set("keepalive", "KUBERNETES_SERVICE_HOST", POD_KEEPALIVE.to_string())?;
        set("admin_bind", "KUBERNETES_SERVICE_HOST", "[::]:9099".to_owned())?;
    }
    if let Some(word) = vars("SENDFILE") {
        let on = matches!(word.to_lowercase().as_str(), "y" | "1" | "yes" | "true");
        layer.set("sendfile", Value::Bool(on), Source::DefaultFrom("SENDFILE"));
    }
    Ok(layer)
}
