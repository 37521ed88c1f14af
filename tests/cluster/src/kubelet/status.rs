//! What the kubelet reports of a pod.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::Shared;
use crate::error::BedError;

/// How the container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running {
        ready: bool,
    },
    /// Ended for good.
    Ended {
        code: i32,
    },
    /// Ended, to be started again.
    BackOff {
        code: i32,
    },
}

/// Merged into the pod's status. The pod may be gone meanwhile: then there is nothing to report.
pub(super) async fn report(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    address: Option<Ipv4Addr>,
    state: State,
    restarts: u32,
) -> Result<(), BedError> {
    let status = json!({"status": describe(container, address, state, restarts)});
    let api = shared.pods(&pod.namespace().unwrap_or_default());
    match api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

fn describe(container: &Container, address: Option<Ipv4Addr>, state: State, restarts: u32) -> Value {
    let now = now();
    let ready = state == State::Running { ready: true };
    let (phase, reported) = match state {
        State::Running { .. } => ("Running", json!({"running": {"startedAt": now}})),
        State::Ended { code } => (
            if code == 0 { "Succeeded" } else { "Failed" },
            json!({"terminated": {"exitCode": code, "finishedAt": now, "reason": if code == 0 { "Completed" } else { "Error" }}}),
        ),
        State::BackOff { .. } => ("Running", json!({"waiting": {"reason": "CrashLoopBackOff"}})),
    };
    let condition = |kind: &str, holds: bool| json!({"type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": now});
    let mut status = json!({
        "phase": phase,
        "hostIP": "127.0.0.1",
        "startTime": now,
        "conditions": [
            condition("PodScheduled", true), condition("Initialized", true),
            condition("ContainersReady", ready), condition("Ready", ready),
        ],
        "containerStatuses": [{
            "name": container.name, "image": container.image, "imageID": container.image, "ready": ready,
            "started": matches!(state, State::Running { .. }), "restartCount": restarts, "state": reported,
        }],
    });
    if let Some(address) = address {
        status["podIP"] = json!(address.to_string());
        status["podIPs"] = json!([{"ip": address.to_string()}]);
    }
    status
}

fn now() -> Value {
    json!(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::now()))
}
