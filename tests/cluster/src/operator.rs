//! The real operator as a process, under the rights that its chart gives and no others.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use nix::sys::signal::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::assets;
use crate::control_plane::ControlPlane;
use crate::control_plane::audit::{Entry, Mark};
use crate::error::BedError;
use crate::ports;
use crate::process::{Process, Start};
use crate::wait::{PATIENCE, eventually};

/// Where its Lease lies and its service account would.
pub const NAMESPACE: &str = "podicorn-system";

/// How an operator is started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Tells operators of one suite apart; the user of each has its own name.
    pub name: String,
    /// All namespaces where empty.
    pub namespaces: Vec<String>,
    /// The apiserver, or what stands before it.
    pub url: Option<String>,
    /// The Lease that operators compete for; none: no leader election.
    pub lease: Option<String>,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
}

impl Settings {
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespaces: Vec::new(),
            url: None,
            lease: Some(format!("{name}-lease")),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// A running operator.
#[derive(Debug)]
pub struct Operator {
    user: String,
    port: u16,
    start: Start,
    process: Mutex<std::sync::Arc<Process>>,
}

impl Operator {
    /// Grants the rights, starts the operator and waits until it says that it is ready.
    pub async fn start(plane: &ControlPlane, settings: &Settings) -> Result<Self, BedError> {
        let operator = Self::start_unready(plane, settings).await?;
        operator.ready().await?;
        Ok(operator)
    }

    /// The same, without waiting.
    pub async fn start_unready(plane: &ControlPlane, settings: &Settings) -> Result<Self, BedError> {
        let user = user(&settings.name);
        grant(&plane.admin().await?, &user, &settings.name).await?;
        let url = settings.url.clone().unwrap_or_else(|| plane.url());
        let kubeconfig = plane.kubeconfig_by(&url, &user, Some("system:serviceaccounts"))?;
        let port = ports::free()?;
        let program = assets::operator()?;
        let log = plane.directory().join(format!("operator-{}.log", settings.name));
        let mut start = Start::new(&format!("operator {}", settings.name), &program, log).arguments([
            "run".to_owned(),
            format!("--bind=127.0.0.1:{port}"),
            format!("--lease-namespace={NAMESPACE}"),
        ]);
        start = match &settings.lease {
            Some(lease) => start.arguments([format!("--lease-name={lease}")]),
            None => start.arguments(["--no-leader-election"]),
        };
        start =
            start.arguments(settings.namespaces.iter().map(|namespace| format!("--namespace={namespace}")));
        start = start.arguments(settings.arguments.clone());
        start.environment = Some(environment(&kubeconfig, settings));
        let process = Process::start(start.clone())?;
        Ok(Self { user, port, start, process: Mutex::new(std::sync::Arc::new(process)) })
    }

    /// The user that it is to the apiserver, for the audit log.
    pub fn user(&self) -> &str {
        &self.user
    }

