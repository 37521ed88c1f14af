//! What can go wrong in the bed itself, as opposed to what it tests.

use std::io;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum BedError {
    #[error("the programs of a control plane are not there: {0}")]
    Assets(String),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("a certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{name} ended ({status}); the end of its log:\n{log}")]
    Ended { name: String, status: String, log: String },
    #[error("{what}: not so after {limit:?}; last seen: {last}")]
    Late { what: String, limit: Duration, last: String },
    #[error("the apiserver: {0}")]
    Kube(#[from] kube::Error),
    #[error("a kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    #[error("YAML: {0}")]
    Yaml(#[from] serde_yaml::Error),
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("HTTP: {0}")]
    Http(String),
    #[error("{0}")]
    Unexpected(String),
}

impl BedError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
