//! What people are told as Events.
//!
//! Each transition is an Event of its own, with its own text: an Event that counts up keeps the text of the first time, and
//! the text is what people look for.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

pub(super) const SCALED_WORKERS: &str = "ScaledWorkers";
pub(super) const SCALED_PODS: &str = "ScaledPods";
/// What `kubectl describe` shows as the source.
pub(super) const CONTROLLER: &str = "podicorn-autoscaler";
/// The apiserver takes a note of less than 1 KiB.
const NOTE_BYTES: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) warning: bool,
    pub(super) reason: String,
    pub(super) action: &'static str,
    pub(super) note: String,
}

impl Notice {
    pub(super) fn normal(reason: &str, action: &'static str, note: &str) -> Self {
        Self { warning: false, reason: reason.to_owned(), action, note: bounded(note) }
    }

    pub(super) fn warning(reason: &str, action: &'static str, note: &str) -> Self {
        Self { warning: true, ..Self::normal(reason, action, note) }
    }

    pub(super) fn workers(from: u32, to: u32, why: &str) -> Self {
        Self::normal(SCALED_WORKERS, "ScaleWorkers", &format!("{from} to {to} workers in all. {why}"))
    }

    pub(super) fn pods(from: u32, to: u32, why: &str) -> Self {
        Self::normal(SCALED_PODS, "ScalePods", &format!("{from} to {to} pods. {why}"))
    }

    /// `instance` is the replica of the operator that says it; `number` sets events of the same moment apart.
    pub(super) fn event(
        &self,
        regarding: &ObjectReference,
        instance: &str,
        at: Timestamp,
        number: usize,
    ) -> Event {
        let name = regarding.name.as_deref().unwrap_or_default();
        Event {
            action: Some(self.action.to_owned()),
            event_time: Some(MicroTime(at)),
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}.{number}", at.as_nanosecond())),
                namespace: regarding.namespace.clone(),
                ..ObjectMeta::default()
            },
            note: Some(self.note.clone()),
            reason: Some(self.reason.clone()),
            regarding: Some(regarding.clone()),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(instance.to_owned()),
            type_: Some(if self.warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        }
    }
}

fn bounded(note: &str) -> String {
    if note.len() <= NOTE_BYTES {
        return note.to_owned();
    }
    let end = (0..=NOTE_BYTES).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &note[..end])
}
