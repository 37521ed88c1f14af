//! What can be wrong with the settings. Each message says what, where and what to do.

use crate::{Source, VERSION};

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// A value that its setting does not take. `usage`: not even of the right type on a command line, where argparse
    /// exits 2.
    #[error("invalid value for {name}: {given} ({place}): it must be {expected}")]
    Invalid { name: &'static str, given: String, place: Source, expected: String, usage: bool },

    /// A setting, or a value of it, that Gunicorn has and this version does not.
    #[error("{name} = {given} ({place}) is not supported by Podicorn {VERSION}: {instead}")]
    Unsupported { name: &'static str, given: String, place: Source, instead: String },

    /// `GUNICORN_CMD_ARGS` cannot be split into words or is not a command line.
    #[error("environment variable GUNICORN_CMD_ARGS: {message}")]
    GunicornCmdArgs { message: String },

    /// Neither the command line nor the config file names an app.
    #[error(
        "no application module specified: name it on the command line, as in `podicorn myproject.wsgi:application`, or \
         set wsgi_app in the config file"
    )]
    NoApp,

    /// The table and the typed settings disagree: a fault in Podicorn, which a test rules out.
    #[error("internal error: the merged settings cannot be read: {0}")]
    Internal(String),
}

impl SettingsError {
    /// Gunicorn's exit code: 2 for a command line that cannot be read, 1 for a value that is refused.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::GunicornCmdArgs { .. } | Self::Invalid { usage: true, .. } => 2,
            _ => 1,
        }
    }
}
