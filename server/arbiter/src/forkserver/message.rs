//! The messages of the control socket as Rust types.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The answer to `load_config`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Configured {
    /// The file that was read, if one was.
    pub path: Option<String>,
    pub values: Map<String, Value>,
    /// Settings whose values stay in Python: hooks and objects.
    pub python: Vec<String>,
    /// Names in the file that are no settings.
    #[serde(default)]
    pub others: Vec<String>,
}

/// The answer to `start`.
#[derive(Debug, Clone, Deserialize)]
pub struct Started {
    pub preloaded: bool,
    /// Python threads that a fork would lose.
    #[serde(default)]
    pub threads: Vec<String>,
    /// Processes get names: setproctitle is installed.
    #[serde(default)]
    pub titled: bool,
}

/// What went wrong in the fork server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub kind: FailureKind,
    pub exit_code: i32,
    pub message: String,
    pub traceback: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    Config,
    AppImport,
    App,
    Fork,
    Hook,
    Internal,
}

/// A listener, as Python needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenerDescription {
    /// `tcp` or `unix`.
    pub family: &'static str,
    /// As Gunicorn logs it: `http://127.0.0.1:8000`, `unix:/run/app.sock`.
    pub address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A Python-side hook and its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    WhenReady,
    PreExec,
    OnExit,
    ChildExit { pid: i32, age: u64 },
    WorkersChanged { new: u32, old: Option<u32> },
}

impl Hook {
    /// Gunicorn's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::WhenReady => "when_ready",
            Self::PreExec => "pre_exec",
            Self::OnExit => "on_exit",
            Self::ChildExit { .. } => "child_exit",
            Self::WorkersChanged { .. } => "nworkers_changed",
        }
    }

    /// The request's fields.
    pub fn body(self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("name".into(), self.name().into());
        match self {
            Self::WhenReady | Self::PreExec | Self::OnExit => {}
            Self::ChildExit { pid, age } => {
                body.insert("pid".into(), pid.into());
                body.insert("age".into(), age.into());
            }
            Self::WorkersChanged { new, old } => {
                body.insert("new".into(), new.into());
                body.insert("old".into(), old.into());
            }
        }
        body
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
