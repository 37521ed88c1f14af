//! Where settings come from: fixed at start, read again at every reload together with the config file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use podicorn_settings::{
    Bind, CommandLine, EnvLayers, Host, Settings, SettingsError, early, environment_layers,
    layer_from_config_file, merge, table, unknown_names_hint,
};
use serde_json::{Map, Value, json};
use socket2::Socket;

use crate::forkserver::Configured;
use crate::systemd::{self, ActivationError};
use crate::upgrade::{Predecessor, UpgradeError};

#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Activation(#[from] ActivationError),
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    #[error("cannot tell the working directory (was it deleted?): {0}; start in another one or set --chdir")]
    WorkingDirectory(#[from] std::io::Error),
}

/// The command line and the environment.
#[derive(Debug)]
pub struct Origin {
    command_line: CommandLine,
    environment: EnvLayers,
    host: Host,
    directory: PathBuf,
    activated: Vec<Bind>,
    /// The pid of the server that has started this one by USR2.
    predecessor: Option<i32>,
    /// Its sockets, until the first look at `bind`.
    handed_on: Mutex<Vec<Socket>>,
}

impl Origin {
    pub fn new(command_line: CommandLine) -> Result<Self, OriginError> {
        let environment = environment_layers(|name| std::env::var(name).ok())?;
        let host = Host::of_process()?;
        let directory = logical_directory(&host.working_directory);
        let predecessor = Predecessor::of(|name| std::env::var(name).ok())?;
        let pid = predecessor.as_ref().map(|server| server.pid);
        let activated = systemd::activated(|name| std::env::var(name).ok(), pid)?;
        let handed_on = Mutex::new(predecessor.map(|server| server.sockets).unwrap_or_default());
        Ok(Self { command_line, environment, host, directory, activated, predecessor: pid, handed_on })
    }

    /// The pid of the server that has started this one by USR2.
    pub fn predecessor(&self) -> Option<i32> {
        self.predecessor
    }

    /// Its sockets, once.
    pub fn handed_on(&self) -> Vec<Socket> {
        std::mem::take(&mut *self.handed_on.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where every fork server starts, whatever `chdir` says: relative paths on the command line count from there.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where to listen: on what `bind` names, or on what systemd has opened instead.
    pub fn binds(&self, settings: &Settings) -> Vec<Bind> {
        if self.activated.is_empty() {
            return settings.bind.clone();
        }
        let passed = settings.bind.iter().filter(|bind| matches!(bind, Bind::Fd(_)));
        let mut binds: Vec<Bind> = passed.cloned().collect();
        for bind in &self.activated {
            if !binds.contains(bind) {
                binds.push(bind.clone());
            }
        }
        binds
    }

    /// Sockets that systemd has opened for us.
    pub fn activated(&self) -> usize {
        self.activated.len()
    }

    /// The interpreter asked for by `--python` or `PODICORN_PYTHON`.
    pub fn python(&self) -> Option<std::ffi::OsString> {
        early(&self.environment, &self.command_line).python.map(Into::into)
    }

    /// The request `load_config`.
    pub fn load_config(&self) -> Map<String, Value> {
        let early = early(&self.environment, &self.command_line);
        let known: Vec<&str> = table().iter().map(|setting| setting.name).collect();
        let body = json!({
            "path": early.config,
            "explicit": early.config.is_some(),
            "chdir": early.chdir,
            "pythonpath": early.pythonpath,
            "env": early.raw_env,
            "known": known,
        });
        match body {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    /// Lays everything over the defaults.
    pub fn settings(&self, configured: &Configured) -> Result<Arc<Settings>, SettingsError> {
        let layer = configured
            .path
            .as_deref()
            .map(|path| layer_from_config_file(&configured.values, &configured.python, path))
            .transpose()?;
        let mut settings = merge(&self.environment, layer.as_ref(), &self.command_line, &self.host)?;
        let path = configured.path.as_deref().unwrap_or_default();
        let hints = unknown_names_hint(configured.others.iter().map(String::as_str));
        settings.add_notices(hints.into_iter().map(|hint| format!("config file {path}: {hint}")));
        Ok(Arc::new(settings))
    }
}

/// `$PWD` where it names the working directory: with a symlink such as `current` in it, a reload follows the link to the
/// new release, as in Gunicorn.
fn logical_directory(physical: &Path) -> PathBuf {
    let named = std::env::var_os("PWD").map(PathBuf::from).filter(|path| path.is_absolute());
    named
        .filter(|path| path.canonicalize().is_ok_and(|real| real == physical))
        .unwrap_or_else(|| physical.to_path_buf())
}