    pub fn log(&self) -> String {
        crate::process::read_log(&self.start.log)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn process(&self) -> Result<std::sync::Arc<Process>, BedError> {
        Ok(self.process.lock().map_err(|_| poisoned())?.clone())
    }

    pub async fn ready(&self) -> Result<(), BedError> {
        let url = format!("{}/readyz", self.url());
        eventually("the operator is ready", PATIENCE, async || {
            if let Err(ended) = self.process()?.check() {
                return Ok(Err(ended));
            }
            let answer = crate::http::get(&url).await?;
            if answer.status == 200 {
                return Ok(Ok(()));
            }
            Err(BedError::Http(format!("{}: {}", answer.status, answer.text())))
        })
        .await?
    }

    /// Its figures, as text.
    pub async fn metrics(&self) -> Result<String, BedError> {
        Ok(crate::http::get(&format!("{}/metrics", self.url())).await?.text())
    }

    /// kill -9.
    pub async fn kill(&self) -> Result<(), BedError> {
        self.process()?.kill().await;
        Ok(())
    }

    pub async fn terminate(&self) -> Result<Option<ExitStatus>, BedError> {
        let process = self.process()?;
        process.signal(Signal::SIGTERM);
        Ok(process.wait(Duration::from_secs(30)).await)
    }

    /// Starts it again with the same arguments, after it has ended.
    pub async fn restart(&self) -> Result<(), BedError> {
        let process = Process::start(self.start.clone())?;
        *self.process.lock().map_err(|_| poisoned())? = std::sync::Arc::new(process);
        self.ready().await
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> Result<u64, BedError> {
        let path = format!("/proc/{}/statm", self.process()?.pid());
        let text = std::fs::read_to_string(&path).map_err(BedError::io(path))?;
        let pages: u64 = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        Ok(pages * 4096)
    }

    /// Its writes since the mark, but for those by which replicas agree who leads.
    pub fn writes(&self, plane: &ControlPlane, mark: Mark) -> Result<Vec<Entry>, BedError> {
        let mut writes = plane.audit().writes(mark, &self.user)?;
        writes.retain(|entry| entry.object_ref.resource != "leases");
        Ok(writes)
    }

    /// Nothing that it asked for was refused for want of rights, and it said nothing of a panic.
    pub fn check(&self, plane: &ControlPlane) -> Result<(), BedError> {
        let forbidden = plane.audit().forbidden(&self.user)?;
        if !forbidden.is_empty() {
            let lines: Vec<String> = forbidden.iter().take(20).map(ToString::to_string).collect();
            return Err(BedError::Unexpected(format!("refused by RBAC:\n{}", lines.join("\n"))));
        }
        if let Some(line) = self.log().lines().find(|line| line.contains("panicked at")) {
            return Err(BedError::Unexpected(line.to_owned()));
        }
        Ok(())
    }
}

fn user(name: &str) -> String {
    format!("system:serviceaccount:{NAMESPACE}:{name}")
}

fn environment(kubeconfig: &Path, settings: &Settings) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let mut all = vec![
        ("KUBECONFIG".into(), kubeconfig.as_os_str().to_owned()),
        ("POD_NAME".into(), settings.name.clone().into()),
        ("RUST_BACKTRACE".into(), "1".into()),
    ];
    all.extend(settings.environment.iter().map(|(name, value)| (name.into(), value.into())));
    all
}

/// The chart's rules, as they are in its files.
pub fn rules(file: &str) -> Result<Vec<PolicyRule>, BedError> {
    let path: PathBuf = assets::checkout("charts/podicorn-operator/files").join(file);
    let text = std::fs::read_to_string(&path).map_err(BedError::io(path.display().to_string()))?;
    Ok(serde_yaml::from_str(&text)?)
}

async fn grant(admin: &Client, user: &str, name: &str) -> Result<(), BedError> {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(NAMESPACE.to_owned());
    apply(&Api::all(admin.clone()), &namespace).await?;

    let subjects = Some(vec![Subject {
        api_group: Some("rbac.authorization.k8s.io".to_owned()),
        kind: "User".to_owned(),
        name: user.to_owned(),
        namespace: None,
    }]);
    let role_ref = |kind: &str| RoleRef {
        api_group: "rbac.authorization.k8s.io".to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    let mut role = ClusterRole { rules: Some(rules("rules.yaml")?), ..ClusterRole::default() };
    role.metadata.name = Some(name.to_owned());
    apply(&Api::all(admin.clone()), &role).await?;
    let mut binding = ClusterRoleBinding {
        role_ref: role_ref("ClusterRole"),
        subjects: subjects.clone(),
        ..ClusterRoleBinding::default()
    };
    binding.metadata.name = Some(name.to_owned());
    apply(&Api::all(admin.clone()), &binding).await?;

    let mut role = Role { rules: Some(rules("leader-rules.yaml")?), ..Role::default() };
    role.metadata.name = Some(name.to_owned());
    apply(&Api::namespaced(admin.clone(), NAMESPACE), &role).await?;
    let mut binding = RoleBinding { role_ref: role_ref("Role"), subjects, ..RoleBinding::default() };
    binding.metadata.name = Some(name.to_owned());
    apply(&Api::namespaced(admin.clone(), NAMESPACE), &binding).await
}

async fn apply<K>(api: &Api<K>, object: &K) -> Result<(), BedError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let name = object.meta().name.clone().unwrap_or_default();
    api.patch(&name, &PatchParams::apply("podicorn-testbed").force(), &Patch::Apply(object)).await?;
    Ok(())
}

fn poisoned() -> BedError {
    BedError::Unexpected("a lock is poisoned".to_owned())
}
