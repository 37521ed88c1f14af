//! Pods without processes: an admin server with the real policy and the real lease machine over a simulated queue.
//!
//! The load of an app is shared evenly by its pods, as a load balancer would; each pod's workers take so many seconds
//! for a request. Some pods misbehave on purpose ([`Behaviour`]).

mod load;
mod server;
mod simulation;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use podicorn_arbiter::scale::Workers;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::error::BedError;
pub use load::{Change, Loads, Totals};
use simulation::Simulation;

/// How such a pod answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Honest,
    /// Its figures are beyond all reason.
    Lying,
    /// Its answers are no JSON.
    Garbled,
    /// It answers long after anybody should wait.
    Slow,
    /// It takes connections and never answers.
    Silent,
}

/// Ends the pod when dropped.
#[derive(Debug)]
pub(super) struct Running {
    tasks: Vec<JoinHandle<()>>,
    _member: load::Member,
}

impl Drop for Running {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Listens at once; the simulation begins with what `--workers` says.
pub(super) async fn serve(
    pod: &Pod,
    container: &Container,
    address: Ipv4Addr,
    port: u16,
    behaviour: Behaviour,
    loads: &Loads,
) -> Result<Running, BedError> {
    let listener = TcpListener::bind((address, port)).await.map_err(BedError::io("a light pod's port"))?;
    let app = pod.labels().get("app.kubernetes.io/name").cloned().unwrap_or_default();
    let member = loads.join(&pod.namespace().unwrap_or_default(), &app, &pod.name_any());
    let simulation = Arc::new(Mutex::new(Simulation::new(workers(container))));
    let ticks = tokio::spawn(simulate(simulation.clone(), member.share()));
    let serving = tokio::spawn(server::run(listener, simulation, behaviour));
    Ok(Running { tasks: vec![ticks, serving], _member: member })
}

async fn simulate(simulation: Arc<Mutex<Simulation>>, share: load::Share) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Ok(mut simulation) = simulation.lock() else { return };
        let figures = simulation.step(share.load());
        drop(simulation);
        share.tell(figures);
    }
}

/// What `--workers` says, as `N` or `MIN..MAX`.
fn workers(container: &Container) -> Workers {
    let arguments = container.args.iter().flatten();
    let text = arguments.filter_map(|argument| argument.strip_prefix("--workers=")).next_back();
    parse(text.unwrap_or("1")).unwrap_or(Workers::Fixed(1))
}

fn parse(text: &str) -> Option<Workers> {
    match text.split_once("..") {
        Some((min, max)) => Some(Workers::Range { min: min.parse().ok()?, max: max.parse().ok()? }),
        None => Some(Workers::Fixed(text.parse().ok()?)),
    }
}
