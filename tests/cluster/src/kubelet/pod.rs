//! The life of one pod.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Binding, Container, ObjectReference, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams, Preconditions};
use tokio::sync::watch;

use super::status::{State, report};
use super::{Image, NODE, Shared, container, light};
use crate::error::BedError;
use crate::http;
use crate::process::Process;

/// How often a pod is looked after.
const LOOK: Duration = Duration::from_millis(100);
/// Probes come at least so often, whatever the pod says: tests wait for them.
const PROBE: Duration = Duration::from_millis(250);
const BACK_OFF: Duration = Duration::from_secs(1);
const REFRESH_SECRETS: Duration = Duration::from_secs(2);

type Changes = watch::Receiver<Option<Pod>>;

/// From the binding to the end. None in `changes`: the pod is gone from the apiserver.
pub(super) async fn run(shared: Arc<Shared>, pod: Pod, mut changes: Changes) {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let Some(container) = pod.spec.as_ref().and_then(|spec| spec.containers.first()).cloned() else { return };
    if !matches!(phase, Some("Succeeded" | "Failed")) && pod.metadata.deletion_timestamp.is_none() {
        let lived = match light_behaviour(&shared, &container) {
            Some(behaviour) => live_lightly(&shared, &pod, &container, behaviour, &mut changes).await,
            None => live(&shared, &pod, &container, &mut changes).await,
        };
        if let Err(error) = lived {
            let path = shared.log_path(&pod.namespace().unwrap_or_default(), &pod.name_any());
            let before = std::fs::read_to_string(&path).unwrap_or_default();
            // A log that cannot be written has nobody to tell it to.
            let _ = std::fs::write(&path, format!("{before}kubelet: {error}\n"));
        }
    }
    while !leaving(&changes) {
        if changes.changed().await.is_err() {
            return;
        }
    }
    forget(&shared, &pod).await;
}

