//! A snapshot in words: what `podicorn-operator explain` prints.

use std::fmt::Write as _;

use podicorn_policy::{Inputs, PodVerdict, Standing};

use super::history::{PodSnapshot, Snapshot};
use crate::api::Mode;

#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error("this is no snapshot of the operator's /snapshot: {0}")]
    Unreadable(#[from] serde_yaml::Error),
}

/// Tells what was decided and why. `yaml` is a [`Snapshot`].
pub fn explain(yaml: &str) -> Result<String, ExplainError> {
    let snapshot: Snapshot = serde_yaml::from_str(yaml)?;
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = head(&mut text, &snapshot);
    let _ = pods(&mut text, &snapshot);
    let _ = past(&mut text, &snapshot);
    Ok(text)
}

fn head(text: &mut String, snapshot: &Snapshot) -> std::fmt::Result {
    let Snapshot { namespace, name, taken_at, spec, .. } = snapshot;
    writeln!(text, "{namespace}/{name} at {taken_at}, mode {}", spec.mode.as_str())?;
    let most =
        spec.max_workers.map_or_else(|| "as many as the pod allows".to_owned(), |most| most.to_string());
    writeln!(
        text,
        "Workers of a pod: {} to {most}, to be {} % busy, with {} requests at a time; told by {:?}; fewer after {} s.",
        spec.min_workers, spec.target, spec.concurrency, spec.commands, spec.workers_down_seconds
    )?;
    let level = snapshot.level.map_or_else(
        || "What the mean pod needs is not known, or there is one pod.".to_owned(),
        |level| format!("The mean pod needs {level}; none gets less, within its caps."),
    );
    writeln!(text, "{level}")?;
    let replicas =
        snapshot.replicas.map_or_else(|| "no Deployment yet".to_owned(), |pods| format!("{pods} wanted"));
    let who = match (spec.mode, spec.max_pods) {
        (Mode::Operator | Mode::Observe, Some(max)) => {
            format!("{} to {max}, fewer after {} s", spec.min_pods, spec.pods_down_seconds)
        }
        (Mode::External, _) => "another autoscaler decides".to_owned(),
        _ => "spec.replicas decides".to_owned(),
    };
    writeln!(text, "Pods: {replicas}; {who}.")?;
    if !snapshot.hpas.is_empty() {
        writeln!(text, "HorizontalPodAutoscalers that scale the pods: {}.", snapshot.hpas.join(", "))?;
    }
    let Some(number) = &snapshot.number else { return Ok(()) };
    let reason = number.reason.name();
    writeln!(text, "By load: {} to {} pods ({reason}). {}", number.current, number.target, number.message)?;
    let inputs = &number.inputs;
    writeln!(
        text,
        "  demand {:.2} erlangs, capacity {:.0} workers, {} pods asked for now, {} lately, {} reporting",
        inputs.demand_erlangs,
        inputs.capacity_workers,
        inputs.desired,
        inputs.desired_lately,
        inputs.reporting
    )
}

fn pods(text: &mut String, snapshot: &Snapshot) -> std::fmt::Result {
    for pod in &snapshot.pods {
        writeln!(text)?;
        one_pod(text, pod)?;
    }
    if snapshot.pods.is_empty() {
        writeln!(text, "\nThere are no pods.")?;
    }
    Ok(())
}

fn one_pod(text: &mut String, pod: &PodSnapshot) -> std::fmt::Result {
    let name = &pod.pod;
    if let Some(failure) = &pod.failure {
        return writeln!(text, "{name}: does not answer ({failure}); it scales by itself.");
    }
    let Some(scale) = &pod.scale else {
        let why = if pod.ready { "was not asked this time" } else { "is not ready" };
        return writeln!(text, "{name}: {why}.");
    };
    if let Some(PodVerdict { standing, decision, .. }) = &pod.verdict {
        let (from, to, reason) = (decision.current, decision.target, decision.reason.name());
        writeln!(text, "{name}: {from} to {to} ({reason}; {})", standing_name(*standing))?;
        writeln!(text, "  {}", decision.message)?;
        for veto in &decision.vetoes {
            writeln!(text, "  veto {}: {}", veto.kind.name(), veto.message)?;
        }
    }
    let lease = scale.lease.as_ref().map_or_else(
        || "no lease".to_owned(),
        |lease| {
            let (high, low) = (lease.request.epoch >> 32, lease.request.epoch & u64::from(u32::MAX));
            format!(
                "lease of {} for another {:.0} s (epoch {high}·2³² + {low})",
                lease.request.workers, lease.remaining_seconds
            )
        },
    );
    writeln!(
        text,
        "  the pod: target {}, base {}, bounds {} and {}, {lease}",
        scale.target, scale.base, scale.min, scale.max
    )?;
    if let Some(own) = &scale.decision {
        figures(text, &own.inputs)?;
        writeln!(text, "  it says: {}", own.message)?;
    }
    if let Some(order) = &pod.order {
        writeln!(text, "  it was told: {order}")?;
    }
    Ok(())
}

fn figures(text: &mut String, inputs: &Inputs) -> std::fmt::Result {
    let service = inputs
        .service_seconds
        .map_or_else(|| "an unknown time".to_owned(), |seconds| format!("{:.0} ms", seconds * 1000.0));
    writeln!(
        text,
        "  ready {}, starting {}, busy {:.2}, waiting {:.2}, {:.1} requests a second in and {:.1} out, {service} each",
        inputs.ready,
        inputs.starting,
        inputs.busy,
        inputs.waiting,
        inputs.arrivals_per_second,
        inputs.completions_per_second
    )
}

fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Steered => "decided by the operator",
        Standing::Watched => "not watched for long enough",
        Standing::Silent => "nothing to tell yet",
        Standing::Unsound => "not believed",
    }
}

/// Of ticks that changed nothing the first one stands for those that follow.
fn past(text: &mut String, snapshot: &Snapshot) -> std::fmt::Result {
    writeln!(text, "\nBefore (workers ready of wanted; work for so many; pods that answered):")?;
    let mut quiet = false;
    for past in &snapshot.history {
        let changed = past.workers != past.target;
        if quiet && !changed {
            continue;
        }
        quiet = !changed;
        write!(text, "  {} {}/{}", past.at, past.ready, past.workers)?;
        if changed {
            write!(text, " to {}", past.target)?;
        }
        write!(text, "; {:.1}; {}/{}", past.offered, past.answered, past.ready_pods)?;
        match &past.why {
            Some(why) => writeln!(text, "; {why}")?,
            None => writeln!(text)?,
        }
    }
    Ok(())
}
