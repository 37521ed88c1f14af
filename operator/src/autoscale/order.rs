//! What a pod is told, if anything.

use std::hash::{DefaultHasher, Hash, Hasher};

use podicorn_admin_api::{ScaleRequest, ScaleView};
use podicorn_policy::{Direction, Reason};

use super::epoch::Epochs;
use crate::api::Commands;

/// An order for one pod.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Order {
    /// Its place among the app's pods.
    pub(super) pod: usize,
    pub(super) command: Command,
    pub(super) direction: Direction,
    pub(super) reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Takes a lease, or renews the one that is in force.
    Lease { request: ScaleRequest, renewal: bool },
    /// TTIN or TTOU, one at a time, from the one number to the other.
    Steps { from: u32, to: u32 },
}

impl Command {
    /// For metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Lease { renewal: false, .. } => "lease",
            Self::Lease { renewal: true, .. } => "renewal",
            Self::Steps { from, to } if to > from => "ttin",
            Self::Steps { .. } => "ttou",
        }
    }

    pub(super) fn workers(&self) -> u32 {
        match self {
            Self::Lease { request, .. } => request.workers,
            Self::Steps { to, .. } => *to,
        }
    }
}

/// What is to be said to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Nothing,
    Say(Command),
    /// A later leader has given it orders.
    Yield,
}

/// How orders are given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Manner {
    pub(super) commands: Commands,
    /// Of leases.
    pub(super) ttl_seconds: u32,
    pub(super) tick_seconds: f64,
}

impl Manner {
    /// Leases outlast two ticks that fail, and are 15 s at least.
    pub(super) fn new(commands: Commands, tick_seconds: f64) -> Self {
        let three = f64::from(podicorn_admin_api::MAX_TTL_SECONDS).min((3.0 * tick_seconds).ceil());
        #[allow(clippy::cast_sign_loss)] // `as` saturates
        let ttl_seconds = (three as u32).max(15);
        Self { commands, ttl_seconds, tick_seconds }
    }

    /// `pod` is its name: by it the renewals of many pods are spread over several ticks.
    pub(super) fn word(&self, pod: &str, view: &ScaleView, wanted: u32, epochs: &Epochs) -> Word {
        match self.commands {
            Commands::Absolute => self.lease(pod, view, wanted, epochs),
            Commands::Signals => steps(view, wanted),
        }
    }

    fn lease(&self, pod: &str, view: &ScaleView, wanted: u32, epochs: &Epochs) -> Word {
        if let Some(last) = view.last_epoch {
            if epochs.later(last) {
                return Word::Yield;
            }
            epochs.saw(last);
        }
        let asked = |epoch| ScaleRequest {
            workers: wanted,
            min: None,
            max: None,
            epoch,
            ttl_seconds: self.ttl_seconds,
        };
        let held = view
            .lease
            .as_ref()
            .filter(|lease| epochs.ours(lease.request.epoch) && lease.request == asked(lease.request.epoch));
        let Some(lease) = held else {
            return Word::Say(Command::Lease { request: asked(epochs.next()), renewal: false });
        };
        let mut hasher = DefaultHasher::new();
        pod.hash(&mut hasher);
        let spread = [1.0, 1.5, 2.0, 2.5][usize::from((hasher.finish() & 3) as u8)];
        let due = f64::from(self.ttl_seconds) / 3.0 + spread * self.tick_seconds;
        if lease.remaining_seconds > due {
            Word::Nothing
        } else {
            Word::Say(Command::Lease { request: lease.request, renewal: true })
        }
    }
}

/// A lease in force (from before the app went over to signals) is waited for: steps would not move its target.
fn steps(view: &ScaleView, wanted: u32) -> Word {
    if view.lease.is_some() || view.base == wanted {
        return Word::Nothing;
    }
    Word::Say(Command::Steps { from: view.base, to: wanted })
}

#[cfg(test)]
mod tests;