async fn live(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    changes: &mut Changes,
) -> Result<(), BedError> {
    bind(shared, pod).await?;
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let mounts = loop {
        match container::mount(shared, pod).await {
            Ok(mounts) => break mounts,
            Err(_) if leaving(changes) => return Ok(()),
            Err(_) => tokio::time::sleep(LOOK * 2).await,
        }
    };
    let address = shared.addresses.take(port_of(container, "http").unwrap_or(8000))?;
    let start = container::start(shared, pod, container, address, &mounts)?;
    let restart_policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.clone()).unwrap_or_default();
    let mut restarts = 0;
    loop {
        let process = Arc::new(Process::start(start.clone())?);
        shared.set_container(&namespace, &name, Some(process.clone()));
        let code = watch_over(shared, pod, container, address, &process, restarts, changes).await?;
        shared.set_container(&namespace, &name, None);
        let Some(code) = code else { return Ok(()) };
        let again = restart_policy == "Always" || restart_policy == "OnFailure" && code != 0;
        if !again {
            return report(shared, pod, container, Some(address), State::Ended { code }, restarts).await;
        }
        restarts += 1;
        report(shared, pod, container, Some(address), State::BackOff { code }, restarts).await?;
        let until = Instant::now() + BACK_OFF;
        while Instant::now() < until {
            if leaving(changes) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Probes and reports until the process ends by itself (its exit code) or is ended because the pod goes (None).
async fn watch_over(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    address: Ipv4Addr,
    process: &Process,
    restarts: u32,
    changes: &Changes,
) -> Result<Option<i32>, BedError> {
    let mut ready = None;
    let mut failures = 0;
    let (mut next_probe, mut next_refresh) = (Instant::now(), Instant::now() + REFRESH_SECRETS);
    loop {
        if leaving(changes) {
            let mut grace = grace(changes.borrow().as_ref());
            process.signal(nix::sys::signal::Signal::SIGTERM);
            while process.ended().is_none() && grace > Duration::ZERO {
                // Endpoints see the pod go while it drains.
                if probe(container, address).await != Some(true) && ready == Some(true) {
                    ready = Some(false);
                    report(shared, pod, container, Some(address), State::Running { ready: false }, restarts)
                        .await?;
                }
                tokio::time::sleep(LOOK).await;
                grace = grace.saturating_sub(LOOK);
            }
            process.kill().await;
            return Ok(None);
        }
        if let Some(status) = process.ended() {
            use std::os::unix::process::ExitStatusExt;
            let signal = status.signal().map_or(-1, |signal| 128 + signal);
            return Ok(Some(status.code().unwrap_or(signal)));
        }
        let now = Instant::now();
        if now >= next_probe {
            next_probe = now + PROBE;
            let good = probe(container, address).await.unwrap_or(true);
            failures = if good { 0 } else { failures + 1 };
            let threshold = readiness(container).and_then(|probe| probe.failure_threshold).unwrap_or(3);
            let is_ready = good || ready == Some(true) && failures < threshold;
            if ready != Some(is_ready) {
                report(shared, pod, container, Some(address), State::Running { ready: is_ready }, restarts)
                    .await?;
                ready = Some(is_ready);
            }
        }
        if now >= next_refresh {
            next_refresh = now + REFRESH_SECRETS;
            // A Secret that is gone leaves the files as they are.
            let _ = container::mount(shared, pod).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn live_lightly(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    behaviour: light::Behaviour,
    changes: &mut Changes,
) -> Result<(), BedError> {
    bind(shared, pod).await?;
    let port = port_of(container, "admin").unwrap_or(9099);
    let address = shared.addresses.take(port)?;
    let server = light::serve(pod, container, address, port, behaviour, &shared.loads).await?;
    report(shared, pod, container, Some(address), State::Running { ready: true }, 0).await?;
    while !leaving(changes) {
        if changes.changed().await.is_err() {
            break;
        }
    }
    drop(server);
    Ok(())
}

/// None: it is a process. Light images have only a server; another command, a migration's, is run.
fn light_behaviour(shared: &Shared, container: &Container) -> Option<light::Behaviour> {
    let serves = container.command.as_ref().is_none_or(|command| command == &["podicorn"]);
    match shared.images.get(container.image.as_ref()?)? {
        Image::Light(behaviour) if serves => Some(*behaviour),
        _ => None,
    }
}

/// A real scheduler's last act. Without it the apiserver would delete pods at once, without their grace period.
async fn bind(shared: &Shared, pod: &Pod) -> Result<(), BedError> {
    if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
        return Ok(());
    }
    let mut binding = Binding {
        target: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(NODE.to_owned()),
            ..ObjectReference::default()
        },
        ..Binding::default()
    };
    binding.metadata.name = pod.metadata.name.clone();
    let api = shared.pods(&pod.namespace().unwrap_or_default());
    let parameters = PostParams::default();
    let _: k8s_openapi::apimachinery::pkg::apis::meta::v1::Status =
        api.create_subresource("binding", &pod.name_any(), &parameters, &binding).await?;
    Ok(())
}

/// The pod is to go, or has gone.
fn leaving(changes: &Changes) -> bool {
    changes.borrow().as_ref().is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
}

fn grace(pod: Option<&Pod>) -> Duration {
    // Deleted by force: nothing waits.
    let Some(pod) = pod else { return Duration::ZERO };
    let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Removes the pod from the apiserver, now that nothing of it runs.
async fn forget(shared: &Shared, pod: &Pod) {
    let api = shared.pods(&pod.namespace().unwrap_or_default());
    let parameters = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
        ..DeleteParams::default()
    };
    // It may be gone already, or another may have its name.
    let _ = api.delete(&pod.name_any(), &parameters).await;
}

fn readiness(container: &Container) -> Option<&Probe> {
    container.readiness_probe.as_ref()
}

/// None where there is nothing to ask: such a container is ready when it runs.
async fn probe(container: &Container, address: Ipv4Addr) -> Option<bool> {
    let probe = readiness(container)?;
    let get = probe.http_get.as_ref()?;
    let port = match &get.port {
        IntOrString::Int(port) => u16::try_from(*port).ok()?,
        IntOrString::String(name) => port_of(container, name)?,
    };
    let path = get.path.as_deref().unwrap_or("/");
    let limit = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1));
    let url = format!("http://{address}:{port}{path}");
    let answer = tokio::time::timeout(limit, http::get(&url)).await;
    Some(matches!(answer, Ok(Ok(answer)) if (200..400).contains(&answer.status)))
}

fn port_of(container: &Container, name: &str) -> Option<u16> {
    let ports = container.ports.as_ref()?;
    let port = ports.iter().find(|port| port.name.as_deref() == Some(name))?;
    u16::try_from(port.container_port).ok()
}
