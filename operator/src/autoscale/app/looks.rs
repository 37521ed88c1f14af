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

/// Workers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) before: u32,
    pub(super) proposed: u32,
    pub(super) existing: u32,
    pub(super) ready: u32,
    pub(super) offered: f32,
}

impl Sums {
    pub(super) fn add(&mut self, other: &Self) {
        self.before = self.before.saturating_add(other.before);
        self.proposed = self.proposed.saturating_add(other.proposed);
        self.existing = self.existing.saturating_add(other.existing);
        self.ready = self.ready.saturating_add(other.ready);
        self.offered += other.offered;
    }
}

impl Looks<'_> {
    /// Over the pods that have answered.
    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for place in 0..self.views.len() {
            if let Some(of_pod) = self.of_pod(place) {
                sums.add(&of_pod);
            }
        }
        sums
    }

    /// None: it has not answered.
    pub(super) fn of_pod(&self, place: usize) -> Option<Sums> {
        let (view, verdict) = (self.views[place]?, self.verdicts[place].as_ref()?);
        let sound = verdict.standing != Standing::Unsound;
        let inputs =
            view.decision.as_ref().filter(|_| sound).map(|decision| decision.inputs).unwrap_or_default();
        Some(Sums {
            before: view.target,
            proposed: verdict.decision.target,
            existing: inputs.ready.saturating_add(inputs.starting),
            ready: inputs.ready,
            offered: inputs.offered_fast as f32,
        })
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
