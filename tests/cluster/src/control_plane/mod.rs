//! etcd, kube-apiserver and, where wanted, kube-controller-manager, on loopback and in a temporary directory.
//!
//! Authorization is by RBAC and every request of others than the bed itself is in the audit log, so tests can say who
//! wrote what. Dropped, all of it is gone.

pub mod audit;
mod flags;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::assets::Assets;
use crate::certificates::Authority;
use crate::error::BedError;
use crate::ports;
use crate::process::{Process, Start, tail};
use crate::wait::{PATIENCE, eventually};
use audit::Audit;

/// The user that the bed itself acts as. Its requests are not audited.
pub const ADMIN: &str = "podicorn-testbed";

#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Deployments, Jobs, HPAs and garbage collection are acted upon.
    pub controllers: bool,
}

#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they are to end.
    controllers: Option<Process>,
    apiserver: Mutex<Arc<Process>>,
    etcd: Process,
    authority: Authority,
    assets: Assets,
    places: Places,
    directory: TempDir,
}

/// Where what listens and lies.
#[derive(Debug, Clone)]
struct Places {
    directory: PathBuf,
    etcd_port: u16,
    etcd_peer_port: u16,
    apiserver_port: u16,
    controllers_port: u16,
}

impl ControlPlane {
    pub async fn start(options: Options) -> Result<Self, BedError> {
        // A second call finds it installed, which is all right.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let assets = Assets::find()?;
        let directory =
            TempDir::with_prefix("podicorn-bed-").map_err(BedError::io("a temporary directory"))?;
        let places = Places {
            directory: directory.path().to_owned(),
            etcd_port: ports::free()?,
            etcd_peer_port: ports::free()?,
            apiserver_port: ports::free()?,
            controllers_port: ports::free()?,
        };
        let authority = Authority::new(directory.path())?;
        authority.server("apiserver")?;
        flags::write_audit_policy(&places)?;
        let etcd = Process::start(
            Start::new("etcd", &assets.etcd, places.log("etcd")).arguments(flags::etcd(&places)),
        )?;
        let apiserver = start_apiserver(&assets, &places, &authority, options)?;
        let mut plane = Self {
            controllers: None,
            apiserver: Mutex::new(Arc::new(apiserver)),
            etcd,
            authority,
            assets,
            places,
            directory,
        };
        plane.ready().await?;
        if options.controllers {
            let kubeconfig = plane.kubeconfig("system:kube-controller-manager", Some("system:masters"))?;
            let flags = flags::controllers(&plane.places, &plane.authority, &kubeconfig);
            plane.controllers = Some(Process::start(
                Start::new(
                    "kube-controller-manager",
                    &plane.assets.kube_controller_manager,
                    plane.places.log("controllers"),
                )
                .arguments(flags),
            )?);
        }
        Ok(plane)
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.places.apiserver_port)
    }

    pub fn port(&self) -> u16 {
        self.places.apiserver_port
    }

    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    pub fn assets(&self) -> &Assets {
        &self.assets
    }

    /// The temporary directory, for what a test wants to lie beside the rest.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A kubeconfig for the apiserver itself.
    pub fn kubeconfig(&self, user: &str, group: Option<&str>) -> Result<PathBuf, BedError> {
        self.kubeconfig_by(&self.url(), user, group)
    }

    /// A kubeconfig for a server that stands before the apiserver, with a certificate of the same authority.
    pub fn kubeconfig_by(&self, url: &str, user: &str, group: Option<&str>) -> Result<PathBuf, BedError> {
        let identity = self.authority.client(user, group)?;
        let port = url.rsplit(':').next().unwrap_or_default();
        let path = identity.certificate.with_extension(format!("{port}.kubeconfig"));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: bed\n\
             clusters:\n- name: bed\n  cluster: {{server: \"{url}\", certificate-authority: \"{}\"}}\n\
             users:\n- name: bed\n  user: {{client-certificate: \"{}\", client-key: \"{}\"}}\n\
             contexts:\n- name: bed\n  context: {{cluster: bed, user: bed}}\n",
            self.authority.certificate.display(),
            identity.certificate.display(),
            identity.key.display(),
        );
        std::fs::write(&path, text).map_err(BedError::io(format!("writing {}", path.display())))?;
        Ok(path)
    }

    pub async fn client_as(&self, user: &str, group: Option<&str>) -> Result<Client, BedError> {
        client(&self.kubeconfig(user, group)?).await
    }

    /// Everything is allowed to it.
    pub async fn admin(&self) -> Result<Client, BedError> {
        self.client_as(ADMIN, Some("system:masters")).await
    }

    pub fn audit(&self) -> Audit {
        Audit::new(self.places.audit_log())
    }

    /// Ends the apiserver at once, as a crash does, and starts it again on the same data and port.
    pub async fn restart_apiserver(&self, away: Duration) -> Result<(), BedError> {
        let options = Options { controllers: self.controllers.is_some() };
        let before = self.apiserver()?;
        // The port must be free, so the process has to be gone.
        before.kill().await;
        tokio::time::sleep(away).await;
        let after = start_apiserver(&self.assets, &self.places, &self.authority, options)?;
        *self.apiserver.lock().map_err(|_| poisoned())? = Arc::new(after);
        self.ready().await
    }

    /// A partition: the apiserver takes connections and answers nobody until [`Self::cont_apiserver`].
    pub fn stop_apiserver(&self) -> Result<(), BedError> {
        self.apiserver()?.signal(Signal::SIGSTOP);
        Ok(())
    }

    pub fn cont_apiserver(&self) -> Result<(), BedError> {
        self.apiserver()?.signal(Signal::SIGCONT);
        Ok(())
    }

    /// The ends of the logs, for the report of a failure.
    pub fn logs(&self, lines: usize) -> String {
        let mut text = String::new();
        for name in ["etcd", "apiserver", "controllers"] {
            let log = crate::process::read_log(&self.places.log(name));
            if !log.is_empty() {
                text.extend(["--- ", name, "\n", &tail(&log, lines), "\n"]);
            }
        }
        text
    }

    fn apiserver(&self) -> Result<Arc<Process>, BedError> {
        Ok(self.apiserver.lock().map_err(|_| poisoned())?.clone())
    }

    async fn ready(&self) -> Result<(), BedError> {
        let admin = self.admin().await?;
        eventually("the apiserver is ready", PATIENCE, async || {
            // What has ended will not become ready any more.
            if let Err(ended) = self.etcd.check().and(self.apiserver()?.check()) {
                return Ok(Err(ended));
            }
            let request = hyper::Request::get("/readyz").body(Vec::new());
            let request = request.map_err(|error| BedError::Http(error.to_string()))?;
            admin.request_text(request).await?;
            Ok::<_, BedError>(Ok(()))
        })
        .await?
    }
}

/// A client by a kubeconfig.
pub async fn client(kubeconfig: &Path) -> Result<Client, BedError> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

impl Places {
    fn log(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }

    fn audit_log(&self) -> PathBuf {
        self.directory.join("audit.jsonl")
    }

    fn audit_policy(&self) -> PathBuf {
        self.directory.join("audit-policy.yaml")
    }
}

fn start_apiserver(
    assets: &Assets,
    places: &Places,
    authority: &Authority,
    options: Options,
) -> Result<Process, BedError> {
    Process::start(
        Start::new("kube-apiserver", &assets.kube_apiserver, places.log("apiserver"))
            .arguments(flags::apiserver(places, authority, options)),
    )
}

fn poisoned() -> BedError {
    BedError::Unexpected("a lock is poisoned".to_owned())
}
