//! A kubelet, and a scheduler in one, whose pods are processes on loopback.
//!
//! Every pod gets an address of its own in 127/8, and there runs the **real** server with the pod's own arguments: what
//! the operator talks to is what it would talk to in a cluster. Pods of images that are named *light* have an admin
//! server within this process instead ([`light`]), for tests with thousands of them.
//!
//! What it does as a kubelet does: it starts containers only when their Secrets are there and refreshes those files
//! later, probes readiness by HTTP, restarts what has ended, sends TERM on deletion and KILL when the grace period is
//! over, and reports all that in the pod's status. What it does not: limits, images, networks, liveness probes.

mod address;
mod container;
pub mod light;
mod logs;
mod pod;
mod status;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::control_plane::ControlPlane;
use crate::error::BedError;
use crate::process::{Process, read_log};
use address::Addresses;
use light::{Behaviour, Loads};

/// The one node there is.
pub(crate) const NODE: &str = "bed";

/// What an image stands for.
#[derive(Debug, Clone)]
pub enum Image {
    /// The app's directory: `podicorn` is started there.
    Directory(PathBuf),
    /// An admin server within this process.
    Light(Behaviour),
    /// A program that is not podicorn, with what its environment has beside the pod's.
    Program { path: PathBuf, environment: Vec<(String, String)> },
}

pub type Images = BTreeMap<String, Image>;

#[derive(Debug)]
pub struct Kubelet {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    client: ClientOf,
    directory: PathBuf,
    /// None: the suite has light pods only.
    podicorn: Option<PathBuf>,
    images: Images,
    addresses: Addresses,
    pub(crate) loads: Loads,
    /// The running container of each pod, by namespace and name.
    containers: Mutex<HashMap<(String, String), Arc<Process>>>,
}

/// A [`Client`] has no Debug of its own.
#[derive(Clone)]
pub(crate) struct ClientOf(pub(crate) Client);

impl std::fmt::Debug for ClientOf {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Client")
    }
}

impl Kubelet {
    pub async fn start(
        plane: &ControlPlane,
        podicorn: Option<PathBuf>,
        images: Images,
    ) -> Result<Self, BedError> {
        raise_file_limit();
        let client = plane.admin().await?;
        let directory = plane.directory().join("kubelet");
        std::fs::create_dir_all(&directory).map_err(BedError::io(directory.display().to_string()))?;
        let shared = Arc::new(Shared {
            client: ClientOf(client.clone()),
            directory,
            podicorn,
            images,
            addresses: Addresses::default(),
            loads: Loads::default(),
            containers: Mutex::default(),
        });
        let (port, logs) = logs::serve(plane, shared.clone()).await?;
        register(&client, port).await?;
        let pods = tokio::spawn(run(shared.clone()));
        Ok(Self { shared, tasks: vec![logs, pods] })
    }

    /// What a pod's container has printed so far.
    pub fn log(&self, namespace: &str, pod: &str) -> String {
        read_log(&self.shared.log_path(namespace, pod))
    }

    /// Sends a signal to the first process of a pod's container.
    pub fn signal(&self, namespace: &str, pod: &str, signal: Signal) -> Result<(), BedError> {
        let container = self.shared.container(namespace, pod);
        let container =
            container.ok_or_else(|| BedError::Unexpected(format!("{namespace}/{pod} does not run")))?;
        container.signal(signal);
        Ok(())
    }

    /// The load of an app whose pods are light; they share it evenly.
    pub fn set_load(&self, namespace: &str, app: &str, requests_per_second: f64, service_seconds: f64) {
        self.shared.loads.set(namespace, app, requests_per_second, service_seconds);
    }

    pub fn loads(&self) -> &Loads {
        &self.shared.loads
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Ok(mut containers) = self.shared.containers.lock() {
            containers.clear();
        }
    }
}

impl Shared {
    pub(crate) fn log_path(&self, namespace: &str, pod: &str) -> PathBuf {
        self.directory.join(format!("{namespace}_{pod}.log"))
    }

    fn container(&self, namespace: &str, pod: &str) -> Option<Arc<Process>> {
        self.containers.lock().ok()?.get(&(namespace.to_owned(), pod.to_owned())).cloned()
    }

    fn set_container(&self, namespace: &str, pod: &str, process: Option<Arc<Process>>) {
        let key = (namespace.to_owned(), pod.to_owned());
        if let Ok(mut containers) = self.containers.lock() {
            match process {
                Some(process) => containers.insert(key, process),
                None => containers.remove(&key),
            };
        }
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.0.clone(), namespace)
    }

    fn directory(&self) -> &Path {
        &self.directory
    }
}

async fn register(client: &Client, port: u16) -> Result<(), BedError> {
    let api = Api::<Node>::all(client.clone());
    let params = PatchParams::apply("podicorn-testbed").force();
    api.patch(
        NODE,
        &params,
        &Patch::Apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})),
    )
    .await?;
    let status = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "conditions": [{"type": "Ready", "status": "True", "reason": "Bed", "message": "it always is",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }});
    api.patch_status(NODE, &params, &Patch::Apply(status)).await?;
    Ok(())
}

/// One task for each pod; this one tells them of changes.
async fn run(shared: Arc<Shared>) {
    let mut known: HashMap<String, watch::Sender<Option<Pod>>> = HashMap::new();
    let api = Api::<Pod>::all(shared.client.0.clone());
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                let uid = pod.uid().unwrap_or_default();
                if let Some(sender) = known.get(&uid) {
                    sender.send_replace(Some(pod));
                } else {
                    let (sender, changes) = watch::channel(Some(pod.clone()));
                    known.insert(uid, sender);
                    tokio::spawn(pod::run(shared.clone(), pod, changes));
                }
            }
            Ok(Event::Delete(pod)) => {
                if let Some(sender) = known.remove(&pod.uid().unwrap_or_default()) {
                    sender.send_replace(None);
                }
            }
            // The watcher tries again by itself.
            Ok(Event::Init | Event::InitDone) => {}
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
        }
    }
}

/// Thousands of light pods have a listener each.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // The old limit does for smaller suites.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
