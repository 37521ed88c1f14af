//! Where the programs are that the bed starts.
//!
//! The control plane's are in `KUBEBUILDER_ASSETS`, which `make cluster-test` sets from `dev/cluster-assets.sh`. A suite
//! that finds none fails: a test that is skipped in silence proves nothing.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::BedError;

/// The four programs of a control plane.
#[derive(Debug, Clone)]
pub struct Assets {
    pub etcd: PathBuf,
    pub kube_apiserver: PathBuf,
    pub kube_controller_manager: PathBuf,
    pub kubectl: PathBuf,
}

impl Assets {
    pub fn find() -> Result<Self, BedError> {
        let directory = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from).ok_or_else(|| {
            BedError::Assets("KUBEBUILDER_ASSETS is not set; use `make cluster-test`".to_owned())
        })?;
        let program = |name: &str| existing(directory.join(name));
        Ok(Self {
            etcd: program("etcd")?,
            kube_apiserver: program("kube-apiserver")?,
            kube_controller_manager: program("kube-controller-manager")?,
            kubectl: program("kubectl")?,
        })
    }
}

/// The server that pods run: `PODICORN_PROGRAM`, the `podicorn` of a virtual environment that has the apps' packages too.
pub fn podicorn() -> Result<PathBuf, BedError> {
    let path = env::var_os("PODICORN_PROGRAM")
        .map(PathBuf::from)
        .ok_or_else(|| BedError::Assets("PODICORN_PROGRAM is not set; use `make cluster-test`".to_owned()))?;
    existing(path)
}

/// The operator: `PODICORN_OPERATOR`, or what Cargo has built beside the running test.
pub fn operator() -> Result<PathBuf, BedError> {
    if let Some(path) = env::var_os("PODICORN_OPERATOR") {
        return existing(PathBuf::from(path));
    }
    let own = env::current_exe().map_err(BedError::io("the path of this program"))?;
    // target/debug/deps/suite-1234 or target/debug/cluster
    let directory = own.parent().unwrap_or(Path::new("."));
    let directory =
        if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
    existing(directory.join("podicorn-operator"))
}

/// The newest major of Helm: `PODICORN_HELM` is the directory that dev/helm.sh prints.
pub fn helm() -> Result<PathBuf, BedError> {
    let directory = env::var_os("PODICORN_HELM")
        .map(PathBuf::from)
        .ok_or_else(|| BedError::Assets("PODICORN_HELM is not set; use `make cluster-test`".to_owned()))?;
    existing(directory.join("helm4"))
}

/// A file of the checkout. Not by a path of the build: checkouts may share what they build. Without Cargo the working directory
/// is the checkout's.
pub fn checkout(path: &str) -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(|package| Path::new(&package).join("../.."));
    let root = package.or_else(|| env::current_dir().ok()).unwrap_or_default();
    root.join(path)
}

fn existing(path: PathBuf) -> Result<PathBuf, BedError> {
    if path.is_file() { Ok(path) } else { Err(BedError::Assets(format!("there is no {}", path.display()))) }
}
