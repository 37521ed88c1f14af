//! The merged settings, typed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::{Bind, Peers, Source, WorkerClass, Workers};

/// Every setting that the arbiter acts on, typed; all the others by name in [`Settings::to_json`].
#[derive(Debug, Clone, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // they are independent switches, each with its own flag
pub struct Settings {
    /// The app to serve, as `MODULE:NAME`: the command line's argument, or else `wsgi_app`.
    #[serde(rename = "wsgi_app")]
    pub app: String,
    /// The interpreter asked for; `None` means: search.
    pub python: Option<PathBuf>,
    /// Absolute; the working directory if not set.
    pub chdir: PathBuf,
    /// Comma-separated directories for `sys.path`.
    pub pythonpath: Option<String>,
    /// `KEY=VALUE` pairs for the environment of the app.
    pub raw_env: Vec<String>,
    #[serde(deserialize_with = "none_is_false")]
    pub preload_app: bool,
    #[serde(deserialize_with = "none_is_false")]
    pub check_config: bool,
    #[serde(deserialize_with = "none_is_false")]
    pub print_config: bool,

    /// At least one.
    pub bind: Vec<Bind>,
    pub backlog: u32,
    #[serde(deserialize_with = "none_is_false")]
    pub reuse_port: bool,

    pub workers: Workers,
    #[serde(deserialize_with = "seconds")]
    pub scale_down_delay: Duration,
    /// The type in force: `sync` with more than one thread is gthread.
    pub worker_class: WorkerClass,
    pub threads: u32,
    pub worker_connections: u32,
    /// `None`: workers are never replaced for the number of requests they have served.
    #[serde(deserialize_with = "count_or_none")]
    pub max_requests: Option<u64>,
    pub max_requests_jitter: u64,
    /// Bytes of its own that a worker may hold before it is replaced; `None`: any.
    #[serde(deserialize_with = "count_or_none")]
    pub worker_max_memory: Option<u64>,
    /// The same before it is stopped at once.
    #[serde(deserialize_with = "count_or_none")]
    pub worker_max_memory_hard: Option<u64>,
    /// How many workers may be missing while others replace them.
    pub max_unavailable: u32,

    /// A ready worker that is silent for longer is killed; `None`: never.
    #[serde(deserialize_with = "seconds_or_none")]
    pub timeout: Option<Duration>,
    /// From TERM until what still runs is killed, `drain_delay` included.
    #[serde(deserialize_with = "seconds")]
    pub graceful_timeout: Duration,
    #[serde(deserialize_with = "seconds")]
    pub keepalive: Duration,
    /// A worker that is not ready after this long is killed; `None`: never.
    #[serde(deserialize_with = "seconds_or_none")]
    pub boot_timeout: Option<Duration>,
    /// A connection whose request head is not complete after this long gets 408; `None`: no limit.
    #[serde(deserialize_with = "seconds_or_none")]
    pub head_timeout: Option<Duration>,
    /// A request without the beginning of a response after this long gets 504; `None`: no limit.
    #[serde(deserialize_with = "seconds_or_none")]
    pub request_timeout: Option<Duration>,
    #[serde(deserialize_with = "seconds")]
    pub drain_delay: Duration,

    /// Bytes; 0: no limit; Gunicorn takes more than 8190 for 8190.
    pub limit_request_line: u64,
    /// 0 or more than 32768 means 32768.
    pub limit_request_fields: u64,
    /// Bytes; 0 means 8190.
    pub limit_request_field_size: u64,
    /// Bytes of a request body that are read before a Python worker is taken.
    pub body_buffer: u64,
    #[serde(deserialize_with = "none_is_false")]
    pub permit_obsolete_folding: bool,
    #[serde(deserialize_with = "none_is_false")]
    pub strip_header_spaces: bool,
    #[serde(deserialize_with = "none_is_false")]
    pub permit_unconventional_http_method: bool,
    #[serde(deserialize_with = "none_is_false")]
    pub permit_unconventional_http_version: bool,
    #[serde(deserialize_with = "none_is_false")]
    pub casefold_http_method: bool,
    pub header_map: HeaderMap,
    /// Upper-case names.
    pub forwarder_headers: Vec<String>,
    pub forwarded_allow_ips: Peers,
    /// Header name to the value that means https.
    pub secure_scheme_headers: BTreeMap<String, String>,
    pub root_path: Option<String>,
    pub sendfile: bool,

    /// Numeric id of the workers' user.
    pub user: u32,
    /// Numeric id of the workers' group.
    pub group: u32,
    pub umask: u32,
    #[serde(deserialize_with = "none_is_false")]
    pub initgroups: bool,
    pub pidfile: Option<PathBuf>,
    /// The name in process lists; the app if not set.
    pub proc_name: String,

    /// `Standard` is stdout; `None`: no access log.
    pub accesslog: Option<LogTarget>,
    pub access_log_format: String,
    /// `Standard` is stderr; `None`: no error log.
    pub errorlog: Option<LogTarget>,
    pub loglevel: LogLevel,
    #[serde(deserialize_with = "none_is_false")]
    pub capture_output: bool,
    pub log_format: LogFormat,
    /// `None`: no datagrams.
    pub statsd_host: Option<String>,
    pub statsd_prefix: String,
    pub dogstatsd_tags: String,
    #[serde(deserialize_with = "none_is_false")]
    pub enable_backlog_metric: bool,
    /// `None`: no request is slow.
    #[serde(deserialize_with = "seconds_or_none")]
    pub slow_request: Option<Duration>,

