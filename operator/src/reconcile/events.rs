//! Events on transitions.
//!
//! Contract: one event for each change of a condition's reason that people act on; none while things stay as they are.

use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder};

use super::error::note;
use super::requests::PATIENCE;
use crate::api::{Condition, ConditionStatus, GunicornApp, GunicornAppStatus, conditions, reasons};

/// What is told of the step from one status to the next: pure.
pub(crate) fn between(previous: &GunicornAppStatus, next: &GunicornAppStatus) -> Vec<Event> {
    [conditions::DEGRADED, conditions::PROGRESSING]
        .into_iter()
        .filter_map(|kind| step(previous, next, kind))
        .collect()
}

fn step(previous: &GunicornAppStatus, next: &GunicornAppStatus, kind: &str) -> Option<Event> {
    let now = next.condition(kind)?;
    let before = previous.condition(kind);
    let same = before.is_some_and(|before| before.reason == now.reason && before.status == now.status);
    // Another thing wrong for the same reason is news, except for a rollout's counts.
    let news = kind == conditions::DEGRADED && before.is_some_and(|before| before.message != now.message);
    if same && !news {
        return None;
    }
    let normal = kind == conditions::DEGRADED && now.status == ConditionStatus::False;
    if normal && before.is_none_or(|before| before.status == ConditionStatus::False) {
        return None;
    }
    // What is wrong is told by the other condition.
    let of_rollouts = [reasons::ROLLING_OUT, reasons::ROLLED_OUT, reasons::MIGRATING];
    if kind == conditions::PROGRESSING && !of_rollouts.contains(&now.reason.as_str()) {
        return None;
    }
    Some(event(now))
}

fn event(condition: &Condition) -> Event {
    let bad = condition.kind == conditions::DEGRADED && condition.status == ConditionStatus::True;
    let text = if condition.message.is_empty() { "what was wrong is no longer" } else { &condition.message };
    Event {
        type_: if bad { EventType::Warning } else { EventType::Normal },
        reason: condition.reason.clone(),
        note: Some(note(text)),
        action: "Reconcile".to_owned(),
        secondary: None,
    }
}

/// Events are a courtesy: one that cannot be written is logged, and nothing fails for it.
pub(crate) async fn publish(recorder: &Recorder, app: &GunicornApp, events: &[Event]) {
    for event in events {
        match tokio::time::timeout(PATIENCE, recorder.publish(event, &app.object_ref(&()))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(reason = event.reason, %error, "cannot write an event"),
            Err(_) => tracing::warn!(reason = event.reason, "no answer when writing an event"),
        }
    }
}
