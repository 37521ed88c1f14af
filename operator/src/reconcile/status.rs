//! The reconciler's part of the status: pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Kind;
use super::error::Error;
use super::live::DeploymentFacts;
use super::migration::Migration;
use super::names::selector_text;
use crate::api::{
    Condition, ConditionStatus, GunicornApp, GunicornAppStatus, MigrationState, MigrationStatus, conditions,
    reasons,
};
use crate::controller::PodsSummary;
use kube::ResourceExt;

/// What the status is made of.
pub(crate) struct Observed<'a> {
    pub(crate) app: &'a GunicornApp,
    /// What was written last.
    pub(crate) previous: &'a GunicornAppStatus,
    pub(crate) deployment: Option<&'a DeploymentFacts>,
    pub(crate) pods: PodsSummary,
    pub(crate) migration: &'a Migration,
    pub(crate) missing: &'a [Kind],
    /// What does not pass by itself.
    pub(crate) error: Option<&'a Error>,
    pub(crate) now: Time,
}

/// A condition without its times.
type Verdict = (ConditionStatus, &'static str, String);

pub(crate) fn status(observed: &Observed<'_>) -> GunicornAppStatus {
    let generation = observed.app.metadata.generation;
    let verdicts = [
        (conditions::READY, ready(observed)),
        (conditions::PROGRESSING, progressing(observed)),
        (conditions::DEGRADED, degraded(observed)),
    ];
    let conditions = verdicts
        .into_iter()
        .map(|(kind, (status, reason, message))| {
            let previous = observed.previous.condition(kind);
            Condition::new(kind, status, reason, message, generation, previous, observed.now.clone())
        })
        .collect();
    let deployment = observed.deployment;
    GunicornAppStatus {
        observed_generation: generation,
        replicas: Some(deployment.map_or(0, |deployment| deployment.pods)),
        ready_pods: Some(deployment.map_or(0, |deployment| deployment.ready)),
        selector: Some(selector_text(&observed.app.name_any())),
        mode: Some(observed.app.spec.autoscaling.mode.as_str().to_owned()),
        image: deployment.and_then(|deployment| deployment.image.clone()),
        migration: migration(observed.migration),
        conditions,
        ..GunicornAppStatus::default()
    }
}

fn migration(migration: &Migration) -> Option<MigrationStatus> {
    let (job, state) = match migration {
        Migration::Unwanted => return None,
        Migration::Start { job } | Migration::Running { job } | Migration::Behind { other: job } => {
            (job, MigrationState::Running)
        }
        Migration::Succeeded { job } => (job, MigrationState::Succeeded),
        Migration::Failed { job, .. } => (job, MigrationState::Failed),
    };
    Some(MigrationStatus { job: job.clone(), state })
}

fn ready(observed: &Observed<'_>) -> Verdict {
    let no = |reason, message| (ConditionStatus::False, reason, message);
    if let Some(error) = observed.error {
        return no(error.reason(), error.to_string());
    }
    let Some(deployment) = observed.deployment else {
        return match observed.migration {
            Migration::Failed { .. } => {
                no(reasons::MIGRATION_FAILED, "no pod is made before the migration succeeds".to_owned())
            }
            _ if !observed.migration.lets_pass() => {
                no(reasons::MIGRATING, "pods come after the migration".to_owned())
            }
            _ => no(reasons::ROLLING_OUT, "the Deployment is being made".to_owned()),
        };
    };
    let wanted = deployment.wanted.unwrap_or(1);
    let of = format!("{} of {wanted} pods are ready", deployment.ready);
    if wanted == 0 {
        return (ConditionStatus::True, reasons::SCALED_TO_ZERO, "no pod is wanted".to_owned());
    }
    if rolling(deployment) {
        return no(reasons::ROLLING_OUT, of);
    }
    if deployment.ready >= wanted {
        return (ConditionStatus::True, reasons::ALL_PODS_READY, of);
    }
    // More pods were asked for and have yet to start: what was ready before still is.
    let was_ready = observed.previous.condition(conditions::READY);
    let was_ready = was_ready.is_some_and(|condition| condition.status == ConditionStatus::True);
    if was_ready && deployment.ready > 0 && observed.pods.broken == 0 && deployment.failure.is_none() {
        return (ConditionStatus::True, reasons::ALL_PODS_READY, format!("{of}, the others are starting"));
    }
    no(reasons::PODS_NOT_READY, of)
}

/// Pods of an older template are still there, or the newest one has not been looked at.
fn rolling(deployment: &DeploymentFacts) -> bool {
    !deployment.observed || deployment.updated < deployment.pods
}

fn progressing(observed: &Observed<'_>) -> Verdict {
    let yes = |reason, message| (ConditionStatus::True, reason, message);
    match observed.migration {
        Migration::Start { job } | Migration::Running { job } => {
            return yes(reasons::MIGRATING, format!("the Job {job} runs; the rollout comes after it"));
        }
        Migration::Behind { other } => {
            return yes(
                reasons::MIGRATING,
                format!("the Job {other} of an earlier change still runs; the next comes after it"),
            );
        }
        Migration::Failed { .. } => {
            return (
                ConditionStatus::False,
                reasons::MIGRATION_FAILED,
                "the rollout waits for the migration".to_owned(),
            );
        }
        Migration::Unwanted | Migration::Succeeded { .. } => {}
    }
    match observed.deployment {
        Some(deployment) if deployment.stuck.is_some() => {
            (ConditionStatus::False, reasons::ROLLOUT_STUCK, deployment.stuck.clone().unwrap_or_default())
        }
        Some(deployment) if !deployment.observed || deployment.pods == 0 && deployment.wanted != Some(0) => {
            yes(reasons::ROLLING_OUT, "no pod is of the newest template yet".to_owned())
        }
        Some(deployment) if rolling(deployment) => yes(
            reasons::ROLLING_OUT,
            format!("{} of {} pods are of the newest template", deployment.updated, deployment.pods),
        ),
        Some(_) => {
            (ConditionStatus::False, reasons::ROLLED_OUT, "every pod is of the newest template".to_owned())
        }
        None if observed.error.is_some() => {
            (ConditionStatus::False, reasons::APPLY_FAILED, "the Deployment could not be made".to_owned())
        }
        None => yes(reasons::ROLLING_OUT, "the Deployment is being made".to_owned()),
    }
}

fn degraded(observed: &Observed<'_>) -> Verdict {
    let yes = |reason, message| (ConditionStatus::True, reason, message);
    if let Some(error) = observed.error {
        return yes(error.reason(), error.to_string());
    }
    if let Migration::Failed { job, why } = observed.migration {
        return yes(
            reasons::MIGRATION_FAILED,
            format!(
                "the Job {job} has failed ({why}): see `kubectl logs job/{job}`; a new image, command or environment tries \
                 anew, and so does `kubectl delete job {job}`"
            ),
        );
    }
    if let Some(deployment) = observed.deployment {
        if let Some(failure) = &deployment.failure {
            return yes(reasons::PODS_NOT_READY, failure.clone());
        }
        if let Some(stuck) = &deployment.stuck {
            return yes(reasons::ROLLOUT_STUCK, stuck.clone());
        }
    }
    if !observed.missing.is_empty() {
        let kinds: Vec<String> = observed
            .missing
            .iter()
            .map(|kind| format!("{} ({})", kind.as_str(), kind.api_version()))
            .collect();
        return yes(
            reasons::KIND_NOT_INSTALLED,
            format!(
                "this cluster does not have {}: install it, or take it out of the spec",
                kinds.join(" and ")
            ),
        );
    }
    (ConditionStatus::False, reasons::AS_EXPECTED, String::new())
}
