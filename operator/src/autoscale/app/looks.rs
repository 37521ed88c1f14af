//! A look at an app, summed up over its pods.

use podicorn_admin_api::ScaleView;
use podicorn_policy::{Direction, PodVerdict, Standing};

use super::super::order::{Command, Order};

/// What there is to show.
pub(super) struct Looks<'a> {
    pub(super) views: &'a [Option<&'a ScaleView>],
    pub(super) verdicts: &'a [Option<PodVerdict>],
    pub(super) orders: &'a [Order],
    pub(super) replicas: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) before: u32,
    pub(super) proposed: u32,
    /// What the status calls the target.
    pub(super) shown: u32,
    pub(super) existing: u32,
    pub(super) ready: u32,
    pub(super) offered: f32,
}

impl Looks<'_> {
    pub(super) fn sums(&self, acts: bool) -> Sums {
        let mut sums = Sums::default();
        for (view, verdict) in self.views.iter().zip(self.verdicts) {
            let (Some(view), Some(verdict)) = (view, verdict) else { continue };
            let inputs = view.decision.as_ref().map(|decision| decision.inputs).unwrap_or_default();
            let sound = verdict.standing != Standing::Unsound;
            let (ready, starting) = if sound { (inputs.ready, inputs.starting) } else { (0, 0) };
            sums.before = sums.before.saturating_add(view.target);
            sums.proposed = sums.proposed.saturating_add(verdict.decision.target);
            sums.ready = sums.ready.saturating_add(ready);
            sums.existing = sums.existing.saturating_add(ready.saturating_add(starting));
            if sound {
                sums.offered += inputs.offered_fast as f32;
            }
        }
        sums.shown = if acts { sums.proposed } else { sums.before };
        sums
    }

    /// A pod is told another number than it has.
    pub(super) fn changes(&self) -> bool {
        self.orders.iter().any(|order| {
            order.direction != Direction::Hold
                && !matches!(order.command, Command::Lease { renewal: true, .. })
                && self.views[order.pod].is_some_and(|view| view.target != order.command.workers())
        })
    }
}
