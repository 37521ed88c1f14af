//! The table of settings, and all that is made from it.
//!
//! [`table()`] is the one list of what can be set: name, flags, type, default, unit and help. From it come the command
//! line ([`parse_command_line`]), the environment ([`environment_layers`]), the keys of the config file
//! ([`layer_from_config_file`]), `--help`, `--print-config`, the page `docs/settings.md` ([`reference()`])
//! and the settings of the Helm chart ([`chart_values()`]).
//!
//! Each origin becomes a [`Layer`]: values already checked and in one plain (JSON) form, each with the place it was set.
//! [`merge()`] lays the layers over the defaults and gives typed [`Settings`]:
//!
//! defaults < `WEB_CONCURRENCY`, `PORT`, … < config file < `PODICORN_<NAME>` < `GUNICORN_CMD_ARGS` < command line.
//!
//! Some settings are needed before the config file is read (which file? in which directory? by which interpreter?):
//! [`early`] gives those.
//!
//! Nothing here opens a file, reads the environment or prints: the caller hands in variables and a [`Host`], and writes
//! out what comes back. Only [`Host::of_process`] looks at the machine.
//!
//! Names, types, defaults and validators are Gunicorn 27's, except where a setting's `details` say otherwise.

mod abbreviation;
mod bind;
mod chart;
mod class;
mod cli;
mod env;
mod error;
mod gate;
mod hint;
mod host;
mod layer;
mod merge;
mod migration;
mod networks;
mod number;
mod print;
mod reference;
mod settings;
#[cfg(test)]
mod shell;
mod table;
mod value;
mod workers;

pub use bind::{Bind, BindError};
pub use chart::{chart_flags, chart_schema, chart_values};
pub use class::WorkerClass;
pub use cli::{CommandLine, Exit, help, parse_command_line};
pub use env::{EnvLayers, environment_layers, environment_name};
pub use error::SettingsError;
pub use hint::unknown_names_hint;
pub use host::Host;
pub use layer::{Entry, Layer, Source, layer_from_config_file};
pub use merge::{Early, early, merge};
pub use migration::{Finding, Verdict, assess};
pub use networks::{Network, NetworkError, Peers};
pub use reference::reference;
pub use settings::{HeaderMap, LogFormat, LogLevel, LogTarget, Settings};
pub use table::{DefaultValue, Kind, Origin, Section, Setting, Status, Takes, find, table};
pub use workers::{MAX_WORKERS, Workers, WorkersError};

/// The version that `--version` prints and the sentences about unsupported settings name.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