    /// Where the admin API listens; `None`: it is off.
    pub admin_bind: Option<Bind>,
    pub admin_token_file: Option<PathBuf>,
    /// What the app counts is part of `/metrics`.
    pub app_metrics: bool,
    /// In a Kubernetes pod, that is, `KUBERNETES_SERVICE_HOST` is set.
    pub in_pod: bool,

    #[serde(skip)]
    pub(crate) values: Map<String, Value>,
    #[serde(skip)]
    pub(crate) sources: BTreeMap<&'static str, Source>,
    #[serde(skip)]
    pub(crate) hooks: Vec<String>,
    #[serde(skip)]
    pub(crate) notices: Vec<String>,
}

impl Settings {
    /// Every setting by name, in the plain form that the fork server and the workers read.
    ///
    /// As in Gunicorn's `Config`, what depends on other things is worked out: `proc_name`, `sendfile`, `user`, `group`
    /// and `chdir` are the values in force. `workers` is the number to start with, and `workers_max` (no setting) the end
    /// of the range, or the same number; `worker_type` (no setting) is the alias of the type in force, `third-party` for a class
    /// of somebody else; `python_logging` (no setting) is [`Self::python_logging`]. Hooks are null: they stay in Python.
    pub fn to_json(&self) -> Value {
        let mut values = self.values.clone();
        values.insert("proc_name".to_owned(), self.proc_name.clone().into());
        values.insert("sendfile".to_owned(), self.sendfile.into());
        values.insert("worker_type".to_owned(), self.worker_class.as_str().into());
        values.insert("workers".to_owned(), self.workers.initial().into());
        values.insert("workers_max".to_owned(), self.workers.max().into());
        values.insert("python_logging".to_owned(), self.python_logging().into());
        for hook in crate::table().iter().filter(|setting| matches!(setting.kind, crate::Kind::Hook)) {
            values.insert(hook.name.to_owned(), Value::Null);
        }
        Value::Object(values)
    }

    /// The worker type as people know it: a type's alias, or the class of somebody else.
    pub fn worker_name(&self) -> &str {
        match self.worker_class {
            WorkerClass::ThirdParty => {
                self.values.get("worker_class").and_then(Value::as_str).unwrap_or_default()
            }
            own => own.as_str(),
        }
    }

    /// Whether the logs go through Python's logging, since they are set up in ways that only that knows.
    pub fn python_logging(&self) -> bool {
        let is_set = |name: &str| match self.values.get(name) {
            Some(Value::Bool(on)) => *on,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Object(map)) => !map.is_empty(),
            _ => false,
        };
        let class = self.values.get("logger_class").and_then(Value::as_str);
        let own_class = class.is_some_and(|class| !BUILT_IN_LOGGERS.contains(&class));
        own_class || ["syslog", "logconfig", "logconfig_json", "logconfig_dict"].into_iter().any(is_set)
    }

    /// Whether the server speaks TLS (Gunicorn's `is_ssl`).
    pub fn is_secure(&self) -> bool {
        ["certfile", "keyfile"]
            .iter()
            .any(|name| self.values.get(*name).and_then(Value::as_str).is_some_and(|file| !file.is_empty()))
    }

    /// Where the value of a setting comes from.
    pub fn source_of(&self, name: &str) -> &Source {
        self.sources.get(name).unwrap_or(&Source::Default)
    }

    /// Names of the hooks that the config file defines, in order.
    pub fn hooks(&self) -> &[String] {
        &self.hooks
    }

    /// Says more with them.
    pub fn add_notices(&mut self, more: impl IntoIterator<Item = String>) {
        self.notices.extend(more);
    }

    /// What the user should know about settings that were accepted without effect: a line each, for the start-up log.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// What `--print-config` prints.
    pub fn print_config(&self) -> String {
        crate::print::print_config(self)
    }
}

/// Names of the logger class for which the server's own logs stand in: Gunicorn's, and that which also counts for `StatsD`.
const BUILT_IN_LOGGERS: [&str; 3] =
    ["gunicorn.glogging.Logger", "gunicorn.instrument.statsd.Statsd", "simple"];

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum LogTarget {
    /// `-`: stdout for the access log, stderr for the error log.
    Standard,
    File(PathBuf),
}

impl From<String> for LogTarget {
    fn from(text: String) -> Self {
        if text == "-" { Self::Standard } else { Self::File(text.into()) }
    }
}

/// Least level of the error log, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "String")]
pub enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl LogLevel {
    /// By Gunicorn's name, in any case.
    pub fn named(text: &str) -> Option<Self> {
        match text.to_lowercase().as_str() {
            "debug" => Some(Self::Debug),
            "info" => Some(Self::Info),
            "warning" => Some(Self::Warning),
            "error" => Some(Self::Error),
            "critical" => Some(Self::Critical),
            _ => None,
        }
    }
}

impl From<String> for LogLevel {
    /// An unknown name means info, as in Gunicorn.
    fn from(text: String) -> Self {
        Self::named(&text).unwrap_or(Self::Info)
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    /// One object per line.
    Json,
}

/// What to do with header fields whose names cannot be told apart in environ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderMap {
    Drop,
    Refuse,
    Dangerous,
}

fn none_is_false<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(false))
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn seconds_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(Some(seconds(deserializer)?).filter(|duration| !duration.is_zero()))
}

fn count_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Some(u64::deserialize(deserializer)?).filter(|count| *count > 0))
}
