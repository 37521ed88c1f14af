//! The autoscaler's part of an app's status.
//!
//! Contract: `workers`, `scaling` and the conditions `AutoscalingActive` and `PodsReachable`, and nothing else. It is
//! written when it differs from what was written last, so nothing in it moves by itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::fleet::AppSeen;
use crate::api::{
    Condition, ConditionStatus, GunicornApp, GunicornAppStatus, Mode, ScalingStatus, WorkersStatus,
    conditions, reasons,
};
use kube::Resource;

/// What the schema allows for a decision.
const TEXT: usize = 1024;

/// What people see.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Visible {
    pub(super) workers: WorkersStatus,
    pub(super) scaling: ScalingStatus,
    pub(super) active: Condition,
    pub(super) reachable: Condition,
}

/// How many of the pods answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) ready: usize,
    /// Each that does not, with the reason in a few words that stay the same.
    pub(super) silent: Vec<(String, String)>,
}

impl Visible {
    /// What was written before, if all of it was.
    pub(super) fn of(status: &GunicornAppStatus) -> Option<Self> {
        Some(Self {
            workers: status.workers.clone()?,
            scaling: status.scaling.clone().unwrap_or_default(),
            active: status.condition(conditions::AUTOSCALING_ACTIVE)?.clone(),
            reachable: status.condition(conditions::PODS_REACHABLE)?.clone(),
        })
    }

    /// For server-side apply.
    pub(super) fn patch(&self, app: &AppSeen) -> Value {
        json!({
            "apiVersion": GunicornApp::api_version(&()),
            "kind": GunicornApp::kind(&()),
            "metadata": {"name": app.name},
            "status": {
                "workers": self.workers,
                "scaling": self.scaling,
                "conditions": [self.active, self.reachable],
            },
        })
    }
}

pub(super) fn workers(current: u32, target: u32, ready: u32) -> WorkersStatus {
    WorkersStatus { current, target, ready, text: format!("{ready}/{target}") }
}

/// Fits what the schema allows.
pub(super) fn text(text: &str) -> String {
    match text.char_indices().nth(TEXT - 1) {
        Some((end, last)) if end + last.len_utf8() < text.len() => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}

pub(super) fn active(app: &AppSeen, previous: Option<&Condition>, now: &Time) -> Condition {
    let (status, reason, message) = match app.wishes.mode {
        Mode::Observe => (
            ConditionStatus::False,
            reasons::OBSERVING,
            "Nothing is changed; status.scaling says what would be.".to_owned(),
        ),
        Mode::Operator if !app.hpas.is_empty() => (
            ConditionStatus::False,
            reasons::FOREIGN_HPA,
            format!(
                "The pods are scaled by the HorizontalPodAutoscaler {} already, so their number is left to it; their workers \
                 follow the load. Delete it, or set autoscaling.mode: External.",
                app.hpas.join(", ")
            ),
        ),
        Mode::Operator => (
            ConditionStatus::True,
            reasons::SCALING_WORKERS_AND_PODS,
            "Workers and pods follow the load.".to_owned(),
        ),
        Mode::Workers => (
            ConditionStatus::True,
            reasons::SCALING_WORKERS,
            "Workers follow the load; the number of pods is spec.replicas.".to_owned(),
        ),
        Mode::External => (
            ConditionStatus::True,
            reasons::SCALING_WORKERS,
            "Workers follow the load; the number of pods is left to another autoscaler.".to_owned(),
        ),
    };
    let kind = conditions::AUTOSCALING_ACTIVE;
    Condition::new(kind, status, reason, message, app.generation, previous, now.clone())
}

pub(super) fn reachable(app: &AppSeen, reach: &Reach, previous: Option<&Condition>, now: &Time) -> Condition {
    let list = || {
        let named = reach.silent.iter().take(5).map(|(pod, why)| format!("{pod}: {why}"));
        let more = reach.silent.len().saturating_sub(5);
        let rest = (more > 0).then(|| format!("{more} more"));
        named.chain(rest).collect::<Vec<_>>().join("; ")
    };
    let (status, reason, message) = if reach.ready == 0 {
        (ConditionStatus::Unknown, reasons::NO_READY_PODS, "No pod is ready.".to_owned())
    } else if reach.silent.is_empty() {
        let message = "The admin API of every ready pod answers.".to_owned();
        (ConditionStatus::True, reasons::ALL_PODS_ANSWER, message)
    } else {
        let reason = if reach.silent.len() < reach.ready {
            reasons::SOME_PODS_DO_NOT_ANSWER
        } else {
            reasons::NO_POD_ANSWERS
        };
        let message = format!("These scale by themselves, each by its own load: {}.", list());
        (ConditionStatus::False, reason, message)
    };
    let kind = conditions::PODS_REACHABLE;
    Condition::new(kind, status, reason, message, app.generation, previous, now.clone())
}
