//! Bringing a generation up: interpreter, config, settings, sockets, app. Runs beside the loop, so that signals and
//! probes are answered meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use podicorn_settings::{Settings, SettingsError};
use serde_json::{Map, Value, json};

use crate::app_metrics::AppMetrics;
use crate::cgroup;
use crate::forkserver::client::Descriptor;
use crate::forkserver::{Client, Configured, RequestError, Started};
use crate::listeners::{ListenError, Listener, Options, open_all};
use crate::memory::process;
use crate::origin::Origin;
use crate::telemetry::log::Relay;
use crate::telemetry::traces::Sampling;

/// Reading a config file that says nothing of a boot timeout takes no longer than this.
const CONFIG_DEADLINE: Duration = Duration::from_secs(120);
/// Stands for "no deadline".
pub const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(
        "no room for a second preloaded app: the present one holds {} MiB and the container has {} MiB left of its \
         {} MiB; raise the memory limit, or restart instead of reloading",
        .needed >> 20, .headroom >> 20, .limit >> 20
    )]
    Memory { needed: u64, headroom: u64, limit: u64 },
}

impl LaunchError {
    /// What the process exits with if this ends it.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Request(RequestError::Failed(failure)) => failure.exit_code,
            Self::Settings(error) => error.exit_code(),
            // A fork server that dies is a worker boot error; a hung import too.
            Self::Request(RequestError::Gone | RequestError::Deadline { .. }) => 3,
            Self::Request(_) | Self::Listen(_) | Self::Memory { .. } => 1,
        }
    }

    /// Python's traceback, where it has one.
    pub fn traceback(&self) -> Option<&str> {
        match self {
            Self::Request(RequestError::Failed(failure)) => failure.traceback.as_deref(),
            _ => None,
        }
    }

    /// The fork server did not say what is wrong: it died.
    pub fn is_death(&self) -> bool {
        matches!(self, Self::Request(RequestError::Gone))
    }
}

/// The settings of a generation and what belongs to them.
#[derive(Debug, Clone)]
pub struct Blueprint {
    pub settings: Arc<Settings>,
    pub listeners: Vec<Arc<Listener>>,
    /// Hooks that the config file defines.
    pub hooks: BTreeSet<String>,
    /// What the config file says, as it was read: of this, the command line and the environment the settings are made.
    pub configured: Arc<Configured>,
}

impl Blueprint {
    pub fn new(settings: Arc<Settings>, configured: Configured, listeners: Vec<Arc<Listener>>) -> Self {
        let hooks = configured.python.iter().cloned().collect();
        Self { settings, listeners, hooks, configured: Arc::new(configured) }
    }
}

/// What every fork server is given.
#[derive(Debug, Clone)]
pub struct Shared {
    pub memfd: Descriptor,
    pub doorbell: Descriptor,
    /// By which busy workers wake idle ones.
    pub nudge: Descriptor,
    /// Absent where no traces are exported.
    pub tracing: Option<Sampling>,
    /// Where processes leave what the app counts, if that is wanted and possible.
    pub app_metrics: Option<Arc<AppMetrics>>,
}

/// Reads the config file in the fork server and merges the settings.
pub async fn configure(client: &Client, origin: &Origin) -> Result<(Arc<Settings>, Configured), LaunchError> {
    let reply = client.request("load_config", origin.load_config(), Vec::new(), CONFIG_DEADLINE);
    let configured: Configured = reply.await?;
    let settings = origin.settings(&configured)?;
    Ok((settings, configured))
}

/// Opens the sockets that the settings name, keeping those that are open already.
pub async fn listen(
    settings: &Settings,
    origin: &Origin,
    existing: &[Arc<Listener>],
) -> Result<Vec<Arc<Listener>>, LaunchError> {
    let options = Options {
        backlog: settings.backlog,
        reuse_port: settings.reuse_port,
        umask: settings.umask,
        owner: (settings.user, settings.group),
        secure: settings.is_secure(),
    };
    Ok(open_all(&origin.binds(settings), options, existing, origin.handed_on()).await?)
}

/// Why a fork server is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The hook `on_starting` runs.
    First,
    /// The hook `on_reload` runs.
    Reload,
    /// A fork server died: no hook.
    Restart,
    /// `--check-config`: the app is imported whatever `preload_app` says, nothing listens.
    Check,
}

/// Hands everything over; with `preload_app` the app is imported before the reply. `records`: by which the arbiter's log
/// records come to Python's logging.
pub async fn start(
    client: &Client,
    blueprint: &Blueprint,
    generation: u32,
    occasion: Occasion,
    shared: &Shared,
    records: Option<&Relay>,
) -> Result<Started, LaunchError> {
    let settings = &blueprint.settings;
    let mut values = settings.to_json();
    if occasion == Occasion::Check {
        values["preload_app"] = true.into();
    }
    let descriptions: Vec<_> = blueprint.listeners.iter().map(|listener| listener.description()).collect();
    let body = json!({
        "settings": values,
        "generation": generation,
        "arbiter_pid": std::process::id(),
        "reload": occasion == Occasion::Reload,
        "hooks_run": matches!(occasion, Occasion::Restart | Occasion::Check),
        "listeners": descriptions,
        "records": records.is_some(),
        "tracing": shared.tracing,
        "app_metrics": shared.app_metrics.as_ref().and_then(|directory| directory.share()),
    });
    let body: Map<String, Value> = match body {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let sockets = blueprint.listeners.iter().map(|listener| Arc::clone(&listener.socket));
    let descriptors = [&shared.memfd, &shared.doorbell, &shared.nudge];
    let records = records.map(Relay::reader);
    let descriptors = descriptors.into_iter().map(Arc::clone).chain(sockets).chain(records).collect();
    let deadline = settings.boot_timeout.unwrap_or(FOR_EVER);
    Ok(client.request("start", body, descriptors, deadline).await?)
}

/// Whether a second preloaded app fits beside the one in the fork server `present`. Reads files of the kernel: call it
/// on a blocking thread.
pub fn check_headroom(present: i32) -> Result<(), LaunchError> {
    let (Some(memory), Some(needed)) = (cgroup::memory(), process::rollup(present)) else {
        return Ok(());
    };
    let (needed, headroom) = (needed.rss, memory.headroom());
    if headroom < needed {
        return Err(LaunchError::Memory { needed, headroom, limit: memory.limit.unwrap_or(headroom) });
    }
    Ok(())
}
