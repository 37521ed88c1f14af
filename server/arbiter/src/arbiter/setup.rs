//! What the settings say, put to work: log, limits, pid file.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use podicorn_settings::{LogFormat, LogLevel, LogTarget, Settings};
use tokio::sync::mpsc;

use super::run::RunError;
use super::{Input, Python};
use crate::app_metrics::{self, AppMetrics};
use crate::cgroup;
use crate::launch;
use crate::memory;
use crate::pidfile::{Pidfile, PidfileError};
use crate::pool::Limits;
use crate::scale::Workers;
use crate::stacks::StackReader;
use crate::telemetry::log::{self, Format, Level, LogHandle, Target};
use crate::telemetry::statsd::Statsd;
use crate::telemetry::traces::{self, Traces};

/// The longest that the exit waits for a slow reader of the log.
pub(super) const FLUSH_TIME: Duration = Duration::from_secs(1);

pub(super) fn log_options(settings: &Settings) -> (Level, Format, Target) {
    let level = match settings.loglevel {
        LogLevel::Debug => Level::Debug,
        LogLevel::Info => Level::Info,
        LogLevel::Warning => Level::Warning,
        LogLevel::Error => Level::Error,
        LogLevel::Critical => Level::Critical,
    };
    let format = match settings.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let target = match &settings.errorlog {
        Some(LogTarget::File(path)) => Target::File(path.clone()),
        Some(LogTarget::Standard) | None => Target::Stderr,
    };
    (level, format, target)
}

/// Logs and traces: one subscriber serves both.
pub(super) fn start_telemetry(
    settings: &Settings,
    target: Target,
) -> Result<(LogHandle, Option<Traces>), RunError> {
    let traces::Start { traces, complaints } = traces::start(&settings.proc_name);
    let (level, format, _) = log_options(settings);
    let log = log::init(level, format, target, traces.as_ref())?;
    for complaint in complaints {
        tracing::warn!("{complaint}");
    }
    Ok((log, traces))
}

pub(super) fn announce(settings: &Settings) {
    tracing::info!("Starting podicorn {}", env!("CARGO_PKG_VERSION"));
    for notice in settings.notices() {
        tracing::warn!("{notice}");
    }
    if let Some(most) = auto_start(settings) {
        tracing::info!("Workers: auto is from 1 to {most}, for {:.2} cores", cgroup::cores());
    }
}

pub(super) fn limits(settings: &Settings) -> Limits {
    Limits {
        boot_timeout: settings.boot_timeout.unwrap_or(launch::FOR_EVER),
        timeout: settings.timeout,
        graceful_timeout: settings.graceful_timeout,
        max_unavailable: settings.max_unavailable as usize,
    }
}

pub(super) fn memory_limits(settings: &Settings) -> memory::Limits {
    memory::Limits { soft: settings.worker_max_memory, hard: settings.worker_max_memory_hard }
}

pub(super) fn configured_workers(settings: &Settings) -> Workers {
    match settings.workers {
        podicorn_settings::Workers::Fixed(count) => Workers::Fixed(count),
        podicorn_settings::Workers::Range { min, max } => Workers::Range { min, max },
        podicorn_settings::Workers::Auto => Workers::Range { min: 1, max: auto_workers() },
    }
}

/// How many workers `auto` begins with, if they fit the memory limit.
pub(super) fn auto_start(settings: &Settings) -> Option<u32> {
    (settings.workers == podicorn_settings::Workers::Auto).then(auto_workers)
}

fn auto_workers() -> u32 {
    podicorn_policy::seed_for_cores(cgroup::cores()).min(podicorn_settings::MAX_WORKERS)
}

/// Where datagrams are wanted. Looks the receiver's name up.
pub(super) fn statsd(settings: &Settings, now: Instant) -> Option<Statsd> {
    let address = settings.statsd_host.as_ref()?;
    // As in Gunicorn the server goes on without it: a receiver that is not there yet is no reason to serve nobody.
    Statsd::new(address, &settings.statsd_prefix, &settings.dogstatsd_tags, now)
        .map_err(|error| tracing::error!("{error}; nothing is sent"))
        .ok()
}

/// A place for what the app counts, if there is a `/metrics` to show it.
pub(super) fn app_metrics(settings: &Settings) -> Option<Arc<AppMetrics>> {
    if settings.admin_bind.is_none() || !settings.app_metrics {
        return None;
    }
    let given = settings.raw_env.iter().filter_map(|pair| pair.split_once('='));
    let given: HashMap<&str, &str> = given.collect();
    let variable =
        |name: &str| given.get(name).map(|value| (*value).to_owned()).or_else(|| std::env::var(name).ok());
    if let Some(path) = app_metrics::users_directory(variable) {
        tracing::info!("Metrics of the app are read in its own directory {}", path.display());
        return Some(Arc::new(AppMetrics::of_user(settings.chdir.join(path))));
    }
    match AppMetrics::create((settings.user, settings.group)) {
        Ok(Some(metrics)) => Some(Arc::new(metrics)),
        Ok(None) => {
            tracing::debug!(
                "No directory in memory: the app's prometheus_client metrics stay with its workers"
            );
            None
        }
        Err(error) => {
            tracing::warn!("The app's prometheus_client metrics stay with its workers: {error}");
            None
        }
    }
}

/// As in Gunicorn a server that USR2 has started takes another name until it is alone.
pub(super) fn open_pidfile(settings: &Settings, second: bool) -> Result<Option<Pidfile>, PidfileError> {
    let Some(path) = &settings.pidfile else { return Ok(None) };
    let mut name = path.clone().into_os_string();
    if second {
        name.push(".2");
    }
    Pidfile::create(Path::new(&name)).map(Some)
}

pub(super) fn stack_reader(
    pipe: OwnedFd,
    who: Python,
    inputs: &mpsc::UnboundedSender<Input>,
) -> std::io::Result<StackReader> {
    let inputs = inputs.clone();
    StackReader::start(pipe, move |text| {
        let _ = inputs.send(Input::Stacks { who, text });
    })
}
