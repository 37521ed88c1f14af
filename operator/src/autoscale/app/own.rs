//! What pods did by themselves between two looks: before they are steered, in `Observe`, or at somebody's TTIN.

use std::collections::BTreeMap;

use podicorn_admin_api::Reason;

use super::super::fleet::AppSeen;
use super::looks::{Looks, Sums};

/// A pod whose number of workers has become another one without an order.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct OwnMove {
    pub(in super::super) pod: String,
    pub(in super::super) from: u32,
    pub(in super::super) to: u32,
    pub(in super::super) by: Reason,
    /// What its policy said last.
    pub(in super::super) message: String,
}

impl OwnMove {
    fn size(&self) -> u32 {
        self.from.abs_diff(self.to)
    }
}

/// The largest first. `known` and `told` are of the look before, by the pods' uids.
pub(super) fn moves(
    seen: &AppSeen,
    looks: &Looks<'_>,
    known: &BTreeMap<String, Sums>,
    told: &BTreeMap<String, u32>,
) -> Vec<OwnMove> {
    let mut moves: Vec<OwnMove> = seen
        .pods
        .iter()
        .zip(looks.views)
        .filter_map(|(pod, view)| {
            let (view, from) = ((*view)?, known.get(&pod.uid)?.before);
            // Steps are sent one at a time, so that a look may find a pod between.
            let ordered = told
                .get(&pod.uid)
                .is_some_and(|told| (from.min(*told)..=from.max(*told)).contains(&view.target));
            (view.target != from && !ordered).then(|| OwnMove {
                pod: pod.name.clone(),
                from,
                to: view.target,
                by: view.reason,
                message: view.decision.as_ref().map_or_else(String::new, |decision| decision.message.clone()),
            })
        })
        .collect();
    moves.sort_by_key(|own| std::cmp::Reverse(own.size()));
    moves
}
