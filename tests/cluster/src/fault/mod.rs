//! A proxy between the operator and the apiserver that misbehaves by rule.
//!
//! Each connection to it has one to the apiserver, with the operator's own certificate, so rights and the audit log are
//! as without it. A rule is used up after so many requests; the first that fits counts. Watches can be cut off at will.

mod forward;
mod rule;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::control_plane::ControlPlane;
use crate::error::BedError;
use crate::tls;
use forward::Upstream;
pub use rule::{Action, Rule, Verb};

#[derive(Debug)]
pub struct FaultProxy {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    /// How many requests a rule has met so far.
    injected: Mutex<usize>,
    /// Changes when all watches are to be cut off.
    cut: watch::Sender<u64>,
}

impl FaultProxy {
    /// For the user whose certificate it shows to the apiserver.
    pub async fn start(plane: &ControlPlane, user: &str) -> Result<Self, BedError> {
        let acceptor = tls::acceptor(&plane.authority().server("fault-proxy")?)?;
        let identity = plane.authority().client(user, Some("system:serviceaccounts"))?;
        let authority: &Path = &plane.authority().certificate;
        let upstream = Upstream { connector: tls::connector(authority, &identity)?, port: plane.port() };
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(BedError::io("the proxy's port"))?;
        let port = listener.local_addr().map_err(BedError::io("the proxy's port"))?.port();
        let shared = Arc::new(Shared {
            rules: Mutex::default(),
            injected: Mutex::default(),
            cut: watch::Sender::new(0),
        });
        let task = tokio::spawn(forward::run(listener, acceptor, upstream, shared.clone()));
        Ok(Self { url: format!("https://127.0.0.1:{port}"), shared, task })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Adds a rule after those that are there.
    pub fn inject(&self, rule: Rule) {
        held(&self.shared.rules).push(rule);
    }

    /// Rules that have not been used up.
    pub fn pending(&self) -> usize {
        held(&self.shared.rules).iter().filter(|rule| rule.times > 0).count()
    }

    /// Requests that met a rule.
    pub fn injected(&self) -> usize {
        *held(&self.shared.injected)
    }

    pub fn clear(&self) {
        held(&self.shared.rules).clear();
    }

    /// Ends every watch in the middle of its answer.
    pub fn drop_watches(&self) {
        self.shared.cut.send_modify(|count| *count += 1);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// What is to happen to a request; the rule's count goes down.
    fn judge(&self, verb: Verb, path: &str) -> Option<Action> {
        let mut rules = held(&self.rules);
        let rule = rules.iter_mut().find(|rule| rule.fits(verb, path))?;
        rule.times -= 1;
        *held(&self.injected) += 1;
        Some(rule.action)
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
